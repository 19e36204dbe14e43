#!/usr/bin/python
"""Ansible module: encryption at rest of SQS queues, and whose dead letters they take."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_queue_protection
short_description: Encrypt SQS queues at rest and restrict whose dead letters they take
description:
  - The module that makes queues has no option for either.
options:
  queues:
    description: The queues. They must exist, except in check mode.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the queue.
        type: str
        required: true
      dead_letters_of:
        description: Name of the only queue whose dead letters it takes. No queue's if empty.
        type: str
        default: ""
notes:
  - >-
    Nearest: M(community.aws.sqs_queue). It has neither SSE-SQS
    (U(https://github.com/ansible-collections/community.aws/issues/2433)) nor C(RedriveAllowPolicy).
  - >-
    Can go: when it has both. AWS encrypts new queues by itself.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Protect the dead letters
  smart_classroom.platform.aws_queue_protection:
    queues:
      - name: input-notification
      - name: input-notification-dlq
        dead_letters_of: input-notification
"""

RETURN = r"""
differences:
  description: What was changed, by the queue's name. Queues that are as they should be are not in it.
  type: dict
  returned: always
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

MISSING = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


def redrive_permission(queue_arn: str, dead_letters_of: str) -> dict[str, Any]:
    """Which queues may use the queue for their dead letters. Both are in one account and region."""
    if not dead_letters_of:
        return {"redrivePermission": "denyAll"}
    source = f"{queue_arn.rpartition(':')[0]}:{dead_letters_of}"
    return {"redrivePermission": "byQueue", "sourceQueueArns": [source]}


def protect(sqs: Any, name: str, dead_letters_of: str, check_mode: bool) -> list[str]:
    """Bring one queue's protection to what it should be; returns the names of the attributes that differed.

    Raises:
        ClientError: the queue does not exist, or SQS refuses.
    """
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        if check_mode and error_code(error) in MISSING:
            return ["queue"]
        raise
    current = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    redrive = redrive_permission(current["QueueArn"], dead_letters_of)
    wanted = {}
    if current.get("SqsManagedSseEnabled", "false").lower() != "true":
        wanted["SqsManagedSseEnabled"] = "true"
    if json.loads(current.get("RedriveAllowPolicy") or "null") != redrive:
        wanted["RedriveAllowPolicy"] = json.dumps(redrive)
    if wanted and not check_mode:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    return sorted(wanted)


def run(sqs: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the protection of all queues to what ``parameters`` say.

    Raises:
        ClientError: a queue does not exist, or SQS refuses.
    """
    found = {
        queue["name"]: protect(sqs, queue["name"], queue["dead_letters_of"], check_mode)
        for queue in parameters["queues"]
    }
    differences = {name: attributes for name, attributes in found.items() if attributes}
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "queues": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "dead_letters_of": {"type": "str", "default": ""},
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("sqs"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The queues could not be protected: {error}. The role sqs_queues makes them; run the command again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
