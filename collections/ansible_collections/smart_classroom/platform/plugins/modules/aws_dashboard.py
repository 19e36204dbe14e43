#!/usr/bin/python
"""Ansible module: a dashboard in CloudWatch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_dashboard
short_description: Keep a dashboard in CloudWatch
description:
  - Writes the dashboard when there is none or its body says something else; the order of keys and spaces is nothing.
options:
  name:
    description: Name of the dashboard.
    type: str
    required: true
  body:
    description: What it shows, as CloudWatch's PutDashboard takes it. Required with O(state=present).
    type: dict
  state:
    description: Whether the dashboard exists.
    type: str
    choices: [present, absent]
    default: present
notes:
  - >-
    Nearest: none; C(AWS::CloudWatch::Dashboard) by M(amazon.aws.cloudformation) would do on AWS, and does not see what
    somebody changed by hand.
  - >-
    Can go: when a collection has a module for dashboards.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Show the queues
  smart_classroom.platform.aws_dashboard:
    name: smart-classroom-dev
    body: "{{ panels | smart_classroom.platform.cloudwatch_dashboard(names, 'us-east-1') }}"
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

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

# AWS's API reference says the one, its service model the other.
MISSING = ("ResourceNotFound", "DashboardNotFoundError")


def current(cloudwatch: Any, name: str) -> Any:
    """What the dashboard shows, None when there is none; a body that is no JSON is told from every other."""
    try:
        body = cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]
    except ClientError as error:
        if error_code(error) in MISSING:
            return None
        raise
    try:
        return json.loads(body)
    except ValueError:
        return body


def run(cloudwatch: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses.
        ValueError: CloudWatch does not understand the body.
    """
    name, wanted = parameters["name"], parameters["body"]
    found = current(cloudwatch, name)
    if parameters["state"] == "absent":
        if found is not None and not check_mode:
            cloudwatch.delete_dashboards(DashboardNames=[name])
        differences = [] if found is None else ["dashboard"]
    else:
        differences = [] if found == wanted else ["dashboard" if found is None else "body"]
        if differences and not check_mode:
            answer = cloudwatch.put_dashboard(DashboardName=name, DashboardBody=json.dumps(wanted))
            if messages := answer.get("DashboardValidationMessages"):
                raise ValueError("; ".join(f"{one.get('DataPath')}: {one.get('Message')}" for one in messages))
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "body": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["body"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("cloudwatch"), module.params, module.check_mode)
    except (*AWS_ERRORS, ValueError) as error:
        module.fail_json(
            msg=f"The dashboard {module.params['name']} could not be set: {error}. If AWS refused, these credentials "
            "may not manage dashboards (cloudwatch:GetDashboard, PutDashboard, DeleteDashboards); set alarms_dashboard "
            "to false to do without."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
