"""Run stages of tests in lanes beside one another, and say at the end how long each took.

A lane runs its stages one after the other; a stage that needs another one, of whichever lane, waits for it and is
skipped when that failed. What a stage writes goes into a file of its own; the terminal shows one line for each
beginning and end, and the last lines of a stage that failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TextIO

TAIL_LINES = 80
HEARTBEAT_SECONDS = 60.0


class Result(Enum):
    """How a stage ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Stage:
    """A command of a lane. ``needs`` must have passed before it; ``after`` must have ended, however."""

    name: str
    title: str
    lane: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    # Not part of a run that names no stage.
    optional: bool = False


@dataclass
class Outcome:
    """How a stage ended and how long it took."""

    stage: Stage
    result: Result
    seconds: float
    reason: str = ""
    began: float = 0.0


class UnknownStageError(Exception):
    """A name on the command line is that of no stage; the message lists them."""


def selected(stages: Sequence[Stage], names: Iterable[str]) -> list[Stage]:
    """The named stages in their own order; without names all that are not optional.

    Raises:
        UnknownStageError: a name is not known.
    """
    wanted = list(names)
    known = [stage.name for stage in stages]
    if unknown := [name for name in wanted if name not in known]:
        raise UnknownStageError(f"there is no stage {', '.join(unknown)}; there are: {' '.join(known)}")
    return [stage for stage in stages if (stage.name in wanted if wanted else not stage.optional)]


@dataclass
class Run:
    """Runs stages. ``lane_prefix`` is put before the commands of a lane, for example to make it nice."""

    stages: Sequence[Stage]
    root: Path
    logs: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)
    lane_prefix: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepares what the lanes share."""
        self.outcomes: dict[str, Outcome] = {}
        self._ended = {stage.name: threading.Event() for stage in self.stages}
        self._running: dict[str, float] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._stopped = False

    def run(self) -> int:
        """Runs all lanes to their end; returns 0 if every stage passed, else 1."""
        self.logs.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(stage.lane for stage in self.stages))
        lanes = [threading.Thread(target=self._run_lane, args=(name,), daemon=True) for name in names]
        for lane in lanes:
            lane.start()
        heard = time.monotonic()
        try:
            while any(lane.is_alive() for lane in lanes):
                time.sleep(0.02)
                if time.monotonic() - heard >= HEARTBEAT_SECONDS:
                    heard = time.monotonic()
                    self._say(self._heartbeat())
        except BaseException:
            self._stop()
            raise
        self._report()
        return int(any(outcome.result is not Result.PASSED for outcome in self.outcomes.values()))

    def _run_lane(self, lane: str) -> None:
        for stage in self.stages:
            if stage.lane == lane:
                try:
                    outcome = self._run_stage(stage)
                except Exception as error:
                    outcome = Outcome(stage, Result.FAILED, 0.0, f"{type(error).__name__}: {error}")
                self.outcomes[stage.name] = outcome
                self._ended[stage.name].set()
                self._say_end(outcome)

    def _run_stage(self, stage: Stage) -> Outcome:
        for name in (*stage.needs, *stage.after):
            if name in self._ended:
                self._ended[name].wait()
        missing = [name for name in stage.needs if name in self.outcomes and not self._passed(name)]
        began = time.monotonic()
        if self._stopped:
            return Outcome(stage, Result.SKIPPED, 0.0, "the run was interrupted", began - self._begin)
        if missing:
            reason = f"{', '.join(missing)} did not pass"
            return Outcome(stage, Result.SKIPPED, 0.0, reason, began - self._begin)
        self._say(f"{stage.name}: {stage.title}")
        self._running[stage.name] = began
        result = Result.PASSED
        with (self.logs / f"{stage.name}.log").open("wb") as log:
            for command in stage.commands:
                if self._status(stage, command, log.fileno()) != 0:
                    result = Result.FAILED
                    break
        del self._running[stage.name]
        return Outcome(stage, result, time.monotonic() - began, "", began - self._begin)

    def _status(self, stage: Stage, command: Sequence[str], log: int) -> int:
        process = subprocess.Popen(
            [*self.lane_prefix.get(stage.lane, ()), *command],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._processes.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)

    def _passed(self, name: str) -> bool:
        return self.outcomes[name].result is Result.PASSED

    def _stop(self) -> None:
        """Ends what runs, as an interrupted person expects."""
        self._stopped = True
        with self._lock:
            for process in self._processes:
                os.killpg(process.pid, signal.SIGTERM)

    def _say(self, text: str) -> None:
        with self._lock:
            self.out.write(f"[{time.monotonic() - self._begin:5.0f} s] {text}\n")
            self.out.flush()

    def _heartbeat(self) -> str:
        now = time.monotonic()
        running = [f"{name} ({now - began:.0f} s)" for name, began in self._running.items()]
        return f"... {', '.join(running) or 'waiting'}"

    def _say_end(self, outcome: Outcome) -> None:
        name, result = outcome.stage.name, outcome.result
        if result is Result.SKIPPED:
            self._say(f"{name} skipped: {outcome.reason}")
            return
        self._say(
            f"{name} {result.value} after {outcome.seconds:.0f} s{': ' if outcome.reason else ''}{outcome.reason}"
        )
        if result is Result.FAILED and not outcome.reason:
            path = self.logs / f"{name}.log"
            lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            shown = "".join(f"    {line}\n" for line in lines[-TAIL_LINES:])
            with self._lock:
                self.out.write(f"  the end of {path}:\n{shown}")
                self.out.flush()

    def _report(self) -> None:
        """The table of durations, on the terminal and in ``stages.tsv`` beside the logs."""
        rows = [self.outcomes[stage.name] for stage in self.stages]
        width = max((len(row.stage.name) for row in rows), default=0)
        table = "".join(
            f"  {row.stage.lane:5} {row.stage.name:{width}} {row.began:6.0f} {row.seconds:6.0f} s  {row.result.value}"
            f"{': ' if row.reason else ''}{row.reason}\n"
            for row in rows
        )
        lines = [f"{r.stage.lane}\t{r.stage.name}\t{r.began:.0f}\t{r.seconds:.0f}\t{r.result.value}\n" for r in rows]
        (self.logs / "stages.tsv").write_text("lane\tstage\tbegan\tseconds\tresult\n" + "".join(lines), "utf-8")
        counts = {result: sum(row.result is result for row in rows) for result in Result}
        with self._lock:
            self.out.write(f"\n  {'lane':5} {'stage':{width}} {'began':>6} {'took':>6}\n{table}\n")
            self.out.write(", ".join(f"{count} {result.value.lower()}" for result, count in counts.items()))
            self.out.write(f" in {(time.monotonic() - self._begin) / 60:.1f} minutes; logs in {self.logs}\n")
            self.out.flush()


def described(stages: Sequence[Stage]) -> str:
    """A line for each stage: its lane, its name, its title."""
    width = max(len(stage.name) for stage in stages)
    return "".join(
        f"{stage.lane:5} {stage.name:{width}}  {stage.title}{' (not by itself)' if stage.optional else ''}\n"
        for stage in stages
    )
