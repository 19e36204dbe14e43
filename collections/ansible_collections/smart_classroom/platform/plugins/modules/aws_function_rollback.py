#!/usr/bin/python
"""Ansible module: an alias of a Lambda function, pointed at an earlier version that is seen to answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_function_rollback
short_description: Point the alias of a Lambda function at an earlier version
description:
  - Without a version it takes the newest one whose image is not the one that was deployed last. To run it again is
    therefore no second step back.
  - The version is invoked before the alias moves, and the alias afterwards; a version that fails is refused.
options:
  name:
    description: Name of the function.
    type: str
    required: true
  alias:
    description: The alias that callers invoke.
    type: str
    required: true
  repository:
    description: Name of the ECR repository, which must still hold the version's image.
    type: str
    required: true
  version:
    description: Number of the version. The newest one with an earlier image if empty.
    type: str
    default: ""
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Go back to the earlier image
  smart_classroom.platform.aws_function_rollback:
    name: smart-classroom
    alias: live
    repository: smart-classroom
"""

RETURN = r"""
before:
  description: Where the alias pointed, with C(version) and C(digest).
  type: dict
  returned: always
after:
  description: Where it points now, or would in check mode.
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

# What S3 sends when a notification is set up: the function answers it and touches nothing.
PROBE = {"Service": "Amazon S3", "Event": "s3:TestEvent"}


class RollbackError(Exception):
    """There is no way back; the message says why and what mends it."""


def described(function: Any, name: str, qualifier: str) -> dict[str, str]:
    """Number and image digest of what ``qualifier`` (an alias, a number, $LATEST) stands for.

    Raises:
        RollbackError: there is no such function, alias or version.
    """
    try:
        found = function.get_function(FunctionName=name, Qualifier=qualifier)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        raise RollbackError(
            f"The function {name} has no {qualifier}. `ansible-playbook playbooks/publish-lambda.yml` deploys it."
        ) from error
    return {
        "version": found["Configuration"]["Version"],
        "digest": found["Code"].get("ImageUri", "").partition("@")[2],
    }


def earlier(function: Any, name: str) -> dict[str, str]:
    """The newest version whose image is not the one that was deployed last.

    Raises:
        RollbackError: every version has the same image.
    """
    deployed = described(function, name, "$LATEST")
    pages = function.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    names = {version["Version"] for page in pages for version in page["Versions"]} - {"$LATEST"}
    for number in sorted(names, key=int, reverse=True):
        candidate = described(function, name, number)
        if candidate["digest"] != deployed["digest"]:
            return candidate
    raise RollbackError(
        f"The function {name} has no version with another image than {deployed['digest'] or 'the deployed one'}, so "
        "there is nothing to go back to. Mend the code and deploy it: `ansible-playbook playbooks/publish-lambda.yml`."
    )


def probe(function: Any, name: str, qualifier: str) -> str:
    """Invoke ``qualifier`` with an event that changes nothing; returns the number of the version that answered.

    Raises:
        RollbackError: it fails.
    """
    answer = function.invoke(FunctionName=name, Qualifier=qualifier, Payload=json.dumps(PROBE).encode())
    body = answer["Payload"].read().decode(errors="replace")
    if answer.get("FunctionError"):
        raise RollbackError(
            f"{name}:{qualifier} fails even with an event that asks for nothing: {body[:500]}. "
            "Choose another version: -e rollback_version=N."
        )
    return str(answer.get("ExecutedVersion", ""))


def require_image(ecr: Any, repository: str, target: dict[str, str]) -> None:
    """Check that the repository still holds the version's image.

    Raises:
        RollbackError: it has expired.
    """
    try:
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": target["digest"]}])
    except ClientError as error:
        if error_code(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        raise RollbackError(
            f"The image {target['digest']} of version {target['version']} is no longer in the repository {repository}: "
            "it has expired. Check that commit out and deploy it: `ansible-playbook playbooks/publish-lambda.yml`."
        ) from error


def run(function: Any, ecr: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Move the alias; see the module's documentation.

    Raises:
        RollbackError: there is nothing to go back to, or it fails.
        ClientError: AWS refuses.
    """
    name, alias = parameters["name"], parameters["alias"]
    before = described(function, name, alias)
    target = described(function, name, parameters["version"]) if parameters["version"] else earlier(function, name)
    require_image(ecr, parameters["repository"], target)
    result = {"changed": before["version"] != target["version"], "before": before, "after": target}
    if check_mode:
        return result
    if result["changed"]:
        probe(function, name, target["version"])
        function.update_alias(FunctionName=name, Name=alias, FunctionVersion=target["version"])
    answered = probe(function, name, alias)
    if answered != target["version"]:
        raise RollbackError(
            f"The alias {alias} of {name} should lead to version {target['version']}, but version {answered!r} "
            "answered. Somebody else moves it; run the same command again."
        )
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "alias": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("lambda"), aws_client("ecr"), module.params, module.check_mode)
    except RollbackError as error:
        module.fail_json(msg=str(error))
    except AWS_ERRORS as error:
        module.fail_json(msg=f"AWS refused to move the alias of {module.params['name']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
