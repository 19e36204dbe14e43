"""Whatever is uploaded is answered once: no crash, no retry storm, no message left behind."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from classroom_ops import stored
from classroom_ops.workload import Expected
from tests.system.stack.running_stack import MEDIA, Stack, Video

BIG_BYTES = 200 * 1000 * 1000
GOOD = "barack-obama-360p.mp4"

CLIPS = {
    "empty": "empty.mp4",
    "text": "text.mp4",
    "truncated": "truncated.mp4",
    "audio-only": "audio-only.mp4",
    "no-face": "no-face-720p.mp4",
    "stranger": "stranger-720p.mp4",
    "two-students": "two-students-720p.mp4",
    "student-and-stranger": "student-and-stranger-720p.mp4",
    "4k": "4k.mp4",
}

KEYS = {
    "spaces": "room 101 monday.mp4",
    "plus": "a+b++c.mp4",
    "umlauts": "Hörsaal Größe Übung ñ 教室.mp4",
    "folders": "2026/term 1/room+2/über/clip.mp4",
    "percent": "100%25 %2B &=?#'\"$.mp4",
    "dots": "..a/.b.mp4",
    "long": "x" * 600 + ".mp4",
}


@pytest.mark.parametrize("name", CLIPS.values(), ids=CLIPS.keys())
def test_kind_of_video(stack: Stack, name: str) -> None:
    expect_one_answer(stack, name, MEDIA / name, stack.known[name])


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_key(stack: Stack, key: str) -> None:
    expect_one_answer(stack, key, MEDIA / GOOD, stack.known[GOOD])


def test_big_valid_video(stack: Stack, tmp_path: Path) -> None:
    """200 MB, most of it a box that says that it is free space."""
    path = tmp_path / "big.mp4"
    clip = (MEDIA / GOOD).read_bytes()
    padding = BIG_BYTES - len(clip)
    path.write_bytes(clip + padding.to_bytes(4, "big") + b"free")
    os.truncate(path, BIG_BYTES)
    expect_one_answer(stack, "big.mp4", path, stack.known[GOOD])


def test_big_rubbish(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "rubbish.mp4"
    path.write_bytes(os.urandom(1_000_000) * (BIG_BYTES // 1_000_000))
    expect_one_answer(stack, "rubbish.mp4", path, Expected("unreadable", ()))


def expect_one_answer(stack: Stack, name: str, path: Path, expected: Expected) -> None:
    """The video is answered rightly, each message about it in one attempt, by a function that goes on running."""
    before, functions = stack.poller(), stack.functions()
    batch = stack.batch()
    video = stack.upload(batch, name, path, expected)
    stack.expect_all_answered_once(batch, 120)
    expect_records(stack, video)

    def counted() -> bool:
        now = stack.poller()
        assert now["pid"] == before["pid"], "the poller was restarted"
        assert now["failures"] == before["failures"], "the function failed"
        answered = now["answered"] - before["answered"]
        return bool(answered > 0 and now["invoked"] - before["invoked"] == answered)

    # It writes its counters once a second.
    stack.await_("the poller counts as many answers as attempts", counted, 30, tick=1)
    # Idle containers end by themselves after some minutes, so that one goes on is what can be asked for.
    assert not functions or functions & stack.functions(), "every container of the function was restarted"


def expect_records(stack: Stack, video: Video) -> None:
    """The CSV in the bucket and the one on the VM hold the records of the expected students, and nothing else."""
    with (MEDIA / "students.csv").open(encoding="utf-8", newline="") as stream:
        roster = {row["name"]: row for row in csv.DictReader(stream)}
    rows = sorted(f"{name},{roster[name]['major']},{roster[name]['year']}" for name in video.expected.students)
    text = stack.answer(video).csv
    assert text.endswith("\r\n")
    assert text.split("\r\n")[0] == "name,major,year"
    assert sorted(text.split("\r\n")[1:-1]) == rows
    (file,) = stored.find(stack.endpoints, video.key)
    on_vm = stack.on_the_vm("cat", f"{file.path.removesuffix('.json')}.csv").stdout
    assert on_vm.split("\r\n") == text.split("\r\n")
