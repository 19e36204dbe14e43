"""The running stack as people's machines have it: whatever a shell holds, and whoever owns the virtual machine."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from classroom_ops.commands import run
from classroom_ops.environment import PROJECT_ROOT
from tests.support.hostile import groups, settings
from tests.support.trap import trap
from tests.system.stack.running_stack import MEDIA, Stack

SHELL = {name: os.environ[name] for name in ("PATH", "HOME", "TERM") if name in os.environ}
# Python ends before anything of the project begins; `make` and `bin/closed` begin before it.
ENDS_BY_HAND = {"Python's home"}
# On the virtual machine is no library for AWS, and none is needed: the emulator checks no signature.
THIEF = """
import json, sys, urllib.request
def ask(service, target, body):
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1",
               "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/%s/aws4_request" % service}
    request = urllib.request.Request(sys.argv[1], json.dumps(body).encode(), headers)
    try:
        print(service, target, urllib.request.urlopen(request, timeout=60).read()[:300])
    except Exception as error:
        print(service, target, error)
ecs = "AmazonEC2ContainerServiceV20141113."
disk = {"name": "host", "host": {"sourcePath": "/"}}
container = {"name": "a", "image": sys.argv[2], "privileged": True, "memory": 64,
             "mountPoints": [{"sourceVolume": "host", "containerPath": "/host"}]}
ask("ecs", ecs + "CreateCluster", {"clusterName": "thief"})
ask("ecs", ecs + "RegisterTaskDefinition", {"family": "thief", "containerDefinitions": [container], "volumes": [disk]})
ask("ecs", ecs + "RunTask", {"cluster": "thief", "taskDefinition": "thief"})
ask("ecs", ecs + "DeregisterTaskDefinition", {"taskDefinition": "thief:1"})
ask("ecs", ecs + "DeleteCluster", {"cluster": "thief"})
"""


def hand(variables: Mapping[str, str], *argv: str, seconds: float = 180) -> subprocess.CompletedProcess[str]:
    """What a person types in a shell that holds `variables`."""
    return subprocess.run(
        argv, cwd=PROJECT_ROOT, env={**SHELL, **variables}, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_no_setting_of_a_shell_leads_a_command_away(stack: Stack, tmp_path: Path) -> None:
    batch = stack.batch()
    name = "barack-obama-360p.mp4"
    with trap() as elsewhere:
        sets = settings(tmp_path, elsewhere.url)
        assert len(sets) >= 20
        for number, values in enumerate(groups({one: sets[one] for one in sets if one not in ENDS_BY_HAND})):
            key = f"{batch.prefix}{number}-{name}"
            done = hand(values, sys.executable, "-m", "classroom_ops", "upload", str(MEDIA / name), "--key", key)
            assert done.returncode == 0, f"{values}: {done.stderr}"
            assert [row["name"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["Barack Obama"]
            stack.upload(batch, f"{number}-{name}", MEDIA / name, stack.known[name])
        values = groups({one: sets[one] for one in sets if one not in ENDS_BY_HAND})[0]
        done = hand(values, sys.executable, "-m", "classroom_ops", "status")
        assert "Traceback" not in done.stdout + done.stderr
        assert "AWS call failed" not in done.stdout
    assert elsewhere.visits == []
    assert not (tmp_path / "credential-process-ran").exists()
    stack.expect_all_answered_once(batch, 120)


def test_no_setting_of_a_shell_leads_a_playbook_away(stack: Stack, tmp_path: Path) -> None:
    with trap() as elsewhere:
        values: dict[str, str] = {}
        for one in settings(tmp_path, elsewhere.url).values():
            values |= {"HOME": SHELL["HOME"]} | one
        values["HOME"] = SHELL["HOME"]
        argv = ("bin/closed", "ansible-playbook", "playbooks/verify-parts.yml", "--tags", "s3_buckets,sqs_queues")
        done = hand(values, *argv, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert elsewhere.visits == []
    assert stack.queues_empty()


def test_the_virtual_machine_has_no_way_to_docker(stack: Stack) -> None:
    emulator = str(stack.endpoints.aws_container)
    address = run(
        ["docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", emulator], 20
    )
    image = run(["docker", "inspect", "--format", "{{.Config.Image}}", emulator], 20).stdout.strip()
    before = run(["docker", "ps", "--all", "--quiet", "--no-trunc"], 20).stdout.split()
    url = f"http://{address.stdout.strip()}:4566/"
    said = stack.on_the_vm("python3", "-c", THIEF, url, image, seconds=120).stdout
    assert "RunTask" in said
    made = set(run(["docker", "ps", "--all", "--quiet", "--no-trunc"], 20).stdout.split()) - set(before)
    for container in made:  # the function's own may come meanwhile
        mounts = run(["docker", "inspect", "--format", "{{.HostConfig.Privileged}} {{json .Mounts}}", container], 20)
        assert mounts.stdout.strip() == "false []", said
    refused = run(["docker", "logs", "--tail", "50", f"{emulator}-engine-door"], 20)
    assert "refused" in refused.stderr, said
