"""Run the roles with an environment's values in an emulated account and compare what they ask with a reviewed plan.

Usage: python -m tests.system.plan.record [--update] [environment ...]      (make plan, make plan-update)

The account is empty: ``site.yml --check`` must come to its end there and ask for no change. Then the roles run for
real, once more without a change, and then the teardown runs, which proves that nothing is left; what the account is
asked is written down by its server. Without ``--update`` a difference is shown and the exit status is 1.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from tests.support.servers import account_server, free_port, listening
from tests.system.plan.requests import plan

ROOT = Path(__file__).resolve().parents[3]
PLANS = Path(__file__).resolve().parent
ENVIRONMENTS = ("dev", "prod")
IMAGE_TAG = "plan"
START_SECONDS = 60
RUN_SECONDS = 600
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "plan", "AWS_SECRET_ACCESS_KEY": "unchecked-by-the-emulator"}


class PlanError(Exception):
    """The plan cannot be recorded; the message says why."""


def run_playbook(environment: str, arguments: list[str], values: dict[str, Any], directory: Path) -> None:
    """Run a playbook with the values of an environment, some of them replaced.

    Raises:
        PlanError: a role failed.
    """
    variables = directory / "values.json"
    variables.write_text(json.dumps(values), encoding="utf-8")
    argv = ["ansible-playbook", "-i", f"inventory/{environment}", *arguments, "-e", f"@{variables}"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        argv, cwd=ROOT, env={**clean, **CREDENTIALS}, capture_output=True, text=True, check=False, timeout=RUN_SECONDS
    )
    if done.returncode != 0:
        raise PlanError(
            f"the roles failed with the values of {environment}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )


def record(environment: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """The plan of an environment, as the roles ask for it now; ``values`` override those of the inventory.

    Raises:
        PlanError: a server or a role failed.
    """
    account_port, ssh_port = free_port(), free_port()
    endpoint = f"http://127.0.0.1:{account_port}"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        requests, console, host_key = directory / "requests", directory / "console", directory / "host_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True, timeout=30)
        public = host_key.with_suffix(".pub").read_text(encoding="ascii")
        console.write_text(
            f"-----BEGIN SSH HOST KEY KEYS-----\n{public}-----END SSH HOST KEY KEYS-----\n", encoding="ascii"
        )
        authorized = directory / "state/ssh/host_ed25519.pub"
        ssh_server = [sys.executable, str(ROOT / "tests/support/aws_account/ssh_server.py"), f"--port={ssh_port}"]
        ssh_server += [f"--host-key={host_key}", f"--authorized-key={authorized}"]
        extra = {
            "smart_classroom_aws_endpoint_url": endpoint,
            "smart_classroom_state_dir": str(directory / "state"),
            "smart_classroom_operator_cidrs": ["192.0.2.10/32"],
            "ec2_host_address": "127.0.0.1",
            "ec2_host_ssh_port": ssh_port,
            "lambda_function_image_tag": IMAGE_TAG,
            **(values or {}),
        }
        with (
            account_server(account_port, directory, f"--console={console}", f"--record={requests}"),
            listening("ssh", ssh_server, ssh_port, directory),
        ):

            def asked_by(*arguments: str) -> list[Any]:
                requests.write_text("", encoding="utf-8")
                run_playbook(environment, list(arguments), extra, directory)
                return [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]

            # moto has no policy simulation and no quotas, which the prerequisites ask for.
            checked = asked_by("site.yml", "--check", "--skip-tags=check-prerequisites")
            if plan(checked, [], {})["changes"]:
                raise PlanError(f"site.yml --check with the values of {environment} changes an empty account")
            if (directory / "state").exists():
                raise PlanError(f"site.yml --check with the values of {environment} writes into its state directory")
            deployment = asked_by("tests/system/plan/plan.yml", "--tags=account")
            push(endpoint)
            deployment += asked_by("tests/system/plan/plan.yml", "--tags=function")
            again = plan(asked_by("tests/system/plan/plan.yml"), [], {})["changes"]
            if again:
                raise PlanError(
                    f"the second run with the values of {environment} changes again: {json.dumps(again[:3])}"
                )
            if plan(asked_by("playbooks/teardown.yml"), [], {})["changes"]:
                raise PlanError(f"a teardown of {environment} without a confirmation changes something")
            removal = asked_by("playbooks/teardown.yml", "-e", f"confirm={environment}")
            if environment == "prod":
                if not all(data(endpoint)):
                    raise PlanError("one confirmation removes the data of prod")
                both = ["-e", f"confirm={environment}", "-e", f"confirm_data={environment}"]
                removal += asked_by("playbooks/teardown.yml", *both)
            if any(data(endpoint)):
                raise PlanError(f"the confirmed teardown of {environment} leaves data")
    replacements = {endpoint: "https://aws", f"127.0.0.1:{account_port}": "registry", str(directory): "<directory>"}
    return plan(deployment, removal, replacements)


def client(service: str, endpoint: str) -> Any:
    """A client of the emulated account."""
    key = "plan"
    return boto3.client(  # type: ignore[call-overload]
        service, region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=key
    )


def data(endpoint: str) -> tuple[list[Any], list[Any]]:
    """The buckets and the tables of the emulated account."""
    buckets = client("s3", endpoint).list_buckets()["Buckets"]
    return buckets, client("dynamodb", endpoint).list_tables()["TableNames"]


def push(endpoint: str) -> None:
    """An image in every repository, as the role lambda_image would push it, so that the function has one to run."""
    ecr = client("ecr", endpoint)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/json", "size": 1, "digest": "sha256:" + "0" * 64},
        "layers": [],
    }
    for repository in ecr.describe_repositories()["repositories"]:
        ecr.put_image(
            repositoryName=repository["repositoryName"], imageManifest=json.dumps(manifest), imageTag=IMAGE_TAG
        )


def written(content: dict[str, Any]) -> str:
    """A plan as the text of its file."""
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="*", default=ENVIRONMENTS)
    parser.add_argument("--update", action="store_true", help="write the files instead of comparing")
    arguments = parser.parse_args()
    different = False
    with ThreadPoolExecutor(len(ENVIRONMENTS)) as pool:
        plans = dict(zip(arguments.environments, pool.map(record, arguments.environments), strict=True))
    for environment, content in plans.items():
        path = PLANS / f"{environment}.json"
        now = written(content)
        if arguments.update:
            path.write_text(now, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} is written: review its diff")  # noqa: T201
            continue
        before = path.read_text(encoding="utf-8")
        lines = list(difflib.unified_diff(before.splitlines(), now.splitlines(), f"{environment} reviewed", "now", n=4))
        different = different or bool(lines)
        print("\n".join(lines) if lines else f"{environment}: what is asked of AWS is what was reviewed")  # noqa: T201
    if different:
        print("If that is meant: make plan-update, and commit the difference with its reason", file=sys.stderr)  # noqa: T201
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
