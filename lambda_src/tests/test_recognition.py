"""Faces, decisions and frames."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import face_recognition
import numpy as np
import pytest
from function_cloud import LAMBDA_SRC, MEDIA
from hypothesis import given
from hypothesis import strategies as st
from recognition import engine
from recognition.config import Config, ConfigError, Thresholds
from recognition.engine import Box
from recognition.events import NotAnS3EventError, videos_in_body
from recognition.frames import Frame, UnreadableError, Video
from recognition.matching import Gallery, Person, Sighting, group
from recognition.network import FaceNetwork, WeightsError
from recognition.pipeline import Status, analyse

CONFIG = Config("table", "bucket", "queue", "gallery")
LIMITS = Thresholds()


def vector(*coordinates: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns an encoding with these first coordinates."""
    encoding = np.zeros(128)
    encoding[: len(coordinates)] = coordinates
    return encoding


def seen(frame: int, *coordinates: float) -> Sighting:
    """Returns a sighting with such an encoding."""
    return Sighting(frame, float(frame), Box(0, 0, 10, 10), vector(*coordinates))


GALLERY = Gallery([("Ada", np.stack([vector(0.0), vector(0.0, 0.1)])), ("Grace", vector(1.0)[None])])


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


@pytest.mark.parametrize(
    ("sightings", "name"),
    [
        ([seen(0, 0.40)], "Ada"),  # near: one frame is enough
        ([seen(0, 0.47)], None),  # grey: one frame is not
        ([seen(0, 0.46), seen(1, 0.46)], "Ada"),
        ([seen(0, 0.46), seen(0, 0.46)], None),  # two sightings of one frame are one opinion
        ([seen(0, 0.49), seen(1, 0.51)], None),  # the runner-up is as near
        ([seen(0, 0.0, 0.0, 0.51), seen(1, 0.0, 0.0, 0.51)], None),
        ([seen(0, 0.3), seen(1, 0.7)], None),  # frames that contradict one another
    ],
)
def test_who_is_named(sightings: list[Sighting], name: str | None) -> None:
    decision = Person(sightings).decide(GALLERY, LIMITS)
    assert (decision.match.name if decision else None) == name


def test_the_thresholds_are_those_of_the_evaluation() -> None:
    evaluation = json.loads((MEDIA.parents[1] / "docs" / "evaluation.json").read_text())
    assert evaluation["thresholds"] == asdict(LIMITS), "they were changed: run make evaluate"
    assert LIMITS.sure < LIMITS.match < evaluation["nearest_other_person"]
    assert evaluation["farthest_same_person"] <= LIMITS.match
    clips = evaluation["clips"]
    assert clips["total"]["strangers"] > 100
    assert clips["total"]["accepted"] == clips["total"]["wrong"] == 0
    assert clips["false_reject"] <= 0.02
    assert clips["two_students"]["right"] == clips["two_students"]["clips"] > 0


def test_nobody_enrolled_names_nobody() -> None:
    assert Person([seen(0, 0.0)]).decide(Gallery([]), LIMITS) is None


def test_two_faces_of_one_frame_are_two_people() -> None:
    people: list[Person] = []
    group(people, [seen(0, 0.0), seen(0, 0.1)], LIMITS)
    group(people, [seen(1, 0.11), seen(1, 0.01)], LIMITS)
    assert [[s.encoding[0] for s in person.sightings] for person in people] == [[0.0, 0.01], [0.1, 0.11]]


def test_the_gallery_keeps_its_version_whatever_the_order() -> None:
    turned = Gallery(list(reversed(GALLERY.students)))
    assert Gallery.from_json(json.dumps(GALLERY.to_json())).version == GALLERY.version == turned.version
    assert Gallery([("Ada", vector(0.0)[None])]).version != GALLERY.version
    assert len(GALLERY.version) == 16


def test_the_nearest_of_ten_thousand_is_the_nearest() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(12_000, 128)) * 0.05
    gallery = Gallery(
        [(f"Student {n}", rows[n : n + 1]) for n in range(8_000)]
        + [(f"Student {n}", rows[2 * n - 8_000 : 2 * n - 7_998]) for n in range(8_000, 10_000)]
    )
    for encoding in rows[::1700] + generator.normal(size=128) * 0.01:
        by_student = [float(np.linalg.norm(known - encoding, axis=1).min()) for _, known in gallery.students]
        first, second = np.argsort(by_student)[:2]
        match = gallery.nearest(encoding)
        assert match is not None
        assert match.name == gallery.names[first]
        assert match.distance == pytest.approx(by_student[first], abs=1e-12)
        assert match.margin == pytest.approx(by_student[second] - by_student[first], abs=1e-9)


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


