"""Structured logs and metrics of the function, by Powertools for AWS Lambda: one JSON object a line on standard output.

Each line about a video carries its correlation id (key@ETag) and the id of the queue's message, the same ones as the
poller's lines on the VM. No line holds the name of a student: counts and ids say what happened, and names stand in the
results only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "SmartClassroom"

_logger = Logger(service="smart-classroom", utc=True, use_rfc3339=True, location=None, serialize_stacktrace=False)


def message(message_id: str | None) -> None:
    """Puts the id of the queue's message into every line from now on; None: there is none any more."""
    if message_id is None:
        _logger.remove_keys(["message_id"])
    else:
        _logger.append_keys(message_id=message_id)


def configure(level: str, request_id: str) -> None:
    """Sets the level (a name of the logging module) and the request id that every line of an invocation carries."""
    _logger.setLevel(level)
    _logger.append_keys(request_id=request_id)


@contextmanager
def about(correlation_id: str) -> Iterator[None]:
    """Puts the correlation id of a video into every line that is logged inside."""
    before = _logger.get_correlation_id()
    _logger.set_correlation_id(correlation_id)
    try:
        yield
    finally:
        _logger.set_correlation_id(before)


def event(level: int, name: str, *, exc_info: bool = False, **fields: Any) -> None:
    """Logs one event with its fields; `level` is a number of the logging module."""
    # What Powertools does not define, it hands to the logger of the standard library; its stubs do not say so.
    _logger.log(level, name, exc_info=exc_info, extra=fields)  # type: ignore[attr-defined]


def metrics(status: str, values: Mapping[str, tuple[MetricUnit, float]]) -> None:
    """Writes measurements (name: unit and value) in CloudWatch's embedded metric format, which makes metrics of them.

    They are counted for the function and for each status; no video's name is a dimension.
    """
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
    measured = Metrics(namespace=NAMESPACE)
    measured.add_dimension(name="FunctionName", value=function)
    measured.add_dimensions(FunctionName=function, Status=status)
    for name, (unit, value) in values.items():
        measured.add_metric(name=name, unit=unit, value=value)
    measured.flush_metrics()
