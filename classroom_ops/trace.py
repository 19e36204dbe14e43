"""``trace``: one video through S3, queues, poller, function, results and VM, with times, from both clouds."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from rich.table import Table

from classroom_ops import answers, redrive, stored, videologs
from classroom_ops.aws import Aws, AwsFailure, explain, is_missing
from classroom_ops.commands import ssh
from classroom_ops.console import info, print_data, show, size
from classroom_ops.errors import OpsError, UsageError

DAYS = 14  # as far back as the function's log is kept by default
_BEFORE = timedelta(minutes=5)  # clocks of two clouds differ
_SECONDS = 60.0
# Members of a log line that every line has, or that stand in a column of their own.
_PLAIN = {
    "time", "timestamp", "level", "message", "correlation", "correlation_id", "service", "location", "request_id",
    "message_id", "exception", "exception_name", "xray_trace_id",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """Something that happened to the video: when, where, and what."""

    at: datetime
    place: str
    what: str


def uploads(aws: Aws, key: str) -> list[Step]:
    """Each version of the object in the input bucket, and each deletion."""
    bucket = aws.endpoints.input_bucket
    pages = aws.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
    steps: list[Step] = []
    for page in pages:
        for one in page.get("Versions", []):
            if one["Key"] == key:
                version = "" if one["VersionId"] == "null" else f", version {one['VersionId']}"
                tag = one["ETag"].strip('"')
                steps.append(Step(one["LastModified"], bucket, f"uploaded, {size(one['Size'])}, ETag {tag}{version}"))
        for mark in page.get("DeleteMarkers", []):
            if mark["Key"] == key:
                steps.append(Step(mark["LastModified"], bucket, "deleted"))
    return steps


def logged(aws: Aws, key: str, since: datetime) -> list[Step]:
    """What the poller and the function said about it."""
    return [Step(line.at, line.source, said(line)) for line in videologs.of_video(aws, aws.endpoints, key, since)]


def said(line: videologs.Line) -> str:
    """A line of a log in short: its message and what is particular to it."""
    if not line.fields:
        return line.text.replace("\t", " ")
    level = "" if line.level in {"", "INFO", "DEBUG"} else f"{line.level} "
    parts = [
        f"{name} {_short(value)}" for name, value in line.fields.items() if name not in _PLAIN and value is not None
    ]
    return f"{level}{line.fields.get('message', '')}" + (f": {', '.join(parts)}" if parts else "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_short(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def results(aws: Aws, key: str) -> list[Step]:
    """The objects that answer it."""
    bucket = aws.endpoints.output_bucket
    steps: list[Step] = []
    for name in answers.result_objects(key):
        try:
            head = aws.s3.head_object(Bucket=bucket, Key=name)
        except AwsFailure as error:
            if is_missing(error):
                continue
            raise
        steps.append(Step(head["LastModified"], bucket, f"{name}, {size(head['ContentLength'])}"))
    return steps


def on_vm(aws: Aws, key: str) -> list[Step]:
    """The files that keep its answers on the VMs."""
    steps: list[Step] = []
    for file in stored.find(aws.endpoints, key):
        argv = ["sudo", "-n", "sh", "-c", f"stat --format='%.Y %s' -- {shlex.quote(file.path)}"]
        at, length = ssh(aws.endpoints, file.host, argv, _SECONDS).stdout.split()
        steps.append(Step(datetime.fromtimestamp(float(at), UTC), file.host, f"{file.path}, {size(int(length))}"))
    return steps


def dead(aws: Aws, key: str) -> list[Step]:
    """Dead letters about it, which stay where they are."""
    place = aws.endpoints
    steps: list[Step] = []
    for queue, source in zip(place.dead_letter_queues, (place.input_queue, place.output_queue), strict=True):
        if not aws.depth(queue).total:
            continue
        letters = redrive.collect(aws, queue, source)
        redrive.release(aws, letters)
        steps += [
            Step(
                letter.sent_at or datetime.now(UTC),
                queue,
                f"a DEAD LETTER about it lies here, received {letter.received} times: make redrive",
            )
            for letter in letters
            if key in letter.keys
        ]
    return steps


def follow(aws: Aws, key: str) -> tuple[list[Step], list[str]]:
    """All steps in the order of their times, and what could not be asked."""
    missing: list[str] = []

    def ask(what: str, question: Callable[[], list[Step]]) -> list[Step]:
        try:
            return question()
        except (OpsError, *AwsFailure) as error:
            missing.append(f"{what}: {explain(error, aws.endpoints) if isinstance(error, AwsFailure) else error}")
            return []

    steps = ask("uploads", partial(uploads, aws, key)) + ask("results", partial(results, aws, key))
    times = [step.at for step in steps]
    since = min(times, default=datetime.now(UTC) - timedelta(days=DAYS)) - _BEFORE
    steps += ask("logs", partial(logged, aws, key, since))
    steps += ask("files on the VMs", partial(on_vm, aws, key)) + ask("dead letters", partial(dead, aws, key))
    return sorted(steps, key=lambda step: step.at), missing


def table(steps: Sequence[Step]) -> Table:
    """A row for each step; seconds count from the first one."""
    rows = Table("UTC", "seconds", "where", "what", box=None, pad_edge=False)
    start = steps[0].at
    for step in steps:
        at = step.at.astimezone(UTC)
        rows.add_row(
            f"{at:%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}",
            f"{(at - start).total_seconds():.2f}",
            step.place,
            step.what,
        )
    return rows


def run(aws: Aws, key: str) -> None:
    """Print every step of the video `key`.

    Raises:
        UsageError: nothing anywhere is about it.
        OpsError: AWS does not answer.
    """
    steps, missing = follow(aws, key)
    if not steps and not missing:
        raise UsageError(
            f"nothing is known of {key!r}: not uploaded under this key, or longer ago than the logs are kept"
        )
    if steps:
        show(table(steps), stderr=False)
        _sum_up(aws, steps)
    for one in missing:
        info(f"could not be asked: {one}")
    if missing:
        raise OpsError(f"{len(missing)} places could not be asked: make status")


def _sum_up(aws: Aws, steps: Sequence[Step]) -> None:
    """What the steps amount to, for a reader who wants one line."""
    places = {step.place for step in steps}
    answered = aws.endpoints.output_bucket in places
    kept = any(
        step.place in aws.endpoints.pollers and step.what.startswith(aws.endpoints.results_dir) for step in steps
    )
    if any("DEAD LETTER" in step.what for step in steps):
        info("it was given up: make redrive KEY=… moves its message back")
    elif answered and kept:
        info("it was answered, and a VM stored the answer")
    elif answered:
        info("it was answered, but no VM has stored the answer: make status")
    else:
        depth = aws.depth(aws.endpoints.input_queue)
        info(f"it is not answered; {aws.endpoints.input_queue} holds {depth.total} messages: make status")


def lines(aws: Aws, key: str) -> int:
    """Print both clouds' log lines about the video `key` as they were written, and nothing else; returns how many.

    Raises:
        OpsError: a log cannot be read.
    """
    try:
        dated = [step.at for step in uploads(aws, key) + results(aws, key)]
        since = min(dated, default=datetime.now(UTC) - timedelta(days=DAYS)) - _BEFORE
        found = videologs.of_video(aws, aws.endpoints, key, since)
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error
    for line in found:
        print_data(f"{line.source} {line.text}")
    if not found:
        info(f"no log line is about {key!r}")
    return len(found)
