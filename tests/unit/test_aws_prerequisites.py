"""Each fault of an account turns into its own sentence, with its fix, and hides no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber

from ansible_collections.smart_classroom.platform.plugins.filter.aws_costs import cost_table
from ansible_collections.smart_classroom.platform.plugins.modules import aws_prerequisites

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ACCOUNT = "123456789012"
TAGS = {"project": "p", "environment": "dev", "owner": "o"}
WANTED: dict[str, Any] = {
    "region": "us-east-1",
    "account": "",
    "tags": TAGS,
    "buckets": ["videos-{account}"],
    "instance_type": "m8i.xlarge",
    "zone": "",
    "function_concurrency": 10,
    "actions": ["s3:CreateBucket", "ec2:RunInstances"],
    "lifetime_minutes": 90,
}


def refusal(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Operation")


class Fake:
    """A service whose answers are given; every answer passes botocore's model of the service."""

    def __init__(self, service: str, answers: dict[str, Any]) -> None:
        self.client: Any = boto3.client(  # type: ignore[call-overload]
            service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        self.answers = answers

    def can_paginate(self, operation: str) -> bool:
        return bool(self.client.can_paginate(operation))

    def get_paginator(self, operation: str) -> Any:
        fake = self

        class Paginator:
            def paginate(self, **options: Any) -> list[Any]:
                return [getattr(fake, operation)(**options)]

        return Paginator()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**options: Any) -> Any:
            answer = self.answers[operation]
            answer = answer(**options) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            with Stubber(self.client) as stubber:
                stubber.add_response(operation, answer, options)
                return getattr(self.client, operation)(**options)

        return call


def quota(value: float) -> dict[str, Any]:
    return {"Quota": {"Value": value}}


def good_account() -> dict[str, dict[str, Any]]:
    """The answers of an account that lacks nothing."""
    return {
        "sts": {
            "get_caller_identity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/operator", "UserId": "u"}
        },
        "ec2": {
            "describe_regions": {"Regions": [{"RegionName": "us-east-1", "OptInStatus": "opt-in-not-required"}]},
            "describe_instance_type_offerings": {
                "InstanceTypeOfferings": [{"InstanceType": "m8i.xlarge", "Location": "us-east-1b"}]
            },
            "describe_instances": {"Reservations": []},
            "describe_instance_types": {
                "InstanceTypes": [{"InstanceType": "m8i.xlarge", "VCpuInfo": {"DefaultVCpus": 4}}]
            },
            "describe_addresses": {"Addresses": []},
            "describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
        },
        "service-quotas": {"get_service_quota": quota(5)},
        "lambda": {"get_account_settings": {"AccountLimit": {"UnreservedConcurrentExecutions": 1000}}},
        "s3": {"head_bucket": refusal("404", 404), "get_bucket_tagging": {"TagSet": []}},
        "iam": {
            "simulate_principal_policy": lambda **options: {
                "EvaluationResults": [
                    {"EvalActionName": name, "EvalDecision": "allowed"} for name in options["ActionNames"]
                ]
            },
            "get_role": {
                "Role": {
                    "Arn": f"arn:aws:iam::{ACCOUNT}:role/team/deployer",
                    "Path": "/team/",
                    "RoleName": "deployer",
                    "RoleId": "AROA0000000000000000",
                    "CreateDate": NOW,
                }
            },
        },
    }


def ask(
    answers: dict[str, dict[str, Any]], /, lifetime: tuple[datetime | None, bool] = (None, False), **changes: Any
) -> dict[str, Any]:
    return aws_prerequisites.run({**WANTED, **changes}, lambda name: Fake(name, answers[name]), lifetime, NOW)


def test_a_good_account_has_no_problem_and_every_answer() -> None:
    result = ask(good_account())
    assert result["problems"] == []
    assert result["unanswered"] == []
    assert f"account {ACCOUNT}, as user/operator" in result["answers"]
    assert f"the name videos-{ACCOUNT} is free" in result["answers"]
    assert "2 permissions" in result["answers"]


