"""The AWS modules against moto, and the parts of them that moto cannot answer against recorded shapes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ansible_collections.smart_classroom.platform.plugins.module_utils import access_keys, lambda_functions
from ansible_collections.smart_classroom.platform.plugins.modules import (
    aws_access_key,
    aws_bucket_notification,
    aws_budget,
    aws_dashboard,
    aws_image_function,
    aws_queue_protection,
    aws_repository,
    aws_table_protection,
)

REGION = "us-east-1"
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:ReceiveMessage", "Resource": "*"}]}
)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account; nothing of the caller's environment reaches it."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield


def client(service: str) -> Any:
    """A client of the mocked account."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]  # the name is not literal


class TestBucketNotification:
    """One rule among others, written only when it differs."""

    PARAMETERS: dict[str, Any] = {  # noqa: RUF012 a constant
        "bucket": "videos",
        "rule": "videos",
        "queue": "events",
        "events": ["s3:ObjectCreated:*"],
        "suffixes": [".mp4", ".MOV"],
        "state": "present",
    }

    @pytest.fixture(autouse=True)
    def resources(self) -> None:
        client("s3").create_bucket(Bucket="videos")
        client("sqs").create_queue(QueueName="events")

    def run(self, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
        parameters = {**self.PARAMETERS, **changes}
        return aws_bucket_notification.run(client("s3"), client("sqs"), parameters, check_mode)

    def test_second_run_changes_nothing(self) -> None:
        assert self.run()["changed"] is True
        assert self.run()["changed"] is False

    def test_check_mode_tells_and_does_not_write(self) -> None:
        assert self.run(check_mode=True)["changed"] is True
        assert self.run()["changed"] is True

    def test_wrong_suffix_is_corrected(self) -> None:
        for suffixes in ([".avi"], [], [".mp4"], [".mp4", ".MOV", ".avi"]):
            self.run(suffixes=suffixes)
            assert self.run()["changed"] is True
            found = client("s3").get_bucket_notification_configuration(Bucket="videos")["QueueConfigurations"]
            assert {aws_bucket_notification.Rule.from_api(rule).suffix for rule in found} == {".mp4", ".MOV"}
            assert self.run()["changed"] is False

    def test_other_rules_stay(self) -> None:
        self.run(rule="pictures", suffixes=[".jpg"])
        self.run()
        assert self.run(state="absent")["rules"] == ["pictures.jpg"]

    def test_filter_names_in_lower_or_upper_case_are_the_same_rule(self) -> None:
        (rule,) = aws_bucket_notification.rules_of("videos", "arn", frozenset({"e"}), [".mp4"])
        stored = {**rule.to_api(), "Filter": {"Key": {"FilterRules": [{"Name": "Suffix", "Value": ".mp4"}]}}}
        assert aws_bucket_notification.planned({"QueueConfigurations": [stored]}, "videos", [rule]) is None

    def test_missing_queue_is_an_error(self) -> None:
        with pytest.raises(ClientError, match="NonExistentQueue"):
            self.run(queue="nothing")


class TestQueueProtection:
    """Encrypted, and a dead-letter queue of one queue only."""

    @pytest.mark.parametrize(
        ("source", "permission"),
        [
            ("", {"redrivePermission": "denyAll"}),
            (
                "videos",
                {"redrivePermission": "byQueue", "sourceQueueArns": ["arn:aws:sqs:us-east-1:123456789012:videos"]},
            ),
        ],
    )
    def test_set_then_nothing_to_do(self, source: str, permission: dict[str, Any]) -> None:
        url = client("sqs").create_queue(QueueName="letters", Attributes={"SqsManagedSseEnabled": "false"})["QueueUrl"]
        parameters = {"queues": [{"name": "letters", "dead_letters_of": source}]}
        both = ["RedriveAllowPolicy", "SqsManagedSseEnabled"]

        class Queue:
            """moto takes a RedriveAllowPolicy and does not give it back; SQS does."""

            written: dict[str, str] = {}  # noqa: RUF012 one test's own

            def get_queue_url(self, **options: Any) -> Any:
                return client("sqs").get_queue_url(**options)

            def get_queue_attributes(self, **options: Any) -> Any:
                found = client("sqs").get_queue_attributes(**options)["Attributes"]
                return {"Attributes": {**found, **self.written}}

            def set_queue_attributes(self, **options: Any) -> None:
                client("sqs").set_queue_attributes(**options)
                self.written |= options["Attributes"]

        queue = Queue()
        found = [
            aws_queue_protection.run(queue, parameters, check_mode)["differences"]
            for check_mode in (True, False, False)
        ]
        assert found == [{"letters": both}, {"letters": both}, {}]
        attributes = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["SqsManagedSseEnabled"] == "true"
        assert json.loads(queue.written["RedriveAllowPolicy"]) == permission

    def test_a_missing_queue_is_an_error_except_in_a_check(self) -> None:
        parameters = {"queues": [{"name": "nothing", "dead_letters_of": ""}]}
        assert aws_queue_protection.run(client("sqs"), parameters, check_mode=True)["changed"] is True
        with pytest.raises(ClientError, match="NonExistentQueue"):
            aws_queue_protection.run(client("sqs"), parameters, check_mode=False)


class TestTableProtection:
    """Recovery and deletion protection, each on its own."""

    @pytest.mark.parametrize(("recovery", "deletion"), [(True, False), (False, True), (True, True)])
    def test_set_then_nothing_to_do(self, recovery: bool, deletion: bool) -> None:
        client("dynamodb").create_table(
            TableName="students",
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        parameters = {"table": "students", "point_in_time_recovery": recovery, "deletion_protection": deletion}
        results = [
            aws_table_protection.run(client("dynamodb"), parameters, check_mode)["changed"]
            for check_mode in (True, False, False)
        ]
        assert results == [True, True, False]


class TestAccessKey:
    """A key replaced in steps: both valid in between, never a third, and a death after any step is made good."""

    STEPS = ("prepared", "promoted", "retired", "finished")

    @pytest.fixture(autouse=True)
    def user(self, tmp_path: Path) -> None:
        client("iam").create_user(UserName="poller")
        self.file = tmp_path / "credentials"
        access_keys.make_key(client("iam"), "poller", self.file)

    def take(self, step: str, check_mode: bool = False) -> dict[str, Any]:
        parameters = {"user": "poller", "credentials_file": str(self.file), "step": step, "wait_seconds": 5}
        return aws_access_key.run(client("iam"), parameters, check_mode, lambda _path: "arn:aws:iam::1:user/poller")

    def keys(self) -> dict[str, str]:
        return access_keys.user_keys(client("iam"), "poller")

    def test_the_key_goes_into_a_file_that_only_its_owner_reads(self) -> None:
        self.file.unlink()
        assert self.take("present", check_mode=True)["changed"] is True
        assert not self.file.exists()
        assert self.take("present")["changed"] is True
        assert self.take("present")["changed"] is False
        assert self.file.stat().st_mode & 0o777 == 0o600
        (key,) = self.keys()
        assert f"aws_access_key_id = {key}" in self.file.read_text(encoding="ascii")
        assert [entry.name for entry in self.file.parent.iterdir()] == ["credentials"]

    def test_a_key_that_the_user_does_not_have_is_replaced(self) -> None:
        self.file.write_text("[default]\naws_access_key_id = LOST\naws_secret_access_key = lost\n")
        assert self.take("present")["changed"] is True
        assert access_keys.key_id(self.file) in self.keys()
        assert self.take("present")["changed"] is False

    def test_keys_whose_secret_nobody_has_do_not_use_up_the_two(self) -> None:
        self.file.unlink()
        client("iam").create_access_key(UserName="poller")  # as a run that died between the answer and the file
        assert self.take("present")["changed"] is True
        assert list(self.keys()) == [access_keys.key_id(self.file)]

    def test_the_user_is_removed_with_everything_twice(self) -> None:
        client("iam").put_user_policy(UserName="poller", PolicyName="poller", PolicyDocument=POLICY)
        self.take("prepared")
        assert self.take("absent", check_mode=True)["changed"] is True
        assert len(self.keys()) == 2
        assert self.take("absent")["changed"] is True
        assert client("iam").list_users()["Users"] == []
        assert list(self.file.parent.iterdir()) == []
        assert self.take("absent")["changed"] is False

    def test_a_check_before_the_user_is_there_says_that_a_key_would_be_made(self) -> None:
        parameters = {"user": "nobody", "credentials_file": str(self.file), "step": "present", "wait_seconds": 5}
        assert aws_access_key.run(client("iam"), parameters, True)["changed"] is True
        with pytest.raises(ClientError, match="NoSuchEntity"):
            aws_access_key.run(client("iam"), parameters, False)

    def test_both_keys_work_until_the_new_one_is_everywhere(self) -> None:
        old = access_keys.key_id(self.file)
        new = self.take("prepared")["key_id"]
        assert self.keys() == {old: "Active", new: "Active"}
        assert access_keys.key_id(self.file) == old
        assert self.take("promoted")["key_id"] == new
        assert access_keys.key_id(self.file) == new
        assert self.take("retired")["others"] == [old]
        assert self.keys() == {old: "Inactive", new: "Active"}
        assert self.take("finished")["others"] == [old]
        assert self.keys() == {new: "Active"}
        assert [path.name for path in self.file.parent.iterdir()] == ["credentials"]

    @pytest.mark.parametrize("step", STEPS)
    def test_a_step_taken_again_changes_nothing(self, step: str) -> None:
        for taken in self.STEPS[: self.STEPS.index(step) + 1]:
            assert self.take(taken)["changed"] is True
        assert self.take(step)["changed"] is False

    @pytest.mark.parametrize("last", range(5))
    def test_a_rotation_that_died_is_taken_up(self, last: int) -> None:
        begun = access_keys.key_id(self.file)
        for step in self.STEPS[:last]:
            self.take(step)
        for step in self.STEPS:
            self.take(step)
            assert len(self.keys()) <= 2
            assert self.keys()[access_keys.key_id(self.file) or ""] == "Active"
        assert list(self.keys()) == [access_keys.key_id(self.file)]
        assert begun not in self.keys()

    def test_a_death_before_the_secret_was_written_down_costs_nothing(self) -> None:
        client("iam").create_access_key(UserName="poller")
        new = self.take("prepared")["key_id"]
        assert list(self.keys()) == [access_keys.key_id(self.file), new]

    def test_check_mode_makes_no_key(self) -> None:
        before = self.keys()
        assert self.take("prepared", check_mode=True)["changed"] is True
        assert self.keys() == before
        assert list(self.file.parent.iterdir()) == [self.file]

    def test_the_only_valid_key_is_never_switched_off(self) -> None:
        self.file.write_text("[default]\naws_access_key_id = LOST\naws_secret_access_key = lost\n")
        for step in ("retired", "finished"):
            with pytest.raises(aws_access_key.RotationError, match="the others are left alone"):
                self.take(step)
        assert list(self.keys().values()) == ["Active"]

    def test_a_key_that_aws_does_not_know_yet_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aws_access_key, "POLL_SECONDS", 0)
        unknown: Any = {"Error": {"Code": "InvalidClientTokenId"}}
        answers: list[Any] = [ClientError(unknown, "GetCallerIdentity"), "arn:aws:iam::1:user/poller"]

        def ask(_path: Path) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        aws_access_key.await_valid(self.file, "poller", 5, ask)
        assert answers == []
        with pytest.raises(aws_access_key.RotationError, match=r"belongs to .*mallory, not to poller"):
            aws_access_key.await_valid(self.file, "poller", 5, lambda _path: "arn:aws:iam::1:user/mallory")


class TestRepository:
    """Immutable, scanned, expiring; each property is corrected alone."""

    LIFECYCLE = json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
                    "action": {"type": "expire"},
                }
            ]
        }
    )

    def run(self, check_mode: bool = False, **changes: Any) -> Any:
        parameters = {
            "name": "images",
            "lifecycle_policy": self.LIFECYCLE,
            "tags": {"project": "p"},
            "state": "present",
            **changes,
        }
        return aws_repository.run(client("ecr"), parameters, check_mode)["differences"]

    def test_second_run_changes_nothing(self) -> None:
        assert self.run(check_mode=True) == ["repository"]
        assert self.run()[0] == "repository"
        assert self.run() == []

    @pytest.mark.parametrize(
        ("operation", "options", "difference"),
        [
            ("put_image_tag_mutability", {"imageTagMutability": "MUTABLE"}, "immutable tags"),
            ("put_image_scanning_configuration", {"imageScanningConfiguration": {"scanOnPush": False}}, "scan on push"),
            ("delete_lifecycle_policy", {}, "lifecycle"),
        ],
    )
    def test_what_was_changed_is_seen_and_corrected(
        self, operation: str, options: dict[str, Any], difference: str
    ) -> None:
        self.run()
        getattr(client("ecr"), operation)(repositoryName="images", **options)
        assert self.run(check_mode=True) == [difference]
        assert self.run() == [difference]
        assert self.run() == []

    def test_foreign_tags_stay(self) -> None:
        self.run(tags={"foreign": "1"})
        assert self.run() == ["tags"]
        arn = client("ecr").describe_repositories()["repositories"][0]["repositoryArn"]
        tags = {tag["Key"] for tag in client("ecr").list_tags_for_resource(resourceArn=arn)["tags"]}
        assert tags == {"foreign", "project"}

    def test_removed_with_its_images_twice(self) -> None:
        self.run()
        client("ecr").put_image(
            repositoryName="images",
            imageManifest=json.dumps({"schemaVersion": 2, "layers": []}),
            imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
            imageTag="one",
        )
        assert self.run(state="absent", check_mode=True) == ["repository"]
        assert self.run(state="absent") == ["repository"]
        assert self.run(state="absent") == []


