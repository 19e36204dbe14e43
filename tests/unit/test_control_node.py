"""The preflight report names every problem at once."""

from __future__ import annotations

from typing import Any

from ansible_collections.smart_classroom.platform.plugins.filter.control_node import control_node_problems

GOOD: dict[str, Any] = {
    "distribution": "Debian",
    "distribution_major_version": "12",
    "user_id": "root",
    "memtotal_mb": 24000,
}


def problems(free_disk_mb: int = 50000, **changes: Any) -> list[str]:
    return control_node_problems(
        {**GOOD, **changes}, free_disk_mb=free_disk_mb, minimum_memory_mb=10000, minimum_disk_mb=15000
    )


def test_a_good_machine_has_no_problem() -> None:
    assert problems() == []


def test_all_problems_are_reported_together() -> None:
    found = problems(
        free_disk_mb=900, distribution="Fedora", distribution_major_version="42", user_id="ann", memtotal_mb=4000
    )
    assert len(found) == 4
    assert "Fedora 42" in found[0]
    assert "sudo make up" in found[1]
    assert "4000 MB of memory" in found[2]
    assert "900 MB of disk" in found[3]