@pytest.mark.parametrize(
    ("service", "operation", "answer", "message"),
    [
        ("sts", "get_caller_identity", NoCredentialsError(), "no AWS credentials are found.*aws sso login"),
        ("sts", "get_caller_identity", refusal("ExpiredToken"), "have expired: log in again"),
        ("sts", "get_caller_identity", refusal("ExpiredTokenException"), "have expired: log in again"),
        ("sts", "get_caller_identity", refusal("InvalidClientTokenId"), "AWS does not know the credentials"),
        (
            "sts",
            "get_caller_identity",
            EndpointConnectionError(endpoint_url="https://sts"),
            "AWS does not answer.*smart_classroom_region",
        ),
        ("ec2", "describe_regions", {"Regions": [{"RegionName": "eu-west-1"}]}, "no region us-east-1"),
        (
            "ec2",
            "describe_regions",
            {"Regions": [{"RegionName": "us-east-1", "OptInStatus": "not-opted-in"}]},
            "aws account enable-region --region-name us-east-1",
        ),
        ("ec2", "describe_instance_type_offerings", {"InstanceTypeOfferings": []}, "no zone of us-east-1 offers m8i"),
        (
            "service-quotas",
            "get_service_quota",
            lambda **options: quota(0 if options["QuotaCode"] == "L-1216C47A" else 5),
            "may have 0 vCPUs of running standard instances.*L-1216C47A --desired-value 4",
        ),
        (
            "service-quotas",
            "get_service_quota",
            lambda **options: quota(0 if options["QuotaCode"] == "L-0263D0A3" else 5),
            "may have 0 Elastic IPs.*L-0263D0A3 --desired-value 1",
        ),
        (
            "lambda",
            "get_account_settings",
            {"AccountLimit": {"UnreservedConcurrentExecutions": 0}},
            "Lambda lets 0 .*10",
        ),
        ("s3", "head_bucket", refusal("403", 403), f"videos-{ACCOUNT} of a bucket is taken.*s3_buckets.yml"),
        ("s3", "head_bucket", {}, "without this environment's tags"),
        (
            "iam",
            "simulate_principal_policy",
            lambda **options: {
                "EvaluationResults": [
                    {"EvalActionName": name, "EvalDecision": "implicitDeny" if "ec2" in name else "allowed"}
                    for name in options["ActionNames"]
                ]
            },
            "user/operator lacks the permissions ec2:RunInstances: add",
        ),
    ],
)
def test_each_fault_is_the_one_problem(service: str, operation: str, answer: Any, message: str) -> None:
    import re

    account = good_account()
    account[service][operation] = answer
    result = ask(account)
    assert len(result["problems"]) == 1
    assert re.search(message, result["problems"][0])


def test_every_fault_is_told_at_once() -> None:
    account = good_account()
    account["service-quotas"]["get_service_quota"] = quota(0)
    account["s3"]["head_bucket"] = refusal("403", 403)
    account["lambda"]["get_account_settings"] = {"AccountLimit": {"UnreservedConcurrentExecutions": 1}}
    assert len(ask(account, account="000000000000")["problems"]) == 6


def test_what_is_there_already_needs_no_quota() -> None:
    """A second run in an account whose quotas the first has used up has no problem."""
    account = good_account()
    ours = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    account["service-quotas"]["get_service_quota"] = lambda **options: quota(
        4 if options["ServiceCode"] == "ec2" else 1
    )
    account["ec2"]["describe_vpcs"] = {"Vpcs": [{"VpcId": "vpc-1", "Tags": ours}]}
    account["ec2"]["describe_addresses"] = {"Addresses": [{"PublicIp": "203.0.113.5", "Tags": ours}] * 4}
    account["ec2"]["describe_instances"] = {
        "Reservations": [{"Instances": [{"CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2}, "Tags": ours}]}]
    }
    account["s3"] = {"head_bucket": {}, "get_bucket_tagging": {"TagSet": ours}}
    assert ask(account)["problems"] == []


def test_the_policies_of_an_assumed_role_are_those_of_the_role() -> None:
    account = good_account()
    account["sts"]["get_caller_identity"]["Arn"] = f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/session"
    asked = []

    def simulate(**options: Any) -> dict[str, Any]:
        asked.append(options["PolicySourceArn"])
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": "allowed"} for name in options["ActionNames"]
            ]
        }

    account["iam"]["simulate_principal_policy"] = simulate
    assert ask(account)["problems"] == []
    assert asked == [f"arn:aws:iam::{ACCOUNT}:role/team/deployer"]


def test_a_question_that_may_not_be_asked_is_not_answered_with_yes() -> None:
    account = good_account()
    account["iam"]["simulate_principal_policy"] = refusal("AccessDenied", 403)
    result = ask(account)
    assert result["problems"] == []
    assert len(result["unanswered"]) == 1
    assert result["unanswered"][0].startswith("the permissions: ")
    assert not any("permissions" in answer for answer in result["answers"])


@pytest.mark.parametrize(
    ("minutes", "renews", "problems"),
    [(30, False, ["the credentials end in 30 min, a deployment may take 90"]), (91, False, []), (5, True, [])],
)
def test_credentials_that_end_too_soon(minutes: int, renews: bool, problems: list[str]) -> None:
    result = ask(good_account(), lifetime=(NOW + timedelta(minutes=minutes), renews))
    assert [problem.split(": ")[0] for problem in result["problems"]] == problems


def test_the_end_of_credentials_is_read_from_the_environment() -> None:
    told = {"AWS_CREDENTIAL_EXPIRATION": "2026-11-01T13:00:00Z"}
    assert aws_prerequisites.expiry(told) == (datetime(2026, 11, 1, 13, tzinfo=UTC), False)


def test_costs_of_an_unknown_type_are_not_guessed() -> None:
    assert "unknown" not in cost_table("m8i.xlarge", 60, 2048)
    lines = cost_table("z99.huge", 60, 2048).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("instance", "together"))] == ["unknown", "unknown"]
