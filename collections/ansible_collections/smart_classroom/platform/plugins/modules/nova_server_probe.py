#!/usr/bin/python
"""Ansible module: what a server really is, seen from where the operator sits."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nova_server_probe
short_description: Log in to a server and knock at its ports
description:
  - Changes nothing. Answers with a list of what is not as it should be.
options:
  name:
    description: The server's alias in the SSH configuration, and the host name that it must have.
    type: str
    required: true
  directory:
    description: Directory of the SSH configuration.
    type: path
    required: true
  minimum_disk_gb:
    description: Size of the flavor's disk; the root file system must fill nine tenths of it.
    type: int
    required: true
  address:
    description: Address for the knocking. Empty where the server cannot be reached directly.
    type: str
    default: ''
  filtered_port:
    description: >-
      TCP port that the security group must hide. A server that can be reached there refuses at once; a hidden one is
      silent.
    type: int
    default: 8080
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look at the server
  smart_classroom.platform.nova_server_probe:
    name: classroom-poller-1
    directory: .state/local/ssh
    minimum_disk_gb: 5
    address: 192.0.2.10
"""

RETURN = r"""
problems:
  description: What is not as it should be; empty for a good server.
  type: list
  returned: always
"""

import socket
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# An emulated processor on a busy machine takes its time over a login.
LOGIN_TIMEOUT_SECONDS = 90
KNOCK_TIMEOUT_SECONDS = 3
QUESTIONS = "hostname; sudo -n id -u; df --output=size --block-size=1M / | tail -n 1"


def port_state(address: str, port: int) -> str:
    """``open``, ``closed`` (somebody refuses) or ``filtered`` (nobody answers)."""
    try:
        with socket.create_connection((address, port), timeout=KNOCK_TIMEOUT_SECONDS):
            return "open"
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "filtered"


def problems_of(name: str, answers: list[str], minimum_disk_gb: int) -> list[str]:
    """What the answers to ``QUESTIONS`` show that should be otherwise."""
    if len(answers) != 3:
        return [f"{name} answers the login with {answers!r}"]
    host, user, size_mb = answers
    problems = []
    if host != name:
        problems.append(f"{name} calls itself {host}: its metadata never arrived")
    if user != "0":
        problems.append(f"{name}: sudo without a password does not work")
    if int(size_mb) < minimum_disk_gb * 1024 * 9 // 10:
        problems.append(f"{name}: the root file system has {size_mb} MB of the flavor's {minimum_disk_gb} GB")
    return problems


def probe(name: str, directory: Path, minimum_disk_gb: int) -> list[str]:
    """Log in with the recorded host key and judge what the server says."""
    command = ["ssh", "-F", str(directory / "config"), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", name, QUESTIONS]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LOGIN_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [f"{name}: no login within {LOGIN_TIMEOUT_SECONDS} s"]
    if done.returncode != 0 and not done.stdout:
        return [f"{name}: no login: {done.stderr.strip()}"]
    return problems_of(name, done.stdout.split(), minimum_disk_gb)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "minimum_disk_gb": {"type": "int", "required": True},
            "address": {"type": "str", "default": ""},
            "filtered_port": {"type": "int", "default": 8080},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    problems = probe(wanted["name"], Path(wanted["directory"]), wanted["minimum_disk_gb"])
    if wanted["address"]:
        for port, state in ((22, "open"), (wanted["filtered_port"], "filtered")):
            found = port_state(wanted["address"], port)
            if found != state:
                problems.append(f"{wanted['name']}: TCP port {port} is {found} from here, it must be {state}")
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()
