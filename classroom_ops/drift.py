"""``drift``: what differs from the desired state: ``site.yml`` in check mode, summed up to a list. Changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classroom_ops.console import info, print_data
from classroom_ops.environment import PROJECT_ROOT
from classroom_ops.errors import OpsError

DIFFERS = 2
SECONDS = 1800.0
_LONGEST = 160
_MESSAGE_LINES = 12


@dataclass(frozen=True)
class Difference:
    """A task that would change something: of which role or play, on which host, and what as far as it says."""

    host: str
    task: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        return f"{self.host}: {self.task}" + (f": {'; '.join(self.details)}" if self.details else "")


@dataclass
class Comparison:
    """What a run in check mode found. `fault` is why it ended early, None where it came to its end."""

    differences: list[Difference] = field(default_factory=list)
    fault: str | None = None


def read(events: Iterable[str], play: Callable[[str], None] = lambda _: None) -> Comparison:
    """Sum up the lines that the callback ansible.posix.jsonl writes; `play` is told the name of each play."""
    found = Comparison()
    failed: str | None = None
    for text in events:
        try:
            event = json.loads(text)
        except ValueError:  # a warning of Ansible itself
            continue
        if not isinstance(event, dict):
            continue
        kind = event.get("_event")
        if kind == "v2_playbook_on_play_start":
            play(event["play"]["name"])
        for host, result in (event.get("hosts") or {}).items():
            task = event["task"]["name"].replace(" : ", ": ", 1)
            if kind == "v2_runner_on_ok" and result.get("changed"):
                found.differences.append(Difference(host, task, tuple(details(result))))
            elif kind in {"v2_runner_on_failed", "v2_runner_on_unreachable"}:
                failed = f"{host}: {task}: {_reason(result)}"
        if kind == "v2_playbook_on_stats":
            # A failure that a block dealt with does not count.
            if any(one["failures"] or one["unreachable"] for one in event["stats"].values()):
                found.fault = failed
            return found
    found.fault = failed or "Ansible ended before its summary"
    return found


def details(result: Mapping[str, Any]) -> Iterator[str]:
    """What a result says of its change: differences named by a module, files, lines that would go or come."""
    named = result.get("differences")
    if isinstance(named, list) and named:
        yield _cut(", ".join(map(str, named)))
    for one in result.get("results") or []:
        if isinstance(one, dict) and one.get("changed"):
            label = one.get("_ansible_item_label", one.get("item"))
            inner = ", ".join(details(one))
            yield _cut(f"{label}" + (f" ({inner})" if inner else ""))
    diffs = result.get("diff") or []
    for diff in [diffs] if isinstance(diffs, dict) else diffs:
        if isinstance(diff, dict) and (header := diff.get("after_header") or diff.get("before_header")):
            yield _cut(str(header))
        elif isinstance(diff, dict) and isinstance(diff.get("before"), dict) and isinstance(diff.get("after"), dict):
            before, after = diff["before"], diff["after"]
            yield _cut(
                ", ".join(
                    f"{name} {before.get(name)} -> {after[name]}" for name in after if before.get(name) != after[name]
                )
            )


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}…"


def _reason(result: Mapping[str, Any]) -> str:
    said = [str(one.get("msg")) for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")]
    text = str(result.get("msg") or "it gave no reason") if not said else said[0]
    return "\n".join(text.splitlines()[:_MESSAGE_LINES])


def compare(environment: str, root: Path = PROJECT_ROOT) -> Comparison:
    """Run ``site.yml`` in check mode against `environment`; the closing proof, which compares nothing, is left out.

    Raises:
        OpsError: Ansible cannot be started.
    """
    playbook = Path(sys.executable).with_name("ansible-playbook")
    argv = [str(playbook), "-i", f"inventory/{environment}", "site.yml", "--check", "--diff"]
    try:
        process = subprocess.Popen(
            [*argv, "--skip-tags", "verify-pipeline"],
            cwd=root,
            env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise OpsError(f"{playbook} cannot be started: {error.strerror}: run make setup") from error
    with process:
        try:
            found = read(process.stdout or [], lambda name: info(f"comparing: {name}"))
        finally:
            process.terminate()
    return found


def run(environment: str, root: Path = PROJECT_ROOT) -> int:
    """Print what differs; returns 0 when nothing does, 2 when something does.

    Raises:
        OpsError: the comparison ended early, and nothing was found until then.
    """
    found = compare(environment, root)
    for one in found.differences:
        print_data(str(one))
    up = "make up" if environment == "local" else f"make up ENVIRONMENT={environment}"
    if found.fault is not None:
        text = f"the comparison ended early, at {found.fault}"
        if not found.differences:
            raise OpsError(text)
        info(text)
    if not found.differences:
        info(f"nothing differs from the desired state of {environment}")
        return 0
    info(f"{len(found.differences)} differences; nothing was changed. To put it right: {up}")
    return DIFFERS
