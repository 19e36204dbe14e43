#!/usr/bin/python
"""Ansible module: a Lambda function from a container image of ECR, deployed by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_image_function
short_description: Deploy a Lambda function from an image of an ECR repository, by digest
description:
  - Looks up the digest of a tag and deploys exactly that image, so nothing that happens to the tag later reaches the
    function.
  - Changes the function only where it differs, and waits until the change has taken effect.
  - With an alias, what is deployed becomes a version that nothing changes any more, and the alias points at it. Callers
    that invoke the alias never meet a half-made change, and the way back is to point at an earlier version.
options:
  name:
    description: Name of the function.
    type: str
    required: true
  repository:
    description: Name of the ECR repository. Required with O(state=present).
    type: str
  image_tag:
    description: Tag of the image. The image that was pushed last if empty.
    type: str
    default: ""
  registry:
    description: Registry, host and port, as the service that pulls the image names it. The repository's own if empty.
    type: str
    default: ""
  role:
    description: Name of the IAM role that the function assumes. Required with O(state=present).
    type: str
  memory_mb:
    description: Memory in MB; the share of the processor grows with it.
    type: int
    default: 1024
  timeout_seconds:
    description: How long one invocation may take.
    type: int
    default: 60
  architecture:
    description:
      - Architecture of the image. Empty leaves it unsaid - AWS takes x86_64, an emulator what its machine is, at once.
    type: str
    choices: ["", x86_64, arm64]
    default: x86_64
  environment:
    description: Environment variables.
    type: dict
    default: {}
  environment_queues:
    description: Environment variables that hold the URL of a queue, each with the queue's name.
    type: dict
    default: {}
  reserved_concurrency:
    description: How many invocations may run at once. V(-1) leaves it to the account's limit.
    type: int
    default: -1
  tags:
    description: Tags of the function. Other tags are kept.
    type: dict
    default: {}
  alias:
    description: Alias that points at a version of what is deployed. No version is published if empty.
    type: str
    default: ""
  kept_versions:
    description: How many of the newest versions are kept. The one that the alias points at is always kept.
    type: int
    default: 5
  wait_seconds:
    description: How long to wait until a change has taken effect, and for a new role to be known to Lambda.
    type: int
    default: 120
  state:
    description: Whether the function exists.
    type: str
    choices: [present, absent]
    default: present
notes:
  - >-
    Nearest: M(amazon.aws.lambda). With O(amazon.aws.lambda#module:image_uri) it never compares the image, so
    every run updates the code and publishes a version; it has no reserved concurrency, no wait after an
    update, no second try for a role that is seconds old, and no removal of old versions.
  - >-
    Can go: when it compares the image and has reserved concurrency.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Deploy the function
  smart_classroom.platform.aws_image_function:
    name: smart-classroom
    repository: smart-classroom
    image_tag: 0f3a9d1c
    role: smart-classroom-function
    environment: {TABLE_NAME: student_table}
    environment_queues: {OUTPUT_QUEUE_URL: output-notification}
"""

RETURN = r"""
image_uri:
  description: The deployed image, by digest.
  type: str
  returned: when O(state=present)
arn:
  description: ARN of the function, empty in a check of one that is not there yet.
  type: str
  returned: when O(state=present)
differences:
  description: What was changed. In a check also what it is made of and is missing, which others may have only checked.
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
    pages,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.lambda_functions import (
    Deployment,
    FunctionError,
    alias_differs,
    await_ready,
    create,
    differences,
    find,
    publish,
    set_concurrency,
)


@dataclass(frozen=True)
class Clients:
    """One boto3 client per service."""

    function: Any
    ecr: Any
    iam: Any
    sqs: Any


def image_uri(ecr: Any, repository: str, tag: str, registry: str) -> str:
    """``registry/repository@sha256:...`` of ``tag``, or of the image pushed last.

    Raises:
        FunctionError: the repository has no such image.
    """
    try:
        wanted = {"imageIds": [{"imageTag": tag}]} if tag else {}
        details = list(pages(ecr, "describe_images", "imageDetails", repositoryName=repository, **wanted))
        host = (
            registry
            or ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"].partition(
                "/"
            )[0]
        )
    except ClientError as error:
        if error_code(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        details = []
    if not details:
        raise FunctionError(
            f"The repository {repository} holds no image{' with the tag ' + tag if tag else ''}, so there is nothing "
            "to deploy. The role lambda_image builds and pushes it: run `make up`."
        )
    newest = max(details, key=lambda detail: detail["imagePushedAt"])
    return f"{host}/{repository}@{newest['imageDigest']}"


def wanted_deployment(clients: Clients, parameters: dict[str, Any]) -> Deployment:
    """What ``parameters`` ask for, with every name looked up.

    Raises:
        FunctionError: the image, the role or a queue does not exist.
    """
    environment = {str(key): str(value) for key, value in parameters["environment"].items()}
    for variable, queue in parameters["environment_queues"].items():
        try:
            environment[str(variable)] = clients.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        except ClientError as error:
            raise FunctionError(
                f"The queue {queue} cannot be found ({error}). The role sqs_queues makes it."
            ) from error
    try:
        role_arn = clients.iam.get_role(RoleName=parameters["role"])["Role"]["Arn"]
    except ClientError as error:
        raise FunctionError(
            f"The role {parameters['role']} cannot be found ({error}). The role iam_roles of this project makes it."
        ) from error
    reserved = parameters["reserved_concurrency"]
    return Deployment(
        image_uri=image_uri(clients.ecr, parameters["repository"], parameters["image_tag"], parameters["registry"]),
        architecture=parameters["architecture"],
        configuration={
            "Role": role_arn,
            "MemorySize": parameters["memory_mb"],
            "Timeout": parameters["timeout_seconds"],
            "Environment": {"Variables": environment},
        },
        concurrency=None if reserved < 0 else reserved,
        tags={str(key): str(value) for key, value in parameters["tags"].items()},
        alias=parameters["alias"],
        kept_versions=parameters["kept_versions"],
    )


def function_arn(found: dict[str, Any]) -> str:
    """ARN of the function itself; asked for a version, Lambda names that version too."""
    return str(found["Configuration"]["FunctionArn"]).removesuffix(":$LATEST")


def ensure(clients: Clients, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the function to what ``parameters`` ask for; see the module's documentation for the result.

    In check mode, what it is made of may have been only checked, too: that it is missing is a difference.

    Raises:
        FunctionError: what it is made of is missing, or a change did not take effect.
        ClientError: AWS refuses a change.
    """
    try:
        wanted = wanted_deployment(clients, parameters)
    except FunctionError as error:
        if not check_mode:
            raise
        return {"changed": True, "differences": [str(error)], "image_uri": "", "arn": ""}
    return deploy(clients.function, parameters["name"], wanted, parameters["wait_seconds"], check_mode)


