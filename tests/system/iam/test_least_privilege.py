"""The policies of the function and the poller, enforced: what they allow is needed, and what they do not is refused.

The real handler and the real poller work with the policies that the roles have written into an account that checks
signatures, policies of identities, buckets and queues, and TLS. What it cannot check stands in ``UNPROVED``.
"""

from __future__ import annotations

import importlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.servers import eventually
from tests.system.iam.enforcing_account import (
    ALIAS,
    ENCODINGS,
    FUNCTION,
    GALLERY_KEY,
    INPUT,
    INPUT_QUEUE,
    MEDIA,
    OUTPUT,
    OUTPUT_QUEUE,
    REGION,
    ROOT,
    TABLE,
    Account,
    Permission,
    permissions,
    without,
)

WAIT_SECONDS = 60
ACCOUNT = "000000000000"


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


INPUT_OBJECTS, OUTPUT_OBJECTS = f"arn:aws:s3:::{INPUT}/*", f"arn:aws:s3:::{OUTPUT}/*"
TABLES, PICTURES = f"arn:aws:s3:::{OUTPUT}/*.csv", f"arn:aws:s3:::{OUTPUT}/*.jpg"
GALLERY = f"arn:aws:s3:::{ENCODINGS}/*"
TABLE_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{FUNCTION}"

