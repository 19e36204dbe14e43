"""Uploading one video: its own answer on standard output, or the reason why there is none."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from classroom_ops import answers, cli, environment, stored, upload
from classroom_ops.aws import Aws
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError, NoAnswerError, OpsError, UsageError

CSV = "name,major,year\r\nAda,Physics,Senior\r\n"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not really a video, but nobody here looks")
    return path


def test_prints_the_csv_alone_on_standard_output(
    aws: Aws, classroom: Any, video: Path, in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["upload", str(video), "--timeout", "20"]) == 0
    captured = capsys.readouterr()
    assert captured.out == CSV
    assert "status    recognized" in captured.err
    assert "students  Ada: sure (distance 0.31)\n" in captured.err
    assert "s3://output-bucket-vid/clip.csv" in captured.err
    assert f"classroom-poller-1:{aws.endpoints.results_dir}/clip.mp4-" in captured.err


@pytest.mark.parametrize("status", ["unknown", "no_face", "unreadable"])
def test_every_status_is_an_answer(
    aws: Aws, classroom: Any, video: Path, in_root: None, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    classroom.reply = lambda _: (status, [])
    assert cli.main(["upload", str(video)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "name,major,year\r\n"
    assert f"status    {status}" in captured.err


@pytest.mark.parametrize("key", ["a b/ü+ö.mp4", "räume/101/montag.mp4", "x&y=z%20.mp4", "'; rm -rf *.mp4"])
def test_keys_with_special_letters_are_found_in_bucket_and_on_the_vm(
    aws: Aws, classroom: Any, video: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    classroom.store = False
    results = Path(aws.endpoints.results_dir)
    name = f"one-{hashlib.md5(video.read_bytes()).hexdigest()}.json"  # noqa: S324 - S3's ETag
    (results / name).write_text(json.dumps({"video": {"key": key}}, ensure_ascii=False), encoding="utf-8")
    (results / "two.json").write_text(json.dumps({"video": {"key": f"{key}x"}}))
    assert upload.upload(aws, video, key, 20) == CSV
    assert [Path(one.path).name for one in stored.find(aws.endpoints, key)] == [name]
    assert f"s3://output-bucket-vid/{key.removesuffix('.mp4')}.csv" in capsys.readouterr().err


def test_a_result_without_its_csv_is_not_there_yet(endpoints: Endpoints) -> None:
    """The poller writes the CSV last."""
    results = Path(endpoints.results_dir)
    (results / "a.json").write_text('{"video": {"key": "a b.mp4"}}')
    (results / "other.json").write_text('{"video": {"key": "b.mp4"}}')
    assert stored.read(endpoints, "a b.mp4") is None
    (results / "a.csv").write_text("name,major,year\r\n")
    assert stored.read(endpoints, "a b.mp4") == (
        stored.Stored("classroom-poller-1", str(results / "a.csv")),
        "name,major,year\r\n",
    )
    assert stored.read(endpoints, "c.mp4") is None


def test_results_that_cannot_be_read_are_no_reason_to_wait(endpoints: Endpoints) -> None:
    Path(endpoints.results_dir).rmdir()
    with pytest.raises(CommandError, match="No such file"):
        stored.read(endpoints, "a.mp4")


def test_an_earlier_answer_for_the_same_bytes_is_not_taken_for_this_one(
    aws: Aws, classroom: Any, video: Path, answer_written: Callable[..., None]
) -> None:
    assert upload.upload(aws, video, "clip.mp4", 20) == CSV
    classroom.reply = lambda _: ("recognized", ["Grace"])
    classroom.delay = 0.5
    start = time.monotonic()
    assert "Grace" in upload.upload(aws, video, "clip.mp4", 20)
    assert time.monotonic() - start >= 0.5


def test_an_answer_to_another_video_under_this_key_is_not_taken(
    aws: Aws, video: Path, answer_written: Callable[..., None]
) -> None:
    sent = upload.send(aws, video, "clip.mp4", quiet=True)
    answer_written(aws, "clip.mp4", "0" * 32, "recognized", ["Grace"])
    assert answers.find_answer(aws, sent) is None
    answer_written(aws, "clip.mp4", sent.etag, "recognized", ["Ada"])
    found = answers.find_answer(aws, sent)
    assert found is not None
    assert found.names == ("Ada",)


def test_a_csv_that_the_json_does_not_match_yet_is_not_taken(
    aws: Aws, video: Path, answer_written: Callable[..., None]
) -> None:
    """The function writes the two in two calls: an old CSV may stand beside a new JSON for a moment."""
    sent = upload.send(aws, video, "clip.mp4", quiet=True)
    answer_written(aws, "clip.mp4", sent.etag, "recognized", ["Ada"])
    aws.s3.put_object(Bucket="output-bucket-vid", Key="clip.csv", Body=b"name,major,year\r\nGrace,Art,Junior\r\n")
    assert answers.find_answer(aws, sent) is None


def test_a_csv_from_before_the_upload_is_not_taken(
    aws: Aws, video: Path, answer_written: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same students may have been in an earlier video of this key."""
    sent = upload.send(aws, video, "clip.mp4", quiet=True)
    answer_written(aws, "clip.mp4", sent.etag, "recognized", ["Ada"])
    stored = answers.object_state

    def earlier(aws: Aws, key: str) -> answers.ObjectState | None:
        state = stored(aws, key)
        return replace(state, modified=sent.modified - timedelta(seconds=1)) if state and key == "clip.csv" else state

    with monkeypatch.context() as patch:
        patch.setattr(answers, "object_state", earlier)
        assert answers.find_answer(aws, sent) is None
    assert answers.find_answer(aws, sent) is not None


