"""Deploy inventory/campus into a project of the running local cloud, without an administrator's rights, and remove it.

Usage: python -m tests.system.campus.run [--faults|--only-deployment]      (make campus; wants a running `make up`)

As administrator it makes a project, a user who is a member of it and nothing more, and a flavor; from then on only that
user's application credential is used. The image is the stand-in for a published one: the real cloud-init, another
default login, a disk of 10 GB. Faults are planted first, and each has to be named before anything is made. The logs are
kept in .cache/test-logs/campus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openstack.config
import openstack.connection
import yaml

from classroom_ops.environment import load
from tests.support.servers import account_server, free_port

ROOT = Path(__file__).resolve().parents[3]
LOGS, WORK, STATE = ROOT / ".cache/test-logs/campus", ROOT / ".cache/campus", ROOT / ".state/campus"
NAME = "campus-proof"
# The smallest of which a server starts from the image; the local cloud's own is smaller.
FLAVOR = {"name": NAME, "vcpus": 1, "ram": 768, "disk": 13}
RUN_SECONDS = 1500


class CampusError(Exception):
    """A step did not do what it should; the message says which and what it said."""


def connection(clouds_file: Path, cloud: str) -> Any:
    """A connection as a clouds.yaml says."""
    configuration = openstack.config.OpenStackConfig(config_files=[str(clouds_file)])
    return openstack.connection.Connection(config=configuration.get_one(cloud, api_timeout=60))


@contextmanager
def project(admin: Any, clouds_file: Path) -> Iterator[str]:
    """A project with a member, whose application credential ``clouds_file`` holds; yields its id, and removes it."""
    remove_project(admin)
    made = admin.identity.create_project(name=NAME, domain_id="default")
    password = secrets.token_urlsafe(16)
    user = admin.identity.create_user(name=NAME, password=password, domain_id="default", default_project_id=made.id)
    admin.identity.assign_project_role_to_user(made, user, admin.identity.find_role("member", ignore_missing=False))
    admin.compute.create_flavor(**FLAVOR)
    url = admin.config.get_auth_args()["auth_url"]
    member: Any = openstack.connect(
        auth_url=url,
        username=NAME,
        password=password,
        project_name=NAME,
        user_domain_id="default",
        project_domain_id="default",
        region_name=admin.config.region_name,
    )
    credential = member.identity.create_application_credential(user=user.id, name=NAME)
    clouds_file.touch(mode=0o600)
    entry = {
        "auth_type": "v3applicationcredential",
        "auth": {
            "auth_url": url,
            "application_credential_id": credential.id,
            "application_credential_secret": credential.secret,
        },
        "region_name": admin.config.region_name,
    }
    clouds_file.write_text(yaml.safe_dump({"clouds": {"openstack": entry}}), encoding="utf-8")
    try:
        yield made.id
    finally:
        remove_project(admin)
        clouds_file.unlink()


def remove_project(admin: Any) -> None:
    """Remove project, user and flavor, also what a killed run left."""
    for found, remove in (
        (admin.compute.find_flavor(NAME), admin.compute.delete_flavor),
        (admin.identity.find_user(NAME), admin.identity.delete_user),
        (admin.identity.find_project(NAME), admin.identity.delete_project),
    ):
        if found:
            remove(found)


def holdings(admin: Any, project_id: str) -> list[str]:
    """What the project holds, whatever its tags; what each project has from the start left out."""
    network = admin.network
    return [
        *(f"server {one.name}" for one in admin.compute.servers(all_projects=True, project_id=project_id)),
        *(f"image {one.name}" for one in admin.image.images(owner=project_id)),
        *(f"network {one.name}" for one in network.networks(project_id=project_id)),
        *(f"router {one.name}" for one in network.routers(project_id=project_id)),
        *(f"port {one.id}" for one in network.ports(project_id=project_id)),
        *(f"floating IP {one.floating_ip_address}" for one in network.ips(project_id=project_id)),
        *(
            f"security group {one.name}"
            for one in network.security_groups(project_id=project_id)
            if one.name != "default"
        ),
    ]


class Campus:
    """The operator's commands, one log for each."""

    def __init__(self, environment: dict[str, str], variables: Path) -> None:
        self.environment, self.variables, self.number = environment, variables, 0

    def playbook(self, what: str, *arguments: str, fails: bool = False) -> str:
        """Run a playbook of inventory/campus; returns what it wrote.

        Raises:
            CampusError: its exit status is not as expected.
        """
        self.number += 1
        log, began = LOGS / f"{self.number:02d}-{what.replace(' ', '-')}.log", time.monotonic()
        # One of the two pollers: two cores emulate its processor.
        limit = "--limit=controller,classroom-poller-1"
        argv = ["ansible-playbook", "-i", "inventory/campus", limit, "-e", f"@{self.variables}", *arguments]
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                argv, cwd=ROOT, env=self.environment, stdout=file, stderr=file, check=False, timeout=RUN_SECONDS
            )
        text = log.read_text(encoding="utf-8")
        sys.stdout.write(f"{what:60} {time.monotonic() - began:6.0f} s\n")
        sys.stdout.flush()
        if (done.returncode != 0) is not fails:
            raise CampusError(f"{what}: exit status {done.returncode}; the end of {log}:\n{text[-4000:]}")
        return text

    def teardown(self, what: str) -> None:
        """Remove everything, data too.

        Raises:
            CampusError: something is left, or cannot be removed.
        """
        self.playbook(what, "playbooks/teardown.yml", "-e", "confirm=campus", "-e", "confirm_data=campus")

    def unchanged(self, what: str, *arguments: str) -> None:
        """Run a playbook that has nothing to do.

        Raises:
            CampusError: it changed something.
        """
        changes = [
            int(one) for one in re.findall(r"^\S+ +: ok=.* changed=(\d+) ", self.playbook(what, *arguments), re.M)
        ]
        if not changes or any(changes):
            raise CampusError(f"{what}: changed is {changes} of the hosts, not 0")


