"""AWS clients of one environment, all with timeouts, and the few questions several commands ask."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from classroom_ops.environment import Endpoints

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# What a boto3 call raises when AWS is away or says no.
AwsFailure = (BotoCoreError, ClientError)
_creating = threading.Lock()  # boto3 sessions are not safe to create clients from several threads


def session_of(endpoints: Endpoints) -> boto3.Session:
    """A session of the environment's region. Where there is an emulator it looks nowhere else than in `endpoints`.

    botocore reads each setting from a variable of the shell or from a file. Here it is told that there are none, so a
    profile, a file of credentials or a bundle of certificates that is meant for AWS plays no part in `local`.
    """
    alone = {
        name: (None, None, os.devnull if name in {"config_file", "credentials_file"} else default, conversion)
        for name, (_, _, default, conversion) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    core = botocore.session.Session(session_vars=alone if endpoints.endpoint_url else None)
    return boto3.Session(
        aws_access_key_id=endpoints.access_key_id,
        aws_secret_access_key=endpoints.secret_access_key,
        region_name=endpoints.region,
        botocore_session=core,
    )


class Aws:
    """Clients for `endpoints`; every call is bounded by `read_seconds` and tried `attempts` times."""

    def __init__(self, endpoints: Endpoints, read_seconds: float = 60, attempts: int = 4) -> None:
        self.endpoints = endpoints
        self._session = session_of(endpoints)
        # The description of the environment alone decides where calls go, not the caller's AWS_ENDPOINT_URL.
        options: dict[str, Any] = {"ignore_configured_endpoint_urls": True}  # unknown to the type stubs
        self._config = Config(
            connect_timeout=3,
            read_timeout=read_seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=32,
            # An emulator is on this machine: no proxy leads to it. None: as the shell says.
            proxies={} if endpoints.endpoint_url else None,
            **options,
        )
        self._clients: dict[str, Any] = {}

    def client(self, service: str, region: str | None = None) -> Any:
        """The one client of `service`, which may be asked in one `region` alone; threads may share it."""
        with _creating:
            if service not in self._clients:
                url = self.endpoints.endpoint_url
                # The generated overloads want a literal; this is the one untyped door.
                create: Any = self._session.client
                self._clients[service] = create(service, region_name=region, endpoint_url=url, config=self._config)
            return self._clients[service]

    @property
    def s3(self) -> S3Client:
        """S3."""
        client: S3Client = self.client("s3")
        return client

    @property
    def sqs(self) -> SQSClient:
        """SQS."""
        client: SQSClient = self.client("sqs")
        return client

    @property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB."""
        client: DynamoDBClient = self.client("dynamodb")
        return client

    @property
    def function(self) -> LambdaClient:
        """Lambda."""
        client: LambdaClient = self.client("lambda")
        return client

    def queue_url(self, name: str) -> str:
        """URL of the queue `name`, on the endpoint this machine uses (an emulator may name another host in it)."""
        url: str = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return url

    def depth(self, name: str) -> Depth:
        """How many messages the queue `name` holds now."""
        attributes = self.sqs.get_queue_attributes(
            QueueUrl=self.queue_url(name),
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return Depth(
            visible=int(attributes["ApproximateNumberOfMessages"])
            + int(attributes.get("ApproximateNumberOfMessagesDelayed", 0)),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )


@dataclass(frozen=True)
class Depth:
    """Messages of a queue: waiting for a reader, and being worked on."""

    visible: int
    in_flight: int

    @property
    def total(self) -> int:
        """All messages."""
        return self.visible + self.in_flight


def is_missing(error: Exception) -> bool:
    """Whether `error` says that the bucket, object or other thing does not exist."""
    if not isinstance(error, ClientError):
        return False
    code = error.response.get("Error", {}).get("Code", "")
    return code in {"404", "NoSuchKey", "NotFound", "NoSuchBucket", "ResourceNotFoundException"} or code.endswith(
        "NonExistentQueue"
    )


def reason(error: Exception, endpoints: Endpoints) -> str:
    """One sentence about a failed AWS call."""
    if isinstance(error, EndpointConnectionError) or "timeout" in type(error).__name__.lower():
        where = endpoints.endpoint_url or f"AWS in {endpoints.region}"
        return f"{where} does not answer ({type(error).__name__})"
    return f"AWS call failed: {error}"


def explain(error: Exception, endpoints: Endpoints) -> str:
    """`reason`, and the command that shows or fixes it."""
    fix = "something of this environment was removed: run make up" if is_missing(error) else "run make status"
    return f"{reason(error, endpoints)}: {fix}"
