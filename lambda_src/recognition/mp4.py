"""What an MP4 file says of itself, without decoding it (ISO/IEC 14496-12): its boxes, and its key frames one by one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

_MAX_BOXES = 64  # of one level that are looked at
_MAX_BYTES = 64 * 1024 * 1024  # of a frame
_MAX_TABLE_BYTES = 16 * 1024 * 1024  # the largest table of an hour has half a megabyte
_MAX_FRAMES = 2_000_000  # 18 hours: a few bytes may claim four thousand millions of them
MAX_SECONDS = 1_000_000  # eleven days: a time beyond it is a damaged file's
_HIDDEN_SECONDS = 0.1  # by which an edit list may be shorter than the track: durations are rounded
_TABLES = {b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"stss"}
_FILE_TYPE = b"isom\0\0\2\0isomiso2mp41"

Numbers = npt.NDArray[np.int64]


class Box(NamedTuple):
    """A box: its kind, and where its content begins and ends, in bytes of the file."""

    kind: bytes
    start: int
    end: int


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Yields the boxes between two positions. The last one may claim to end behind `end`, and behind the file."""
    end = min(end, file.seek(0, os.SEEK_END))
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
        if start + length < content:
            return
        yield Box(header[4:8], content, start + length)
        start += length


class KeyFrame(NamedTuple):
    """A frame that decodes without another one: an MP4 file with nothing else in it, and its time in the clip."""

    file: bytes
    seconds: float


class KeyFrames:
    """The key frames of the first track of pictures.

    `numbers` tells which frames they are, counted from 0. It is empty when the file does not say, as fragments keep
    their tables elsewhere, when an edit list hides a part of the track, or when a table is damaged in a way that shows.
    `frames` is how many frames the track has, and `seconds` how long they take.
    """

    def __init__(self, path: Path) -> None:
        """Reads the tables of the file."""
        self._path = path
        self.numbers: Numbers = np.empty(0, np.int64)
        self.frames, self.seconds = 0, 0.0
        with path.open("rb") as file, contextlib.suppress(IndexError, ValueError):
            whole = Box(b"", 0, path.stat().st_size)
            movie = _child(file, whole, b"moov")
            for track in _children(file, movie):
                if track.kind == b"trak":
                    media = _child(file, track, b"mdia")
                    if _content(file, _child(file, media, b"hdlr"))[8:12] == b"vide":
                        self._read(file, movie, track, media)
                        return

    def alone(self, number: int) -> KeyFrame | None:
        """Returns one of the key frames; nothing when the tables contradict the file."""
        chunk = int(np.searchsorted(self._first_frames, number, side="right")) - 1
        place = int(self._chunks[chunk]) + int(self._sizes[int(self._first_frames[chunk]) : number].sum())
        size = int(self._sizes[number])
        if not (0 < size <= _MAX_BYTES and 0 <= place <= self._path.stat().st_size - size):
            return None
        with self._path.open("rb") as file:
            file.seek(place)
            data = file.read(size)
        seconds = float(self._times[number] - self._times[0]) / self._timescale
        return KeyFrame(self._file_of(data), min(max(0.0, seconds), self.seconds))

    def _read(self, file: BinaryIO, movie: Box, track: Box, media: Box) -> None:
        """Keeps the tables, and what is said about the picture. Raises IndexError or ValueError for what is damaged."""
        information = _child(file, media, b"minf")
        tables = {
            box.kind: _content(file, box)
            for box in _children(file, _child(file, information, b"stbl"))
            if box.kind in _TABLES
        }
        self._movie_header = _copied(file, movie, b"mvhd")
        self._track_header = _copied(file, track, b"tkhd")
        self._media_headers = _copied(file, media, b"mdhd", b"hdlr")
        self._picture_headers = _copied(file, information, b"vmhd", b"dinf")
        self._description = _box(b"stsd", tables.get(b"stsd", b""))
        self._timescale = _timescale(_content(file, _child(file, media, b"mdhd")))

        self._sizes = _sizes(tables.get(b"stsz", b""))
        count = len(self._sizes)
        durations = _runs(tables.get(b"stts", b""), count)
        self._times = np.cumsum(durations) - durations
        if b"ctts" in tables:
            self._times += _runs(tables[b"ctts"], count).astype(np.int32)
        places = tables.get(b"stco") or tables.get(b"co64", b"")
        self._chunks = _entries(places, "u4" if b"stco" in tables else "u8").ravel()
        first, frames, description = _entries(tables.get(b"stsc", b""), "u4", 3).T
        if first[0] != 1 or (description != 1).any():
            raise ValueError("some frames are not described, or otherwise than others")
        in_chunks = np.repeat(frames, np.diff(first - 1, append=len(self._chunks)))
        self._first_frames = np.cumsum(in_chunks) - in_chunks
        if len(self._times) < count or int(in_chunks.sum()) < count:
            raise ValueError("the tables are of different lengths")
        self.frames, self.seconds = count, float(durations.sum()) / self._timescale
        if self.seconds > MAX_SECONDS:
            raise ValueError("it takes too long")
        for edits in (box for box in _children(file, track) if box.kind == b"edts"):
            shown = _shown(_content(file, _child(file, edits, b"elst")))
            seconds = shown.duration / _timescale(_content(file, _child(file, movie, b"mvhd")))
            begins = int(self._times.min()) if count else 0
            if shown.begins > begins or (shown.duration and seconds < self.seconds - _HIDDEN_SECONDS):
                raise ValueError("the edit list hides a part")
        # Where the table is missing, all are key frames.
        numbers = _entries(tables[b"stss"], "u4").ravel() - 1 if b"stss" in tables else np.arange(count)
        self.numbers = np.unique(numbers[(numbers >= 0) & (numbers < count)])

    def _file_of(self, frame: bytes) -> bytes:
        start = _box(b"ftyp", _FILE_TYPE)
        tables = (
            _table(b"stts", 1, 1, 1),
            _table(b"stsc", 1, 1, 1, 1),
            _table(b"stsz", 0, 1, len(frame)),
            _table(b"stco", 1, len(start) + 8),
        )
        information = _box(b"minf", self._picture_headers, _box(b"stbl", self._description, *tables))
        track = _box(b"trak", self._track_header, _box(b"mdia", self._media_headers, information))
        return b"".join([start, _box(b"mdat", frame), _box(b"moov", self._movie_header, track)])


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def _table(kind: bytes, *numbers: int) -> bytes:
    return _box(kind, bytes(4), *(number.to_bytes(4, "big") for number in numbers))


