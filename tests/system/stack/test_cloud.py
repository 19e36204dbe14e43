"""The private cloud's role against the running cloud: what it refuses, what it sees, what it repairs.

A scenario of its own would start a second cloud for this, cold, and take five minutes and 8 GB.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from classroom_ops.commands import run
from classroom_ops.environment import PROJECT_ROOT
from tests.system.stack.running_stack import Stack


def role(entry_point: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run an entry point of the role openstack_allinone."""
    given = json.dumps({"entry_point": entry_point, **values})
    return subprocess.run(
        ["ansible-playbook", "-i", "inventory/local", "tests/system/stack/role.yml", "-e", given],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def in_the_cloud(stack: Stack, *argv: str) -> None:
    container = stack.endpoints.cloud_container
    assert container
    run(["docker", "exec", container, *argv], 60)


def test_a_machine_that_lacks_everything_is_refused_with_every_reason() -> None:
    refused = role(
        "preflight",
        openstack_allinone_minimum_memory_mb=99000000,
        openstack_allinone_minimum_disk_mb=99000000,
        openstack_allinone_floating_cidr="127.0.0.0/8",
        openstack_allinone_network_name="smart-classroom-absent",
    )
    assert refused.returncode != 0
    said = " ".join(refused.stdout.split())
    assert "of memory, 99000000 MB are needed" in said
    assert "of disk left, 99000000 MB are needed" in said
    assert "smart-classroom-absent does not exist" in said


def test_a_clouds_yaml_that_others_may_read_is_closed_again(stack: Stack) -> None:
    stack.endpoints.clouds_yaml.chmod(0o644)
    done = role("main")
    assert done.returncode == 0, done.stdout
    assert stack.endpoints.clouds_yaml.stat().st_mode & 0o777 == 0o600


def test_a_service_that_stops_is_named_by_both_witnesses(stack: Stack) -> None:
    in_the_cloud(stack, "systemctl", "stop", "glance-api")
    try:
        seen = role("verify")
    finally:
        in_the_cloud(stack, "systemctl", "start", "glance-api")
    assert seen.returncode != 0
    said = " ".join(seen.stdout.split())
    assert "Glance does not answer" in said
    assert "the unit glance-api is not active" in said
    stack.await_("Glance answers again", lambda: role("verify").returncode == 0, 120, tick=5)
