"""Files and logs on the pollers' VMs that name a person."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from classroom_ops.commands import ssh
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError
from classroom_ops.privacy.person import Person, Without, without, without_rows

_SECONDS = 300.0  # an emulated VM reads ten megabytes a second
_PROGRAM = Path(__file__).with_name("on_vm.py")


@dataclass(frozen=True)
class File:
    """A file on a VM that names the person, and what it becomes without them."""

    host: str
    path: str
    modified: datetime
    content: bytes
    after: Without


@dataclass(frozen=True)
class Found:
    """What a VM holds: files, and how many lines of its journal name the person (-1: it could not be read)."""

    host: str
    files: tuple[File, ...]
    journal_lines: int


def look(endpoints: Endpoints, host: str, person: Person) -> Found:
    """What a VM holds about a person, among everything that the service keeps there.

    Raises:
        CommandError: the VM cannot be reached or gives no answer that can be read.
    """
    directory = str(PurePosixPath(endpoints.results_dir).parent)
    answer = _run(endpoints, host, {"pattern": person.pattern, "directory": directory})
    files = []
    for one in answer["files"]:
        content = base64.b64decode(one["content"])
        modified = datetime.fromtimestamp(one["modified"], UTC)
        files.append(File(host, one["path"], modified, content, _after(person, one["path"], content)))
    return Found(host, tuple(files), int(answer["journal"]))


def change(endpoints: Endpoints, host: str, files: Mapping[str, bytes | None]) -> None:
    """Write files of a VM anew, their owner, mode and time stay; without a content they are removed.

    Raises:
        CommandError: the VM cannot be reached, or a file cannot be written.
    """
    if files:
        changes = {
            path: None if content is None else base64.b64encode(content).decode() for path, content in files.items()
        }
        _run(endpoints, host, {"changes": changes})


def _after(person: Person, path: str, content: bytes) -> Without:
    """Of a result the person's part goes; messages that earlier versions of the poller refused go whole."""
    if PurePosixPath(path).parent.name == "rejected":
        return Without("rejected", None)
    found = without_rows(person, content) if path.endswith(".csv") else without(person, content)
    return found or Without("unknown", content)


def _run(endpoints: Endpoints, host: str, order: Mapping[str, Any]) -> Any:
    program = f"{_PROGRAM.read_text(encoding='utf-8')}\nmain(json.loads({json.dumps(order)!r}))\n"
    argv = ["sudo", "-n", "python3", "-IBS", "-"]
    output = ssh(endpoints, host, argv, _SECONDS, stdin=program)
    try:
        return json.loads(output.stdout)
    except ValueError:
        raise CommandError(f"the VM {host} gave no answer that can be read: {output.stdout[:200]!r}") from None
