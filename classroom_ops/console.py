"""What the commands write for people: everything to standard error, so that standard output stays data."""

from __future__ import annotations

import os
import sys
import time

RED, GREEN, YELLOW, DIM, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_BAR = 30
_STEP_SECONDS_TTY = 0.1
_STEP_SECONDS_LOG = 5.0


def out(text: str) -> None:
    """One line of data on standard output."""
    sys.stdout.write(f"{text}\n")


def say(text: str) -> None:
    """One line for the reader on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def colour(text: str, code: str, *, enabled: bool) -> str:
    """`text` in a colour where the reader has a terminal."""
    return f"{code}{text}{PLAIN}" if enabled else text


def wants_colour(stream: object) -> bool:
    """Whether `stream` is a terminal whose owner has not set NO_COLOR."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR")


def size(count: float) -> str:
    """A count of bytes for people: ``13.4 MB``."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


class Progress:
    """A bar of bytes that is redrawn in place on a terminal, and a line every few seconds in a log.

    Called from several threads at once by boto3; the worst a race can do is to draw once too often.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._start = self._drawn = time.monotonic()
        self._tty = sys.stderr.isatty()

    def __call__(self, count: int) -> None:
        """Count `count` more bytes."""
        self._done += count
        now = time.monotonic()
        if now - self._drawn >= (_STEP_SECONDS_TTY if self._tty else _STEP_SECONDS_LOG):
            self._drawn = now
            self._draw(now, end="\r" if self._tty else "\n")

    def close(self) -> None:
        """Draw the last state for good."""
        self._draw(time.monotonic(), end="\n")

    def _draw(self, now: float, end: str) -> None:
        share = min(1.0, self._done / self._total) if self._total else 1.0
        rate = self._done / max(now - self._start, 0.001)
        bar = "█" * round(share * _BAR)
        text = f"{self._label} [{bar:<{_BAR}}] {share:4.0%} {size(self._done)} of {size(self._total)}, {size(rate)}/s"
        sys.stderr.write(f"{text:<100}{end}" if self._tty else f"{text}{end}")
        sys.stderr.flush()
