"""What wires the roles together stands once in inventory/common; an environment holds its hosts and what differs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from classroom_ops.environment import state_dir_of

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "inventory/common/group_vars/all"
ENVIRONMENTS = sorted(path.parent.name for path in ROOT.glob("inventory/*/hosts.yml"))
# Roles whose plays are empty outside of one kind of environment, because nothing else carries what they make.
ONLY = {"local": {"aws_emulator", "openstack_allinone"}}


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """The variables of a directory, by the file that they stand in. An encrypted file has none."""
    found = {}
    for path in directory.glob("*.yml"):
        content = path.read_text(encoding="utf-8")
        if not content.startswith("$ANSIBLE_VAULT"):
            found[path.stem] = yaml.safe_load(content) or {}
    return found


def own(environment: str) -> dict[str, dict[str, Any]]:
    return read(ROOT / "inventory" / environment / "group_vars/all")


def merged(environment: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variables in [*read(COMMON).values(), *own(environment).values()]:
        values |= variables
    return values


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_these_are_the_environments() -> None:
    assert {"local", "dev", "prod", "campus"} <= set(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_only_what_differs(environment: str) -> None:
    common = {name: value for variables in read(COMMON).values() for name, value in variables.items()}
    same = [
        f"{file}.yml: {name}"
        for file, variables in own(environment).items()
        for name, value in variables.items()
        if name in common and common[name] == value
    ]
    assert same == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_only_one_environment_says_belongs_to_a_role_that_only_it_uses_or_to_all(environment: str) -> None:
    """A variable of a role that others use too has a value for them in inventory/common, or a default."""
    common = {name for variables in read(COMMON).values() for name in variables}
    others = [own(other) for other in ENVIRONMENTS if other != environment]
    alone = {
        f"{file}.yml: {name}"
        for file, variables in own(environment).items()
        for name in variables
        if name not in common
        and file not in ONLY.get(environment, set())
        and file != "vault"
        and not all(name in other.get(file, {}) for other in others)
        and not documented_default(file, name)
    }
    assert alone == set()


def documented_default(role: str, name: str) -> bool:
    """Whether a role has a default for a variable."""
    path = ROOT / "roles" / role / "defaults/main.yml"
    return path.is_file() and name in (yaml.safe_load(path.read_text(encoding="utf-8")) or {})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_common_values_are_reached_by_a_relative_link(environment: str) -> None:
    """Ansible reads files in the order of their names, so an environment's own come later and win."""
    link = ROOT / "inventory" / environment / "group_vars/all/00-common"
    assert link.is_symlink()
    assert str(link.readlink()) == "../../../common/group_vars/all"
    assert link.resolve() == COMMON


@pytest.mark.parametrize("environment", ["common", *ENVIRONMENTS])
def test_every_variable_stands_in_the_file_of_its_role(environment: str) -> None:
    files = read(COMMON) if environment == "common" else own(environment)
    wrong = [
        f"{file}.yml: {name}"
        for file, variables in files.items()
        for name in variables
        if file != "vault" and not name.startswith("ansible_" if file == "connection" else f"{file}_")
    ]
    assert wrong == []


