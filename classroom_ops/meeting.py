"""Runs that meet: only one at a time changes an environment. A run that died holds nothing."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path

# The processes of a run that was killed are gone a moment after it.
PATIENCE_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


class AnotherRunError(Exception):
    """Another run changes the environment; the text says which, since when, and what to do."""


def lock_file(state_dir: Path) -> Path:
    """The lock of an environment: beside its state directory, which a teardown removes."""
    return state_dir.parent / f"{state_dir.name}.lock"


def take(state_dir: Path, argv: Sequence[str], patience: float = PATIENCE_SECONDS) -> TextIOWrapper:
    """Take the lock of the environment in ``state_dir`` for as long as the returned file is open.

    The kernel gives it back when this process ends, however it ends. Processes that it forks do not hold it: a worker
    of Ansible may outlive a run that was killed.

    Raises:
        AnotherRunError: another run has it.
        OSError: the lock's file cannot be written.
    """
    path = lock_file(state_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                holder = file.read()
                file.close()
                raise AnotherRunError(_sentence(state_dir.name, holder)) from None
            time.sleep(_PAUSE_SECONDS)
    os.register_at_fork(after_in_child=file.close)
    file.truncate(0)
    json.dump({"process": os.getpid(), "since": time.time(), "command": list(argv)}, file)
    file.flush()
    return file


def _sentence(environment: str, holder: str) -> str:
    """What is said about the run that has the lock."""
    try:
        written = json.loads(holder)
        process, began = int(written["process"]), datetime.fromtimestamp(written["since"]).astimezone()
        command = " ".join(written["command"])
    except (ValueError, KeyError, TypeError):
        return (
            f"another run changes the environment {environment} and has only just begun. Nothing was done; try again."
        )
    today = began.date() == datetime.now().astimezone().date()
    since = began.strftime("%H:%M" if today else "%d %B, %H:%M")
    return (
        f"another run changes the environment {environment}, since {since}: process {process}, {command}. "
        f"Nothing was done. Wait for its end, or end it with `kill {process}`; then run this again."
    )