def _content(file: BinaryIO, box: Box) -> bytes:
    """Reads what is in a box. Raises ValueError when it is too large for a table."""
    if box.end - box.start > _MAX_TABLE_BYTES:
        raise ValueError(f"the box {box.kind!r} is too large")
    file.seek(box.start)
    return file.read(box.end - box.start)


def _children(file: BinaryIO, outer: Box) -> Iterator[Box]:
    """Yields the boxes in a box. Raises ValueError for one that ends behind it: each could claim the whole file."""
    for box in boxes(file, outer.start, outer.end):
        if box.end > outer.end:
            raise ValueError(f"the box {box.kind!r} is larger than what holds it")
        yield box


def _child(file: BinaryIO, outer: Box, kind: bytes) -> Box:
    """Returns the first box of a kind in a box. Raises ValueError when there is none."""
    for box in _children(file, outer):
        if box.kind == kind:
            return box
    raise ValueError(f"there is no box {kind!r}")


def _timescale(header: bytes) -> int:
    """Returns the ticks of a second from a header of a movie or of a track's media. Raises ValueError for none."""
    if not (ticks := int.from_bytes(header[20:24] if header[0] else header[12:16], "big")):
        raise ValueError("time does not pass")
    return ticks


class _Shown(NamedTuple):
    """What an edit list shows: from which tick of the media, for how many ticks of the movie (0: to the end)."""

    begins: int
    duration: int


def _shown(edits: bytes) -> _Shown:
    """Reads an edit list of one part at its normal speed. Raises ValueError for another one."""
    size = 8 if edits[0] else 4
    entry = edits[8:]
    if int.from_bytes(edits[4:8], "big") != 1 or entry[2 * size : 2 * size + 4] != b"\0\1\0\0":
        raise ValueError("the edit list does more than to begin")
    begins = int.from_bytes(entry[size : 2 * size], "big", signed=True)
    if begins < 0:
        raise ValueError("the edit list begins with nothing")
    return _Shown(begins, int.from_bytes(entry[:size], "big"))


def _copied(file: BinaryIO, outer: Box, *kinds: bytes) -> bytes:
    return b"".join(_box(box.kind, _content(file, box)) for box in _children(file, outer) if box.kind in kinds)


def _entries(table: bytes, kind: str, columns: int = 1, start: int = 4) -> Numbers:
    """Returns the rows of a table: the number of them, then their numbers. Raises ValueError when there are fewer."""
    count = int.from_bytes(table[start : start + 4], "big")
    data = table[start + 4 :]
    size = count * columns * np.dtype(kind).itemsize
    if len(data) < size:
        raise ValueError("a table is shorter than it says")
    return np.frombuffer(data[:size], f">{kind}").reshape(count, columns).astype(np.int64)


def _sizes(table: bytes) -> Numbers:
    if int.from_bytes(table[8:12], "big") > _MAX_FRAMES:
        raise ValueError("there are too many frames")
    if size := int.from_bytes(table[4:8], "big"):
        return np.full(int.from_bytes(table[8:12], "big"), size, np.int64)
    return _entries(table, "u4", start=8).ravel()


def _runs(table: bytes, limit: int) -> Numbers:
    """Returns a number for each frame up to `limit`, from rows of how many have which. Raises ValueError for damage."""
    counts, numbers = _entries(table, "u4", 2).T
    if int(counts.sum()) > _MAX_FRAMES:
        raise ValueError("there are too many frames")
    return np.repeat(numbers, counts)[:limit]