def test_every_environment_has_the_same_groups() -> None:
    groups = set()
    for environment in ENVIRONMENTS:
        loaded = yaml.safe_load((ROOT / "inventory" / environment / "hosts.yml").read_text(encoding="utf-8"))
        groups.add(tuple(sorted(loaded["all"]["children"])))
    assert len(groups) == 1


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_ansible_reads_it_as_it_is(environment: str) -> None:
    """Every value can be parsed, common ones are there, and in daily use there are two pollers."""
    done = run("ansible-inventory", "-i", f"inventory/{environment}", "--list")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert len(listed["pollers"]["hosts"]) == (2 if environment in ("prod", "campus") else 1)
    variables = listed["_meta"]["hostvars"]["controller"]
    assert set(merged(environment)) <= set(variables)
    assert variables["smart_classroom_environment"] == environment
    assert variables["smart_classroom_production"] is (environment in ("prod", "campus"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_playbooks_and_commands_mean_the_same_state_directory(environment: str) -> None:
    asked = ["ansible", "-i", f"inventory/{environment}", "controller", "-m", "debug"]
    done = run(*asked, "-a", "msg={{ smart_classroom_state_dir | realpath }}")
    assert str(state_dir_of(environment).resolve()) in done.stdout, done.stdout + done.stderr


def test_no_environment_is_served_by_a_connection_of_another() -> None:
    """Ansible keeps connections open, and environments have hosts of the same names."""

    def socket(environment: str) -> str:
        asked = ["ansible", "-i", f"inventory/{environment}", "classroom-poller-1", "-vvv", "-m", "raw", "-a", "true"]
        done = run(*asked, "-e", "ansible_ssh_executable=/bin/false")
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
    defaults: dict[str, Any] = {}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        defaults |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    dev, prod = defaults | merged("dev"), defaults | merged("prod")
    for name in (
        "smart_classroom_production",
        "dynamodb_table_point_in_time_recovery",
        "dynamodb_table_deletion_protection",
        "ec2_host_termination_protection",
        "s3_buckets_versioning",
    ):
        assert (dev[name], prod[name]) == (False, True), name
    assert dev["lambda_function_log_retention_days"] < prod["lambda_function_log_retention_days"]
    assert dev["s3_buckets_remove_objects"] is True
    assert "confirm_data" in prod["s3_buckets_remove_objects"]
    assert json.dumps(prod).count("0.0.0.0/0") == 0


LEVELS = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]


def facts(environment: str, *names: str) -> list[Any]:
    """Values as the controller sees them."""
    asked = ["ansible", "-i", f"inventory/{environment}", "controller", "-m", "debug"]
    done = run(*asked, "-a", "msg={{ [" + ", ".join(names) + "] }}")
    found: list[Any] = yaml.safe_load(done.stdout.partition("=>")[2])["msg"]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_image_login_flavor_and_processor_fit_each_other(environment: str) -> None:
    """A server of the flavor starts from the image, and the login is the one that its user data makes."""
    image, properties, login, flavor, memory, source = facts(
        environment,
        "smart_classroom_image_facts",
        "glance_image_properties",
        "nova_server_user",
        "nova_server_flavor",
        "poller_memory_max_mb | default(256)",
        "glance_image_source",
    )
    assert properties["os_admin_user"] == login
    assert login not in ("root", image["login"]), "the image's own login would hide that user data makes ours"
    assert flavor["disk_gb"] > image["minimum_disk_gb"]
    assert flavor["ram_mb"] >= image["minimum_memory_mb"] + memory
    assert source == image["source"]
    wanted = merged(environment).get("devstack_guest_cpu"), merged(environment).get("openstack_allinone_guest_cpu")
    assert any("smart_classroom_image_facts.cpu" in str(value) for value in wanted)


def test_the_login_is_the_same_everywhere() -> None:
    assert {facts(environment, "nova_server_user")[0] for environment in ENVIRONMENTS} == {"classroom"}


def test_each_image_is_described_whole() -> None:
    images = merged("dev")["smart_classroom_images"]
    assert {"centos-stream-9", "centos-stream-10", "debian-12", "debian-13", "ubuntu-24.04"} <= set(images)
    for name, image in images.items():
        assert image["cpu"] in LEVELS, name
        assert {"title", "source", "distribution", "version", "login", "minimum_disk_gb", "minimum_memory_mb"} <= set(
            image
        )
        if image["source"] == "url":
            assert image["url"].startswith("https://"), name
            # From the same directory, so that an image and its checksum are of one day.
            assert image["url"].rpartition("/")[0] == image["checksum"].rpartition("/")[0], name
            assert image["login"], name
    assert images["centos-stream-10"]["cpu"] == "x86-64-v3"


# Where a value of the inventories may be written out: in the default of the role that it belongs to.
ONCE = {
    "/var/lib/smart-classroom/results": ["inventory/common/group_vars/all/poller.yml"],
    "smart-classroom-cloud": ["inventory/local/group_vars/all/openstack_allinone.yml"],
    "smart-classroom-aws": ["inventory/local/group_vars/all/aws_emulator.yml"],
    "-dlq": ["inventory/common/group_vars/all/sqs_queues.yml"],
    # The Cost Explorer has its one address there, wherever an environment is.
    "us-east-1": ["classroom_ops/cost.py", "inventory/common/group_vars/all/smart_classroom.yml"],
    "172.24.4.0/24": ["inventory/common/group_vars/all/smart_classroom.yml"],
    "4566": ["inventory/local/group_vars/all/aws_emulator.yml"],
}


@pytest.mark.parametrize("value", ONCE)
def test_a_value_stands_once(value: str) -> None:
    """In the inventories, the playbooks and the operator's commands."""
    files = [*ROOT.glob("inventory/**/*.yml"), *ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("classroom_ops/*.py")]
    places = [
        str(path.relative_to(ROOT))
        for path in sorted(files)
        if "00-common" not in path.parts
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", line.partition("#")[0])
    ]
    assert places == ONCE[value]