def deploy(function: Any, name: str, wanted: Deployment, wait_seconds: int, check_mode: bool) -> dict[str, Any]:
    """Bring the function to ``wanted``; see the module's documentation for the result.

    Raises:
        FunctionError: a change did not take effect.
        ClientError: Lambda refuses a change.
    """
    current = find(function, name)
    changes = ["function"] if current is None else differences(current, wanted)
    stale_alias = current is None or alias_differs(function, name, wanted)
    if current is not None and stale_alias:
        changes.append("alias")
    if not check_mode:
        if current is None:
            create(function, name, wanted, wait_seconds)
            await_ready(function, name, wait_seconds)
            if wanted.concurrency is not None:
                set_concurrency(function, name, wanted.concurrency)
        if "code" in changes:
            function.update_function_code(FunctionName=name, ImageUri=wanted.image_uri, **wanted.architectures)
            await_ready(function, name, wait_seconds)
        if "configuration" in changes:
            function.update_function_configuration(FunctionName=name, **wanted.configuration)
            await_ready(function, name, wait_seconds)
        if "concurrency" in changes:
            set_concurrency(function, name, wanted.concurrency)
        if "tags" in changes and current is not None:
            function.tag_resource(Resource=function_arn(current), Tags=dict(wanted.tags))
        if wanted.alias and stale_alias:
            publish(function, name, wanted, wait_seconds)
        current = find(function, name)
    return {
        "changed": bool(changes),
        "differences": changes,
        "image_uri": wanted.image_uri,
        "arn": function_arn(current) if current else "",
    }


def remove(function: Any, name: str, check_mode: bool) -> dict[str, Any]:
    """Delete the function if it exists."""
    exists = find(function, name) is not None
    if exists and not check_mode:
        function.delete_function(FunctionName=name)
    return {"changed": exists, "differences": ["function"] if exists else []}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "repository": {"type": "str"},
            "image_tag": {"type": "str", "default": ""},
            "registry": {"type": "str", "default": ""},
            "role": {"type": "str"},
            "memory_mb": {"type": "int", "default": 1024},
            "timeout_seconds": {"type": "int", "default": 60},
            "architecture": {"type": "str", "choices": ["", "x86_64", "arm64"], "default": "x86_64"},
            "environment": {"type": "dict", "default": {}},
            "environment_queues": {"type": "dict", "default": {}},
            "reserved_concurrency": {"type": "int", "default": -1},
            "tags": {"type": "dict", "default": {}},
            "alias": {"type": "str", "default": ""},
            "kept_versions": {"type": "int", "default": 5},
            "wait_seconds": {"type": "int", "default": 120},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["repository", "role"])],
        supports_check_mode=True,
    )
    parameters = module.params
    try:
        function = aws_client("lambda")
        if parameters["state"] == "absent":
            result = remove(function, parameters["name"], module.check_mode)
        else:
            clients = Clients(function, aws_client("ecr"), aws_client("iam"), aws_client("sqs"))
            result = ensure(clients, parameters, module.check_mode)
    except FunctionError as error:
        module.fail_json(msg=str(error))
    except AWS_ERRORS as error:
        module.fail_json(msg=f"AWS refused to deploy the function {parameters['name']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
