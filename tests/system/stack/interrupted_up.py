"""Bring the local environment up by runs that are killed, one in each play of each playbook of site.yml.

Usage: python -m tests.system.stack.interrupted_up [--seed N]

Each playbook of site.yml is run by itself. A run is killed (SIGKILL, the whole process group) a moment after it has
entered a play; the next run of the same playbook is killed in the next play, and the last one comes to its end: a
playbook resumes by itself, whatever killed it. A play that ended before the moment came is entered again with a shorter
one. After some of the playbooks everything before them is run again too, as somebody does who starts from the
beginning. In the end all of site.yml runs, and its exit status is the result.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
COMMAND = ("ansible-playbook", "-i", "inventory/local")
LONGEST_DELAY_SECONDS = 6.0
# A play that ended too early is tried again with a third of the delay, then killed as it begins.
ATTEMPTS = 3
# How many playbooks are followed by a run from the beginning.
FROM_THE_BEGINNING = 2


class InterruptedUpError(Exception):
    """A run failed by itself; the message says which."""


@dataclass(frozen=True)
class Killed:
    """Where a run was killed; ``delay`` is in seconds after the play's header."""

    playbook: str
    play: str
    delay: float


def local_patterns(root: Path) -> set[str]:
    """The hosts of the local inventory, and its groups that have any."""
    command = ["ansible-inventory", "-i", "inventory/local", "--list"]
    listed = json.loads(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)
    filled = {group for group, content in listed.items() if content.get("hosts")}
    return filled | set(listed["_meta"]["hostvars"])


def playbooks(root: Path, site: str = "site.yml") -> list[str]:
    """The playbooks that site.yml imports, as paths below the root."""
    imports = yaml.safe_load((root / site).read_text(encoding="utf-8"))
    return [item["ansible.builtin.import_playbook"] for item in imports]


def plays(root: Path, playbook: str, patterns: set[str]) -> list[str]:
    """The names of the plays with local hosts of a playbook, those of imported playbooks too, in their order."""
    path = root / playbook
    names = []
    for play in yaml.safe_load(path.read_text(encoding="utf-8")):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            names += plays(root, str((path.parent / imported).relative_to(root)), patterns)
        elif play["hosts"] in patterns:
            names.append(play["name"])
    return names


def run(root: Path, arguments: Sequence[str], kill_in: str | None = None, delay: float = 0.0) -> int | None:
    """Run playbooks; returns None when the run was killed in the play ``kill_in``, else its exit status."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    timer: threading.Timer | None = None
    left = threading.Event()

    def kill() -> None:
        if not left.is_set():
            os.killpg(process.pid, signal.SIGKILL)

    for line in process.stdout or ():
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith(("PLAY [", "PLAY RECAP")):
            if timer is not None:
                # The play is over: what the timer would kill now is another one.
                left.set()
            elif kill_in is not None and line.startswith(f"PLAY [{kill_in}]"):
                timer = threading.Timer(delay, kill)
                timer.start()
    status = process.wait()
    left.set()
    if timer is not None:
        timer.cancel()
    return None if status == -signal.SIGKILL else status


def interrupt(root: Path, playbook: str, play: str, delay: float) -> Killed | None:
    """Have a run of the playbook killed in one of its plays; None when the play is over before anything can kill it.

    Raises:
        InterruptedUpError: a run failed by itself.
    """
    for attempt in range(ATTEMPTS):
        moment = 0.0 if attempt == ATTEMPTS - 1 else delay / 3**attempt
        status = run(root, [playbook], play, moment)
        if status is None:
            print(f"\n== killed {moment:.1f} s into '{play}' of {playbook}; running it again", flush=True)  # noqa: T201
            return Killed(playbook, play, moment)
        if status != 0:
            raise InterruptedUpError(f"{playbook} failed by itself before it could be killed in '{play}'")
    return None


def bring_up(root: Path, seed: int) -> list[Killed]:
    """Kill, resume, kill, …; returns where runs were killed.

    Raises:
        InterruptedUpError: a run failed by itself.
    """
    moments = random.Random(seed)  # noqa: S311 chooses a moment, guards nothing
    patterns = local_patterns(root)
    every = playbooks(root)
    own = {playbook: plays(root, playbook, patterns) for playbook in every}
    again = set(moments.sample([playbook for playbook in every if own[playbook]], FROM_THE_BEGINNING))
    killed: list[Killed] = []
    for number, playbook in enumerate(every):
        found = [
            one
            for play in own[playbook]
            if (one := interrupt(root, playbook, play, moments.uniform(0.3, LONGEST_DELAY_SECONDS)))
        ]
        if own[playbook] and not found:
            raise InterruptedUpError(f"no run of {playbook} could be killed: it ends before it begins")
        killed += found
        resumed = every[: number + 1] if playbook in again else [playbook]
        if status := run(root, resumed):
            raise InterruptedUpError(f"{' '.join(resumed)} ended with {status} after it had been killed")
    if status := run(root, ["site.yml"]):
        raise InterruptedUpError(f"site.yml ended with {status}")
    return killed


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    try:
        killed = bring_up(ROOT, parser.parse_args().seed)
    except InterruptedUpError as error:
        print(f"\n== {error}", file=sys.stderr)  # noqa: T201
        return 1
    for one in killed:
        print(f"== was killed {one.delay:4.1f} s into '{one.play}' of {one.playbook}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
