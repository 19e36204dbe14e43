"""What is told about a video: the account of what was seen, and the picture of the frame that decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import cv2
import numpy as np

from classroom_contract.keys import ResultKeys
from classroom_contract.results import Appearance, Box, Looks, Result, SeenStudent, Video
from recognition import engine
from recognition.engine import MODEL_NAME, Image
from recognition.events import VideoReference
from recognition.matching import Person, Sighting
from recognition.pipeline import Analysis, best_sighting

_GREEN, _GREY = (70, 170, 60), (130, 130, 130)
_BLUR_CELLS: Final = (
    6  # squares across a blurred face: too few to recognise anybody by, enough to see that there is one
)
_BLUR_MARGIN: Final = 1 / 4  # of the face's width, on each side: hair and chin are part of it


@dataclass(frozen=True)
class Student:
    """The academic record of somebody recognised; without a record in the table only the name is known."""

    name: str
    id: str = ""
    major: str = ""
    year: str = ""

    @classmethod
    def of(cls, name: str, item: Mapping[str, Any]) -> Student:
        """Reads DynamoDB's item; a field that is neither text nor number is left empty."""

        def text(field: str) -> str:
            value = item.get(field, {})
            return str(value.get("S", value.get("N", "")))

        return cls(name, id=text("id"), major=text("major"), year=text("year"))


@dataclass(frozen=True)
class Context:
    """What is known about the invocation and the object that was read."""

    video: VideoReference
    size_bytes: int
    request_id: str
    function_version: str
    processed_at: datetime


def describe(analysis: Analysis, students: Sequence[Student], context: Context, keys: ResultKeys) -> Result:
    """Returns the account of a video; `students` are the records of the analysis' decisions, in their order."""
    video = context.video
    return Result(
        video=Video(video.bucket, video.key, video.etag or "", video.version_id),
        status=analysis.status,
        processed_at=context.processed_at,
        request_id=context.request_id,
        reason=analysis.reason,
        students=tuple(
            SeenStudent(
                name=student.name,
                id=student.id,
                major=student.major,
                year=student.year,
                confidence=decision.confidence,
                distance=decision.match.distance,
                margin=decision.match.margin,
                appearance=_appearance(decision.person, decision.sighting, analysis),
            )
            for student, decision in zip(students, analysis.decisions, strict=True)
        ),
        unknown_people=tuple(_appearance(person, best_sighting(person), analysis) for person in analysis.strangers),
        looks=_looks(analysis) if analysis.looks else None,
        frame=keys.frame if analysis.picture else None,
        frame_seconds=analysis.picture.seconds if analysis.picture else None,
        size_bytes=context.size_bytes,
        width=analysis.width,
        height=analysis.height,
        duration_seconds=analysis.duration_seconds,
        timings_ms=analysis.timings_ms,
        model=MODEL_NAME,
        gallery_version=analysis.gallery_version,
        function_version=context.function_version,
    )


def _looks(analysis: Analysis) -> Looks:
    return Looks(
        count=len(analysis.looks),
        of_seconds=analysis.duration_seconds,
        ended_by=analysis.ended_by,
        smallest_face_px=engine.smallest_face(analysis.width, analysis.height),
    )


def _appearance(person: Person, sighting: Sighting, analysis: Analysis) -> Appearance:
    box = sighting.box
    return Appearance(
        seen=tuple(person.seen(analysis.looks)),
        box=Box(box.left, box.top, box.right, box.bottom),
        frame_seconds=sighting.seconds,
    )


def draw(analysis: Analysis, *, blur_strangers: bool = True) -> bytes | None:
    """Returns the frame that decided as JPEG, nothing when there is no frame.

    Students are boxed and named. Everybody else is boxed in grey, and not to be recognised unless `blur_strangers` is
    switched off.
    """
    if analysis.picture is None:
        return None
    shown = analysis.picture
    picture = shown.image.copy()
    names = {
        decision.person.boxes[shown.look]: decision.match.name
        for decision in analysis.decisions
        if shown.look in decision.person.boxes
    }
    places = {box: _scaled(box, shown.scale) for box in shown.boxes}
    if blur_strangers:
        for box, place in places.items():
            if box not in names:
                _blur(picture, place)
    for box, place in places.items():
        _label(picture, place, names.get(box))
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.asarray(data).tobytes() if encoded else None


def _scaled(box: engine.Box, scale: float) -> engine.Box:
    return engine.Box(*(round(edge * scale) for edge in (box.left, box.top, box.right, box.bottom)))


def _blur(picture: Image, place: engine.Box) -> None:
    margin = round((place.right - place.left) * _BLUR_MARGIN)
    top, left = max(0, place.top - 2 * margin), max(0, place.left - margin)
    part = picture[top : place.bottom + margin, left : place.right + margin]
    if part.size:
        cells = cv2.resize(part, (_BLUR_CELLS, _BLUR_CELLS), interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(cells, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)


def _label(picture: Image, place: engine.Box, name: str | None) -> None:
    colour = _GREEN if name else _GREY
    cv2.rectangle(picture, (place.left, place.top), (place.right, place.bottom), colour, 2)
    where = (place.left, max(18, place.top - 8))
    cv2.putText(picture, name or "unknown", where, cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
