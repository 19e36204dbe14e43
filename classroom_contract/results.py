"""The account of one video: what the function found, as JSON in the output bucket.

Schema 2. Accounts of schema 1, which earlier versions wrote, are read too; what they do not tell is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from .fields import ContractError, load_object, member, moment, number, objects, optional_text, schema, text, whole

SCHEMA = 2
_READ = (1, 2)

_Choice = TypeVar("_Choice", bound=StrEnum)
Interval = tuple[float, float]


class Status(StrEnum):
    """What the function answers about a video."""

    RECOGNIZED = "recognized"  # at least one student
    UNKNOWN = "unknown"  # people, none of them enrolled
    NO_FACE = "no_face"
    UNREADABLE = "unreadable"  # the reason says why


class Confidence(StrEnum):
    """How sure a name is."""

    SURE = "sure"
    PROBABLE = "probable"


class EndedBy(StrEnum):
    """Why no more frames were looked at."""

    SETTLED = "settled"  # more would have changed nothing
    LOOKS = "looks"  # so many as the settings allow
    TIME = "time"  # the time budget was used up


@dataclass(frozen=True)
class Video:
    """The object that was answered. `etag` without quotes; `version_id` None where the bucket has no versions."""

    bucket: str
    key: str
    etag: str
    version_id: str | None = None

    @property
    def correlation(self) -> str:
        """Names the video in every log line: ``key@etag``, and ``/version`` where the bucket has versions."""
        version = self.version_id if self.version_id != "null" else None
        return f"{self.key}@{self.etag}" + (f"/{version}" if version else "")

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {"bucket": self.bucket, "key": self.key, "version_id": self.version_id, "etag": self.etag}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Video:
        """From JSON. Raises ContractError."""
        version = optional_text(values, "version_id")
        return cls(text(values, "bucket"), text(values, "key"), text(values, "etag").strip('"'), version)


@dataclass(frozen=True)
class Box:
    """A face in a frame, in pixels of the video."""

    left: int
    top: int
    right: int
    bottom: int

    def render(self) -> dict[str, int]:
        """As JSON."""
        return {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Box:
        """From JSON. Raises ContractError."""
        return cls(whole(values, "left"), whole(values, "top"), whole(values, "right"), whole(values, "bottom"))


@dataclass(frozen=True)
class Appearance:
    """When and where somebody was seen.

    `seen` lists intervals of seconds from the beginning of the video, in order. `box` is the face in the frame at
    `frame_seconds`, the one that decided.
    """

    seen: tuple[Interval, ...]
    box: Box
    frame_seconds: float

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seen": [[_seconds(begin), _seconds(end)] for begin, end in self.seen],
            "box": self.box.render(),
            "frame_seconds": _seconds(self.frame_seconds),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, version: int = SCHEMA) -> Appearance:
        """From JSON. Raises ContractError."""
        seen = _intervals(values.get("seen")) if version > 1 else ()
        return cls(seen, Box.parse(member(values, "box")), number(values, "frame_seconds"))


@dataclass(frozen=True)
class SeenStudent:
    """A student recognised, with their academic record (empty where the table has none).

    `distance` is that of the face to the student's known encodings (0 the same, above 0.6 another person), `margin` how
    much farther the next student is.
    """

    name: str
    confidence: Confidence
    distance: float
    margin: float
    appearance: Appearance
    id: str = ""
    major: str = ""
    year: str = ""

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "id": self.id,
            "major": self.major,
            "year": self.year,
            "confidence": self.confidence.value,
            "distance": round(self.distance, 4),
            "margin": round(self.margin, 4),
            **self.appearance.render(),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, version: int = SCHEMA) -> SeenStudent:
        """From JSON. Raises ContractError."""
        return cls(
            name=text(values, "name"),
            confidence=choice(values, "confidence", Confidence) if version > 1 else Confidence.SURE,
            distance=number(values, "distance"),
            margin=number(values, "margin"),
            appearance=Appearance.parse(values, version=version),
            id=optional_text(values, "id") or "",
            major=optional_text(values, "major") or "",
            year=optional_text(values, "year") or "",
        )


@dataclass(frozen=True)
class Looks:
    """How completely the video was searched: so many frames of so many seconds, faces from this size on."""

    count: int
    of_seconds: float
    ended_by: EndedBy
    smallest_face_px: int

    def render(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "count": self.count,
            "of_seconds": _seconds(self.of_seconds),
            "ended_by": self.ended_by.value,
            "smallest_face_px": self.smallest_face_px,
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Looks:
        """From JSON. Raises ContractError."""
        return cls(
            whole(values, "count"),
            number(values, "of_seconds"),
            choice(values, "ended_by", EndedBy),
            whole(values, "smallest_face_px"),
        )


@dataclass(frozen=True)
class Result:
    """The whole account.

    Sizes in pixels and bytes, `timings_ms` milliseconds of each stage (stages run beside one another, so their sum may
    exceed the total). `frame` is the key of the picture and `frame_seconds` its time, None where there is no picture.
    `looks` is None where the video was not looked at.
    """

    video: Video
    status: Status
    processed_at: datetime
    request_id: str
    reason: str | None = None
    students: tuple[SeenStudent, ...] = ()
    unknown_people: tuple[Appearance, ...] = ()
    looks: Looks | None = None
    frame: str | None = None
    frame_seconds: float | None = None
    size_bytes: int = 0
    width: int = 0
    height: int = 0
    duration_seconds: float = 0.0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    gallery_version: str = ""
    function_version: str = ""

    def render(self) -> str:
        """The account's text; `parse` reads it."""
        document = {
            "schema": SCHEMA,
            "video": self.video.render() | {"size_bytes": self.size_bytes},
            "status": self.status.value,
            "reason": self.reason,
            "students": [student.render() for student in self.students],
            "unknown_people": [person.render() for person in self.unknown_people],
            "looks": self.looks.render() if self.looks else None,
            "frame": self.frame,
            "frame_seconds": None if self.frame_seconds is None else _seconds(self.frame_seconds),
            "width": self.width,
            "height": self.height,
            "duration_seconds": _seconds(self.duration_seconds),
            "timings_ms": dict(self.timings_ms),
            "model": self.model,
            "gallery_version": self.gallery_version,
            "function_version": self.function_version,
            "request_id": self.request_id,
            "processed_at": time_text(self.processed_at),
        }
        return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)

    @classmethod
    def parse(cls, content: str | bytes) -> Result:
        """Read an account of schema 1 or 2.

        Raises:
            ContractError: it is none.
        """
        document = load_object(content)
        version = schema(document, _READ)
        video = member(document, "video")
        people = objects(document, "unknown_people") if version > 1 else []
        timings = member(document, "timings_ms")
        return cls(
            video=Video.parse(video),
            status=choice(document, "status", Status),
            processed_at=moment(document, "processed_at"),
            request_id=text(document, "request_id"),
            reason=optional_text(document, "reason"),
            students=tuple(SeenStudent.parse(one, version=version) for one in objects(document, "students")),
            unknown_people=tuple(Appearance.parse(one) for one in people),
            looks=None if document.get("looks") is None else Looks.parse(member(document, "looks")),
            frame=optional_text(document, "frame"),
            frame_seconds=None if document.get("frame_seconds") is None else number(document, "frame_seconds"),
            size_bytes=whole(video, "size_bytes"),
            width=whole(document, "width"),
            height=whole(document, "height"),
            duration_seconds=number(document, "duration_seconds"),
            timings_ms={name: number(timings, name) for name in timings},
            model=optional_text(document, "model") or "",
            gallery_version=optional_text(document, "gallery_version") or "",
            function_version=optional_text(document, "function_version") or "",
        )


def choice(values: Mapping[str, Any], name: str, of: type[_Choice]) -> _Choice:
    """The value under `name`, one of `of`. Raises ContractError."""
    value = values.get(name)
    if not isinstance(value, str) or value not in set(of):
        shown = repr(value[:20]) if isinstance(value, str) else "no text"
        raise ContractError(f"{name} is {shown}, none of {', '.join(of)}")
    return of(value)


def time_text(value: datetime) -> str:
    """A time as it is written: ISO 8601 with its zone, milliseconds, ``Z`` for UTC.

    Raises:
        ValueError: the time has no zone.
    """
    if value.tzinfo is None:
        raise ValueError("a time without a zone can be any of 24")
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(value: float) -> float:
    return round(value, 3)


def _intervals(value: object) -> tuple[Interval, ...]:
    if not isinstance(value, list):
        raise ContractError("seen is not a list")
    found = []
    for one in value:
        if not isinstance(one, list) or len(one) != 2:
            raise ContractError("seen holds something that is no [from, to]")
        interval = {"from": one[0], "to": one[1]}
        found.append((number(interval, "from"), number(interval, "to")))
    return tuple(found)