def plant_faults(campus: Campus, admin: Any, member: Any, project_id: str) -> None:
    """Each has to be named by deploy-vm.yml, and nothing made.

    Raises:
        CampusError: a fault was not named, or something was made.
    """
    theirs: list[tuple[Callable[[Any], Any], Any]] = []

    def others() -> None:
        network = member.network.create_network(name="smart-classroom-campus", description="of the library")
        group = member.network.create_security_group(name="smart-classroom-campus", description="of the library")
        theirs.extend([(member.network.delete_network, network), (member.network.delete_security_group, group)])

    def others_go() -> None:
        for remove, thing in theirs:
            remove(thing)

    def compute(**limits: int) -> Callable[[], Any]:
        return lambda: admin.compute.update_quota_set(project_id, **limits)

    def network(**limits: int) -> Callable[[], Any]:
        return lambda: admin.network.update_quota(project_id, **limits)

    def nothing() -> None:
        pass

    flavor = {"vcpus": 1, "ram_mb": 768, "disk_gb": 13}
    faults: list[tuple[str, Callable[[], Any], Callable[[], Any], dict[str, Any], tuple[str, ...]]] = [
        ("wrong login", nothing, nothing, {"nova_server_user": "root"}, ("nova_server_user is 'root'",)),
        (
            "flavor too small",
            nothing,
            nothing,
            {"nova_server_flavor": {"name": "classroom.small", "create": False, **flavor}},
            ("the flavor classroom.small has", f"the smallest that fits is {NAME}"),
        ),
        (
            "no admin",
            nothing,
            nothing,
            {"nova_server_flavor": {"name": "mine", "create": True, **flavor}},
            ("only an administrator makes the flavor mine",),
        ),
        ("quota 0", compute(instances=0), compute(instances=10), {}, ("the project's quota leaves 0 servers of 0",)),
        (
            "no floating IP left",
            network(floating_ips=0),
            network(floating_ips=10),
            {},
            ("the project's quota leaves 0 floating ips of 0",),
        ),
        (
            "names of others",
            others,
            others_go,
            {},
            ("a security group 'smart-classroom-campus'", "a network 'smart-classroom-campus'"),
        ),
    ]
    for what, plant, remedy, variables, sentences in faults:
        plant()
        before = holdings(admin, project_id)
        text = campus.playbook(what, "playbooks/deploy-vm.yml", "-e", json.dumps(variables), fails=True)
        missing = [sentence for sentence in sentences if sentence not in " ".join(text.split())]
        made = sorted(set(holdings(admin, project_id)) - set(before))
        if missing or made:
            raise CampusError(f"{what}: not said was {missing}, made was {made}; {text[-2000:]}")
        remedy()


