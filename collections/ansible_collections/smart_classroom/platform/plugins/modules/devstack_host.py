#!/usr/bin/python
"""Say whether a host can carry DevStack, and what DevStack has done on it so far (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: devstack_host
short_description: Say whether a host can carry DevStack, and what DevStack has done on it so far
description:
  - Looks for everything that stack.sh needs and does not check itself, and asks the git server for each repository and
    branch, without git. Reports everything that is missing at once, each with its remedy. Changes nothing.
options:
  address:
    description: Address of the host that every service will bear. Empty takes that of the default route.
    type: str
    default: ""
  floating_cidr:
    description: Network of the floating addresses; it must be free.
    type: str
    required: true
  git_base:
    description: Where the repositories are; C(openstack/NAME.git) is appended. C(https), C(http) or C(git).
    type: str
    required: true
  branch:
    description: Branch that each repository must have.
    type: str
    required: true
  repositories:
    description: Names of the repositories.
    type: list
    elements: str
    required: true
  minimum_disk_mb:
    description: Free disk space that is needed below /opt, MB.
    type: int
    required: true
  minimum_memory_mb:
    description: Memory that is needed, MB.
    type: int
    required: true
  timeout_seconds:
    description: How long one question to the git server may take.
    type: int
    default: 20
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look at the host
  smart_classroom.platform.devstack_host:
    floating_cidr: 172.24.4.0/24
    git_base: https://opendev.org
    branch: stable/2026.1
    repositories: [devstack, nova]
    minimum_disk_mb: 15000
    minimum_memory_mb: 7600
"""

RETURN = r"""
address:
  description: The address that every service will bear.
  returned: always
  type: str
complete:
  description: Whether stack.sh ended well here once and the cloud answered after it.
  returned: always
  type: bool
conf:
  description: Hash of the local.conf that the cloud was made with; empty when O(ignore:complete) is false.
  returned: always
  type: str
half_clone:
  description: Whether the clone of DevStack itself was cut off.
  returned: always
  type: bool
problems:
  description: What is missing, one sentence each with its remedy. Those of a fresh host are left out on a complete one.
  returned: always
  type: list
  elements: str
running:
  description: Whether stack.sh runs at the moment.
  returned: always
  type: bool
virtualization:
  description: V(kvm) where the processor runs guests, V(qemu) where they are emulated.
  returned: always
  type: str
"""

import ipaddress
import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.host_machine import (
    HostError,
    memory_mb,
    virtualization,
)

STAMP = Path("/var/lib/smart-classroom/devstack/stamp.json")
DEVSTACK = Path("/opt/stack/devstack")
UNIT = "devstack-stack"
DISTRIBUTION = ("debian", "12")
GIT_PORT = 9418
COMMAND_TIMEOUT_SECONDS = 10.0
ADVERTISEMENT_LIMIT = 4_000_000


def os_release(text: str) -> tuple[str, str]:
    """Id and version of the distribution, from the text of /etc/os-release."""
    values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return values.get("ID", ""), values.get("VERSION_ID", "")


def advertised(payload: bytes) -> set[str]:
    """Names of the refs in what a git server says first (pkt-lines of protocol version 0).

    Raises:
        HostError: it is something else, or the server's own complaint.
    """
    names = set()
    position = 0
    while position + 4 <= len(payload):
        try:
            length = int(payload[position : position + 4], 16)
        except ValueError as error:
            raise HostError("what answers there is no git server") from error
        if length < 4:
            position += 4
            continue
        line = payload[position + 4 : position + length]
        position += length
        if line.startswith(b"ERR "):
            raise HostError(line[4:].decode("utf-8", "replace").strip())
        fields = line.split(b"\0")[0].split()
        if len(fields) == 2 and len(fields[0]) in (40, 64):
            names.add(fields[1].decode("utf-8", "replace"))
    return names


def ask_git_daemon(host: str, port: int, path: str, timeout: float) -> bytes:
    """What git-daemon says first about a repository, to the end of its list of refs."""
    request = f"git-upload-pack {path}\0host={host}\0".encode()
    answer = bytearray()
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(f"{len(request) + 4:04x}".encode() + request)
        while not answer.endswith(b"0000") and len(answer) < ADVERTISEMENT_LIMIT:
            part = connection.recv(65536)
            if not part:
                break
            answer += part
        connection.sendall(b"0000")
    return bytes(answer)


def refs(url: str, timeout: float) -> set[str]:
    """Names of the refs of a repository. Raises OSError or HostError."""
    parts = urlsplit(url)
    if parts.scheme == "git":
        return advertised(ask_git_daemon(parts.hostname or "", parts.port or GIT_PORT, parts.path, timeout))
    with urllib.request.urlopen(f"{url}/info/refs?service=git-upload-pack", timeout=timeout) as answer:  # noqa: S310
        return advertised(answer.read(ADVERTISEMENT_LIMIT))


def git_problems(base: str, repositories: Iterable[str], branch: str, timeout: float) -> list[str]:
    """Repositories that cannot be fetched. A server that does not answer at all is reported once."""
    if urlsplit(base).scheme not in ("https", "http", "git"):
        return [f"devstack_git_base is '{base}'; it must begin with https://, http:// or git://"]
    found = []
    for name in repositories:
        url = f"{base.rstrip('/')}/openstack/{name}.git"
        try:
            if f"refs/heads/{branch}" not in refs(url, timeout):
                found.append(
                    f"{url} has no branch {branch}: set devstack_branch to one that it has (`git ls-remote {url}`)"
                )
        except urllib.error.HTTPError as error:
            found.append(f"{url} cannot be fetched (HTTP {error.code}): mirror it, or set devstack_git_base")
        except HostError as error:
            found.append(f"{url} cannot be fetched ({error}): mirror it, or set devstack_git_base")
        except OSError as error:
            reason = getattr(error, "reason", error)
            found.append(
                f"the git server of devstack_git_base ({base}) cannot be reached from the host ({reason}): "
                "open its way out, or set devstack_git_base to a mirror that it reaches"
            )
            break
    return found


