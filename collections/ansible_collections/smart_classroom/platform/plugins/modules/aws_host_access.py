#!/usr/bin/python
"""Ansible module: SSH to an EC2 instance with host keys that were learned through the EC2 API."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_host_access
short_description: Make an SSH configuration for an EC2 instance, with verified host keys
description:
  - Reads the instance's host keys from its console, which cloud-init writes and the EC2 API shows to whoever may ask,
    so that the first connection is checked like all that follow. No private key has to travel in the user data for
    that, where every process of the instance could read it.
  - Writes C(host.conf) and C(host_known_hosts) into O(directory), then waits until a login works.
options:
  instance_id:
    description: The instance. May be empty in check mode.
    type: str
    required: true
  address:
    description: Address of the instance. May be empty in check mode.
    type: str
    required: true
  port:
    description: Port of its SSH service.
    type: int
    default: 22
  name:
    description: Alias of the instance in the configuration.
    type: str
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
  host_key:
    description: The host's public key, for an operator who knows it. Read from the console if empty.
    type: str
    default: ''
  timeout_seconds:
    description: How long the instance may take to show its keys and to let the operator in.
    type: int
    default: 600
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Wait until the instance lets the operator in
  smart_classroom.platform.aws_host_access:
    instance_id: i-0123456789abcdef0
    address: 203.0.113.5
    name: devstack-1
    user: admin
    directory: .state/dev/ssh
"""

RETURN = r"""
config:
  description: The SSH configuration.
  type: str
  returned: always
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client
from ansible_collections.smart_classroom.platform.plugins.module_utils.ssh_access import (
    console_keys,
    host_block,
    known_hosts_lines,
    login,
    public_keys,
    write,
)

POLL_SECONDS = 3.0
CONSOLE_TAIL_LINES = 15


class AccessError(Exception):
    """The instance cannot be reached; the message says why and what mends it."""


class Access:
    """The instance's console, and the files that describe the way to it."""

    def __init__(self, ec2: Any, parameters: dict[str, Any]) -> None:
        self.ec2 = ec2
        self.wanted = parameters
        self.directory = Path(parameters["directory"]).resolve()
        self.config = self.directory / "host.conf"
        self.known_hosts = self.directory / "host_known_hosts"
        self.deadline = time.monotonic() + parameters["timeout_seconds"]

    def console(self) -> str:
        """What the instance has written on its console."""
        answer = self.ec2.get_console_output(InstanceId=self.wanted["instance_id"], Latest=True)
        return str(answer.get("Output") or "").replace("\r", "")

    def console_tail(self) -> str:
        """The end of the console, for a message."""
        return "Its console ends with:\n" + "\n".join(self.console().strip().splitlines()[-CONSOLE_TAIL_LINES:])

    def until(self, probe: Callable[[], Any]) -> Any:
        """What ``probe`` answers once that is something, None when the time is over before."""
        while not (answer := probe()) and time.monotonic() < self.deadline:
            time.sleep(POLL_SECONDS)
        return answer

    def recorded(self) -> list[str]:
        """The lines of known_hosts for exactly this instance."""
        if not self.known_hosts.is_file():
            return []
        lines = self.known_hosts.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.endswith(f" {self.wanted['instance_id']}")]

    def keys(self) -> list[str]:
        """The host keys: the one that the operator names, else those on the console.

        Raises:
            AccessError: the named key is none, or the console has not shown any in time.
        """
        if self.wanted["host_key"]:
            named: list[str] = public_keys(self.wanted["host_key"])
            if not named:
                raise AccessError("ec2_host_public_host_key is not a complete public key, such as ssh-ed25519 AAAA...")
            return named
        keys: list[str] = self.until(lambda: console_keys(self.console()))
        if not keys:
            raise AccessError(
                f"the instance {self.wanted['instance_id']} has not shown its host keys on the console within "
                f"{self.wanted['timeout_seconds']} s, so nobody can say who answers at its address. Reboot it, which "
                f"shows them again, and run this once more. {self.console_tail()}"
            )
        return keys

    def probe_login(self) -> bool:
        """Log in once.

        Raises:
            AccessError: somebody else answers.
        """
        self.said = login(self.config, self.wanted["name"]) or ""
        if "Host key verification failed" in self.said:
            raise AccessError(
                f"whoever answers at {self.wanted['address']} has another host key than the instance "
                f"{self.wanted['instance_id']} showed on its console: {self.said}. Find out who that is before you go "
                f"on; if the host keys were renewed on purpose, reboot the instance and: rm {self.known_hosts}"
            )
        return not self.said

    def establish(self, check_mode: bool) -> dict[str, Any]:
        """Write the files and wait for a login.

        Raises:
            AccessError: the instance does not let the operator in.
        """
        wanted = self.wanted
        key_file = self.directory / wanted["key_file"]
        block = host_block(
            wanted["name"], wanted["address"], wanted["user"], key_file, self.known_hosts, port=wanted["port"]
        )
        changed = bool(write(self.config, f"# Written by the role ec2_host.\n{block}\n", check_mode))
        recorded = self.recorded()
        if check_mode:
            return {"changed": changed or not recorded, "config": str(self.config)}
        lines = recorded or known_hosts_lines(wanted["name"], wanted["instance_id"], self.keys())
        changed |= bool(write(self.known_hosts, "\n".join(lines) + "\n", check_mode))
        if not self.until(self.probe_login):
            raise AccessError(
                f"no login to {wanted['user']}@{wanted['address']} within {wanted['timeout_seconds']} s. Last answer: "
                f"{self.said}. If it is a timeout, the security group lets another address in than yours: see "
                "smart_classroom_operator_cidrs"
            )
        return {"changed": changed, "config": str(self.config)}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "instance_id": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 22},
            "name": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "key_file": {"type": "str", "default": "id_ed25519", "no_log": False},
            "host_key": {"type": "str", "default": "", "no_log": False},
            "timeout_seconds": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        result = Access(aws_client("ec2"), module.params).establish(module.check_mode)
    except (AccessError, *AWS_ERRORS) as error:
        module.fail_json(msg=f"SSH to {module.params['name']} does not work: {error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
