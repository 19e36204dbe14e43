"""From a video file to who is in it, within a budget of time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from recognition import engine
from recognition.config import Config
from recognition.engine import Image
from recognition.frames import Frame, FrameReader, UnreadableError, Wanted
from recognition.matching import Decision, Gallery, Person, Sighting, decide_all, group
from recognition.motion import Changes, thumbnail
from recognition.portraits import Portrait, alike, portrait

_FRAMES_WITHOUT_FACES = 4  # so many fine looks without a face are enough to say that there is none
_STRANGER_DISTANCE = 0.6  # farther than this from everybody, a few sightings settle that it is nobody
_STRANGER_SIGHTINGS = 2
_SECONDS_PER_LOOK = 10.0  # a longer clip is looked at in more places before it is settled
_FACES_AT_ONCE = 8  # encoded between two looks at the clock
_PICTURE_WIDTH = 1280  # pixels of the frame that is shown to the teacher


class Status(StrEnum):
    """What the function answers about a video."""

    RECOGNIZED = "recognized"
    UNKNOWN = "unknown"
    NO_FACE = "no_face"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Picture:
    """A frame kept to be shown, at most 1280 pixels wide: `scale` times as large as the frame was."""

    number: int
    seconds: float
    image: Image
    scale: float

    @classmethod
    def of(cls, frame: Frame) -> Picture:
        """Returns the frame at the size in which it is shown; of an 8K clip the frames would fill the memory."""
        scale = min(1.0, _PICTURE_WIDTH / frame.image.shape[1])
        image = frame.image
        if scale < 1:
            # Averaging takes ten times as long, and down to half the size nobody sees the difference.
            interpolation = cv2.INTER_LINEAR if scale >= 1 / 2 else cv2.INTER_AREA
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)
        return cls(frame.number, frame.seconds, image, scale)


@dataclass
class Analysis:
    """What was seen in a video. `picture` is the frame that decided, and `faces` how many were encoded."""

    status: Status
    reason: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    gallery_version: str = ""
    picture: Picture | None = None
    width: int = 0
    height: int = 0
    duration_seconds: float = 0.0
    frames: int = 0
    faces: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, milliseconds: float) -> None:
        """Adds to the time of a stage; stages run beside one another, so their sum may be more than the whole."""
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + milliseconds, 1)


def analyse(path: Path, gallery: Gallery, newest: Callable[[], Gallery], config: Config) -> Analysis:
    """Looks at frames until everybody in the clip is decided, the frames or the time are used up.

    `newest` is asked for the gallery before a face is called unknown: somebody may have been enrolled a second ago.
    """
    analysis = Analysis(Status.NO_FACE)
    pictures: dict[int, Picture] = {}
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


def _look(path: Path, gallery: Gallery, config: Config, analysis: Analysis, pictures: dict[int, Picture]) -> None:
    deadline = time.monotonic() + config.time_budget_seconds
    settled: list[_Known] = []
    # The next frame is decoded and searched for faces while those of this one are encoded; dlib and NumPy let it.
    with FrameReader(path, config.max_frames, deadline) as video, ThreadPoolExecutor(engine.SEARCHES_AT_ONCE) as pool:
        analysis.width, analysis.height = video.width, video.height
        analysis.duration_seconds = round(video.duration_seconds, 3)
        looks = min(config.max_frames, max(2, 1 + math.ceil(video.duration_seconds / _SECONDS_PER_LOOK)))
        ahead: deque[Future[_Glance | None]] = deque()
        last: Future[_Glance | None] | None = None
        begun = 0
        while True:
            # All that will be looked at whatever the frames before it show is begun early.
            while not ahead or (begun < looks and len(ahead) < engine.SEARCHES_AT_ONCE):
                last = pool.submit(_glance, video, video.ask(), last)
                ahead.append(last)
                begun += 1
            glance = ahead.popleft().result()
            if glance is None:
                break
            analysis.frames += 1
            analysis.add("decode", glance.decode_ms)
            analysis.add("detect", glance.detect_ms)
            started = time.monotonic()
            sightings, encoded = _encode(glance, settled, deadline)
            if glance.number == 0 or sightings:
                pictures[glance.number] = glance.picture
            analysis.faces += len(encoded)
            # Those that were encoded stand last.
            seen = group(analysis.people, sightings, config.thresholds)[len(sightings) - len(encoded) :]
            settled.extend(
                one for person, one in zip(seen, encoded, strict=True) if _is_settled(person, gallery, config)
            )
            analysis.add("encode", (time.monotonic() - started) * 1000)
            if not analysis.people and analysis.frames >= _FRAMES_WITHOUT_FACES:
                return
            everybody = analysis.people and all(_is_settled(person, gallery, config) for person in analysis.people)
            if time.monotonic() > deadline or (everybody and analysis.frames >= looks):
                return
    if not analysis.frames:
        raise UnreadableError("no frame could be decoded in the time there is")


class _Glance(NamedTuple):
    """What is kept of a frame, which may be 100 MB: `faces` are aligned; `anybody` says if there was a face so far."""

    number: int
    seconds: float
    boxes: list[engine.Box]
    faces: Image
    anybody: bool
    thumbnail: Image
    picture: Picture
    decode_ms: float
    detect_ms: float


def _glance(video: FrameReader, wanted: Wanted, earlier: Future[_Glance | None] | None) -> _Glance | None:
    """Finds the faces of a frame that was asked for; nothing when there is none.

    Small ones take four times as long: they are only searched for where they may be. That is everywhere as long as
    nobody has been seen, then where something moved since the frame before.
    """
    asked = time.monotonic()
    frame = video.get(wanted)
    if frame is None:
        return None
    began = time.monotonic()
    copy = engine.reduced(frame.image)
    boxes = engine.find_faces(frame.image, copy=copy)
    now = thumbnail(copy)
    searched = time.monotonic()
    before = earlier.result() if earlier else None
    waited = time.monotonic() - searched
    anybody = before is not None and before.anybody
    if not boxes and not anybody:
        boxes.extend(engine.find_faces(frame.image, fine=True))
    elif before:
        height, width = frame.image.shape[:2]
        elsewhere = Changes.between(before.thumbnail, now, width, height).besides([*before.boxes, *boxes])
        if elsewhere is not None:
            small = engine.find_faces(frame.image, fine=True, within=elsewhere)
            boxes.extend([box for box in small if not any(box.overlaps(other) for other in boxes)])
    return _Glance(
        frame.number,
        round(frame.seconds, 3),
        boxes,
        engine.aligned(frame.image, boxes),
        anybody or bool(boxes),
        now,
        Picture.of(frame),
        decode_ms=(began - asked) * 1000,
        detect_ms=(time.monotonic() - began - waited) * 1000,
    )


class _Known(NamedTuple):
    """How somebody looked who is decided, and the encoding of that face."""

    portrait: Portrait
    encoding: engine.Encoding


def _encode(glance: _Glance, settled: Sequence[_Known], deadline: float) -> tuple[list[Sighting], list[_Known]]:
    """Returns the faces of a frame with their encodings, and what was encoded for them.

    Whoever looks as one did who is `settled` keeps that encoding: another one would say the same again.
    """
    portraits = [portrait(face) for face in glance.faces]
    known = [next((one for one in settled if alike(one.portrait, other)), None) for other in portraits]
    sightings = [
        Sighting(glance.number, glance.seconds, box, one.encoding)
        for box, one in zip(glance.boxes, known, strict=True)
        if one
    ]
    new = [n for n, one in enumerate(known) if one is None]
    encoded: list[_Known] = []
    for start in range(0, len(new), _FACES_AT_ONCE):
        part = new[start : start + _FACES_AT_ONCE]
        for n, encoding in zip(part, engine.encode_aligned(glance.faces[part]), strict=True):
            sightings.append(Sighting(glance.number, glance.seconds, glance.boxes[n], encoding))
            encoded.append(_Known(portraits[n], encoding))
        if time.monotonic() > deadline:
            break
    return sightings, encoded


def _is_settled(person: Person, gallery: Gallery, config: Config) -> bool:
    return person.decide(gallery, config.thresholds) is not None or _is_stranger(person, gallery)


def _is_stranger(person: Person, gallery: Gallery) -> bool:
    if person.frames() < _STRANGER_SIGHTINGS:
        return False
    matches = [gallery.nearest(sighting.encoding) for sighting in person.sightings]
    return all(match is None or match.distance > _STRANGER_DISTANCE for match in matches)
