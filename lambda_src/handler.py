"""Where Lambda enters: makes the service once per container, hands it each event."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config as BotoConfig
from recognition import engine
from recognition.config import Config
from recognition.service import Clients, LambdaContext, Service

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_CONNECTION = BotoConfig(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=4
)


@functools.cache
def _service() -> Service:
    config = Config.from_environment(os.environ)
    session = botocore.session.get_session()  # boto3 takes 0.1 s more to import
    return Service(
        config,
        Clients(
            s3=cast("S3Client", session.create_client("s3", config=_CONNECTION)),
            sqs=cast("SQSClient", session.create_client("sqs", config=_CONNECTION)),
            dynamodb=cast("DynamoDBClient", session.create_client("dynamodb", config=_CONNECTION)),
        ),
    )


# The models load while the runtime starts and the first video is on its way.
threading.Thread(target=engine.load, daemon=True).start()


def face_recognition_handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Answers the videos of an SQS event or of an S3 event; see recognition.service.Service.handle."""
    return _service().handle(event, context)
