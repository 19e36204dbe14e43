"""``monitor``: the page of figures and alerts of each server on this machine's loopback address, through SSH."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import time
from collections.abc import Iterator

from classroom_ops.commands import CONNECT_SECONDS
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError

# Where Prometheus listens on the server, its loopback address alone.
SERVER_PORT = 9090
READY_SECONDS = 90.0
_PAGE = "/consoles/index.html"


@contextlib.contextmanager
def opened(
    endpoints: Endpoints, host: str, ready_seconds: float = READY_SECONDS
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the page of `host`, and the connection that carries it, which ends with the block.

    Raises:
        CommandError: the server cannot be reached, or Prometheus does not answer there within `ready_seconds`.
    """
    port = _free_port()
    command = [
        "ssh", "-F", str(endpoints.ssh_config), "-N",
        "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ControlPath=none",
        "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15",
        "-L", f"127.0.0.1:{port}:127.0.0.1:{SERVER_PORT}", host,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + ready_seconds
        while not _answers(port):
            if process.poll() is not None:
                raise CommandError(f"the VM {host} cannot be reached over SSH: {_last_words(process)}")
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Prometheus does not answer on {host}; see there: systemctl status classroom-prometheus. "
                    f"make monitor installs it"
                )
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}{_PAGE}", process
    finally:
        process.terminate()
        process.wait()


def wait(processes: list[subprocess.Popen[str]]) -> None:
    """Return when one of the connections has ended.

    Raises:
        CommandError: always, with the reason; a person ends it before with Ctrl-C.
    """
    while True:
        for process in processes:
            if process.poll() is not None:
                raise CommandError(f"the connection has ended: {_last_words(process)}")
        time.sleep(0.5)


def _last_words(process: subprocess.Popen[str]) -> str:
    said = process.stderr.read().strip() if process.stderr else ""
    return (said or "ssh said nothing").splitlines()[-1]


def _free_port() -> int:
    """The server's own number where nobody here uses it, else any."""
    for wanted in (SERVER_PORT, 0):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", wanted))
            return int(candidate.getsockname()[1])
    raise CommandError("no port of the loopback address is free")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
