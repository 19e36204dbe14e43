"""Faces, decisions and frames."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

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
from recognition.frames import UnreadableError, Video
from recognition.matching import Gallery, Person, Sighting, group
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


def test_the_saved_detector_finds_the_same_faces(tmp_path: Path) -> None:
    import dlib

    built = dlib.get_frontal_face_detector()
    built.save(str(tmp_path / "saved.svm"))
    loaded = dlib.fhog_object_detector(str(tmp_path / "saved.svm"))
    photo = cv2.imread(str(MEDIA / "sources" / "astronaut.jpg"))
    assert list(map(str, built(photo, 1))) == list(map(str, loaded(photo, 1)))


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


def film(path: Path, photos: list[str], frames_each: int) -> Path:
    """Writes a clip that shows one photo after the other, 640 x 480."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for photo in photos:
            read = cv2.resize(np.asarray(cv2.imread(str(MEDIA / "students" / photo))), (640, 700))
            picture = np.asarray(read[:480], dtype=np.uint8)
            for _ in range(frames_each):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def test_a_student_who_comes_later_is_seen(tmp_path: Path, enrolled: tuple[Gallery, list[object]]) -> None:
    gallery = enrolled[0]
    clip = film(tmp_path / "later.mp4", ["Barack Obama.jpg", "Joe Biden.jpg"], 30)
    analysis = analyse(clip, gallery, lambda: gallery, CONFIG)
    assert {decision.match.name for decision in analysis.decisions} == {"Barack Obama", "Joe Biden"}


def test_the_budget_of_time_ends_the_search(enrolled: tuple[Gallery, list[object]]) -> None:
    from dataclasses import replace

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
