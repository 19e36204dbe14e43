"""Programs on this machine and on the VMs, each with a bounded time."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError

SSH_UNREACHABLE = 255
CONNECT_SECONDS = 15  # a VM without hardware support takes seconds on a busy machine
# The poller's own status as JSON, by its name where it is on the path, else where the role puts it. Code 1: not fresh.
POLLER_STATUS = (
    "if command -v classroom-poller >/dev/null; then exec classroom-poller status; fi; "
    # Where the system's own Python is too old for the service, the role has installed another.
    "exec $(command -v /usr/bin/python3.11 || echo /usr/bin/python3) -IBS "
    "/opt/smart-classroom/poller/current/classroom-poller status"
)


@dataclass(frozen=True)
class Output:
    """What a finished program left: its exit code and its two streams as text."""

    code: int
    stdout: str
    stderr: str


def run(argv: Sequence[str], timeout: float, ok: Sequence[int] = (0,), stdin: str = "") -> Output:
    """Run `argv` without a shell, with `stdin` as its standard input, and return what it said.

    Raises:
        CommandError: the program is missing, ran longer than `timeout` seconds, or its exit code is not in `ok`.
    """
    try:
        given: dict[str, Any] = {"input": stdin.encode()} if stdin else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(argv, capture_output=True, timeout=timeout, check=False, **given)
    except FileNotFoundError:
        raise CommandError(f"{argv[0]} is not installed on this machine: run make setup") from None
    except OSError as error:
        raise CommandError(f"{argv[0]} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CommandError(f"{argv[0]} gave no answer within {timeout:.0f} s") from None
    output = Output(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    if output.code not in ok:
        said = (output.stderr.strip() or output.stdout.strip() or "it said nothing").splitlines()[-1]
        raise CommandError(f"{argv[0]} ended with code {output.code}: {said}")
    return output


def ssh(
    endpoints: Endpoints, host: str, argv: Sequence[str], timeout: float, ok: Sequence[int] = (0,), stdin: str = ""
) -> Output:
    """Run `argv` on the VM `host` through the environment's own SSH configuration; it never asks a question.

    Raises:
        CommandError: the VM cannot be reached, or as for `run`.
    """
    connect = max(1, min(CONNECT_SECONDS, int(timeout)))
    command = ["ssh", "-F", str(endpoints.ssh_config), "-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect}"]
    output = run([*command, host, "--", shlex.join(argv)], timeout, ok=(*ok, *range(256)), stdin=stdin)
    if output.code == SSH_UNREACHABLE:
        said = (output.stderr.strip() or "ssh said nothing").splitlines()[-1]
        raise CommandError(f"the VM {host} cannot be reached over SSH: {said}")
    if output.code not in ok:
        said = (output.stderr.strip() or output.stdout.strip() or "it said nothing").splitlines()[-1]
        raise CommandError(f"{argv[0]} on {host} ended with code {output.code}: {said}")
    return output


@contextmanager
def one_connection(endpoints: Endpoints, *, kept: bool = False) -> Iterator[Endpoints]:
    """The environment with one SSH connection to each VM for all commands of the block.

    A handshake takes seconds on an emulated VM. A VM that is gone is noticed after 15 s; with ``kept``, for which a
    connection that Ansible has just used will do, after a minute.
    """
    with tempfile.TemporaryDirectory(prefix="ssh-", dir="/tmp") as directory:  # a socket's path must be short
        config = Path(directory) / "config"
        shared = kept and _is_kept(endpoints)
        path = endpoints.ssh_control_path if shared else f"{directory}/%C"
        config.write_text(
            f'Host *\n  ControlMaster auto\n  ControlPath "{path}"\n  ControlPersist 120\n'
            f'  ServerAliveInterval 5\n  ServerAliveCountMax 3\nInclude "{endpoints.ssh_config}"\n',
            encoding="utf-8",
        )
        try:
            yield replace(endpoints, ssh_config=config)
        finally:
            for host in () if shared else endpoints.pollers:
                run(["ssh", "-F", str(config), "-O", "exit", host], 20, ok=range(256))


def _is_kept(endpoints: Endpoints) -> bool:
    """Whether Ansible keeps a connection to every VM open."""
    if not endpoints.ssh_control_path:
        return False
    command = ["ssh", "-F", str(endpoints.ssh_config), "-o", f"ControlPath={endpoints.ssh_control_path}", "-O", "check"]
    return all(run([*command, host], 20, ok=range(256)).code == 0 for host in endpoints.pollers)
