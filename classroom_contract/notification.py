"""The message that tells where the results of a video are, sent by the function through the output queue.

Schema 2. Messages of schema 1 are read too: they lie in the queue while the function is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .fields import load_object, member, moment, number, objects, optional_text, schema, text
from .keys import ResultKeys
from .results import Confidence, Result, Status, Video, choice, time_text
from .tables import Row, render_csv

SCHEMA = 2
_READ = (1, 2)


@dataclass(frozen=True)
class NotifiedStudent:
    """A student of a message: a row of the table, and how sure the name is."""

    name: str
    major: str
    year: str
    confidence: Confidence = Confidence.SURE
    distance: float | None = None

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "major": self.major,
            "year": self.year,
            "confidence": self.confidence.value,
            "distance": None if self.distance is None else round(self.distance, 4),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, version: int = SCHEMA) -> NotifiedStudent:
        """From JSON. Raises ContractError."""
        cell = optional_text if version > 1 else _cell
        return cls(
            name=text(values, "name"),
            major=cell(values, "major") or "",
            year=cell(values, "year") or "",
            confidence=choice(values, "confidence", Confidence) if version > 1 else Confidence.SURE,
            distance=None if values.get("distance") is None else number(values, "distance"),
        )


@dataclass(frozen=True)
class ResultPlace:
    """Where the results are: bucket and keys, `frame` None where there is no picture."""

    bucket: str
    csv: str
    json: str
    frame: str | None

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {"bucket": self.bucket, "csv": self.csv, "json": self.json, "frame": self.frame}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> ResultPlace:
        """From JSON. Raises ContractError."""
        return cls(text(values, "bucket"), text(values, "csv"), text(values, "json"), optional_text(values, "frame"))


@dataclass(frozen=True)
class Notification:
    """The whole message."""

    video: Video
    status: Status
    students: tuple[NotifiedStudent, ...]
    result: ResultPlace
    request_id: str
    processed_at: datetime

    @classmethod
    def about(cls, result: Result, bucket: str, keys: ResultKeys) -> Notification:
        """The message about `result`, which lies in `bucket` under `keys`."""
        return cls(
            video=result.video,
            status=result.status,
            students=tuple(
                NotifiedStudent(one.name, one.major, one.year, one.confidence, one.distance) for one in result.students
            ),
            result=ResultPlace(bucket, keys.csv, keys.json, result.frame),
            request_id=result.request_id,
            processed_at=result.processed_at,
        )

    def csv(self) -> str:
        """The table of its students, the same as in the bucket."""
        return render_csv(Row(student.name, student.major, student.year) for student in self.students)

    def render(self) -> str:
        """The message's text; `parse` reads it."""
        document = {
            "schema": SCHEMA,
            "video": self.video.render(),
            "status": self.status.value,
            "students": [student.render() for student in self.students],
            "result": self.result.render(),
            "request_id": self.request_id,
            "processed_at": time_text(self.processed_at),
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, content: str | bytes) -> Notification:
        """Read a message of schema 1 or 2.

        Raises:
            ContractError: it is none; every field is looked at.
        """
        document = load_object(content)
        version = schema(document, _READ)
        return cls(
            video=Video.parse(member(document, "video")),
            status=choice(document, "status", Status),
            students=tuple(NotifiedStudent.parse(one, version=version) for one in objects(document, "students")),
            result=ResultPlace.parse(member(document, "result")),
            request_id=text(document, "request_id"),
            processed_at=moment(document, "processed_at"),
        )


def _cell(values: Mapping[str, Any], name: str) -> str | None:
    """A value of a record in schema 1, where the table's numbers may stand as such."""
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number(values, name)
        return str(int(value)) if value == int(value) else str(value)
    return optional_text(values, name)
