"""What the role devstack computes: faults of its settings, and how its host is reached."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_PASSWORD = 20
OPTIONS = ("BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=8")


def devstack_password_problems(passwords: Mapping[str, str]) -> list[str]:
    """One sentence for each password that stack.sh or Horizon would stumble over; the passwords are not in them.

    Args:
        passwords: by the name of the variable that holds them.
    """
    problems = []
    for name, password in passwords.items():
        if not password:
            problems.append(f"{name} is empty, and stack.sh would ask for it: set it in the vault")
        elif not re.fullmatch(r"[A-Za-z0-9]+", password):
            problems.append(f"{name} has other characters than letters and digits, which DevStack cannot quote")
        elif len(password) > LONGEST_PASSWORD:
            problems.append(f"{name} is longer than {LONGEST_PASSWORD} characters, and Horizon would cut it")
    return problems


def devstack_ssh(connection: Mapping[str, Any]) -> list[str]:
    """The ssh command that reaches a host as Ansible does, without a command for the host.

    Args:
        connection: ``host``; and ``user``, ``port``, ``key``, ``arguments``, each of which may be empty.
    """
    command = [
        "ssh",
        *(part for option in OPTIONS for part in ("-o", option)),
        *shlex.split(connection.get("arguments") or ""),
    ]
    if connection.get("port"):
        command += ["-p", str(connection["port"])]
    if connection.get("key"):
        command += ["-i", str(connection["key"]), "-o", "IdentitiesOnly=yes"]
    user = f"{connection['user']}@" if connection.get("user") else ""
    return [*command, f"{user}{connection['host']}"]


def devstack_ssh_config(connection: Mapping[str, Any], alias: str) -> str:
    """An ssh_config(5) that reaches a host as Ansible does, by an alias.

    Args:
        connection: as for ``devstack_ssh``. Of ``arguments``, ``-o`` and ``-F`` are understood.

    Raises:
        ValueError: there is another argument.
    """
    lines = [f"Host {alias}"]
    if connection["host"] != alias:  # else the file that is included says where it is
        lines.append(f"  HostName {connection['host']}")
    words = iter(shlex.split(connection.get("arguments") or ""))
    for word in words:
        flag, rest = word[:2], word[2:]
        if flag not in ("-o", "-F"):
            raise ValueError(f"ansible_ssh_common_args has {word}; only -o and -F are understood here")
        value = rest or next(words, "")
        name, _, setting = value.partition("=") if flag == "-o" else ("Include", "", value)
        lines.append(f'  {name} "{setting}"')
    for name, key in {"User": "user", "Port": "port", "IdentityFile": "key"}.items():
        if connection.get(key):
            lines.append(f'  {name} "{connection[key]}"')
    if connection.get("key"):
        lines.append("  IdentitiesOnly yes")
    return "\n".join(["# Written by the role devstack.", *lines]) + "\n"


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {
            "devstack_password_problems": devstack_password_problems,
            "devstack_ssh": devstack_ssh,
            "devstack_ssh_config": devstack_ssh_config,
        }
