"""The answer to one video: where it is stored, how it is read, and how to tell it from an earlier one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from classroom_ops.aws import Aws, AwsFailure, is_missing
from classroom_ops.errors import OpsError

STATUSES = ("recognized", "unknown", "no_face", "unreadable")
SUFFIX = ".mp4"
GALLERY_FOLDER = ".gallery"


@dataclass(frozen=True)
class ResultKeys:
    """The three objects of one answer in the output bucket."""

    csv: str
    json: str
    frame: str


def result_keys(video_key: str) -> ResultKeys:
    """Keys of the answer to `video_key`: ``a/b.mp4`` is answered by ``a/b.csv``, ``a/b.json`` and ``a/b.jpg``."""
    stem = video_key.removesuffix(SUFFIX)
    return ResultKeys(f"{stem}.csv", f"{stem}.json", f"{stem}.jpg")


@dataclass(frozen=True)
class Student:
    """A student seen in a video; `distance` is that of the face encodings, smaller is surer."""

    name: str
    distance: float | None = None


@dataclass(frozen=True)
class Answer:
    """One answer as read from the bucket: the CSV's own text, and what its JSON says beside it."""

    status: str
    students: tuple[Student, ...]
    csv: str
    etag: str | None
    request_id: str | None
    processed_at: datetime | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the CSV, in its order."""
        return csv_names(self.csv)


def csv_names(text: str) -> tuple[str, ...]:
    """The column ``name`` of a result CSV.

    Raises:
        OpsError: the text does not start with the header ``name,major,year``.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or rows[0] != ["name", "major", "year"]:
        raise OpsError(f"the result is not a CSV with the header name,major,year: {text[:80]!r}")
    return tuple(row[0] for row in rows[1:] if row)


def parse_answer(json_text: str, csv_text: str) -> Answer:
    """Read an answer from the text of its two objects.

    Raises:
        OpsError: one of them is not what the function writes.
    """
    try:
        document: dict[str, Any] = json.loads(json_text)
        video = document.get("video") or {}
        students = tuple(Student(str(one["name"]), _number(one.get("distance"))) for one in document["students"])
        status = str(document["status"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OpsError(f"the result's JSON is damaged ({type(error).__name__}: {error}): {json_text[:80]!r}") from error
    if status not in STATUSES:
        raise OpsError(f"the result has the status {status!r}, which is none of {', '.join(STATUSES)}")
    csv_names(csv_text)
    return Answer(
        status=status,
        students=students,
        csv=csv_text,
        etag=_etag(video.get("etag") or document.get("etag")),
        request_id=document.get("request_id"),
        processed_at=_time(document.get("processed_at")),
    )


@dataclass(frozen=True)
class Mark:
    """What tells one writing of an object from the next."""

    etag: str
    modified: datetime


def mark(aws: Aws, key: str) -> Mark | None:
    """The present writing of `key` in the output bucket, None if there is none."""
    try:
        head = aws.s3.head_object(Bucket=aws.endpoints.output_bucket, Key=key)
    except AwsFailure as error:
        if is_missing(error):
            return None
        raise
    return Mark(head["ETag"].strip('"'), head["LastModified"])


@dataclass(frozen=True)
class Upload:
    """One upload: the video's key and ETag, the server's time of it, and the answer's JSON as it stood before."""

    key: str
    etag: str
    modified: datetime
    before: Mark | None


def find_answer(aws: Aws, upload: Upload) -> Answer | None:
    """The answer to this very `upload`, None while there is only an earlier one or none at all.

    The same key may have been answered before, even for the same bytes and within the same second. So the JSON
    must have been written again since, must name this video's ETag where it names one, and the CSV beside it, which
    the function writes in a call of its own, must be as new and list the same students.
    """
    keys = result_keys(upload.key)
    now = mark(aws, keys.json)
    if now is None or now == upload.before or now.modified < upload.modified:
        return None
    table = mark(aws, keys.csv)
    if table is None or table.modified < upload.modified:
        return None
    answer = read_answer(aws, upload.key)
    if answer is None or (answer.etag is not None and answer.etag != upload.etag):
        return None
    if sorted(answer.names) != sorted(student.name for student in answer.students):
        return None
    return answer


def read_answer(aws: Aws, video_key: str) -> Answer | None:
    """The answer stored for `video_key`, None unless both its CSV and its JSON exist."""
    keys = result_keys(video_key)
    texts: list[str] = []
    for key in (keys.json, keys.csv):
        try:
            body = aws.s3.get_object(Bucket=aws.endpoints.output_bucket, Key=key)["Body"].read()
        except AwsFailure as error:
            if is_missing(error):
                return None
            raise
        texts.append(body.decode("utf-8", errors="replace"))
    return parse_answer(*texts)


def _etag(value: Any) -> str | None:
    return str(value).strip('"') if value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _time(value: Any) -> datetime | None:
    """Parse an ISO 8601 time with its zone; anything else is treated as not given."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None
