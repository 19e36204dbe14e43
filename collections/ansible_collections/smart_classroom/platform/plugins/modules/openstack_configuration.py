#!/usr/bin/python
"""Render a directory of configuration files with their secrets (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: openstack_configuration
short_description: Render a directory of configuration files with their secrets
description:
  - Writes every file of O(src) to the same place below O(dest); the value of that name replaces each C(@@name@@).
  - Files below O(dest) that O(src) does not have are removed; O(dest) belongs to the module.
  - Secrets are generated once and read from their files afterwards; no task's arguments or results show them.
  - Files are written with mode 0600, or 0700 where the source is executable; directories with 0700.
options:
  src:
    description: Directory with the files, on the machine the module runs on.
    type: path
    required: true
  dest:
    description: Directory to write; it is made with its parents.
    type: path
    required: true
  values:
    description: What stands for each name, strings. A name that nothing stands for is an error.
    type: dict
    required: true
  secrets_dir:
    description: Directory of the secrets, one file each.
    type: path
    required: true
  secrets:
    description: Names of the secrets; 32 random hexadecimal digits stand for each.
    type: list
    elements: str
    default: []
  files:
    description: Single files to render as well, source to destination.
    type: dict
    default: {}
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Render the cloud's configuration
  smart_classroom.platform.openstack_configuration:
    src: "{{ role_path }}/files/tree"
    dest: "{{ smart_classroom_state_dir }}/openstack/tree"
    secrets_dir: "{{ smart_classroom_state_dir }}/openstack/secrets"
    secrets: [admin_password]
    values:
      api_address: 172.24.4.1
"""

RETURN = r"""
files:
  description: Paths that were written or removed, those of the directory relative to O(dest).
  returned: always
  type: list
  elements: str
fingerprint:
  description: Changes when a secret changes; says nothing about it.
  returned: always
  type: str
"""

import hashlib
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

PLACEHOLDER = re.compile(r"@@([a-z_]+)@@")


class ConfigurationError(Exception):
    """A configuration that cannot be rendered."""


@dataclass
class Plan:
    """What has to be done: path to (text, mode), and paths that have to go."""

    write: dict[Path, tuple[str, int]] = field(default_factory=dict)
    remove: list[Path] = field(default_factory=list)

    @property
    def changed(self) -> list[Path]:
        """Paths that the plan touches, sorted."""
        return sorted([*self.write, *self.remove])

    def want(self, target: Path, text: str, mode: int) -> None:
        """Add a file unless it is there with this text and mode."""
        same = (
            target.is_file()
            and stat.S_IMODE(target.stat().st_mode) == mode
            and target.read_text(encoding="utf-8") == text
        )
        if not same:
            self.write[target] = (text, mode)

    def carry_out(self) -> None:
        """Write and remove; each file appears complete or not at all."""
        for target, (text, mode) in self.write.items():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as file:
                file.write(text)
            partial = Path(file.name)
            partial.chmod(mode)
            partial.replace(target)
        for target in self.remove:
            target.unlink()


def render(text: str, values: Mapping[str, str], name: str) -> str:
    """Replace the placeholders of one file. Raises ConfigurationError for a name without a value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigurationError(f"{name} asks for @@{match[1]}@@, but no value has that name")
        return values[match[1]]

    return PLACEHOLDER.sub(value, text)


def add_secrets(plan: Plan, directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Read the secrets, and plan to write those that are missing; returns them by name."""
    values = {}
    for name in names:
        file = directory / name
        text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        values[name] = text or secrets.token_hex(16)
        plan.want(file, f"{values[name]}\n", 0o600)
    return values


def add_tree(plan: Plan, src: Path, dest: Path, values: Mapping[str, str]) -> None:
    """Plan to make ``dest`` the rendered image of ``src``, without what Python compiled. Raises ConfigurationError."""
    if not src.is_dir():
        raise ConfigurationError(f"{src} is not a directory")
    wanted = set()
    for source in sorted(path for path in src.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        target = dest / source.relative_to(src)
        wanted.add(target)
        mode = 0o700 if source.stat().st_mode & stat.S_IXUSR else 0o600
        plan.want(target, render(source.read_text(encoding="utf-8"), values, str(source.relative_to(src))), mode)
    if dest.is_dir():
        present = {path for path in dest.rglob("*") if not path.is_dir()}
        plan.remove.extend(sorted(present - wanted))


def fingerprint(values: Mapping[str, str]) -> str:
    """Name of a set of secrets, 16 hexadecimal digits."""
    text = "\n".join(f"{name}={value}" for name, value in sorted(values.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "values": {"type": "dict", "required": True},
            "secrets_dir": {"type": "path", "required": True, "no_log": False},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "files": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    dest = Path(module.params["dest"])
    plan = Plan()
    try:
        secret_values = add_secrets(plan, Path(module.params["secrets_dir"]), module.params["secrets"])
        values = {name: str(value) for name, value in module.params["values"].items()} | secret_values
        add_tree(plan, Path(module.params["src"]), dest, values)
        for source, target in module.params["files"].items():
            plan.want(Path(target), render(Path(source).read_text(encoding="utf-8"), values, source), 0o600)
        if not module.check_mode:
            plan.carry_out()
    except (OSError, UnicodeDecodeError, ConfigurationError) as error:
        module.fail_json(msg=f"The configuration cannot be rendered: {error}")
    changed = [str(path.relative_to(dest)) if path.is_relative_to(dest) else str(path) for path in plan.changed]
    module.exit_json(changed=bool(changed), files=changed, fingerprint=fingerprint(secret_values))


if __name__ == "__main__":
    main()
