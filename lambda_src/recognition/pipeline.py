"""From a video to who is in it, within a budget of time.

Looks are decoded, searched for faces and encoded by three threads, one look behind the other: PyAV, OpenCV and NumPy
let go of the interpreter's lock while they work.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from classroom_contract.results import EndedBy, Status
from recognition import engine, logs
from recognition.config import Config
from recognition.engine import Image
from recognition.matching import Confidence, Decision, Gallery, Person, Sighting, decide_all, group, is_settled
from recognition.video import Frame, OutOfTimeError, Readable, UnreadableError, Video, plan_looks

_MOST_LOOKS = 1_000  # of a video, however long it is; its budget of time allows fewer
_FACES_AT_ONCE = 8  # encoded between two looks at the clock
_AHEAD = 2  # looks that are decoded and searched while one is encoded; a frame of 8K has 100 MB
_PICTURE_WIDTH = 1280  # pixels of the frame that is shown to the teacher
_KEPT_PICTURES = 24  # of 2.7 MB; a clip of many people is shown by one of these


class TooLittleTimeError(Exception):
    """The video may take longer than this invocation has left: its message has to be delivered again."""


@dataclass(frozen=True)
class Picture:
    """A frame kept to be shown, at most 1280 pixels wide: `scale` times as large as the frame was."""

    look: int
    seconds: float
    image: Image
    scale: float
    boxes: tuple[engine.Box, ...]

    @classmethod
    def of(cls, frame: Frame, boxes: Sequence[engine.Box]) -> Picture:
        """Returns the frame at the size in which it is shown, with all faces that were found in it."""
        scale = min(1.0, _PICTURE_WIDTH / frame.image.shape[1])
        image = frame.image
        if scale < 1:
            # Averaging takes ten times as long, and down to half the size nobody sees the difference.
            interpolation = cv2.INTER_LINEAR if scale >= 1 / 2 else cv2.INTER_AREA
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)
        return cls(frame.number, round(frame.seconds, 3), image, scale, tuple(boxes))


@dataclass
class Analysis:
    """What was seen in a video.

    `looks` are the seconds of all frames that were looked at, in the order of time. `picture` is the frame that
    decided, nothing when no frame was decoded. `faces` counts the encodings. `timings_ms` are sums of the stages, which
    run beside one another.
    """

    reason: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    gallery_version: str = ""
    picture: Picture | None = None
    width: int = 0
    height: int = 0
    duration_seconds: float = 0.0
    looks: list[float] = field(default_factory=list)
    ended_by: EndedBy = EndedBy.LOOKS
    faces: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """What the function answers about the video."""
        if self.reason is not None:
            return Status.UNREADABLE
        if self.decisions:
            return Status.RECOGNIZED
        return Status.UNKNOWN if self.people else Status.NO_FACE

    @property
    def strangers(self) -> list[Person]:
        """The people in the video who are no enrolled student."""
        known = {id(decision.person) for decision in self.decisions}
        return [person for person in self.people if id(person) not in known]

    def add(self, stage: str, milliseconds: float) -> None:
        """Adds to the time of a stage."""
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + milliseconds, 1)


def best_sighting(person: Person) -> Sighting:
    """Returns the sighting of the largest face: what is shown of somebody who is no student."""
    return max(person.sightings, key=lambda sighting: sighting.box.right - sighting.box.left)


def analyse(
    source: Path | Readable,
    gallery: Gallery,
    newest: Callable[[], Gallery],
    config: Config,
    seconds_left: float = float("inf"),
) -> Analysis:
    """Looks at a video until everybody in a short clip is decided, or the planned looks or the time are used up.

    `newest` is asked for the gallery before a face is called unknown: somebody may have been enrolled a second ago.

    Raises:
        TooLittleTimeError: the video's budget of time is more than `seconds_left`.
        OSError, BotoCoreError, ClientError: `source` cannot be read; whatever else is raised is a fault of the function
            too. Only what is wrong with the video itself is an answer, with the reason.
    """
    analysis = Analysis(gallery_version=gallery.version)
    pictures: dict[int, Picture] = {}
    started, processor = time.monotonic(), time.process_time()
    try:
        with Video(source, deadline=started + config.budget_seconds(0)) as video:
            budget = config.budget_seconds(video.duration_seconds)
            if budget > seconds_left:
                raise TooLittleTimeError(f"the video may take {budget:.0f} s, and {seconds_left:.0f} s are left")
            analysis.width, analysis.height = video.width, video.height
            analysis.duration_seconds = round(video.duration_seconds, 3)
            _look(video, gallery, config, started + budget, analysis, pictures)
    except UnreadableError as error:
        if isinstance(error, OutOfTimeError) and 2 * (time.process_time() - processor) < time.monotonic() - started:
            # The processor was busy with something else, or the network was: that is no answer to the video.
            raise TimeoutError(f"too little of the time was for this video: {error}") from error
        analysis.reason = str(error)
        return analysis
    analysis.decisions = _decided(analysis, gallery, config)
    if analysis.strangers and (latest := newest()).version != gallery.version:
        analysis.gallery_version = latest.version
        analysis.decisions = _decided(analysis, latest, config)
    analysis.picture = _shown(analysis, pictures)
    return analysis


def _decided(analysis: Analysis, gallery: Gallery, config: Config) -> list[Decision]:
    decisions = decide_all(analysis.people, gallery, config.rule)
    wanted = {Confidence.SURE, config.minimum_confidence}
    return [decision for decision in decisions if decision.confidence in wanted]


def _shown(analysis: Analysis, pictures: dict[int, Picture]) -> Picture | None:
    """Returns the frame that decided: of the surest student of whom one was kept, of a stranger, or the first."""
    people = [decision.person for decision in analysis.decisions] + analysis.strangers
    looks = [decision.sighting.frame for decision in analysis.decisions]
    looks += [sighting.frame for person in people for sighting in (best_sighting(person), *person.sightings)]
    return next((pictures[look] for look in [*looks, 0] if look in pictures), next(iter(pictures.values()), None))


def _look(
    video: Video,
    gallery: Gallery,
    config: Config,
    deadline: float,
    analysis: Analysis,
    pictures: dict[int, Picture],
) -> None:
    planned, frames = _looks(video, config, deadline)
    failure: engine.PictureError | None = None
    for found in _searched_frames(frames, planned):
        if isinstance(found, engine.PictureError):
            failure = found
            continue
        analysis.looks.append(found.seconds)
        analysis.add("decode", found.decode_ms)
        analysis.add("detect", found.detect_ms)
        started = time.monotonic()
        sightings = _encode(found, deadline)
        analysis.faces += len(sightings)
        group(analysis.people, sightings, config.rule)
        analysis.add("encode", (time.monotonic() - started) * 1000)
        _keep(pictures, found.picture, analysis.people)
        everybody = analysis.people and all(is_settled(person, gallery, config.rule) for person in analysis.people)
        if everybody and len(analysis.looks) >= planned:
            analysis.ended_by = EndedBy.SETTLED
            break
        if time.monotonic() >= deadline:
            break
    if analysis.ended_by is not EndedBy.SETTLED and len(analysis.looks) < planned and time.monotonic() >= deadline:
        analysis.ended_by = EndedBy.TIME
    analysis.looks.sort()
    if not analysis.looks and failure is not None:
        raise UnreadableError(f"the picture cannot be processed: {failure}") from failure


class _FrameFaces(NamedTuple):
    """What is kept of a frame, which may be 100 MB; `faces` are aligned."""

    look: int
    seconds: float
    boxes: list[engine.Box]
    faces: Image
    picture: Picture
    decode_ms: float
    detect_ms: float


def _looks(video: Video, config: Config, deadline: float) -> tuple[int, Iterator[Frame]]:
    """Returns how many looks the length of a video asks for, and the frames: these first, then some between them."""
    if not video.duration_seconds:
        return 2, video.looks(_MOST_LOOKS, deadline)
    times = plan_looks(video.duration_seconds, _MOST_LOOKS)
    planned = len(times)
    while len(times) < config.least_looks:
        edges = sorted({0.0, *times, video.duration_seconds})
        times += [(one + other) / 2 for one, other in itertools.pairwise(edges)]
    return planned, video.at(times[: max(planned, config.least_looks)], deadline)


def _searched_frames(frames: Iterator[Frame], planned: int) -> Iterator[_FrameFaces | engine.PictureError]:
    """Yields the looks as far as they are asked for; those that are planned are begun ahead."""
    with ThreadPoolExecutor(1, "decode") as decoder, ThreadPoolExecutor(1, "search") as searcher:
        ahead: deque[Future[_FrameFaces | engine.PictureError | None]] = deque()
        begun = 0
        while True:
            while not ahead or (begun < planned and len(ahead) < _AHEAD):
                ahead.append(searcher.submit(_search, decoder.submit(_decode, frames)))
                begun += 1
            found = ahead.popleft().result()
            if found is None:
                return
            yield found


def _decode(frames: Iterator[Frame]) -> tuple[Frame | None, float]:
    started = time.monotonic()
    return next(frames, None), (time.monotonic() - started) * 1000


def _search(decoded: Future[tuple[Frame | None, float]]) -> _FrameFaces | engine.PictureError | None:
    frame, decode_ms = decoded.result()
    if frame is None:
        return None
    started = time.monotonic()
    try:
        boxes = engine.find_faces(frame.image)
        faces = engine.aligned(frame.image, boxes)
        picture = Picture.of(frame, boxes)
    except engine.PictureError as error:
        logs.event(logging.WARNING, "look_failed", seconds=frame.seconds, reason=str(error))
        return error
    detect_ms = (time.monotonic() - started) * 1000
    return _FrameFaces(frame.number, round(frame.seconds, 3), boxes, faces, picture, decode_ms, detect_ms)


def _encode(found: _FrameFaces, deadline: float) -> list[Sighting]:
    """Returns the faces of a look with their encodings; the best ones only where the time is up."""
    sightings: list[Sighting] = []
    for start in range(0, len(found.boxes), _FACES_AT_ONCE):
        part = slice(start, start + _FACES_AT_ONCE)
        encodings = engine.encode_aligned(found.faces[part])
        sightings.extend(
            Sighting(found.look, found.seconds, box, encoding)
            for box, encoding in zip(found.boxes[part], encodings, strict=True)
        )
        if time.monotonic() >= deadline:
            break
    return sightings


def _keep(pictures: dict[int, Picture], picture: Picture, people: Sequence[Person]) -> None:
    """Keeps the pictures that may be shown: those in which somebody is seen best, and the first one."""
    pictures[picture.look] = picture
    if len(pictures) > _KEPT_PICTURES:
        best = {best_sighting(person).frame for person in people}
        unneeded = [look for look in pictures if look and look not in best]
        del pictures[unneeded[0] if unneeded else max(pictures)]
