"""The operator's commands on the running stack, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from classroom_ops.environment import PROJECT_ROOT
from classroom_ops.redaction import known_secrets
from tests.system.stack.running_stack import MEDIA, Stack


def command(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one of the commands."""
    return subprocess.run(
        [sys.executable, "-m", "classroom_ops", *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_upload_prints_the_csv_alone(stack: Stack) -> None:
    batch = stack.batch()
    name = "two-students-720p.mp4"
    # Twice under one key: the second answer is not the first.
    for _ in range(2):
        done = command("upload", str(MEDIA / name), "--key", f"{batch.prefix}{name}")
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert sorted(row["name"] for row in rows) == ["Barack Obama", "Joe Biden"]
        assert "status    recognized" in done.stderr
        assert f"{stack.vm}:{stack.endpoints.results_dir}/" in done.stderr
    stack.upload(batch, name, MEDIA / name, stack.known[name])
    stack.expect_all_answered_once(batch, 60)


def test_status_is_one_screen(stack: Stack, tell: Callable[[str], None]) -> None:
    """Whoever does not answer within its few seconds is shown as down, so it is asked until a busy machine lets all."""
    screens: list[str] = []

    def well() -> bool:
        start = time.monotonic()
        done = command("status")
        tell(f"status {time.monotonic() - start:.1f} s (budget 10 s)")
        screens.append(done.stdout)
        return done.returncode == 0

    stack.await_("every part is well", well, 120)
    assert len(screens[-1].splitlines()) <= 24
    names = {part["name"] for part in json.loads(command("status", "--json").stdout)["parts"]}
    assert {"AWS", "OpenStack", f"VM {stack.vm}"} <= names


def test_logs_hold_every_part_and_no_secret(stack: Stack, tmp_path: Path, tell: Callable[[str], None]) -> None:
    done = command("logs", "--output", str(tmp_path / "logs.tar.gz"))
    assert done.returncode == 0, done.stderr
    assert "not collected" not in done.stderr
    secrets = known_secrets(stack.endpoints.state_dir)
    assert secrets, "the environment has secrets"
    with tarfile.open(tmp_path / "logs.tar.gz") as archive:
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            assert stream is not None
            text = stream.read().decode()
            assert not [secret for secret in secrets if secret in text], member.name
            assert "PRIVATE KEY" not in text
    tell(f"logs {(tmp_path / 'logs.tar.gz').stat().st_size / 1e6:.1f} MB")


def test_the_dynamic_inventory_finds_the_vm(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "inventory", "-i", ".state/local/inventory/openstack.yml", "--list"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    inventory = json.loads(done.stdout)
    assert inventory["smart_classroom_local"]["hosts"] == list(stack.endpoints.pollers)
    # Ansible marks so what comes from outside.
    address = inventory["_meta"]["hostvars"][stack.vm]["ansible_host"]["__ansible_unsafe"]
    settings = subprocess.run(
        ["ssh", "-G", "-F", str(stack.endpoints.ssh_config), stack.vm],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert f"hostname {address}" in settings.stdout.splitlines()
