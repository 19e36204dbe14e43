"""Which frames are decoded, and how: key frames from files of their own, as far as the tables of the file say true."""

from __future__ import annotations

import io
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import pytest
from function_cloud import MEDIA
from hypothesis import given
from hypothesis import strategies as st
from recognition import mp4
from recognition.engine import Image
from recognition.frames import Frame, FrameReader, UnreadableError, Video, _nearest

RATE = 30
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
HOLDS_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


def clip(
    path: Path, frames: int, key_frame_each: int, codec: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    """Writes frames that get brighter by one level each, with a square that wanders."""
    with av.open(str(path), "w", options={"movflags": "faststart"} | (options or {})) as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=RATE))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 128, 96, PIXELS.get(codec, "yuv420p"), 1
        stream.options = {"g": str(key_frame_each), "sc_threshold": "0"}
        if codec == "libx265":
            stream.options = {"x265-params": f"log-level=none:pools=1:keyint={key_frame_each}:open-gop=0"}
        for number in range(frames):
            picture = np.full((96, 128, 3), number, np.uint8)
            picture[30:50, number % 100 : number % 100 + 20] = (255, 0, number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def decoded(source: str | io.BytesIO) -> list[tuple[float, Image]]:
    """Returns all frames with their times."""
    capture = cv2.VideoCapture(cast("str", source), cv2.CAP_FFMPEG, [])
    frames = []
    while (answer := capture.read())[0]:
        frames.append((capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, np.asarray(answer[1], np.uint8)))
    capture.release()
    return frames


@pytest.mark.parametrize(
    "codec", ["h263", "libvpx-vp9", "libx264", "libx265", "mjpeg", "mpeg2video", "mpeg4", "prores_ks"]
)
def test_a_key_frame_alone_is_what_the_whole_file_shows(tmp_path: Path, codec: str) -> None:
    path = clip(tmp_path / f"clip.{'mov' if codec in ('h263', 'prores_ks') else 'mp4'}", 100, 30, codec)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    key_frames = mp4.KeyFrames(path)
    numbers = key_frames.numbers.tolist()
    assert numbers == [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert len(numbers) >= 3
    assert key_frames.frames == 100
    assert key_frames.seconds == pytest.approx(100 / RATE)
    whole = decoded(str(path))
    for number in numbers:
        alone = key_frames.alone(number)
        assert alone
        ((_, image),) = decoded(file := io.BytesIO(alone.file))
        assert file.closed is False
        shown = [seconds for seconds, picture in whole if np.array_equal(picture, image)]
        assert shown == [pytest.approx(alone.seconds, abs=0.001)]


def test_frames_need_not_be_equally_far_apart(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 64, "yuv420p", {"g": "4"}
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8), format="bgr24")
            frame.pts = number**2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        told = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe and p.pts is not None]
    key_frames = mp4.KeyFrames(path)
    times = [key.seconds for number in key_frames.numbers if (key := key_frames.alone(int(number)))]
    assert times == pytest.approx(told, abs=0.001)
    assert len(times) >= 3
    assert len(set(np.diff(times).round(3))) > 1


@pytest.mark.parametrize("name", ["audio-only.mp4", "empty.mp4", "text.mp4", "truncated.mp4"])
def test_a_file_without_pictures_has_no_key_frames(name: str) -> None:
    assert mp4.KeyFrames(MEDIA / name).numbers.size == 0


INTERLACED = {
    "libx264": {"x264-params": "tff=1"},
    "libx265": {"x265-params": "log-level=none:pools=1:interlace=1"},
    "mpeg2video": {"flags": "+ildct+ilme"},
    "mpeg4": {"flags": "+ildct+ilme"},
    "prores_ks": {"flags": "+ildct+ilme"},
}


