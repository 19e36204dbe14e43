"""Deploy inventory/dev into an emulated account whose instance is a container, use it, and remove every trace of it.

Usage: python -m tests.system.deployment.run --git-base git://ADDRESS      (make deployment GIT_BASE=git://ADDRESS)

What is real: DevStack, its virtual machine, the poller, the function's container, and every playbook as an operator
runs it. What is emulated: the AWS APIs; the instance is a container that shows its host key on the emulated console.
`ADDRESS` serves openstack/{devstack,requirements,keystone,glance,placement,nova,neutron,horizon}.git with the branch
of ``devstack_branch``. It takes about half an hour on two processors; the logs of each step are kept in
.cache/test-logs/deployment.
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from classroom_ops import closed
from tests.support.servers import account_server, free_port

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
STATE = ROOT / ".state/dev"
WORK = ROOT / ".cache/deployment"
LOGS = ROOT / ".cache/test-logs/deployment"
HOST, HOST_ADDRESS, GATEWAY = "smart-classroom-account-host", "172.31.9.10", "172.31.9.1"
ENDPOINT, INTERNAL_ENDPOINT = "http://127.0.0.1:4567", "http://172.31.9.20:4567"
RUN_SECONDS = 5400
WATCH_SECONDS = 0.1
CLIP = "samples/two-students-720p.mp4"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "deployer",
    "AWS_SECRET_ACCESS_KEY": f"canary{secrets.token_hex(16)}",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class DeploymentError(Exception):
    """A step did not do what it should; the message says which and what it said."""


class Watch:
    """Looks for secrets in the command lines of this machine's processes, the instance's own left out."""

    def __init__(self) -> None:
        self.canaries: set[str] = set()
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._here = Path("/proc/self/ns/pid").readlink()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if (
                        any(canary in line for canary in self.canaries)
                        and (process / "ns/pid").readlink() == self._here
                    ):
                        self.seen.add(line.split(" ", 1)[0])
                except OSError:  # it has ended meanwhile
                    continue


class Deployment:
    """The operator's commands, one log for each."""

    def __init__(self, variables: Path, endpoint_of_ec2: str) -> None:
        self.variables = variables
        clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        # What EC2 and Budgets are asked, the other emulator answers.
        services = {f"AWS_ENDPOINT_URL_{name}": endpoint_of_ec2 for name in ("EC2", "BUDGETS")}
        services["AWS_ENDPOINT_URL"] = ENDPOINT
        self.environment = {**clean, **CREDENTIALS, **services, closed.KEEP: " ".join(services)}
        self.number = 0

    def run(self, what: str, *argv: str, fails: bool = False) -> str:
        """Run a command; returns what it wrote.

        Raises:
            DeploymentError: its exit status is not as expected.
        """
        self.number += 1
        log = LOGS / f"{self.number:02d}-{what.replace(' ', '-')}.log"
        began = time.monotonic()
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                argv,
                cwd=ROOT,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=RUN_SECONDS,
            )
        text = log.read_text(encoding="utf-8")
        sys.stdout.write(f"{what:60} {time.monotonic() - began:6.0f} s\n")
        sys.stdout.flush()
        if (done.returncode != 0) is not fails:
            raise DeploymentError(f"{what}: exit status {done.returncode}; the end of {log}:\n{text[-4000:]}")
        return text

    def playbook(self, what: str, *arguments: str, fails: bool = False) -> str:
        """Run a playbook with the values of inventory/dev; returns what it wrote."""
        argv = ["ansible-playbook", "-i", "inventory/dev", "-e", f"@{self.variables}", *arguments]
        return self.run(what, *argv, fails=fails)

    def unchanged(self, what: str, *arguments: str) -> None:
        """Run a playbook that has nothing to do.

        Raises:
            DeploymentError: it changed something.
        """
        text = self.playbook(what, *arguments)
        changes = [int(count) for count in re.findall(r"^\S+ +: ok=.* changed=(\d+) ", text, re.MULTILINE)]
        if not changes or any(changes):
            raise DeploymentError(f"{what}: changed is {changes} of the hosts, not 0")


