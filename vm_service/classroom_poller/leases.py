"""A queue whose messages stay with this service for as long as it works on them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from .logs import failure
from .messages import receive_count

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

_Item = TypeVar("_Item")

LOG = logging.getLogger(__name__)
# SQS takes at most ten entries in one batch call, and hands out as many.
BATCH = 10
# After twelve hours SQS takes a message back whatever is asked; until then a lease can be renewed.
_MAX_VISIBILITY_SECONDS = 43200
# A poll that took longer than this part of a lease has its messages renewed at once.
_SLOW_POLL_SHARE = 1 / 6

AWS_ERRORS = (BotoCoreError, ClientError)


def backoff_seconds(attempt: int, base: int, limit: int) -> int:
    """Pause after the `attempt`-th failure (from 1): doubling, bounded, the upper half by chance."""
    pause: int = min(limit, base * 2 ** min(attempt - 1, 16))
    return round(pause * random.uniform(0.5, 1)) if pause > 1 else pause  # noqa: S311 no secret hangs on it


@dataclass(frozen=True)
class _Lease:
    handle: str
    end: float


class LeasedQueue:
    """Receives messages and keeps them invisible to others until they are deleted or given back.

    A lease ends by itself `seconds` after its last extension: when this process dies or the network is cut, the queue
    hands the message out again. Whoever receives messages answers for each of them: a lease that is neither deleted nor
    given back is renewed for twelve hours.
    """

    def __init__(
        self, receiver: SQSClient, sqs: SQSClient, url: str, seconds: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._receiver = receiver
        self._sqs = sqs
        self._url = url
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        # Extending and giving back change the same value in the queue: one after the other.
        self._visibility_lock = threading.Lock()
        self._leases: dict[str, _Lease] = {}

    def receive(self, count: int, wait_seconds: int) -> list[MessageTypeDef]:
        """Wait up to `wait_seconds` for one to `count` (at most 10) messages.

        Raises:
            AWS_ERRORS: the queue did not answer, or refused.
        """
        # The queue counts from the moment at which it gives a message out, which lies anywhere within this call.
        asked = self._clock()
        answer = self._receiver.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(count, BATCH),
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=self._seconds,
            MessageSystemAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        leases = {message["MessageId"]: _Lease(message["ReceiptHandle"], asked + self._seconds) for message in messages}
        with self._lock:
            self._leases |= leases
        if leases and self._clock() - asked > self._seconds * _SLOW_POLL_SHARE:
            self.extend(leases)
        return messages

    def held(self) -> int:
        """How many messages are held."""
        with self._lock:
            return len(self._leases)

    def holds(self, message: MessageTypeDef) -> bool:
        """Whether the message is still this service's own, and nobody else can have received it since."""
        with self._lock:
            lease = self._leases.get(message["MessageId"])
            return lease is not None and lease.handle == message["ReceiptHandle"] and lease.end > self._clock()

    def extend(self, ids: Collection[str] | None = None) -> None:
        """Renew every lease, or those of the messages `ids`; one that cannot be renewed runs out. Never raises."""
        with self._visibility_lock:
            with self._lock:
                now = self._clock()
                self._leases = {key: lease for key, lease in self._leases.items() if lease.end > now}
                wanted = self._leases if ids is None else ids
                held = [(key, self._leases[key].handle) for key in wanted if key in self._leases]
            for chunk in _chunks(held):
                try:
                    self._extend_chunk(chunk)
                except Exception as error:
                    LOG.warning("messages could not be kept, another attempt follows", extra=failure(error))
                    return

    def _extend_chunk(self, chunk: Sequence[tuple[str, str]]) -> None:
        now = self._clock()
        answer = self._sqs.change_message_visibility_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": self._seconds}
                for index, (_, handle) in enumerate(chunk)
            ],
        )
        with self._lock:
            for entry in answer.get("Successful", []):
                key, handle = chunk[int(entry["Id"])]
                if key in self._leases and self._leases[key].handle == handle:
                    self._leases[key] = _Lease(handle, now + self._seconds)
            for entry in answer.get("Failed", []):
                key, handle = chunk[int(entry["Id"])]
                # The queue has given the message to somebody else, or it is deleted.
                if entry["SenderFault"] and key in self._leases and self._leases[key].handle == handle:
                    del self._leases[key]

    def give_back(self, messages: Sequence[MessageTypeDef], pause: Callable[[int], int]) -> None:
        """Let the queue hand out again those of the messages that are held, after ``pause(receive count)`` seconds.

        Never raises. When the queue cannot be reached the leases run out instead, which has the same effect later.
        """
        with self._visibility_lock:
            for chunk in _chunks(self._forget(messages)):
                try:
                    self._sqs.change_message_visibility_batch(
                        QueueUrl=self._url,
                        Entries=[
                            {
                                "Id": str(index),
                                "ReceiptHandle": message["ReceiptHandle"],
                                "VisibilityTimeout": min(
                                    _MAX_VISIBILITY_SECONDS, max(0, pause(receive_count(message)))
                                ),
                            }
                            for index, message in enumerate(chunk)
                        ],
                    )
                except Exception as error:
                    LOG.warning("messages could not be given back, they come by themselves", extra=failure(error))

    def delete(self, messages: Sequence[MessageTypeDef]) -> None:
        """Delete finished messages. Never raises: one that cannot be deleted comes back, which changes nothing."""
        for chunk in _chunks(messages):
            try:
                answer = self._sqs.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                        for index, message in enumerate(chunk)
                    ],
                )
                for entry in answer.get("Failed", []):
                    LOG.warning(
                        "a message could not be deleted, it comes back",
                        extra={
                            "fields": {
                                "message_id": chunk[int(entry["Id"])]["MessageId"],
                                "error": entry.get("Message", entry["Code"]),
                            }
                        },
                    )
            except Exception as error:
                LOG.warning("messages could not be deleted, they come back", extra=failure(error))
        self._forget(messages)

    def _forget(self, messages: Sequence[MessageTypeDef]) -> list[MessageTypeDef]:
        """End the leases of the messages; returns those that there were."""
        with self._lock:
            held = []
            for message in messages:
                lease = self._leases.get(message["MessageId"])
                if lease is not None and lease.handle == message["ReceiptHandle"]:
                    del self._leases[message["MessageId"]]
                    held.append(message)
            return held


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
