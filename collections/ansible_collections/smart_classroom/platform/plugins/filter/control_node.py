"""What a machine lacks to carry the local hybrid cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def control_node_problems(
    facts: Mapping[str, Any], *, free_disk_mb: int, minimum_memory_mb: int, minimum_disk_mb: int
) -> list[str]:
    """One sentence for each thing that is missing, with its fix.

    Args:
        facts: Ansible's facts of the machine (distribution, hardware and user subsets).
        free_disk_mb: space left for the state directory, in MB.
        minimum_memory_mb: least memory, in MB.
        minimum_disk_mb: least free space, in MB.
    """
    problems = []
    system = f"{facts['distribution']} {facts['distribution_major_version']}"
    if system != "Debian 12":
        problems.append(
            f"it runs {system}, the cloud is made of Debian 12's packages: use a Debian 12 machine or virtual machine"
        )
    if facts["user_id"] != "root":
        problems.append(
            f"the user is {facts['user_id']}, installing packages and starting containers need root: sudo make up"
        )
    if facts["memtotal_mb"] < minimum_memory_mb:
        problems.append(
            f"it has {facts['memtotal_mb']} MB of memory, {minimum_memory_mb} MB are needed: "
            "give the machine more, or lower control_node_minimum_memory_mb at your own risk"
        )
    if free_disk_mb < minimum_disk_mb:
        problems.append(
            f"{free_disk_mb} MB of disk are free, {minimum_disk_mb} MB are needed: "
            "free some (docker system df shows what images take)"
        )
    return problems


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"control_node_problems": control_node_problems}
