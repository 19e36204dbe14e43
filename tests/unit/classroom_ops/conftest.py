"""An AWS in this process, a VM that is a directory, and a function that answers what it is told to."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from classroom_contract.keys import VIDEO_SUFFIXES, result_keys
from classroom_contract.results import Appearance, Box, Confidence, Result, SeenStudent, Status, Video
from classroom_contract.tables import Row, render_csv
from classroom_ops import environment
from classroom_ops.aws import Aws
from classroom_ops.environment import Endpoints

EVENTS = "events-of-the-test"
SSH = """#!/bin/sh
# Stands in for ssh: what would run on the VM runs here, as whoever runs the test.
if [ -e "$FAKE_VM/unreachable" ]; then
  echo "ssh: connect to host classroom-poller-1 port 22: No route to host" >&2
  exit 255
fi
while [ "$1" != "--" ]; do shift; done
shift
exec sh -c "$*"
"""
SUDO = """#!/bin/sh
[ "$1" = "-n" ] && shift
exec "$@"
"""


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """What the deployment writes into endpoints.json."""
    return {
        "environment": "local",
        "region": "us-east-1",
        "endpoint_url": None,
        "credentials": {"access_key_id": "local", "secret_access_key": "local"},
        "input_bucket": "input-bucket-video",
        "output_bucket": "output-bucket-vid",
        "input_queue": "input-notification",
        "output_queue": "output-notification",
        "dead_letter_suffix": "-dlq",
        "function": "smart-classroom",
        "table": "student_table",
        "repository": "smart-classroom",
        "gallery": {"bucket": "known-encodings"},
        "pollers": ["classroom-poller-1"],
        "ssh_config": ".state/local/ssh/config",
        "ssh_control_path": "/root/.ansible/cp/0123456789-%n",
        "cloud_container": None,
        "aws_container": None,
        "results_dir": str(tmp_path / "results"),
        "cloud": "smart-classroom",
        "clouds_yaml": ".state/local/clouds.yaml",
    }


@pytest.fixture
def root(tmp_path: Path, written: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project directory with a deployed environment, and a VM that can be reached."""
    root = tmp_path / "project"
    state = root / ".state" / "local"
    state.mkdir(parents=True)
    (state / "endpoints.json").write_text(json.dumps(written))
    (tmp_path / "results").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("sudo", SUDO)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_VM", str(tmp_path))
    return root


