"""Structured logs: one JSON object per line on standard output, each with the id of the video it is about."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

NAMESPACE = "SmartClassroom"

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_log = logging.getLogger("recognition")


class JsonFormatter(logging.Formatter):
    """Renders a record as one line of JSON; the `fields` given to `event` become keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line for this record."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.getMessage(),
        }
        for name, value in (("correlation_id", correlation_id.get()), ("request_id", request_id.get())):
            if value is not None:
                line[name] = value
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Sends the function's log to standard output, once; `level` is a name of the logging module."""
    if not _log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        _log.addHandler(handler)
        _log.propagate = False
    _log.setLevel(level)


def event(level: int, name: str, *, exc_info: bool = False, **fields: Any) -> None:
    """Logs one event with its fields."""
    _log.log(level, name, exc_info=exc_info, extra={"fields": fields})


def metrics(status: str, values: Mapping[str, tuple[str, float]]) -> None:
    """Logs measurements (name: unit and value) in CloudWatch's embedded metric format, which makes metrics of them.

    They are counted for the function and for each status; no video's name is a dimension, it stands beside them.
    """
    definition = {
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"], ["FunctionName", "Status"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in values.items()],
    }
    fields: dict[str, Any] = {
        "_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [definition]},
        "FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
        "Status": status,
    }
    fields.update((name, value) for name, (_, value) in values.items())
    event(logging.INFO, "video_measured", **fields)
