"""A workload: every answer compared, every latency measured, nothing left behind."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from classroom_ops import latency, workload
from classroom_ops.answers import Answer
from classroom_ops.aws import Aws
from classroom_ops.console import histogram, plain_text
from classroom_ops.errors import UsageError
from classroom_ops.stored import Stored
from classroom_ops.workload import Clip, Expected


@pytest.fixture
def media(tmp_path: Path) -> Path:
    directory = tmp_path / "media"
    directory.mkdir()
    known = {"ada.mp4": ("recognized", ["Ada"]), "nobody.mp4": ("no_face", []), "stranger.mp4": ("unknown", [])}
    for name in known:
        (directory / name).write_bytes(name.encode())
    (directory / "answers.json").write_text(
        json.dumps({name: {"status": status, "students": who} for name, (status, who) in known.items()})
    )
    return directory


def rightly(key: str) -> tuple[str, list[str]]:
    """The right reply to the clips of `media`."""
    if key.endswith("ada.mp4"):
        return "recognized", ["Ada"]
    return ("no_face", []) if key.endswith("nobody.mp4") else ("unknown", [])


@pytest.fixture(autouse=True)
def enrolled(aws: Aws) -> None:
    """Ada has a record."""
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Ada"}})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "ON_VM_SECONDS", 1.0)
    monkeypatch.setattr(workload, "ON_VM_TICK_SECONDS", 0.1)


def report(aws: Aws) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((aws.endpoints.state_dir / "workload.json").read_text())
    return document


def keys(aws: Aws, bucket: str) -> list[str]:
    return [one["Key"] for one in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_all_right(aws: Aws, classroom: Any, media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classroom.reply = rightly
    assert workload.run(aws, media, 12, 1, 0, 20, keep=False) == 0
    found = report(aws)
    assert (found["right"], found["wrong"], found["late"]) == (12, 0, 0)
    assert found["succeeded"] is True
    assert found["on_vm"]["found"] == 12
    assert len(found["clips"]) == 12
    assert 0 < found["latency_seconds"]["p50"] <= found["latency_seconds"]["p95"] < 20
    assert found["throughput_per_second"] > 0
    assert (aws.endpoints.state_dir / "workload.png").read_bytes().startswith(b"\x89PNG")
    screen = capsys.readouterr()
    assert screen.out == ""
    assert "on the VM: 12, each once" in screen.err
    assert "█" in screen.err
    assert keys(aws, "input-bucket-video") == keys(aws, "output-bucket-vid") == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []


def test_keep_leaves_everything(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = rightly
    assert workload.run(aws, media, 3, 1, 0, 20, keep=True) == 0
    assert len(keys(aws, "input-bucket-video")) == 3
    assert len(list(Path(aws.endpoints.results_dir).glob("*.json"))) == 3


def test_other_objects_are_not_touched(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = rightly
    aws.s3.put_object(Bucket="input-bucket-video", Key="workload/of-someone-else/x.txt", Body=b"")
    aws.s3.put_object(Bucket="output-bucket-vid", Key="lesson.csv", Body=b"")
    (Path(aws.endpoints.results_dir) / "lesson.json").write_text('{"video": {"key": "lesson.mp4"}}')
    assert workload.run(aws, media, 3, 1, 0, 20, keep=False) == 0
    assert keys(aws, "input-bucket-video") == ["workload/of-someone-else/x.txt"]
    assert keys(aws, "output-bucket-vid") == ["lesson.csv"]
    assert [path.name for path in Path(aws.endpoints.results_dir).iterdir()] == ["lesson.json"]


def test_wrong_answers_fail(aws: Aws, classroom: Any, media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classroom.reply = lambda _: ("recognized", ["Ada"])
    assert workload.run(aws, media, 6, 1, 0, 20, keep=False) == 1
    found = report(aws)
    assert (found["right"], found["wrong"], found["late"]) == (2, 4, 0)
    assert "recognized Ada instead of no_face" in capsys.readouterr().err


def test_wrong_name_is_wrong(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = lambda key: ("recognized", ["Grace"]) if key.endswith("ada.mp4") else rightly(key)
    assert workload.run(aws, media, 3, 1, 0, 20, keep=False) == 1
    assert report(aws)["wrong"] == 1


def test_missing_answers_are_late_and_their_videos_stay(
    aws: Aws, classroom: Any, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classroom.reply = lambda key: None if key.endswith("stranger.mp4") else rightly(key)
    assert workload.run(aws, media, 6, 1, 0, 2, keep=False) == 1
    assert (report(aws)["right"], report(aws)["late"]) == (4, 2)
    left = keys(aws, "input-bucket-video")
    assert len(left) == 2
    assert all(key.endswith("stranger.mp4") for key in left)
    assert "2 clips without an answer stay below s3://input-bucket-video/workload/" in capsys.readouterr().err


def test_nothing_answered_still_reports(aws: Aws, media: Path) -> None:
    assert workload.run(aws, media, 2, 1, 0, 0.5, keep=False) == 1
    assert report(aws)["latency_seconds"] is None
    assert not (aws.endpoints.state_dir / "workload.png").exists()


def test_result_missing_on_the_vm_fails(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = rightly
    classroom.store = False
    assert workload.run(aws, media, 3, 1, 0, 20, keep=False) == 1
    assert report(aws)["right"] == 3
    assert report(aws)["on_vm"]["found"] == 0


def test_result_twice_on_the_vm_fails(aws: Aws, classroom: Any, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(key: str) -> tuple[str, list[str]]:
        (Path(aws.endpoints.results_dir) / "again.json").write_text(json.dumps({"key": key}))
        return rightly(key)

    classroom.reply = doubled
    assert workload.run(aws, media, 3, 1, 0, 20, keep=False) == 1
    assert report(aws)["on_vm"]["found"] == 4


def test_unreachable_vm_fails_and_is_told(
    aws: Aws, classroom: Any, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classroom.reply = rightly
    Path(os.environ["FAKE_VM"], "unreachable").touch()
    assert workload.run(aws, media, 2, 1, 0, 20, keep=False) == 1
    assert "on the VM: cannot be read: the VM classroom-poller-1 cannot be reached" in capsys.readouterr().err


def test_interrupt_reports_what_is_there(
    aws: Aws, classroom: Any, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classroom.reply = lambda key: rightly(key) if key.endswith("ada.mp4") else None

    def operator(text: str) -> None:
        if text == "6 uploaded, 2 answered":
            raise KeyboardInterrupt

    monkeypatch.setattr(workload, "info", operator)
    monkeypatch.setattr(workload, "REPORT_SECONDS", 0)
    assert workload.run(aws, media, 6, 1, 0, 60, keep=False) == 130
    found = report(aws)
    assert found["interrupted"] is True
    assert (found["right"], found["late"]) == (2, 4)
    assert not found["succeeded"]


def test_rate_spreads_the_uploads(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = rightly
    run = workload.new_run(workload.read_expected(media), 6, 1, 4.0, 20)
    workload.execute(aws, run)
    times = sorted(clip.uploaded_at or 0 for clip in run.clips)
    assert times[-1] - times[0] >= 0.9


def test_every_clip_is_used_equally_and_the_seed_decides_the_order(media: Path) -> None:
    expected = workload.read_expected(media)
    one, same, other = (workload.plan(expected, 30, seed, "r") for seed in (1, 1, 2))
    assert set(Counter(clip.source for clip in one).values()) == {10}
    assert [clip.key for clip in one] == [clip.key for clip in same]
    assert [clip.key for clip in one] != [clip.key for clip in other]
    assert len({clip.key for clip in one}) == 30


@pytest.mark.parametrize(("count", "rate", "timeout"), [(0, 0, 1), (-1, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_senseless_figures_are_refused(media: Path, count: int, rate: float, timeout: float) -> None:
    with pytest.raises(UsageError):
        workload.new_run(workload.read_expected(media), count, 0, rate, timeout)


def test_clips_without_known_answers_are_refused(media: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clips with known answers"):
        workload.read_expected(tmp_path)
    (media / "ada.mp4").unlink()
    with pytest.raises(UsageError, match=r"ada\.mp4"):
        workload.read_expected(media)
    (media / "answers.json").write_text("{}")
    with pytest.raises(UsageError, match="names no clip"):
        workload.read_expected(media)


def test_latency_is_the_functions_own_time_where_it_makes_sense(answer_account: Any) -> None:
    clip = Clip("k.mp4", Path("k"), Expected("no_face", ()), uploaded_at=1000.0, seen_at=1002.0)
    assert clip.latency == 2.0
    for processed, expected in ((1001.5, 1.5), (999.0, 2.0), (1009.0, 2.0)):
        time = datetime.fromtimestamp(processed, UTC)
        clip.answer = Answer("", (), answer_account("k.mp4", "0" * 32, "no_face", [], processed_at=time))
        assert clip.latency == expected
    clip.written_at = 1001.75
    assert clip.latency == 1.75


def test_one_result_on_two_vms_is_one(media: Path) -> None:
    """A queue may hand a message out twice; two VMs then keep the same file."""
    run = workload.new_run(workload.read_expected(media), 2, 1, 0, 20)
    run.on_vm = [Stored("vm-1", "/r/a.json"), Stored("vm-2", "/r/a.json"), Stored("vm-2", "/r/b.json")]
    assert run.stored_once == 2
    run.on_vm.append(Stored("vm-1", "/r/c.json"))
    assert run.stored_once == 3


def test_percentiles_are_measured_values() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert latency.percentile(values, 0.5) == 50
    assert latency.percentile(values, 0.95) == 95
    assert latency.percentile(values, 1.0) == 100
    assert latency.percentile([7.0], 0.5) == 7
    with pytest.raises(ValueError, match="no values"):
        latency.percentile([], 0.5)


def test_the_distribution_counts_everything_once() -> None:
    values = [0.1, 0.2, 0.2, 0.9, 1.0]
    assert latency.distribution(values, rows=3) == [("0.10 - 0.40 s", 3), ("0.40 - 0.70 s", 0), ("0.70 - 1.00 s", 2)]
    assert latency.distribution([]) == []
    assert latency.distribution([0.5, 0.5]) == [("0.50 s", 2)]


def test_a_bar_is_as_long_as_its_count_says() -> None:
    full, half, none = plain_text(histogram([("a", 4), ("b", 2), ("c", 0)])).splitlines()
    assert (full.count("█"), half.count("█"), none.count("█")) == (50, 25, 0)
    assert (full.split()[0], full.split()[-1]) == ("a", "4")


@pytest.mark.parametrize(
    ("there", "samples", "status", "students"),
    [
        ({"Ada": True}, None, "recognized", ("Ada", "Grace")),
        ({"Ada": True}, {"enrolled": ["Ada", "Grace"], "replaced": {}}, "recognized", ("Ada",)),
        ({}, {"enrolled": ["Ada", "Grace"], "replaced": {}}, "unknown", ()),
        (
            {"ada_lovelace": False},
            {"enrolled": ["Ada", "Grace"], "replaced": {"Ada": "ada_lovelace"}},
            "recognized",
            ("ada_lovelace",),
        ),
        ({"Ada": False}, {"enrolled": ["Ada", "Grace"], "replaced": {}}, "unknown", ()),
    ],
    ids=["before samples were marked", "one was removed", "all were removed", "a student took a place", "a namesake"],
)
def test_the_answers_are_those_of_who_is_enrolled_now(
    aws: Aws,
    there: dict[str, bool],
    samples: dict[str, Any] | None,
    status: str,
    students: tuple[str, ...],
) -> None:
    aws.dynamodb.delete_item(TableName="student_table", Key={"name": {"S": "Ada"}})
    for name, sample in there.items():
        mark: dict[str, Any] = {"sample": {"BOOL": True}} if sample else {}
        aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": name}, **mark})
    if samples is None:
        aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Grace"}})
    else:
        aws.s3.put_object(Bucket="known-encodings", Key="account/samples.json", Body=json.dumps(samples).encode())
    shown = {
        Path("both.mp4"): Expected("recognized", ("Ada", "Grace")),
        Path("empty.mp4"): Expected("no_face", ()),
        Path("stranger.mp4"): Expected("unknown", ()),
    }
    now = workload.as_enrolled(aws, shown)
    assert now[Path("both.mp4")] == Expected(status, students)
    assert [now[clip] for clip in list(shown)[1:]] == list(shown.values())[1:]
