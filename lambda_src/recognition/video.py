"""Frames of a video, decoded by PyAV (FFmpeg) where they are wanted, and the reason when there are none.

FFmpeg's log stays switched off, as PyAV leaves it: its Python callback waits for the interpreter in a decoder's thread
while the interpreter waits for that thread (PyAV's documentation of av.logging).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]  # height x width x 3, BGR

DENSE_SECONDS, DENSE_UNTIL_SECONDS, SPARSE_SECONDS = 2.0, 60.0, 10.0  # one look for each, up to a length and beyond
MAX_PIXELS = 7680 * 4320  # above it a small file asks for gigabytes
_MAX_SECONDS = 1_000_000  # eleven days: a duration beyond it is a damaged file's
_KEPT_BYTES = 64 * 1024 * 1024  # of decoded frames that are kept until it is their turn
_PATIENCE_SECONDS = 1.0  # a search that takes longer shows what it passes at once
_SEEK_SECONDS = 10.0  # how much is decoded, rather than looked for, where the container has no index
_DENSE_RATE = 10  # frames a second, from which a frame may stand for those beside it
_THREADS = 2

_VIDEOS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,asf,flv,mxf,ogg,h264,hevc,obu,ivf,dv,m4v,mpegvideo,gif"
_SOUNDS = "mp3,aac,wav,flac,amr,caf,aiff"
_PICTURES = "jpeg_pipe,mjpeg,png_pipe,apng,webp_pipe,bmp_pipe,tiff_pipe,jpegxl_pipe,jpegls_pipe,j2k_pipe,psd_pipe"
_OPEN_OPTIONS = {
    # A playlist named .mp4 would have FFmpeg open what it names: only containers that refer to nothing are read.
    "format_whitelist": f"{_VIDEOS},{_SOUNDS},{_PICTURES}",
    "protocol_whitelist": "none",
    # Opening would decode the first frame to learn what decoding it tells anyway; of 1080p that takes 40 ms.
    "codec_whitelist": "none",
}
_NOT_MOVING = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_PICTURE_BRANDS = {"heic": "HEIC", "heix": "HEIC", "mif1": "HEIF", "avif": "AVIF"}
_ENCRYPTED_TAGS = {"encv", "drmi"}
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid"}


class UnreadableError(Exception):
    """The file is not a video that can be decoded; the message is the reason given to the teacher."""


class OutOfTimeError(UnreadableError):
    """Nothing was decoded before the deadline; another try on a less busy machine may do better."""


class Readable(Protocol):
    """What a video is read from: an open file, or `recognition.objects.RangedObject`."""

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a position and returns it."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame, upright; `number` counts the frames looked at, `seconds` is its time in the clip."""

    number: int
    seconds: float
    image: Image


def plan_looks(
    duration_seconds: float,
    limit: int,
    *,
    dense_seconds: float = DENSE_SECONDS,
    dense_until_seconds: float = DENSE_UNTIL_SECONDS,
    sparse_seconds: float = SPARSE_SECONDS,
) -> list[float]:
    """Returns the times at which a clip is looked at, in the order in which that happens: any prefix covers the clip.

    They are the first frame and the middle; from two intervals on, also the end and then what lies halfway between. A
    clip has one look for each `dense_seconds`, and not fewer beyond `dense_until_seconds`, where one for each
    `sparse_seconds` is enough. There are two at least and `limit` at most, evenly far apart.
    """
    dense = math.ceil(min(duration_seconds, dense_until_seconds) / dense_seconds)
    intervals = max(dense, math.ceil(duration_seconds / sparse_seconds))
    intervals = min(intervals + intervals % 2, limit - 1)  # an even number has a middle
    if intervals <= 2:
        return [0.0, duration_seconds / 2][: max(1, limit)]
    order, between = [0], deque([(0, intervals)])
    while between:
        low, high = between.popleft()
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            between += [(low, middle), (middle, high)]
        if (low, high) == (0, intervals):
            order.append(intervals)
    return [index * duration_seconds / intervals for index in order]


