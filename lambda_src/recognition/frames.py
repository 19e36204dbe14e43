"""Frames of a video, decoded by OpenCV where they are wanted, and the reason when there are none."""

from __future__ import annotations

import queue
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import cv2
import numpy as np

from recognition import mp4
from recognition.engine import Image

T = TypeVar("T")

_MAX_PIXELS = 7680 * 4320  # above it a small file asks for gigabytes
_MAX_SECONDS = 1_000_000  # a time beyond it is a damaged file's
_PATIENCE_SECONDS = 5.0
_TOP_LEVEL_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid"}
_SEEK_BACK = 16  # OpenCV seeks to a key frame at least so many frames before the one that is wanted, and decodes on
_NEARBY = 1 / 8  # part of the clip by which another frame than the wanted one may be away from it
_WORTH = 2 / 3  # part of the decoding that is left when it is taken for cheaper
_PARAMETERS = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]


class UnreadableError(Exception):
    """The file is not a video that can be decoded; the message is the reason given to the teacher."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame, upright; `number` counts the frames looked at, `seconds` is its time in the clip."""

    number: int
    seconds: float
    image: Image


class Video:
    """An open video file. Pictures are turned as the file's rotation says; `width` and `height` are so too."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises UnreadableError with the reason."""
        if path.stat().st_size == 0:
            raise UnreadableError("the file is empty")
        self._path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, _PARAMETERS)
        if not self._capture.isOpened():
            raise UnreadableError(_diagnose(path))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self.width * self.height > _MAX_PIXELS:
            self._capture.release()
            raise UnreadableError(f"a picture of {self.width}x{self.height} is larger than this service decodes")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate < 1000 else 25.0
        self._count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.duration_seconds = self._count / self._rate
        self._key_frames = sorted({0, *mp4.key_frames(path)})

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self, limit: int) -> Iterator[Frame]:
        """Yields up to `limit` frames: the first, the middle one, then those halfway between what was shown.

        A frame nearby takes the place of one that lies far behind the last key frame: all between them is decoded.
        Raises UnreadableError when not even the first decodes. Later frames that do not decode are passed over.
        """
        first = self._read(0, 0)
        if first is None:
            raise UnreadableError(_diagnose(self._path))
        yield first
        shown = 1
        if self._count <= 1:
            while shown < limit and (frame := self._forward(shown)) is not None:
                yield frame
                shown += 1
            return
        for index in dict.fromkeys(
            _cheaper(index, self._key_frames, self._count) for index in _halving(self._count, limit)
        ):
            frame = self._read(shown, index)
            if frame is not None:
                yield frame
                shown += 1

    def _read(self, number: int, index: int) -> Frame | None:
        try:
            if index:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            decoded, image = self._capture.read()
        except cv2.error:
            return None
        if not decoded or image is None or image.size == 0:
            return None
        # Frames need not be equally far apart: the container's time counts, if it makes sense.
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not 0 <= seconds < _MAX_SECONDS:
            seconds = index / self._rate
        return Frame(number, seconds, np.asarray(image, dtype=np.uint8))

    def _forward(self, number: int) -> Frame | None:
        """Reads on for a second, where the container does not say how many frames there are."""
        for _ in range(round(self._rate)):
            if not self._capture.grab():
                return None
        return self._read(number, 0)


@dataclass(frozen=True)
class _Opened:
    width: int
    height: int
    duration_seconds: float


