"""Access keys of an IAM user, kept in files: made, proved, and never more of them than IAM allows.

AWS shows the secret of an access key once, so it goes from the answer into a file that only its owner reads, and never
into a result. A rotation keeps the new key beside the one in use until everybody has it:

``credentials``       the key in use
``credentials.next``  the key that replaces it, while a rotation is under way

Every step looks at what is there first, so whatever dies in between is taken up by the next run.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def next_file(path: Path) -> Path:
    """Where the key is kept that replaces the one in ``path``."""
    return path.with_name(f"{path.name}.next")


def read_key(path: Path) -> tuple[str, str] | None:
    """Id and secret of the key in ``path``; None when the file is absent or holds none."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="ascii"))
        values = parser["default"]
        return values["aws_access_key_id"], values["aws_secret_access_key"]
    except (FileNotFoundError, UnicodeDecodeError, KeyError, configparser.Error):
        return None


def key_id(path: Path) -> str | None:
    """Id of the key in ``path``, None without one."""
    key = read_key(path)
    return key[0] if key else None


def user_keys(iam: Any, user: str) -> dict[str, str]:
    """Ids of the user's keys with their status, Active or Inactive."""
    found = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in found}


def delete_keys(iam: Any, user: str, kept: set[str | None]) -> list[str]:
    """Delete every key of the user but ``kept``; returns the ids of what went."""
    gone = [identifier for identifier in user_keys(iam, user) if identifier not in kept]
    for identifier in gone:
        iam.delete_access_key(UserName=user, AccessKeyId=identifier)
    return gone


def make_key(iam: Any, user: str, path: Path) -> str:
    """Make a key and keep it in ``path``, which appears complete or not at all; returns its id.

    IAM allows a user two keys. One whose secret is in neither file was made by a run that died before it could write
    it down; nobody can use it, and it is deleted first. So is one that a rotation has replaced.
    """
    current = path.with_name(path.name.removesuffix(".next"))
    delete_keys(iam, user, {key_id(current), key_id(next_file(current))})
    key = iam.create_access_key(UserName=user)["AccessKey"]
    path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(
            f"[default]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
        )
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return str(key["AccessKeyId"])
