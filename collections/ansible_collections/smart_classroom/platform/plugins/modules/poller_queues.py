#!/usr/bin/python
"""Looks up the queues that the poller serves, and can send a probe through them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: poller_queues
short_description: Look up the poller's queues, and send a probe
description:
  - Asks the queue service for the URLs of both queues, and sends the notification that S3 sends after a bucket was
    configured, which the function ignores, when asked to.
options:
  input_queue:
    description: Name of the queue with uploads.
    type: str
    required: true
  output_queue:
    description: Name of the queue with answers.
    type: str
    required: true
  probe:
    description: Whether to send a C(s3:TestEvent) to the input queue. Not done in check mode.
    type: bool
    default: false
author: Smart Classroom (@smart-classroom)
"""

RETURN = r"""
input_url:
  description: URL of the input queue.
  type: str
  returned: success
output_url:
  description: URL of the output queue.
  type: str
  returned: success
message_id:
  description: Id of the probe.
  type: str
  returned: when a probe was sent
"""

EXAMPLES = r"""
- name: Look up the queues
  smart_classroom.platform.poller_queues:
    input_queue: input-notification
    output_queue: output-notification
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)


class QueueMissingError(Exception):
    """A queue does not exist; the text names it and what makes it."""


def queue_url(sqs: Any, name: str) -> str:
    """URL of a queue. Raises QueueMissingError."""
    try:
        return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except ClientError as error:
        if error_code(error) in ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"):
            raise QueueMissingError(
                f"the queue {name} does not exist; the role sqs_queues makes it: make up"
            ) from error
        raise


def send_probe(sqs: Any, url: str) -> str:
    """Send a message that asks for nothing; returns its id."""
    body = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "probe"}
    return str(sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))["MessageId"])


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "input_queue": {"type": "str", "required": True},
            "output_queue": {"type": "str", "required": True},
            "probe": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        sqs = aws_client("sqs")
        urls = {f"{side}_url": queue_url(sqs, module.params[f"{side}_queue"]) for side in ("input", "output")}
        probe = {}
        if module.params["probe"] and not module.check_mode:
            probe = {"message_id": send_probe(sqs, urls["input_url"])}
    except (QueueMissingError, *AWS_ERRORS) as error:
        module.fail_json(msg=f"The poller's queues cannot be used: {error}")
    module.exit_json(changed=False, **urls, **probe)


if __name__ == "__main__":
    main()
