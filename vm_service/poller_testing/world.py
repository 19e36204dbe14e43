"""What a test sees of the cloud (two queues with dead letters, a function) and the settings of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classroom_poller.config import Config

from poller_testing.loopback_aws import LoopbackAws, upload_event

ROOT = Path(__file__).resolve().parents[1]
MAX_RECEIVES = 3


def eventually(
    condition: Callable[[], Any], seconds: float = 15, what: str = "the condition", tick: float = 0.02
) -> Any:
    """Wait until `condition`, asked every `tick` seconds, gives something true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(tick)


@dataclass
class World:
    """The cloud side of a test and the settings of the service under test."""

    aws: LoopbackAws
    sqs: Any
    settings: dict[str, Any]
    credentials: Path
    urls: dict[str, str] = field(default_factory=dict)

    def config(self, **changes: Any) -> Config:
        """Settings as the service gets them."""
        values = {**self.settings, **changes}
        for name in ("results_dir", "state_file", "metrics_file"):
            values[name] = Path(values[name])
        return Config(**values)

    def write_config(self, directory: Path, **changes: Any) -> Path:
        """Settings as a file."""
        path = directory / "poller.toml"
        path.write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**self.settings, **changes}.items())
        )
        return path

    def allow_receives(self, count: int) -> None:
        """Let a message be received so often before it goes to the dead-letter queue."""
        for name in ("input-notification", "output-notification"):
            wanted = ["RedrivePolicy"]
            now = self.sqs.get_queue_attributes(QueueUrl=self.urls[name], AttributeNames=wanted)["Attributes"]
            policy = json.loads(now["RedrivePolicy"]) | {"maxReceiveCount": count}
            self.sqs.set_queue_attributes(QueueUrl=self.urls[name], Attributes={"RedrivePolicy": json.dumps(policy)})

    def upload(self, key: str, etag: str | None = None) -> None:
        """What S3 does after an upload."""
        self.send("input-notification", json.dumps(upload_event(key, etag)))

    def send(self, queue: str, body: str) -> None:
        """Put a message into a queue."""
        self.sqs.send_message(QueueUrl=self.urls[queue], MessageBody=body)

    def depth(self, queue: str) -> int:
        """Messages in a queue, those in flight included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.urls[queue], AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def visible(self, queue: str) -> int:
        """Messages that anybody could receive now."""
        names = ["ApproximateNumberOfMessages"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.urls[queue], AttributeNames=names)
        return int(answer["Attributes"][names[0]])

    def empty(self) -> bool:
        """Neither uploads nor answers are left."""
        return self.depth("input-notification") == 0 and self.depth("output-notification") == 0

    def results(self) -> list[str]:
        """Names of the result files."""
        directory = Path(self.settings["results_dir"])
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    def csv_files(self) -> list[str]:
        """Names of the CSV files."""
        return [name for name in self.results() if name.endswith(".csv")]

    def has_results(self, count: int) -> bool:
        """At least so many videos have their CSV."""
        return len(self.csv_files()) >= count
