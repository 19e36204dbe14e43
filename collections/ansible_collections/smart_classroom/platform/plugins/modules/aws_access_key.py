#!/usr/bin/python
"""Ansible module: one step of replacing an IAM user's access key while the old one still works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_access_key
short_description: Make the access key of an IAM user, or replace it step by step with both keys valid in between
description:
  - V(present) makes a key where there is none, V(absent) removes the user with its keys, the other steps replace a key.
  - The steps are taken in the order of the choices of O(step), with the new key handed to every program between
    V(prepared) and V(promoted).
  - Each step may be repeated, and a run that died anywhere is taken up by beginning anew. There are never more than two
    keys, which is what IAM allows.
options:
  user:
    description: Name of the user.
    type: str
    required: true
  credentials_file:
    description: File of the key in use. The new key waits beside it, with C(.next).
    type: path
    required: true
  step:
    description:
      - V(present) has a key of the user's in O(credentials_file). AWS shows a secret only once.
      - V(prepared) has a new key in the file with C(.next), and AWS accepts it.
      - V(promoted) has the new key in O(credentials_file).
      - V(retired) has every other key of the user switched off. They can still be switched on again.
      - V(finished) has them deleted.
      - V(absent) has neither user nor files left.
    type: str
    choices: [present, prepared, promoted, retired, finished, absent]
    required: true
  wait_seconds:
    description: How long to wait until AWS accepts a new key.
    type: int
    default: 60
notes:
  - >-
    Nearest: M(amazon.aws.iam_access_key). Its O(amazon.aws.iam_access_key#module:rotate_keys) deletes the
    oldest key, which is the one in use; it keeps no secret in a file and does not wait until AWS takes a new
    key.
  - >-
    M(amazon.aws.iam_user) removes a user on AWS; it asks for SSH keys, which the local emulator (MiniStack
    1.5.33) does not know.
  - >-
    Can go: not foreseen, it is an order of steps and no resource.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the new key
  smart_classroom.platform.aws_access_key:
    user: smart-classroom-poller
    credentials_file: .state/local/secrets/poller-credentials
    step: prepared
"""

RETURN = r"""
key_id:
  description: Id of the key that the step is about, which is no secret.
  type: str
  returned: always
others:
  description: Ids of the user's other keys that were switched off or deleted.
  type: list
  elements: str
  returned: always
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.access_keys import (
    delete_keys,
    key_id,
    make_key,
    next_file,
    read_key,
    user_keys,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

POLL_SECONDS = 1
# What AWS answers to a key that is so new that not all of it knows it.
UNKNOWN_KEY = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}


class RotationError(Exception):
    """The key cannot be replaced; the message says why and what mends it."""


def whose_key(path: Path) -> Any:
    """Ask AWS, with the key in ``path``, whose it is.

    Raises:
        ClientError: AWS refuses the key.
    """
    import boto3

    key = read_key(path)
    if key is None:
        raise RotationError(f"{path} holds no access key. Run the rotation from its beginning.")
    sts = boto3.client("sts", aws_access_key_id=key[0], aws_secret_access_key=key[1])
    return sts.get_caller_identity()["Arn"]


def await_valid(path: Path, user: str, wait_seconds: int, ask: Callable[[Path], Any]) -> None:
    """Wait until AWS accepts the key in ``path`` as the user's.

    Raises:
        RotationError: it does not, or it is somebody else's.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            owner = str(ask(path))
        except ClientError as error:
            if error_code(error) not in UNKNOWN_KEY:
                raise
            if time.monotonic() > deadline:
                raise RotationError(
                    f"AWS does not accept the new key of {user} after {wait_seconds} s ({error}). The old one "
                    "is in use as before. Run the rotation again; it goes on with this key."
                ) from error
            time.sleep(POLL_SECONDS)
        else:
            # An emulator that checks no keys answers with the account itself.
            if not owner.endswith((f"/{user}", ":root")):
                raise RotationError(f"The key in {path} belongs to {owner}, not to {user}. Remove the file.")
            return


