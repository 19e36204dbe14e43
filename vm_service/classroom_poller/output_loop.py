"""Answers in, files out: a message is deleted only after its result is safe on the disk."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .leases import BATCH, LeasedQueue, backoff_seconds
from .loop import Loop
from .messages import RejectedMessageError, parse_result, receive_count
from .results import Outcome, ResultStore

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from .config import Config
    from .status import Status

LOG = logging.getLogger(__name__)
_DISK_LIMIT_SECONDS = 15


class OutputLoop(Loop):
    """Receives the function's answers and stores them.

    While the disk refuses, the messages at hand stay here, their leases renewed, and no others are received: a full
    disk must not spend the receive counts that decide about the dead-letter queue.
    """

    side = "output"

    def __init__(
        self, config: Config, messages: LeasedQueue, store: ResultStore, status: Status, stop: threading.Event
    ) -> None:
        super().__init__(config, messages, status, stop)
        self._store = store

    def step(self) -> None:
        """Receive, store all, then delete."""
        messages = self.receive(BATCH)
        stored: list[MessageTypeDef] = []
        for position, message in enumerate(messages):
            try:
                if self._keep(message):
                    stored.append(message)
                elif self._stop.is_set():
                    self._messages.give_back(messages[position:], lambda _: 0)
                    break
            except RejectedMessageError as error:
                self._reject(message, str(error))
        if stored and self._retry(self._store.sync):
            self._messages.delete(stored)

    def _keep(self, message: MessageTypeDef) -> bool:
        """Store one answer, however long the disk refuses; False when the lease ended or the service stops."""
        result = parse_result(message["Body"])
        outcome: list[Outcome] = []
        if not self._retry(lambda: outcome.append(self._store.store(result)), message):
            return False
        self._status.count(outcome[0].value)
        LOG.info(
            outcome[0].value,
            extra={
                "fields": {
                    "correlation": result.correlation,
                    "message_id": message["MessageId"],
                    "status": result.status,
                    "students": len(result.students),
                    "file": f"{result.file_stem}.csv",
                }
            },
        )
        return True

    def _retry(self, write: Callable[[], None], message: MessageTypeDef | None = None) -> bool:
        attempt = 0
        while True:
            self.beat()
            try:
                write()
            except OSError as error:
                attempt += 1
                reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "the disk refuses"
                text = f"{reason}, results wait in the queue: {error.strerror}: {self._config.results_dir}"
                self._status.problem("disk", text)
                LOG.error(text, extra={"fields": {"attempt": attempt, "error": str(error)}})
                if self._stop.wait(backoff_seconds(attempt, 1, _DISK_LIMIT_SECONDS)):
                    return False
                if message is not None and not self._messages.holds(message):
                    return False
            else:
                if attempt:
                    LOG.warning("the disk takes results again", extra={"fields": {"attempts": attempt}})
                    self._status.problem("disk", None)
                return True

    def _reject(self, message: MessageTypeDef, reason: str) -> None:
        """Leave the message in the queue, which moves it to its dead-letter queue; keep a copy here for a look."""
        self._status.count("rejected")
        LOG.error(
            "a message in the output queue is no result, it goes to the dead-letter queue",
            extra={
                "fields": {
                    "message_id": message["MessageId"],
                    "receive_count": receive_count(message),
                    "reason": reason,
                }
            },
        )
        try:
            self._store.reject(message["MessageId"], message["Body"])
        except OSError as error:
            LOG.warning("no copy of it could be kept", extra={"fields": {"error": str(error)}})
        self._messages.give_back(
            [message],
            lambda count: backoff_seconds(count, self._config.backoff_base_seconds, self._config.backoff_max_seconds),
        )
