#!/usr/bin/python
"""Checks a machine before the role ``poller`` installs the service on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: poller_host
short_description: Check that a machine can run the poller
description:
  - Looks at Python, systemd and the way to the queues, reports everything that is wrong at once, and changes nothing.
options:
  endpoint_url:
    description: URL of the AWS APIs. Empty means AWS itself.
    type: str
    default: ""
  region:
    description: AWS region.
    type: str
    required: true
  release_dir:
    description: Directory of a version that is looked for.
    type: str
    default: ""
  timeout_seconds:
    description: Time limit of the connection.
    type: int
    default: 10
author: Smart Classroom
"""

RETURN = r"""
installed:
  description: Whether the version is there, complete.
  type: bool
  returned: success
"""

EXAMPLES = r"""
- name: Check the machine
  poller_host:
    endpoint_url: http://172.30.0.10:4566
    region: us-east-1
"""

import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

OLDEST_PYTHON = (3, 11)


def sqs_address(endpoint_url: str, region: str) -> tuple[str, int]:
    """Host and port that the queues are served at."""
    if not endpoint_url:
        return f"sqs.{region}.amazonaws.com", 443
    parts = urlsplit(endpoint_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def connect(address: tuple[str, int], timeout_seconds: float) -> None:
    """Open and close a connection. Raises OSError."""
    socket.create_connection(address, timeout=timeout_seconds).close()


def problems(
    version: Sequence[int],
    systemd: Path,
    address: tuple[str, int],
    timeout_seconds: float,
    connect: Callable[[tuple[str, int], float], None] = connect,
) -> list[str]:
    """Everything that keeps the service from running here, each with what mends it."""
    found = []
    if tuple(version[:2]) < OLDEST_PYTHON:
        found.append(
            f"/usr/bin/python3 is Python {version[0]}.{version[1]}, 3.11 is the oldest that works; "
            "use an image of Debian 12, CentOS Stream 10 or newer"
        )
    if not systemd.is_dir():
        found.append(
            "systemd does not run here; the poller is a systemd service and needs a machine that boots with it"
        )
    try:
        connect(address, timeout_seconds)
    except OSError as error:
        found.append(
            f"the queues at {address[0]}:{address[1]} cannot be reached from this machine ({error}); "
            "is AWS (or its emulator) up, and does the router have a way out? make status shows both"
        )
    return found


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "endpoint_url": {"type": "str", "default": ""},
            "region": {"type": "str", "required": True},
            "release_dir": {"type": "str", "default": ""},
            "timeout_seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    address = sqs_address(module.params["endpoint_url"], module.params["region"])
    found = problems(sys.version_info[:2], Path("/run/systemd/system"), address, module.params["timeout_seconds"])
    if found:
        module.fail_json(msg="The poller cannot run on this machine: " + "; ".join(found))
    release_dir = module.params["release_dir"]
    module.exit_json(changed=False, installed=bool(release_dir) and (Path(release_dir) / ".complete").exists())


if __name__ == "__main__":
    main()