@pytest.mark.parametrize("codec", INTERLACED)
@pytest.mark.parametrize("interlaced", [True, False])
@pytest.mark.parametrize("fragments", [True, False])
def test_an_interlaced_picture_is_none_and_not_what_was_in_the_memory(
    tmp_path: Path, codec: str, interlaced: bool, fragments: bool
) -> None:
    path = tmp_path / ("clip.mov" if codec == "prores_ks" else "clip.mp4")
    options = {"movflags": "frag_keyframe+empty_moov"} if fragments else {}
    with av.open(str(path), "w", options=options) as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=RATE))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 320, 240, PIXELS.get(codec, "yuv420p"), 1
        if interlaced:
            stream.options = {**INTERLACED[codec]}
        for _ in range(4):
            picture = np.full((240, 320, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    if interlaced:
        with Video(path) as video, pytest.raises(UnreadableError, match="interlaced"):
            list(video.frames(3))
        return
    with Video(path) as video:
        means = [frame.image.mean() for frame in video.frames(3)]
    assert len(means) >= 2
    assert means == pytest.approx([90] * len(means), abs=3)


def test_fragments_have_their_tables_elsewhere(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", 90, 30, options={"movflags": "frag_keyframe+empty_moov"})
    assert mp4.KeyFrames(path).numbers.size == 0
    with Video(path) as video:
        assert len(list(video.frames(3))) == 3


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def changed(data: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """Returns an MP4 file whose boxes below the tables' are what `change` makes of their kind and content.

    Its frames stand before its tables, or their places would no longer be true.
    """
    result, start = b"", 0
    while start < len(data):
        end = start + int.from_bytes(data[start : start + 4], "big")
        kind, content = data[start + 4 : start + 8], data[start + 8 : end]
        start = end
        result += box(kind, changed(content, change)) if kind in HOLDS_BOXES else change(kind, content)
    return result


def with_edits(data: bytes, edits: bytes) -> bytes:
    """Returns an MP4 file whose tracks have this edit list and no other."""

    def change(kind: bytes, content: bytes) -> bytes:
        if kind == b"edts":
            return b""
        return box(kind, content) + (box(b"edts", box(b"elst", edits)) if kind == b"tkhd" else b"")

    return changed(data, change)


@pytest.mark.parametrize(
    ("edits", "shown"),
    [
        ([(4000, 0, 1 << 16)], True),  # all of it
        ([(0, 0, 1 << 16)], True),  # to its end
        ([(2000, 2 * 15360, 1 << 16)], False),  # the second half: a telephone cuts so without encoding again
        ([(2000, 0, 1 << 16)], False),  # the first half
        ([(500, 2**32 - 1, 1 << 16), (4000, 0, 1 << 16)], False),  # nothing at first
        ([(4000, 0, 1 << 15)], False),  # at half the speed
    ],
)
def test_what_an_edit_list_hides_is_not_looked_at(
    tmp_path: Path, edits: list[tuple[int, int, int]], shown: bool
) -> None:
    path = clip(tmp_path / "clip.mp4", 120, 30, options={"movflags": "write_colr"})
    table = b"".join(number.to_bytes(4, "big") for edit in [(0, len(edits)), *edits] for number in edit)
    path.write_bytes(with_edits(path.read_bytes(), table))
    assert mp4.KeyFrames(path).numbers.tolist() == ([0, 30, 60, 90] if shown else [])
    hidden = edits == [(2000, 2 * 15360, 1 << 16)]
    with Video(path) as video:
        brightness = [float(frame.image[60:].mean()) for frame in video.frames(2)]
    assert (min(brightness) > 50) is hidden


def as_large_places(kind: bytes, content: bytes) -> bytes:
    """Writes the places of chunks with 64 bits, as files above 4 GB do."""
    if kind != b"stco":
        return box(kind, content)
    return box(b"co64", content[:8] + b"".join(bytes(4) + content[n : n + 4] for n in range(8, len(content), 4)))


def as_long_times(kind: bytes, content: bytes) -> bytes:
    """Writes the times of headers with 64 bits."""
    if kind not in (b"mvhd", b"mdhd"):
        return box(kind, content)
    made, last, ticks, duration = (content[n : n + 4] for n in range(4, 20, 4))
    times = b"".join([bytes(4), made, bytes(4), last, ticks, bytes(4), duration])
    return box(kind, b"\x01" + content[1:4] + times + content[20:])


@pytest.mark.parametrize("change", [as_large_places, as_long_times])
def test_tables_have_a_short_and_a_long_form(tmp_path: Path, change: Callable[[bytes, bytes], bytes]) -> None:
    path = clip(tmp_path / "clip.mp4", 120, 30, options={"movflags": "write_colr"})
    short = mp4.KeyFrames(path)
    pictures = [short.alone(number) for number in (0, 30, 60, 90)]
    data = path.read_bytes()
    path.write_bytes(changed(data, change))
    assert path.read_bytes() != data
    long = mp4.KeyFrames(path)
    assert long.numbers.tolist() == [0, 30, 60, 90]
    assert long.seconds == pytest.approx(4.0)
    for number, picture in zip((0, 30, 60, 90), pictures, strict=True):
        alone = long.alone(number)
        assert alone
        assert picture
        assert alone.seconds == picture.seconds == pytest.approx(number / RATE)
        assert np.array_equal(decoded(io.BytesIO(alone.file))[0][1], decoded(io.BytesIO(picture.file))[0][1])


def test_frames_of_one_size_have_it_written_once(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mov", 12, 1, "rawvideo")
    data = path.read_bytes()
    assert data[data.index(b"stsz") + 8 : data.index(b"stsz") + 12] == (128 * 96 * 3 // 2).to_bytes(4, "big")
    key_frames = mp4.KeyFrames(path)
    assert key_frames.numbers.tolist() == [*range(12)]
    for number, (seconds, picture) in enumerate(decoded(str(path))):
        alone = key_frames.alone(number)
        assert alone
        assert alone.seconds == pytest.approx(seconds)
        ((_, image),) = decoded(file := io.BytesIO(alone.file))
        assert np.array_equal(image, picture)
        assert file.closed is False


def test_a_frame_is_shown_when_its_own_offset_says(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", 120, 30, options={"movflags": "write_colr"})

    def later(kind: bytes, content: bytes) -> bytes:
        """Shows each frame so many ticks after it is decoded as its number is."""
        if kind == b"ctts":
            offsets = b"".join((1).to_bytes(4, "big") + number.to_bytes(4, "big") for number in range(120))
            content = bytes(4) + (120).to_bytes(4, "big") + offsets
        return b"" if kind == b"edts" else box(kind, content)

    before = mp4.KeyFrames(path).alone(90)
    path.write_bytes(changed(path.read_bytes(), later))
    after = mp4.KeyFrames(path).alone(90)
    assert before
    assert after
    assert after.seconds - before.seconds == pytest.approx(90 / (512 * RATE))


@pytest.mark.parametrize(
    ("kind", "at", "number"),
    [(b"stco", 8, 2**31), (b"stsz", 12, 0), (b"stsz", 12, 2**31), (b"stsz", 12, 65 * 2**20)],
)
def test_what_lies_beside_the_file_is_not_read(tmp_path: Path, kind: bytes, at: int, number: int) -> None:
    path = clip(tmp_path / "clip.mp4", 60, 30)
    assert mp4.KeyFrames(path).alone(0) is not None
    damaged(path, kind, at, [number])
    if number == 65 * 2**20:  # the file is large enough, the frame is not believed
        with path.open("ab") as file:
            file.truncate(80 * 2**20)
    assert mp4.KeyFrames(path).alone(0) is None


def test_what_claims_more_than_there_is_costs_nothing(tmp_path: Path) -> None:
    """Each of the boxes claims the megabytes behind them: read one by one they would fill the memory."""
    handler = box(b"hdlr", bytes(8) + b"vide")
    claims = b"".join(b"\0\0\0\x10stbl" + (2**25).to_bytes(4, "big") + b"x%03d" % number for number in range(50))
    media = box(b"mdia", handler + box(b"minf", claims))
    path = tmp_path / "bomb.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"trak", media)) + bytes(2**25))
    tracemalloc.start()
    try:
        assert mp4.KeyFrames(path).numbers.size == 0
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_box_shorter_than_its_header_ends_the_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"mdat", bytes(50)) + length.to_bytes(4, "big") + b"moov")
    with pytest.raises(UnreadableError, match="truncated"):
        Video(path)


def damaged(path: Path, kind: bytes, at: int, numbers: Sequence[int]) -> None:
    """Overwrites numbers of 32 bits in the first box of a kind, `at` bytes behind its name."""
    data = bytearray(path.read_bytes())
    start = data.index(kind) + 4 + at
    for place, number in enumerate(numbers):
        data[start + 4 * place : start + 4 * place + 4] = number.to_bytes(4, "big")
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("kind", "at", "numbers"),
    [
        (b"stsz", 4, [1, 2**32 - 1]),  # four thousand millions of frames of one byte
        (b"stsz", 8, [2**32 - 1]),
        (b"stts", 4, [1, 2**32 - 1]),
        (b"stsc", 8, [2]),  # the first chunk is not described
        (b"stsc", 8, [0]),
        (b"stco", 4, [2**31]),  # there are not so many
        (b"stsc", 12, [1]),  # fewer frames than there are sizes
        (b"stsc", 16, [2]),  # another description
        (b"stss", 4, [2**31]),
        (b"mdhd", 12, [0]),
        (b"mdhd", 12, [1]),  # it takes longer than eleven days
        (b"hdlr", -8, [2**31]),
        (b"stbl", -4, [1]),
    ],
)
def test_tables_that_cannot_be_are_not_believed(tmp_path: Path, kind: bytes, at: int, numbers: list[int]) -> None:
    path = clip(tmp_path / "clip.mp4", 60, 30)
    damaged(path, kind, at, numbers)
    if kind == b"mdhd":
        damaged(path, b"stts", 12, [2**31])
    assert mp4.KeyFrames(path).numbers.size == 0


@pytest.mark.parametrize(
    ("kind", "at", "numbers"),
    [
        (b"stco", 8, [2**31]),  # behind the end of the file
        (b"stco", 8, [0]),  # not where frames are
        (b"stsz", 12, [0]),
        (b"stss", 8, [2, 3, 5]),  # they are no key frames
    ],
)
def test_a_frame_that_is_not_where_it_should_be_is_read_otherwise(
    tmp_path: Path, kind: bytes, at: int, numbers: list[int]
) -> None:
    path = clip(tmp_path / "clip.mp4", 90, 30, "libx264")
    key_frames = mp4.KeyFrames(path).numbers.tolist()
    damaged(path, kind, at, numbers)
    assert mp4.KeyFrames(path).numbers.size == len(key_frames)
    try:
        with Video(path) as video:
            frames = list(video.frames(3))
    except UnreadableError:
        return  # OpenCV cannot read it either
    assert [frame.image.shape for frame in frames] == [(96, 128, 3)] * len(frames)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_frames_or_none(tmp_path_factory: pytest.TempPathFactory, at: int, rubbish: bytes) -> None:
    data = bytearray((MEDIA / "joe-biden-360p.mp4").read_bytes())
    at %= len(data)
    data[at : at + len(rubbish)] = rubbish
    path = tmp_path_factory.getbasetemp() / "damaged.mp4"
    path.write_bytes(bytes(data))
    key_frames = mp4.KeyFrames(path)
    for number in key_frames.numbers.tolist():
        alone = key_frames.alone(number)
        assert alone is None or len(alone.file) < 2 * len(data)


@pytest.mark.parametrize(
    ("index", "key_frames", "within", "chosen"),
    [
        (15, [0], 40, None),  # the first is shown already
        (150, [*range(0, 300, 30)], 40, 150),
        (160, [*range(0, 300, 30)], 40, 150),
        (50, [*range(0, 300, 60)], 40, 60),
        (150, [0, 250], 40, None),  # that is another part of the clip
        (150, [], 40, None),
    ],
)
def test_the_key_frame_nearby_is_taken(index: int, key_frames: list[int], within: float, chosen: int | None) -> None:
    assert _nearest(np.array(key_frames, np.int64), index, within) == chosen


def test_the_frames_are_the_ones_that_were_chosen(tmp_path: Path) -> None:
    with Video(clip(tmp_path / "clip.mp4", 200, 30)) as video:
        frames = list(video.frames(4))
    assert (video.width, video.height) == (128, 96)
    assert video.duration_seconds == pytest.approx(200 / RATE)
    # The middle, and the quarters: 100, 50 and 150.
    assert [round(frame.seconds * RATE) for frame in frames] == [0, 90, 60, 150]
    # Of 256 levels, the codec knows 220.
    assert [int(frame.image[60:].mean().round()) for frame in frames] == pytest.approx([0, 90, 60, 150], abs=5)


def test_all_pictures_have_the_size_of_the_first(tmp_path: Path) -> None:
    """A recorder that changes its resolution writes so, with the parameters of its codec in the frames."""
    path = tmp_path / "changes.mp4"
    sizes = [(128, 96), (64, 48)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        encoders = [stream.codec_context, av.CodecContext.create("libx264", "w")]
        number = 0
        for encoder, (width, height) in zip(encoders, sizes, strict=True):
            encoder.width, encoder.height, encoder.pix_fmt, encoder.thread_count = width, height, "yuv420p", 1
            encoder.framerate, encoder.time_base = Fraction(RATE), Fraction(1, RATE)
            encoder.options = {"x264-params": "repeat-headers=1:keyint=30:bframes=0"}
            for picture in [np.full((height, width, 3), 100, np.uint8)] * 60:
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                frame.pts, number = number, number + 1
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                container.mux(packet)
    assert mp4.KeyFrames(path).numbers.tolist() == [0, 30, 60, 90]
    with Video(path) as video:
        frames = list(video.frames(4))
    assert [frame.seconds for frame in frames] == [0.0, 2.0, 1.0, 3.0]
    assert [frame.image.shape for frame in frames] == [(96, 128, 3)] * 4


def test_frames_between_few_key_frames_are_seeked(tmp_path: Path) -> None:
    with Video(clip(tmp_path / "clip.mp4", 200, 250)) as video:
        frames = list(video.frames(4))
    assert [round(frame.seconds * RATE) for frame in frames] == [0, 100, 50, 150]
    assert [int(frame.image[60:].mean().round()) for frame in frames] == pytest.approx([0, 100, 50, 150], abs=5)


def test_frames_may_be_asked_for_ahead(tmp_path: Path) -> None:
    with FrameReader(clip(tmp_path / "clip.mp4", 200, 30), 3, time.monotonic() + 60) as video:
        asked = [video.ask() for _ in range(5)]
        frames = [video.get(wanted) for wanted in reversed(asked)]
    assert [frame and frame.number for frame in frames] == [None, None, 2, 1, 0]


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "truncated.mp4"])
def test_no_thread_is_left_of_a_file_that_cannot_be_opened(name: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UnreadableError):
        FrameReader(MEDIA / name, 3, time.monotonic() + 60)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_why_no_frame_decodes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> Frame | None:
        return None

    monkeypatch.setattr(Video, "_frame", nothing)
    monkeypatch.setattr(Video, "_key_frame", nothing)
    with FrameReader(clip(tmp_path / "clip.mp4", 20, 30), 3, time.monotonic() + 60) as video:
        first, second = video.ask(), video.ask()
        with pytest.raises(UnreadableError, match="no frame of the file can be decoded"):
            video.get(first)
        assert video.get(second) is None
