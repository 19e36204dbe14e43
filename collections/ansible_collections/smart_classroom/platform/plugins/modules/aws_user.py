#!/usr/bin/python
"""Ansible module: an IAM user of a program, with one inline policy and, if wanted, an access key in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_user
short_description: Make an IAM user for a program, with one inline policy and an access key in a file
description:
  - The policy and the user bear the same name. Other policies of the user are removed.
  - AWS shows the secret of an access key once, so it goes from the answer into a file that only its owner reads, and
    never into a result. A key is made when the file is absent, or when the user does not have its key any more.
options:
  name:
    description: Name of the user.
    type: str
    required: true
  policy:
    description: The policy, as JSON. Required with O(state=present).
    type: json
  credentials_file:
    description: File for an access key, in the form of an AWS credentials file. No key is made if empty.
    type: path
    default: ""
  tags:
    description: Tags of the user. Other tags are kept.
    type: dict
    default: {}
  state:
    description: V(absent) removes the user with its policies and access keys, and the file.
    type: str
    choices: [present, absent]
    default: present
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the user of the poller
  smart_classroom.platform.aws_user:
    name: smart-classroom-poller
    policy: "{{ lookup('ansible.builtin.template', 'poller-policy.json.j2') }}"
"""

RETURN = r"""
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.access_keys import (
    delete_keys,
    key_id,
    make_key,
    next_file,
    user_keys,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)


def exists(iam: Any, name: str) -> bool:
    """Whether there is such a user."""
    try:
        iam.get_user(UserName=name)
    except ClientError as error:
        if error_code(error) == "NoSuchEntity":
            return False
        raise
    return True


def inline_policies(iam: Any, name: str) -> dict[str, Any]:
    """The inline policies of a user by name."""
    names = iam.list_user_policies(UserName=name)["PolicyNames"]
    return {policy: iam.get_user_policy(UserName=name, PolicyName=policy)["PolicyDocument"] for policy in sorted(names)}


def present(iam: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Bring the user to what ``parameters`` say; returns what differed."""
    name, wanted = parameters["name"], json.loads(parameters["policy"])
    tags = {str(key): str(value) for key, value in parameters["tags"].items()}
    if not exists(iam, name):
        if check_mode:
            return ["user"]
        iam.create_user(UserName=name)
        return ["user", *present(iam, parameters, check_mode)]
    differences = []
    current = inline_policies(iam, name)
    if current != {name: wanted}:
        differences.append("policy")
        if not check_mode:
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(wanted))
            for other in current.keys() - {name}:
                iam.delete_user_policy(UserName=name, PolicyName=other)
    found = {tag["Key"]: tag["Value"] for tag in iam.list_user_tags(UserName=name)["Tags"]}
    if not tags.items() <= found.items():
        differences.append("tags")
        if not check_mode:
            iam.tag_user(UserName=name, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    if parameters["credentials_file"]:
        path = Path(parameters["credentials_file"])
        if key_id(path) not in user_keys(iam, name):
            differences.append("access key")
            if not check_mode:
                make_key(iam, name, path)
    return differences


def absent(iam: Any, parameters: dict[str, Any], check_mode: bool) -> list[str]:
    """Remove the user, what hangs on it and the file; returns what was there."""
    name, differences = parameters["name"], []
    if exists(iam, name):
        differences.append("user")
        if not check_mode:
            delete_keys(iam, name, kept=set())
            for policy in inline_policies(iam, name):
                iam.delete_user_policy(UserName=name, PolicyName=policy)
            iam.delete_user(UserName=name)
    if parameters["credentials_file"]:
        file = Path(parameters["credentials_file"])
        left = [path for path in (file, next_file(file)) if path.exists()]
        differences += ["access key"] if left else []
        for path in left if not check_mode else []:
            path.unlink()
    return differences


def run(iam: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses.
        OSError: the file cannot be written.
    """
    act = present if parameters["state"] == "present" else absent
    differences = act(iam, parameters, check_mode)
    return {"changed": bool(differences), "differences": differences}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "policy": {"type": "json"},
            "credentials_file": {"type": "path", "default": ""},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["policy"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("iam"), module.params, module.check_mode)
    except (*AWS_ERRORS, OSError) as error:
        module.fail_json(
            msg=f"The user {module.params['name']} could not be set up: {error}. If AWS refused, these credentials "
            "may not manage users; if the limit of two access keys is reached, delete one whose file is lost."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
