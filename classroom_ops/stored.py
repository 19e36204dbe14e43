"""Results on the VMs: found by what they say, not by how the poller names its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from classroom_ops.commands import ssh
from classroom_ops.environment import Endpoints

SECONDS = 60.0
_NONE_FOUND = 1  # grep's exit code


@dataclass(frozen=True)
class Stored:
    """A result file on a VM."""

    host: str
    path: str


def find(endpoints: Endpoints, text: str, *, prefix: bool = False, timeout: float = SECONDS) -> list[Stored]:
    """Result files (JSON) that name the video key `text`, or with `prefix` any key that starts with it.

    Raises:
        CommandError: a VM cannot be reached, or its results cannot be read.
    """
    patterns: list[str] = []
    for pattern in _quoted(text, closed=not prefix):
        patterns += ["-e", pattern]
    argv = ["sudo", "-n", "grep", "-rlF", "--include=*.json", *patterns, "--", endpoints.results_dir]
    found: list[Stored] = []
    for host in endpoints.pollers:
        output = ssh(endpoints, host, argv, timeout, ok=(0, _NONE_FOUND))
        found += [Stored(host, line) for line in output.stdout.splitlines() if line]
    return found


def remove(endpoints: Endpoints, files: Iterable[Stored], timeout: float = SECONDS) -> None:
    """Remove result files, each with the CSV of the same name.

    Raises:
        CommandError: a VM cannot be reached.
    """
    by_host: dict[str, list[str]] = {}
    for one in files:
        by_host.setdefault(one.host, []).extend([one.path, f"{one.path.removesuffix('.json')}.csv"])
    for host, paths in by_host.items():
        for start in range(0, len(paths), 200):  # a command line has a limit
            ssh(endpoints, host, ["sudo", "-n", "rm", "-f", "--", *paths[start : start + 200]], timeout)


def _quoted(text: str, *, closed: bool) -> set[str]:
    """`text` as it may stand in a JSON file: with letters outside ASCII as they are, or escaped."""
    both = {json.dumps(text, ensure_ascii=True), json.dumps(text, ensure_ascii=False)}
    return both if closed else {one[:-1] for one in both}
