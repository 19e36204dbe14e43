#!/usr/bin/python
"""Installs the poller on a machine in one step: documentation, and the program that runs there.

The action plugin of the same name sends this file and what it works on through one SSH command. It needs nothing but
Python's standard library.
"""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: poller_install
short_description: Check a machine, install the poller and have it run
description:
  - Looks at Python, systemd and the way to the queues first; with a problem nothing is changed.
  - Makes the service's user, unpacks its archive, points C(current) at it, writes settings, unit and credentials, and
    removes earlier versions.
  - Enables and starts the service, or restarts it where it runs with other files. What an interrupted run has written
    counts too.
  - One program instead of many tasks, and not in Ansible's wrapper, because on a virtual machine without hardware
    support each module takes eight seconds to compile its imports.
options:
  install_dir:
    description: Directory that holds the versions.
    type: path
    required: true
  version:
    description: Version to install, the only directory in the archive.
    type: str
    required: true
  archive:
    description: The archive on the controller. It is sent when the version is not on the machine yet.
    type: path
    required: true
  user:
    description: System user that the service runs as.
    type: str
    required: true
  home:
    description: Home directory of that user. It is not made.
    type: path
    required: true
  service:
    description: The service's unit, which is among the files.
    type: str
    required: true
  files:
    description: Files to write, owned by root, each with C(path), C(content) and C(mode).
    type: list
    elements: dict
    required: true
  endpoint_url:
    description: URL of the AWS APIs. Empty means AWS itself.
    type: str
    default: ""
  region:
    description: AWS region.
    type: str
    required: true
  timeout_seconds:
    description: Time limit of the connection to the queues.
    type: int
    default: 10
author: Smart Classroom (@smart-classroom)
"""

RETURN = r"""
problems:
  description: Everything that keeps the service from running here. The task does not fail, because it hides secrets.
  type: list
  elements: str
  returned: success
changes:
  description: What was changed, or would be in check mode.
  type: list
  elements: str
  returned: success
"""

EXAMPLES = r"""
- name: Install the poller and have it run
  smart_classroom.platform.poller_install:
    install_dir: /opt/smart-classroom/poller
    version: 0123456789abcdef
    archive: .cache/poller/classroom-poller-0123456789abcdef.tar.gz
    user: classroom-poller
    home: /var/lib/smart-classroom
    service: classroom-poller.service
    files:
      - path: /etc/smart-classroom/poller.toml
        content: "region = 'us-east-1'\n"
        mode: "0644"
    endpoint_url: http://172.30.0.10:4566
    region: us-east-1
