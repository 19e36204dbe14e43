"""Structured logs: one JSON object a line on standard output, which the journal keeps.

They hold no student's name and no message's body: a fault that nobody foresaw is described by its type and its place in
the program, for its text may quote what it stumbled over.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from botocore.exceptions import BotoCoreError, ClientError


class JsonFormatter(logging.Formatter):
    """Turns a record into ``{"time","level","message",...}``; ``extra={"fields": {...}}`` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, whatever the record holds."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= failure(record.exc_info[1])["fields"]
        text = json.dumps(line, ensure_ascii=False, default=str)
        # Half of a surrogate pair, which a key may hold, cannot be written as it is.
        return text.encode(errors="backslashreplace").decode()


def describe(error: BaseException) -> str:
    """What a log or a status may say of a fault: the text of AWS's and the system's own, of others the type alone."""
    known = isinstance(error, BotoCoreError | ClientError | OSError)
    return str(error) if known else type(error).__name__


def failure(error: BaseException, **fields: object) -> dict[str, dict[str, object]]:
    """The argument ``extra`` for a log line about `error`, and, when nobody foresaw it, where it was raised."""
    said = {**fields, "error": describe(error)}
    if said["error"] == type(error).__name__:
        frames = traceback.extract_tb(error.__traceback__)
        said["raised_in"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"fields": said}


def configure_logging(level: str, stream: TextIO = sys.stdout) -> None:
    """Send the service's own logs to `stream` as JSON, and those of libraries from WARNING up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(__package__).setLevel(level)