def prove(campus: Campus, admin: Any, project_id: str) -> None:
    """Deploy, use, change nothing, and remove.

    Raises:
        CampusError: one of them went wrong.
    """
    campus.playbook("the AWS side", "playbooks/deploy-aws.yml")
    campus.playbook("network, image and server", "playbooks/deploy-vm.yml")
    campus.playbook("login and poller", "playbooks/install-poller.yml")
    campus.unchanged("again nothing changes", "playbooks/deploy-vm.yml", "playbooks/install-poller.yml")
    ssh = ["ssh", "-F", str(STATE / "ssh/config"), "classroom-poller-1"]
    asked = "cloud-init --version 2>&1; getent passwd debian; ls /home; systemctl is-active classroom-poller"
    said = subprocess.run([*ssh, asked], capture_output=True, text=True, check=False, timeout=60).stdout.split("\n")
    if "cloud-init" not in said[0] or said[1:3] != ["classroom", "active"]:
        raise CampusError(
            f"the server says {said}; expected cloud-init, the login classroom alone, and a poller that runs"
        )
    campus.playbook(
        "verify the servers", "playbooks/verify-parts.yml", "--tags", "neutron_network,nova_server,glance_image"
    )
    campus.playbook("the plan of the teardown", "playbooks/teardown.yml")
    campus.teardown("teardown")
    if left := holdings(admin, project_id):
        raise CampusError(f"the teardown left in the project: {', '.join(left)}")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true", help="plant the faults only, which makes nothing")
    parser.add_argument("--only-deployment", action="store_true", help="leave the faults out")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(mode=0o700, exist_ok=True)
    endpoints = load("local", ROOT)
    admin = connection(Path(endpoints.clouds_yaml), endpoints.cloud)
    clouds_file, variables, port = WORK / "clouds.yaml", WORK / "values.json", free_port()
    # The emulator's account; what EC2 and Budgets are asked, another emulator answers.
    services = {f"AWS_ENDPOINT_URL_{name}": f"http://127.0.0.1:{port}" for name in ("EC2", "BUDGETS")}
    caller = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "unchecked"}
    environment = {**os.environ, **caller, **services, "SMART_CLASSROOM_KEEP": " ".join(services)}
    values = {
        "smart_classroom_clouds_file": str(clouds_file),
        "smart_classroom_aws_endpoint_url": endpoints.endpoint_url,
        "smart_classroom_aws_internal_endpoint_url": "http://172.30.0.10:4566",
        "smart_classroom_aws_credentials": {"access_key_id": "local", "secret_access_key": "unchecked"},
        "smart_classroom_operator_cidrs": ["172.30.0.1/32"],
        "smart_classroom_image": "built-cloud-init",
        "monitoring_enabled": False,
        "nova_server_names": ["classroom-poller-1"],
        "nova_server_login_timeout_seconds": 900,
        "alarms_emails": ["nobody@example.org"],
    }
    variables.write_text(json.dumps(values), encoding="utf-8")
    console = WORK / "console"
    console.write_text("", encoding="ascii")
    try:
        with (
            account_server(port, WORK, f"--console={console}"),
            project(admin, clouds_file) as project_id,
        ):
            campus = Campus(environment, variables)
            try:
                if not options.only_deployment:
                    plant_faults(campus, admin, connection(clouds_file, "openstack"), project_id)
                if not options.faults:
                    prove(campus, admin, project_id)
            except CampusError:
                with suppress(CampusError):
                    campus.teardown("the teardown after a failure")
                raise
    except CampusError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    shutil.rmtree(WORK)
    print("the project is empty again, whatever its things were tagged with")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
