"""Frames of a video, decoded by OpenCV where they are wanted, and the reason when there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from recognition.engine import Image

_MAX_PIXELS = 8192 * 8192  # above it a small file asks for gigabytes
_TOP_LEVEL_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid"}


class UnreadableError(Exception):
    """The file is not a video that can be decoded; the message is the reason given to the teacher."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame; `number` counts the frames looked at, `seconds` is its time in the clip."""

    number: int
    seconds: float
    image: Image


class Video:
    """An open video file."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises UnreadableError with the reason."""
        if path.stat().st_size == 0:
            raise UnreadableError("the file is empty")
        self._path = path
        self._capture = cv2.VideoCapture(
            str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
        )
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

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self, limit: int) -> Iterator[Frame]:
        """Yields up to `limit` frames: the first, the middle one, then those halfway between what was shown.

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
        for index in _halving(self._count, limit):
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
        if not decoded or image is None:
            return None
        return Frame(number, index / self._rate, np.asarray(image, dtype=np.uint8))

    def _forward(self, number: int) -> Frame | None:
        """Reads on for a second, where the container does not say how many frames there are."""
        for _ in range(round(self._rate)):
            if not self._capture.grab():
                return None
        return self._read(number, 0)


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


def _diagnose(path: Path) -> str:
    """Returns why a file could not be decoded, from its outermost boxes."""
    size = path.stat().st_size
    boxes: dict[bytes, tuple[int, int]] = {}
    position = 0
    with path.open("rb") as file:
        while position + 8 <= size and len(boxes) < 64:
            file.seek(position)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if not boxes and kind not in _TOP_LEVEL_BOXES:
                return "the file is not an MP4 video"
            if length == 1 and len(header) == 16:
                length = int.from_bytes(header[8:16], "big")
            elif length == 0:
                length = size - position
            boxes.setdefault(kind, (position, length))
            if length < 8:
                break
            position += length
        if b"moov" not in boxes or position > size:
            return "the file ends before its index: it is truncated"
        start, length = boxes[b"moov"]
        file.seek(start)
        index = file.read(min(length, 16 * 1024 * 1024))
    if b"vide" not in index:
        return "the file holds sound but no picture" if b"soun" in index else "the file holds no picture"
    return "no frame of the file can be decoded: it is damaged or in a format that is not supported"