# Allowed, but never asked for: the emulator writes the log by itself, where Lambda does it with the function's role.
UNPROVED: set[Permission] = {
    ("logs:CreateLogStream", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{FUNCTION}:*"),
    ("logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{FUNCTION}:*"),
}

# What the exporter beside the poller asks for.
MEASURED_QUEUES = (INPUT_QUEUE, OUTPUT_QUEUE, f"{INPUT_QUEUE}-dlq", f"{OUTPUT_QUEUE}-dlq")
MEASURING: list[Permission] = [
    *(("sqs:GetQueueAttributes", queue_arn(name)) for name in MEASURED_QUEUES),
    ("cloudwatch:GetMetricStatistics", "*"),
]


def video(account: Account, key: str) -> None:
    """A student's clip, which ends as a row on the poller's disk."""
    account.upload(key)


def versioned_video(account: Account, key: str) -> None:
    """The same in a bucket that keeps versions, so that the event names one."""
    bucket = {"Bucket": INPUT, "VersioningConfiguration": {"Status": "Enabled"}}
    account.client("s3").put_bucket_versioning(**bucket)
    account.upload(key)


def failing_video(account: Account, key: str) -> None:
    """An event about a bucket that the function may not read: the poller gives the message back to the queue."""
    event = {"bucket": {"name": "bucket-of-others"}, "object": {"key": key, "eTag": "0" * 32}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": event}
    account.send(INPUT_QUEUE, json.dumps({"Records": [record]}))


def deleted_video(account: Account, key: str) -> None:
    """An event about a video that was deleted since: it is dropped, once S3 says that it is gone."""
    event = {"bucket": {"name": INPUT}, "object": {"key": key, "eTag": "0" * 32}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": event}
    account.send(INPUT_QUEUE, json.dumps({"Records": [record]}))


def video_without_gallery(account: Account, key: str) -> None:
    """A video before the first enrolment: everybody is unknown, once S3 says that there are no known encodings."""
    account.client("s3").delete_object(Bucket=ENCODINGS, Key=GALLERY_KEY)
    account.upload(key)


def unreadable_video(account: Account, key: str) -> None:
    """A file that is no video: the picture of an earlier upload must not stay beside its answer."""
    account.upload(key, "text.mp4")


def two_videos_one_failing(account: Account, key: str, other: str = "") -> None:
    """A message of two videos: as one fails it comes again, and the function asks whether the other is answered."""
    names = {INPUT: key, "bucket-of-others": other or key}
    account.client("s3").put_object(Bucket=INPUT, Key=key, Body=(MEDIA / "joe-biden-360p.mp4").read_bytes())
    records = [
        {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": b}, "object": {"key": k}}}
        for b, k in names.items()
    ]
    account.send(INPUT_QUEUE, json.dumps({"Records": records}))


def two_videos_one_never_answered(account: Account, key: str) -> None:
    """The same, with another key for the one that fails: it is tried again, once S3 says that it has no answer."""
    two_videos_one_failing(account, key, f"other-{key}")


def no_result(account: Account, key: str) -> None:
    """A message in the output queue that is no result: the poller gives it back."""
    account.send(OUTPUT_QUEUE, json.dumps({"not": "a result", "key": key}))


def answered(account: Account, key: str) -> bool:
    return account.stored(key) and account.idle()


def dropped(account: Account, key: str) -> bool:
    return any("video_gone" in line and key in line for line in account.log().splitlines()) and account.idle()


def answered_without_student(account: Account, key: str) -> bool:
    return len(account.results(key)) == 1 and account.idle()


def one_not_again(account: Account, key: str) -> bool:
    """The video was not looked at again, and the message, which always fails, is taken out of the dead letters."""
    if not any("video_answered_before" in line and key in line for line in account.log().splitlines()):
        return False
    if not dead_letter(INPUT_QUEUE)(account, key):
        return False
    account.client("sqs").purge_queue(QueueUrl=account.queue_url(f"{INPUT_QUEUE}-dlq"))
    return True


def tried_again(account: Account, key: str) -> bool:
    """The other video was looked at in two deliveries or more, and the message is taken out of the dead letters."""
    failed = [line for line in account.log().splitlines() if "video_failed" in line and f"other-{key}" in line]
    if len([line for line in failed if "s3:ListBucket" not in line]) < 2 or not dead_letter(INPUT_QUEUE)(account, key):
        return False
    account.client("sqs").purge_queue(QueueUrl=account.queue_url(f"{INPUT_QUEUE}-dlq"))
    return True


def unknown(account: Account, key: str) -> bool:
    return len(account.results(key)) == 1 and not account.stored(key) and account.idle()


def dead_letter(queue: str) -> Callable[[Account, str], bool]:
    def arrived(account: Account, _key: str) -> bool:
        return account.depth(f"{queue}-dlq") > 0 and account.idle()

    return arrived


@dataclass(frozen=True)
class Need:
    """A permission, what needs it, and how one sees that this came to its end."""

    principal: str
    action: str
    resource: str
    begin: Callable[[Account, str], None] = video
    ended: Callable[[Account, str], bool] = answered

    @property
    def permission(self) -> Permission:
        return self.action, self.resource


NEEDS = [
    Need("function", "s3:GetObject", INPUT_OBJECTS),
    Need("function", "s3:GetObject", GALLERY),
    Need("function", "s3:PutObject", OUTPUT_OBJECTS),
    Need("function", "s3:ListBucket", f"arn:aws:s3:::{INPUT}", deleted_video, dropped),
    Need("function", "s3:ListBucket", f"arn:aws:s3:::{OUTPUT}", two_videos_one_never_answered, tried_again),
    Need("function", "s3:ListBucket", f"arn:aws:s3:::{ENCODINGS}", video_without_gallery, unknown),
    Need("function", "sqs:SendMessage", queue_arn(OUTPUT_QUEUE)),
    Need("function", "dynamodb:BatchGetItem", TABLE_ARN),
    Need("function", "s3:DeleteObject", PICTURES, unreadable_video, answered_without_student),
    Need("function", "s3:GetObject", TABLES, two_videos_one_failing, one_not_again),
    Need("poller", "sqs:ReceiveMessage", queue_arn(INPUT_QUEUE)),
    Need("poller", "sqs:ReceiveMessage", queue_arn(OUTPUT_QUEUE)),
    Need("poller", "sqs:DeleteMessage", queue_arn(INPUT_QUEUE)),
    Need("poller", "sqs:DeleteMessage", queue_arn(OUTPUT_QUEUE)),
    Need("poller", "lambda:InvokeFunction", f"{FUNCTION_ARN}:{ALIAS}"),
    Need("poller", "sqs:ChangeMessageVisibility", queue_arn(INPUT_QUEUE), failing_video, dead_letter(INPUT_QUEUE)),
    Need("poller", "sqs:ChangeMessageVisibility", queue_arn(OUTPUT_QUEUE), no_result, dead_letter(OUTPUT_QUEUE)),
    # Last: a bucket that kept versions once names them in its events for good.
    Need("function", "s3:GetObjectVersion", INPUT_OBJECTS, versioned_video),
]


def test_a_video_is_answered_with_the_policies_enforced(pipeline: Account) -> None:
    pipeline.upload("first.mp4")
    eventually(lambda: answered(pipeline, "first.mp4"), WAIT_SECONDS, "the answer")
    assert "not authorized" not in pipeline.log()
    assert [pipeline.depth(f"{queue}-dlq") for queue in (INPUT_QUEUE, OUTPUT_QUEUE)] == [0, 0]


def test_every_permission_has_a_proof_or_a_reason(pipeline: Account) -> None:
    allowed = {
        (principal, *permission)
        for principal in ("function", "poller")
        for permission in permissions(pipeline.policy(principal))
    }
    proved = {(need.principal, *need.permission) for need in NEEDS}
    unproved = {("function", *permission) for permission in UNPROVED}
    assert allowed == proved | unproved | {("poller", *permission) for permission in MEASURING}


@pytest.fixture
def _packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "vm_service"))


def measured(pipeline: Account) -> set[str]:
    """Names of the samples that the exporter, which has the poller's key, gets a number for."""
    urls = {name: pipeline.queue_url(name) for name in MEASURED_QUEUES}
    dead = tuple(url for name, url in urls.items() if name.endswith("-dlq"))
    queues = tuple(url for url in urls.values() if url not in dead)
    code = importlib.import_module("classroom_poller.exporter")
    exporter = code.Exporter(
        code.Settings(REGION, FUNCTION, queues, dead, pipeline.endpoint),
        pipeline.poller_client("sqs"),
        pipeline.poller_client("cloudwatch"),
    )
    exporter.measure(time.time())
    lines = [line for line in exporter.metrics.text().splitlines() if line[:1] != "#"]
    return {name for name, _, value in (line.rpartition(" ") for line in lines) if value != "NaN"}


@pytest.mark.usefixtures("_packages")
@pytest.mark.parametrize("permission", MEASURING, ids=lambda permission: "-".join(permission)[-40:])
def test_measuring_needs_the_permission(pipeline: Account, permission: Permission) -> None:
    policy = pipeline.policy("poller")
    wanted = {
        'smart_classroom_queue_messages{queue="input-notification",state="waiting"}',
        'smart_classroom_dead_letters{queue="output-notification-dlq"}',
        'smart_classroom_function_calls{result="error"}',
    }
    assert wanted <= measured(pipeline)
    pipeline.set_policy("poller", without(policy, permission))
    try:
        eventually(lambda: not wanted <= measured(pipeline), WAIT_SECONDS, "a refusal")
    finally:
        pipeline.set_policy("poller", policy)
    eventually(lambda: wanted <= measured(pipeline), WAIT_SECONDS, "the figures, with the permission back")


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: f"{need.principal}-{need.action}-{need.resource[-16:]}")
def test_the_permission_is_needed(pipeline: Account, need: Need) -> None:
    key = f"{uuid.uuid4().hex}.mp4"
    policy = pipeline.policy(need.principal)
    refusal = f"not authorized to perform: {need.action} because"
    before = pipeline.log().count(refusal)

    def refused() -> None:
        eventually(lambda: pipeline.log().count(refusal) > before, WAIT_SECONDS, f"a refusal of {need.action}")

    pipeline.set_policy(need.principal, without(policy, need.permission))
    try:
        if need.action == "sqs:ReceiveMessage":
            # The poller asks all the time: a request that was admitted before may still bring this video's message.
            refused()
        need.begin(pipeline, key)
        refused()
        assert not need.ended(pipeline, key)
    finally:
        pipeline.set_policy(need.principal, policy)
    eventually(lambda: need.ended(pipeline, key), WAIT_SECONDS, "the end, with the permission back")
    pipeline.publish_gallery()


def read(bucket: str, key: str) -> dict[str, Any]:
    return {"Bucket": bucket, "Key": key}


FOREIGN_TO_THE_FUNCTION: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "put_object", {**read(ENCODINGS, GALLERY_KEY), "Body": "{}"}),
    ("s3", "put_object", {**read(INPUT, "a.mp4"), "Body": ""}),
    ("s3", "get_object", read(OUTPUT, "first.json")),
    ("s3", "delete_object", read(OUTPUT, "first.json")),
    ("s3", "delete_object", read(INPUT, "first.mp4")),
    ("s3", "delete_object", read(ENCODINGS, GALLERY_KEY)),
    ("s3", "delete_object", read(ENCODINGS, "history-101.json")),
    ("s3", "list_object_versions", {"Bucket": ENCODINGS}),
    ("s3", "get_object", read(OUTPUT, ".gallery/known-encodings.json")),
    ("s3", "get_bucket_policy", {"Bucket": ENCODINGS}),
    ("s3", "get_bucket_policy", {"Bucket": OUTPUT}),
    ("s3", "delete_bucket_policy", {"Bucket": INPUT}),
    ("dynamodb", "scan", {"TableName": TABLE}),
    ("dynamodb", "put_item", {"TableName": TABLE, "Item": {"name": {"S": "Mallory"}}}),
    ("dynamodb", "delete_table", {"TableName": TABLE}),
    ("lambda", "update_function_code", {"FunctionName": FUNCTION, "ImageUri": "images@sha256:0"}),
    ("iam", "create_access_key", {"UserName": "smart-classroom-poller"}),
    ("iam", "list_users", {}),
]


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    FOREIGN_TO_THE_FUNCTION,
    ids=lambda value: value if isinstance(value, str) else str(next(iter(value.values()), "")),
)
def test_other_calls_of_the_function_are_refused(
    pipeline: Account, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    assert "AccessDenied" in pipeline.call_as_function(service, operation, parameters)


def test_the_probe_can_do_what_the_function_can(pipeline: Account) -> None:
    """Otherwise every refusal above would prove nothing."""
    items = {"RequestItems": {TABLE: {"Keys": [{"name": {"S": "Joe Biden"}}]}}}
    assert pipeline.call_as_function("dynamodb", "batch_get_item", items) == ""
    assert pipeline.call_as_function("s3", "get_object", read(ENCODINGS, GALLERY_KEY)) == ""


def test_other_calls_of_the_poller_are_refused(pipeline: Account) -> None:
    urls = {name: pipeline.queue_url(name) for name in (INPUT_QUEUE, OUTPUT_QUEUE, f"{INPUT_QUEUE}-dlq")}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("sqs", "send_message", {"QueueUrl": urls[INPUT_QUEUE], "MessageBody": "{}"}),
        ("sqs", "send_message", {"QueueUrl": urls[OUTPUT_QUEUE], "MessageBody": "{}"}),
        ("sqs", "purge_queue", {"QueueUrl": urls[INPUT_QUEUE]}),
        ("sqs", "set_queue_attributes", {"QueueUrl": urls[INPUT_QUEUE], "Attributes": {"Policy": ""}}),
        ("sqs", "receive_message", {"QueueUrl": urls[f"{INPUT_QUEUE}-dlq"]}),
        ("sqs", "send_message", {"QueueUrl": urls[f"{INPUT_QUEUE}-dlq"], "MessageBody": "{}"}),
        ("cloudwatch", "put_metric_data", {"Namespace": "AWS/SQS", "MetricData": [{"MetricName": "x", "Value": 1}]}),
        # The alias only: what was deployed and is not live, or what was live once, is none of its business.
        ("lambda", "invoke", {"FunctionName": FUNCTION, "Payload": b"{}"}),
        ("lambda", "invoke", {"FunctionName": f"{FUNCTION}:1", "Payload": b"{}"}),
        ("lambda", "invoke", {"FunctionName": "probe", "Payload": b"{}"}),
        ("lambda", "get_function", {"FunctionName": FUNCTION}),
        ("s3", "get_object", read(INPUT, "first.mp4")),
        ("s3", "get_object", read(OUTPUT, "first.csv")),
        ("s3", "put_object", {**read(INPUT, "a.mp4"), "Body": ""}),
        ("s3", "list_buckets", {}),
        ("dynamodb", "get_item", {"TableName": TABLE, "Key": {"name": {"S": "Joe Biden"}}}),
        ("iam", "create_access_key", {}),
        ("iam", "put_user_policy", {"UserName": "smart-classroom-poller", "PolicyName": "x", "PolicyDocument": "{}"}),
    ]
    accepted = []
    for service, operation, parameters in calls:
        try:
            getattr(pipeline.poller_client(service), operation)(**parameters)
        except ClientError as error:
            if "AccessDenied" in str(error):
                continue
            accepted.append(f"{operation}: {error}")
        else:
            accepted.append(operation)
    assert accepted == []


