#!/usr/bin/python
"""Ansible module: SSH to servers with host keys that were learned through the cloud's API."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nova_ssh_access
short_description: Make an SSH configuration for servers, with verified host keys
description:
  - Reads each server's host keys from its console log, which the guest writes and the cloud's API shows, so that the
    first connection is checked like all that follow. Then waits until a login works.
  - Writes C(config) and C(known_hosts) into O(directory). A server that was replaced gets the keys of its successor.
options:
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud.
    type: path
    required: true
  cloud:
    description: Name of the cloud in it.
    type: str
    required: true
  names:
    description: Names of the servers; each is its own alias.
    type: list
    elements: str
    required: true
  user:
    description: User of the login.
    type: str
    required: true
  directory:
    description: Directory of the configuration, which holds the private key O(key_file).
    type: path
    required: true
  key_file:
    description: Name of the private key in the directory.
    type: str
    default: id_ed25519
  proxy_jump:
    description: >-
      Host to go through, as C(ProxyJump) takes it, where floating IPs cannot be reached directly. Files C(*.conf) in
      O(directory) may describe it.
    type: str
    default: ''
  control_path:
    description: >-
      Socket of a connection, as C(ControlPath) takes it. The one that logged in is kept there for a minute, for whoever
      uses the same socket; a login takes seconds on a server without hardware support. Empty means that it ends.
    type: str
    default: ''
  timeout_seconds:
    description: How long each server may take to answer.
    type: int
    default: 300
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Wait until the servers answer
  smart_classroom.platform.nova_ssh_access:
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    names: [classroom-poller-1]
    user: classroom
    directory: .state/local/ssh
"""

