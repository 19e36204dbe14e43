#!/usr/bin/python
"""Say whether this machine can carry a private cloud, and how fast its guests can be (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: openstack_host
short_description: Say whether this machine can carry a private cloud
description:
  - Looks for what an all-in-one OpenStack in a container needs from its machine, and reports everything that is missing
    at once, each with the command that mends it. Changes nothing.
options:
  floating_cidr:
    description: Network of the floating addresses.
    type: str
    required: true
  gateway:
    description: Address of the cloud, through which the floating addresses are routed.
    type: str
    required: true
  docker_dir:
    description: Directory of the container engine's data, whose free space counts.
    type: path
    required: true
  minimum_disk_mb:
    description: Free disk space that is needed, MB.
    type: int
    required: true
  minimum_memory_mb:
    description: Memory of the machine that is needed, MB.
    type: int
    required: true
  state_dir:
    description: Directory of a cloud; mounts of it or below it are reported.
    type: path
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look at the machine
  smart_classroom.platform.openstack_host:
    floating_cidr: 172.24.4.0/24
    gateway: 172.30.0.20
    docker_dir: /var/lib/docker
    minimum_disk_mb: 10000
    minimum_memory_mb: 8000
"""

RETURN = r"""
interfaces:
  description: Guests' network interfaces that this machine itself has; a cloud keeps its own in its container.
  returned: always
  type: list
  elements: str
mounts:
  description: Places where O(state_dir), or something below it, is mounted in this machine.
  returned: always
  type: list
  elements: str
api_address:
  description: First address of the floating network, the cloud's own.
  returned: always
  type: str
prefix:
  description: Length of the floating network's prefix.
  returned: always
  type: int
problems:
  description: What is missing, one sentence each with its remedy.
  returned: always
  type: list
  elements: str
routed:
  description: Whether the floating addresses are routed through O(gateway).
  returned: always
  type: bool
virtualization:
  description: V(kvm) where the processor runs guests, V(qemu) where they are emulated.
  returned: always
  type: str
"""

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.host_machine import (
    HostError,
    memory_mb,
    virtualization,
)

COMMAND_TIMEOUT_SECONDS = 10.0


def routes() -> list[dict[str, Any]]:
    """The machine's IPv4 routes, as iproute2 prints them in JSON. Raises HostError."""
    try:
        done = subprocess.run(
            ["ip", "-json", "-4", "route", "show"],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=True,
        )
        result: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HostError(f"`ip -json route` failed ({error}); install the package iproute2") from error
    return result


def is_routed(table: Sequence[dict[str, Any]], cidr: str, gateway: str) -> bool:
    """Whether exactly this network goes through exactly this gateway."""
    return any(route.get("dst") == cidr and route.get("gateway") == gateway for route in table)


def clashes(table: Sequence[dict[str, Any]], cidr: str, gateway: str) -> list[str]:
    """Routes of others that overlap the network, as `destination via or dev`. The default route does not count."""
    network = ipaddress.ip_network(cidr)
    found = []
    for route in table:
        destination = str(route.get("dst", ""))
        if destination == "default" or (destination == cidr and route.get("gateway") == gateway):
            continue
        if ipaddress.ip_network(destination, strict=False).overlaps(network):
            found.append(f"{destination} {'via ' + route['gateway'] if 'gateway' in route else 'dev ' + route['dev']}")
    return found


def mounts(mountinfo: str, directory: Path) -> list[str]:
    """Mount points that show the directory or lie in it, from the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        root, point = (Path(field.replace("\\040", " ")) for field in line.split()[3:5])
        if root.is_relative_to(directory) or point.is_relative_to(directory):
            found.append(str(point))
    return found


def guest_interfaces(names: Sequence[str]) -> list[str]:
    """Those interfaces that Neutron and libvirt make for guests, by the names they give them."""
    return sorted(name for name in names if name.startswith(("tap", "brq", "vxlan-")) or name == "br-ex")


def problems(parameters: dict[str, Any], table: Sequence[dict[str, Any]]) -> list[str]:
    """Everything that is missing, one sentence each with its remedy."""
    found = []
    cidr = parameters["floating_cidr"]
    if not Path("/dev/net/tun").is_char_device():
        found.append("/dev/net/tun is missing, guests get no network: `modprobe tun`.")
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        found.append("The kernel does not filter bridges, security groups would not hold: `modprobe br_netfilter`.")
    for route in clashes(table, cidr, parameters["gateway"]):
        found.append(
            f"The floating network {cidr} overlaps the route {route} of this machine: remove that route with "
            f"`ip route del {route}`, or set openstack_allinone_floating_cidr to a free network."
        )
    memory = memory_mb(Path("/proc/meminfo").read_text(encoding="ascii"))
    if memory < parameters["minimum_memory_mb"]:
        found.append(
            f"The machine has {memory} MB of memory, {parameters['minimum_memory_mb']} MB are needed: use a larger one."
        )
    place = Path(parameters["docker_dir"])
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 1_000_000
    if free < parameters["minimum_disk_mb"]:
        found.append(
            f"{place} has {free} MB of disk left, {parameters['minimum_disk_mb']} MB are needed: "
            "`docker image prune` removes images that no container uses."
        )
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "floating_cidr": {"type": "str", "required": True},
            "gateway": {"type": "str", "required": True},
            "docker_dir": {"type": "path", "required": True},
            "minimum_disk_mb": {"type": "int", "required": True},
            "minimum_memory_mb": {"type": "int", "required": True},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    state_dir = Path(module.params["state_dir"]) if module.params["state_dir"] else None
    try:
        table = routes()
        network = ipaddress.ip_network(module.params["floating_cidr"])
        module.exit_json(
            changed=False,
            api_address=str(network[1]),
            prefix=network.prefixlen,
            interfaces=guest_interfaces([path.name for path in Path("/sys/class/net").iterdir()]),
            mounts=mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), state_dir.resolve())
            if state_dir
            else [],
            problems=problems(module.params, table),
            routed=is_routed(table, module.params["floating_cidr"], module.params["gateway"]),
            virtualization=virtualization(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        )
    except (OSError, ValueError, HostError) as error:
        module.fail_json(msg=f"The machine cannot be looked at: {error}")


if __name__ == "__main__":
    main()
