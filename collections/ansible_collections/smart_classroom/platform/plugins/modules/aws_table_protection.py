#!/usr/bin/python
"""Ansible module: point-in-time recovery and deletion protection of a DynamoDB table."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_table_protection
short_description: Set point-in-time recovery and deletion protection of a DynamoDB table
description:
  - The module that makes tables has no option for either.
options:
  table:
    description: Name of the table. It must exist, except in check mode.
    type: str
    required: true
  point_in_time_recovery:
    description: Whether the table can be restored to any second of the last 35 days.
    type: bool
    required: true
  deletion_protection:
    description: Whether AWS refuses to delete the table.
    type: bool
    required: true
notes:
  - >-
    Nearest: M(community.aws.dynamodb_table). It has neither point-in-time recovery nor deletion protection.
  - >-
    Can go: when it has both.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Protect the students
  smart_classroom.platform.aws_table_protection:
    table: student_table
    point_in_time_recovery: true
    deletion_protection: true
"""

RETURN = r""" # """

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)


def has_recovery(client: Any, table: str) -> bool:
    """Whether point-in-time recovery is on."""
    backups = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    status = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus", "DISABLED")
    return bool(status == "ENABLED")


def run(client: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the table's protection to what ``parameters`` say.

    Raises:
        ClientError: the table does not exist or is being changed.
    """
    table = parameters["table"]
    recovery, deletion = parameters["point_in_time_recovery"], parameters["deletion_protection"]
    try:
        description = client.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if check_mode and error_code(error) == "ResourceNotFoundException":
            return {"changed": True}
        raise
    recovery_differs = has_recovery(client, table) != recovery
    deletion_differs = bool(description.get("DeletionProtectionEnabled", False)) != deletion
    if not check_mode:
        if deletion_differs:
            client.update_table(TableName=table, DeletionProtectionEnabled=deletion)
        if recovery_differs:
            client.update_continuous_backups(
                TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": recovery}
            )
    return {"changed": recovery_differs or deletion_differs}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "table": {"type": "str", "required": True},
            "point_in_time_recovery": {"type": "bool", "required": True},
            "deletion_protection": {"type": "bool", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("dynamodb"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The protection of table {module.params['table']} could not be set: {error}. A table that was made or "
            "changed a moment ago needs a few seconds: run the same command again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
