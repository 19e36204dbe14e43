"""What is told about a video, figure by figure, and what its picture shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from recognition import results
from recognition.engine import MODEL_NAME, Box
from recognition.events import VideoReference
from recognition.matching import Confidence, Decision, Match, Person, Sighting
from recognition.pipeline import Analysis, Picture
from recognition.results import Context, Student

from classroom_contract import results as contract
from classroom_contract.keys import result_keys
from classroom_contract.results import EndedBy, Status

Pixels = npt.NDArray[np.uint8]
GREEN, GREY = (70, 170, 60), (130, 130, 130)
KEYS = result_keys("week 1/lesson.mp4")
NOW = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
CONTEXT = Context(VideoReference("input", "week 1/lesson.mp4", "abc", "v1"), 1000, "request-1", "7", NOW)
# In a picture of 640 x 360, half as large as the frame was.
STUDENT, STRANGER = Box(200, 200, 400, 420), Box(800, 200, 960, 360)


def person(*sightings: tuple[int, float, Box]) -> Person:
    """Somebody seen so: look, seconds, box."""
    return Person([Sighting(look, seconds, box, np.zeros(128)) for look, seconds, box in sightings])


def analysis(picture: Pixels | None = None) -> Analysis:
    """What is seen in a video of three looks: one student in the last two, one stranger in all of them."""
    student = person((1, 2.0, STUDENT), (2, 4.0, Box(0, 0, 10, 10)))
    stranger = person((0, 0.5, Box(0, 0, 20, 20)), (1, 2.0, STRANGER), (2, 4.0, Box(0, 0, 30, 30)))
    match = Match("Ada Lovelace", 0.31, 0.22, -0.1)
    if picture is None:
        picture = np.full((360, 640, 3), 200, np.uint8)
    return Analysis(
        decisions=[Decision(match, Confidence.PROBABLE, student.sightings[0], student)],
        people=[student, stranger],
        gallery_version="g1",
        picture=Picture(1, 2.0, picture, 0.5, (STUDENT, STRANGER)),
        width=1280,
        height=720,
        duration_seconds=6.0,
        looks=[0.5, 2.0, 4.0],
        ended_by=EndedBy.SETTLED,
        faces=5,
        timings_ms={"total": 12.5},
    )


def test_the_account_tells_all_that_was_seen() -> None:
    told = results.describe(analysis(), [Student("Ada Lovelace", "7", "mathematics", "1833")], CONTEXT, KEYS)
    assert told == contract.Result(
        video=contract.Video("input", "week 1/lesson.mp4", "abc", "v1"),
        status=Status.RECOGNIZED,
        processed_at=NOW,
        request_id="request-1",
        reason=None,
        students=(
            contract.SeenStudent(
                name="Ada Lovelace",
                id="7",
                major="mathematics",
                year="1833",
                confidence=contract.Confidence.PROBABLE,
                distance=0.31,
                margin=0.22,
                appearance=contract.Appearance(((2.0, 4.0),), contract.Box(200, 200, 400, 420), 2.0),
            ),
        ),
        unknown_people=(contract.Appearance(((0.5, 4.0),), contract.Box(800, 200, 960, 360), 2.0),),
        looks=contract.Looks(3, 6.0, EndedBy.SETTLED, 54),
        frame="week 1/lesson.jpg",
        frame_seconds=2.0,
        size_bytes=1000,
        width=1280,
        height=720,
        duration_seconds=6.0,
        timings_ms={"total": 12.5},
        model=MODEL_NAME,
        gallery_version="g1",
        function_version="7",
    )


def test_of_what_was_not_looked_at_the_reason_is_told() -> None:
    nothing = Analysis(reason="not a video", gallery_version="g1")
    about = replace(CONTEXT, video=VideoReference("input", "week 1/lesson.mp4"))
    told = results.describe(nothing, [], about, KEYS)
    assert (told.status, told.reason) == (Status.UNREADABLE, "not a video")
    assert (told.looks, told.frame, told.frame_seconds) == (None, None, None)
    assert (told.video.etag, told.video.version_id) == ("", None)


def test_each_student_needs_a_record() -> None:
    with pytest.raises(ValueError, match="longer"):
        results.describe(analysis(), [], CONTEXT, KEYS)


def test_a_record_is_read_as_dynamodb_writes_it() -> None:
    item: dict[str, Any] = {"id": {"N": "7"}, "major": {"S": "mathematics"}, "year": {"S": "1833"}}
    assert Student.of("Ada", item) == Student("Ada", "7", "mathematics", "1833")
    assert Student.of("Ada", {"major": {"L": [{"S": "a"}]}, "year": {"NULL": True}}) == Student("Ada", "", "", "")
    assert Student.of("Ada", {}) == Student("Ada")


def drawn(seen: Analysis, **settings: bool) -> Pixels:
    """The picture as a teacher sees it."""
    jpeg = results.draw(seen, **settings)
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def near(picture: Pixels, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels have the colour, as far as JPEG keeps it."""
    return np.asarray(np.abs(picture.astype(int) - colour).max(axis=2) < 45)