class FrameReader:
    """Decodes a video in a thread of its own.

    Frames are asked for while others are looked at, and one that takes longer than there is time for (a seek in an hour
    without key frames) is waited for no longer: the thread ends with it, later.
    """

    def __init__(self, path: Path, limit: int, deadline: float) -> None:
        """Opens the video, to read up to `limit` frames before `deadline` (of time.monotonic).

        Opening it and its first frame are waited for five seconds at least. Raises UnreadableError with the reason.
        """
        self._deadline = deadline
        self._first_deadline = max(deadline, time.monotonic() + _PATIENCE_SECONDS)
        self._opened: Future[_Opened] = Future()
        self._first: Future[Frame | None] | None = None
        self._wanted: queue.SimpleQueue[Future[Frame | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(path, limit), name="decoder", daemon=True)
        self._thread.start()
        opened = None
        try:
            opened = _result(self._opened, self._first_deadline)
        finally:
            if opened is None:
                self._wanted.put(None)
        if opened is None:
            raise UnreadableError("the file could not be opened in the time there is")
        self.width, self.height, self.duration_seconds = opened.width, opened.height, opened.duration_seconds

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wanted.put(None)
        self._thread.join(max(0.0, self._deadline - time.monotonic()))

    def ask(self) -> Future[Frame | None]:
        """Begins to decode the next frame, which `get` waits for."""
        wanted: Future[Frame | None] = Future()
        self._first = self._first or wanted
        self._wanted.put(wanted)
        return wanted

    def get(self, wanted: Future[Frame | None]) -> Frame | None:
        """Returns a frame that was asked for, or nothing at the end of the clip or of the time.

        Raises UnreadableError when not even the first frame decodes.
        """
        return _result(wanted, self._first_deadline if wanted is self._first else self._deadline)

    def _run(self, path: Path, limit: int) -> None:
        try:
            video = Video(path)
        except Exception as error:
            self._opened.set_exception(error)
            return
        with video:
            self._opened.set_result(_Opened(video.width, video.height, video.duration_seconds))
            frames = video.frames(limit)
            while (wanted := self._wanted.get()) is not None:
                try:
                    wanted.set_result(next(frames, None))
                except Exception as error:
                    wanted.set_exception(error)


def _result(future: Future[T], deadline: float) -> T | None:
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return None


def _halving(count: int, limit: int) -> list[int]:
    """Returns up to limit - 1 frame numbers after 0: the middle, the quarters, the eighths and so on."""
    chosen: list[int] = []
    seen = {0}
    denominator = 2
    while len(chosen) < limit - 1 and denominator <= 2 * count:
        for numerator in range(1, denominator, 2):
            index = count * numerator // denominator
            if index not in seen:
                seen.add(index)
                chosen.append(index)
        denominator *= 2
    return chosen[: limit - 1]


def _cheaper(index: int, key_frames: Sequence[int], count: int) -> int:
    """Returns the frame near `index` before which the fewest have to be decoded; `key_frames` begin with 0."""

    def decoded(number: int) -> int:
        return number - key_frames[bisect_right(key_frames, max(0, number - _SEEK_BACK)) - 1]

    # One more than that: the time that it is seeked to is rounded.
    behind_key_frames = (number + _SEEK_BACK + 1 for number in key_frames)
    near = [number for number in behind_key_frames if number < count and abs(number - index) <= count * _NEARBY]
    best = min(near, key=lambda number: (decoded(number), abs(number - index)), default=index)
    return best if decoded(best) <= decoded(index) * _WORTH else index


def _diagnose(path: Path) -> str:
    """Returns why a file could not be decoded, from its outermost boxes."""
    size = path.stat().st_size
    found: dict[bytes, mp4.Box] = {}
    end = 0
    with path.open("rb") as file:
        for box in mp4.boxes(file, 0, size):
            if not found and box.kind not in _TOP_LEVEL_BOXES:
                return "the file is not an MP4 video"
            found.setdefault(box.kind, box)
            end = box.end
        if b"moov" not in found or end > size:
            return "the file ends before its index: it is truncated"
        index_box = found[b"moov"]
        file.seek(index_box.start)
        index = file.read(min(index_box.end - index_box.start, 16 * 1024 * 1024))
    if b"vide" not in index:
        return "the file holds sound but no picture" if b"soun" in index else "the file holds no picture"
    return "no frame of the file can be decoded: it is damaged or in a format that is not supported"
