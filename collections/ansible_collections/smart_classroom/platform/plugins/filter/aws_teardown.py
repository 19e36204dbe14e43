"""What a teardown would remove from an AWS account, as text for a person, and what must not be left after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Videos, answers and students' records: what nobody can make again.
KEPT_KINDS = ("bucket", "table")


def teardown_left(resources: Iterable[Mapping[str, str]], keep_data: bool) -> list[str]:
    """What must not be there after a teardown, as ``kind id``, of what module aws_environment_info lists."""
    return [f"{item['kind']} {item['id']}" for item in resources if not (keep_data and item["kind"] in KEPT_KINDS)]


def teardown_plan(resources: Iterable[Mapping[str, str]], keep_data: bool) -> str:
    """What is removed, which data dies with it, and what stays and why.

    >>> print(teardown_plan([{"kind": "bucket", "id": "videos", "data": "3 objects"}], keep_data=False))
    In AWS this would be removed: 1 bucket.
      bucket videos
    Data that would be lost:
      bucket videos: 3 objects
    """
    everything = list(resources)
    removed = [item for item in everything if not (keep_data and item["kind"] in KEPT_KINDS)]
    kept = [item for item in everything if keep_data and item["kind"] in KEPT_KINDS]
    if not everything:
        return "In AWS there is nothing of the environment."
    counts = Counter(item["kind"] for item in removed)
    summary = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())
    lines = [f"In AWS this would be removed: {summary or 'nothing'}."]
    lines += [f"  {item['kind']} {item['id']}" for item in removed]
    if lost := [item for item in removed if item.get("data")]:
        lines += ["Data that would be lost:", *(f"  {item['kind']} {item['id']}: {item['data']}" for item in lost)]
    if kept:
        lines.append("This stays, because it is the environment's data; it goes on costing what it holds:")
        lines += [f"  {item['kind']} {item['id']}: {item.get('data', 'empty')}" for item in kept]
    return "\n".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"teardown_left": teardown_left, "teardown_plan": teardown_plan}
