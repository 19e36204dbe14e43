"""The runbook of docs/operations.md: an entry for each line of `make status` and each alarm, its commands real."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from classroom_ops import environment, status
from classroom_ops.environment import Endpoints

ROOT = Path(__file__).resolve().parents[2]
FIELDS = ("Symptom", "Cause", "Command", "It worked")
# Lines of `make status` that one probe gives beside its own, and lines that bear the name of a machine.
OF_ONE_PROBE = {"VM"}


@cache
def entries() -> dict[str, dict[str, str]]:
    """The fields of each entry, by its heading."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = re.split(r"^## (?!#)", text.partition("\n## Runbook")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = {}
    for entry in section.split("\n### ")[1:]:
        title, _, body = entry.partition("\n")
        fields = re.findall(r"^- ([A-Z][a-z ]+): (.+?)(?=^- |\Z)", body, re.MULTILINE | re.DOTALL)
        found[title] = {name: " ".join(value.split()) for name, value in fields}
    return found


def commands(fields: tuple[str, ...] = FIELDS) -> set[str]:
    """What stands in backticks and begins with make or ansible-playbook."""
    texts = [entry[field] for entry in entries().values() for field in fields]
    return {
        one
        for text in texts
        for one in re.findall(r"`([^`]+)`", text)
        if one.startswith(("make ", "ansible-playbook "))
    }


@pytest.fixture
def everything(tmp_path: Path) -> Endpoints:
    """An environment that has every part."""
    names = dict.fromkeys(("region", "input_bucket", "output_bucket", "input_queue", "output_queue"), "x")
    names |= dict.fromkeys(("dead_letter_suffix", "function", "table", "repository", "ssh_config"), "x")
    names |= {"environment": "local", "results_dir": "x", "cloud": "x", "clouds_yaml": "x"}
    document = {**names, "gallery": {"bucket": "b", "key": "k"}, "pollers": ["vm-1"]}
    return replace(environment.parse(document, tmp_path, tmp_path), cloud_container="c", aws_container="a")


def test_each_line_of_the_status_has_an_entry(everything: Endpoints) -> None:
    lines = {name.split(" vm-")[0] for name, _, _ in status.probes(everything)} | OF_ONE_PROBE
    assert lines <= set(entries())
    assert {name for name in entries() if not name.startswith("alarm: ")} <= lines, "an entry without a line"


def test_each_alarm_has_an_entry() -> None:
    made = yaml.safe_load((ROOT / "roles/alarms/vars/main.yml").read_text(encoding="utf-8"))["__alarms_wanted"]
    names = {one["name"].rpartition("}}-")[2] for one in made}
    tasks = (ROOT / "roles/alarms/tasks/alarms.yml").read_text(encoding="utf-8")
    names |= {name.rpartition("}}-")[2] for name in re.findall(r'name: "(\{\{ alarms_name \}\}-\S.*)"', tasks)}
    names.add("budget")
    assert {f"alarm: {name}" for name in names} == {name for name in entries() if name.startswith("alarm: ")}


def test_each_entry_says_all_four_things() -> None:
    assert {name: tuple(fields) for name, fields in entries().items() if tuple(fields) != FIELDS} == {}


def test_each_entry_names_a_command_and_each_command_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lists = re.findall(r"^OPERANDS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    operands = {name for text in lists for name in text.replace("\\", " ").split()}
    for command in commands():
        program, what, *rest = shlex.split(command)
        if program == "make":
            assert what in targets, command
            assert {word.partition("=")[0] for word in rest} <= operands, command
        else:
            assert (ROOT / what).is_file(), command
    assert all(any(one in entry["Command"] for one in commands()) for entry in entries().values())


@pytest.mark.parametrize("command", ["make environments"])
def test_what_only_reads_and_needs_no_deployment_runs(command: str) -> None:
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.parent.name for path in (ROOT / "inventory").glob("*/hosts.yml")}
    assert names <= set(done.stdout.split())
