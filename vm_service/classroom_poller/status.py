"""Counters of the running service, kept in a small JSON file that ``classroom-poller status`` reads."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import __version__, metrics

# The service writes its file this often. A slow machine may be late; after the second time it is not running.
TICK_SECONDS = 1.0
FRESH_SECONDS = 15.0


def identity(*files: Path) -> str:
    """Names what a service runs with: its program and the content of its files; a missing file counts as empty."""
    digest = hashlib.sha256(str(Path(__file__).resolve()).encode())
    for path in files:
        content = path.read_bytes() if path.exists() else b""
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# Counters of the status that are counters of the metrics too: name and label.
_COUNTED = {
    "answered": (metrics.VIDEOS, ""),
    "failures": (metrics.FAILURES, ""),
    **{name: (metrics.RESULTS, f'result="{name}"') for name in ("stored", "unchanged", "rejected")},
}
_LAST = {"answered": metrics.LAST_ANSWER, "stored": metrics.LAST_RESULT}


class Status:
    """Thread-safe counters since the start, and ``metrics``, which go on from those of the run before.

    ``invoked`` messages handed to the function, ``answered`` those it dealt with, ``failures`` those that come again,
    ``stored`` results written, ``unchanged`` those that were there already, ``rejected`` messages that are no results.
    """

    def __init__(self, runs_with: str = "") -> None:
        self.metrics = metrics.Metrics(metrics.FAMILIES)
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._values: dict[str, Any] = {
            "version": __version__,
            "pid": os.getpid(),
            "identity": runs_with,
            "started_at": _now(),
            "state": "starting",
            "invoked": 0,
            "answered": 0,
            "failures": 0,
            "stored": 0,
            "unchanged": 0,
            "rejected": 0,
            "in_flight": 0,
            "last_activity": None,
            "input_polled_at": None,
            "output_polled_at": None,
        }

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter; anything but ``in_flight`` is an activity."""
        with self._lock:
            self._values[name] += amount
            if amount and name != "in_flight":
                self._values["last_activity"] = _now()
        if name in _COUNTED:
            self.metrics.add(*_COUNTED[name], amount)
        if name in _LAST and amount:
            self.metrics.set(_LAST[name], time.time())

    def polled(self, side: str) -> None:
        """The queue of `side` (input or output) has answered a receive call."""
        with self._lock:
            self._values[f"{side}_polled_at"] = _now()
        self.metrics.set(metrics.LAST_POLL, time.time(), f'queue="{side}"')

    def state(self, name: str) -> None:
        """The service is now ``starting``, ``running`` or ``draining``."""
        with self._lock:
            self._values["state"] = name

    def problem(self, source: str, text: str | None) -> None:
        """What stops `source` at present; None when it works again."""
        with self._lock:
            if text is None:
                self._problems.pop(source, None)
            else:
                self._problems[source] = text

    def snapshot(self) -> dict[str, Any]:
        """All values, with the time of the snapshot and present problems by source."""
        with self._lock:
            return {**self._values, "problems": dict(self._problems), "written_at": _now()}

    def line(self) -> str:
        """One line for people."""
        values = self.snapshot()
        text = (
            f"{values['state']}: {values['answered']} videos answered, {values['stored']} results stored, "
            f"{values['failures']} failures, {values['in_flight']} in flight"
        )
        return "; ".join([text, *values["problems"].values()])

    def write(self, path: Path) -> None:
        """Replace the file at `path`.

        Raises:
            OSError: the system refuses.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(json.dumps(self.snapshot()) + "\n", encoding="utf-8")
        temporary.replace(path)

    def write_metrics(self, path: Path, leases: dict[str, int], *, ended: bool = False) -> None:
        """Replace the metrics at `path`; `leases` is the number of messages that are held of each queue.

        Raises:
            OSError: the system refuses.
        """
        values = self.snapshot()
        self.metrics.set(metrics.RUNNING, float(values["state"] == "running" and not ended))
        self.metrics.set(metrics.STARTED, datetime.fromisoformat(values["started_at"]).timestamp())
        self.metrics.set(metrics.WRITTEN, time.time())
        self.metrics.set(metrics.IN_FLIGHT, values["in_flight"])
        for part in ("input", "output", "function", "disk"):
            self.metrics.set(metrics.PROBLEM, float(part in values["problems"]), f'part="{part}"')
        for queue, count in leases.items():
            self.metrics.set(metrics.LEASES, count, f'queue="{queue}"')
        self.metrics.write(path)


def read_status(path: Path, results_dir: Path, installed: str) -> dict[str, Any]:
    """What the service last wrote, plus ``fresh``, ``age_seconds`` and the number of ``results`` on this disk.

    ``outdated`` says that the service runs with other files than the `installed` ones, and wants a restart.
    A missing or broken file gives ``fresh`` false and the reason in ``problems``.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        age = (datetime.now(UTC) - datetime.fromisoformat(values["written_at"])).total_seconds()
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{path} cannot be read ({error}); is the service running? systemctl status classroom-poller"
        values, age = {"state": "unknown", "problems": {"status": reason}}, None
    try:
        results = sum(1 for entry in os.scandir(results_dir) if entry.name.endswith(".json"))
    except OSError:
        results = None
    fresh = age is not None and age <= FRESH_SECONDS
    return {
        **values,
        "fresh": fresh,
        "outdated": fresh and values.get("identity") != installed,
        "age_seconds": None if age is None else round(age, 1),
        "results": results,
    }
