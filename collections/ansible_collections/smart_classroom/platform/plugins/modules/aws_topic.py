#!/usr/bin/python
"""Ansible module: an SNS topic with its policy and the addresses that it tells."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_topic
short_description: Make an SNS topic, with its policy and the addresses that it tells
description:
  - Unlike C(community.aws.sns_topic), a check of a topic that is not there yet is no error.
  - An address gets a message that asks for a confirmation. Addresses that somebody else added are kept.
options:
  name:
    description: Name of the topic.
    type: str
    required: true
  policy:
    description: Who may publish, as JSON. Required with O(state=present).
    type: json
  emails:
    description: Addresses that are told.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of the topic. Other tags are kept.
    type: dict
    default: {}
  state:
    description: Whether the topic exists.
    type: str
    choices: [present, absent]
    default: present
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the topic of the alarms
  smart_classroom.platform.aws_topic:
    name: smart-classroom-dev
    policy: "{{ __alarms_topic_policy }}"
    emails: [teacher@school.example]
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

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client


def find(sns: Any, name: str) -> str | None:
    """ARN of the topic, None when there is none."""
    for page in sns.get_paginator("list_topics").paginate():
        for topic in page["Topics"]:
            if topic["TopicArn"].rpartition(":")[2] == name:
                return str(topic["TopicArn"])
    return None


def told(sns: Any, arn: str) -> set[str]:
    """The addresses that are told, or were asked whether they want to be."""
    pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
    found = [subscription for page in pages for subscription in page["Subscriptions"]]
    return {subscription["Endpoint"] for subscription in found if subscription["Protocol"] == "email"}


def present(sns: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Bring the topic to what ``parameters`` say; returns what differed."""
    differences = []
    arn = find(sns, parameters["name"])
    if arn is None:
        if check_mode:
            return ["topic"]
        differences.append("topic")
        arn = str(sns.create_topic(Name=parameters["name"])["TopicArn"])
    policy = json.loads(parameters["policy"])
    if json.loads(sns.get_topic_attributes(TopicArn=arn)["Attributes"].get("Policy") or "null") != policy:
        differences.append("policy")
        if not check_mode:
            sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(policy))
    new = [address for address in parameters["emails"] if address not in told(sns, arn)]
    if new:
        differences.append("addresses")
        for address in new if not check_mode else []:
            sns.subscribe(TopicArn=arn, Protocol="email", Endpoint=address)
    wanted = {str(key): str(value) for key, value in parameters["tags"].items()}
    tags = {tag["Key"]: tag["Value"] for tag in sns.list_tags_for_resource(ResourceArn=arn)["Tags"]}
    if not wanted.items() <= tags.items():
        differences.append("tags")
        if not check_mode:
            sns.tag_resource(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in wanted.items()])
    return differences


def absent(sns: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Remove the topic and with it its subscriptions; returns what was there."""
    arn = find(sns, parameters["name"])
    if arn is None:
        return []
    if not check_mode:
        sns.delete_topic(TopicArn=arn)
    return ["topic"]


def run(sns: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses.
    """
    act = present if parameters["state"] == "present" else absent
    differences = act(sns, parameters, check_mode)
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "policy": {"type": "json"},
            "emails": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["policy"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("sns"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The topic {module.params['name']} could not be set up: {error}. If AWS refused, these credentials "
            "may not manage topics."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
