"""One video through both clouds, and the lines of one video."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from classroom_ops import cli, trace
from classroom_ops.aws import Aws
from classroom_ops.errors import UsageError

GROUP = "/aws/lambda/smart-classroom"
KEY = 'room 1/a "b".mp4'
REQUEST = "6bc28136-xxxx".replace("xxxx", "4ab1-4a0e-8f4c-0123456789ab")
# As journalctl does: only lines that match.
JOURNAL = """#!/bin/sh
for word in "$@"; do case "$word" in --grep=*) pattern=${word#--grep=};; esac; done
grep -P -- "$pattern" "$FAKE_VM/journal" || exit 1
"""


@pytest.fixture
def answered(aws: Aws, root: Path, tmp_path: Path, answer_written: Callable[..., None]) -> Aws:
    """`KEY` uploaded, answered and stored, another video beside it."""
    program = tmp_path / "bin" / "journalctl"
    program.write_text(JOURNAL)
    program.chmod(0o755)
    now = datetime.now(UTC)
    etag = aws.s3.put_object(Bucket=aws.endpoints.input_bucket, Key=KEY, Body=b"video")["ETag"].strip('"')
    answer_written(aws, KEY, etag, "recognized", ["Ada"])
    (tmp_path / "results" / "r.json").write_text(json.dumps({"video": {"key": KEY}}))
    lines = [
        {"time": now.isoformat(), "level": "INFO", "message": what, "correlation": f"{key}@{etag}", "message_id": "m"}
        for what, key in (("answered", KEY), ("stored", KEY), ("answered", f"x{KEY}"))
    ]
    (tmp_path / "journal").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    logs = aws.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="s")
    said = {"level": "INFO", "message": "video_answered", "correlation_id": f"{KEY}@{etag}", "request_id": REQUEST}
    texts = [
        f"START RequestId: {REQUEST} Version: 3",
        json.dumps({**said, "status": "recognized", "timings_ms": {"total": 812.5}}),
        json.dumps({**said, "correlation_id": f"x{KEY}@{etag}"}),
        f"REPORT RequestId: {REQUEST}\tDuration: 900.00 ms\tMax Memory Used: 512 MB",
        "REPORT RequestId: 00000000-0000-4000-8000-000000000000\tDuration: 1.00 ms",
    ]
    stamp = int(now.timestamp() * 1000)
    events: Any = [{"timestamp": stamp + number, "message": text} for number, text in enumerate(texts)]
    logs.put_log_events(logGroupName=GROUP, logStreamName="s", logEvents=events)
    return aws


def test_every_station_is_shown_in_the_order_of_time(answered: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    trace.run(answered, KEY)
    said = capsys.readouterr()
    for text in (
        "input-bucket-video  uploaded, 5 B",
        "classroom-poller-1  answered",
        "classroom-poller-1  stored",
        "function            START",
        "function            video_answered: status recognized, timings_ms total=812.5",
        "Duration: 900.00 ms",
        'output-bucket-vid   room 1/a "b".csv',
        "results/r.json",
    ):
        assert text in said.out, text
    assert "Duration: 1.00 ms" not in said.out, "another video's invocation"
    steps, missing = trace.follow(answered, KEY)
    assert missing == []
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert "it was answered, and a VM stored the answer" in said.err


def test_logs_of_a_key_are_its_lines_and_no_others(
    answered: Aws, in_root: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["logs", "--key", KEY]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(" ")[0] for line in lines) == ["classroom-poller-1"] * 2 + ["function"] * 3
    assert not [line for line in lines if "xroom" in line]


def test_a_dead_letter_is_told_and_stays(answered: Aws) -> None:
    body = json.dumps({"Records": [{"s3": {"object": {"key": "gone.mp4", "eTag": "e"}}}]})
    answered.sqs.send_message(QueueUrl=answered.queue_url("input-notification-dlq"), MessageBody=body)
    steps, _ = trace.follow(answered, "gone.mp4")
    assert [step.place for step in steps] == ["input-notification-dlq"]
    assert answered.depth("input-notification-dlq").visible == 1


def test_an_unknown_key_is_said_and_a_vm_that_is_away_is_no_silence(
    answered: Aws, tmp_path: Path, in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="nothing is known of"):
        trace.run(answered, "never.mp4")
    (tmp_path / "unreachable").touch()
    assert cli.main(["trace", "--", KEY]) == 1
    said = capsys.readouterr()
    assert "uploaded" in said.out, "what is known is shown"
    assert "could not be asked: logs: the VM classroom-poller-1 cannot be reached" in said.err


def test_seconds_count_from_the_first_step() -> None:
    start = datetime(2026, 11, 26, 12, tzinfo=UTC)
    from classroom_ops.console import plain_text

    text = plain_text(trace.table([trace.Step(start, "a", "b"), trace.Step(start + timedelta(seconds=1.5), "c", "d")]))
    assert "11-26 12:00:01.500  1.50" in text