RETURN = r"""
changes:
  description: Which servers turned out to be off and were started.
  type: list
  returned: always
addresses:
  description: Floating IP of each server, by name.
  type: dict
  returned: always
seconds:
  description: How long each server took to answer.
  type: dict
  returned: outside check mode
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import (
    CLOUD_ARGUMENTS,
    CloudError,
    cloud_errors,
    connect,
    fault_of,
    is_off,
    start,
    wait_for,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.ssh_access import (
    console_keys,
    host_block,
    known_hosts_lines,
    login,
    write,
)

CONSOLE_TAIL_LINES = 15


def ssh_config(addresses: dict[str, str], directory: Path, user: str, key_file: str, proxy_jump: str) -> str:
    """An ssh_config(5) with one alias for each server; a host to go through is described in a file beside it."""
    parts = ["# Written by the role nova_server."]
    if proxy_jump:
        parts.append(f'Include "{directory}/*.conf"')
    parts += [
        host_block(name, address, user, directory / key_file, directory / "known_hosts", proxy_jump=proxy_jump)
        for name, address in addresses.items()
    ]
    return "\n\n".join(parts) + "\n"


class Access:
    """The servers as the API shows them, and the files that describe the way to them."""

    def __init__(self, connection: Any, parameters: dict[str, Any]) -> None:
        self.compute = connection.compute
        self.network = connection.network
        self.wanted = parameters
        self.directory = Path(parameters["directory"]).resolve()
        self.known_hosts = self.directory / "known_hosts"
        self.changes: list[str] = []

    def servers(self) -> dict[str, tuple[str, str]]:
        """Id and floating IP of each server by name; servers that are not there are missing from it."""
        ids = {server.name: server.id for server in self.compute.servers(details=False)}
        ports = {port.id: port.device_id for port in self.network.ports()}
        addresses = {ports[ip.port_id]: ip.floating_ip_address for ip in self.network.ips() if ip.port_id in ports}
        names: list[str] = self.wanted["names"]
        return {name: (ids[name], addresses[ids[name]]) for name in names if ids.get(name) in addresses}

    def recorded(self, name: str, server_id: str) -> list[str]:
        """The lines of known_hosts for exactly this server."""
        if not self.known_hosts.is_file():
            return []
        lines = self.known_hosts.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.startswith(f"{name} ") and line.endswith(f" {server_id}")]

    def console(self, server_id: str) -> str:
        """The server's console log."""
        answer = self.compute.get_server_console_output(server_id)
        return str(answer.get("output") or "").replace("\r", "")

    def keep_running(self, name: str, server_id: str) -> None:
        """Start a server that is off.

        After a restart of its host, Nova shows a server as ACTIVE until it has compared its records with the
        hypervisor, so it may turn out to be off only while somebody waits for it.

        Raises:
            CloudError: the server failed.
        """
        server = self.compute.get_server(server_id)
        if server.status == "ERROR":
            raise CloudError(f"server '{name}' is in state ERROR: {fault_of(server)}")
        if is_off(server) and not server.task_state:
            self.changes.append(f"server {name} was {server.status} and is started")
            start(self.compute, server)

    def keys(self, name: str, server_id: str) -> list[str]:
        """Lines of known_hosts for a server, from its console.

        Raises:
            CloudError: the guest has not shown its keys in time.
        """

        def probe() -> list[str] | None:
            found: list[str] = console_keys(self.console(server_id))
            if not found:
                self.keep_running(name, server_id)
            return found or None

        try:
            keys = wait_for("the guest's host keys on the console", probe, self.wanted["timeout_seconds"], 1.0)
        except CloudError as error:
            raise CloudError(f"server '{name}': {error}. {self.console_tail(server_id)}") from error
        lines: list[str] = known_hosts_lines(name, server_id, keys)
        return lines

    def console_tail(self, server_id: str) -> str:
        """The end of a console log, for a message."""
        tail = self.console(server_id).strip().splitlines()[-CONSOLE_TAIL_LINES:]
        return "Its console ends with:\n" + "\n".join(tail) + "\n"

    def wait_for_login(self, name: str, server_id: str) -> None:
        """Log in until it works.

        Raises:
            CloudError: the host key is not the one on the console, or nobody answered in time.
        """
        said = ""

        def probe() -> bool | None:
            nonlocal said
            said = login(self.directory / "config", name, self.wanted["control_path"]) or ""
            if "Host key verification failed" in said:
                raise CloudError(
                    f"whoever answers at the address of server '{name}' has another host key than the server showed on "
                    f"its console: {said}. Find out who that is before you go on; the keys of a server that was "
                    f"rebuilt by hand are read again after: rm {self.known_hosts}"
                )
            if said:
                self.keep_running(name, server_id)
            return None if said else True

        try:
            wait_for(f"a login to server '{name}'", probe, self.wanted["timeout_seconds"])
        except CloudError as error:
            raise CloudError(f"{error}. Last answer: {said}. {self.console_tail(server_id)}") from error

    def establish(self, check_mode: bool) -> dict[str, Any]:
        """Write the files and wait for every server.

        Raises:
            CloudError: a server is missing or does not answer.
        """
        wanted = self.wanted
        servers = self.servers()
        missing = [name for name in wanted["names"] if name not in servers]
        if missing and not check_mode:
            raise CloudError(f"no server with a floating IP has the name {', '.join(missing)}")
        addresses = {name: address for name, (_, address) in servers.items()}
        config = ssh_config(addresses, self.directory, wanted["user"], wanted["key_file"], wanted["proxy_jump"])
        changed = bool(missing) | write(self.directory / "config", config, check_mode)
        begin = time.monotonic()
        lines: list[str] = []
        seconds: dict[str, float] = {}
        for name, (server_id, _) in servers.items():
            recorded = self.recorded(name, server_id)
            if check_mode:
                changed |= not recorded
                continue
            lines += recorded or self.keys(name, server_id)
            changed |= write(self.known_hosts, "\n".join(lines) + "\n", check_mode)
            self.wait_for_login(name, server_id)
            seconds[name] = round(time.monotonic() - begin, 1)
        return {
            "changed": changed or bool(self.changes),
            "changes": self.changes,
            "addresses": addresses,
            "seconds": seconds,
        }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            **CLOUD_ARGUMENTS,
            "names": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "key_file": {"type": "str", "default": "id_ed25519", "no_log": False},
            "proxy_jump": {"type": "str", "default": ""},
            "control_path": {"type": "str", "default": ""},
            "timeout_seconds": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    try:
        access = Access(connect(module.params["clouds_file"], module.params["cloud"]), module.params)
        result = access.establish(module.check_mode)
    except cloud_errors() as error:
        module.fail_json(
            msg=f"SSH to {', '.join(module.params['names'])} does not work: {error}. "
            "Look at the server (make status), then run the same command again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
