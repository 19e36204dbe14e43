"""Results on the VMs: found by what they say, not by how the poller names its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from classroom_ops.commands import ssh
from classroom_ops.environment import Endpoints

SECONDS = 60.0
_NONE_FOUND = 1  # grep's exit code
# To find a result and to read it by one command: each takes more than a second on an emulated VM. The poller writes the
# CSV after the JSON, so a result without one is not there yet.
_READ = """
found=$(grep -rlF --include="*.json" "$@")
[ $? -le 1 ] || exit 2
printf "%s\\n" "$found" | sed "s/json$/csv/" | while read -r csv; do
    [ ! -f "$csv" ] || { echo "$csv"; cat -- "$csv"; }
done
"""


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
    patterns = _patterns(text, closed=not prefix)
    argv = ["sudo", "-n", "grep", "-rlF", "--include=*.json", *patterns, "--", endpoints.results_dir]
    found: list[Stored] = []
    for host in endpoints.pollers:
        output = ssh(endpoints, host, argv, timeout, ok=(0, _NONE_FOUND))
        found += [Stored(host, line) for line in output.stdout.splitlines() if line]
    return found


def read(endpoints: Endpoints, key: str, timeout: float = SECONDS) -> tuple[Stored, str] | None:
    """The CSV of the only result that names the video `key`, and its text; nothing where there is none yet.

    Raises:
        CommandError: a VM cannot be reached, or its results cannot be read.
    """
    argv = ["sudo", "-n", "sh", "-c", _READ, "sh", *_patterns(key, closed=True), "--", endpoints.results_dir]
    for host in endpoints.pollers:
        path, _, text = ssh(endpoints, host, argv, timeout).stdout.partition("\n")
        if path:
            return Stored(host, path), text
    return None


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


def _patterns(text: str, *, closed: bool) -> list[str]:
    return [part for pattern in _quoted(text, closed=closed) for part in ("-e", pattern)]


def _quoted(text: str, *, closed: bool) -> set[str]:
    """`text` as it may stand in a JSON file: with letters outside ASCII as they are, or escaped."""
    both = {json.dumps(text, ensure_ascii=True), json.dumps(text, ensure_ascii=False)}
    return both if closed else {one[:-1] for one in both}
