"""Dead letters: shown with their reasons, moved back once each, and never lost."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError

from classroom_ops import cli, redrive, videologs
from classroom_ops.aws import Aws
from classroom_ops.errors import UsageError

JOURNAL = """#!/bin/sh
cat "$FAKE_VM/journal"
"""


def event(key: str) -> str:
    return json.dumps({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": quote_plus(key), "eTag": "e"}}}]})


def bodies(aws: Aws, queue: str) -> list[str]:
    """Everything in the queue, left there."""
    found: dict[str, str] = {}
    while True:
        answer = aws.sqs.receive_message(QueueUrl=aws.queue_url(queue), MaxNumberOfMessages=10, VisibilityTimeout=30)
        if not answer.get("Messages"):
            return sorted(found.values())
        for one in answer["Messages"]:
            found[one["MessageId"]] = one["Body"]


def send(aws: Aws, queue: str, *texts: str) -> None:
    for text in texts:
        aws.sqs.send_message(QueueUrl=aws.queue_url(queue), MessageBody=text)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path) -> None:
    """No waiting for what is not there, an SQS without tasks as the emulator's, and an empty journal."""
    program = tmp_path / "bin" / "journalctl"
    program.write_text(JOURNAL)
    program.chmod(0o755)
    (tmp_path / "journal").write_text("")


@pytest.fixture
def sqs(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Any:
    """SQS that answers as MiniStack does to a task."""

    def no_task(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InvalidAction", "Message": "no"}}, "StartMessageMoveTask")

    monkeypatch.setattr(aws.sqs, "start_message_move_task", no_task)
    aws.client("logs").create_log_group(logGroupName="/aws/lambda/smart-classroom")
    aws.client("logs").create_log_stream(logGroupName="/aws/lambda/smart-classroom", logStreamName="s")
    return aws.sqs


def test_fifty_go_back_each_once(aws: Aws, sqs: Any) -> None:
    sent = sorted(event(f"{number}.mp4") for number in range(50))
    send(aws, "input-notification-dlq", *sent)
    assert redrive.run(aws, None) == 50
    assert bodies(aws, "input-notification") == sent
    assert aws.depth("input-notification-dlq").total == 0


def test_a_key_moves_alone_and_the_rest_stays_visible(aws: Aws, sqs: Any) -> None:
    send(aws, "input-notification-dlq", event("a b/ä.mp4"), event("other.mp4"))
    assert redrive.run(aws, "a b/ä.mp4") == 1
    assert bodies(aws, "input-notification") == [event("a b/ä.mp4")]
    assert bodies(aws, "input-notification-dlq") == [event("other.mp4")]
    with pytest.raises(UsageError, match=r"no dead letter is about 'never\.mp4'"):
        redrive.run(aws, "never.mp4")


def test_answers_go_back_to_the_output_queue(aws: Aws, sqs: Any) -> None:
    body = json.dumps({"video": {"key": "x.mp4"}})
    send(aws, "output-notification-dlq", body)
    assert redrive.run(aws, "x.mp4") == 1
    assert bodies(aws, "output-notification") == [body]


def test_killed_in_the_middle_nothing_is_lost(aws: Aws, sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [event(f"{number}.mp4") for number in range(5)]
    send(aws, "input-notification-dlq", *sent)
    delete = sqs.delete_message
    calls = iter(range(5))

    def killed(**request: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return delete(**request)

    monkeypatch.setattr(redrive, "HOLD_SECONDS", 0)
    letters = list(
        {one.message_id: one for one in redrive.collect(aws, "input-notification-dlq", "input-notification")}.values()
    )
    monkeypatch.setattr(sqs, "delete_message", killed)
    with pytest.raises(KeyboardInterrupt):
        list(redrive.move(aws, letters))
    monkeypatch.setattr(sqs, "delete_message", delete)
    monkeypatch.setattr(redrive, "HOLD_SECONDS", 30)
    assert redrive.run(aws, None) == 3
    moved = bodies(aws, "input-notification")
    assert set(moved) == set(sent)
    assert len(moved) == 6, "the one that was sent and not deleted comes twice, no other does"


def test_dry_run_moves_nothing_and_tells_the_reason(
    aws: Aws, sqs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    send(aws, "input-notification-dlq", event("bad.mp4"), event("worse.mp4"), "nonsense")
    now = datetime.now(UTC) + timedelta(seconds=1)
    line = {"time": now.isoformat(), "level": "ERROR", "message": "an invocation failed", "correlation": "worse.mp4@e"}
    (tmp_path / "journal").write_text(json.dumps({**line, "error": "the function failed: Runtime.ExitError"}) + "\n")
    said = {"level": "ERROR", "message": "video_failed", "correlation_id": "bad.mp4@e", "reason": "no disk"}
    aws.client("logs").put_log_events(
        logGroupName="/aws/lambda/smart-classroom",
        logStreamName="s",
        logEvents=[{"timestamp": int(now.timestamp() * 1000), "message": json.dumps(said)}],
    )
    assert redrive.run(aws, None, dry_run=True) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any("bad.mp4" in row and "video_failed: no disk" in row for row in rows)
    assert any(
        "worse.mp4" in row and "an invocation failed: the function failed: Runtime.ExitError" in row for row in rows
    )
    assert any("message " in row and "no log says why" in row for row in rows)
    assert len(bodies(aws, "input-notification-dlq")) == 3
    assert bodies(aws, "input-notification") == []


def test_aws_moves_them_itself_where_it_can(aws: Aws, sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    send(aws, "input-notification-dlq", event("1.mp4"), event("2.mp4"))
    states = iter(["RUNNING", "COMPLETED"])
    asked: list[str] = []
    monkeypatch.setattr(sqs, "start_message_move_task", lambda **request: asked.append(request["SourceArn"]))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(
        sqs,
        "list_message_move_tasks",
        lambda **_: {"Results": [{"Status": next(states), "ApproximateNumberOfMessagesMoved": 2}]},
    )
    assert redrive.run(aws, None) == 2
    assert [arn.rpartition(":")[2] for arn in asked] == ["input-notification-dlq"]
    assert aws.depth("input-notification-dlq").visible == 2, "the task saw them: nobody held them"


def test_nothing_to_do_is_said(aws: Aws, sqs: Any, in_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["redrive"]) == 0
    assert "there are no dead letters" in capsys.readouterr().err


def test_lines_are_those_of_the_very_key() -> None:
    line = videologs.Line(datetime.now(UTC), "vm", "", {"correlation": "a@b.mp4@etag/version, c.mp4@e"})
    assert line.is_about("a@b.mp4")
    assert line.is_about("c.mp4")
    assert not line.is_about("a")
