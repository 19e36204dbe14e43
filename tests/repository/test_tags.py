"""A tag for each role and each playbook: what `--tags` selects is that and nothing else."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
# Ansible validates the arguments of every role whatever the tags; that changes nothing.
VALIDATION = "Validating arguments against arg spec"


class Task(NamedTuple):
    """A task of a listing; ``role`` is empty where it belongs to none."""

    role: str
    name: str
    tags: frozenset[str]


@cache
def listed(*arguments: str) -> tuple[Task, ...]:
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory/dev", "--list-tasks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^      (?:(\w+) : )?(.+)\tTAGS: \[(.*)\]$", done.stdout, re.MULTILINE)
    return tuple(Task(role, name, frozenset(tags.split(", "))) for role, name, tags in found)


def everything() -> tuple[Task, ...]:
    return listed("site.yml", *(f"playbooks/{name}.yml" for name in PLAYBOOKS))


def test_every_task_of_a_role_has_the_roles_tag_and_no_other_roles() -> None:
    assert {task.role for task in everything()} - {""} <= set(ROLES)
    wrong = [task for task in everything() if task.role and task.tags & set(ROLES) != {task.role}]
    assert wrong == []


def test_every_task_has_the_tag_of_its_playbook() -> None:
    wrong = [task for task in everything() if len(task.tags & set(PLAYBOOKS)) != 1]
    assert wrong == []


def test_every_role_and_every_playbook_that_has_tasks_has_its_tag() -> None:
    used = {tag for task in everything() for tag in task.tags}
    assert set(ROLES) <= used
    assert set(PLAYBOOKS) <= used


@pytest.mark.parametrize("tag", ["poller", "sqs_queues", "ec2_host"])
def test_a_roles_tag_selects_the_role_and_nothing_else(tag: str) -> None:
    selected = [task for task in listed("site.yml", "--tags", tag) if VALIDATION not in task.name]
    assert selected
    assert all(task.role == tag or (not task.role and tag in task.tags) for task in selected), selected
    alone = [task for task in listed("site.yml") if tag in task.tags and VALIDATION not in task.name]
    assert selected == alone


def test_a_teardown_of_one_role_still_asks_for_the_name() -> None:
    selected = {task.name for task in listed("playbooks/teardown.yml", "--tags", "s3_buckets")}
    assert "Compare the name that was typed with the environment's" in selected


def includes(tasks: object) -> list[dict[str, object]]:
    """Every task of a play that includes a role while it runs, blocks looked into."""
    found = []
    for task in tasks if isinstance(tasks, list) else []:
        if "ansible.builtin.include_role" in task:
            found.append(task)
        for below in ("block", "rescue", "always"):
            found += includes(task.get(below))
    return found


def test_roles_that_are_included_while_it_runs_hand_their_tag_on() -> None:
    for path in (ROOT / "playbooks").rglob("*.yml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for play in content if isinstance(content, list) else []:
            for task in includes(play.get("tasks")):
                role = task["ansible.builtin.include_role"]
                assert isinstance(role, dict)
                assert role["apply"] == {"tags": [role["name"]]}, f"{path.name}: {task['name']}"
                assert task["tags"] == [role["name"]], f"{path.name}: {task['name']}"


def test_the_documentation_lists_every_tag() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("## Tags")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z0-9_-]+)`", text)) >= {*ROLES, *PLAYBOOKS}