def prepare(iam: Any, parameters: dict[str, Any], check_mode: bool, ask: Callable[[Path], Any]) -> dict[str, Any]:
    """Have a new key beside the one in use; one that an earlier run made is used."""
    user, path = parameters["user"], next_file(Path(parameters["credentials_file"]))
    made = key_id(path) not in user_keys(iam, user)
    if made and not check_mode:
        # Whatever the file holds is no key of the user's any more.
        path.unlink(missing_ok=True)
        make_key(iam, user, path)
    if not check_mode:
        await_valid(path, user, parameters["wait_seconds"], ask)
    return {"changed": made, "key_id": key_id(path) or "", "others": []}


def make(iam: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Have a key in the file. In a check the user may be missing yet."""
    user, path = parameters["user"], Path(parameters["credentials_file"])
    try:
        made = key_id(path) not in user_keys(iam, user)
    except ClientError as error:
        if not check_mode or error_code(error) != "NoSuchEntity":
            raise
        made = True
    if made and not check_mode:
        make_key(iam, user, path)
    return {"changed": made, "key_id": key_id(path) or "", "others": []}


def remove(iam: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Remove the user, what hangs on it and the files."""
    user, path = parameters["user"], Path(parameters["credentials_file"])
    # Without a key of its own in this environment, the user has no file.
    files = [file for file in (path, next_file(path)) if file.exists()] if path.name else []
    exists = True
    try:
        iam.get_user(UserName=user)  # an emulator may list the keys of a user that is not there
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        exists = False
    keys = list(user_keys(iam, user)) if exists else []
    if exists and not check_mode:
        delete_keys(iam, user, kept=set())
        for policy in iam.list_user_policies(UserName=user)["PolicyNames"]:
            iam.delete_user_policy(UserName=user, PolicyName=policy)
        iam.delete_user(UserName=user)
    for file in files if not check_mode else []:
        file.unlink()
    return {"changed": exists or bool(files), "key_id": "", "others": keys}


def promote(parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make the new key the one in use."""
    path = Path(parameters["credentials_file"])
    waiting = next_file(path)
    found = waiting.exists()
    if found and not check_mode:
        waiting.replace(path)
    return {"changed": found, "key_id": key_id(path) or "", "others": []}


def switch_off(iam: Any, parameters: dict[str, Any], check_mode: bool, delete: bool) -> dict[str, Any]:
    """Switch off or delete every key but the one in use.

    Raises:
        RotationError: the key in use is none of the user's, so nothing would be left.
    """
    user, path = parameters["user"], Path(parameters["credentials_file"])
    current, keys = key_id(path), user_keys(iam, user)
    if keys.get(current or "") != "Active":
        raise RotationError(
            f"{path} does not hold a valid key of {user}; the others are left alone. Make one with: "
            "ansible-playbook playbooks/deploy-aws.yml"
        )
    kept = {current, key_id(next_file(path))}
    others = [
        identifier for identifier, status in keys.items() if identifier not in kept and (delete or status == "Active")
    ]
    if not check_mode and delete:
        delete_keys(iam, user, kept)
    elif not check_mode:
        for identifier in others:
            iam.update_access_key(UserName=user, AccessKeyId=identifier, Status="Inactive")
    return {"changed": bool(others), "key_id": current or "", "others": others}


def run(
    iam: Any, parameters: dict[str, Any], check_mode: bool, ask: Callable[[Path], Any] = whose_key
) -> dict[str, Any]:
    """Take the step; see the module's documentation.

    Raises:
        RotationError: the step cannot be taken.
        ClientError: AWS refuses.
        OSError: a file cannot be written.
    """
    step = parameters["step"]
    if step == "present":
        return make(iam, parameters, check_mode)
    if step == "absent":
        return remove(iam, parameters, check_mode)
    if step == "prepared":
        return prepare(iam, parameters, check_mode, ask)
    if step == "promoted":
        return promote(parameters, check_mode)
    return switch_off(iam, parameters, check_mode, delete=step == "finished")


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "credentials_file": {"type": "path", "required": True},
            "step": {
                "type": "str",
                "required": True,
                "choices": ["present", "prepared", "promoted", "retired", "finished", "absent"],
            },
            "wait_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("iam"), module.params, module.check_mode)
    except RotationError as error:
        module.fail_json(msg=str(error))
    except (OSError, *AWS_ERRORS) as error:
        module.fail_json(
            msg=f"The access key of {module.params['user']} could not be replaced: {error}. Run the same command "
            "again; it goes on where this one ended. If there are two keys already, delete one whose file is lost."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
