"""Uploads in, invocations out: takes as many messages as workers are free and hands them to the function."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import metrics
from .invocation import Function, InvocationFailedError, NotStartedError
from .leases import BATCH, LeasedQueue, backoff_seconds
from .logs import failure
from .loop import Loop
from .messages import receive_count, upload_correlation

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from .config import Config
    from .status import Status

LOG = logging.getLogger(__name__)
_HOLD_LIMIT_SECONDS = 15


def split_into_batches(messages: Sequence[MessageTypeDef], workers: int, batch_size: int) -> list[list[MessageTypeDef]]:
    """Batches of at most `batch_size` messages, evenly over `workers`.

    A message that comes again goes alone: whatever made its invocation fail must not take its neighbours along to the
    dead-letter queue.
    """
    fresh = [message for message in messages if receive_count(message) == 1]
    size = max(1, min(batch_size, math.ceil(len(fresh) / workers)))
    batches = [fresh[start : start + size] for start in range(0, len(fresh), size)]
    return batches + [[message] for message in messages if receive_count(message) > 1]


class InputLoop(Loop):
    """Receives uploads and invokes the function, `concurrency` batches at once.

    Messages are received only when a worker is free and none waits here. Of those that come again, which go alone,
    several may then wait for a worker, ten at most: to give them back would spend another of their receives.
    """

    side = "input"

    def __init__(
        self, config: Config, messages: LeasedQueue, function: Function, status: Status, stop: threading.Event
    ) -> None:
        super().__init__(config, messages, status, stop)
        self._function = function
        self._batches: queue.SimpleQueue[list[MessageTypeDef]] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._busy = 0
        self._workers = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(config.concurrency)
        ]

    def start(self) -> None:
        """Start receiving and the workers."""
        super().start()
        for worker in self._workers:
            worker.start()

    def threads(self) -> list[threading.Thread]:
        """The receiver and the workers."""
        return [*super().threads(), *self._workers]

    def capacity(self) -> int:
        """As many as the free workers take; waits a second for one."""
        free = self._free()
        if not free:
            with self._idle:
                self._idle.wait(1)
        return min(BATCH, free * self._config.batch_size)

    def handle(self, pending: list[MessageTypeDef]) -> None:
        """Hand the messages out to the workers, who answer for them from then on."""
        for batch in split_into_batches(pending, max(1, self._free()), self._config.batch_size):
            with self._idle:
                self._busy += 1
            self._batches.put(batch)
            for message in batch:
                pending.remove(message)

    def _free(self) -> int:
        with self._idle:
            return max(0, self._config.concurrency - self._busy)

    def drain(self, deadline: float) -> bool:
        """After the stop: give back what no worker has begun, wait for the rest until `deadline` (monotonic seconds).

        Returns:
            True when nothing is left running.
        """
        while True:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                break
            self._messages.give_back(batch, self.pause)
            self._done()
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, timeout=max(0, deadline - time.monotonic()))

    def _done(self) -> None:
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def _work(self) -> None:
        while True:
            batch = self._batches.get()
            try:
                self._attempt(batch)
            except Exception as error:
                self._fail(batch)
                log(batch, logging.ERROR, "a batch failed for an unforeseen reason", **failure(error)["fields"])
            finally:
                self._done()

    def _attempt(self, batch: list[MessageTypeDef]) -> None:
        self._status.count("in_flight", len(batch))
        try:
            self._process(batch)
        finally:
            self._status.count("in_flight", -len(batch))

    def _process(self, batch: list[MessageTypeDef]) -> None:
        started = time.monotonic()
        attempt = 0
        while True:
            # Whoever lost a lease (the network was cut) leaves the message to its next receiver.
            batch = [message for message in batch if self._messages.holds(message)]
            if not batch or self._stop.is_set():
                self._messages.give_back(batch, self.pause)
                return
            try:
                self._status.count("invoked", len(batch))
                failed = self._invoke(batch)
            except NotStartedError as error:
                attempt += 1
                self._status.problem("function", f"the function cannot be started: {error}")
                held = time.monotonic() - started
                fields = {"error": str(error), "attempt": attempt, "held_seconds": round(held, 1)}
                log(batch, logging.ERROR, "the function cannot be started", **fields)
                if held < self._config.hold_seconds:
                    self._stop.wait(backoff_seconds(attempt, 1, _HOLD_LIMIT_SECONDS))
                    continue
                self._fail(batch)
            except InvocationFailedError as error:
                self._status.problem("function", None)
                log(batch, logging.ERROR, "an invocation failed", error=str(error))
                self._fail(batch)
            else:
                self._status.problem("function", None)
                self._finish(batch, failed, time.monotonic() - started)
            return

    def _invoke(self, batch: list[MessageTypeDef]) -> set[str]:
        """Call the function and count what comes of it."""
        counts = self._status.metrics
        counts.observe(metrics.BATCH, len(batch))
        started = time.monotonic()
        try:
            failed = self._function.invoke(batch)
        except NotStartedError:
            counts.add(metrics.INVOCATIONS, 'result="not_started"')
            raise
        except Exception:
            counts.add(metrics.INVOCATIONS, 'result="failed"')
            raise
        counts.add(metrics.INVOCATIONS, f'result="{"partial" if failed else "answered"}"')
        counts.observe(metrics.INVOCATION_SECONDS, time.monotonic() - started)
        return failed

    def _finish(self, batch: list[MessageTypeDef], failed: set[str], seconds: float) -> None:
        answered = [message for message in batch if message["MessageId"] not in failed]
        if answered:
            self._messages.delete(answered)
            self._status.count("answered", len(answered))
            log(answered, logging.INFO, "answered", seconds=round(seconds, 3))
        rest = [message for message in batch if message["MessageId"] in failed]
        if rest:
            log(rest, logging.WARNING, "the function asks for another attempt", seconds=round(seconds, 3))
            self._fail(rest)

    def _fail(self, batch: Sequence[MessageTypeDef]) -> None:
        self._messages.give_back(batch, self.pause)
        self._status.count("failures", len(batch))


def log(batch: Sequence[MessageTypeDef], level: int, text: str, **values: object) -> None:
    """One line for each message, so that a search for a video finds all that happened to it."""
    for message in batch:
        fields = {
            "correlation": upload_correlation(message),
            "message_id": message["MessageId"],
            "receive_count": receive_count(message),
            "batch": len(batch),
        }
        LOG.log(level, text, extra={"fields": {**fields, **values}})
