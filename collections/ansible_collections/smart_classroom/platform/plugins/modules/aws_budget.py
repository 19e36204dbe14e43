#!/usr/bin/python
"""Ansible module: a monthly budget of an AWS account that tells a topic before it is spent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_budget
short_description: Keep a monthly budget of the account, with notifications to a topic
description:
  - The budget counts everything in the account. A filter by tag would count nothing until somebody had switched the tag
    on in the account's billing settings.
  - The topic is told when a part of the budget is spent, and when all of it is foreseen to be.
options:
  name:
    description: Name of the budget.
    type: str
    required: true
  account:
    description: Id of the account.
    type: str
    required: true
  limit_usd:
    description: The budget for a month in whole US dollars. Required with O(state=present).
    type: int
  percents:
    description: The parts of the budget, in percent, of which the topic is told.
    type: list
    elements: int
    default: [100]
  topic_arn:
    description: The topic. Its policy must admit C(budgets.amazonaws.com). Required with O(state=present).
    type: str
  state:
    description: Whether the budget exists.
    type: str
    choices: [present, absent]
    default: present
notes:
  - >-
    Nearest: none; C(AWS::Budgets::Budget) by M(amazon.aws.cloudformation) would do on AWS, and MiniStack's
    CloudFormation does not know it.
  - >-
    Can go: when a collection has a module for AWS Budgets.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Watch the bill
  smart_classroom.platform.aws_budget:
    name: smart-classroom-dev
    account: "123456789012"
    limit_usd: 50
    percents: [50, 80, 100]
    topic_arn: arn:aws:sns:us-east-1:123456789012:smart-classroom-dev
"""

RETURN = r"""
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

MISSING = "NotFoundException"
Rule = tuple[str, float]  # ACTUAL or FORECASTED, percent


def notification(rule: Rule) -> dict[str, Any]:
    """The rule in the API's terms."""
    kind, percent = rule
    return {
        "NotificationType": kind,
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": percent,
        "ThresholdType": "PERCENTAGE",
    }


def current_limit(budgets: Any, account: str, name: str) -> float | None:
    """The budget's limit, None when there is no such budget."""
    try:
        found = budgets.describe_budget(AccountId=account, BudgetName=name)["Budget"]
    except ClientError as error:
        if error_code(error) == MISSING:
            return None
        raise
    return float(found["BudgetLimit"]["Amount"])


def current_rules(budgets: Any, account: str, name: str, topic_arn: str) -> dict[Rule, bool]:
    """What somebody is told of, with whether it is the topic that is told."""
    where = {"AccountId": account, "BudgetName": name}
    rules = {}
    for found in budgets.describe_notifications_for_budget(**where).get("Notifications", []):
        rule = (found["NotificationType"], float(found["Threshold"]))
        asked = notification(rule) | {"ComparisonOperator": found["ComparisonOperator"]}
        told = budgets.describe_subscribers_for_notification(**where, Notification=asked).get("Subscribers", [])
        rules[rule] = any(subscriber["Address"] == topic_arn for subscriber in told)
    return rules


def present(budgets: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Bring the budget to what ``parameters`` say; returns what differed."""
    account, name, topic = parameters["account"], parameters["name"], parameters["topic_arn"]
    where = {"AccountId": account, "BudgetName": name}
    subscribers = [{"SubscriptionType": "SNS", "Address": topic}]
    wanted: set[Rule] = {("ACTUAL", float(percent)) for percent in parameters["percents"]} | {("FORECASTED", 100.0)}
    budget = {
        "BudgetName": name,
        "BudgetLimit": {"Amount": str(parameters["limit_usd"]), "Unit": "USD"},
        "TimeUnit": "MONTHLY",
        "BudgetType": "COST",
    }
    limit = current_limit(budgets, account, name)
    if limit is None:
        if not check_mode:
            rules = [{"Notification": notification(rule), "Subscribers": subscribers} for rule in sorted(wanted)]
            budgets.create_budget(AccountId=account, Budget=budget, NotificationsWithSubscribers=rules)
        return ["budget"]
    differences = []
    if limit != float(parameters["limit_usd"]):
        differences.append("limit")
        if not check_mode:
            budgets.update_budget(AccountId=account, NewBudget=budget)
    found = current_rules(budgets, account, name, topic)
    right = {rule for rule, told in found.items() if told}
    if right != wanted or set(found) != wanted:
        differences.append("notifications")
        for rule in sorted(set(found) - (right & wanted)) if not check_mode else []:
            budgets.delete_notification(**where, Notification=notification(rule))
        for rule in sorted(wanted - right) if not check_mode else []:
            budgets.create_notification(**where, Notification=notification(rule), Subscribers=subscribers)
    return differences


def absent(budgets: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Remove the budget; returns what was there."""
    account, name = parameters["account"], parameters["name"]
    if current_limit(budgets, account, name) is None:
        return []
    if not check_mode:
        budgets.delete_budget(AccountId=account, BudgetName=name)
    return ["budget"]


def run(budgets: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses.
    """
    act = present if parameters["state"] == "present" else absent
    differences = act(budgets, parameters, check_mode)
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "account": {"type": "str", "required": True},
            "limit_usd": {"type": "int"},
            "percents": {"type": "list", "elements": "int", "default": [100]},
            "topic_arn": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["limit_usd", "topic_arn"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("budgets"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The budget {module.params['name']} could not be set: {error}. If AWS refused, these credentials may "
            "not manage budgets (budgets:ViewBudget, budgets:ModifyBudget); set alarms_budget_usd to 0 to do without."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
