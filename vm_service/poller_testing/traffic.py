"""Traffic for a scenario: uploads, answers, and a look at what is left. The endpoint comes from the environment."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import boto3

from poller_testing.loopback_aws import REGION, result_message, upload_event

QUEUES = ("input-notification", "output-notification")
DEPTHS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def depth(sqs: Any, queue: str) -> int:
    """Messages in a queue, those in flight included."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(DEPTHS))["Attributes"]
    return sum(int(attributes[name]) for name in DEPTHS)


def send(sqs: Any, queue: str, bodies: list[str]) -> None:
    """Put messages into a queue."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def drained(sqs: Any, seconds: float) -> str | None:
    """Wait for both queues to be empty; returns what is wrong."""
    deadline = time.monotonic() + seconds
    while any(depth(sqs, queue) for queue in QUEUES):
        if time.monotonic() > deadline:
            return f"left after {seconds} s: { {queue: depth(sqs, queue) for queue in QUEUES} }"
        time.sleep(0.2)
    dead = {queue: depth(sqs, f"{queue}-dlq") for queue in QUEUES}
    return f"dead letters: {dead}" if any(dead.values()) else None


def main() -> str | None:
    """``upload PREFIX COUNT``, ``answer PREFIX COUNT`` or ``drained SECONDS``; a text is the reason of a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("upload", "answer", "drained"))
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    sqs = boto3.client("sqs", region_name=REGION)
    if options.command == "drained":
        return drained(sqs, float(options.arguments[0]))
    prefix, count = options.arguments
    keys = [f"{prefix}/{number}.mp4" for number in range(int(count))]
    if options.command == "upload":
        send(sqs, QUEUES[0], [json.dumps(upload_event(key)) for key in keys])
    else:
        send(sqs, QUEUES[1], [json.dumps(result_message(key)) for key in keys])
    return None


if __name__ == "__main__":
    sys.exit(main())
