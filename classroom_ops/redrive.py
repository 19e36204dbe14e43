"""``redrive``: show every dead letter with the reason it was given up for, then put it back into its queue.

Nothing is lost when this is killed in the middle: a message is sent before its dead letter is deleted. In between it is
in both queues, and is then worked on twice, which changes nothing: the function writes the same keys again, and the
poller names a result by key and ETag.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from rich.table import Table

from classroom_ops import videologs
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.console import info, show
from classroom_ops.errors import OpsError, UsageError
from classroom_ops.upload import event_keys

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

# How long a dead letter stays out of others' sight while it is shown and moved; after that it is back by itself.
HOLD_SECONDS = 300
TASK_SECONDS = 3600.0
_NO_TASKS = {"InvalidAction", "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "NotImplemented"}
_DIGITS = 19  # of a time stamp in milliseconds no more are believed


@dataclass(frozen=True)
class DeadLetter:
    """A message that was given up: where it lies, where it belongs, and what it says."""

    queue: str
    source: str
    message_id: str
    keys: tuple[str, ...]
    received: int
    sent_at: datetime | None
    body: str
    handle: str
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        """What to call it: the video's key, or the message's id where its body names none."""
        return ", ".join(self.keys) or f"message {self.message_id}"


def keys_of(body: str) -> tuple[str, ...]:
    """Keys of the videos that a message of either queue is about; none where it cannot be read."""
    if keys := event_keys(body):
        return tuple(sorted(keys))
    try:
        key = json.loads(body)["video"]["key"]
    except (ValueError, KeyError, TypeError):
        return ()
    return (key,) if isinstance(key, str) else ()


def collect(aws: Aws, queue: str, source: str) -> list[DeadLetter]:
    """Every message of the dead-letter queue `queue`, held for `HOLD_SECONDS`; each once."""
    url = aws.queue_url(queue)
    found: dict[str, DeadLetter] = {}
    while True:
        answer = aws.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HOLD_SECONDS,
            # A poll that waits asks all of the queue's servers, so an empty answer says that nothing is left.
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        fresh = {one["MessageId"]: _letter(queue, source, one) for one in answer.get("Messages", [])}
        if not fresh.keys() - found.keys():
            return list(found.values())
        found |= fresh


def _letter(queue: str, source: str, message: MessageTypeDef) -> DeadLetter:
    system = message.get("Attributes", {})
    sent = system.get("SentTimestamp", "")
    body = message.get("Body", "")
    return DeadLetter(
        queue=queue,
        source=source,
        message_id=message["MessageId"],
        keys=keys_of(body),
        received=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=datetime.fromtimestamp(int(sent[:_DIGITS]) / 1000, UTC) if sent.isdigit() else None,
        body=body,
        handle=message["ReceiptHandle"],
        attributes=dict(message.get("MessageAttributes", {})),
    )


def release(aws: Aws, letters: Iterable[DeadLetter]) -> None:
    """Let others see the letters again at once."""
    for letter in letters:
        aws.sqs.change_message_visibility(
            QueueUrl=aws.queue_url(letter.queue), ReceiptHandle=letter.handle, VisibilityTimeout=0
        )


def move(aws: Aws, letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
    """Send each letter to its queue, delete it, and yield it."""
    for letter in letters:
        aws.sqs.send_message(
            QueueUrl=aws.queue_url(letter.source), MessageBody=letter.body, MessageAttributes=letter.attributes
        )
        aws.sqs.delete_message(QueueUrl=aws.queue_url(letter.queue), ReceiptHandle=letter.handle)
        yield letter


def move_by_task(aws: Aws, queue: str) -> int | None:
    """Have SQS move all messages of `queue` itself; returns how many it moved, None where SQS cannot.

    The task goes on in AWS when this is killed.

    Raises:
        OpsError: the task failed.
    """
    url = aws.queue_url(queue)
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    try:
        aws.sqs.start_message_move_task(SourceArn=arn)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _NO_TASKS:
            return None
        raise
    deadline = time.monotonic() + TASK_SECONDS
    while time.monotonic() < deadline:
        (task, *_) = aws.sqs.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"]
        if task["Status"] == "COMPLETED":
            return int(task.get("ApproximateNumberOfMessagesMoved", 0))
        if task["Status"] in {"FAILED", "CANCELLED"}:
            reason = task.get("FailureReason", task["Status"])
            raise OpsError(f"SQS ended the move of {queue}: {reason}: run make redrive again")
        time.sleep(1)
    raise OpsError(f"SQS has not moved {queue} within {TASK_SECONDS / 60:.0f} minutes and goes on: make status")


def reasons(aws: Aws, letters: Sequence[DeadLetter]) -> dict[str, str]:
    """By key and message id, the last error of each letter that either log holds; a log that is away is told."""
    times = [letter.sent_at for letter in letters if letter.sent_at]
    if not times:
        return {}
    since = min(times)
    lines: list[videologs.Line] = []
    for host in aws.endpoints.pollers:
        try:
            lines += videologs.of_poller(aws.endpoints, host, since, pattern='"level": "(WARNING|ERROR|CRITICAL)"')
        except OpsError as error:
            info(f"the poller's log is not there: {error}")
    wanted = {key for letter in letters for key in letter.keys} | {letter.message_id for letter in letters}
    try:
        for level in ("ERROR", "WARNING"):
            lines += videologs.of_function(aws, since, holds=level)
    except AwsFailure as error:
        info(f"the function's log is not there: {explain(error, aws.endpoints)}")
    return {name: text for name, text in videologs.last_errors(lines).items() if name in wanted}


def why(letter: DeadLetter, said: dict[str, str]) -> str:
    """The last error of one letter."""
    for name in (*letter.keys, letter.message_id):
        if name in said:
            return said[name]
    return "no log says why"


def table(letters: Sequence[DeadLetter], said: dict[str, str], now: datetime) -> Table:
    """A row for each letter."""
    rows = Table("queue", "video", "received", "age", "last error", box=None, pad_edge=False)
    for letter in sorted(letters, key=lambda one: (one.queue, one.sent_at or now)):
        age = _age((now - letter.sent_at).total_seconds()) if letter.sent_at else "?"
        rows.add_row(letter.queue, letter.name, str(letter.received), age, why(letter, said))
    return rows


def _age(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def run(aws: Aws, key: str | None, *, dry_run: bool = False) -> int:
    """Show the dead letters of both queues, those about the video `key` alone if it is given, and move them back.

    Returns how many were moved; with `dry_run` none is.

    Raises:
        UsageError: no dead letter is about `key`.
        OpsError: AWS does not answer, or ended the move.
    """
    place = aws.endpoints
    try:
        letters: list[DeadLetter] = []
        for queue, source in zip(place.dead_letter_queues, (place.input_queue, place.output_queue), strict=True):
            letters += collect(aws, queue, source)
        chosen = [letter for letter in letters if key is None or key in letter.keys]
        rest = [letter for letter in letters if letter not in chosen]
        release(aws, rest)
        if not chosen:
            if key is not None:
                raise UsageError(f"no dead letter is about {key!r}; make redrive without KEY= shows and moves all")
            info("there are no dead letters")
            return 0
        show(table(chosen, reasons(aws, chosen), datetime.now(UTC)), stderr=False)
        if dry_run:
            release(aws, chosen)
            info(f"{len(chosen)} dead letters; nothing was moved")
            return 0
        return _move(aws, chosen, by_task=key is None)
    except AwsFailure as error:
        raise OpsError(explain(error, place)) from error


def _move(aws: Aws, letters: Sequence[DeadLetter], *, by_task: bool) -> int:
    total = 0
    for queue in dict.fromkeys(letter.queue for letter in letters):
        of_queue = [letter for letter in letters if letter.queue == queue]
        count: int | None = None
        if by_task:
            # A task moves what it can see.
            release(aws, of_queue)
            count = move_by_task(aws, queue)
        if count is None:
            again = collect(aws, queue, of_queue[0].source) if by_task else of_queue
            count = sum(1 for _ in move(aws, again))
        info(f"{count} moved from {queue} to {of_queue[0].source}")
        total += count
    return total
