"""Faces, decisions and frames."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import face_recognition
import numpy as np
import pytest
from function_cloud import LAMBDA_SRC, MEDIA
from hypothesis import given
from hypothesis import strategies as st
from recognition import engine
from recognition.config import Config, ConfigError
from recognition.engine import Box
from recognition.events import NotUnderstoodError, videos_in_body
from recognition.matching import Gallery
from recognition.network import FaceNetwork, WeightsError
from recognition.pipeline import analyse

CONFIG = Config("table", "bucket", "queue", "gallery", least_budget_seconds=600, time_budget_seconds=600)


def test_encodings_equal_those_of_face_recognition() -> None:
    for path in sorted((MEDIA / "students").glob("*.jpg")):
        photo = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
        rgb = np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB))
        (box,) = engine.find_faces(photo)
        (theirs,) = face_recognition.face_encodings(rgb, [(box.top, box.right, box.bottom, box.left)])
        (ours,) = engine.encode(photo, [box])
        assert np.abs(ours - theirs).max() < 1e-5


def test_other_weights_are_refused(tmp_path: Path) -> None:
    whole = engine.model_file(f"{engine.MODEL_NAME}.dat").read_bytes()
    for number, content in enumerate([b"x", whole[:1000], whole[: len(whole) // 2], whole[:-200]]):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is not the network that encodes faces"):
            FaceNetwork(path)


def test_many_faces_at_once_are_encoded_as_one_by_one() -> None:
    photo = np.asarray(cv2.imread(str(MEDIA / "sources" / "astronaut.jpg")), dtype=np.uint8)
    boxes = [Box(150 + 5 * n, 60 + 3 * n, 270 + 5 * n, 180 + 3 * n) for n in range(11)]
    alone = [engine.encode(photo, [box])[0] for box in boxes]
    assert np.abs(np.stack(engine.encode(photo, boxes)) - np.stack(alone)).max() < 1e-5
    assert engine.encode(photo, []) == []


def film(
    path: Path,
    photos: list[str],
    frames_each: int,
    codec: str = "libx264",
    size: tuple[int, int] = (640, 480),
    times: Callable[[int], int] | None = None,
) -> Path:
    """Writes a clip that shows one photo after the other; `times` gives a frame's time in 1/1000 s by its number."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none:pools=1"}
        number = 0
        for photo in photos:
            read = np.asarray(cv2.imread(str(MEDIA / "students" / photo)))
            scale = max(width / read.shape[1], height / read.shape[0])
            filling = cv2.resize(read, None, fx=scale, fy=scale)
            left = (filling.shape[1] - width) // 2
            picture = np.asarray(filling[:height, left : left + width], dtype=np.uint8)
            for _ in range(frames_each):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
                if times:
                    frame.time_base, frame.pts = Fraction(1, 1000), times(number)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_formats(tmp_path: Path, enrolled: tuple[Gallery, list[object]], codec: str) -> None:
    clip = film(tmp_path / "clip.mp4", ["Joe Biden.jpg"], 8, codec)
    analysis = analyse(clip, enrolled[0], lambda: enrolled[0], CONFIG)
    assert [decision.match.name for decision in analysis.decisions] == ["Joe Biden"], analysis.reason


