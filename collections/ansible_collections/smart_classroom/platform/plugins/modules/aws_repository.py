#!/usr/bin/python
"""Ansible module: an ECR repository whose tags cannot be moved and whose images are scanned and expire."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_repository
short_description: Make an ECR repository with immutable tags, scan on push and a lifecycle policy
description:
  - Unlike C(community.aws.ecs_ecr) it sets tags, and a check of a repository that is not there yet is no error.
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  lifecycle_policy:
    description: Which images expire, as JSON. Required with O(state=present).
    type: json
  tags:
    description: Tags of the repository. Other tags are kept.
    type: dict
    default: {}
  state:
    description: V(absent) removes the repository and every image in it.
    type: str
    choices: [present, absent]
    default: present
notes:
  - >-
    Nearest: M(community.aws.ecs_ecr). It sets no tags, by which the teardown finds things, and a check
    without the repository fails.
  - >-
    Can go: when it has tags; a guard does for the check.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the repository of the function's image
  smart_classroom.platform.aws_repository:
    name: smart-classroom
    lifecycle_policy: "{{ lookup('ansible.builtin.template', 'lifecycle-policy.json.j2') }}"
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


def find(ecr: Any, name: str) -> dict[str, Any] | None:
    """The repository as ECR describes it, None when there is none."""
    try:
        found: dict[str, Any] = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    except ClientError as error:
        if error_code(error) == "RepositoryNotFoundException":
            return None
        raise
    return found


def current_lifecycle(ecr: Any, name: str) -> Any:
    """The lifecycle policy, None when there is none."""
    try:
        return json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    except ClientError as error:
        if error_code(error) == "LifecyclePolicyNotFoundException":
            return None
        raise


def present(ecr: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Bring the repository to what ``parameters`` say; returns what differed."""
    name, lifecycle = parameters["name"], json.loads(parameters["lifecycle_policy"])
    differences = []
    repository = find(ecr, name)
    if repository is None:
        if check_mode:
            return ["repository"]
        differences.append("repository")
        repository = ecr.create_repository(repositoryName=name)["repository"]
    if repository.get("imageTagMutability") != "IMMUTABLE":
        differences.append("immutable tags")
        if not check_mode:
            ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")
    if not repository.get("imageScanningConfiguration", {}).get("scanOnPush", False):
        differences.append("scan on push")
        if not check_mode:
            ecr.put_image_scanning_configuration(repositoryName=name, imageScanningConfiguration={"scanOnPush": True})
    if current_lifecycle(ecr, name) != lifecycle:
        differences.append("lifecycle")
        if not check_mode:
            ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=json.dumps(lifecycle))
    arn = repository["repositoryArn"]
    tags = {tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=arn).get("tags", [])}
    wanted = {str(key): str(value) for key, value in parameters["tags"].items()}
    if not wanted.items() <= tags.items():
        differences.append("tags")
        if not check_mode:
            ecr.tag_resource(resourceArn=arn, tags=[{"Key": key, "Value": value} for key, value in wanted.items()])
    return differences


def absent(ecr: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Remove the repository and its images; returns what was there."""
    if find(ecr, parameters["name"]) is None:
        return []
    if not check_mode:
        ecr.delete_repository(repositoryName=parameters["name"], force=True)
    return ["repository"]


def run(ecr: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses.
    """
    act = present if parameters["state"] == "present" else absent
    differences = act(ecr, parameters, check_mode)
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "lifecycle_policy": {"type": "json"},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["lifecycle_policy"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("ecr"), module.params, module.check_mode)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"The repository {module.params['name']} could not be set up: {error}. If AWS refused, these "
            "credentials may not manage repositories."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