@contextmanager
def account(directory: Path, *, keep: bool) -> Iterator[str]:
    """The emulated account, with the instance's host key on its console; yields where EC2 and Budgets answer.

    With ``keep`` it stays after a failure.
    """
    arguments = ["-i", str(HERE / "hosts.yml"), "-e", f"deployment_directory={directory}"]

    def play(name: str) -> None:
        with (LOGS / f"{name}.log").open("w", encoding="utf-8") as file:
            argv = ["ansible-playbook", str(HERE / f"{name}.yml"), *arguments]
            if subprocess.run(
                argv, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False, timeout=900
            ).returncode:
                raise DeploymentError(f"{name} failed: {LOGS / name}.log says why")

    def remove() -> None:
        play("remove_account")
        shutil.rmtree(directory)
        shutil.rmtree(STATE, ignore_errors=True)  # what a failed run left; it describes what is gone

    port, console = free_port(), directory / "console"
    try:
        play("account")
        key = (directory / "ssh/known_hosts").read_text(encoding="ascii").split(" ", 1)[1]
        console.write_text(
            f"-----BEGIN SSH HOST KEY KEYS-----\n{key}-----END SSH HOST KEY KEYS-----\n", encoding="ascii"
        )
        with account_server(port, directory, f"--console={console}"):
            yield f"http://127.0.0.1:{port}"
    except BaseException as error:
        if not (keep and isinstance(error, DeploymentError)):
            remove()
        raise
    remove()


def values(git_base: str) -> dict[str, Any]:
    """What differs from inventory/dev as it stands: where AWS and git are, and what a container needs."""
    passwords = ("admin", "database", "rabbit", "service")
    return {
        "smart_classroom_aws_endpoint_url": ENDPOINT,
        "smart_classroom_aws_internal_endpoint_url": INTERNAL_ENDPOINT,
        "smart_classroom_operator_cidrs": [f"{GATEWAY}/32"],
        "ec2_host_address": HOST_ADDRESS,
        "devstack_git_base": git_base,
        "devstack_host_address": HOST_ADDRESS,
        "devstack_local_conf_extra": (ROOT / "molecule/shared/devstack-host/files/local.conf").read_text(
            encoding="utf-8"
        ),
        # The function runs on this machine.
        "lambda_image_architecture": "x86_64",
        # No mirror of CentOS is assumed to be in reach. This one has what decides about a login and a start: the real
        # cloud-init, another default login, a disk of 10 GB.
        "smart_classroom_image": "built-cloud-init",
        **{f"vault_devstack_{name}_password": f"canary{secrets.token_hex(6)}" for name in passwords},
    }


