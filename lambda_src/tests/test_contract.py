"""The two ends joined: what the function itself sends is what the poller and the commands read."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from recognition import results
from recognition.engine import MODEL_NAME, Box
from recognition.events import VideoReference
from recognition.matching import Confidence, Decision, Gallery, Match, Person, Sighting
from recognition.pipeline import Analysis

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import result_keys
from classroom_contract.notification import Notification
from classroom_contract.results import Result
from classroom_contract.tables import Row, render_csv

KEY, ETAG = "week 1/lesson.mp4", "0123456789abcdef0123456789abcdef"


def analysis() -> Analysis:
    """What is seen in a video with one student and one stranger."""
    student = Person([Sighting(0, 1.5, Box(left=10, top=20, right=110, bottom=140), np.zeros(128))])
    stranger = Person([Sighting(1, 2.5, Box(left=200, top=20, right=300, bottom=140), np.ones(128))])
    return Analysis(
        decisions=[Decision(Match("Ada Lovelace", 0.3, 0.2, -0.1), Confidence.PROBABLE, student.sightings[0], student)],
        people=[student, stranger],
        width=640,
        height=360,
        duration_seconds=3.0,
        looks=[1.5, 2.5],
        timings_ms={"total": 12.5},
    )


def test_what_the_function_sends_is_what_everybody_reads() -> None:
    context = results.Context(VideoReference("input", KEY, ETAG), 1000, "request-1", "3", datetime.now(UTC))
    students = [results.Student("Ada Lovelace", "7", "mathematics", "1833")]
    sent = results.describe(analysis(), students, context, result_keys(KEY))
    read = Result.parse(sent.render())
    notified = Notification.parse(Notification.about(sent, "output", result_keys(KEY)).render())
    assert (read.video.key, read.video.etag, read.status) == (KEY, ETAG, "recognized")
    assert notified.video == read.video
    assert [(one.name, one.major, one.year, one.confidence) for one in notified.students] == [
        ("Ada Lovelace", "mathematics", "1833", "probable")
    ]
    (student,), (stranger,) = read.students, read.unknown_people
    assert (student.id, student.distance, student.margin, student.confidence) == ("7", 0.3, 0.2, "probable")
    assert (student.appearance.frame_seconds, student.appearance.seen) == (1.5, ((1.5, 1.5),))
    assert (stranger.frame_seconds, stranger.box.left, stranger.seen) == (2.5, 200, ((2.5, 2.5),))
    assert read.looks is not None
    assert (read.looks.count, read.looks.of_seconds, read.looks.smallest_face_px) == (2, 3.0, 27)
    assert notified.result.bucket == "output"
    # The table that the poller makes of the message is the one in the bucket.
    assert notified.csv() == render_csv([Row("Ada Lovelace", "mathematics", "1833")])


def test_function_and_enrolment_agree_on_a_file_of_known_encodings() -> None:
    encodings = np.random.default_rng(1).normal(size=(3, 128))
    students = [("Özil", encodings[:1]), ("Ada", encodings[1:])]
    theirs = Gallery(students)
    ours = GalleryFile.of(MODEL_NAME, [(name, rows.tolist()) for name, rows in students])
    assert ours.version == theirs.version
    assert Gallery.from_json(ours.render()).names == ["Ada", "Özil"]
    assert GalleryFile.parse(theirs.render(), MODEL_NAME).version == ours.version