def test_students_are_boxed_in_green_everybody_else_in_grey() -> None:
    picture = drawn(analysis())
    for box, colour in ((STUDENT, GREEN), (STRANGER, GREY)):
        left, top, right, bottom = box.left // 2, box.top // 2, box.right // 2, box.bottom // 2
        for edge in (picture[top : top + 1, left:right], picture[bottom : bottom + 1, left:right]):
            assert near(edge, colour).mean() > 0.9
        for edge in (picture[top:bottom, left : left + 1], picture[top:bottom, right : right + 1]):
            assert near(edge, colour).mean() > 0.9
        around = picture[top - 30 : bottom + 10, left - 10 : right + 10]
        assert near(around, colour).any()
        assert colour == GREEN or not near(around, GREEN).any()
        assert near(around[:26, 10:], colour).any(), "the name stands above the box"
    # Nothing but boxes and names was drawn.
    assert (np.abs(picture[:60].astype(int) - 200) < 10).all()
    assert (np.abs(picture[240:].astype(int) - 200) < 10).all()


def test_the_names_stand_at_their_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, tuple[int, int], tuple[int, int, int]]] = []

    def write(_: Any, text: str, place: Any, _font: int, _size: float, colour: Any, *_rest: Any) -> None:
        written.append((text, place, colour))

    monkeypatch.setattr(cv2, "putText", write)
    seen = analysis()
    at_the_top = replace(seen, picture=replace(seen.picture, boxes=(Box(40, 10, 80, 50),)))  # type: ignore[type-var]
    results.draw(seen)
    results.draw(at_the_top)
    assert written == [
        ("Ada Lovelace", (100, 92), GREEN),
        ("unknown", (400, 92), GREY),
        ("unknown", (20, 18), GREY),  # a name above the picture could not be read
    ]


def test_a_student_is_named_by_where_they_were_in_that_look() -> None:
    """In other looks somebody else may have been in the same place."""
    seen = analysis()
    seen.decisions[0].person.boxes.clear()
    seen.decisions[0].person.boxes[2] = STUDENT
    picture = drawn(seen)
    assert not near(picture, GREEN).any()
    assert near(picture[99:101, 100:200], GREY).mean() > 0.9


def noise() -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (360, 640, 3), np.uint8)


def detail(picture: Pixels) -> npt.NDArray[np.float64]:
    """How much each pixel differs from the next one."""
    return np.asarray(np.abs(np.diff(picture.astype(float), axis=1)).mean(axis=2))


def test_a_strangers_face_is_blurred_with_hair_and_chin_and_nothing_else() -> None:
    original = noise()
    before = original.copy()
    picture = drawn(analysis(original))
    assert (original == before).all(), "the frame itself is kept as it was"
    rough = detail(picture)
    # 80 pixels wide, from (400, 100) to (480, 180): a margin of 20 to the sides and below, of 40 above.
    assert rough[63:88, 384:396].mean() < 10
    assert rough[185:197, 384:496].mean() < 10
    assert rough[105:175, 405:475].mean() < 10
    assert rough[105:175, 486:496].mean() < 10
    for outside in (rough[110:170, 360:378], rough[110:170, 503:520], rough[40:57, 405:475], rough[203:220, 405:475]):
        assert outside.mean() > 40
    assert rough[105:205, 105:195].mean() > 40, "a student's face stays"


def test_of_a_blurred_face_no_more_than_six_squares_across_are_left() -> None:
    stripes = np.zeros((360, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, 380:500:10] = 255
    face = drawn(analysis(stripes))[105:175, 405:475].mean(axis=2)
    assert face.std() < 12
    halves = np.zeros((360, 640, 3), np.uint8)
    halves[:, 440:] = 255
    face = drawn(analysis(halves))[130, 405:475].mean(axis=1)
    assert face[0] < 30, "that there is somebody can be seen"
    assert face[-1] > 225
    assert (np.diff(face) > -6).all(), "from dark to light without a line"
    assert (np.abs(np.diff(face)) < 40).all()


def test_strangers_are_shown_where_that_is_wanted() -> None:
    picture = drawn(analysis(noise()), blur_strangers=False)
    assert detail(picture)[105:175, 405:475].mean() > 40


@pytest.mark.parametrize(
    "box",
    [Box(-20, -30, 60, 50), Box(1200, 660, 1300, 760), Box(1280, 0, 1380, 100), Box(0, 720, 50, 770), Box(9, 9, 9, 9)],
)
def test_a_face_at_the_edge_of_the_picture_is_blurred_as_far_as_it_is_in_it(box: Box) -> None:
    seen = analysis(noise())
    assert seen.picture is not None
    picture = drawn(replace(seen, picture=replace(seen.picture, boxes=(box,))))
    assert picture.shape == (360, 640, 3)
    left, top, right, bottom = (max(0, edge // 2) for edge in (box.left, box.top, box.right, box.bottom))
    inside = detail(picture)[top + 3 : bottom - 3, left + 3 : right - 3]
    assert not inside.size or inside.mean() < 20


def test_without_a_frame_there_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert results.draw(replace(analysis(), picture=None)) is None
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, np.zeros(0, np.uint8)))
    assert results.draw(analysis()) is None


def test_the_picture_is_a_jpeg_of_reasonable_size() -> None:
    jpeg = results.draw(analysis())
    assert jpeg is not None
    assert jpeg.startswith(b"\xff\xd8\xff")
    assert len(jpeg) < 40_000
