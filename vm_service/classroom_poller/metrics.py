"""What the service counts, as a file that Prometheus's node exporter reads (its textfile collector): no port is opened.

Written here and not by the package prometheus-client, which cannot begin with the counts of an earlier run and takes
seconds to import on a server without hardware support. Format: Prometheus's text exposition format 0.0.4.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SAMPLE = re.compile(r'(\w+)((?:\{\w+="[^"\\\n]*"(?:,\w+="[^"\\\n]*")*\})?) ([-+.\deE]+|NaN|[-+]Inf)')


@dataclass(frozen=True)
class Family:
    """A metric: its `name`, its `kind` (``counter``, ``gauge`` or ``histogram``), what it says, limits of buckets."""

    name: str
    kind: str
    text: str
    buckets: tuple[float, ...] = ()

    def samples(self, label: str) -> Iterator[str]:
        """Names of the samples of one series; `label` holds its labels as they are written, or nothing."""
        if self.kind != "histogram":
            yield self.name + _braces(label)
            return
        for limit in (*self.buckets, math.inf):
            yield self.bucket(limit, label)
        yield f"{self.name}_sum{_braces(label)}"
        yield f"{self.name}_count{_braces(label)}"

    def bucket(self, limit: float, label: str) -> str:
        """Name of the sample that counts values up to `limit`."""
        upper = f'le="{_number(limit)}"'
        return f"{self.name}_bucket{_braces(label, upper)}"


class Metrics:
    """Thread-safe counters, gauges and histograms. Every series is there from the start, at 0.

    A series is named by its family and its labels, given as ``name="value"`` with commas between them, or none.
    """

    def __init__(self, families: Iterable[tuple[Family, tuple[str, ...]]]) -> None:
        self._lock = threading.Lock()
        self._families = {family.name: (family, labels) for family, labels in families}
        self._values = {
            sample: 0.0
            for family, labels in self._families.values()
            for label in labels or ("",)
            for sample in family.samples(label)
        }

    def add(self, name: str, label: str = "", amount: float = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self._values[name + _braces(label)] += amount

    def set(self, name: str, value: float, label: str = "") -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name + _braces(label)] = value

    def observe(self, name: str, value: float, label: str = "") -> None:
        """Count a value in a histogram."""
        family = self._families[name][0]
        with self._lock:
            for limit in (*family.buckets, math.inf):
                if value <= limit:
                    self._values[family.bucket(limit, label)] += 1
            self._values[f"{name}_sum{_braces(label)}"] += value
            self._values[f"{name}_count{_braces(label)}"] += 1

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        with self._lock:
            values = dict(self._values)
        lines: list[str] = []
        for family, labels in self._families.values():
            lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}"]
            for label in labels or ("",):
                lines += [f"{sample} {_number(values[sample])}" for sample in family.samples(label)]
        return "\n".join(lines) + "\n"

    def restore(self, path: Path) -> None:
        """Go on from what the file says; a series that it does not hold, or holds unreadably, begins at 0."""
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        with self._lock:
            for line in lines:
                found = _SAMPLE.fullmatch(line)
                if found and found[1] + found[2] in self._values:
                    self._values[found[1] + found[2]] = float(found[3])

    def write(self, path: Path) -> None:
        """Replace the file at `path`, so that no reader sees half of it.

        Raises:
            OSError: the system refuses.
        """
        write_text(path, self.text())


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path`; the textfile collector, which reads ``*.prom``, overlooks the temporary one.

    Raises:
        OSError: the system refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    # Whoever reads it is another user; nothing in it is about anybody.
    temporary.chmod(0o644)
    temporary.replace(path)


def _braces(*labels: str) -> str:
    inside = ",".join(label for label in labels if label)
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isinf(value) or math.isnan(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return str(int(value)) if value == int(value) else repr(round(value, 6))


# -- what the poller says of itself ------------------------------------------------------------------------------------

QUEUES = ('queue="input"', 'queue="output"')
INVOCATIONS = "classroom_poller_invocations_total"
INVOCATION_SECONDS = "classroom_poller_invocation_seconds"
BATCH = "classroom_poller_batch_videos"
WAIT = "classroom_poller_queue_wait_seconds"
VIDEOS = "classroom_poller_videos_total"
FAILURES = "classroom_poller_failures_total"
RESULTS = "classroom_poller_results_total"
LEASES = "classroom_poller_leases"
IN_FLIGHT = "classroom_poller_videos_in_flight"
PROBLEM = "classroom_poller_problem"
RUNNING = "classroom_poller_running"
STARTED = "classroom_poller_start_timestamp_seconds"
WRITTEN = "classroom_poller_written_timestamp_seconds"
LAST_POLL = "classroom_poller_last_poll_timestamp_seconds"
LAST_ANSWER = "classroom_poller_last_answer_timestamp_seconds"
LAST_RESULT = "classroom_poller_last_result_timestamp_seconds"


def _labels(name: str, *values: str) -> tuple[str, ...]:
    return tuple(f'{name}="{value}"' for value in values)


FAMILIES: tuple[tuple[Family, tuple[str, ...]], ...] = (
    (
        Family(INVOCATIONS, "counter", "Calls of the function, by what came of them."),
        # partial: it answered, and named messages that failed; not_started: throttled, missing or out of reach.
        _labels("result", "answered", "partial", "failed", "not_started"),
    ),
    (
        Family(
            INVOCATION_SECONDS,
            "histogram",
            "How long a call took that came to an end.",
            (0.5, 1, 2, 5, 10, 20, 30, 60, 120),
        ),
        (),
    ),
    (Family(BATCH, "histogram", "Videos in a call.", (1, 2, 3, 5, 10)), ()),
    (
        Family(
            WAIT,
            "histogram",
            "From the sending of a message to its first receipt.",
            (1, 2, 5, 10, 30, 60, 300, 900, 3600),
        ),
        QUEUES,
    ),
    (Family(VIDEOS, "counter", "Messages that the function dealt with."), ()),
    (Family(FAILURES, "counter", "Messages that were given back for another attempt."), ()),
    (
        Family(RESULTS, "counter", "Answers that came: written, there already, or no results at all."),
        _labels("result", "stored", "unchanged", "rejected"),
    ),
    (Family(LEASES, "gauge", "Messages that are held and renewed."), QUEUES),
    (Family(IN_FLIGHT, "gauge", "Videos that the function works on, or that wait for its start."), ()),
    (
        Family(PROBLEM, "gauge", "1 while this part cannot do its work."),
        _labels("part", "input", "output", "function", "disk"),
    ),
    (Family(RUNNING, "gauge", "1 while it takes messages, 0 before, while it drains, and when it has ended."), ()),
    (Family(STARTED, "gauge", "When the service was started."), ()),
    (Family(WRITTEN, "gauge", "When this file was written."), ()),
    (Family(LAST_POLL, "gauge", "When the queue last answered a poll."), QUEUES),
    (Family(LAST_ANSWER, "gauge", "When the function last dealt with a video."), ()),
    (Family(LAST_RESULT, "gauge", "When a result was last written."), ()),
)
