#!/usr/bin/python
"""Ansible module: encryption at rest of an SQS queue, and whose dead letters it takes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_queue_protection
short_description: Encrypt an SQS queue at rest and restrict whose dead letters it takes
description:
  - The module that makes queues has no option for either.
options:
  name:
    description: Name of the queue. It must exist, except in check mode.
    type: str
    required: true
  dead_letters_of:
    description: Name of the only queue whose dead letters it takes. No queue's if empty.
    type: str
    default: ""
author: Smart Classroom
"""

EXAMPLES = r"""
- name: Protect the dead letters
  aws_queue_protection:
    name: input-notification-dlq
    dead_letters_of: input-notification
"""

RETURN = r"""
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

try:
    from ansible.module_utils.aws_clients import AWS_ERRORS, aws_client, error_code
except ImportError:  # outside Ansible, as in the unit tests
    from plugins.module_utils.aws_clients import AWS_ERRORS, aws_client, error_code

MISSING = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


def redrive_permission(queue_arn: str, dead_letters_of: str) -> dict[str, Any]:
    """Which queues may use the queue for their dead letters. Both are in one account and region."""
    if not dead_letters_of:
        return {"redrivePermission": "denyAll"}
    source = f"{queue_arn.rpartition(':')[0]}:{dead_letters_of}"
    return {"redrivePermission": "byQueue", "sourceQueueArns": [source]}


def run(sqs: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the queue's protection to what ``parameters`` say.

    Raises:
        ClientError: the queue does not exist, or SQS refuses.
    """
    try:
        url = sqs.get_queue_url(QueueName=parameters["name"])["QueueUrl"]
    except ClientError as error:
        if check_mode and error_code(error) in MISSING:
            return {"changed": True, "differences": ["queue"]}
        raise
    current = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    redrive = redrive_permission(current["QueueArn"], parameters["dead_letters_of"])
    wanted = {}
    if current.get("SqsManagedSseEnabled", "false").lower() != "true":
        wanted["SqsManagedSseEnabled"] = "true"
    if json.loads(current.get("RedriveAllowPolicy") or "null") != redrive:
        wanted["RedriveAllowPolicy"] = json.dumps(redrive)
    if wanted and not check_mode:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    return {"changed": bool(wanted), "differences": sorted(wanted)}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "dead_letters_of": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("sqs"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The queue {module.params['name']} could not be protected: {error}. The role sqs_queues makes it; run "
            "the same command again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
