#!/usr/bin/python
"""What one environment holds on this machine; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: local_resources_info
short_description: List what an environment holds on this machine
description:
  - Lists containers, container networks and volumes by label and by network membership, routes through the containers'
    network, mounts and processes below the state directory, the network's interface, and the state directory itself.
  - Cached images are listed apart, because a teardown keeps them unless told otherwise.
options:
  label:
    description: Label that everything of the environment carries in the container engine, C(key=value).
    type: str
    required: true
  network_name:
    description: Name of the containers' network.
    type: str
    required: true
  network_bridge:
    description: Interface of that network on the machine.
    type: str
    required: true
  network_cidr:
    description: Address range of that network; routes whose gateway lies in it belong to the environment.
    type: str
    required: true
  state_dir:
    description: State directory of the environment.
    type: path
    required: true
  image_prefix:
    description: Prefix of the names of cached images.
    type: str
    default: smart-classroom/
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: List what is there
  smart_classroom.platform.local_resources_info:
    label: smart-classroom.environment=local
    network_name: smart-classroom
    network_bridge: br-smartclass
    network_cidr: 172.30.0.0/24
    state_dir: .state/local
"""

RETURN = r"""
resources:
  description: One sentence for each thing, as C(kind name).
  type: list
  elements: str
  returned: always
cached_images:
  description: Names of the cached images with their size in MB.
  type: list
  elements: str
  returned: always
"""

import ipaddress
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def routes_through(routes: Iterable[Mapping[str, Any]], cidr: str) -> list[str]:
    """Destinations of the routes whose gateway lies in ``cidr``; ``routes`` as ``ip -json route`` prints them."""
    network = ipaddress.ip_network(cidr)
    return [
        route["dst"] for route in routes if "gateway" in route and ipaddress.ip_address(route["gateway"]) in network
    ]


def mounts_below(mounts: str, directory: Path) -> list[str]:
    """Mount points at or below ``directory``; ``mounts`` is the text of /proc/self/mounts."""
    points = (Path(line.split()[1].replace(r"\040", " ")) for line in mounts.splitlines())
    return [str(point) for point in points if point == directory or directory in point.parents]


def processes_below(proc: Path, directory: Path) -> list[str]:
    """Processes that work in, or have on their command line, a path below ``directory``; as ``pid program``."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            working = (entry / "cwd").readlink()
        except OSError:
            continue  # it has ended, or belongs to the kernel
        below = str(directory) + "/"
        if any(word.startswith(below) for word in [*words, str(working) + "/"]):
            found.append(f"{entry.name} {Path(words[0]).name}")
    return found


def engine_resources(label: str, network_name: str, image_prefix: str) -> tuple[list[str], list[str]]:
    """Containers, networks and volumes of the environment, and the cached images. Empty where no engine answers."""
    import docker  # the teardown of a machine without the engine must work too
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=20)
    except DockerException:
        return [], []
    labelled = client.containers.list(all=True, filters={"label": label})
    members = client.containers.list(all=True, filters={"network": network_name})
    containers = {item.id: item.name for item in [*labelled, *members]}
    networks = {item.id: item.name for item in client.networks.list(filters={"label": label})}
    networks |= {item.id: item.name for item in client.networks.list(names=[network_name]) if item.name == network_name}
    volumes = [item.name for item in client.volumes.list(filters={"label": label})]
    resources = [f"container {name}" for name in sorted(containers.values())]
    resources += [f"network {name}" for name in sorted(networks.values())]
    resources += [f"volume {name}" for name in sorted(volumes)]
    images = sorted(
        f"{tag} ({image.attrs['Size'] // 1_000_000} MB)"
        for image in client.images.list()
        for tag in image.tags
        if tag.startswith(image_prefix)
    )
    return resources, images


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "label": {"type": "str", "required": True},
            "network_name": {"type": "str", "required": True},
            "network_bridge": {"type": "str", "required": True},
            "network_cidr": {"type": "str", "required": True},
            "state_dir": {"type": "path", "required": True},
            "image_prefix": {"type": "str", "default": "smart-classroom/"},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    state_dir = Path(parameters["state_dir"]).resolve()
    resources, images = engine_resources(parameters["label"], parameters["network_name"], parameters["image_prefix"])
    listing = subprocess.run(["ip", "-json", "route"], capture_output=True, check=True, timeout=20)
    resources += [f"route {name}" for name in routes_through(json.loads(listing.stdout), parameters["network_cidr"])]
    if Path("/sys/class/net", parameters["network_bridge"]).exists():
        resources.append(f"interface {parameters['network_bridge']}")
    resources += [f"mount {name}" for name in mounts_below(Path("/proc/self/mounts").read_text(), state_dir)]
    resources += [f"process {name}" for name in processes_below(Path("/proc"), state_dir)]
    if state_dir.exists():
        resources.append(f"directory {state_dir}")
    module.exit_json(changed=False, resources=resources, cached_images=images)


if __name__ == "__main__":
    main()
