"""Action plugin ``long_task``: a long command as a detached job that a later run can attach to again.

Ansible's ``async`` loses the output until the end and knows nothing of a run that was killed. Here the command belongs
to a directory: ``<directory>/<name>/`` holds ``job.json`` (what runs), ``log`` (its output) and, when it has ended,
``rc``. A lock on ``lock``, held by the job for as long as it lives, says whether it runs; so a killed playbook run
finds its build again instead of starting a second one. A job of the same name that makes something else, because the
code changed meanwhile, is ended first. See the module of the same name for the parameters.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHASE_PREFIX = "phase: "
TAIL_LINES = 30
POLL_SECONDS = 0.5
STOP_SECONDS = 20.0
NICENESS = 10  # a build leaves the processors to the services that start beside it
DEFAULT_DIRECTORY = "{{ smart_classroom_state_dir }}/jobs"


class LongTaskError(Exception):
    """The job failed, ran out of time, or could not be started."""


@dataclass(frozen=True)
class Job:
    """One named job below ``directory``."""

    directory: Path
    name: str

    @property
    def home(self) -> Path:
        return self.directory / self.name

    @property
    def log(self) -> Path:
        return self.home / "log"

    def is_running(self) -> bool:
        """Whether a process holds the job's lock."""
        try:
            lock = (self.home / "lock").open("rb")
        except FileNotFoundError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def return_code(self) -> int | None:
        """Exit status of the last run, None when it never ended."""
        try:
            return int((self.home / "rc").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def makes(self, purpose: str) -> bool:
        """Whether the last run was started for this ``purpose`` (`purpose_of`)."""
        try:
            return bool(json.loads((self.home / "job.json").read_text(encoding="utf-8"))["purpose"] == purpose)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False

    def start(self, argv: Sequence[str], environment: Mapping[str, str], chdir: str | None, purpose: str = "") -> None:
        """Start ``argv`` detached from this process; the lock is taken before this returns.

        Raises:
            LongTaskError: it is running already, or the program cannot be executed.
        """
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.home / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise LongTaskError(f"{self.name} is running already") from error
        (self.home / "rc").unlink(missing_ok=True)
        with lock, self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, __file__, str(self.home), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=chdir,
                env={**os.environ, **environment, "LONG_TASK_LOCK_FD": str(lock.fileno())},
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
            description = {"argv": list(argv), "chdir": chdir, "started": time.time(), "process_group": process.pid}
            description["purpose"] = purpose
            (self.home / "job.json").write_text(json.dumps(description), encoding="utf-8")

    def stop(self) -> bool:
        """End the job with all its processes; says whether it ran."""
        if not self.is_running():
            return False
        group = int(json.loads((self.home / "job.json").read_text(encoding="utf-8"))["process_group"])
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(group, signal_number)
            deadline = time.monotonic() + STOP_SECONDS
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        return True

    def started_at(self) -> float:
        """Start of the last run, seconds since the epoch."""
        return float(json.loads((self.home / "job.json").read_text(encoding="utf-8"))["started"])

    def lines(self) -> list[str]:
        """The log so far."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def phase(self) -> str:
        """The last line of the log that names a phase, else the last line."""
        lines = self.lines()
        for line in reversed(lines):
            if line.startswith(PHASE_PREFIX):
                return line.removeprefix(PHASE_PREFIX)
        return lines[-1][:100] if lines else "starting"

    def follow(self, show: Callable[[str], None], timeout_seconds: float, interval_seconds: float) -> None:
        """Wait for the end; ``show`` gets a line at each new phase and at least every ``interval_seconds``.

        Raises:
            LongTaskError: the job failed or did not end in ``timeout_seconds`` (it goes on then).
        """
        begin = self.started_at()
        deadline = time.monotonic() + timeout_seconds
        shown, shown_at = "", 0.0
        while self.is_running():
            phase, now = self.phase(), time.monotonic()
            if phase != shown or now - shown_at >= interval_seconds:
                show(f"  [{elapsed(time.time() - begin)}] {self.name}: {phase}")
                shown, shown_at = phase, now
            if now > deadline:
                raise LongTaskError(
                    f"{self.name} has not ended within {timeout_seconds:.0f} s; it goes on in the background, its last "
                    f"phase is '{phase}'. Watch it with: tail -f {self.log}; then run the playbook again."
                )
            time.sleep(POLL_SECONDS)
        code = self.return_code()
        if code != 0:
            tail = "\n".join(self.lines()[-TAIL_LINES:])
            ending = "was killed" if code is None else f"ended with exit status {code}"
            raise LongTaskError(
                f"{self.name} {ending} in phase '{self.phase()}'.\nLast lines of {self.log}:\n{tail}\n"
                "Mend what they name and run the same command again: finished steps are kept."
            )
        show(f"  [{elapsed(time.time() - begin)}] {self.name}: done")


def purpose_of(argv: Sequence[str], environment: Mapping[str, str], chdir: str | None, content: str) -> str:
    """A digest of what a job makes: two jobs with the same one may stand in for each other."""
    parts = json.dumps([list(argv), dict(environment), chdir, content], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def elapsed(seconds: float) -> str:
    """Minutes and seconds, right-aligned.

    >>> elapsed(95)
    ' 1:35'
    """
    return f"{int(seconds) // 60:2d}:{int(seconds) % 60:02d}"


def _supervise(home: Path, argv: Sequence[str]) -> int:
    """Run ``argv`` and record its exit status. The inherited descriptor keeps the lock until this process ends."""
    lock_fd = int(os.environ.pop("LONG_TASK_LOCK_FD"))
    os.set_inheritable(lock_fd, False)
    os.nice(NICENESS)
    try:
        code = subprocess.run(argv, check=False).returncode
    except OSError as error:
        print(f"cannot run {argv[0]}: {error}", flush=True)  # noqa: T201 standard output is the job's log
        code = 127
    partial = home / "rc.partial"
    partial.write_text(str(code), encoding="ascii")
    partial.replace(home / "rc")
    return code


if __name__ == "__main__":
    sys.exit(_supervise(Path(sys.argv[1]), sys.argv[2:]))

from ansible.plugins.action import ActionBase  # noqa: E402 the supervisor above must start without Ansible's imports
from ansible.template import trust_as_template  # noqa: E402
from ansible.utils.display import Display  # noqa: E402


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Start or follow a job on the controller."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task; see the module's documentation for parameters and results."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str", "required": True},
                "argv": {"type": "list", "elements": "str"},
                "environment": {"type": "dict", "default": {}},
                "chdir": {"type": "path"},
                "content": {"type": "str", "default": ""},
                "state": {"type": "str", "choices": ["started", "finished", "stopped"], "default": "finished"},
                "directory": {"type": "path"},
                "timeout_seconds": {"type": "int", "default": 1800},
                "interval_seconds": {"type": "int", "default": 15},
            },
            required_if=[("state", "started", ["argv"]), ("state", "finished", ["argv"])],
        )
        directory = arguments["directory"] or self._templar.template(trust_as_template(DEFAULT_DIRECTORY))
        job = Job(Path(directory).resolve(), arguments["name"])
        if arguments["state"] == "stopped":
            return {**result, "changed": job.is_running() if self._task.check_mode else job.stop()}
        if self._task.check_mode:
            return {**result, "changed": True, "msg": "would run " + " ".join(arguments["argv"])}
        environment = {key: str(value) for key, value in arguments["environment"].items()}
        purpose = purpose_of(arguments["argv"], environment, arguments["chdir"], arguments["content"])
        try:
            if job.is_running() and not job.makes(purpose):
                Display().display(f"  {job.name}: the one that runs makes something else; it is ended")
                job.stop()
            if not job.is_running():
                with suppress(FileNotFoundError):
                    job.log.replace(job.home / "log.previous")
                job.start(arguments["argv"], environment, arguments["chdir"], purpose)
            if arguments["state"] == "finished":
                job.follow(Display().display, arguments["timeout_seconds"], arguments["interval_seconds"])
        except (LongTaskError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": True, "log": str(job.log), "stdout_lines": job.lines()[-TAIL_LINES:]}
