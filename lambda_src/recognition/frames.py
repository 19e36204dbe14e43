"""Frames of a video, decoded by OpenCV where they are wanted, and the reason when there are none."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar, cast

import cv2
import numpy as np

from recognition import mp4
from recognition.engine import Image

T = TypeVar("T")

_MAX_PIXELS = 7680 * 4320  # above it a small file asks for gigabytes
_PATIENCE_SECONDS = 5.0
_TOP_LEVEL_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid"}
_NEARBY = 1 / 8  # part of the clip by which another frame than the wanted one may be away from it
# Before FFmpeg opens a file it decodes a frame of it, to learn how pictures are stored and in which order. For H.264
# that costs half as much again as a key frame itself, and OpenCV needs none of it: where one is alone, only these
# decoders are asked. Of a whole file a frame is looked at, as it may be larger than the file says. OpenCV reads the
# variable at each opening; it is always there, so that to change it moves nothing that another thread may be reading.
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_OPTIONS_WHOLE = "rtsp_transport;tcp"  # OpenCV's own
_OPTIONS_ALONE = "codec_whitelist;h263,hevc,mjpeg,mpeg2video,mpeg4,png,prores,vp9"
os.environ[_OPTIONS] = _OPTIONS_WHOLE
# FFmpeg refuses to convert interlaced pictures; OpenCV does not look, and answers with memory that was never written:
# with what was there before, perhaps another video. So the memory is filled, and a picture of nothing else is none.
_M_PERTURB = -6  # malloc.h
_FILLING = 0xA5
_FILLS = threading.Lock()
_LIBC = ctypes.CDLL(None)
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
    """A video file. Pictures are turned as the file's rotation says; `width` and `height` are so too.

    OpenCV decodes sixteen frames and more to seek in a file, so key frames are decoded from files of their own as long
    as the tables of the file let them be taken out.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises UnreadableError with the reason."""
        if path.stat().st_size == 0:
            raise UnreadableError("the file is empty")
        self._path = path
        self.width = self.height = 0
        self._whole: _Capture | None = None
        self._key_frames = mp4.KeyFrames(path)
        self._first = self._key_frame(0, 0) if 0 in self._key_frames.numbers else None
        if self._first is not None:
            self.height, self.width = self._first.image.shape[:2]
            self._count, self.duration_seconds = self._key_frames.frames, self._key_frames.seconds
        else:
            whole = self._opened()
            self.width, self.height, self._count = whole.width, whole.height, whole.count
            self.duration_seconds = whole.count / whole.rate

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._whole is not None:
            self._whole.close()

    def frames(self, limit: int) -> Iterator[Frame]:
        """Yields up to `limit` frames: the first, the middle one, then those halfway between what was shown.

        A key frame nearby takes the place of another frame. Raises UnreadableError when not even the first decodes.
        Later frames that do not decode are passed over.
        """
        first, self._first = self._first or self._frame(0, 0), None
        if first is None:
            raise UnreadableError(_diagnose(self._path))
        yield first
        del first  # a frame may have 100 MB
        shown = 1
        if self._count <= 1:
            # The container does not say how many frames there are.
            while shown < limit and (frame := self._second_later(shown)) is not None:
                yield frame
                shown += 1
            return
        taken: set[int] = set()
        for index in _halving(self._count, limit):
            free = np.setdiff1d(self._key_frames.numbers, list(taken))
            near = _nearest(free, index, self._count * _NEARBY)
            found = None
            if near is not None:
                taken.add(near)
                found = self._key_frame(shown, near)
            found = found or self._frame(shown, index)
            if found is not None:
                yield found
                shown += 1
            del found

    def _key_frame(self, number: int, index: int) -> Frame | None:
        """Decodes a key frame from a file of its own; nothing when that fails."""
        key_frame = self._key_frames.alone(index)
        if key_frame is None:
            return None
        file = io.BytesIO(key_frame.file)  # it has to live as long as OpenCV reads it
        try:
            with contextlib.closing(_Capture(file)) as capture:
                image = capture.read()
        except (_NotOpenedError, cv2.error):
            return None
        except UnreadableError:
            if number:
                return None
            raise
        # The first tells the size of all.
        if image is None or (self.width and image.shape[:2] != (self.height, self.width)):
            return None
        return Frame(number, key_frame.seconds, image)

    def _frame(self, number: int, index: int) -> Frame | None:
        """Decodes a frame of the whole file."""
        whole = self._opened()
        if index:
            whole.seek(index)
        image = whole.read()
        return None if image is None else Frame(number, whole.seconds(index), image)

    def _second_later(self, number: int) -> Frame | None:
        whole = self._opened()
        if not whole.skip(round(whole.rate)):
            return None
        return self._frame(number, 0)

    def _opened(self) -> _Capture:
        if self._whole is None:
            try:
                self._whole = _Capture(self._path)
            except _NotOpenedError as error:
                raise UnreadableError(_diagnose(self._path)) from error
        return self._whole


class _NotOpenedError(Exception):
    """OpenCV does not open it."""


class _Capture:
    """A file, or a file of one frame, that OpenCV reads; raises UnreadableError for pictures that are too large."""

    def __init__(self, source: Path | io.BytesIO) -> None:
        if isinstance(source, Path):
            self._capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, _PARAMETERS)
        else:
            os.environ[_OPTIONS] = _OPTIONS_ALONE
            try:
                # The stubs of OpenCV know nothing of streams.
                one_thread = [*_PARAMETERS, cv2.CAP_PROP_N_THREADS, 1]
                self._capture = cv2.VideoCapture(cast("str", source), cv2.CAP_FFMPEG, one_thread)
            finally:
                os.environ[_OPTIONS] = _OPTIONS_WHOLE
        if not self._capture.isOpened():
            raise _NotOpenedError
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self.width * self.height > _MAX_PIXELS:
            self.close()
            raise UnreadableError(f"a picture of {self.width}x{self.height} is larger than this service decodes")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def close(self) -> None:
        self._capture.release()

    def seek(self, index: int) -> None:
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)

    def skip(self, frames: int) -> bool:
        return all(self._capture.grab() for _ in range(frames))

    def read(self) -> Image | None:
        try:
            if not self._capture.grab():
                return None
            image = np.empty((self.height, self.width, 3), np.uint8)
            with _FILLS:
                _LIBC.mallopt(_M_PERTURB, _FILLING ^ 0xFF)
                try:
                    decoded, answer = self._capture.retrieve(image)
                finally:
                    _LIBC.mallopt(_M_PERTURB, 0)
        except cv2.error:
            return None
        if not decoded or answer is None or not answer.size:
            return None
        image = np.asarray(answer, np.uint8)
        return None if image[0, 0, 0] == _FILLING and (image == _FILLING).all() else image

    def seconds(self, index: int) -> float:
        """Returns the time of the frame that was read last, whose number is `index`."""
        # Frames need not be equally far apart: the container's time counts, if it makes sense.
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return seconds if 0 <= seconds < mp4.MAX_SECONDS else index / self.rate


@dataclass(frozen=True)
class _Opened:
    width: int
    height: int
    duration_seconds: float


class Wanted(NamedTuple):
    """A frame that was asked for, and until when (of time.monotonic) it is waited for."""

    frame: Future[Frame | None]
    deadline: float


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
        self._asked = False
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

    def ask(self) -> Wanted:
        """Begins to decode the next frame, which `get` waits for."""
        wanted = Wanted(Future(), self._deadline if self._asked else self._first_deadline)
        self._asked = True
        self._wanted.put(wanted.frame)
        return wanted

    def get(self, wanted: Wanted) -> Frame | None:
        """Returns a frame that was asked for, or nothing at the end of the clip or of the time.

        Raises UnreadableError when not even the first frame decodes.
        """
        return _result(wanted.frame, wanted.deadline)

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


def _nearest(key_frames: mp4.Numbers, index: int, within: float) -> int | None:
    """Returns the key frame nearest to a frame, not farther than `within` frames; the first frame is none of them."""
    candidates = key_frames[(key_frames > 0) & (np.abs(key_frames - index) <= within)]
    return int(candidates[np.argmin(np.abs(candidates - index))]) if candidates.size else None


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
    return "no frame of the file can be decoded: it is damaged, interlaced or in a format that is not supported"
