"""The description of a deployed environment, and programs with a bounded time."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from classroom_ops import commands, environment
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError, NotDeployedError


def test_reads_names_and_makes_paths_absolute(root: Path, written: dict[str, Any]) -> None:
    endpoints = environment.load("local", root)
    assert endpoints.input_bucket == "input-bucket-video"
    assert endpoints.pollers == ("classroom-poller-1",)
    assert endpoints.ssh_config == root / ".state/local/ssh/config"
    assert endpoints.state_dir == root / ".state/local"
    assert endpoints.queues == (
        "input-notification", "output-notification", "input-notification-dlq", "output-notification-dlq",
    )  # fmt: skip


def test_nothing_deployed_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotDeployedError, match=r"run make up$"):
        environment.load("local", tmp_path)
    with pytest.raises(NotDeployedError, match="make up ENVIRONMENT=dev"):
        environment.load("dev", tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"environment": "local"}', '{"credentials": 3}'])
def test_damaged_description_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".state/local/endpoints.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(NotDeployedError, match=r"is damaged .* run make up"):
        environment.load("local", tmp_path)


def test_real_aws_has_neither_endpoint_nor_credentials(root: Path, written: dict[str, Any]) -> None:
    del written["credentials"]
    written["endpoint_url"] = None
    (root / ".state/local/endpoints.json").write_text(json.dumps(written))
    endpoints = environment.load("local", root)
    assert endpoints.endpoint_url is None
    assert endpoints.access_key_id is None


def test_program_that_hangs_is_ended() -> None:
    start = time.monotonic()
    with pytest.raises(CommandError, match="sleep gave no answer within 0 s"):
        commands.run(["sleep", "30"], timeout=0.2)
    assert time.monotonic() - start < 5


def test_program_that_fails_says_its_last_line() -> None:
    with pytest.raises(CommandError, match=r"ended with code 3: the reason$"):
        commands.run(["sh", "-c", "echo noise >&2; echo the reason >&2; exit 3"], timeout=5)


def test_missing_program_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program is not installed"):
        commands.run(["no-such-program"], timeout=5)


def test_unreachable_vm_is_told_from_a_failing_command(endpoints: Endpoints) -> None:
    assert commands.ssh(endpoints, "classroom-poller-1", ["echo", "a b", "*"], 5).stdout == "a b *\n"
    with pytest.raises(CommandError, match="false on classroom-poller-1 ended with code 1"):
        commands.ssh(endpoints, "classroom-poller-1", ["false"], 5)
    Path(os.environ["FAKE_VM"], "unreachable").touch()
    with pytest.raises(CommandError, match=r"classroom-poller-1 cannot be reached over SSH: .*No route to host"):
        commands.ssh(endpoints, "classroom-poller-1", ["true"], 5, ok=(0, 1))
