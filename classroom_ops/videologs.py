"""What the logs say about single videos: the poller's journal on the VMs and the function's log in AWS.

Both sides write one JSON object a line. A line about a video bears its correlation id, ``key@etag``, and the id of the
queue's message; a line of the function also the request id, by which Lambda's own START and REPORT lines are found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from classroom_ops.aws import Aws, is_missing
from classroom_ops.commands import ssh
from classroom_ops.environment import Endpoints

FUNCTION = "function"
SECONDS = 60.0
_LINES = 20_000
_REQUEST = re.compile(r"RequestId: ([0-9a-f-]{36})")
_PATTERN_CHARACTERS = 200  # CloudWatch takes 1024 bytes in a filter pattern


@dataclass(frozen=True)
class Line:
    """One line of a log. `source` is the VM's name or ``function``; `fields` are its members where it is JSON."""

    at: datetime
    source: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """Its level, a name of the logging module; empty for lines of Lambda itself."""
        return str(self.fields.get("level", ""))

    @property
    def request_id(self) -> str | None:
        """The invocation that wrote it; None for a line of the poller."""
        found = self.fields.get("request_id")
        if isinstance(found, str):
            return found
        match = _REQUEST.search(self.text) if self.source == FUNCTION else None
        return match[1] if match else None

    def is_about(self, key: str) -> bool:
        """Whether its correlation id is that of an upload of the video `key`."""
        return key in self.keys

    @property
    def keys(self) -> set[str]:
        """Keys of the videos that its correlation id names."""
        correlation = self.fields.get("correlation") or self.fields.get("correlation_id")
        if not isinstance(correlation, str):
            return set()
        return {part.rpartition("@")[0] for part in (correlation, *correlation.split(", "))} - {""}


def of_poller(endpoints: Endpoints, host: str, since: datetime, *, pattern: str = "") -> list[Line]:
    """Lines of the poller on `host` since then, those alone that match the regular expression `pattern`.

    Raises:
        CommandError: the VM cannot be reached.
    """
    argv = ["sudo", "-n", "journalctl", "--no-pager", "--quiet", "--output", "cat", "--unit", "classroom-poller"]
    argv += ["--since", f"@{int(since.timestamp())}", "--lines", str(_LINES)]
    if pattern:
        argv += ["--case-sensitive=true", f"--grep={pattern}"]
    # Code 1: there is no such line.
    said = ssh(endpoints, host, argv, SECONDS, ok=(0, 1)).stdout
    return [line for text in said.splitlines() if (line := _of_poller(host, text)) is not None]


def _of_poller(host: str, text: str) -> Line | None:
    fields = _members(text)
    try:
        at = datetime.fromisoformat(str(fields.get("time")))
    except ValueError:  # a line of systemd, or of Python itself
        return None
    return Line(at, host, text, fields)


def of_function(aws: Aws, since: datetime, *, holds: str = "") -> list[Line]:
    """Lines of the function since then, those alone that hold the text `holds`; none where it has not run yet.

    Raises:
        AwsFailure: CloudWatch does not answer.
    """
    request: dict[str, Any] = {
        "logGroupName": f"/aws/lambda/{aws.endpoints.function}",
        "startTime": int(since.timestamp() * 1000),
    }
    inside = json.dumps(holds, ensure_ascii=False)[1:-1]
    # A part that needs no escape; the rest is compared here.
    part = max(re.split(r'["\\]', holds), key=len)[:_PATTERN_CHARACTERS]
    if part:
        request["filterPattern"] = f'"{part}"'
    pages = aws.client("logs").get_paginator("filter_log_events").paginate(**request)
    try:
        events = [event for page in pages for event in page["events"]]
    except Exception as error:
        if is_missing(error):
            return []
        raise
    found = [_of_function(event) for event in events]
    # An emulator may not know patterns.
    return [line for line in found if not holds or holds in line.text or inside in line.text]


def _of_function(event: Mapping[str, Any]) -> Line:
    text = str(event["message"]).rstrip()
    return Line(datetime.fromtimestamp(event["timestamp"] / 1000, UTC), FUNCTION, text, _members(text))


def _members(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def of_video(aws: Aws, endpoints: Endpoints, key: str, since: datetime) -> list[Line]:
    """All lines about the uploads of `key` since then, in the order of their times, Lambda's own lines among them.

    Raises:
        CommandError: a VM cannot be reached.
        AwsFailure: CloudWatch does not answer.
    """
    inside = json.dumps(key, ensure_ascii=False)[1:-1]
    found = [
        line
        for host in endpoints.pollers
        for line in of_poller(endpoints, host, since, pattern=re.escape(inside))
        if line.is_about(key)
    ]
    lines = [line for line in of_function(aws, since, holds=key) if line.is_about(key)]
    requests = {line.request_id for line in lines} - {None}
    for request in sorted(str(one) for one in requests):
        known = {line.text for line in lines}
        lines += [line for line in of_function(aws, since, holds=request) if not line.fields and line.text not in known]
    return sorted([*found, *lines], key=lambda line: line.at)


def last_errors(lines: Iterable[Line]) -> dict[str, str]:
    """By video key and by message id: what the last warning or error about it said."""
    said: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line.at):
        if line.level not in {"WARNING", "ERROR", "CRITICAL"}:
            continue
        fields = line.fields
        reason = fields.get("reason") or fields.get("error")
        text = f"{fields.get('message')}{f': {reason}' if reason else ''}"
        for name in (*line.keys, fields.get("message_id")):
            if isinstance(name, str):
                said[name] = text
    return said
