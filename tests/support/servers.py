"""Servers that a test starts on this machine and that end with it; the one way to start an emulated AWS from Python."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def free_port() -> int:
    """A port of the loopback address that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def eventually(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until ``condition`` gives something true, and return it.

    Raises:
        AssertionError: it did not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def running(
    name: str, command: list[str], directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose log goes on in ``<name>.log`` of the directory, ended with the block."""
    with (directory / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def listening(
    name: str, command: list[str], port: int, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A process as of `running` that takes connections at a port of the loopback address.

    Raises:
        AssertionError: it ended, or takes none within a minute; its log says why.
    """
    with running(name, command, directory, environment) as process:

        def answers() -> bool:
            assert process.poll() is None, f"{name} ended: {(directory / f'{name}.log').read_text()[-2000:]}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        eventually(answers, START_SECONDS, f"{name} at port {port}")
        yield


@contextlib.contextmanager
def account_server(port: int, directory: Path, *arguments: str) -> Iterator[None]:
    """moto's account of ``tests/support/aws_account``, with Debian's images; ``arguments`` as its usage says."""
    program = ROOT / "tests/support/aws_account/account_server.py"
    images = f"--images={program.with_name('images.json')}"
    with listening("account", [sys.executable, str(program), f"--port={port}", images, *arguments], port, directory):
        yield


@contextlib.contextmanager
def emulator(
    port: int, directory: Path, environment: Mapping[str, str] | None = None, program: Path | None = None
) -> Iterator[None]:
    """MiniStack at the version of the lock, which is no package of this environment; it sees no container.

    Args:
        port: where it answers, on the loopback address.
        directory: for its packages, its log and what it keeps.
        environment: its settings.
        program: started instead of the package itself.
    """
    packages = directory / "packages"
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", f"--target={packages}"]
    install += [f"--constraint={ROOT}/requirements.lock", f"--group={ROOT}/pyproject.toml:emulator"]
    subprocess.run(install, check=True, timeout=300, cwd=ROOT)
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(packages),
        "TMPDIR": str(directory),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "DOCKER_HOST": "unix:///nonexistent",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        **(environment or {}),
    }
    command = [sys.executable, *([str(program)] if program else ["-m", "ministack"])]
    with listening("emulator", command, port, directory, settings):
        yield