def left(endpoint_of_ec2: str) -> dict[str, list[str]]:
    """Everything that is in the account, whatever its tags; what each account has from the start left out."""

    def client(service: str) -> Any:
        endpoint = endpoint_of_ec2 if service in ("ec2", "budgets") else ENDPOINT
        return boto3.client(  # type: ignore[call-overload]  # its type stubs want the name as a literal
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    ec2 = client("ec2")
    ended = ("terminated", "shutting-down")
    asked: dict[str, Callable[[], list[str]]] = {
        "instances": lambda: [
            item["InstanceId"]
            for group in ec2.describe_instances()["Reservations"]
            for item in group["Instances"]
            if item["State"]["Name"] not in ended
        ],
        "volumes": lambda: [item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]],
        "addresses": lambda: [item["AllocationId"] for item in ec2.describe_addresses()["Addresses"]],
        "networks": lambda: [item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"] if not item["IsDefault"]],
        "key pairs": lambda: [item["KeyName"] for item in ec2.describe_key_pairs()["KeyPairs"]],
        "templates": lambda: [
            item["LaunchTemplateName"] for item in ec2.describe_launch_templates()["LaunchTemplates"]
        ],
        "buckets": lambda: [item["Name"] for item in client("s3").list_buckets()["Buckets"]],
        "queues": lambda: client("sqs").list_queues().get("QueueUrls", []),
        "tables": lambda: client("dynamodb").list_tables()["TableNames"],
        "functions": lambda: [item["FunctionName"] for item in client("lambda").list_functions()["Functions"]],
        "log groups": lambda: [item["logGroupName"] for item in client("logs").describe_log_groups()["logGroups"]],
        "repositories": lambda: [
            item["repositoryName"] for item in client("ecr").describe_repositories()["repositories"]
        ],
        "roles": lambda: [item["RoleName"] for item in client("iam").list_roles()["Roles"]],
        "users": lambda: [item["UserName"] for item in client("iam").list_users()["Users"]],
        "alarms": lambda: [item["AlarmName"] for item in client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "topics": lambda: [item["TopicArn"] for item in client("sns").list_topics()["Topics"]],
    }
    return {what: ask() for what, ask in asked.items()}


def restart(deployment: Deployment) -> None:
    """Restart the instance, as a reboot does, and bring the cloud back."""
    # DevStack's services have ended after half a minute; the last of systemd's own shutdown never comes in a container.
    deployment.run("the instance restarts", "docker", "restart", "--time", "60", HOST)
    deployment.playbook("recover-devstack after the restart", "playbooks/recover-devstack.yml")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--git-base", required=True, help="git server with DevStack's repositories")
    parser.add_argument("--keep", action="store_true", help="after a failure leave everything; the next run goes on")
    options = parser.parse_args()
    if STATE.exists() and not WORK.exists():
        raise SystemExit(f"{STATE} is there: an environment dev is in use. Remove it first: playbooks/teardown.yml")
    LOGS.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(mode=0o700, exist_ok=True)
    variables = WORK / "values.json"
    if not variables.exists():
        variables.touch(mode=0o600)
        variables.write_text(json.dumps(values(options.git_base)), encoding="utf-8")
    wanted = json.loads(variables.read_text(encoding="utf-8"))
    try:
        with Watch() as watch:
            watch.canaries |= {value for value in wanted.values() if str(value).startswith("canary")}
            watch.canaries.add(CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
            with account(WORK, keep=options.keep) as endpoint_of_ec2:
                deploy_and_remove(Deployment(variables, endpoint_of_ec2), WORK)
                remains = {what: names for what, names in left(endpoint_of_ec2).items() if names}
                if remains:
                    raise DeploymentError(f"the teardown left in the account: {json.dumps(remains)}")
                print("the account is empty again, whatever its things were tagged with")  # noqa: T201
            if watch.seen:
                raise DeploymentError(f"secrets stood on the command lines of: {', '.join(sorted(watch.seen))}")
            found = [log.name for log in LOGS.glob("*.log") if any(word in log.read_text() for word in watch.canaries)]
            if found:
                raise DeploymentError(f"secrets stand in the logs {', '.join(found)}")
            print(f"none of {len(watch.canaries)} planted secrets was in a log or on a command line")  # noqa: T201
    except DeploymentError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def deploy_and_remove(deployment: Deployment, directory: Path) -> None:
    """Every step that an operator takes.

    Raises:
        DeploymentError: one went wrong.
    """
    # The container knows one key. The instance would learn the operator's from EC2.
    (STATE / "ssh").mkdir(parents=True, mode=0o700, exist_ok=True)
    for suffix in ("", ".pub"):
        target = STATE / f"ssh/host_ed25519{suffix}"
        target.touch(mode=0o600)
        target.write_bytes((directory / f"ssh/id_ed25519{suffix}").read_bytes())
    deployment.playbook("prerequisites of an empty account", "playbooks/check-prerequisites.yml")
    deployment.playbook("site.yml in check mode, of an empty account", "site.yml", "--check")
    deployment.playbook("site.yml", "site.yml")
    deployment.unchanged("site.yml again", "site.yml")
    deployment.unchanged("site.yml in check mode", "site.yml", "--check")
    deployment.playbook("verify-parts", "playbooks/verify-parts.yml")
    upload = (sys.executable, "-m", "classroom_ops", "--environment=dev", "upload", CLIP)
    deployment.run("a video is answered", *upload)
    restart(deployment)
    deployment.run("a video is answered after the restart", *upload)
    deployment.unchanged("teardown without the name shows the plan", "playbooks/teardown.yml")
    deployment.playbook(
        "teardown with another name is refused", "playbooks/teardown.yml", "-e", "confirm=de", fails=True
    )
    deployment.playbook("teardown", "playbooks/teardown.yml", "-e", "confirm=dev")
    deployment.playbook("teardown of nothing", "playbooks/teardown.yml", "-e", "confirm=dev")


if __name__ == "__main__":
    sys.exit(main())
