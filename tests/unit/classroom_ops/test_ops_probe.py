"""The probe: a message that asks for nothing, and its id."""

from __future__ import annotations

import json

import boto3
import pytest
from moto import mock_aws

from classroom_ops import probe


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@mock_aws
def test_its_id_is_printed_and_it_is_what_the_function_ignores(capsys: pytest.CaptureFixture[str]) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="input")["QueueUrl"]
    assert probe.main(["input"]) == 0
    message = sqs.receive_message(QueueUrl=url)["Messages"][0]
    assert capsys.readouterr().out == f"{message['MessageId']}\n"
    assert json.loads(message["Body"])["Event"] == "s3:TestEvent"


@mock_aws
def test_a_missing_queue_is_named_with_what_creates_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["other"]) == 1
    assert "the queue other takes no message" in capsys.readouterr().err
    assert probe.main([]) == 2
