"""Every role speaks the same verbs, and its documentation is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES: dict[str, type] = {"str": str, "path": str, "bool": bool, "int": int, "float": float, "list": list, "dict": dict}
CONDITIONS = {"when", "that", "until", "failed_when", "changed_when"}

pytestmark = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def documented(role: Path) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {}
    for specification in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        options |= specification.get("options") or {}
    return options


def test_has_every_verb_and_a_scenario(role: Path) -> None:
    for part in ("main", "preflight", "verify", "teardown"):
        assert (role / "tasks" / f"{part}.yml").is_file(), part
    scenario = role / "molecule/default"
    named = (load(scenario / "molecule.yml").get("provisioner", {}).get("playbooks") or {}).get(
        "converge", "converge.yml"
    )
    assert (scenario / named).is_file()
    assert (role / "molecule/default/verify.yml").is_file()
    assert (role / "meta/main.yml").is_file()


def included_files(value: Any) -> Iterator[str]:
    """The files of tasks that a playbook includes or imports by a path without variables."""
    if isinstance(value, list):
        for below in value:
            yield from included_files(below)
    elif isinstance(value, dict):
        for name, below in value.items():
            if name.rpartition(".")[2] in ("include_tasks", "import_tasks", "import_playbook"):
                named = below.get("file", "") if isinstance(below, dict) else str(below)
                if "{{" not in named:
                    yield named
            else:
                yield from included_files(below)


def test_what_its_scenario_includes_is_there(role: Path) -> None:
    """An include is only read when it is reached, which a check of the syntax never does."""
    scenario = role / "molecule/default"
    for path in scenario.rglob("*.yml"):
        for named in included_files(load(path)):
            assert (path.parent / named).is_file(), f"{path.relative_to(ROOT)} includes {named}"


def test_each_entry_point_has_a_specification(role: Path) -> None:
    specifications = load(role / "meta/argument_specs.yml")["argument_specs"]
    assert {"main", "preflight", "verify", "teardown"} <= set(specifications)
    for name, specification in specifications.items():
        assert (role / "tasks" / f"{name}.yml").is_file(), name
        assert specification["short_description"]


def entry_points(value: Any, role: str) -> Iterator[str]:
    """The files of a role's tasks that a playbook names."""
    if isinstance(value, list):
        for below in value:
            yield from entry_points(below, role)
    elif isinstance(value, dict):
        if value.get("name") == role and "tasks_from" in value:
            yield str(value["tasks_from"])
        for below in value.values():
            yield from entry_points(below, role)


def test_each_entry_point_that_a_playbook_calls_has_a_specification(role: Path) -> None:
    specifications = load(role / "meta/argument_specs.yml")["argument_specs"]
    called = {name for path in (ROOT / "playbooks").rglob("*.yml") for name in entry_points(load(path), role.name)}
    assert called <= set(specifications)


def test_specification_equals_defaults_in_names_values_and_types(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    options = documented(role)
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    for name, option in options.items():
        assert name.startswith(f"{role.name}_"), name
        assert option["description"], name
        if "default" in option and "{{" not in str(option["default"]):
            assert isinstance(option["default"], TYPES[option["type"]]), name
            assert not (option["type"] == "int" and isinstance(option["default"], bool)), name


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every Jinja expression in a file's values; that of a condition stands without braces."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from expressions(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from expressions(below, key)
    elif isinstance(value, str) and key in CONDITIONS:
        yield f"{value} is a condition"
    elif isinstance(value, str):
        yield from re.findall(r"{[{%]-?(.*?)-?[%}]}", value, re.DOTALL)


def test_booleans_may_be_given_on_a_command_line(role: Path) -> None:
    """``-e name=true`` gives text, which is true whatever it says, and as a condition ends the run."""
    booleans = [name for name, option in documented(role).items() if option["type"] == "bool"]
    files = [*role.glob("tasks/*.yml"), *role.glob("vars/*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    templates = [path for path in role.glob("templates/**/*") if path.is_file() and path.suffix != ".pyc"]
    values = [(path, load(path)) for path in files] + [(path, path.read_text()) for path in templates]
    wrong = {
        f"{path.relative_to(ROOT)}: {expression}"
        for path, value in values
        for expression in expressions(value)
        for name in booleans
        # A module takes it as it comes.
        if expression.strip() != name and re.search(rf"\b{name}\b(?! \| bool)", expression)
    }
    assert wrong == set()


def test_inventory_sets_only_documented_variables(role: Path) -> None:
    options = documented(role)
    for path in ROOT.glob(f"inventory/*/group_vars/all/{role.name}.yml"):
        for name in load(path) or {}:
            assert name in options, f"{path.relative_to(ROOT)}: {name}"


def test_readme_says_what_the_specification_says(role: Path) -> None:
    specification = subprocess.run(
        [sys.executable, ROOT / "tools/roles-readme", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert f"roles/{role.name}/README.md" not in specification.stderr, "run: make roles-readme"
