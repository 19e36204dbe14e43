"""Results on this disk: whole or not there, and the same however often an answer arrives."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import datetime
from enum import Enum
from pathlib import Path

from classroom_contract import ContractError
from classroom_contract.notification import Notification

from .messages import file_stem


class Outcome(Enum):
    """What storing an answer did."""

    STORED = "stored"
    UNCHANGED = "unchanged"


class ResultStore:
    """Keeps ``<stem>.csv`` and ``<stem>.json`` a video in `directory`.

    One thread uses it.

    Raises:
        OSError: from every method that writes, when the disk refuses (full, read-only).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self) -> None:
        """Make the directory and remove what predecessors left beside results.

        These are temporary files of one that was killed, and the directory ``rejected`` of earlier versions: copies
        of messages that are in the dead-letter queue, with names of students that nobody would find to remove.
        """
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for leftover in self._directory.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        shutil.rmtree(self._directory.with_name("rejected"), ignore_errors=True)

    def store(self, notification: Notification, body: str) -> Outcome:
        """Write an answer: `body`, the message word for word, and its students as CSV, which readers wait for, last.

        An answer older than the one on disk changes nothing: a message that comes back late must not undo a newer one.
        """
        answer = self._directory / f"{file_stem(notification.video)}.json"
        kept = _processed_at(answer)
        if kept is not None and kept > notification.processed_at:
            return Outcome.UNCHANGED
        written = _replace(answer, body.encode())
        # The CSV is looked at even when the JSON is there: a kill may have struck between the two.
        written = _replace(answer.with_name(f"{answer.stem}.csv"), notification.csv().encode()) or written
        return Outcome.STORED if written else Outcome.UNCHANGED

    def sync(self) -> None:
        """Make the names of all files written so far survive a power cut."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _processed_at(answer: Path) -> datetime | None:
    try:
        return Notification.parse(answer.read_bytes()).processed_at
    except (FileNotFoundError, ContractError):
        return None


def _replace(path: Path, content: bytes) -> bool:
    """Put `content` at `path` in one step; False when it is there already."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # On a full disk even the part that was written is in somebody's way.
        temporary.unlink(missing_ok=True)
        raise
    return True