def turned(path: Path, degrees: int) -> Path:
    """Writes a rotation into the track header, as a telephone that is held upright does."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = matrix
    path.write_bytes(bytes(data))
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


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_is_turned_as_it_says(tmp_path: Path, enrolled: tuple[Gallery, list[object]], degrees: int) -> None:
    upright = film(tmp_path / "upright.mp4", ["Joe Biden.jpg"], 8)
    lying = tmp_path / "lying.mp4"
    with av.open(str(upright)) as source, av.open(str(lying), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        rotated = [
            np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), degrees // 90), dtype=np.uint8)
            for frame in source.decode(video=0)
        ]
        stream.height, stream.width = rotated[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in rotated:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        target.mux(stream.encode(None))
    assert analyse(lying, enrolled[0], lambda: enrolled[0], CONFIG).status is Status.NO_FACE
    analysis = analyse(turned(lying, degrees), enrolled[0], lambda: enrolled[0], CONFIG)
    assert [decision.match.name for decision in analysis.decisions] == ["Joe Biden"]
    assert (analysis.width, analysis.height) == (640, 480)
    assert analysis.picture is not None
    assert analysis.picture.image.shape == (480, 640, 3)


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


def test_a_decoder_that_hangs_costs_no_more_than_the_budget(
    enrolled: tuple[Gallery, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, decode = threading.Event(), Video._frame

    def hanging(video: Video, number: int, index: int) -> Frame | None:
        if number:
            let_go.wait()
        return decode(video, number, index)

    monkeypatch.setattr(Video, "_frame", hanging)
    monkeypatch.setattr(Video, "_key_frame", lambda *_: None)
    hurried = replace(CONFIG, time_budget_seconds=0.5)
    analysis = analyse(MEDIA / "joe-biden-360p.mp4", enrolled[0], lambda: enrolled[0], hurried)
    let_go.set()
    assert [decision.match.name for decision in analysis.decisions] == ["Joe Biden"]
    assert analysis.frames == 1


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Returns a clip of less than a megabyte whose picture has 134 megapixels."""
    clip = tmp_path_factory.mktemp("bomb") / "bomb.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16_384, 8_192, "yuv420p"
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "bframes": "0", "rc-lookahead": "0"}
        black = av.VideoFrame(16_384, 8_192, "yuv420p")
        for plane in black.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(black))
        container.mux(stream.encode(None))
    assert clip.stat().st_size < 1_000_000
    return clip.read_bytes()


def test_a_picture_of_gigabytes_is_not_decoded(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "bomb.mp4").write_bytes(bomb)
    analysis = analyse(tmp_path / "bomb.mp4", Gallery([]), lambda: Gallery([]), CONFIG)
    assert analysis.status is Status.UNREADABLE
    assert analysis.reason == "a picture of 16384x8192 is larger than this service decodes"


def test_a_picture_of_gigabytes_that_calls_itself_small_is_found_out(tmp_path: Path, bomb: bytes) -> None:
    """The key frame alone is scaled to what the file says; the whole file is not read on."""
    data = bytearray(bomb)
    sizes = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    assert data[sizes : sizes + 4] == struct.pack(">2H", 16_384, 8_192)
    data[sizes : sizes + 4] = struct.pack(">2H", 640, 480)
    (tmp_path / "lie.mp4").write_bytes(data)
    with Video(tmp_path / "lie.mp4") as video:
        frames = video.frames(8)
        assert next(frames).image.shape == (480, 640, 3)
        with pytest.raises(UnreadableError, match="16384x8192"):
            next(frames)