@pytest.fixture
def in_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line works on the environment of the test."""
    load = environment.load
    monkeypatch.setattr(environment, "load", lambda name: load(name, root))


@pytest.fixture
def endpoints(root: Path) -> Endpoints:
    """The deployed environment."""
    return environment.load("local", root)


@pytest.fixture(scope="module")
def mocked() -> Iterator[tuple[Any, dict[str, Any]]]:
    """The AWS of this process, and the clients of a module: to make one takes longer than most tests."""
    with mock_aws() as mock:
        yield mock, {}


@pytest.fixture
def aws(endpoints: Endpoints, mocked: tuple[Any, dict[str, Any]]) -> Aws:
    """An AWS with the environment's buckets, queues and table, all empty."""
    mock, clients = mocked
    mock.reset()
    aws = Aws(endpoints)
    aws._clients = clients
    aws.s3.create_bucket(Bucket=endpoints.input_bucket)
    aws.s3.create_bucket(Bucket=endpoints.output_bucket)
    aws.s3.create_bucket(Bucket=endpoints.gallery_bucket)
    for name in endpoints.queues:
        aws.sqs.create_queue(QueueName=name)
    aws.dynamodb.create_table(
        TableName=endpoints.table,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return aws


Reply = tuple[str, list[str]]  # status, students


@dataclass
class Classroom:
    """Plays the function and the poller: answers every video that appears, until it is stopped."""

    aws: Aws
    reply: Callable[[str], Reply | None]
    delay: float = 0.0
    store: bool = True
    on_vm: str | None = None  # what the CSV on the VM says instead of the right thing
    changes: dict[str, Any] = field(default_factory=dict)  # of the account
    record: tuple[str, str] = ("Physics", "Senior")  # major and year of everybody
    answered: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """The loop: read events, answer, delete."""
        url = self.aws.queue_url(EVENTS)
        while not self._stop.is_set():
            for message in self.aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                for record in json.loads(message["Body"]).get("Records", []):
                    video = record["s3"]["object"]
                    self._one(unquote_plus(video["key"]), video["eTag"].strip('"'))
                self.aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            time.sleep(0.02)

    def stop(self) -> None:
        """End the loop."""
        self._stop.set()

    def _one(self, key: str, etag: str) -> None:
        reply = self.reply(key)
        if reply is None:
            return
        time.sleep(self.delay)
        self.answered.append(key)
        write_answer(
            self.aws, key, etag, *reply, request_id=f"request-{len(self.answered)}", record=self.record, **self.changes
        )
        if self.store:
            name = f"{key.replace('/', '_')}-{etag}"
            results = Path(self.aws.endpoints.results_dir)
            (results / f"{name}.json").write_text(json.dumps({"video": {"key": key, "etag": etag}}))
            right = render_csv(Row(one, *self.record) for one in reply[1])
            (results / f"{name}.csv").write_text(right if self.on_vm is None else self.on_vm)


def account(key: str, etag: str, status: str, students: list[str], **changes: Any) -> Result:
    """An account as the function makes one; `changes` are fields of it, `record` is major and year of everybody."""
    major, year = changes.pop("record", ("Physics", "Senior"))
    face = Appearance(((0.0, 5.5), (61.0, 75.9)), Box(10, 20, 110, 140), 1.5)
    values: dict[str, Any] = {
        "video": Video("input-bucket-video", key, etag),
        "status": Status(status),
        "processed_at": datetime.now(UTC),
        "request_id": "r",
        "students": tuple(SeenStudent(name, Confidence.SURE, 0.31, 0.2, face, "1", major, year) for name in students),
        "frame": result_keys(key).frame,
        "duration_seconds": 10.0,
    }
    return Result(**values | changes)


def write_answer(aws: Aws, key: str, etag: str, status: str, students: list[str], **changes: Any) -> None:
    """Write an answer as the function does: account, picture, and last the table, which readers wait for."""
    keys = result_keys(key)
    result = account(key, etag, status, students, **changes)
    table = render_csv(Row(one.name, one.major, one.year) for one in result.students)
    try:
        for name, body in ((keys.json, result.render()), (keys.frame, "picture"), (keys.csv, table)):
            aws.s3.put_object(Bucket=aws.endpoints.output_bucket, Key=name, Body=body.encode())
    except ClientError:  # the test is over and took the bucket away
        return


@pytest.fixture
def classroom(aws: Aws) -> Iterator[Classroom]:
    """A running classroom that recognises Ada in everything; a test may change `reply` and `delay`."""
    playing = Classroom(aws, lambda _: ("recognized", ["Ada"]))
    # A queue of its own: the tests look at the environment's.
    queue = aws.sqs.create_queue(QueueName=EVENTS)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules: Any = [
        {
            "QueueArn": arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
        }
        for suffix in VIDEO_SUFFIXES
    ]
    aws.s3.put_bucket_notification_configuration(
        Bucket=aws.endpoints.input_bucket,
        NotificationConfiguration={"QueueConfigurations": rules},
    )
    thread = threading.Thread(target=playing.run, daemon=True)
    thread.start()
    yield playing
    playing.stop()
    thread.join(timeout=10)


@pytest.fixture
def answer_written() -> Callable[..., None]:
    """Writes one answer."""
    return write_answer


@pytest.fixture
def answer_account() -> Callable[..., Result]:
    """Makes one account."""
    return account
