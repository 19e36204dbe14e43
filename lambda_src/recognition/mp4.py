"""What an MP4 file says of itself, without decoding it (ISO/IEC 14496-12): its boxes, and where its key frames are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MAX_BOXES = 64  # of one level that are looked at
_MAX_KEY_FRAMES = 100_000


class Box(NamedTuple):
    """A box: its kind, and where its content begins and ends, in bytes of the file."""

    kind: bytes
    start: int
    end: int


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Yields the boxes between two positions. The last one may claim to end behind `end`."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        header = file.read(16)
        length, content = int.from_bytes(header[:4], "big"), start + 8
        if length == 1 and len(header) == 16:
            length, content = int.from_bytes(header[8:16], "big"), start + 16
        elif length == 0:
            length = end - start
        yield Box(header[4:8], content, start + length)
        if start + length < content:
            return
        start += length


def key_frames(path: Path) -> list[int]:
    """Returns the numbers of the frames that decode without another one, from 0; none when the file does not say.

    They come from the sample table of the first track of pictures. A file without that box has nothing but key frames,
    or keeps its table in fragments; a damaged one says anything, so the numbers are but a hint.
    """
    with path.open("rb") as file:
        whole = Box(b"", 0, path.stat().st_size)
        for track in _inside(file, whole, b"moov", b"trak"):
            for handler in _inside(file, track, b"mdia", b"hdlr"):
                file.seek(handler.start + 8)
                if file.read(4) == b"vide":
                    return _sync_samples(file, track)
    return []


def _inside(file: BinaryIO, box: Box, *kinds: bytes) -> list[Box]:
    """Returns the boxes at the end of a path of kinds."""
    found = [box]
    for kind in kinds:
        found = [inner for outer in found for inner in boxes(file, outer.start, outer.end) if inner.kind == kind]
    return found


def _sync_samples(file: BinaryIO, track: Box) -> list[int]:
    for table in _inside(file, track, b"mdia", b"minf", b"stbl", b"stss"):
        file.seek(table.start + 4)
        count = min(int.from_bytes(file.read(4), "big"), _MAX_KEY_FRAMES)
        numbers = file.read(4 * count)
        return [int.from_bytes(numbers[place : place + 4], "big") - 1 for place in range(0, len(numbers) - 3, 4)]
    return []