class TestImageFunction:
    """Deployed by digest, changed only where it differs."""

    PARAMETERS: dict[str, Any] = {  # noqa: RUF012 a constant
        "repository": "images",
        "image_tag": "one",
        "registry": "127.0.0.1:4566",
        "role": "function",
        "memory_mb": 512,
        "timeout_seconds": 30,
        "architecture": "x86_64",
        "environment": {"TABLE_NAME": "students", "NUMBER": 3},
        "environment_queues": {"OUTPUT_QUEUE_URL": "answers"},
        "reserved_concurrency": -1,
        "tags": {"project": "p"},
        "alias": "",
        "kept_versions": 3,
    }

    @pytest.fixture(autouse=True)
    def resources(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # moto refuses images of other registries than its own account's.
        monkeypatch.setenv("MOTO_LAMBDA_STUB_ECR", "true")
        client("iam").create_role(RoleName="function", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
        client("sqs").create_queue(QueueName="answers")
        client("ecr").create_repository(repositoryName="images")
        self.push("one", 1)

    def push(self, tag: str, number: int) -> None:
        """An image whose digest depends on ``number``."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/json", "size": number, "digest": "sha256:0"},
            "layers": [{"mediaType": "layer", "size": number, "digest": f"sha256:{number:064x}"}],
        }
        client("ecr").put_image(repositoryName="images", imageManifest=json.dumps(manifest), imageTag=tag)

    def deploy(self, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
        parameters = {"name": "recognition", "wait_seconds": 5, **self.PARAMETERS, **changes}
        clients = aws_image_function.Clients(client("lambda"), client("ecr"), client("iam"), client("sqs"))
        return aws_image_function.ensure(clients, parameters, check_mode)

    def test_create_by_digest_then_nothing_to_do(self) -> None:
        first = self.deploy()
        assert first["differences"] == ["function"]
        assert first["image_uri"].startswith("127.0.0.1:4566/images@sha256:")
        assert self.deploy()["changed"] is False
        variables = client("lambda").get_function(FunctionName="recognition")["Configuration"]["Environment"][
            "Variables"
        ]
        assert variables["NUMBER"] == "3"
        assert variables["OUTPUT_QUEUE_URL"].endswith("/answers")

    def test_an_architecture_is_said_or_left_unsaid(self) -> None:
        assert self.deploy(architecture="arm64")["differences"] == ["function"]
        assert client("lambda").get_function(FunctionName="recognition")["Configuration"]["Architectures"] == ["arm64"]
        assert self.deploy(architecture="")["changed"] is False
        assert self.deploy(architecture="x86_64", check_mode=True)["differences"] == ["code"]

    def test_check_mode_creates_nothing(self) -> None:
        assert self.deploy(check_mode=True)["changed"] is True
        assert lambda_functions.find(client("lambda"), "recognition") is None

    def test_new_image_is_the_only_difference(self) -> None:
        self.deploy()
        self.push("two", 2)
        assert self.deploy(image_tag="two")["differences"] == ["code"]
        assert self.deploy(image_tag="two")["changed"] is False

    @pytest.mark.parametrize(
        ("change", "difference"),
        [
            ({"environment": {"TABLE_NAME": "others"}}, "configuration"),
            ({"memory_mb": 1024}, "configuration"),
            ({"timeout_seconds": 31}, "configuration"),
            ({"reserved_concurrency": 2}, "concurrency"),
            ({"tags": {"project": "q"}}, "tags"),
        ],
    )
    def test_each_change_is_made_once(self, change: dict[str, Any], difference: str) -> None:
        self.deploy()
        assert self.deploy(**change)["differences"] == [difference]
        assert self.deploy(**change)["changed"] is False

    def test_concurrency_is_given_back(self) -> None:
        self.deploy(reserved_concurrency=2)
        assert self.deploy()["differences"] == ["concurrency"]

    def test_without_a_tag_the_image_pushed_last_is_taken(self) -> None:
        pages = [
            {
                "imageDetails": [
                    {"imageDigest": "sha256:old", "imagePushedAt": datetime(2026, 1, 1, tzinfo=UTC)},
                    {"imageDigest": "sha256:new", "imagePushedAt": datetime(2026, 1, 2, tzinfo=UTC)},
                ]
            }
        ]

        class Registry:
            def can_paginate(self, _operation: str) -> bool:
                return True

            def get_paginator(self, _operation: str) -> Registry:
                return self

            def paginate(self, **_options: Any) -> list[dict[str, Any]]:
                return pages

        assert aws_image_function.image_uri(Registry(), "images", "", "host:1") == "host:1/images@sha256:new"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_tag": "nine"}, "no image with the tag nine.*make up"),
            ({"repository": "nine"}, "repository nine holds no image"),
            ({"role": "nine"}, "role nine cannot be found.*iam_roles"),
            ({"environment_queues": {"URL": "nine"}}, "queue nine cannot be found.*sqs_queues"),
        ],
    )
    def test_what_is_missing_is_named(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(lambda_functions.FunctionError, match=message):
            self.deploy(**change)
        # In a check, the roles that make it may have been only checked, too.
        found = self.deploy(check_mode=True, **change)
        assert found["changed"] is True
        assert re.search(message, found["differences"][0])
        assert client("lambda").list_functions()["Functions"] == []

    def test_a_role_that_lambda_does_not_know_yet_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lambda_functions, "POLL_SECONDS", 0)
        refusal: Any = {
            "Error": {"Code": "InvalidParameterValueException", "Message": "role cannot be assumed by Lambda"}
        }
        answers: list[Exception | None] = [ClientError(refusal, "CreateFunction"), None]

        class Function:
            def create_function(self, **_options: Any) -> None:
                if answer := answers.pop(0):
                    raise answer

        wanted = lambda_functions.Deployment("uri", "x86_64", {}, None, {})
        lambda_functions.create(Function(), "recognition", wanted, 5)
        assert answers == []

    def live(self) -> str:
        """Number of the version that the alias points at."""
        return str(client("lambda").get_alias(FunctionName="recognition", Name="live")["FunctionVersion"])

    def test_the_alias_points_at_a_version_of_what_is_deployed(self) -> None:
        assert self.deploy(alias="live")["differences"] == ["function"]
        first = self.live()
        assert self.deploy(alias="live")["changed"] is False
        assert self.deploy(alias="live", memory_mb=1024)["differences"] == ["configuration", "alias"]
        assert int(self.live()) > int(first)
        assert self.deploy(alias="live", memory_mb=1024)["changed"] is False

    def test_an_interrupted_run_is_taken_up_where_it_ended(self) -> None:
        self.deploy()  # as if it had died before the version was published
        assert self.deploy(alias="live", check_mode=True)["differences"] == ["alias"]
        assert lambda_functions.find(client("lambda"), "recognition", "live") is None
        assert self.deploy(alias="live")["differences"] == ["alias"]
        assert self.deploy(alias="live")["changed"] is False

    def test_only_the_newest_versions_are_kept(self) -> None:
        for memory in (512, 640, 768, 896, 1024):
            self.deploy(alias="live", memory_mb=memory)
        kept = lambda_functions.published_versions(client("lambda"), "recognition")
        assert len(kept) == 3
        assert self.live() == str(max(kept))

    def test_a_version_that_callers_use_is_kept_however_old(self) -> None:
        """Upgrades that fail their proof leave versions; the one in use must outlive all of them."""
        self.deploy(alias="live")
        used = self.live()
        for memory in (640, 768, 896, 1024):
            self.deploy(alias="candidate", memory_mb=memory)
        assert int(used) in lambda_functions.published_versions(client("lambda"), "recognition")
        assert self.live() == used

    def test_remove_twice(self) -> None:
        self.deploy()
        results = [
            aws_image_function.remove(client("lambda"), "recognition", mode)["changed"] for mode in (True, False, False)
        ]
        assert results == [True, True, False]


class TestBudget:
    """A limit and who is told of which part of it."""

    def run(self, check_mode: bool = False, **changes: Any) -> Any:
        parameters = {
            "name": "monthly",
            "account": "123456789012",
            "limit_usd": 50,
            "percents": [50, 100],
            "topic_arn": "arn:aws:sns:us-east-1:123456789012:alarms",
            "state": "present",
            **changes,
        }
        return aws_budget.run(client("budgets"), parameters, check_mode)["differences"]

    def test_second_run_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # moto keeps the notifications and not who is told.
        told = {("ACTUAL", 50.0): True, ("ACTUAL", 100.0): True, ("FORECASTED", 100.0): True}
        assert self.run(check_mode=True) == ["budget"]
        assert self.run() == ["budget"]
        kinds = client("budgets").describe_notifications_for_budget(AccountId="123456789012", BudgetName="monthly")
        assert {(kind["NotificationType"], kind["Threshold"]) for kind in kinds["Notifications"]} == set(told)
        monkeypatch.setattr(aws_budget, "current_rules", lambda *_: told)
        assert self.run() == []
        assert self.run(limit_usd=60, check_mode=True) == ["limit"]
        assert self.run(percents=[80], check_mode=True) == ["notifications"]

    def test_removed_twice(self) -> None:
        self.run()
        assert self.run(state="absent") == ["budget"]
        assert self.run(state="absent") == []


class TestDashboard:
    """What is shown, whoever changed it."""

    def run(self, check_mode: bool = False, **changes: Any) -> Any:
        body = {"widgets": [{"type": "text", "properties": {"markdown": "# Ü"}}]}
        parameters = {"name": "classroom", "body": body, "state": "present", **changes}
        return aws_dashboard.run(client("cloudwatch"), parameters, check_mode)["differences"]

    def test_second_run_changes_nothing_and_a_hand_is_seen(self) -> None:
        assert self.run(check_mode=True) == ["dashboard"]
        assert self.run() == ["dashboard"]
        assert self.run() == []
        client("cloudwatch").put_dashboard(DashboardName="classroom", DashboardBody='{"widgets": []}')
        assert self.run(check_mode=True) == ["body"]
        assert self.run() == ["body"]
        assert self.run() == []

    def test_removed_twice(self) -> None:
        self.run()
        assert self.run(state="absent", check_mode=True) == ["dashboard"]
        assert self.run(state="absent") == ["dashboard"]
        assert self.run(state="absent") == []

    def test_a_body_that_cloudwatch_does_not_understand_is_an_error(self) -> None:
        class Complains:
            def get_dashboard(self, **_: object) -> dict[str, str]:
                return {"DashboardBody": "no JSON"}

            def put_dashboard(self, **_: object) -> dict[str, Any]:
                return {"DashboardValidationMessages": [{"DataPath": "/widgets/0", "Message": "should have type"}]}

        with pytest.raises(ValueError, match="/widgets/0: should have type"):
            aws_dashboard.run(Complains(), {"name": "x", "body": {}, "state": "present"}, check_mode=False)


@pytest.mark.parametrize(
    ("run", "parameters"),
    [
        (
            lambda parameters: aws_bucket_notification.run(client("s3"), client("sqs"), parameters, check_mode=True),
            TestBucketNotification.PARAMETERS,
        ),
        (
            lambda parameters: aws_table_protection.run(client("dynamodb"), parameters, check_mode=True),
            {"table": "students", "point_in_time_recovery": False, "deletion_protection": False},
        ),
    ],
)
def test_a_check_of_an_empty_account_sees_a_difference(run: Any, parameters: dict[str, Any]) -> None:
    """What an earlier task would have made is missing in a check; that is no error."""
    assert run(parameters)["changed"] is True


@pytest.mark.parametrize(
    "module",
    [
        aws_access_key,
        aws_bucket_notification,
        aws_budget,
        aws_dashboard,
        aws_image_function,
        aws_queue_protection,
        aws_repository,
        aws_table_protection,
    ],
)
def test_documentation_names_every_option(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of the documentation are the options of the code, with the same types and defaults."""
    import yaml

    seen: dict[str, Any] = {}

    class Stop(Exception):  # noqa: N818 not an error
        pass

    def record(argument_spec: dict[str, Any], **_options: Any) -> None:
        seen.update(argument_spec)
        raise Stop

    monkeypatch.setattr(module, "AnsibleModule", record)
    with pytest.raises(Stop):
        module.main()
    documented = yaml.safe_load(io.StringIO(module.DOCUMENTATION))["options"]
    assert set(documented) == set(seen)
    for name, option in seen.items():
        for key in ("type", "default", "required", "choices", "elements"):
            assert documented[name].get(key, False) == option.get(key, False), (name, key)
