"""The two kinds of messages: what goes to the function, and what it answers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

STATUSES = ("recognized", "unknown", "no_face", "unreadable")
# File systems take 255 bytes; this leaves room for the ETag, the suffix and the temporary file's marks.
_NAME_BYTES = 140


class RejectedMessageError(Exception):
    """A message in the output queue that is no result of the function; the text says what is wrong with it."""


@dataclass(frozen=True)
class Student:
    """One recognised student as the CSV shows it."""

    name: str
    major: str
    year: str


@dataclass(frozen=True)
class Result:
    """The function's answer to one video. ``body`` is the message, word for word."""

    key: str
    etag: str
    version_id: str | None
    status: str
    students: tuple[Student, ...]
    processed_at: datetime
    body: str

    @property
    def correlation(self) -> str:
        """Names the video in every log line: key and ETag, and the version when the bucket has versions."""
        return correlation(self.key, self.etag, self.version_id)

    @property
    def file_stem(self) -> str:
        """File name without suffix, see result_stem."""
        return result_stem(self.key, self.etag)

    def csv(self) -> str:
        """Header and one row a student, RFC 4180."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(("name", "major", "year"))
        writer.writerows((student.name, student.major, student.year) for student in self.students)
        return text.getvalue()


def correlation(key: str, etag: str, version_id: str | None = None) -> str:
    """``key@etag`` or ``key@etag/version``."""
    return f"{key}@{etag}" + (f"/{version_id}" if version_id and version_id != "null" else "")


def result_stem(key: str, etag: str) -> str:
    """Where the results of a video are kept: ``<key>-<etag>``, both percent-encoded, so two videos never share a name.

    A key too long for a file name keeps its beginning, and a hash stands for the rest.
    """
    name = quote(key.removesuffix(".mp4"), safe="")
    if len(name) > _NAME_BYTES:
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        name = f"{name[: _NAME_BYTES - 33]}~{digest}"
    # A key that begins with a dot must not hide its result, nor pass for a temporary file.
    if name.startswith("."):
        name = "%2E" + name[1:]
    return f"{name}-{quote(etag.strip(chr(34)), safe='')[:64]}"


def parse_result(body: str) -> Result:
    """Check a message of the output queue.

    Raises RejectedMessageError when it is not what the function sends.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RejectedMessageError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise RejectedMessageError("not a JSON object")
    if message.get("schema") != 1:
        raise RejectedMessageError(f"schema is {message.get('schema')!r}, this service knows 1")
    video = message.get("video")
    if not isinstance(video, dict):
        raise RejectedMessageError("video is missing")
    version_id = video.get("version_id")
    if version_id is not None and not isinstance(version_id, str):
        raise RejectedMessageError("video.version_id is not a text")
    status = message.get("status")
    if status not in STATUSES:
        raise RejectedMessageError(f"status is {status!r}, none of {', '.join(STATUSES)}")
    students = message.get("students")
    if not isinstance(students, list):
        raise RejectedMessageError("students is not a list")
    return Result(
        key=_text(video, "key"),
        etag=_text(video, "etag"),
        version_id=version_id,
        status=status,
        students=tuple(_student(student) for student in students),
        processed_at=_time(_text(message, "processed_at")),
        body=body,
    )


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise RejectedMessageError(f"{name} is missing or not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RejectedMessageError(f"{name} is not valid Unicode") from error
    return value


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RejectedMessageError(f"processed_at is not a time: {text!r}") from error
    if moment.tzinfo is None:
        raise RejectedMessageError(f"processed_at has no time zone: {text!r}")
    return moment


def _student(student: object) -> Student:
    if not isinstance(student, dict):
        raise RejectedMessageError("a student is not an object")
    return Student(_text(student, "name"), _cell(student.get("major")), _cell(student.get("year")))


def _cell(value: object) -> str:
    """A record may lack a value, and the table's numbers may arrive as such."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if value == int(value) else str(value)
    raise RejectedMessageError(f"a student's record holds {value!r}")


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
    """Names the videos of an upload event; the message's id when it holds none."""
    try:
        records = json.loads(message["Body"])["Records"]
        names = [
            correlation(
                unquote_plus(record["s3"]["object"]["key"]),
                record["s3"]["object"].get("eTag", ""),
                record["s3"]["object"].get("versionId"),
            )
            for record in records
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = []
    return ", ".join(names) or message["MessageId"]


def receive_count(message: MessageTypeDef) -> int:
    """How often the queue has handed out this message, this time included."""
    return max(1, int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")))
