"""What the function is invoked with: messages of a queue that hold S3 events, or an S3 event itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus


class NotAnS3EventError(Exception):
    """The text is not an S3 event, and never will be one."""


@dataclass(frozen=True)
class VideoReference:
    """An object that was created: its key as the teacher wrote it, etag and version as far as the event says."""

    bucket: str
    key: str
    etag: str | None = None
    version_id: str | None = None

    @property
    def correlation_id(self) -> str:
        """The id that every log line about this video carries."""
        return f"{self.key}@{self.etag or self.version_id or 'unknown'}"


@dataclass(frozen=True)
class Message:
    """One message of the queue, unread."""

    message_id: str
    body: str


def messages(event: object) -> list[Message] | None:
    """Returns the messages of an SQS event, or nothing when it is another kind of event."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list) or not records:
        return None
    if not all(isinstance(record, Mapping) and "messageId" in record and "body" in record for record in records):
        return None
    return [Message(str(record["messageId"]), str(record["body"])) for record in records]


def videos_in_body(body: str) -> list[VideoReference]:
    """Returns the videos a message announces. Raises NotAnS3EventError for anything but an S3 event."""
    try:
        event = json.loads(body)
    except ValueError as error:
        raise NotAnS3EventError(f"the body is not JSON: {error}") from error
    return videos(event)


def videos(event: object) -> list[VideoReference]:
    """Returns the objects that an S3 event says were created; none for s3:TestEvent and for deletions.

    Raises NotAnS3EventError for anything else.
    """
    if not isinstance(event, Mapping):
        raise NotAnS3EventError("the event is not an object")
    if event.get("Event") == "s3:TestEvent":
        return []
    records = event.get("Records")
    if not isinstance(records, list):
        raise NotAnS3EventError("the event has no Records")
    found = (_video(record) for record in records)
    return [video for video in found if video is not None]


def _video(record: Any) -> VideoReference | None:
    try:
        if record.get("eventSource") not in (None, "aws:s3"):
            raise NotAnS3EventError(f"the event comes from {record['eventSource']!r}, not from aws:s3")
        if not str(record.get("eventName", "ObjectCreated:")).startswith("ObjectCreated:"):
            return None
        stored = record["s3"]["object"]
        bucket, key = record["s3"]["bucket"]["name"], stored["key"]
        if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
            raise NotAnS3EventError("the event names no bucket or no key")
        return VideoReference(
            bucket=bucket,
            key=unquote_plus(key),
            etag=str(stored["eTag"]) if stored.get("eTag") else None,
            version_id=str(stored["versionId"]) if stored.get("versionId") else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnS3EventError(f"the event's record lacks {error}") from error