def interfaces() -> list[dict[str, Any]]:
    """The host's interfaces with their addresses, as iproute2 prints them in JSON."""
    return ip_json("address")


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """What ``ip`` says, decoded. Raises HostError."""
    try:
        done = subprocess.run(
            ["ip", "-json", "-4", *arguments, "show"],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=True,
        )
        result: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HostError(f"`ip -json {' '.join(arguments)}` failed ({error}); install the package iproute2") from error
    return result


def default_address(routes: Sequence[dict[str, Any]], links: Sequence[dict[str, Any]]) -> str:
    """Address of the interface that the default route leaves through; "" without one."""
    for route in routes:
        if route.get("dst") == "default":
            if route.get("prefsrc"):
                return str(route["prefsrc"])
            for link in links:
                if link.get("ifname") == route.get("dev"):
                    return next((str(item["local"]) for item in link.get("addr_info", [])), "")
    return ""


def network_problems(
    address: str, floating_cidr: str, routes: Sequence[dict[str, Any]], links: Sequence[dict[str, Any]]
) -> list[str]:
    """What stands against the addresses that were chosen."""
    found = []
    own = [str(item["local"]) for link in links for item in link.get("addr_info", [])]
    if not address:
        found.append("the host has no default route, so its address is unknown: set devstack_host_address")
    elif address not in own:
        found.append(
            f"devstack_host_address {address} is none of the host's ({', '.join(sorted(own))}): take the private one"
        )
    floating = ipaddress.ip_network(floating_cidr)
    for route in routes:
        destination = str(route.get("dst", ""))
        if destination == "default" or route.get("dev") == "br-ex":
            continue
        if ipaddress.ip_network(destination, strict=False).overlaps(floating):
            found.append(
                f"devstack_floating_cidr {floating_cidr} overlaps the host's route to {destination}: choose another"
            )
    return found


def size_problems(parameters: dict[str, Any], meminfo: str, place: Path) -> list[str]:
    """Memory and disk, which DevStack does not look at before it runs out of them."""
    found = []
    memory = memory_mb(meminfo)
    if memory < parameters["minimum_memory_mb"]:
        found.append(
            f"the host has {memory} MB of memory, {parameters['minimum_memory_mb']} MB are needed: use a larger one"
        )
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 1_000_000
    if free < parameters["minimum_disk_mb"]:
        found.append(
            f"{place} has {free} MB of disk left, {parameters['minimum_disk_mb']} MB are needed: "
            "enlarge the disk, or free some"
        )
    return found


def system_problems(release: str, booted: bool) -> list[str]:
    """Whether stack.sh was ever tried on such a system."""
    found = []
    system = os_release(release)
    if system != DISTRIBUTION:
        found.append(
            f"the host runs {' '.join(system).strip() or 'an unknown system'}; "
            "DevStack is held to Debian 12 here: use that"
        )
    if not booted:
        found.append("the host was not booted by systemd, which runs every service of DevStack: use a host that was")
    return found


def is_running() -> bool:
    """Whether stack.sh runs."""
    try:
        done = subprocess.run(
            ["systemctl", "show", "--property=ActiveState", "--value", UNIT],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError:
        return False
    return done.stdout.strip() in ("active", "activating")


def is_half_clone(directory: Path) -> bool:
    """Whether a clone was begun there and not finished."""
    git = directory / ".git"
    if not directory.exists():
        return False
    return not (git / "index").is_file() or any(git.glob("*.lock")) or not (directory / "stack.sh").is_file()


def stamp(path: Path) -> dict[str, Any]:
    """What was noted when stack.sh had ended well; {} before that."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def look(parameters: dict[str, Any]) -> dict[str, Any]:
    """The module's answer."""
    routes, links = ip_json("route"), interfaces()
    address = parameters["address"] or default_address(routes, links)
    noted = stamp(STAMP)
    running = is_running()
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    problems = system_problems(release, Path("/run/systemd/system").is_dir())
    problems += network_problems(address, parameters["floating_cidr"], routes, links)
    if not noted and not running:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        problems += size_problems(parameters, meminfo, Path("/opt/stack"))
        problems += git_problems(
            parameters["git_base"], parameters["repositories"], parameters["branch"], parameters["timeout_seconds"]
        )
    return {
        "address": address,
        "complete": bool(noted),
        "conf": str(noted.get("conf", "")),
        "half_clone": is_half_clone(DEVSTACK),
        "problems": problems,
        "running": running,
        "virtualization": virtualization(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": ""},
            "floating_cidr": {"type": "str", "required": True},
            "git_base": {"type": "str", "required": True},
            "branch": {"type": "str", "required": True},
            "repositories": {"type": "list", "elements": "str", "required": True},
            "minimum_disk_mb": {"type": "int", "required": True},
            "minimum_memory_mb": {"type": "int", "required": True},
            "timeout_seconds": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module.params))
    except (OSError, ValueError, HostError) as error:
        module.fail_json(msg=f"The host cannot be looked at: {error}")


if __name__ == "__main__":
    main()
