"""Answers in, files out: a message is deleted only after its result is safe on the disk."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from classroom_contract import ContractError
from classroom_contract.notification import Notification

from .leases import BATCH, LeasedQueue, backoff_seconds
from .logs import failure
from .loop import Loop
from .messages import file_stem, receive_count
from .results import Outcome, ResultStore

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from .config import Config
    from .status import Status

LOG = logging.getLogger(__name__)
_DISK_LIMIT_SECONDS = 15
# Refusals of the system that a single file causes; the next one may well be written.
_FILE_FAULTS = (errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class OutputLoop(Loop):
    """Receives the function's answers and stores them, each on its own: one that fails takes no other along.

    While the disk refuses, the messages at hand stay here, their leases renewed, and no others are received: a full
    disk must not spend the receive counts that decide about the dead-letter queue.
    """

    side = "output"

    def __init__(
        self, config: Config, messages: LeasedQueue, store: ResultStore, status: Status, stop: threading.Event
    ) -> None:
        super().__init__(config, messages, status, stop)
        self._store = store

    def capacity(self) -> int:
        """As many as the queue hands out at once."""
        return BATCH

    def handle(self, pending: list[MessageTypeDef]) -> None:
        """Store all, then delete."""
        stored: list[MessageTypeDef] = []
        for message in pending:
            if self._stop.is_set():
                break
            try:
                if self._keep(message):
                    stored.append(message)
            except ContractError as error:
                self._reject(message, str(error))
            except Exception as error:
                self._fail(message, error)
        if stored and self._retry(self._store.sync):
            self._messages.delete(stored)

    def _keep(self, message: MessageTypeDef) -> bool:
        """Store one answer, however long the disk refuses; False when the lease ended or the service stops."""
        notification = Notification.parse(message["Body"])
        outcome: list[Outcome] = []
        if not self._retry(lambda: outcome.append(self._store.store(notification, message["Body"])), message):
            return False
        self._status.count(outcome[0].value)
        LOG.info(
            outcome[0].value,
            extra={
                "fields": {
                    "correlation": notification.video.correlation,
                    "message_id": message["MessageId"],
                    "status": notification.status.value,
                    "students": len(notification.students),
                    "file": f"{file_stem(notification.video)}.csv",
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
                if error.errno in _FILE_FAULTS:
                    raise
                attempt += 1
                reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "the disk refuses"
                text = f"{reason}, results wait in the queue: {error.strerror}: {self._config.results_dir}"
                self._status.problem("disk", text)
                LOG.error(text, extra=failure(error, attempt=attempt))
                if self._stop.wait(backoff_seconds(attempt, 1, _DISK_LIMIT_SECONDS)):
                    return False
                if message is not None and not self._messages.holds(message):
                    return False
            else:
                if attempt:
                    LOG.warning("the disk takes results again", extra={"fields": {"attempts": attempt}})
                    self._status.problem("disk", None)
                return True

    def _fail(self, message: MessageTypeDef, error: Exception) -> None:
        """Leave the message in the queue for another attempt; the queue's redrive policy counts them."""
        self._status.count("failures")
        LOG.error(
            "an answer could not be stored for an unforeseen reason, it comes again",
            extra=failure(error, message_id=message["MessageId"], receive_count=receive_count(message)),
        )
        self._messages.give_back([message], self.pause)

    def _reject(self, message: MessageTypeDef, reason: str) -> None:
        """Leave the message in the queue, which moves it to its dead-letter queue: the one place where it is kept."""
        self.beat()
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
        self._messages.give_back([message], self.pause)