"""

import io
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OLDEST_PYTHON = (3, 11)
COMPILE_SECONDS = 300
USERADD_SECONDS = 60
STATUS_SECONDS = 60
SYSTEMD_SECONDS = 300
WANTS = Path("/etc/systemd/system/multi-user.target.wants")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "install_dir": {"type": "path", "required": True},
    "version": {"type": "str", "required": True},
    "archive": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "home": {"type": "path", "required": True},
    "service": {"type": "str", "required": True},
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "mode": {"type": "str", "required": True},
        },
    },
    "endpoint_url": {"type": "str", "default": ""},
    "region": {"type": "str", "required": True},
    "timeout_seconds": {"type": "int", "default": 10},
}


def sqs_address(endpoint_url: str, region: str) -> tuple[str, int]:
    """Host and port that the queues are served at."""
    if not endpoint_url:
        return f"sqs.{region}.amazonaws.com", 443
    parts = urlsplit(endpoint_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def connect(address: tuple[str, int], timeout_seconds: float) -> None:
    """Open and close a connection. Raises OSError."""
    socket.create_connection(address, timeout=timeout_seconds).close()


def problems(
    version: Sequence[int],
    systemd: Path,
    address: tuple[str, int],
    timeout_seconds: float,
    connect: Callable[[tuple[str, int], float], None] = connect,
) -> list[str]:
    """Everything that keeps the service from running here, each with what mends it."""
    found = []
    if tuple(version[:2]) < OLDEST_PYTHON:
        found.append(
            f"/usr/bin/python3 is Python {version[0]}.{version[1]}, 3.11 is the oldest that works; "
            "use an image of Debian 12, CentOS Stream 10 or newer"
        )
    if not systemd.is_dir():
        found.append(
            "systemd does not run here; the poller is a systemd service and needs a machine that boots with it"
        )
    try:
        connect(address, timeout_seconds)
    except OSError as error:
        found.append(
            f"the queues at {address[0]}:{address[1]} cannot be reached from this machine ({error}); "
            "is AWS (or its emulator) up, and does the router have a way out? make status shows both"
        )
    return found


class InstallError(Exception):
    """The files could not be installed; the text says why."""


@dataclass(frozen=True)
class File:
    """One file to write."""

    path: Path
    content: str
    mode: int


@dataclass
class Installer:
    """Compares a machine with what it should hold, and makes it so unless ``check_mode``.

    ``archive`` is the packed version, empty where it was not sent; ``owner`` the numeric user and group of everything;
    ``useradd`` and ``systemctl`` the commands that make users and start services.
    """

    install_dir: Path
    version: str
    archive: bytes
    check_mode: bool = False
    owner: int = 0
    useradd: str = "useradd"
    systemctl: str = "systemctl"
    changes: list[str] = field(default_factory=list)

    @property
    def release(self) -> Path:
        """Directory of the version."""
        return self.install_dir / self.version

    def ensure_user(self, name: str, home: Path) -> None:
        """A system user without a shell."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            self.changes.append(f"user {name}")
            if not self.check_mode:
                command = [self.useradd, "--system", "--user-group", "--no-create-home", "--home-dir", str(home)]
                self._run([*command, "--shell", "/usr/sbin/nologin", name], USERADD_SECONDS)

    @property
    def archive_wanted(self) -> bool:
        """Whether the version can only be installed once its archive is here."""
        return not (self.release / ".complete").exists() and not self.archive

    def ensure_release(self, cache_tag: str, python: str = "/usr/bin/python3") -> None:
        """The version, unpacked and compiled for this machine's Python."""
        if (self.release / ".complete").exists():
            return
        self.changes.append(f"version {self.version}")
        if self.check_mode:
            return
        self._directory(self.install_dir)
        # What an interrupted unpacking left.
        shutil.rmtree(self.release, ignore_errors=True)
        try:
            with tarfile.open(fileobj=io.BytesIO(self.archive)) as tar:
                # Python before 3.11.4 has no such filter; the archive is the controller's own.
                vars(tar)["extraction_filter"] = getattr(tarfile, "data_filter", None)
                tar.extractall(self.install_dir)  # noqa: S202
        except (OSError, tarfile.TarError) as error:
            raise InstallError(f"the archive of version {self.version} cannot be unpacked: {error}") from error
        if not (self.release / "lib" / "classroom_poller" / "__pycache__" / f"cli.{cache_tag}.pyc").exists():
            mode = ["--invalidation-mode", "unchecked-hash"]
            self._run([python, "-m", "compileall", "-q", *mode, str(self.release / "lib")], COMPILE_SECONDS)

    def ensure_current(self) -> None:
        """The link that the unit starts the service through."""
        link = self.install_dir / "current"
        if link.is_symlink() and link.readlink() == Path(self.version):
            return
        self.changes.append("link current")
        if self.check_mode:
            return
        temporary = self.install_dir / ".current.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.version)
        temporary.replace(link)

    def ensure_file(self, file: File) -> None:
        """The content, the owner and the mode."""
        if not self.check_mode:
            self._directory(file.path.parent)
        content = file.content.encode()
        try:
            about = file.path.stat()
            same = (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (self.owner, self.owner, file.mode)
            if same and file.path.read_bytes() == content:
                return
        except FileNotFoundError:
            pass
        self.changes.append(str(file.path))
        if self.check_mode:
            return
        temporary = file.path.with_name(f".{file.path.name}.tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(content)
            os.fchown(output.fileno(), self.owner, self.owner)
            os.fchmod(output.fileno(), file.mode)
            output.flush()
            os.fsync(output.fileno())
        temporary.replace(file.path)

    def remove_earlier(self) -> None:
        """Versions other than this one."""
        for path in sorted(self.install_dir.iterdir()) if self.install_dir.exists() else []:
            if path.is_dir() and not path.is_symlink() and path.name != self.version:
                self.changes.append(f"earlier version {path.name}")
                if not self.check_mode:
                    shutil.rmtree(path)

    def runs(self, wants: Path, python: str = "/usr/bin/python3") -> bool:
        """Whether the service is enabled, alive, and started with the files as they are."""
        if not wants.is_symlink():
            return False
        command = [python, "-IBS", str(self.install_dir / "current" / "classroom-poller"), "status"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=STATUS_SECONDS, check=False)
            status = json.loads(done.stdout)
            return bool(status["fresh"]) and not status["outdated"]
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
            return False

    def ensure_running(self, service: str, wants: Path = WANTS) -> None:
        """The service, enabled and running with the files as they are."""
        if self.runs(wants / service):
            return
        self.changes.append(f"service {service}")
        if self.check_mode:
            return
        for arguments in (["daemon-reload"], ["enable", "--no-reload", "--quiet", service], ["restart", service]):
            self._run([self.systemctl, *arguments], SYSTEMD_SECONDS)

    def _directory(self, path: Path) -> None:
        """A directory of its owner that others can only read, whatever was there before."""
        path.mkdir(parents=True, exist_ok=True)
        about = path.stat()
        # Those of the system, such as /etc/systemd/system, are as they should be and not this module's to change.
        if "smart-classroom" in path.parts and (about.st_uid, about.st_mode & 0o7777) != (self.owner, 0o755):
            self.changes.append(str(path))
            os.chown(path, self.owner, self.owner)
            path.chmod(0o755)

    @staticmethod
    def _run(command: Sequence[str], seconds: float) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallError(f"{command[0]} failed: {error}") from error
        if done.returncode != 0:
            raise InstallError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def install(installer: Installer, request: dict[str, Any]) -> None:
    """Everything that ``request``, the module's parameters, says.

    Raises:
        InstallError: a command failed, or the archive cannot be unpacked.
        OSError: a file cannot be read or written.
    """
    installer.ensure_user(request["user"], Path(request["home"]))
    installer.ensure_release(sys.implementation.cache_tag)
    installer.ensure_current()
    for file in request["files"]:
        installer.ensure_file(File(Path(file["path"]), file["content"], int(file["mode"], 8)))
    installer.remove_earlier()
    installer.ensure_running(request["service"])


def answer(request: dict[str, Any], archive: bytes) -> dict[str, Any]:
    """What the task returns; ``archive_wanted`` in it asks for the same request with the archive."""
    address = sqs_address(request["endpoint_url"], request["region"])
    found = problems(sys.version_info[:2], Path("/run/systemd/system"), address, request["timeout_seconds"])
    installer = Installer(Path(request["install_dir"]), request["version"], archive, request["check_mode"])
    archive_wanted = not found and not installer.check_mode and installer.archive_wanted
    result: dict[str, Any] = {"problems": found, "archive_wanted": archive_wanted}
    if not found and not archive_wanted:
        try:
            install(installer, request)
        except (InstallError, OSError) as error:
            # Not a failure: of a task with secrets, Ansible would hide the reason too.
            result["problems"] = [str(error)]
    return {**result, "changed": bool(installer.changes), "changes": installer.changes}


def main() -> None:
    """Entry point on the machine: a request in one line of JSON and the archive on standard input, the answer out."""
    request = json.loads(sys.stdin.buffer.readline())
    print(json.dumps(answer(request, sys.stdin.buffer.read())))  # noqa: T201


if __name__ == "__main__":
    main()
