"""A queue whose messages stay with this service for as long as it works on them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

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

AWS_ERRORS = (BotoCoreError, ClientError)


def backoff_seconds(attempt: int, base: int, limit: int) -> int:
    """Pause after the ``attempt``-th failure (from 1): doubling, bounded, the upper half by chance."""
    pause: int = min(limit, base * 2 ** min(attempt - 1, 16))
    return round(pause * random.uniform(0.5, 1)) if pause > 1 else pause  # noqa: S311 no secret hangs on it


class LeasedQueue:
    """Receives messages and keeps them invisible to others until they are deleted, given back or forgotten.

    A lease ends by itself ``seconds`` after its last extension: when this process dies or the network is cut, the
    queue hands the message out again.
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
        self._leases: dict[str, tuple[str, float]] = {}

    def receive(self, count: int, wait_seconds: int) -> list[MessageTypeDef]:
        """Wait up to ``wait_seconds`` for one to ``count`` (at most 10) messages. Raises AWS_ERRORS."""
        answer = self._receiver.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(count, BATCH),
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=self._seconds,
            MessageSystemAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        received = self._clock()
        with self._lock:
            for message in messages:
                self._leases[message["MessageId"]] = (message["ReceiptHandle"], received + self._seconds)
        return messages

    def holds(self, message: MessageTypeDef) -> bool:
        """Whether the message is still this service's own, and nobody else can have received it since."""
        with self._lock:
            lease = self._leases.get(message["MessageId"])
            return lease is not None and lease[0] == message["ReceiptHandle"] and lease[1] > self._clock()

    def extend(self) -> None:
        """Renew every lease; a lease that cannot be renewed runs out."""
        with self._visibility_lock:
            with self._lock:
                now = self._clock()
                self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
                held = list(self._leases.items())
            for chunk in _chunks(held):
                now = self._clock()
                try:
                    answer = self._sqs.change_message_visibility_batch(
                        QueueUrl=self._url,
                        Entries=[
                            {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": self._seconds}
                            for index, (_, (handle, _)) in enumerate(chunk)
                        ],
                    )
                except AWS_ERRORS as error:
                    LOG.warning(
                        "messages could not be kept, another attempt follows", extra={"fields": {"error": str(error)}}
                    )
                    return
                with self._lock:
                    for entry in answer.get("Successful", []):
                        key, (handle, _) = chunk[int(entry["Id"])]
                        if self._leases.get(key, ("",))[0] == handle:
                            self._leases[key] = (handle, now + self._seconds)

    def give_back(self, messages: Sequence[MessageTypeDef], pause: Callable[[int], int]) -> None:
        """Let the queue hand the messages out again, each after ``pause(receive count)`` seconds.

        When the queue cannot be reached the leases run out instead, which has the same effect later.
        """
        with self._visibility_lock:
            self._forget(messages)
            for chunk in _chunks(messages):
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
                except AWS_ERRORS as error:
                    LOG.warning(
                        "messages could not be given back, they come by themselves",
                        extra={"fields": {"error": str(error)}},
                    )

    def delete(self, messages: Sequence[MessageTypeDef]) -> None:
        """Delete finished messages; one that cannot be deleted comes back, which changes nothing."""
        for chunk in _chunks(messages):
            entries = {str(index): message for index, message in enumerate(chunk)}
            try:
                answer = self._sqs.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": key, "ReceiptHandle": message["ReceiptHandle"]} for key, message in entries.items()
                    ],
                )
            except AWS_ERRORS as error:
                LOG.warning("messages could not be deleted, they come back", extra={"fields": {"error": str(error)}})
            else:
                for entry in answer.get("Failed", []):
                    LOG.warning(
                        "a message could not be deleted, it comes back",
                        extra={
                            "fields": {
                                "message_id": entries[entry["Id"]]["MessageId"],
                                "error": entry.get("Message", entry["Code"]),
                            }
                        },
                    )
        self._forget(messages)

    def _forget(self, messages: Sequence[MessageTypeDef]) -> None:
        with self._lock:
            for message in messages:
                lease = self._leases.get(message["MessageId"])
                if lease is not None and lease[0] == message["ReceiptHandle"]:
                    del self._leases[message["MessageId"]]


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
