"""The service as a process of its own: what only a real process can show."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from classroom_poller.status import identity, read_status
from poller_testing.loopback_aws import LoopbackAws
from poller_testing.world import ROOT, World, eventually

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Iterator[Run]:
    """Starts the service; its log goes to the file ``log`` of the test's directory."""
    processes: list[subprocess.Popen[str]] = []

    def start(command: str = "run", environment: dict[str, str] | None = None, **changes: Any) -> subprocess.Popen[str]:
        config = world.write_config(tmp_path, **changes)
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "classroom_poller", command, "--config", str(config)],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT.parent),
                    "CREDENTIALS_DIRECTORY": str(world.credentials),
                    # These must not be used; the test would see their name in the request.
                    "AWS_ACCESS_KEY_ID": "environment",
                    "AWS_SECRET_ACCESS_KEY": "environment",
                    **(environment or {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def log_lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


def test_killed_again_and_again_it_loses_and_doubles_nothing(world: World, run: Run) -> None:
    def function(event: Any) -> Any:
        time.sleep(0.05 * len(event["Records"]))
        return world.aws.answer_uploads(event)

    world.aws.function = function
    world.allow_receives(20)  # each kill costs the messages in flight one, and so does a machine that is busy
    keys = [f"{number}.mp4" for number in range(60)]
    for key in keys:
        world.upload(key)
    chance = random.Random(1)  # noqa: S311 no secret hangs on it
    for _ in range(4):
        goal = len(world.csv_files()) + 1
        process = run(visibility_seconds=2)
        eventually(functools.partial(world.has_results, goal), what="some results")
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    run(visibility_seconds=2)
    eventually(lambda: len(world.csv_files()) == 60 and world.empty(), what="all 60 results", seconds=40)
    assert len(world.results()) == 120
    assert world.depth("input-notification-dlq") == world.depth("output-notification-dlq") == 0


def test_the_network_comes_back_and_so_does_the_service(world: World, run: Run, tmp_path: Path) -> None:
    process = run()
    eventually(lambda: (tmp_path / "status.json").exists(), what="the status")
    world.aws.cut.set()
    world.upload("a.mp4")
    eventually(lambda: "cannot be reached" in (tmp_path / "log").read_text(), what="the complaint")
    assert world.csv_files() == []
    world.aws.cut.clear()
    eventually(lambda: world.csv_files() and world.empty(), what="the result", seconds=30)
    assert process.poll() is None


def test_sigterm_drains_and_reports_to_systemd(world: World, run: Run, tmp_path: Path) -> None:
    running = threading.Event()

    def function(event: Any) -> Any:
        running.set()
        time.sleep(2)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    world.upload("a.mp4")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        process = run(environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"})
        said = [manager.recv(500).decode()]
        assert said == ["READY=1"]
        assert running.wait(10)
        while said[-1] != "WATCHDOG=1":
            said.append(manager.recv(500).decode())
        process.send_signal(signal.SIGTERM)
        while said[-1] != "STOPPING=1":
            said.append(manager.recv(500).decode())
    assert process.wait(15) == 0
    assert world.depth("input-notification") == 0
    assert sum("answered" in line["message"] for line in log_lines(tmp_path)) == 1


def test_logs_are_json_with_the_video_and_without_secrets(world: World, run: Run, tmp_path: Path) -> None:
    world.upload("a b.mp4", "abc")
    run(log_level="DEBUG")
    eventually(lambda: world.csv_files() and world.empty(), what="the result")
    lines = log_lines(tmp_path)
    assert {line["message"] for line in lines if line.get("correlation") == "a b.mp4@abc"} >= {"answered", "stored"}
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    text = (tmp_path / "log").read_text()
    assert "secret-of-the-file" not in text


def test_status_tells_how_it_is_doing(world: World, run: Run, tmp_path: Path) -> None:
    world.upload("a.mp4")
    service = run()
    eventually(lambda: world.csv_files() and world.empty(), what="the result")

    def status() -> tuple[int, dict[str, Any]]:
        config = tmp_path / "poller.toml"
        command = [sys.executable, "-m", "classroom_poller", "status", "--config", str(config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False
        )
        return done.returncode, json.loads(done.stdout)

    code, values = eventually(lambda: (answer := status())[1]["stored"] and answer, what="the counter")
    assert code == 0
    assert values["fresh"]
    # The credentials are a test's own, not those of an installed service.
    assert values["outdated"]
    assert (values["invoked"], values["answered"], values["stored"], values["results"]) == (1, 1, 1, 1)
    assert values["last_activity"]
    assert values["input_polled_at"]
    service.kill()
    service.wait(10)
    old = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**old, "written_at": "2026-01-01T00:00:00+00:00"}))
    assert status()[0] == 1
    (tmp_path / "status.json").unlink()
    code, values = status()
    assert code == 1
    assert "systemctl status classroom-poller" in values["problems"]["status"]


def test_a_change_of_any_file_makes_the_service_outdated(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("poller.toml", "aws-credentials", "classroom-poller.service")]
    seen = {identity(*files)}
    for path in files:
        path.write_text("changed")
        seen.add(identity(*files))
    assert len(seen) == 4
    now = datetime.now(UTC).isoformat()
    (tmp_path / "status.json").write_text(json.dumps({"written_at": now, "identity": identity(*files)}))
    assert read_status(tmp_path / "status.json", tmp_path, identity(*files))["outdated"] is False
    assert read_status(tmp_path / "status.json", tmp_path, "another")["outdated"] is True


def test_settings_that_cannot_be_used_end_it_for_good(world: World, run: Run, tmp_path: Path) -> None:
    assert run(concurrency=0).wait(15) == 78
    assert run(environment={"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}).wait(15) == 78
    messages = [line["message"] for line in log_lines(tmp_path)]
    assert "concurrency must be" in messages[0]
    assert "credentials" in messages[1]


def test_the_loopback_answers_health() -> None:
    import urllib.request

    aws = LoopbackAws()
    try:
        with urllib.request.urlopen(f"{aws.url}/health", timeout=5) as answer:  # noqa: S310 a fixed loopback address
            assert answer.status == 200
    finally:
        aws.close()
