"""Messages of both queues: what goes to the function, what it answers, and the file that keeps an answer."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

from classroom_contract.keys import result_stem
from classroom_contract.results import Video

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

# File systems take 255 bytes; this leaves room for the ETag, the suffix and the temporary file's marks.
_NAME_BYTES = 140
_ETAG_BYTES = 64


def file_stem(video: Video) -> str:
    """Name of the files that keep the answer to `video`, without their suffix: ``<key>-<etag>``.

    The key without ``.mp4`` (as in the bucket), letters of every script as they are; ``/``, ``%`` and control
    characters percent-encoded, so that two videos never share a name. Of a key too long for a file name the beginning
    is kept, and a hash stands for the rest.
    """
    key = result_stem(video.key)
    units = _units(key)
    # A key that begins with a dot must not hide its result, nor pass for a temporary file.
    if units[:1] == ["."]:
        units[0] = "%2E"
    name = "".join(units)
    if len(name.encode()) > _NAME_BYTES:
        # No escape contains "%~", so no whole key gives such a name.
        mark = f"%~{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        name = _cut(units, _NAME_BYTES - len(mark)) + mark
    return f"{name}-{_cut(_units(video.etag), _ETAG_BYTES)}"


def _units(text: str) -> list[str]:
    """The characters of `text`, those that a file name must not hold escaped."""
    return [
        quote(character, safe="") if character in "/%" or unicodedata.category(character) == "Cc" else character
        for character in text
    ]


def _cut(units: Sequence[str], limit: int) -> str:
    """As many of `units` as `limit` bytes hold; none is cut in two."""
    kept, size = [], 0
    for unit in units:
        size += len(unit.encode())
        if size > limit:
            break
        kept.append(unit)
    return "".join(kept)


def function_event(messages: Sequence[MessageTypeDef], queue_arn: str, region: str) -> dict[str, Any]:
    """The event that an SQS event source mapping sends for these messages."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": dict(message.get("Attributes", {})),
                "messageAttributes": {},
                "md5OfBody": message.get("MD5OfBody", ""),
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": region,
            }
            for message in messages
        ]
    }


def upload_correlation(message: MessageTypeDef) -> str:
    """Names the videos of an upload event as the function's log does; the message's id when it holds none."""
    try:
        uploads = [record["s3"]["object"] for record in json.loads(message["Body"])["Records"]]
        names = [
            Video("", unquote_plus(upload["key"]), upload.get("eTag", ""), upload.get("versionId")).correlation
            for upload in uploads
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = []
    return ", ".join(names) or message["MessageId"]


def waited_seconds(message: MessageTypeDef, now: float) -> float | None:
    """How long a message lay in its queue until `now` (seconds since 1970); None when it was received before."""
    sent = message.get("Attributes", {}).get("SentTimestamp", "")
    if receive_count(message) != 1 or not sent.isdecimal():
        return None
    # Clocks differ.
    return max(0.0, now - int(sent) / 1000)


def receive_count(message: MessageTypeDef) -> int:
    """How often the queue has handed out this message, this time included; 1 where the queue does not say."""
    try:
        return max(1, int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")))
    except ValueError:
        return 1
