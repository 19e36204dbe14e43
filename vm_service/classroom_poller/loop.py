"""What both queue loops have in common: a thread that never dies of a fault outside it, and keeps no message."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from . import metrics
from .leases import AWS_ERRORS, LeasedQueue, backoff_seconds
from .logs import describe, failure
from .messages import waited_seconds

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from .config import Config
    from .status import Status

LOG = logging.getLogger(__name__)
_PAUSE_LIMIT_SECONDS = 15


class Loop(ABC):
    """Receives and handles messages until the stop, with a growing pause while it fails, and shows that it is alive.

    Whatever a round leaves of its messages, or was interrupted with by any exception, goes back to the queue.
    """

    side: ClassVar[str]

    def __init__(self, config: Config, messages: LeasedQueue, status: Status, stop: threading.Event) -> None:
        self._config = config
        self._messages = messages
        self._status = status
        self._stop = stop
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=self.side, daemon=True)

    @abstractmethod
    def capacity(self) -> int:
        """How many messages may be received now; 0 for none, having waited a little."""

    @abstractmethod
    def handle(self, pending: list[MessageTypeDef]) -> None:
        """Deal with the messages, and remove from `pending` those that another thread has taken over.

        May raise anything: what is still pending and leased goes back to the queue.
        """

    def start(self) -> None:
        """Start the thread."""
        self.beat()
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the last round; True when it came, or none was begun."""
        if self._thread.ident is None:
            return True
        self._thread.join(max(0, seconds))
        return not self._thread.is_alive()

    def threads(self) -> list[threading.Thread]:
        """The threads without which the loop does not do its work."""
        return [self._thread]

    def fault(self, stall_seconds: float) -> str | None:
        """Why the loop does nothing any more although it was started and not stopped; None when it is well."""
        started = [thread for thread in self.threads() if thread.ident is not None]
        if not started or self._stop.is_set():
            return None
        if not all(thread.is_alive() for thread in started):
            return f"a thread of the {self.side} loop has died"
        if time.monotonic() - self._beat > stall_seconds:
            return f"the {self.side} loop hangs"
        return None

    def beat(self) -> None:
        """The loop moves."""
        self._beat = time.monotonic()

    def pause(self, count: int) -> int:
        """Seconds before a message that was received `count` times is handed out again."""
        if self._stop.is_set():
            return 0
        return backoff_seconds(count, self._config.backoff_base_seconds, self._config.backoff_max_seconds)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self.beat()
            try:
                self._round()
            except Exception as error:
                failures += 1
                self._status.problem(self.side, f"the {self.side} queue cannot be served: {describe(error)}")
                foreseen = isinstance(error, AWS_ERRORS)
                text = "a queue cannot be reached" if foreseen else "a round failed for an unforeseen reason"
                LOG.error(f"{text}, another attempt follows", extra=failure(error, queue=self.side, attempt=failures))
                self._stop.wait(backoff_seconds(failures, 1, _PAUSE_LIMIT_SECONDS))
            else:
                if failures:
                    LOG.warning(
                        "the queue is served again", extra={"fields": {"queue": self.side, "attempts": failures}}
                    )
                    failures = 0
                    self._status.problem(self.side, None)

    def _round(self) -> None:
        count = self.capacity()
        if not count:
            return
        pending = self._messages.receive(count, self._config.wait_seconds)
        try:
            self._status.polled(self.side)
            for message in pending:
                if (waited := waited_seconds(message, time.time())) is not None:
                    self._status.metrics.observe(metrics.WAIT, waited, f'queue="{self.side}"')
            # The long poll may have brought them after the decision to stop.
            if not self._stop.is_set():
                self.handle(pending)
        finally:
            self._messages.give_back(pending, self.pause)
