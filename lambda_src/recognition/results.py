"""What is written about a video: CSV, JSON and a picture in the output bucket, and the message to the output queue."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from recognition.config import Config
from recognition.engine import MODEL_NAME, Box
from recognition.events import VideoReference
from recognition.pipeline import Analysis

_GREEN, _GREY = (70, 170, 60), (130, 130, 130)


@dataclass(frozen=True)
class Student:
    """The academic record of somebody recognised; without a record in the table only the name is known."""

    name: str
    id: str = ""
    major: str = ""
    year: str = ""


@dataclass(frozen=True)
class ResultKeys:
    """Where the results of a video are in the output bucket."""

    csv: str
    json: str
    frame: str

    @classmethod
    def of(cls, key: str, gallery_key: str) -> ResultKeys:
        """Derives them from the key of the video: a/b.mp4 gives a/b.csv. No upload can reach the gallery's place."""
        stem = key[:-4] if key.lower().endswith(".mp4") else key
        if "/" in gallery_key and stem.startswith(gallery_key.rsplit("/", 1)[0] + "/"):
            stem = "_" + stem
        return cls(csv=f"{stem}.csv", json=f"{stem}.json", frame=f"{stem}.jpg")


@dataclass(frozen=True)
class Context:
    """What is known about the invocation and the object that was read."""

    video: VideoReference
    size_bytes: int
    request_id: str
    function_version: str
    processed_at: str


def render_csv(students: Sequence[Student]) -> bytes:
    """Returns the table (RFC 4180, UTF-8): a header and one row per student."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["name", "major", "year"])
    writer.writerows([student.name, student.major, student.year] for student in students)
    return text.getvalue().encode()


def describe(analysis: Analysis, students: Sequence[Student], context: Context) -> dict[str, Any]:
    """Returns the full account of a video."""
    return {
        "schema": 1,
        "video": _video(context) | {"size_bytes": context.size_bytes},
        "status": analysis.status.value,
        "reason": analysis.reason,
        "students": [
            {
                "name": student.name,
                "id": student.id,
                "major": student.major,
                "year": student.year,
                "distance": round(decision.match.distance, 4),
                "margin": round(decision.match.margin, 4),
                "frame_seconds": decision.sighting.seconds,
                "box": _box(decision.sighting.box),
            }
            for student, decision in zip(students, analysis.decisions, strict=True)
        ],
        "people_seen": len(analysis.people),
        "frames_looked_at": analysis.frames,
        "frame_seconds": analysis.picture.seconds if analysis.picture else None,
        "width": analysis.width,
        "height": analysis.height,
        "duration_seconds": analysis.duration_seconds,
        "timings_ms": analysis.timings_ms,
        "model": MODEL_NAME,
        "gallery_version": analysis.gallery_version,
        "function_version": context.function_version,
        "request_id": context.request_id,
        "processed_at": context.processed_at,
    }


def notification(
    analysis: Analysis, students: Sequence[Student], context: Context, config: Config, keys: ResultKeys
) -> dict[str, Any]:
    """Returns the message that tells the poller where the results are."""
    return {
        "schema": 1,
        "video": _video(context),
        "status": analysis.status.value,
        "students": [
            {
                "name": student.name,
                "major": student.major,
                "year": student.year,
                "distance": round(decision.match.distance, 4),
            }
            for student, decision in zip(students, analysis.decisions, strict=True)
        ],
        "result": {
            "bucket": config.output_bucket,
            "csv": keys.csv,
            "json": keys.json,
            "frame": keys.frame if analysis.picture else None,
        },
        "request_id": context.request_id,
        "processed_at": context.processed_at,
    }


def draw(analysis: Analysis) -> bytes | None:
    """Returns the frame that decided as JPEG, everybody in it boxed and named; nothing when there is no frame."""
    if analysis.picture is None:
        return None
    shown = analysis.picture
    picture = shown.image.copy()
    names = {id(decision.sighting): decision.match.name for decision in analysis.decisions}
    for person in analysis.people:
        label = next((names[id(sighting)] for sighting in person.sightings if id(sighting) in names), None)
        for sighting in person.sightings:
            if sighting.frame == shown.number:
                _label(picture, sighting.box, shown.scale, label)
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.asarray(data).tobytes() if encoded else None


def _label(picture: Any, box: Box, scale: float, name: str | None) -> None:
    colour = _GREEN if name else _GREY
    left, top, right, bottom = (round(edge * scale) for edge in (box.left, box.top, box.right, box.bottom))
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
    place = (left, max(18, top - 8))
    cv2.putText(picture, name or "unknown", place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)


def _video(context: Context) -> dict[str, Any]:
    video = context.video
    return {"bucket": video.bucket, "key": video.key, "version_id": video.version_id, "etag": video.etag}


def _box(box: Box) -> dict[str, int]:
    return {"left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom}
