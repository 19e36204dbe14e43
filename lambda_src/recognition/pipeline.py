"""From a video file to who is in it, within a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np

from recognition import engine
from recognition.config import Config
from recognition.engine import Image
from recognition.frames import Frame, UnreadableError, Video
from recognition.matching import Decision, Gallery, Person, Sighting, decide_all, group

_FRAMES_WITHOUT_FACES = 4  # so many fine looks without a face are enough to say that there is none
_STRANGER_DISTANCE = 0.6  # farther than this from everybody, a few sightings settle that it is nobody
_STRANGER_SIGHTINGS = 2
_SECONDS_PER_LOOK = 5.0  # a longer clip is looked at in more places before it is settled
_PATCH = 32  # pixels
_ZOOMS = (1.0, 0.9, 1.12, 0.8, 1.25)
_ALIKE = 0.75  # correlation of two small pictures of a face: the same one has 0.82 and more, two people 0.61 at most


class Status(StrEnum):
    """What the function answers about a video."""

    RECOGNIZED = "recognized"
    UNKNOWN = "unknown"
    NO_FACE = "no_face"
    UNREADABLE = "unreadable"


@dataclass
class Analysis:
    """What was seen in a video. `picture` is the frame that decided, and `seconds` its time in the clip."""

    status: Status
    reason: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    gallery_version: str = ""
    picture: Frame | None = None
    width: int = 0
    height: int = 0
    duration_seconds: float = 0.0
    frames: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)

    def took(self, stage: str, since: float) -> None:
        """Adds the time since `since` (of time.monotonic) to a stage."""
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + (time.monotonic() - since) * 1000, 1)


def analyse(path: Path, gallery: Gallery, newest: Callable[[], Gallery], config: Config) -> Analysis:
    """Looks at frames until everybody in the clip is decided, the frames or the time are used up.

    `newest` is asked for the gallery before a face is called unknown: somebody may have been enrolled a second ago.
    """
    analysis = Analysis(Status.NO_FACE)
    pictures: dict[int, Frame] = {}
    try:
        _look(path, gallery, config, analysis, pictures)
    except UnreadableError as error:
        analysis.status, analysis.reason = Status.UNREADABLE, str(error)
    except (cv2.error, MemoryError, RuntimeError) as error:
        # A damaged file must never end the process; RuntimeError is what dlib raises.
        analysis.status, analysis.reason = (
            Status.UNREADABLE,
            f"the picture cannot be processed: {str(error).strip() or type(error).__name__}",
        )
    analysis.gallery_version = gallery.version
    if analysis.status is Status.UNREADABLE:
        return analysis
    analysis.decisions = decide_all(analysis.people, gallery, config.thresholds)
    if analysis.people and not analysis.decisions:
        latest = newest()
        analysis.gallery_version = latest.version
        analysis.decisions = decide_all(analysis.people, latest, config.thresholds)
    if analysis.decisions:
        analysis.status = Status.RECOGNIZED
        analysis.picture = pictures[analysis.decisions[0].sighting.frame]
    elif analysis.people:
        analysis.status = Status.UNKNOWN
        analysis.picture = pictures[analysis.people[0].sightings[0].frame]
    else:
        analysis.picture = pictures.get(0)
    return analysis


def _look(path: Path, gallery: Gallery, config: Config, analysis: Analysis, pictures: dict[int, Frame]) -> None:
    deadline = time.monotonic() + config.time_budget_seconds
    started = time.monotonic()
    with Video(path) as video:
        analysis.width, analysis.height = video.width, video.height
        analysis.duration_seconds = round(video.duration_seconds, 3)
        looks = max(2, 1 + math.ceil(video.duration_seconds / _SECONDS_PER_LOOK))
        known: list[tuple[Patch, Person]] = []
        for frame in video.frames(config.max_frames):
            analysis.took("decode", started)
            analysis.frames += 1
            started = time.monotonic()
            # Small faces are only searched for where no large one was seen so far: it takes four times as long.
            boxes = engine.find_faces(frame.image)
            if not boxes and not analysis.people:
                boxes = engine.find_faces(frame.image, fine=True)
            settled = [patch for patch, person in known if _is_settled(person, gallery, config)]
            seen = [(Patch.of(frame.image, box), box) for box in boxes]
            fresh = [(patch, box) for patch, box in seen if not any(patch.shows_the_same(old) for old in settled)]
            analysis.took("detect", started)
            if frame.number == 0 or fresh:
                pictures[frame.number] = frame
            started = time.monotonic()
            sightings = _encode(frame, [box for _, box in fresh], deadline) if fresh else []
            owners = group(analysis.people, sightings, config.thresholds)
            known.extend((patch, owner) for (patch, _), owner in zip(fresh, owners, strict=False))
            analysis.took("encode", started)
            if not analysis.people and analysis.frames >= _FRAMES_WITHOUT_FACES:
                return
            everybody = analysis.people and all(_is_settled(person, gallery, config) for person in analysis.people)
            if time.monotonic() > deadline or (everybody and analysis.frames >= looks):
                return
            started = time.monotonic()


@dataclass(frozen=True)
class Patch:
    """A face as a small picture, to tell without encoding it again that it is the one of an earlier frame."""

    pixels: Image
    surroundings: Image

    @classmethod
    def of(cls, frame: Image, box: engine.Box) -> Patch:
        """Cuts out the middle of the face, 26 pixels wide, and the face with a third more on each side.

        The detector's boxes jump in size, so the middle has to be searched for in the surroundings.
        """
        wide, high = box.right - box.left, box.bottom - box.top
        top, left = max(0, box.top - high // 3), max(0, box.left - wide // 3)
        around = frame[top : box.bottom + high // 3, left : box.right + wide // 3]
        size = (round(around.shape[1] / wide * _PATCH), round(around.shape[0] / high * _PATCH))
        face = frame[box.top : box.bottom, box.left : box.right]
        return cls(_grey(face, (_PATCH, _PATCH))[3:-3, 3:-3], _grey(around, size))

    def shows_the_same(self, other: Patch) -> bool:
        """Tells whether the other's face is in this picture; a face turned or changed has to be encoded again."""
        height, width = self.surroundings.shape
        return any(
            float(
                cv2.matchTemplate(
                    cv2.resize(
                        self.surroundings, (max(_PATCH, round(width * zoom)), max(_PATCH, round(height * zoom)))
                    ),
                    other.pixels,
                    cv2.TM_CCOEFF_NORMED,
                ).max()
            )
            >= _ALIKE
            for zoom in _ZOOMS
        )


def _grey(picture: Image, size: tuple[int, int]) -> Image:
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, dtype=np.uint8)


def _encode(frame: Frame, boxes: list[engine.Box], deadline: float) -> list[Sighting]:
    rgb: Image = engine.to_rgb(frame.image)
    sightings = []
    for box in boxes:
        sightings.append(Sighting(frame.number, round(frame.seconds, 3), box, engine.encode(rgb, box)))
        if time.monotonic() > deadline:
            break
    return sightings


def _is_settled(person: Person, gallery: Gallery, config: Config) -> bool:
    return person.decide(gallery, config.thresholds) is not None or _is_stranger(person, gallery)


def _is_stranger(person: Person, gallery: Gallery) -> bool:
    if person.frames() < _STRANGER_SIGHTINGS:
        return False
    matches = [gallery.nearest(sighting.encoding) for sighting in person.sightings]
    return all(match is None or match.distance > _STRANGER_DISTANCE for match in matches)
