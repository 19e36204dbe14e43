"""The reviewed plans keep the project's promises, and the recorder sees what changes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.system.plan.requests import UnknownRequestError, plan

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("dev", "prod")


def reviewed(environment: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"tests/system/plan/{environment}.json").read_text(encoding="utf-8"))
    return content


def changes(environment: str, request: str) -> list[Any]:
    return [item["parameters"] for item in reviewed(environment)["changes"] if item["request"] == request]


def raw(service: str, action: str, **parameters: str) -> dict[str, str]:
    form = "&".join(f"{key}={value}" for key, value in {"Action": action, "Version": "1", **parameters}.items())
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential=plan/20260101/us-east-1/{service}/aws4_request",
        "target": "",
        "content_type": "",
        "method": "POST",
        "path": "/",
        "query": "",
        "body": base64.b64encode(form.encode()).decode(),
    }


def test_a_changed_parameter_is_another_plan_and_an_identifier_is_not() -> None:
    first = plan([raw("ec2", "DeleteVpc", VpcId="vpc-0123456789abcdef0")], [], {})
    again = plan([raw("ec2", "DeleteVpc", VpcId="vpc-0fedcba9876543210", ClientToken="x")], [], {})
    other = plan([raw("ec2", "DeleteVpc", VpcId="vpc-0123456789abcdef0", Force="true")], [], {})
    assert first == again != other
    assert first["changes"] == [{"request": "ec2:DeleteVpc", "parameters": {"VpcId": "vpc-1"}}]


def test_what_only_asks_is_named_once_without_parameters() -> None:
    found = plan([raw("ec2", "DescribeVpcs")] * 3, [raw("iam", "GetUser")], {})
    assert found == {"changes": [], "removals": [], "reads": ["ec2:DescribeVpcs", "iam:GetUser"]}


def test_a_request_that_nobody_named_is_not_passed_over() -> None:
    request = {**raw("lambda", "x"), "method": "PATCH", "path": "/2015-03-31/functions/f/unheard-of"}
    with pytest.raises(UnknownRequestError, match="LAMBDA_ACTIONS"):
        plan([request], [], {})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_policy_of_the_operator_holds_every_permission_that_is_used(environment: str) -> None:
    document = json.loads((ROOT / "playbooks/files/deployment-policy.json").read_text(encoding="utf-8"))
    allowed = {action for statement in document["Statement"] for action in statement["Action"]}
    content = reviewed(environment)
    used = {item["request"] for part in ("changes", "removals") for item in content[part]} | set(content["reads"])
    # IAM knows two permissions for all that can be asked of AWS Budgets.
    used = {re.sub("^budgets:Describe.*", "budgets:ViewBudget", request) for request in used}
    used = {re.sub("^budgets:(Create|Update|Delete).*", "budgets:ModifyBudget", request) for request in used}
    assert used - allowed == {"sts:GetCallerIdentity"}  # needs no permission


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nobody_but_the_operator_gets_in(environment: str) -> None:
    rules = changes(environment, "ec2:AuthorizeSecurityGroupIngress")
    assert [rule["IpPermissions"] for rule in rules] == [
        [{"IpProtocol": "tcp", "FromPort": "22", "ToPort": "22", "IpRanges": [{"CidrIp": "192.0.2.10/32"}]}]
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_instance_is_hardened(environment: str) -> None:
    data = changes(environment, "ec2:CreateLaunchTemplate")[0]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["BlockDeviceMapping"][0]["Ebs"]["Encrypted"] == "true"
    assert data["CpuOptions"] == {"NestedVirtualization": "enabled"}
    assert data["DisableApiTermination"] == str(environment == "prod").lower()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_bucket_is_closed_and_encrypted(environment: str) -> None:
    buckets = {item["bucket"] for item in changes(environment, "s3:CreateBucket")}
    assert len(buckets) == 3
    for request in ("s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration", "s3:PutBucketPolicy"):
        assert {item["bucket"] for item in changes(environment, request)} == buckets, request


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_everything_that_is_made_is_removed(environment: str) -> None:
    """Each kind of thing that is created has its removal in the plan of the teardown."""
    content = reviewed(environment)
    made = {item["request"] for item in content["changes"]}
    removed = {item["request"] for item in content["removals"]}
    opposite = {
        "ec2:CreateVpc": "ec2:DeleteVpc",
        "ec2:CreateSubnet": "ec2:DeleteSubnet",
        "ec2:CreateInternetGateway": "ec2:DeleteInternetGateway",
        "ec2:CreateRouteTable": "ec2:DeleteRouteTable",
        "ec2:CreateSecurityGroup": "ec2:DeleteSecurityGroup",
        "ec2:CreateLaunchTemplate": "ec2:DeleteLaunchTemplate",
        "ec2:ImportKeyPair": "ec2:DeleteKeyPair",
        "ec2:RunInstances": "ec2:TerminateInstances",
        "ec2:AllocateAddress": "ec2:ReleaseAddress",
        "s3:CreateBucket": "s3:DeleteBucket",
        "sqs:CreateQueue": "sqs:DeleteQueue",
        "dynamodb:CreateTable": "dynamodb:DeleteTable",
        "iam:CreateRole": "iam:DeleteRole",
        "iam:CreateUser": "iam:DeleteUser",
        "iam:CreateAccessKey": "iam:DeleteAccessKey",
        "ecr:CreateRepository": "ecr:DeleteRepository",
        "logs:CreateLogGroup": "logs:DeleteLogGroup",
        "lambda:CreateFunction": "lambda:DeleteFunction",
        "cloudwatch:PutMetricAlarm": "cloudwatch:DeleteAlarms",
        "sns:CreateTopic": "sns:DeleteTopic",
        "budgets:CreateBudget": "budgets:DeleteBudget",
    }
    assert set(opposite) <= made
    assert {opposite[request] for request in opposite} <= removed
    # What part of a thing is, or hangs on it, goes with it.
    parts = {"ec2:CreateRoute", "ec2:CreateTags", "lambda:CreateAlias"}
    assert {item for item in made if item.split(":")[1].startswith("Create")} - set(opposite) - parts == set()
