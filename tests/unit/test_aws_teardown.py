"""What a teardown shows and what it must not leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jinja2
import pytest
from moto import mock_aws

from ansible_collections.smart_classroom.platform.plugins.modules import aws_environment_info

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"project": "p", "environment": "dev"}
OTHERS = {"project": "p", "environment": "prod"}
RESOURCES = [
    {"service": "s3", "kind": "bucket", "id": "videos", "data": "3 objects"},
    {"service": "sqs", "kind": "queue", "id": "events"},
    {"service": "sqs", "kind": "queue", "id": "answers", "data": "2 messages"},
    {"service": "dynamodb", "kind": "table", "id": "students", "data": "about 2 records"},
]


def teardown_plan(resources: list[dict[str, str]], kept_kinds: list[str]) -> str:
    """The text that a teardown shows, rendered as Ansible does."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 it is no HTML
    template = environment.from_string((ROOT / "playbooks/templates/aws_plan.j2").read_text(encoding="utf-8"))
    return template.render(teardown_held={"resources": resources}, teardown_kept_kinds=kept_kinds)


def test_the_plan_says_what_how_many_and_which_data_dies() -> None:
    text = teardown_plan(RESOURCES, [])
    assert "removed: 1 bucket, 2 queues, 1 table." in text
    lost = text.partition("lost:")[2]
    assert [line.split(":")[0].strip() for line in lost.strip().splitlines()] == [
        "bucket videos",
        "queue answers",
        "table students",
    ]


def test_kept_data_is_shown_as_kept() -> None:
    text = teardown_plan(RESOURCES, ["bucket", "table"])
    assert "removed: 2 queues." in text
    assert "This stays" in text
    assert text.index("bucket videos") > text.index("This stays")


def test_an_empty_account_is_said_to_be_empty() -> None:
    assert "nothing" in teardown_plan([], [])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload]


def pairs(tags: dict[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    return [{key: name, value: text} for name, text in tags.items()]


def fill(tags: dict[str, str], name: str) -> None:
    """One thing of each kind, as the roles make them."""
    trust = '{"Version": "2012-10-17", "Statement": []}'
    client("s3").create_bucket(Bucket=name)
    client("s3").put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs(tags)})
    client("s3").put_object(Bucket=name, Key="a.mp4", Body=b"x")
    client("sqs").create_queue(QueueName=name, tags=tags)
    client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=pairs(tags),
    )
    client("logs").create_log_group(logGroupName=name, tags=tags)
    client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=pairs(tags))
    client("iam").create_user(UserName=name, Tags=pairs(tags))
    client("ecr").create_repository(repositoryName=name, tags=pairs(tags))
    client("ec2").create_vpc(CidrBlock="10.1.0.0/24", TagSpecifications=[{"ResourceType": "vpc", "Tags": pairs(tags)}])


@pytest.mark.usefixtures("account")
def test_exactly_what_carries_the_tags_is_listed() -> None:
    parameters = {"tags": {**TAGS, "owner": "whoever"}, "services": []}
    asked = ["ec2", "s3", "sqs", "dynamodb", "logs", "iam", "ecr"]
    assert aws_environment_info.run({**parameters, "services": asked}, client)["resources"] == []
    fill(TAGS, "ours")
    fill(OTHERS, "theirs")
    client("s3").create_bucket(Bucket="untagged")
    found = aws_environment_info.run({**parameters, "services": asked}, client)["resources"]
    assert sorted(item["kind"] for item in found) == [
        "bucket",
        "log group",
        "queue",
        "repository",
        "role",
        "table",
        "user",
        "vpc",
    ]
    assert {item["id"] for item in found if item["kind"] != "vpc"} == {"ours"}
    assert [item["data"] for item in found if item["kind"] == "bucket"] == ["1 objects"]


@pytest.mark.usefixtures("account")
def test_every_service_can_be_asked() -> None:
    result = aws_environment_info.run({"tags": TAGS, "services": []}, client)
    assert result["resources"] == []
    assert {"cloudwatch", "sns", "lambda"} <= set(result["services"])
