"""Vars plugin ``known_arguments``: a variable on the command line that nothing reads stops the run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: known_arguments
author: Smart Classroom (@smart-classroom)
short_description: Refuse unknown or misspelt variables on the command line
description:
  - Compares the names given with C(-e) with the options of the project's roles, the variables of its inventories and
    the arguments of the playbooks that are run (C(playbooks/meta/arguments.yml)). Ansible itself ignores what it does
    not know, so C(-e confrm=dev) would be a run without a confirmation.
  - It provides no variables. Playbooks outside of the project, and commands other than C(ansible-playbook), are not
    checked.
options: {}
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from ansible import constants, context
from ansible.errors import AnsibleOptionsError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import load_extra_vars

_TOP_LEVEL = re.compile(r"^([a-z]\w*):", re.MULTILINE)
# Ansible's own, and those of encrypted files, whose names cannot be read here.
_OF_ANSIBLE = ("ansible_", "vault_")


def problems(given: Mapping[str, Any], playbooks: Iterable[str], root: Path) -> list[str]:
    """What is wrong with the variables that a command line gives to playbooks of the project in ``root``.

    ``playbooks`` are the names of their files without the ending. Returns a sentence for each variable.
    """
    running = set(playbooks)
    arguments: dict[str, dict[str, Any]] = yaml.safe_load(
        (root / "playbooks/meta/arguments.yml").read_text(encoding="utf-8")
    )
    specification = {name: spec for book in running for name, spec in arguments.get(book, {}).items()}
    elsewhere = {name: book for book, own in arguments.items() for name in own if name not in specification}
    known = {*specification, *options_of_roles(root), *variables_of_inventories(root)}
    found = []
    for name, value in given.items():
        if name in elsewhere:
            found.append(f"'{name}' is an argument of playbooks/{elsewhere[name]}.yml only")
        elif name in specification:
            found += type_problems(name, value, specification[name])
        elif name not in known and not name.startswith(_OF_ANSIBLE):
            close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
            hint = f": did you mean '{close[0]}'?" if close else ""
            found.append(f"nothing reads the variable '{name}'{hint}")
    return found


def type_problems(name: str, value: Any, specification: Mapping[str, Any]) -> list[str]:
    """Whether a value is of its type; one that is still a template is checked by whoever reads it."""
    if isinstance(value, str) and "{{" in value:
        return []
    spec = {name: {"type": specification["type"]}}
    return [str(message) for message in ArgumentSpecValidator(spec).validate({name: value}).error_messages]


def options_of_roles(root: Path) -> set[str]:
    """The names of the options of every entry point of every role."""
    names: set[str] = set()
    for path in root.glob("roles/*/meta/argument_specs.yml"):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for entry_point in yaml.load(path.read_bytes(), Loader=loader)["argument_specs"].values():  # noqa: S506 a safe one
            names |= set(entry_point.get("options") or {})
    return names


def variables_of_inventories(root: Path) -> set[str]:
    """The names of the variables that the inventories define."""
    files = [*root.glob("inventory/*/group_vars/all/*.yml")]
    return {name for path in files for name in _TOP_LEVEL.findall(path.read_text(encoding="utf-8"))}


def playbooks_of(root: Path, arguments: Any) -> list[str]:
    """The names of those of the command's arguments that are playbooks of the project."""
    paths = [Path(argument).resolve() for argument in arguments] if isinstance(arguments, list | tuple) else []
    return [path.stem for path in paths if path == root / "site.yml" or path.parent == root / "playbooks"]


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Checks the command line once, before the first play."""

    _checked = False

    def get_vars(self, loader: DataLoader, _path: str, _entities: Any) -> dict[str, Any]:
        """Provides nothing.

        Raises:
            AnsibleOptionsError: a variable on the command line is not known; the message names all of them.
        """
        if not VarsModule._checked and context.CLIARGS.get("extra_vars"):
            root = Path(constants.CONFIG_FILE or ".").resolve().parent
            playbooks = playbooks_of(root, context.CLIARGS.get("args"))
            wrong = problems(load_extra_vars(loader), playbooks, root) if playbooks else []
            if wrong:
                listed = "".join(f"\n- {problem}" for problem in wrong)
                raise AnsibleOptionsError(f"Nothing was done, because of what was given with -e:{listed}")
        VarsModule._checked = True
        return {}