class Video:
    """A video, from a file or from anything that can be read and seeked; used as a context manager.

    `width` and `height` are those of the upright picture with square pixels; `duration_seconds` is 0 when the container
    does not tell. It belongs to one thread at a time.
    """

    def __init__(self, source: Path | Readable, deadline: float | None = None) -> None:
        """Opens the video and decodes its first frame before `deadline` (of time.monotonic).

        Raises UnreadableError with the reason, and what reading the source raises as it is.
        """
        self._closing = contextlib.ExitStack()
        self._frames: Iterator[VideoFrame] = iter(())
        self._first: VideoFrame | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            file = self._closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
            self._source = _Source(file, math.inf if deadline is None else deadline)
            self._open()
            self._first = self._decode_first()
            undo.pop_all()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the decoder, and closes the file if it was opened here."""
        self._first, self._frames = None, iter(())
        self._closing.close()

    def looks(self, limit: int, deadline: float) -> Iterator[Frame]:
        """Yields the looks that `plan_looks` plans, until `deadline` (of time.monotonic).

        Where the length is not known, they are in the order of time. What is raised is what reading the source raises.
        """
        if self.duration_seconds:
            times = plan_looks(self.duration_seconds, limit)
        else:
            steps = itertools.chain(
                itertools.repeat(DENSE_SECONDS, int(DENSE_UNTIL_SECONDS / DENSE_SECONDS)),
                itertools.repeat(SPARSE_SECONDS),
            )
            times = list(itertools.islice(itertools.accumulate(steps, initial=0.0), max(1, limit)))
        return self.at(times, deadline)

    def at(self, times: Sequence[float], deadline: float) -> Iterator[Frame]:
        """Yields the first frame, and then a frame near each of the times but the first; none of them twice.

        A key frame that is nearer than half the way to the next look takes the place of another frame. Frames that lie
        on the way to another one are shown when it is their turn, or at once when that takes too much memory or time.
        Frames that do not decode are passed over. Raises what reading the source raises.
        """
        self._source.deadline = deadline
        apart = min(np.diff(sorted(times)), default=0.0)
        pending = set(times[1:])
        kept: dict[float, VideoFrame] = {}
        shown: set[float] = set()
        number = itertools.count()
        with contextlib.suppress(OutOfTimeError):
            for wanted in times:
                if self._first is not None:
                    found: Iterator[VideoFrame] = iter([self._first])
                    self._first = None
                elif wanted in kept:
                    found = iter([kept.pop(wanted)])
                elif wanted in pending and not wanted > self._end:
                    found = self._near(wanted, apart, pending, kept)
                else:
                    continue
                pending.discard(wanted)
                for frame in found:
                    seconds = self._seconds(frame)
                    if seconds not in shown:
                        shown.add(seconds)
                        yield Frame(next(number), seconds, self._picture(frame))
                    del frame  # of 8K it has 50 MB
                del found

    # Opening

    def _open(self) -> None:
        self._container = self._opened()
        self._closing.callback(self._container.close)
        kind = self._container.format.name
        name = _PICTURE_BRANDS.get(self._container.metadata.get("major_brand", ""))
        if kind in _PICTURES.split(","):
            name = {"mjpeg": "JPEG", "apng": "PNG"}.get(kind, kind.removesuffix("_pipe").upper())
        if name:
            raise UnreadableError(f"the file is a {name} picture, not a video")
        self._stream = self._picture_track()
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        codec = self._stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            raise UnreadableError(_too_large(codec.width, codec.height))
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        codec.thread_type, codec.thread_count = "AUTO", _THREADS
        self._codec = codec
        self._time_base = float(self._stream.time_base or 1)
        start = self._container.start_time
        self._origin = start / av.time_base if start is not None else 0.0
        self.duration_seconds = self._duration()
        self._frames = self._decode_on()
        self._reached = -math.inf  # the time of the frame that was decoded last, from which decoding can go on
        self._end = math.inf  # the time of the last frame, once it was met
        self._shift = 0  # by which frames are shown later than the index says
        self._interlaced = self._encrypted = False
        self._dense = (self._stream.average_rate or 0) >= _DENSE_RATE
        self._reformatter = VideoReformatter()

    def _opened(self) -> av.container.InputContainer:
        try:
            return av.open(self._source, "r", options=_OPEN_OPTIONS)
        except av.FFmpegError as error:
            self._source.check()
            if not _is_about_data(error):
                raise
            raise UnreadableError(self._source.diagnose()) from error
        except UnicodeDecodeError as error:
            raise UnreadableError("the description of the file is damaged") from error
        finally:
            self._source.check()

    def _picture_track(self) -> VideoStream:
        tracks = [track for track in self._container.streams.video if not track.disposition & _NOT_MOVING]
        if not tracks:
            if self._container.streams.audio:
                raise UnreadableError("the file holds sound but no moving picture")
            raise UnreadableError("the file holds no picture")
        track = max(tracks, key=lambda track: bool(track.disposition & Disposition.default))
        decoder: object = track.codec_context  # whatever its type hints say
        if decoder is None:
            name = _format_name(self._container, track.index)
            raise UnreadableError(f"its pictures are in the format {name}, which this service cannot decode")
        if track.codec_context.codec_tag in _ENCRYPTED_TAGS:
            raise UnreadableError("the file is encrypted (DRM)")
        return track

    def _duration(self) -> float:
        stream, seconds = self._stream, 0.0
        if stream.duration:
            seconds = ((stream.start_time or 0) + stream.duration) * self._time_base - self._origin
        elif self._container.duration:
            seconds = self._container.duration / av.time_base
        return seconds if 0 < seconds <= _MAX_SECONDS else 0.0

    def _decode_first(self) -> VideoFrame:
        """Decodes the first frame that can be, and learns from it what holds for all."""
        middle = self.duration_seconds / 2
        # Where the second look is decoded from the same key frame, that is not decoded twice.
        alone = self._key_frame_near(middle, middle / 2) is not None
        frame = self._alone() if alone else None
        if frame is None or frame.interlaced_frame:
            if alone:
                self._seek(0.0)
            frame = next(self._frames, None)
        if frame is None:
            raise UnreadableError(self._why_nothing_decodes())
        frame = self._take(frame, None)
        ratio = float(self._codec.sample_aspect_ratio or 1)
        width = round(frame.width * ratio) if 1 / 4 < ratio < 4 else frame.width
        width = frame.width if width * frame.height > MAX_PIXELS else width
        self._size = (width, frame.height)
        self._matrix = a, b, _, _ = _display_matrix(frame)
        self.width, self.height = self._size if abs(a) >= abs(b) else self._size[::-1]
        return frame

    def _why_nothing_decodes(self) -> str:
        codec, entries = self._codec, self._stream.index_entries
        if self._encrypted:
            return "the file is encrypted (DRM)"
        if codec.width * codec.height > MAX_PIXELS:
            return _too_large(codec.width, codec.height)
        if len(entries) and entries[-1].pos + entries[-1].size > self._source.size():
            return "the file ends before its pictures: it is truncated"
        return f"no frame of the file can be decoded ({codec.codec.long_name}): it is damaged"

    # Searching

    def _near(
        self, wanted: float, apart: float, pending: set[float], kept: dict[float, VideoFrame]
    ) -> Iterator[VideoFrame]:
        """Yields the frame that is wanted, after those that were passed on the way and cannot be kept."""
        key_frame = None if self._interlaced else self._key_frame_near(wanted, apart / 2)
        if key_frame is not None:
            self._seek(key_frame)
            alone = self._alone()
            if alone is not None:
                yield alone
                return
        if not self._leads_to(wanted):
            self._seek(wanted)
            first = next(self._frames, None)
            if first is None:  # without an index, a seek ends anywhere: perhaps behind the last key frame
                self._seek(max(0.0, wanted - _SEEK_SECONDS))
            else:
                self._frames = itertools.chain([first], self._frames)
        # Those that are not taken from key frames may lie on the way.
        on_the_way = deque(sorted(t for t in pending if t < wanted and self._key_frame_near(t, apart / 2) is None))
        started = time.monotonic()
        before: VideoFrame | None = None
        for frame in self._frames:
            seconds = self._seconds(frame)
            if before is None:  # what lies before the first one is not on the way
                while on_the_way and on_the_way[0] < seconds:
                    on_the_way.popleft()
            if on_the_way and seconds >= on_the_way[0]:
                passed = on_the_way.popleft()
                pending.discard(passed)
                taken = self._take(frame, before)
                if _bytes_of([taken, *kept.values()]) > _KEPT_BYTES or time.monotonic() - started > _PATIENCE_SECONDS:
                    yield taken
                else:
                    kept[passed] = taken
            if seconds >= wanted:
                yield self._take(frame, before)
                return
            before = frame
        if before is not None:
            self._end = self._seconds(before)
            yield self._take(before, None)

    def _key_frame_near(self, wanted: float, within: float) -> float | None:
        """Returns the time of the nearest key frame after the first, if the index tells one that is near enough."""
        entries = self._stream.index_entries
        first_key = entries.search_timestamp(entries[0].timestamp, backward=False) if len(entries) else -1
        times = []
        for backward in (True, False):
            found = entries.search_timestamp(self._timestamp(wanted) - self._shift, backward=backward)
            if found > first_key >= 0 and entries[found].is_keyframe:
                times.append((entries[found].timestamp + self._shift) * self._time_base - self._origin)
        near = [seconds for seconds in times if abs(seconds - wanted) <= within]
        return min(near, key=lambda seconds: abs(seconds - wanted), default=None)

    def _leads_to(self, wanted: float) -> bool:
        """Tells whether decoding on is the shortest way to a frame."""
        if not self._reached <= wanted:
            return False
        entries = self._stream.index_entries
        target = self._timestamp(wanted) - self._shift
        if not len(entries) or entries[-1].timestamp < target:  # the index may still grow
            return wanted - self._reached <= _SEEK_SECONDS or not self.duration_seconds
        found = entries.search_timestamp(target)
        return found >= 0 and (entries[found].timestamp + self._shift) * self._time_base - self._origin <= self._reached

    def _seek(self, seconds: float) -> None:
        try:
            self._container.seek(self._timestamp(seconds), stream=self._stream)
        except av.FFmpegError as error:
            self._source.check()
            if not _is_about_data(error):
                raise
        self._source.check()
        self._frames = self._decode_on()
        self._reached = math.inf

    # Decoding

    def _alone(self) -> VideoFrame | None:
        """Decodes the next packet alone, which is one frame's work; decoding cannot go on from it."""
        self._reached = math.inf
        packet = next(self._packets(), None)
        if packet is None:
            return None
        frames = self._decode(packet) + self._decode(None)
        self._codec.flush_buffers()
        return frames[0] if frames else None

    def _decode_on(self) -> Iterator[VideoFrame]:
        # Frames that nothing refers to are as far from what is wanted as those beside them: they are not decoded.
        self._codec.skip_frame = "NONREF" if self._dense and not self._interlaced else "DEFAULT"
        for packet in self._packets():
            for frame in self._decode(packet if packet.size else None):
                self._reached = self._seconds(frame)
                yield frame

    def _packets(self) -> Iterator[av.Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._source.check()
                if not _is_about_data(error):
                    raise
                return
            self._source.check()
            if packet is None:
                return
            if packet.has_sidedata("encryption_info"):
                self._encrypted = True
                return
            if packet.pts is not None and packet.dts is not None and "mov" in self._container.format.name:
                self._shift = packet.pts - packet.dts if packet.is_keyframe else self._shift
            yield packet

    def _decode(self, packet: av.Packet[VideoStream] | None) -> list[VideoFrame]:
        self._source.check_time()
        try:
            frames = self._codec.decode(packet)
        except av.FFmpegError as error:
            if not _is_about_data(error):
                raise
            return []
        return [frame for frame in frames if not frame.is_corrupt]

    def _take(self, frame: VideoFrame, before: VideoFrame | None) -> VideoFrame:
        """Returns the frame, with the lines of its other field computed anew if it is interlaced."""
        if not frame.interlaced_frame:
            return frame
        if not self._interlaced:
            self._interlaced, self._codec.skip_frame = True, "DEFAULT"
        after = next(self._frames, None)
        if after is not None:
            self._frames = itertools.chain([after], self._frames)
        return _deinterlaced(before, frame, after, self._stream.time_base or Fraction(1))

    def _picture(self, frame: VideoFrame) -> Image:
        width, height = self._size
        picture = np.asarray(self._reformatter.reformat(frame, width, height, "bgr24").to_ndarray(), np.uint8)
        a, b, c, d = self._matrix
        if abs(a) >= abs(b):
            across, down = a < 0, d < 0
        else:
            picture = np.asarray(cv2.transpose(picture), np.uint8)
            across, down = c < 0, b < 0
        if across or down:
            picture = np.asarray(cv2.flip(picture, -1 if across and down else int(across)), np.uint8)
        return picture

    def _seconds(self, frame: VideoFrame) -> float:
        # What is drained from a decoder has no time base, what comes out of a filter has another one.
        return max(0.0, (frame.pts or 0) * float(frame.time_base or self._time_base) - self._origin)

    def _timestamp(self, seconds: float) -> int:
        return round((seconds + self._origin) / self._time_base)


class _Source:
    """What FFmpeg reads from. It ends at the deadline and at an error, which are raised outside FFmpeg, by `check`.

    PyAV would raise what a callback raises too, but by whichever call of the thread asks next, and FFmpeg may go on.
    """

    def __init__(self, file: Readable, deadline: float) -> None:
        self._file, self.deadline = file, deadline
        self._error: BaseException | None = None
        self._late = False

    def read(self, size: int) -> bytes:
        if self._error is None and not self._is_late():
            try:
                return self._file.read(size)[:size]
            except BaseException as error:
                self._error = error
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self._error is None and not self._is_late():
            try:
                return self._file.seek(offset, whence)
            except (OSError, ValueError) as error:
                if offset >= 0:
                    self._error = error
            except BaseException as error:
                self._error = error
        return -1

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def size(self) -> int:
        return self._file.seek(0, os.SEEK_END)

    def check(self) -> None:
        """Raises what reading raised; OutOfTimeError when it was ended by the deadline."""
        if self._error is not None:
            raise self._error
        if self._late:
            raise OutOfTimeError("the file could not be decoded in the time there is")

    def check_time(self) -> None:
        """Raises OutOfTimeError after the deadline."""
        self._is_late()
        self.check()

    def diagnose(self) -> str:
        """Returns why the file cannot be opened, from its beginning."""
        self._file.seek(0)
        head = self._file.read(16)
        if not head:
            return "the file is empty"
        if head[4:8] in _BOXES:
            return "the file has no index, or a damaged one: it is truncated"
        return "the file is not a video"

    def _is_late(self) -> bool:
        self._late = self._late or time.monotonic() > self.deadline
        return self._late


def _is_about_data(error: av.FFmpegError) -> bool:
    """Tells the file's faults from those of the machine: no memory, no thread."""
    return not isinstance(error, (MemoryError, BlockingIOError))


def _format_name(container: av.container.InputContainer, index: int) -> str:
    """Returns what FFmpeg calls the format of a track that has no decoder, and the container's four letters for it."""
    # PyAV knows it in FFmpeg's log alone. As long as nothing is decoded, there is no thread that could wait for it.
    av.logging.set_level(av.logging.INFO)
    try:
        description = container.dumps_format()  # type: ignore[attr-defined] # its type hints do not know it
    finally:
        av.logging.set_level(None)
    found = re.search(rf"Stream #0:{index}\b.*?: Video: (\w+)(?: \(([^ )]+) /)?", description)
    names = found.groups("") if found else ("", "")
    return " ".join(name for name in names if name != "none").strip() or "that it does not name"


def _too_large(width: int, height: int) -> str:
    return f"a picture of {width}x{height} is larger than this service decodes"


def _bytes_of(frames: Sequence[VideoFrame]) -> int:
    return sum(plane.buffer_size for frame in frames for plane in frame.planes)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Returns a, b, c, d of how it is shown: x' = ax + cy, y' = bx + dy (ISO/IEC 14496-12, 8.3.2).

    A frame that was asked for its side data lives until the cycle collector runs, so only the first one is asked.
    """
    side_data: Any = frame.side_data  # its type hints know it as an attribute of one type only
    try:
        matrix = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)
    except KeyError:
        return 1, 0, 0, 1
    return int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])


def _deinterlaced(
    before: VideoFrame | None, frame: VideoFrame, after: VideoFrame | None, time_base: Fraction
) -> VideoFrame:
    """Returns the frame as the filter bwdif makes it, which tells movement from detail by the frames beside it."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame"), graph.add("buffersink")).configure()
    shown = []
    with contextlib.suppress(av.EOFError):
        for part in (before, frame, after):
            if part is not None:
                graph.vpush(part)
        graph.vpush(None)
        while True:
            shown.append(graph.vpull())
    return shown[0 if before is None else 1]
