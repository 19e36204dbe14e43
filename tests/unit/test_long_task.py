"""The job behind long_task: runs once, can be attached to, tells why it failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.smart_classroom.platform.plugins.action.long_task import Job, LongTaskError, purpose_of

ROOT = Path(__file__).resolve().parents[2]


def make(tmp_path: Path, script: str) -> Job:
    job = Job(tmp_path, "build")
    job.start(["bash", "-c", script], {"COLOUR": "green"}, None)
    return job


def ignore(_line: str) -> None:
    """Progress nobody looks at."""


def await_end(job: Job) -> None:
    deadline = time.monotonic() + 20
    while job.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_success_shows_each_phase(tmp_path: Path) -> None:
    shown: list[str] = []
    gate = tmp_path / "gate"
    job = make(tmp_path, f'echo "phase: unpack $COLOUR"; while [ ! -e {gate} ]; do sleep 0.05; done; echo noise')

    def show(line: str) -> None:
        shown.append(line)
        if "unpack" in line:
            gate.touch()

    job.follow(show, timeout_seconds=20, interval_seconds=15)
    assert any(line.endswith("build: unpack green") for line in shown)
    assert shown[-1].endswith("build: done")
    assert job.return_code() == 0


def test_failure_carries_the_last_lines_and_the_status(tmp_path: Path) -> None:
    job = make(tmp_path, "echo 'phase: compile'; echo no space left >&2; exit 7")
    with pytest.raises(LongTaskError, match=r"(?s)exit status 7 in phase 'compile'.*no space left"):
        job.follow(ignore, timeout_seconds=20, interval_seconds=15)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    job = Job(tmp_path, "build")
    job.start(["/nonexistent/program"], {}, None)
    with pytest.raises(LongTaskError, match=r"cannot run /nonexistent/program"):
        job.follow(ignore, timeout_seconds=20, interval_seconds=15)


def test_a_running_job_is_not_started_twice(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = make(tmp_path, f"while [ ! -e {gate} ]; do sleep 0.05; done")
    assert job.is_running()
    with pytest.raises(LongTaskError, match="running already"):
        Job(tmp_path, "build").start(["true"], {}, None)
    gate.touch()
    await_end(job)
    Job(tmp_path, "build").start(["true"], {}, None)
    await_end(job)


def test_a_job_is_joined_only_if_it_makes_the_same_thing(tmp_path: Path) -> None:
    argv = ["sleep", "600"]
    job = Job(tmp_path, "build")
    assert not job.makes(purpose_of(argv, {}, None, "image:1"))
    job.start(argv, {}, None, purpose_of(argv, {}, None, "image:1"))
    again = Job(tmp_path, "build")
    assert again.makes(purpose_of(argv, {}, None, "image:1"))
    assert not again.makes(purpose_of(argv, {}, None, "image:2"))
    assert not again.makes(purpose_of(argv, {"A": "b"}, None, "image:1"))
    assert not again.makes(purpose_of([*argv, "1"], {}, None, "image:1"))
    job.stop()
    (job.home / "job.json").write_text("{")
    assert not again.makes(purpose_of(argv, {}, None, "image:1"))


def test_the_job_survives_the_process_that_started_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done"
    code = (
        "from pathlib import Path; from ansible_collections.smart_classroom.platform.plugins.action import long_task; "
        f"long_task.Job(Path({str(tmp_path)!r}), 'build').start(['bash', '-c', {wait!r}], {{}}, None)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "collections")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=environment)
    job = Job(tmp_path, "build")
    assert job.is_running()
    gate.touch()
    job.follow(ignore, timeout_seconds=20, interval_seconds=15)


def test_time_out_leaves_the_job_running(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = make(tmp_path, f"while [ ! -e {gate} ]; do sleep 0.05; done")
    with pytest.raises(LongTaskError, match="goes on in the background"):
        job.follow(ignore, timeout_seconds=0, interval_seconds=15)
    assert job.is_running()
    gate.touch()
    await_end(job)


def test_stop_ends_the_whole_process_group(tmp_path: Path) -> None:
    job = make(tmp_path, "sleep 600 & sleep 600")
    assert job.stop()
    assert not job.is_running()
    assert not job.stop()
