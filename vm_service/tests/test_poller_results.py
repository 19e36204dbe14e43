"""Files of results: whole or not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classroom_poller.messages import file_stem
from classroom_poller.results import Outcome, ResultStore
from poller_testing.loopback_aws import result_message

from classroom_contract.notification import Notification

EARLY, LATE = "2026-01-01T10:00:00+00:00", "2026-01-01T11:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results")
    store.open()
    return store


def message(key: str = "a.mp4", etag: str = "e" * 32, **changes: Any) -> tuple[Notification, str]:
    body = json.dumps(result_message(key, etag, **changes))
    return Notification.parse(body), body


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_json_is_the_message_and_csv_shows_the_students(tmp_path: Path, store: ResultStore) -> None:
    one = message("a/ü.mp4", "abc")
    assert store.store(*one) is Outcome.STORED
    store.sync()
    assert read(tmp_path / "results") == {
        "a%2Fü-abc.json": one[1].encode(),
        "a%2Fü-abc.csv": b"name,major,year\r\nAda Lovelace,mathematics,1833\r\n",
    }


@pytest.mark.parametrize("ending", ["MP4", "mov", "MOV", "m4v"])
def test_another_ending_stays_in_the_name(tmp_path: Path, store: ResultStore, ending: str) -> None:
    store.store(*message(f"a.{ending}", "abc"))
    store.store(*message("a.mp4", "abc"))
    assert sorted(read(tmp_path / "results")) == sorted(
        ["a-abc.csv", "a-abc.json", f"a.{ending}-abc.csv", f"a.{ending}-abc.json"]
    )


def test_the_csv_is_written_last(tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the CSV finds the JSON beside it."""
    order: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(target.suffix)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    store.store(*message())
    assert order == [".json", ".csv"]


def test_both_files_and_their_names_are_on_the_disk_before_anybody_is_told(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    store.store(*message("a.mp4", "abc"))
    store.sync()
    assert synced == [".a-abc.json.tmp", ".a-abc.csv.tmp", "results"]


def test_a_duplicate_touches_nothing(tmp_path: Path, store: ResultStore) -> None:
    one = message()
    store.store(*one)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert store.store(*one) is Outcome.UNCHANGED
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()} == before


def test_a_newer_answer_wins_in_either_order(tmp_path: Path, store: ResultStore) -> None:
    old, new = message(processed_at=EARLY, status="unknown", students=[]), message(processed_at=LATE)
    assert [store.store(*one) for one in (old, new, old)] == [Outcome.STORED, Outcome.STORED, Outcome.UNCHANGED]
    kept = (tmp_path / "results" / f"{file_stem(new[0].video)}.json").read_text()
    assert json.loads(kept)["processed_at"] == LATE
    assert len(read(tmp_path / "results")) == 2


def test_an_answer_of_the_same_moment_is_taken(store: ResultStore) -> None:
    first, second = message(processed_at=LATE), message(processed_at=LATE, request_id="another")
    assert [store.store(*one) for one in (first, second)] == [Outcome.STORED, Outcome.STORED]


def test_an_answer_of_schema_1_on_the_disk_counts(tmp_path: Path, store: ResultStore) -> None:
    """The service was upgraded; a late message must not undo what is there."""
    new = message(schema=1, processed_at=LATE)
    store.store(*new)
    assert store.store(*message(processed_at=EARLY)) is Outcome.UNCHANGED


def test_a_kill_between_the_two_files_is_mended(tmp_path: Path, store: ResultStore) -> None:
    one = message()
    store.store(*one)
    (tmp_path / "results" / f"{file_stem(one[0].video)}.csv").unlink()
    assert store.store(*one) is Outcome.STORED
    assert len(read(tmp_path / "results")) == 2


def test_a_broken_file_is_replaced(tmp_path: Path, store: ResultStore) -> None:
    one = message()
    (tmp_path / "results" / f"{file_stem(one[0].video)}.json").write_bytes(b"\xff{")
    assert store.store(*one) is Outcome.STORED
    assert read(tmp_path / "results")[f"{file_stem(one[0].video)}.json"] == one[1].encode()


def fail(code: int) -> Callable[[int], None]:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        store.store(*message())
    assert read(tmp_path / "results") == {}


def test_leftovers_of_a_kill_are_removed(tmp_path: Path, store: ResultStore) -> None:
    (tmp_path / "results" / ".a.json.tmp").write_text("half")
    store.open()
    assert read(tmp_path / "results") == {}


def test_copies_of_rejected_messages_that_earlier_versions_kept_are_removed(tmp_path: Path, store: ResultStore) -> None:
    (tmp_path / "rejected").mkdir()
    (tmp_path / "rejected" / "id-1.txt").write_text('{"students": "Ada Lovelace"}')
    store.store(*message())
    results = read(tmp_path / "results")
    store.open()
    assert not (tmp_path / "rejected").exists()
    assert read(tmp_path / "results") == results