def test_portrait(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    clip = film(tmp_path / "clip.mp4", ["Joe Biden.jpg"], 8, size=(480, 854))
    analysis = analyse(clip, enrolled[0], lambda: enrolled[0], CONFIG)
    assert [decision.match.name for decision in analysis.decisions] == ["Joe Biden"]
    assert (analysis.width, analysis.height) == (480, 854)


def test_a_variable_frame_rate(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    # Twenty frames in the first second, then one each second.
    clip = film(
        tmp_path / "clip.mp4",
        ["Barack Obama.jpg", "Joe Biden.jpg"],
        20,
        times=lambda n: 50 * n if n < 20 else 1000 * (n - 19),
    )
    analysis = analyse(clip, enrolled[0], lambda: enrolled[0], CONFIG)
    times = {decision.match.name: decision.sighting.seconds for decision in analysis.decisions}
    assert times["Barack Obama"] < 1.0 <= times["Joe Biden"] <= 20.0


def test_a_student_who_comes_later_is_seen(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    gallery = enrolled[0]
    clip = film(tmp_path / "later.mp4", ["Barack Obama.jpg", "Joe Biden.jpg"], 30)
    analysis = analyse(clip, gallery, lambda: gallery, CONFIG)
    assert {decision.match.name for decision in analysis.decisions} == {"Barack Obama", "Joe Biden"}


def test_damaged_clips_never_raise_and_never_write_to_stderr(tmp_path: Path) -> None:
    """In a process of its own: a crash of a native decoder would end it, and its complaints go past Python."""
    whole = (MEDIA / "joe-biden-360p.mp4").read_bytes()
    generator = np.random.default_rng(7)
    for number in range(25):
        data = bytearray(whole)
        for position in generator.integers(0, len(data), size=1 + number * 4):
            data[position] ^= int(generator.integers(1, 256))
        (tmp_path / f"{number:02d}.mp4").write_bytes(bytes(data[: len(data) if number % 3 else len(data) * 2 // 3]))
    program = (
        "import sys; from pathlib import Path; from recognition.pipeline import analyse\n"
        "from recognition.matching import Gallery; from recognition.config import Config\n"
        "gallery = Gallery([]); config = Config('t', 'b', 'q', 'g')\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.mp4')):\n"
        "    print(analyse(path, gallery, lambda: gallery, config).status)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=LAMBDA_SRC,
        env={**os.environ, "PYTHONPATH": str(LAMBDA_SRC.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.split()) == 25


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        json.dumps
    )
)
def test_any_text_is_an_event_or_is_refused(text: str) -> None:
    with contextlib.suppress(NotUnderstoodError):
        assert isinstance(videos_in_body(text), list)


def test_all_missing_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"TABLE_NAME.*OUTPUT_QUEUE_URL.*GALLERY_BUCKET.*GALLERY_TTL_SECONDS"):
        Config.from_environment({"OUTPUT_BUCKET": "b", "GALLERY_TTL_SECONDS": "soon"})


NEEDED = {"TABLE_NAME": "t", "OUTPUT_BUCKET": "b", "GALLERY_BUCKET": "g", "OUTPUT_QUEUE_URL": "q"}


def test_settings_have_the_documented_defaults() -> None:
    config = Config.from_environment(NEEDED)
    assert (config.output_bucket, config.gallery_bucket) == ("b", "g")
    assert (config.gallery_ttl_seconds, config.time_budget_seconds, config.reserve_seconds) == (30.0, 45.0, 15.0)
    assert (config.minimum_confidence, config.blur_unknown_faces, config.least_looks) == ("probable", True, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "verbose"),
        ("LOG_LEVEL", "info"),
        ("TIME_BUDGET_SECONDS", "nan"),
        ("TIME_BUDGET_SECONDS", "0"),
        ("RESERVE_SECONDS", "-1"),
        ("LEAST_LOOKS", "inf"),
        ("GALLERY_TTL_SECONDS", "soon"),
        ("MINIMUM_CONFIDENCE", "certain"),
        ("BLUR_UNKNOWN_FACES", "maybe"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='{value}' is"):
        Config.from_environment(NEEDED | {name: value})


def test_settings_are_read() -> None:
    values = {"MINIMUM_CONFIDENCE": "sure", "BLUR_UNKNOWN_FACES": "false", "LEAST_LOOKS": "6", "LOG_LEVEL": "DEBUG"}
    config = Config.from_environment(NEEDED | values | {"TIME_BUDGET_SECONDS": "20"})
    assert (config.minimum_confidence, config.blur_unknown_faces, config.least_looks) == ("sure", False, 6)
    assert (config.log_level, config.time_budget_seconds) == ("DEBUG", 20.0)


def test_the_budget_grows_with_the_length_up_to_a_limit() -> None:
    config = Config.from_environment(NEEDED)
    lengths = [0, 2, 60, 120, 600, 3600, 36_000]
    assert [config.budget_seconds(seconds) for seconds in lengths] == [8, 8, 8, 9, 17, 45, 45]


def test_a_timeout_has_to_hold_a_video_and_its_answer() -> None:
    config = Config.from_environment(NEEDED)
    config.check_timeout(60.0)
    config.check_timeout(59.0)  # the runtime has used a little of it
    with pytest.raises(ConfigError, match="TIME_BUDGET_SECONDS"):
        config.check_timeout(57.0)
