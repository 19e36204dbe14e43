"""The services in process (moto), filled as a deployment leaves them, and the function against them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import boto3
import pytest
from function_cloud import INPUT, KNOWN, MEDIA, OUTPUT, TABLE, Cloud, Logged
from moto import mock_aws
from recognition import logs
from recognition.config import Config
from recognition.enroll import enroll
from recognition.matching import Gallery
from recognition.results import Student
from recognition.service import Clients, Service


@pytest.fixture(scope="session")
def enrolled() -> tuple[Gallery, list[Student]]:
    """The sample students, enrolled from their photos."""
    done = enroll(MEDIA / "students", MEDIA / "students.csv")
    return done.gallery, done.students


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The services where nobody is enrolled yet."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        clients = Clients(boto3.client("s3"), boto3.client("sqs"), boto3.client("dynamodb"))
        for bucket in (INPUT, OUTPUT, KNOWN):
            clients.s3.create_bucket(Bucket=bucket)
        url = clients.sqs.create_queue(QueueName="output-notification")["QueueUrl"]
        clients.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        # A short clip may take longer here than on a machine that does nothing else.
        config = Config(TABLE, OUTPUT, url, KNOWN, gallery_ttl_seconds=3600, least_budget_seconds=40)
        made = Cloud(clients, config, Service(config, clients))
        made.publish_gallery(Gallery([]))
        yield made


@pytest.fixture
def cloud(bare: Cloud, enrolled: tuple[Gallery, list[Student]]) -> Cloud:
    """The services as a deployment leaves them."""
    gallery, students = enrolled
    for student in students:
        item = {"name": student.name, "id": student.id, "major": student.major, "year": student.year}
        bare.clients.dynamodb.put_item(TableName=TABLE, Item={field: {"S": value} for field, value in item.items()})
    bare.publish_gallery(gallery)
    return bare


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logged:
    """What the function writes to its log from now on."""
    stream = io.StringIO()
    logs._logger.setLevel("INFO")  # an invocation of another test may have chosen another
    monkeypatch.setattr(logs._logger.registered_handler, "stream", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
