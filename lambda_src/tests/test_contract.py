"""The two ends joined: what the function itself sends is what the poller and the commands read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from recognition import results
from recognition.config import Config
from recognition.engine import MODEL_NAME, Box
from recognition.events import VideoReference
from recognition.matching import Decision, Gallery, Match, Person, Sighting
from recognition.pipeline import Analysis, Status

from classroom_contract.gallery import GalleryFile
from classroom_contract.notification import Notification
from classroom_contract.results import Result

KEY, ETAG = "week 1/lesson.mp4", "0123456789abcdef0123456789abcdef"


def output(config: Any) -> tuple[str, str]:
    """What the function writes about a video with one student: account and message."""
    sighting = Sighting(0, 1.5, Box(left=10, top=20, right=110, bottom=140), np.zeros(128))
    analysis = Analysis(
        Status.RECOGNIZED,
        decisions=[Decision(Match("Ada Lovelace", 0.3, 0.2), sighting)],
        people=[Person([sighting])],
        width=640,
        height=360,
        duration_seconds=3.0,
        frames=2,
        timings_ms={"total": 12.5},
    )
    context = results.Context(VideoReference("input", KEY, ETAG), 1000, "request-1", "3", "2026-03-02T09:30:15.250Z")
    students = [results.Student("Ada Lovelace", "7", "mathematics", "1833")]
    keys = results.ResultKeys.of(KEY, "")
    return (
        json.dumps(results.describe(analysis, students, context)),
        json.dumps(results.notification(analysis, students, context, config, keys)),
    )


class _Config:
    output_bucket = "output"


def test_what_the_function_sends_is_what_everybody_reads() -> None:
    config: Config = _Config()  # type: ignore[assignment]
    account, message = output(config)
    read, notified = Result.parse(account), Notification.parse(message)
    assert (read.video, notified.video) == (notified.video, read.video)
    assert (notified.video.key, notified.video.etag, notified.status) == (KEY, ETAG, "recognized")
    assert [(one.name, one.major, one.year) for one in notified.students] == [("Ada Lovelace", "mathematics", "1833")]
    assert [(one.name, one.id, one.distance, one.margin) for one in read.students] == [("Ada Lovelace", "7", 0.3, 0.2)]
    assert read.students[0].appearance.frame_seconds == 1.5
    assert notified.result.bucket == "output"
    assert notified.csv().encode() == results.render_csv([results.Student("Ada Lovelace", "7", "mathematics", "1833")])


def test_function_and_enrolment_agree_on_a_file_of_known_encodings() -> None:
    encodings = np.random.default_rng(1).normal(size=(3, 128))
    students = [("Özil", encodings[:1]), ("Ada", encodings[1:])]
    theirs = Gallery(students)
    ours = GalleryFile.of(MODEL_NAME, [(name, rows.tolist()) for name, rows in students])
    assert ours.version == theirs.version
    assert Gallery.from_json(ours.render()).names == ["Ada", "Özil"]
    assert GalleryFile.parse(json.dumps(theirs.to_json()), MODEL_NAME).version == ours.version
