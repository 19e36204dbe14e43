"""The function, the services it calls as it sees them, and the events that call it."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAMBDA_SRC = Path(__file__).resolve().parents[1]
MEDIA = LAMBDA_SRC.parent / "tests" / "media"
EVENTS = LAMBDA_SRC.parent / "tests" / "events"
sys.path[:0] = [str(LAMBDA_SRC), str(LAMBDA_SRC.parent), str(MEDIA)]
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from recognition.config import Config  # noqa: E402 - after the path
from recognition.matching import Gallery  # noqa: E402
from recognition.service import Clients, Service  # noqa: E402

from classroom_contract.keys import gallery_key  # noqa: E402 - after the path

Logged = Callable[[], list[dict[str, Any]]]  # the lines of the log
INPUT, OUTPUT, KNOWN, TABLE = "input-bucket-video", "output-bucket-vid", "known-encodings", "student_table"


@dataclass
class FakeContext:
    """What the runtime passes; the time left can be set."""

    aws_request_id: str = "11111111-2222-4333-8444-555555555555"
    function_version: str = "7"
    seconds: list[float] = field(default_factory=lambda: [60.0])  # left at each look at the clock; the last one stays

    def get_remaining_time_in_millis(self) -> int:
        """Returns the time left."""
        return round(1000 * (self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]))


@dataclass
class Cloud:
    """The services and the function against them."""

    clients: Clients
    config: Config
    service: Service

    def upload(self, clip: str, key: str | None = None) -> str:
        """Puts a sample clip into the input bucket; returns its key."""
        key = key or clip
        self.clients.s3.put_object(Bucket=INPUT, Key=key, Body=(MEDIA / clip).read_bytes())
        return key

    def messages(self) -> list[dict[str, Any]]:
        """Takes every message of the output queue."""
        found: list[dict[str, Any]] = []
        while batch := self.clients.sqs.receive_message(
            QueueUrl=self.config.output_queue_url, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in batch:
                found.append(json.loads(message["Body"]))
                self.clients.sqs.delete_message(
                    QueueUrl=self.config.output_queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
        return found

    def read(self, key: str) -> bytes:
        """Reads an object of the output bucket."""
        return self.clients.s3.get_object(Bucket=OUTPUT, Key=key)["Body"].read()

    def result_keys(self) -> set[str]:
        """Returns the keys of the output bucket."""
        listed = self.clients.s3.list_objects_v2(Bucket=OUTPUT).get("Contents", [])
        return {entry["Key"] for entry in listed}

    def publish_gallery(self, gallery: Gallery | bytes, class_name: str | None = None) -> None:
        """Puts a gallery, or whatever text, where the function reads that of a class or of everyone."""
        text = gallery if isinstance(gallery, bytes) else json.dumps(gallery.to_json()).encode()
        self.clients.s3.put_object(Bucket=KNOWN, Key=gallery_key(class_name), Body=text)

    def remove_gallery(self, class_name: str | None = None) -> None:
        """Removes it."""
        self.clients.s3.delete_object(Bucket=KNOWN, Key=gallery_key(class_name))


def sqs_event(*bodies: str) -> dict[str, Any]:
    """Returns the event of a queue with these messages, named m0, m1, ..."""
    return {
        "Records": [
            {"messageId": f"m{n}", "body": body, "eventSource": "aws:sqs", "receiptHandle": "r"}
            for n, body in enumerate(bodies)
        ]
    }


def s3_body(key: str, bucket: str = INPUT) -> str:
    """Returns an S3 event for an object whose key is already written as S3 writes it."""
    event = json.loads((EVENTS / "s3-put.json").read_text())
    event["Records"][0]["s3"]["object"]["key"] = key
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    return json.dumps(event)
