"""What both queue loops have in common: a thread that never dies of a fault outside it."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from .leases import AWS_ERRORS, LeasedQueue, backoff_seconds

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from .config import Config
    from .status import Status

LOG = logging.getLogger(__name__)
_PAUSE_LIMIT_SECONDS = 15


class Loop(ABC):
    """Repeats ``step`` until the stop, with a growing pause while it fails, and shows that it is alive."""

    side: ClassVar[str]

    def __init__(self, config: Config, messages: LeasedQueue, status: Status, stop: threading.Event) -> None:
        self._config = config
        self._messages = messages
        self._status = status
        self._stop = stop
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=self.side, daemon=True)

    @abstractmethod
    def step(self) -> None:
        """One round; may raise anything."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the last round; True when it came."""
        self._thread.join(max(0, seconds))
        return not self._thread.is_alive()

    def silent_seconds(self) -> float:
        """Time since the loop last showed that it moves."""
        return time.monotonic() - self._beat

    def beat(self) -> None:
        """The loop moves."""
        self._beat = time.monotonic()

    def receive(self, count: int) -> list[MessageTypeDef]:
        """Long-poll for up to ``count`` messages. Raises AWS_ERRORS."""
        messages = self._messages.receive(count, self._config.wait_seconds)
        self._status.polled(self.side)
        return messages

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self.beat()
            try:
                self.step()
            except Exception as error:
                failures += 1
                self._status.problem(self.side, f"the {self.side} queue cannot be served: {error}")
                fields = {"fields": {"queue": self.side, "error": str(error), "attempt": failures}}
                if isinstance(error, AWS_ERRORS):
                    LOG.error("a queue cannot be reached, another attempt follows", extra=fields)
                else:
                    LOG.exception("a round failed for an unforeseen reason, another attempt follows", extra=fields)
                self._stop.wait(backoff_seconds(failures, 1, _PAUSE_LIMIT_SECONDS))
            else:
                if failures:
                    LOG.warning(
                        "the queue is served again", extra={"fields": {"queue": self.side, "attempts": failures}}
                    )
                    failures = 0
                    self._status.problem(self.side, None)
