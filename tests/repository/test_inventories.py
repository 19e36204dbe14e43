"""The environments differ by values only: each defines the same variables for the same roles."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ("local", "dev", "prod")
# Roles whose plays are empty in an environment, because nothing there carries what they make.
ONLY = {
    "local": {"aws_emulator", "openstack_allinone"},
    "dev": {"ec2_host", "devstack"},
    "prod": {"ec2_host", "devstack"},
}


def variables(environment: str) -> dict[str, set[str]]:
    """The names of the variables of an environment, by the file that they stand in. An encrypted file has none."""
    found = {}
    for path in (ROOT / "inventory" / environment / "group_vars/all").glob("*.yml"):
        content = path.read_text(encoding="utf-8")
        if not content.startswith("$ANSIBLE_VAULT"):
            found[path.stem] = set(yaml.safe_load(content) or {})
    return found


def hosts(environment: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "inventory" / environment / "hosts.yml").read_text(encoding="utf-8")
    )
    everything: dict[str, Any] = loaded["all"]
    return everything


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_same_variables_as_locally(environment: str) -> None:
    local, other = variables("local"), variables(environment)
    local = {name: names for name, names in local.items() if name not in ONLY["local"]}
    other = {name: names for name, names in other.items() if name not in ONLY[environment]}
    missing = {f"{environment}: {name}" for file, names in local.items() for name in names - other.get(file, set())}
    missing |= {f"local: {name}" for file, names in other.items() for name in names - local.get(file, set())}
    assert missing == set()


def test_dev_and_prod_define_exactly_the_same() -> None:
    assert variables("dev") == variables("prod")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_variable_stands_in_the_file_of_its_role(environment: str) -> None:
    wrong = [
        f"{file}.yml: {name}"
        for file, names in variables(environment).items()
        for name in names
        if file != "vault" and not name.startswith(f"{file}_")
    ]
    assert wrong == []


def test_every_environment_has_the_same_groups() -> None:
    groups = {environment: set(hosts(environment)["children"]) for environment in ENVIRONMENTS}
    assert groups["local"] == groups["dev"] == groups["prod"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_ansible_reads_it(environment: str) -> None:
    """Every value can be parsed, and prod has two pollers where the others have one."""
    done = subprocess.run(
        ["ansible-inventory", "-i", f"inventory/{environment}", "--graph", "pollers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("classroom-poller-") == (2 if environment == "prod" else 1)


def test_no_environment_is_served_by_a_connection_of_another() -> None:
    """Ansible keeps connections open, and environments have hosts of the same names."""

    def socket(environment: str) -> str:
        asked = ["ansible", "-i", f"inventory/{environment}", "classroom-poller-1", "-vvv", "-m", "raw", "-a", "true"]
        done = subprocess.run(
            [*asked, "-e", "ansible_ssh_executable=/bin/false"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        found = re.search(r"EXEC /bin/false .*ControlPath=\"?([^\s\"']+)", done.stdout)
        assert found, done.stdout + done.stderr
        return found[1]

    sockets = [socket(environment) for environment in ENVIRONMENTS]
    assert len(set(sockets)) == len(ENVIRONMENTS)
    # With ~, ssh finds another home than Ansible where HOME is set. A socket's path has 108 bytes at most, 17 of them
    # only while it is made; 45 are left for the home.
    assert all(one.startswith(f"{Path.home()}/") and one.endswith("-%n") for one in sockets)
    assert all(len(one.removeprefix(str(Path.home()))) + len("classroom-poller-1") + 17 < 108 - 45 for one in sockets)


def test_prod_protects_what_dev_may_lose() -> None:
    def values(environment: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for path in (ROOT / "inventory" / environment / "group_vars/all").glob("*.yml"):
            content = path.read_text(encoding="utf-8")
            if not content.startswith("$ANSIBLE_VAULT"):
                merged |= yaml.safe_load(content) or {}
        return merged

    dev, prod = values("dev"), values("prod")
    for name in (
        "dynamodb_table_point_in_time_recovery",
        "dynamodb_table_deletion_protection",
        "ec2_host_termination_protection",
        "s3_buckets_versioning",
    ):
        assert (dev[name], prod[name]) == (False, True), name
    for name in ("lambda_function_log_retention_days", "sqs_queues_retention_seconds"):
        assert dev[name] < prod[name], name
    assert json.dumps(prod).count("0.0.0.0/0") == 0
