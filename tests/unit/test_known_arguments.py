"""A variable on the command line that nothing reads stops the run before it does anything."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.smart_classroom.platform.plugins.vars.known_arguments import playbooks_of, problems

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("playbook", "given"),
    [
        ("teardown", {"confirm": "dev", "confirm_data": "dev", "teardown_keep_data": "true"}),
        ("teardown", {"control_node_teardown_cache": True}),
        ("rollback-lambda", {"rollback_version": "7"}),
        ("rollback-lambda", {"rollback_version": "{{ anything }}"}),
        ("deploy-host", {"ec2_host_power": "stopped"}),
        ("site", {"smart_classroom_region": "eu-north-1", "ansible_user": "x", "vault_devstack_admin_password": "x"}),
    ],
)
def test_documented_variables_are_accepted(playbook: str, given: dict[str, Any]) -> None:
    assert problems(given, [playbook], ROOT) == []


@pytest.mark.parametrize(
    ("playbook", "given", "said"),
    [
        ("teardown", {"confrm": "dev"}, "did you mean 'confirm'?"),
        ("site", {"poller_concurency": 3}, "did you mean 'poller_concurrency'?"),
        ("site", {"zzz": 3}, "nothing reads the variable 'zzz'"),
        ("site", {"confirm": "prod"}, "an argument of playbooks/teardown.yml only"),
        ("teardown", {"teardown_keep_data": "perhaps"}, "not a valid boolean"),
        ("rollback-lambda", {"rollback_version": "latest"}, "unable to convert to int"),
    ],
)
def test_others_are_named(playbook: str, given: dict[str, Any], said: str) -> None:
    (problem,) = problems(given, [playbook], ROOT)
    assert said in problem


def test_only_playbooks_of_the_project_are_checked(tmp_path: Path) -> None:
    assert playbooks_of(ROOT, (str(ROOT / "site.yml"), str(ROOT / "playbooks/teardown.yml"))) == ["site", "teardown"]
    assert playbooks_of(ROOT, (str(tmp_path / "site.yml"), str(ROOT / "tests/system/plan/plan.yml"))) == []
    assert playbooks_of(ROOT, "controller") == []


def test_a_run_with_a_misspelt_variable_does_nothing() -> None:
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory/dev", "playbooks/teardown.yml", "-e", "teardown_keep_dat=true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "did you mean 'teardown_keep_data'?" in done.stderr
    assert "TASK" not in done.stdout


def test_every_argument_is_described_and_read_by_its_playbook() -> None:
    arguments = yaml.safe_load((ROOT / "playbooks/meta/arguments.yml").read_text(encoding="utf-8"))
    read = {
        "teardown": ["teardown.yml", "teardown/remove.yml", "vars/teardown.yml"],
        "rollback-lambda": ["rollback-lambda.yml"],
    }
    for playbook, own in arguments.items():
        text = "".join(
            (ROOT / "playbooks" / name).read_text(encoding="utf-8") for name in read.get(playbook, [f"{playbook}.yml"])
        )
        for name, specification in own.items():
            assert specification["description"], name
            assert name in text, name
