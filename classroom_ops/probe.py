"""Send a message that asks for nothing to a queue and print its id, by which the log of whoever answers it is searched.

Usage: python -m classroom_ops.probe QUEUE. Where AWS is and who asks comes from AWS's own environment variables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# What S3 sends when a notification is set up.
MESSAGE = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "probe"}
TIMEOUT_SECONDS = 15


def send(sqs: Any, queue: str) -> str:
    """Send the probe; returns the message's id.

    Raises:
        BotoCoreError, ClientError: there is no such queue, or AWS does not take the message.
    """
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return str(sqs.send_message(QueueUrl=url, MessageBody=json.dumps(MESSAGE))["MessageId"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1:
        sys.stderr.write("usage: python -m classroom_ops.probe QUEUE\n")
        return 2
    config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"mode": "standard"})
    try:
        identifier = send(boto3.client("sqs", config=config), words[0])
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"the queue {words[0]} takes no message: {error}; the role sqs_queues creates it: make up\n")
        return 1
    sys.stdout.write(f"{identifier}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