@pytest.mark.parametrize("bucket", [INPUT, OUTPUT])
def test_without_tls_a_bucket_refuses_even_a_user_who_may_do_everything(account: Account, bucket: str) -> None:
    iam = account.client("iam")
    iam.create_user(UserName=bucket)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName=bucket, PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName=bucket)["AccessKey"]
    s3 = account.client("s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    s3.list_objects_v2(Bucket=bucket)

    def as_a_proxy_without_tls(request: Any, **_: Any) -> None:
        request.headers["X-Forwarded-Proto"] = "http"

    s3.meta.events.register("before-send.s3", as_a_proxy_without_tls)
    with pytest.raises(ClientError, match=r"AccessDenied.*explicit deny in a resource-based policy"):
        s3.list_objects_v2(Bucket=bucket)


def test_nobody_reads_a_bucket_without_credentials(account: Account) -> None:
    from botocore import UNSIGNED

    anonymous = boto3.client(
        "s3",
        endpoint_url=account.endpoint,
        region_name=REGION,
        verify=str(account.certificate),
        config=Config(signature_version=UNSIGNED),
    )
    for bucket in (INPUT, OUTPUT):
        with pytest.raises(ClientError, match="AccessDenied"):
            anonymous.list_objects_v2(Bucket=bucket)


def test_the_queue_takes_no_events_of_another_bucket(account: Account) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="bucket-of-somebody")
    rule = {"QueueArn": queue_arn(INPUT_QUEUE), "Events": ["s3:ObjectCreated:*"]}
    with pytest.raises(ClientError, match="Unable to validate"):
        s3.put_bucket_notification_configuration(
            Bucket="bucket-of-somebody", NotificationConfiguration={"QueueConfigurations": [rule]}
        )
