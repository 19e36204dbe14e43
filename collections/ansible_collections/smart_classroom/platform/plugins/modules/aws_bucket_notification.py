#!/usr/bin/python
"""Ansible module: the event notification of a bucket to one queue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_bucket_notification
short_description: Make the events of a bucket's objects arrive in a queue
description:
  - Sets the rules of the bucket's notification configuration, one for each ending, and leaves them alone when they
    are there already. Each change makes S3 send a test event to the queue, so without a change nothing is
    written.
  - Rules with another id are kept.
options:
  bucket:
    description: Name of the bucket. It must exist, except in check mode.
    type: str
    required: true
  rule:
    description: Id of the rule; where there are several endings, what each rule's id begins with.
    type: str
    required: true
  queue:
    description: Name of the queue. Required with O(state=present).
    type: str
  events:
    description: The events, such as C(s3:ObjectCreated:*).
    type: list
    elements: str
    default: ["s3:ObjectCreated:*"]
  suffixes:
    description: Only keys that end in one of these, letter by letter. All keys if empty.
    type: list
    elements: str
    default: []
  state:
    description: Whether the rule exists.
    type: str
    choices: [present, absent]
    default: present
notes:
  - >-
    Nearest: M(community.aws.s3_bucket_notification). It compares rules as they come, and MiniStack 1.5.33
    answers with the names of filters in lower case, so it writes on every run; it drops an EventBridge
    configuration, and a check without the bucket fails.
  - >-
    Can go: when MiniStack answers as AWS does.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Announce each video
  smart_classroom.platform.aws_bucket_notification:
    bucket: input-bucket-video
    rule: videos
    queue: input-notification
    suffixes: [.mp4, .MP4]
"""

RETURN = r"""
rules:
  description: The ids of all rules of the bucket.
  type: list
  elements: str
  returned: always
"""

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

RULE_KINDS = ("QueueConfigurations", "TopicConfigurations", "LambdaFunctionConfigurations")


@dataclass(frozen=True)
class Rule:
    """One rule: the ``events`` of objects whose key ends in ``suffix`` go to ``queue_arn``."""

    name: str
    queue_arn: str
    events: frozenset[str]
    suffix: str

    @classmethod
    def from_api(cls, configuration: dict[str, Any]) -> Rule:
        """From an element of ``QueueConfigurations``. Services differ in the letter case of filter names."""
        filters = {
            rule["Name"].lower(): rule["Value"]
            for rule in configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        }
        return cls(
            name=configuration.get("Id", ""),
            queue_arn=configuration["QueueArn"],
            events=frozenset(configuration["Events"]),
            suffix=filters.get("suffix", ""),
        )

    def to_api(self) -> dict[str, Any]:
        """As an element of ``QueueConfigurations``."""
        configuration: dict[str, Any] = {"Id": self.name, "QueueArn": self.queue_arn, "Events": sorted(self.events)}
        if self.suffix:
            configuration["Filter"] = {"Key": {"FilterRules": [{"Name": "suffix", "Value": self.suffix}]}}
        return configuration


def rules_of(name: str, queue_arn: str, events: frozenset[str], suffixes: list[str]) -> list[Rule]:
    """The rules that ``name`` stands for: S3 takes one ending for each."""
    return [Rule(f"{name}{suffix}", queue_arn, events, suffix) for suffix in suffixes or [""]]


def planned(current: dict[str, Any], name: str, rules: list[Rule]) -> dict[str, Any] | None:
    """The configuration in which ``name`` stands for ``rules``; None when ``current`` is that already."""
    queues = current.get("QueueConfigurations", [])
    ours = [
        element for element in queues if element.get("Id", "") == name or element.get("Id", "").startswith(f"{name}.")
    ]
    if sorted(map(Rule.from_api, ours), key=lambda rule: rule.name) == sorted(rules, key=lambda rule: rule.name):
        return None
    result = {kind: current[kind] for kind in (*RULE_KINDS, "EventBridgeConfiguration") if kind in current}
    others = [element for element in queues if element not in ours]
    result["QueueConfigurations"] = others + [rule.to_api() for rule in rules]
    return result


def rule_names(configuration: dict[str, Any]) -> list[str]:
    """The ids of all rules."""
    return [element.get("Id", "") for kind in RULE_KINDS for element in configuration.get(kind, [])]


def run(s3: Any, sqs: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the bucket's notification to what ``parameters`` say.

    Raises:
        ClientError: the bucket or the queue does not exist, or S3 may not write to the queue.
    """
    try:
        current = s3.get_bucket_notification_configuration(Bucket=parameters["bucket"])
    except ClientError as error:
        if check_mode and error_code(error) == "NoSuchBucket":
            return {"changed": True, "rules": []}
        raise
    rules: list[Rule] = []
    if parameters["state"] == "present":
        url = sqs.get_queue_url(QueueName=parameters["queue"])["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        rules = rules_of(parameters["rule"], arn, frozenset(parameters["events"]), parameters["suffixes"])
    new = planned(current, parameters["rule"], rules)
    if new is not None and not check_mode:
        s3.put_bucket_notification_configuration(Bucket=parameters["bucket"], NotificationConfiguration=new)
    return {"changed": new is not None, "rules": rule_names(current if new is None else new)}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "rule": {"type": "str", "required": True},
            "queue": {"type": "str"},
            "events": {"type": "list", "elements": "str", "default": ["s3:ObjectCreated:*"]},
            "suffixes": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["queue"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("s3"), aws_client("sqs"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The notification of bucket {module.params['bucket']} could not be set: {error}. The queue must "
            "exist and its policy must admit the bucket before; the role sqs_queues does both."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
