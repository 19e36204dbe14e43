"""Files of results: whole or not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from classroom_poller.messages import parse_result
from classroom_poller.results import Outcome, ResultStore
from poller_testing.loopback_aws import result_message

EARLY, LATE = "2026-01-01T10:00:00+00:00", "2026-01-01T11:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results", tmp_path / "rejected", 3)
    store.open()
    return store


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_json_is_the_message_and_csv_shows_the_students(tmp_path: Path, store: ResultStore) -> None:
    body = json.dumps(result_message("a/ü.mp4", "abc"))
    assert store.store(parse_result(body)) is Outcome.STORED
    store.sync()
    assert read(tmp_path / "results") == {
        "a%2F%C3%BC-abc.json": body.encode(),
        "a%2F%C3%BC-abc.csv": b"name,major,year\r\nAda Lovelace,mathematics,1833\r\n",
    }


def test_a_duplicate_touches_nothing(tmp_path: Path, store: ResultStore) -> None:
    result = parse_result(json.dumps(result_message("a.mp4")))
    store.store(result)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert store.store(result) is Outcome.UNCHANGED
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()} == before


def test_a_newer_answer_wins_in_either_order(tmp_path: Path, store: ResultStore) -> None:
    old = parse_result(json.dumps(result_message("a.mp4", processed_at=EARLY, status="unknown", students=[])))
    new = parse_result(json.dumps(result_message("a.mp4", processed_at=LATE)))
    assert [store.store(result) for result in (old, new, old)] == [Outcome.STORED, Outcome.STORED, Outcome.UNCHANGED]
    assert json.loads((tmp_path / "results" / f"{new.file_stem}.json").read_text())["processed_at"] == LATE
    assert len(read(tmp_path / "results")) == 2


def test_a_kill_between_the_two_files_is_mended(tmp_path: Path, store: ResultStore) -> None:
    result = parse_result(json.dumps(result_message("a.mp4")))
    store.store(result)
    (tmp_path / "results" / f"{result.file_stem}.csv").unlink()
    assert store.store(result) is Outcome.STORED
    assert len(read(tmp_path / "results")) == 2


def test_a_broken_file_is_replaced(tmp_path: Path, store: ResultStore) -> None:
    result = parse_result(json.dumps(result_message("a.mp4")))
    (tmp_path / "results" / f"{result.file_stem}.json").write_bytes(b"\xff{")
    assert store.store(result) is Outcome.STORED
    assert read(tmp_path / "results")[f"{result.file_stem}.json"] == result.body.encode()


def fail(code: int) -> Callable[[int], None]:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = parse_result(json.dumps(result_message("a.mp4")))
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        store.store(result)
    assert read(tmp_path / "results") == {}


def test_leftovers_of_a_kill_are_removed(tmp_path: Path, store: ResultStore) -> None:
    (tmp_path / "results" / ".a.json.tmp").write_text("half")
    store.open()
    assert read(tmp_path / "results") == {}


def test_rejected_messages_are_bounded(tmp_path: Path, store: ResultStore) -> None:
    for number in range(6):
        store.reject(f"id-{number}", "x" * 300_000)
        os.utime(tmp_path / "rejected" / f"id-{number}.txt", (number, number))
    store.reject("id-5", "x" * 300_000)
    kept = read(tmp_path / "rejected")
    assert sorted(kept) == ["id-3.txt", "id-4.txt", "id-5.txt"]
    assert all(len(content) == 256 * 1024 for content in kept.values())
