#!/usr/bin/python
"""Keep an SSH tunnel to the web server of a DevStack host open (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: devstack_tunnel
short_description: Keep an SSH tunnel to the web server of a DevStack host open
description:
  - DevStack serves every API and Horizon through one web server, without TLS, on an address that only its own network
    reaches. This opens a port of the controller's loopback interface that leads there through SSH.
  - The tunnel is an ssh process of its own, with a control socket in O(directory); it outlives the playbook.
options:
  directory:
    description: Directory of the control socket, made if absent.
    type: path
    required: true
  ssh:
    description: The ssh command that reaches the host, without a command for it. Its last element names the host.
    type: list
    elements: str
    required: true
  port:
    description: Port of the loopback interface here.
    type: int
    required: true
  target:
    description: Address and port that it leads to, as the host sees them.
    type: str
    required: true
  state:
    description: V(present) opens the tunnel unless it is open, V(absent) closes it.
    type: str
    choices: [present, absent]
    default: present
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Open the way to the APIs
  smart_classroom.platform.devstack_tunnel:
    directory: .state/dev/devstack
    ssh: [ssh, admin@192.0.2.10]
    port: 9800
    target: 10.0.0.10:80
"""

RETURN = r"""
socket:
  description: Name of the control socket in O(directory).
  returned: always
  type: str
"""

import hashlib
import json
import socket
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

COMMAND_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
LOOPBACK = "127.0.0.1"


class TunnelError(Exception):
    """The tunnel cannot be opened or closed. The text is for the operator."""


class Tunnel:
    """One tunnel. Its control socket bears the hash of where it leads, so that one to elsewhere is another."""

    def __init__(self, directory: Path, ssh: list[str], port: int, target: str) -> None:
        self.directory = directory
        self.ssh = ssh
        self.port = port
        self.target = target
        digest = hashlib.sha256(json.dumps([ssh, port, target]).encode()).hexdigest()[:12]
        # A name without a directory: the path of a socket may have 107 bytes only, so ssh runs in the directory.
        self.socket = f"tunnel-{digest}"

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run ssh with options before the host's name, in the tunnel's directory."""
        command = [*self.ssh[:-1], "-S", self.socket, *options, self.ssh[-1]]
        return subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            # A process in the background would keep a pipe open.
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / "tunnel.log").open("w", encoding="utf-8"),
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )

    def is_open(self) -> bool:
        """Whether the ssh process lives and its port takes connections."""
        if not (self.directory / self.socket).exists() or self.run("-O", "check").returncode != 0:
            return False
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=CONNECT_TIMEOUT_SECONDS).close()
        except OSError:
            return False
        return True

    def open(self) -> None:
        """Open it. Raises TunnelError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.close_all()
        forward = ["-L", f"{LOOPBACK}:{self.port}:{self.target}"]
        done = self.run("-f", "-N", "-M", "-o", "ExitOnForwardFailure=yes", "-o", "ControlPersist=no", *forward)
        if done.returncode != 0:
            said = (self.directory / "tunnel.log").read_text(encoding="utf-8").strip()
            raise TunnelError(
                f"The tunnel from {LOOPBACK}:{self.port} to {self.target} cannot be opened: {said or done.returncode}. "
                "If the port is taken, set devstack_tunnel_port to a free one; if the host refuses, try: "
                f"{' '.join(self.ssh)} true"
            )

    def close_all(self) -> bool:
        """Close every tunnel of the directory; says whether there was one."""
        found = False
        for path in self.directory.glob("tunnel-*"):
            command = [*self.ssh[:-1], "-S", path.name, "-O", "exit", self.ssh[-1]]
            subprocess.run(
                command, cwd=self.directory, capture_output=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False
            )
            path.unlink(missing_ok=True)
            found = True
        return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "ssh": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "required": True},
            "target": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    tunnel = Tunnel(
        Path(module.params["directory"]).resolve(),
        module.params["ssh"],
        module.params["port"],
        module.params["target"],
    )
    try:
        if module.params["state"] == "present":
            changed = not tunnel.is_open()
            if changed and not module.check_mode:
                tunnel.open()
        else:
            changed = any(tunnel.directory.glob("tunnel-*"))
            if changed and not module.check_mode:
                tunnel.close_all()
    except (OSError, subprocess.SubprocessError, TunnelError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, socket=tunnel.socket)


if __name__ == "__main__":
    main()