def test_big_files_go_up_in_parts_with_progress(
    aws: Aws, classroom: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = tmp_path / "big.mp4"
    big.write_bytes(os.urandom(20 * upload.MEBIBYTE))
    assert upload.upload(aws, big, "big.mp4", 30) == CSV
    assert "-" in aws.s3.head_object(Bucket="input-bucket-video", Key="big.mp4")["ETag"]
    assert re.search(r"uploading big.mp4 .* 100% 21\.0/21\.0 MB", capsys.readouterr().err)


def test_empty_file_is_uploaded_and_answered(aws: Aws, classroom: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    classroom.reply = lambda _: ("unreadable", [])
    assert upload.run(aws, str(tmp_path / "empty.mp4"), None, 20) == "name,major,year\r\n"


def test_vm_that_is_away_does_not_spoil_an_answer(
    aws: Aws, classroom: Any, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.environ["FAKE_VM"], "unreachable").touch()
    assert upload.upload(aws, video, "clip.mp4", 20) == CSV
    assert "VM        cannot look: the VM classroom-poller-1 cannot be reached" in capsys.readouterr().err


def test_without_a_poller_the_waiting_message_is_the_reason(aws: Aws, video: Path) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url("input-notification"), MessageBody="{}")
    with pytest.raises(NoAnswerError, match=r"within 1 s: 1 messages wait .* the poller is down: make status"):
        upload.upload(aws, video, "clip.mp4", 0.6)


def test_a_message_in_flight_is_the_reason(aws: Aws, video: Path) -> None:
    url = aws.queue_url("input-notification")
    aws.sqs.send_message(QueueUrl=url, MessageBody="{}")
    aws.sqs.receive_message(QueueUrl=url, VisibilityTimeout=60)
    with pytest.raises(NoAnswerError, match=r"1 messages are being worked on.*make logs"):
        upload.upload(aws, video, "clip.mp4", 0.6)


def test_a_lost_message_is_the_reason(aws: Aws, video: Path) -> None:
    with pytest.raises(NoAnswerError, match="no message about it is left"):
        upload.upload(aws, video, "clip.mp4", 0.6)


def test_a_replaced_video_is_the_reason(aws: Aws, video: Path) -> None:
    sent = upload.send(aws, video, "clip.mp4", quiet=True)
    aws.s3.put_object(Bucket="input-bucket-video", Key="clip.mp4", Body=b"another")
    with pytest.raises(NoAnswerError, match="another upload has replaced the video"):
        upload.await_answer(aws, sent, 0.3, 0)


def test_given_up_message_ends_the_waiting_early(aws: Aws, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "DLQ_TICK_SECONDS", 0.2)
    url = aws.queue_url("input-notification-dlq")
    aws.sqs.send_message(QueueUrl=url, MessageBody=_event("old.mp4"))
    sent = upload.send(aws, video, "räume/a b.mp4", quiet=True)
    assert not upload.given_up(aws, "räume/a b.mp4", 1)
    aws.sqs.send_message(QueueUrl=url, MessageBody=_event("r%C3%A4ume/a+b.mp4"))
    with pytest.raises(NoAnswerError, match="was given up after all its attempts"):
        upload.await_answer(aws, sent, 20, 1)
    assert aws.depth("input-notification-dlq").visible == 2, "looking must not take messages away"


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Records": [1]}', '{"Records": null}', '{"Event": "s3:TestEvent"}'])
def test_other_messages_in_the_dead_letter_queue_are_no_obstacle(body: str) -> None:
    assert upload.event_keys(body) == set()


@pytest.fixture
def sent(aws: Aws) -> Iterator[list[str]]:
    """Names of all calls that reach AWS."""
    calls: list[str] = []

    def note(model: Any, **_: Any) -> None:
        calls.append(model.name)

    clients = [aws.s3, aws.sqs]
    for client in clients:
        client.meta.events.register("before-call", note)
    yield calls
    for client in clients:
        client.meta.events.unregister("before-call", note)


def test_bad_files_are_refused_before_anything_is_sent(aws: Aws, tmp_path: Path, sent: list[str]) -> None:
    for text, reason in (
        ("", "no video is named"),
        (str(tmp_path / "none.mp4"), "does not exist"),
        (str(tmp_path), "is a directory"),
        ("/dev/null", "not a regular file"),
    ):
        with pytest.raises(UsageError, match=reason):
            upload.run(aws, text, "clip.mp4", 5)
    assert sent == []


def test_bad_keys_are_refused_before_anything_is_sent(aws: Aws, video: Path, sent: list[str]) -> None:
    with pytest.raises(UsageError):
        upload.run(aws, str(video), "clip.avi", 5)
    assert sent == []
    with pytest.raises(NoAnswerError):
        upload.run(aws, str(video), "clip.mp4", 0.1)
    assert "PutObject" in sent, "or this list notes nothing"


def test_bad_file_ends_with_code_2(aws: Aws, in_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["upload", "/no/such.mp4"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: /no/such.mp4 does not exist (looked in {Path.cwd()})\n"


@pytest.mark.parametrize(
    "key", ["clip.avi", "clip", ".mp4", "a/.mp4", "/clip.mp4", "x" * 1021 + ".mp4", "clip.Mp4", "clip.mp4/", ""]
)
def test_keys_that_would_never_be_answered_are_refused(key: str) -> None:
    with pytest.raises(UsageError):
        upload.check_key(key, Path("clip.mp4"))


def test_key_comes_from_the_file() -> None:
    assert upload.check_key(None, Path("/media/Monday 1.MP4")) == "Monday 1.MP4"
    assert upload.check_key("week 1/a.mov", Path("/media/Monday 1.MP4")) == "week 1/a.mov"
    with pytest.raises(UsageError, match=r"end in \.mp4, \.MP4, \.mov.*KEY=name"):
        upload.check_key(None, Path("clip.avi"))


def test_name_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid UTF-8"):
        upload.check_key(None, Path(os.fsdecode(b"caf\xe9.mp4")))


def test_aws_that_is_away_is_one_sentence(written: dict[str, Any], tmp_path: Path, video: Path) -> None:
    away = environment.parse({**written, "endpoint_url": "http://127.0.0.1:9"}, tmp_path, tmp_path)
    with pytest.raises(OpsError, match=r"^http://127.0.0.1:9 does not answer .*: run make status$"):
        upload.run(Aws(away, attempts=1), str(video), None, 5)


@pytest.mark.parametrize(("missing", "again"), [("input", "was not uploaded: "), ("output", "")])
def test_missing_bucket_is_one_line_that_says_what_to_type(aws: Aws, video: Path, missing: str, again: str) -> None:
    """Without the output bucket nobody would ever see the answer; S3 says the same of a bucket and of an object."""
    place = aws.endpoints
    aws.s3.delete_bucket(Bucket=place.input_bucket if missing == "input" else place.output_bucket)
    aws.sqs.delete_queue(QueueUrl=aws.queue_url("input-notification-dlq")) if missing == "output" else None
    with pytest.raises(OpsError) as caught:
        upload.run(aws, str(video), None, 5)
    told = str(caught.value)
    assert again in told
    assert told.count("\n") == 0
    assert told.count("AWS call failed") == 1
    assert told.endswith(": something of this environment was removed: run make up")


HEADER = "name,major,year\r\n"


@pytest.mark.parametrize(
    ("json_text", "csv_text"),
    [("", HEADER), ("[]", HEADER), ('{"schema": 2, "status": "recognized"}', HEADER), (None, ""), (None, "<html>")],
)
def test_damaged_answers_are_told(answer_account: Any, json_text: str | None, csv_text: str) -> None:
    good = answer_account("a.mp4", "0" * 32, "no_face", []).render()
    assert answers.parse_answer(good, HEADER).status == "no_face"
    with pytest.raises(OpsError, match="the result is damaged: "):
        answers.parse_answer(good if json_text is None else json_text, csv_text)


def test_a_student_is_shown_as_the_table_means_it_and_not_as_a_spreadsheet_needs_it(
    aws: Aws, answer_written: Callable[..., None]
) -> None:
    answer_written(aws, "a.mp4", "0" * 32, "recognized", ["=Ada", "Lovelace, A"])
    found = answers.read_answer(aws, "a.mp4")
    assert found is not None
    assert found.names == ("=Ada", "Lovelace, A")
    assert "'=Ada" in found.csv


@pytest.mark.parametrize("ending", ["mov", "MP4", "M4V"])
def test_videos_of_other_endings_are_answered_beside_each_other(
    aws: Aws, classroom: Any, video: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    assert upload.upload(aws, video, f"a.{ending}", 20) == CSV
    told = capsys.readouterr().err
    assert f"s3://output-bucket-vid/a.{ending}.csv, beside it .json, picture a.{ending}." in told
    kind = aws.s3.head_object(Bucket="input-bucket-video", Key=f"a.{ending}")["ContentType"]
    assert kind == ("video/quicktime" if ending == "mov" else "video/mp4" if ending == "MP4" else kind)
    assert kind.startswith("video/")


def test_of_a_long_clip_it_is_said_when_each_student_was_seen(
    aws: Aws, classroom: Any, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classroom.reply = lambda _: ("recognized", ["Ada", "Grace"])
    classroom.changes = {"duration_seconds": 60.1}
    upload.upload(aws, video, "long.mp4", 20)
    told = capsys.readouterr().err
    assert "students  Ada: sure (distance 0.31), seen 0:00-0:05, 1:01-1:15\n" in told
    assert "          Grace: sure (distance 0.31), seen 0:00-0:05, 1:01-1:15\n" in told
    classroom.changes = {"duration_seconds": 60.0}
    upload.upload(aws, video, "short.mp4", 20)
    assert "seen" not in capsys.readouterr().err


def test_the_reason_of_an_unreadable_video_is_said(
    aws: Aws, classroom: Any, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classroom.reply = lambda _: ("unreadable", [])
    classroom.changes = {"reason": "the file is truncated", "frame": None}
    upload.upload(aws, video, "a.mp4", 20)
    told = capsys.readouterr().err
    assert "status    unreadable: the file is truncated\nstudents  none\n" in told
    assert "beside it .json\n" in told


def test_an_answer_without_its_table_is_not_there_yet(
    aws: Aws, video: Path, answer_written: Callable[..., None]
) -> None:
    """The function writes the table last."""
    sent = upload.send(aws, video, "clip.mp4", quiet=True)
    answer_written(aws, "clip.mp4", sent.etag, "recognized", ["Ada"])
    assert answers.find_answer(aws, sent) is not None
    aws.s3.delete_object(Bucket="output-bucket-vid", Key="clip.csv")
    assert answers.find_answer(aws, sent) is None


def _event(key: str) -> str:
    return json.dumps({"Records": [{"s3": {"object": {"key": key}}}]})