def test_a_student_who_comes_later_is_seen(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    gallery = enrolled[0]
    clip = film(tmp_path / "later.mp4", ["Barack Obama.jpg", "Joe Biden.jpg"], 30)
    analysis = analyse(clip, gallery, lambda: gallery, CONFIG)
    assert {decision.match.name for decision in analysis.decisions} == {"Barack Obama", "Joe Biden"}


def test_an_empty_room_is_not_searched_again_for_who_has_left(
    tmp_path: Path, enrolled: tuple[Gallery, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = np.asarray(cv2.imread(str(MEDIA / "students" / "Barack Obama.jpg")))
    with av.open(str(tmp_path / "leaves.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 640, 480, "yuv420p", 1
        stream.options = {"g": "1"}
        for number in range(40):
            picture = np.full((480, 640, 3), 90, np.uint8)
            if number < 2:
                picture[:, 100:540] = cv2.resize(photo, (440, round(440 * photo.shape[0] / photo.shape[1])))[:480]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    searched: list[object] = []
    find_faces = engine.find_faces

    def noted(*arguments: Any, **options: Any) -> list[engine.Box]:
        searched.append("everywhere" if options.get("fine") and not options.get("within") else "otherwise")
        return find_faces(*arguments, **options)

    monkeypatch.setattr(engine, "find_faces", noted)
    gallery = enrolled[0]
    analysis = analyse(tmp_path / "leaves.mp4", gallery, lambda: gallery, CONFIG)
    assert [decision.match.name for decision in analysis.decisions] == ["Barack Obama"]
    assert analysis.frames == 5
    assert "everywhere" not in searched


def test_who_looks_the_same_is_encoded_once(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    gallery = enrolled[0]
    clip = film(tmp_path / "still.mp4", ["Barack Obama.jpg"], 60)
    known = analyse(clip, gallery, lambda: gallery, CONFIG)
    assert (known.frames, known.faces) == (2, 1)
    assert [decision.match.name for decision in known.decisions] == ["Barack Obama"]
    unknown = analyse(clip, Gallery([]), lambda: Gallery([]), CONFIG)
    assert (unknown.frames, unknown.faces, len(unknown.people)) == (2, 2, 1)  # two are needed to say that it is nobody


def test_everybody_in_the_picture_is_boxed(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    """One who is there from the beginning is not encoded again when another one comes, but is seen again."""
    gallery = enrolled[0]
    one, other = (
        np.asarray(cv2.imread(str(MEDIA / "students" / name))) for name in ("Barack Obama.jpg", "Joe Biden.jpg")
    )
    halves = [cv2.resize(photo, (480, round(480 * photo.shape[0] / photo.shape[1])))[:480] for photo in (one, other)]
    with av.open(str(tmp_path / "comes.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 960, 480, "yuv420p", 1
        for number in range(50):
            picture = np.full((480, 960, 3), 90, np.uint8)
            for place, half in enumerate(halves[: 1 if number < 20 else 2]):
                picture[: half.shape[0], 480 * place : 480 * place + 480] = half
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    analysis = analyse(tmp_path / "comes.mp4", gallery, lambda: gallery, CONFIG)
    assert {decision.match.name for decision in analysis.decisions} == {"Barack Obama", "Joe Biden"}
    assert analysis.faces == 2
    assert sorted(len(person.sightings) for person in analysis.people) == [1, 2]


def test_the_budget_of_time_ends_the_search(enrolled: tuple[Gallery, list[object]]) -> None:
    gallery = enrolled[0]
    hurried = replace(CONFIG, time_budget_seconds=0.0)
    analysis = analyse(MEDIA / "stranger-720p.mp4", gallery, lambda: gallery, hurried)
    assert (analysis.status, analysis.frames) == (Status.UNKNOWN, 1)


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
        "gallery = Gallery([]); config = Config('t', 'b', 'q', 'g', max_frames=3)\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.mp4')):\n"
        "    print(analyse(path, gallery, lambda: gallery, config).status)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=LAMBDA_SRC,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.split()) == 25


def test_frames_come_from_all_over_the_clip() -> None:
    with Video(MEDIA / "joe-biden-360p.mp4") as video:
        times = [frame.seconds for frame in video.frames(4)]
    assert times == pytest.approx([0.0, 0.6, 0.28, 0.88], abs=0.05)


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    with pytest.raises(UnreadableError, match="truncated"):
        Video(odd)


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        json.dumps
    )
)
def test_any_text_is_an_event_or_is_refused(text: str) -> None:
    with contextlib.suppress(NotAnS3EventError):
        assert isinstance(videos_in_body(text), list)


def test_all_missing_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"TABLE_NAME.*OUTPUT_QUEUE_URL.*GALLERY_TTL_SECONDS"):
        Config.from_environment({"OUTPUT_BUCKET": "b", "GALLERY_TTL_SECONDS": "soon"})


def test_settings_have_the_documented_defaults() -> None:
    config = Config.from_environment({"TABLE_NAME": "t", "OUTPUT_BUCKET": "b", "OUTPUT_QUEUE_URL": "q"})
    assert (config.gallery_bucket, config.gallery_key) == ("b", ".gallery/known-encodings.json")
    assert (config.gallery_ttl_seconds, config.max_video_bytes) == (30.0, 500 * 1024 * 1024)
