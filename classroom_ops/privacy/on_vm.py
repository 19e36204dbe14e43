"""Runs on a poller's VM, as root, from standard input: names must not come by its command line, which sudo logs.

Only what Python itself has. `machines` sends it and reads its answer.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def find(directory: Path, pattern: str) -> list[dict[str, Any]]:
    """Files below `directory` whose name or content fits `pattern`, each with its time and its bytes."""
    wanted = re.compile(pattern.encode())
    found = []
    for path in sorted(directory.rglob("*")):
        try:
            content = path.read_bytes()
            if wanted.search(content) or wanted.search(os.fsencode(path.name)):
                told = {"path": str(path), "modified": path.stat().st_mtime}
                found.append({**told, "content": base64.b64encode(content).decode()})
        except OSError:  # gone since, or no file
            continue
    return found


def count_in_journal(pattern: str) -> int:
    """Lines of the service's journal, and of sudo's, that fit `pattern`; -1 where there is no journal to read."""
    wanted = re.compile(pattern.encode())
    command = ["journalctl", "--no-pager", "--output=cat", "_SYSTEMD_UNIT=classroom-poller.service", "+", "_COMM=sudo"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return -1
    with process:
        return sum(bool(wanted.search(line)) for line in process.stdout or ())


def change(path: Path, content: str | None) -> None:
    """Put `content` (Base64) in the place of a file, whose owner, mode and time stay; without any, remove the file."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    before = path.stat()
    temporary = path.with_name(f".{path.name}.tmp")  # the service removes such a file when it starts
    with temporary.open("wb") as file:
        file.write(base64.b64decode(content))
        file.flush()
        os.fsync(file.fileno())
    os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(before.st_mode & 0o7777)
    os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
    temporary.replace(path)


def main(order: dict[str, Any]) -> None:
    """Do what `order` asks for, and answer as JSON on standard output."""
    for path, content in order.get("changes", {}).items():
        change(Path(path), content)
    answer: dict[str, Any] = {}
    if "pattern" in order:
        answer["files"] = find(Path(order["directory"]), order["pattern"])
        answer["journal"] = count_in_journal(order["pattern"])
    json.dump(answer, sys.stdout)
