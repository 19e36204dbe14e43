#!/usr/bin/python
"""Ansible module: the tags of an ECR repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_repository_tags
short_description: Set the tags of an ECR repository
description:
  - The module that makes repositories has no option for tags. Other tags of the repository are kept.
options:
  repository:
    description: Name of the repository. It must exist, except in check mode.
    type: str
    required: true
  tags:
    description: The tags.
    type: dict
    required: true
author: Smart Classroom
"""

EXAMPLES = r"""
- name: Say whose repository it is
  aws_repository_tags:
    repository: smart-classroom
    tags: {project: smart-classroom}
"""

RETURN = r""" # """

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

try:
    from ansible.module_utils.aws_clients import AWS_ERRORS, aws_client, error_code
except ImportError:  # outside Ansible, as in the unit tests
    from plugins.module_utils.aws_clients import AWS_ERRORS, aws_client, error_code


def run(client: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Add the tags of ``parameters`` that the repository lacks.

    Raises:
        ClientError: the repository does not exist.
    """
    try:
        found = client.describe_repositories(repositoryNames=[parameters["repository"]])["repositories"][0]
    except ClientError as error:
        if check_mode and error_code(error) == "RepositoryNotFoundException":
            return {"changed": True}
        raise
    arn = found["repositoryArn"]
    current = {tag["Key"]: tag["Value"] for tag in client.list_tags_for_resource(resourceArn=arn).get("tags", [])}
    wanted = {str(key): str(value) for key, value in parameters["tags"].items()}
    missing = [{"Key": key, "Value": value} for key, value in wanted.items() if current.get(key) != value]
    if missing and not check_mode:
        client.tag_resource(resourceArn=arn, tags=missing)
    return {"changed": bool(missing)}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("ecr"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The repository {module.params['repository']} could not be tagged: {error}. If it does not exist, "
            "`make up` makes it."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
