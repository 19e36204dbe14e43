"""Which frames are decoded: those that cost little, and what the file says about them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from function_cloud import MEDIA
from hypothesis import given
from hypothesis import strategies as st
from recognition import mp4
from recognition.frames import FrameReader, UnreadableError, Video, _cheaper


def clip(path: Path, frames: int, key_frame_each: int) -> Path:
    """Writes frames that get brighter by one level each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = "yuv420p", {"g": str(key_frame_each), "preset": "ultrafast"}
        for number in range(frames):
            picture = np.full((64, 64, 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def test_the_key_frames_are_those_of_the_file(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", 100, 30)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert mp4.key_frames(path) == [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert mp4.key_frames(path) == [0, 30, 60, 90]


@pytest.mark.parametrize("name", ["audio-only.mp4", "empty.mp4", "text.mp4", "truncated.mp4"])
def test_a_file_without_pictures_has_no_key_frames(name: str) -> None:
    assert mp4.key_frames(MEDIA / name) == []


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_numbers_or_none(
    tmp_path_factory: pytest.TempPathFactory, at: int, rubbish: bytes
) -> None:
    data = bytearray((MEDIA / "joe-biden-360p.mp4").read_bytes())
    at %= len(data)
    data[at : at + len(rubbish)] = rubbish
    path = tmp_path_factory.getbasetemp() / "damaged.mp4"
    path.write_bytes(bytes(data))
    assert all(isinstance(number, int) for number in mp4.key_frames(path))


@pytest.mark.parametrize(
    ("index", "key_frames", "count", "chosen"),
    [
        (15, [0], 30, 15),  # near the beginning nothing is cheaper than itself
        (
            150,
            [*range(0, 300, 30)],
            300,
            137,
        ),  # to reach 150, OpenCV would decode from 120 on, as far as 137 and farther
        (50, [*range(0, 200, 30)], 200, 50),  # 20 frames to decode are not worth another frame for 17
        (150, [0, 250], 300, 150),  # 267 would be cheap, but is another part of the clip
        (150, [0, 160], 300, 177),
        (70, [0, 75], 90, 70),  # nothing lies behind the end
    ],
)
def test_a_frame_nearby_is_taken_where_it_is_cheaper(
    index: int, key_frames: list[int], count: int, chosen: int
) -> None:
    assert _cheaper(index, key_frames, count) == chosen


@given(st.integers(2, 5000), st.data())
def test_it_is_near_and_in_the_clip(count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(1, count - 1))
    key_frames = sorted({0, *data.draw(st.lists(st.integers(-5, 2 * count)))})
    chosen = _cheaper(index, [number for number in key_frames if number >= 0], count)
    assert 0 < chosen < count
    assert abs(chosen - index) <= count / 8


def test_the_frames_are_the_ones_that_were_chosen(tmp_path: Path) -> None:
    """OpenCV shows the frame with that number, whatever it had to decode for it."""
    with Video(clip(tmp_path / "clip.mp4", 200, 30)) as video:
        frames = list(video.frames(4))
    # The middle, and the quarters: 100, 50 and 150; decoding 20 frames for the 50th is little enough.
    assert [round(frame.seconds * 30) for frame in frames] == [0, 107, 50, 137]
    # Of 256 levels, the codec knows 220.
    assert [int(frame.image.mean().round()) for frame in frames] == pytest.approx([0, 107, 50, 137], abs=5)


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


def test_each_answer_tells_why_no_frame_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Video, "_read", lambda *_: None)
    with FrameReader(clip(tmp_path / "clip.mp4", 20, 30), 3, time.monotonic() + 60) as video:
        first, second = video.ask(), video.ask()
        with pytest.raises(UnreadableError, match="no frame of the file can be decoded"):
            video.get(first)
        assert video.get(second) is None
