"""Stand-ins that answer at once and note what they were asked, for tests of one part alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from classroom_poller.config import Config

Message = Any


def message(number: int, receives: int = 1, body: str = "{}") -> Message:
    """A message as SQS hands it out."""
    return {
        "MessageId": f"id-{number}",
        "ReceiptHandle": f"handle-{number}",
        "Body": body,
        "MD5OfBody": "0" * 32,
        "Attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": "1"},
    }


def config(directory: Path = Path("/nonexistent"), **changes: Any) -> Config:
    """Settings with queues of an account."""
    url = "https://sqs.us-east-1.amazonaws.com/123456789012"
    values: dict[str, Any] = {
        "region": "us-east-1",
        "function_name": "smart-classroom",
        "input_queue_url": f"{url}/input",
        "output_queue_url": f"{url}/output",
        "results_dir": directory / "results",
        "wait_seconds": 7,
    }
    return Config(**values | changes)


class QuickStop(threading.Event):
    """A stop whose waits end at once; `waits` holds the seconds that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time, and come back."""
        self.waits.append(timeout)
        return super().wait(0.001)


class Leases:
    """A queue that hands out `rounds` one after the other, and notes what becomes of the messages."""

    def __init__(self, *rounds: Sequence[Message] | Exception) -> None:
        self.rounds = list(rounds)
        self.asked: list[tuple[int, int]] = []
        self.held: dict[str, bool] = {}
        self.deleted: list[str] = []
        self.returned: list[tuple[str, int]] = []
        self.before_answer: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def receive(self, count: int, wait_seconds: int) -> list[Message]:
        """The next round; without one, nothing after a moment."""
        self.asked.append((count, wait_seconds))
        if not self.rounds:
            time.sleep(0.005)
            return []
        found = self.rounds.pop(0)
        if isinstance(found, Exception):
            raise found
        self.before_answer()
        with self._lock:
            self.held |= {one["MessageId"]: True for one in found}
        return list(found)

    def holds(self, one: Message) -> bool:
        """Whether the message is neither deleted, given back nor lost."""
        return self.held.get(one["MessageId"], False)

    def give_back(self, messages: Sequence[Message], pause: Callable[[int], int]) -> None:
        """Note the pause of each that is held."""
        with self._lock:
            for one in messages:
                if self.held.pop(one["MessageId"], False):
                    count = int(one["Attributes"]["ApproximateReceiveCount"])
                    self.returned.append((one["MessageId"], pause(count)))

    def delete(self, messages: Sequence[Message]) -> None:
        """Note them."""
        with self._lock:
            for one in messages:
                self.held.pop(one["MessageId"], None)
                self.deleted.append(one["MessageId"])


class SqsClient:
    """Notes the calls, and answers what it is told to or raises it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []
        self.during_call: Callable[[], None] = lambda: None

    def _answer(self, name: str, options: dict[str, Any]) -> Any:
        self.calls.append((name, options))
        self.during_call()
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def receive_message(self, **options: Any) -> Any:
        """As boto3's."""
        return self._answer("receive", options)

    def change_message_visibility_batch(self, **options: Any) -> Any:
        """As boto3's."""
        return self._answer("change", options)

    def delete_message_batch(self, **options: Any) -> Any:
        """As boto3's."""
        return self._answer("delete", options)
