"""What the function is invoked with: messages of a queue, or one event, that announce objects in S3.

Three shapes are understood, bare or as the body of a message: S3's own notification, the same inside an SNS envelope,
and EventBridge's "Object Created". S3's test event, and events about anything but a new object, announce no video.
Whatever else there is raises NotUnderstoodError: the caller fails that message, which ends in the dead-letter queue.

The event classes of Powertools for AWS Lambda are not used: they check nothing (a missing field is a KeyError where it
is read), and they decode the key of an EventBridge event, which is not encoded: "a+b.mp4" would become "a b.mp4".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from classroom_contract.results import Video

# Categories of S3's event names (S3 User Guide, "Supported event types") that are about an object that existed before.
_NO_NEW_OBJECT = (
    "ObjectRemoved:",
    "ObjectRestore:",
    "ObjectTagging:",
    "ObjectAcl:",
    "LifecycleExpiration:",
    "LifecycleTransition",
    "IntelligentTiering",
    "Replication:",
    "ReducedRedundancyLostObject",
)


class NotUnderstoodError(Exception):
    """The text or event is none of the shapes that announce an object in S3, and never will be one."""


@dataclass(frozen=True)
class VideoReference:
    """An object that was created: its key as the teacher wrote it, the rest as far as the event says."""

    bucket: str
    key: str
    etag: str | None = None
    version_id: str | None = None
    size_bytes: int | None = None

    @property
    def correlation_id(self) -> str:
        """The id that every log line about this video carries, here and on the VM."""
        return Video(self.bucket, self.key, self.etag or "", self.version_id).correlation


@dataclass(frozen=True)
class Message:
    """One message of the queue, its body unread; `deliveries` counts how often the queue has given it out."""

    message_id: str
    body: str
    deliveries: int = 1


def messages(event: object) -> list[Message] | None:
    """Returns the messages of an SQS event, or nothing when it is another kind of event."""
    if not isinstance(event, Mapping) or not isinstance(records := event.get("Records"), list) or not records:
        return None
    if not all(isinstance(record, Mapping) and {"messageId", "body"} <= record.keys() for record in records):
        return None
    return [_message(record) for record in records]


def _message(record: Mapping[str, Any]) -> Message:
    try:
        deliveries = int(record["attributes"]["ApproximateReceiveCount"])
    except (KeyError, TypeError, ValueError):
        deliveries = 1  # whoever invokes the function by hand leaves it out
    return Message(str(record["messageId"]), str(record["body"]), deliveries)


def videos_in_body(body: str) -> list[VideoReference]:
    """Returns the videos that a message's body announces. Raises NotUnderstoodError, see the module."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotUnderstoodError(f"the body is not JSON: {type(error).__name__}") from error
    return videos(event)


def videos(event: object) -> list[VideoReference]:
    """Returns the objects that an event says were created. Raises NotUnderstoodError, see the module."""
    if not isinstance(event, Mapping):
        raise NotUnderstoodError("the event is not an object")
    if event.get("Event") == "s3:TestEvent":
        return []
    if event.get("Type") == "Notification" and isinstance(event.get("Message"), str):
        return videos_in_body(event["Message"])
    try:
        if event.get("source") == "aws.s3":
            return _of_eventbridge(event)
        if not isinstance(event.get("Records"), list):
            raise NotUnderstoodError("it is no event of S3, SNS or EventBridge: there are no Records")
        found = [_of_record(record) for record in event["Records"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise NotUnderstoodError(f"the event lacks {error}") from error
    return [video for video in found if video is not None]


def _of_eventbridge(event: Mapping[str, Any]) -> list[VideoReference]:
    if event["detail-type"] != "Object Created":
        return []
    detail = event["detail"]
    stored = detail["object"]
    return [_reference(detail["bucket"]["name"], stored["key"], stored, "etag", "version-id")]


def _of_record(record: Mapping[str, Any]) -> VideoReference | None:
    source = record.get("eventSource", "aws:s3")
    if source != "aws:s3":
        raise NotUnderstoodError(f"the event comes from {source!r}, not from aws:s3")
    # MinIO and some emulators write the name as their configuration has it, with "s3:" before it.
    name = str(record.get("eventName", "ObjectCreated:")).removeprefix("s3:")
    if name.startswith(_NO_NEW_OBJECT):
        return None
    if not name.startswith("ObjectCreated:"):
        raise NotUnderstoodError(f"the event's name is {name!r}")
    stored = record["s3"]["object"]
    return _reference(record["s3"]["bucket"]["name"], unquote_plus(stored["key"]), stored, "eTag", "versionId")


def _reference(bucket: Any, key: Any, stored: Mapping[str, Any], etag: str, version: str) -> VideoReference:
    if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
        raise NotUnderstoodError("the event names no bucket or no key")
    version_id, size = stored.get(version), stored.get("size")
    return VideoReference(
        bucket,
        key,
        etag=str(stored[etag]) if stored.get(etag) else None,
        version_id=str(version_id) if version_id and version_id != "null" else None,
        size_bytes=size if isinstance(size, int) else None,
    )
