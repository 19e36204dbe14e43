"""Clips through the pipeline: who is found, when they were there, what is shown of them, and why it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from function_cloud import MEDIA
from make_media import BIDEN, COLLINS, OBAMA_GESTURE, Portrait, classroom
from recognition import engine, matching, pipeline, results
from recognition.config import Config
from recognition.matching import Confidence, Gallery
from recognition.pipeline import Analysis, TooLittleTimeError, analyse

from classroom_contract.results import EndedBy, Status
from classroom_contract.roster import RosterStudent

# However busy the machine is, no test may depend on it.
CONFIG = Config("table", "bucket", "queue", "gallery", least_budget_seconds=600, time_budget_seconds=600)
RATE = 10
Scene = Callable[[float], Sequence[Portrait]]  # who is there at a second of the clip


def write(path: Path, scene: Scene, seconds: float, size: tuple[int, int] = (1280, 720)) -> Path:
    """Writes a clip with one key frame, as phones make them: each person has a place of their own in the room."""
    places = [OBAMA_GESTURE, BIDEN, COLLINS]
    side = round(size[1] * 0.55)
    heads = [cv2.resize(one.head(), (side, side), interpolation=cv2.INTER_AREA) for one in places]
    room = classroom(*size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "ultrafast", "g": "1000"}
        for number in range(round(seconds * RATE)):
            frame = room.copy()
            for person in scene(number / RATE):
                place = places.index(person)
                left = place * size[0] // 3 + (number * 3) % 15
                frame[-side:, left : left + side] = heads[place][:, : size[0] - left]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def answered(path: Path, gallery: Gallery, config: Config = CONFIG, **options: Any) -> Analysis:
    return analyse(path, gallery, lambda: gallery, config, **options)


def seen(analysis: Analysis) -> dict[str, list[tuple[float, float]]]:
    return {decision.match.name: decision.person.seen(analysis.looks) for decision in analysis.decisions}


@pytest.fixture(scope="session")
def gallery(enrolled: tuple[Gallery, list[RosterStudent]]) -> Gallery:
    """The sample students."""
    return enrolled[0]


def test_somebody_who_is_there_for_three_seconds_is_seen_and_when(tmp_path: Path, gallery: Gallery) -> None:
    def scene(second: float) -> list[Portrait]:
        return [OBAMA_GESTURE, BIDEN] if 1.4 <= second < 4.4 else [OBAMA_GESTURE]

    analysis = answered(write(tmp_path / "clip.mp4", scene, 10), gallery)
    when = seen(analysis)
    assert set(when) == {"Barack Obama", "Joe Biden"}
    assert when["Barack Obama"] == [(analysis.looks[0], analysis.looks[-1])]
    (interval,) = when["Joe Biden"]
    assert 1.4 <= interval[0] <= interval[1] <= 4.4


def test_somebody_who_comes_for_six_seconds_of_a_minute_is_seen_and_when(tmp_path: Path, gallery: Gallery) -> None:
    def scene(second: float) -> list[Portrait]:
        return [OBAMA_GESTURE, BIDEN] if 16 <= second < 22 else [OBAMA_GESTURE]

    analysis = answered(write(tmp_path / "clip.mp4", scene, 60, (640, 360)), gallery)
    when = seen(analysis)
    assert set(when) == {"Barack Obama", "Joe Biden"}
    (interval,) = when["Joe Biden"]
    assert 16 <= interval[0] <= 18
    assert 20 <= interval[1] <= 22
    assert np.diff(analysis.looks).max() <= 2.0


def test_an_empty_room_at_first_does_not_end_the_search(tmp_path: Path, gallery: Gallery) -> None:
    path = write(tmp_path / "clip.mp4", lambda second: [BIDEN] if second >= 18 else [], 20)
    analysis = answered(path, gallery)
    assert set(seen(analysis)) == {"Joe Biden"}
    assert analysis.picture is not None
    assert analysis.picture.seconds >= 18


def test_a_short_clip_ends_when_everybody_is_decided(tmp_path: Path, gallery: Gallery) -> None:
    analysis = answered(write(tmp_path / "clip.mp4", lambda _: [BIDEN], 2), gallery)
    assert analysis.status is Status.RECOGNIZED
    assert (len(analysis.looks), analysis.ended_by) == (2, EndedBy.SETTLED)


def test_a_short_clip_of_an_empty_room_is_looked_at_in_more_places(tmp_path: Path, gallery: Gallery) -> None:
    analysis = answered(write(tmp_path / "clip.mp4", lambda _: [], 2), gallery)
    assert analysis.status is Status.NO_FACE
    assert (len(analysis.looks), analysis.ended_by) == (CONFIG.least_looks, EndedBy.LOOKS)


def test_the_budget_ends_the_search_and_the_answer_says_so(tmp_path: Path, gallery: Gallery) -> None:
    path = write(tmp_path / "clip.mp4", lambda _: [BIDEN], 60, (640, 360))
    config = replace(CONFIG, least_budget_seconds=0.4, time_budget_seconds=0.4)
    analysis = answered(path, gallery, config)
    assert analysis.ended_by is EndedBy.TIME
    assert 1 <= len(analysis.looks) < 30


def test_a_video_that_may_take_longer_than_there_is_time_is_not_begun(tmp_path: Path, gallery: Gallery) -> None:
    path = write(tmp_path / "clip.mp4", lambda _: [], 2, (320, 180))
    with pytest.raises(TooLittleTimeError):
        answered(path, gallery, seconds_left=599)
    answered(path, gallery, seconds_left=601)


def test_who_was_enrolled_a_moment_ago_is_named_beside_one_who_was_known(tmp_path: Path, gallery: Gallery) -> None:
    old = Gallery([student for student in gallery.students if student[0] == "Barack Obama"])
    path = write(tmp_path / "clip.mp4", lambda _: [OBAMA_GESTURE, BIDEN], 2)
    analysis = analyse(path, old, lambda: gallery, CONFIG)
    assert set(seen(analysis)) == {"Barack Obama", "Joe Biden"}
    assert analysis.gallery_version == gallery.version


def test_where_only_sure_names_are_wanted_others_are_unknown(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clip.mp4", lambda _: [OBAMA_GESTURE, BIDEN], 2)
    decide = matching.decide_all

    def unsure(*arguments: Any) -> Any:
        decisions = decide(*arguments)
        return [replace(one, confidence=Confidence.PROBABLE) for one in decisions]

    monkeypatch.setattr(pipeline, "decide_all", unsure)
    assert len(answered(path, gallery).decisions) == 2
    analysis = answered(path, gallery, replace(CONFIG, minimum_confidence=Confidence.SURE))
    assert (analysis.status, len(analysis.strangers)) == (Status.UNKNOWN, 2)


def test_everybody_in_the_picture_has_their_own_name(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clip.mp4", lambda _: [OBAMA_GESTURE, BIDEN, COLLINS], 2)
    analysis = answered(path, gallery)
    written: dict[str, int] = {}
    monkeypatch.setattr(cv2, "putText", lambda _picture, text, place, *_: written.__setitem__(text, place[0]))
    assert results.draw(analysis) is not None
    third = 1280 / 3
    assert {name: int(left // third) for name, left in written.items()} == {
        "Barack Obama": 0,
        "Joe Biden": 1,
        "unknown": 2,
    }


def decoded(jpeg: bytes | None) -> Any:
    assert jpeg is not None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_nobody_recognises_a_stranger_in_the_picture(tmp_path: Path, gallery: Gallery) -> None:
    path = write(tmp_path / "clip.mp4", lambda _: [BIDEN, COLLINS], 2)
    analysis = answered(path, gallery)
    (student,), (stranger,) = [one.person for one in analysis.decisions], analysis.strangers
    assert analysis.picture is not None
    shown = {
        blur: cv2.imdecode(
            np.frombuffer(results.draw(analysis, blur_strangers=blur) or b"", np.uint8), cv2.IMREAD_COLOR
        )
        for blur in (True, False)
    }

    def encoded(picture: Any, box: engine.Box) -> Any:
        return engine.encode(np.asarray(picture, np.uint8), [box])[0]

    look = analysis.picture.look
    for person, blurred, expected in ((student, True, 0.4), (stranger, False, 0.4)):
        distance = np.linalg.norm(encoded(shown[blurred], person.boxes[look]) - person.mean)
        assert distance < expected
    assert np.linalg.norm(encoded(shown[True], stranger.boxes[look]) - stranger.mean) > 0.6


def test_pictures_of_a_long_clip_do_not_fill_the_memory(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    keep = pipeline._keep

    def counted(pictures: dict[int, pipeline.Picture], *others: Any) -> None:
        keep(pictures, *others)
        held.append(len(pictures))

    monkeypatch.setattr(pipeline, "_keep", counted)
    analysis = answered(write(tmp_path / "clip.mp4", lambda _: [BIDEN], 60, (640, 360)), gallery)
    assert len(analysis.looks) > 24
    assert max(held) <= 24
    assert analysis.picture is not None
    assert analysis.picture.look in analysis.decisions[0].person.boxes


def test_a_look_that_fails_is_passed_over(tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    find, calls = engine.find_faces, []

    def once(frame: engine.Image) -> list[engine.Box]:
        calls.append(1)
        if len(calls) == 1:
            raise engine.PictureError("cannot be searched")
        return find(frame)

    monkeypatch.setattr(engine, "find_faces", once)
    analysis = answered(write(tmp_path / "clip.mp4", lambda _: [BIDEN], 2), gallery)
    assert set(seen(analysis)) == {"Joe Biden"}


def test_a_file_that_is_no_video_says_why(gallery: Gallery) -> None:
    analysis = answered(MEDIA / "text.mp4", gallery)
    assert (analysis.status, analysis.picture, analysis.looks) == (Status.UNREADABLE, None, [])
    assert analysis.reason
