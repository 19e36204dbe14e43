"""``upload``: send one video, wait for its answer, print the CSV."""

from __future__ import annotations

import json
import mimetypes
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_plus

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig

from classroom_contract.keys import VIDEO_SUFFIXES, is_video
from classroom_contract.results import SeenStudent
from classroom_ops import answers, stored
from classroom_ops.answers import Answer, Upload
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.console import info, progress, size
from classroom_ops.errors import CommandError, NoAnswerError, OpsError, UsageError

TICK_SECONDS = 0.1
SLOW_TICK_SECONDS = 0.5  # once the answer is not a matter of a second any more
DLQ_TICK_SECONDS = 3.0
ON_VM_SECONDS = 15.0
MEBIBYTE = 1024 * 1024
_TRANSFER = TransferConfig(multipart_threshold=8 * MEBIBYTE, multipart_chunksize=8 * MEBIBYTE, max_concurrency=4)
_MAX_KEY_BYTES = 1024
_LONG_CLIP_SECONDS = 60  # of a longer one it is said when each student was seen


@dataclass(frozen=True)
class Times:
    """Seconds the upload took, and seconds from its end to the answer."""

    upload: float
    answer: float


def check_video(text: str) -> Path:
    """The file to upload.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if not text:
        raise UsageError("no video is named: make upload VIDEO=clip.mp4")
    path = Path(text).expanduser()
    if path.is_dir():
        raise UsageError(f"{path} is a directory: name one video file")
    if not path.exists():
        raise UsageError(f"{path} does not exist (looked in {Path.cwd()})")
    if not path.is_file():
        raise UsageError(f"{path} is not a regular file")
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return path


def check_key(key: str | None, video: Path) -> str:
    """The key to upload to: `key`, or the file's own name.

    Raises:
        UsageError: S3 would refuse the key, or no event would be made for it.
    """
    chosen = key if key is not None else video.name
    if not is_video(chosen):
        endings = ", ".join(VIDEO_SUFFIXES)
        raise UsageError(
            f"the key {chosen!r} would never be answered: only names that end in {endings} are; give KEY=name.mp4"
        )
    if chosen.startswith("/") or len(chosen.encode(errors="replace")) > _MAX_KEY_BYTES:
        raise UsageError(f"the key {chosen[:60]!r} cannot be used: no leading slash, at most {_MAX_KEY_BYTES} bytes")
    try:
        chosen.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {str(video)!a} is not valid UTF-8: give KEY=name.mp4") from None
    return chosen


def send(aws: Aws, video: Path, key: str, *, quiet: bool = False) -> Upload:
    """Upload `video` as `key` and describe the upload, so that its own answer can be told from an earlier one.

    Raises:
        OpsError: S3 did not take it.
    """
    bucket = aws.endpoints.input_bucket
    before = answers.object_state(aws, answers.account_key(key))
    shown = nullcontext() if quiet else progress(f"uploading {video.name}", video.stat().st_size)
    kind = {"ContentType": mimetypes.guess_type(key.lower())[0] or "video/mp4"}
    try:
        with shown as advance:
            aws.s3.upload_file(str(video), bucket, key, ExtraArgs=kind, Callback=advance, Config=_TRANSFER)
    except S3UploadFailedError as error:
        raise OpsError(_why_not_uploaded(aws, video, error)) from error
    head = aws.s3.head_object(Bucket=bucket, Key=key)
    return Upload(key, head["ETag"].strip('"'), head["LastModified"], before)


def _why_not_uploaded(aws: Aws, video: Path, error: S3UploadFailedError) -> str:
    """One sentence. boto3 wraps what S3 said into a text of its own."""
    cause = error.__context__
    said = explain(cause, aws.endpoints) if isinstance(cause, AwsFailure) else f"{error}: run make status"
    return f"{video} was not uploaded: {said}"


def await_answer(aws: Aws, upload: Upload, timeout: float, dead_before: int) -> Answer:
    """Wait at most `timeout` seconds for the answer to `upload`.

    `dead_before` is the number of messages in the input's dead-letter queue before the upload.

    Raises:
        NoAnswerError: it did not come; the text says how far the message got.
    """
    start = time.monotonic()
    dlq_checked = start
    while True:
        answer = answers.find_answer(aws, upload)
        if answer is not None:
            return answer
        now = time.monotonic()
        if now - dlq_checked >= DLQ_TICK_SECONDS:
            dlq_checked = now
            if given_up(aws, upload.key, dead_before):
                raise NoAnswerError(
                    f"the message about {upload.key!r} was given up after all its attempts and lies in the queue "
                    f"{aws.endpoints.dead_letter_queues[0]}: make logs collects the reason"
                )
        if now - start >= timeout:
            raise NoAnswerError(why_unanswered(aws, upload, timeout))
        time.sleep(TICK_SECONDS if now - start < 5 else SLOW_TICK_SECONDS)


def given_up(aws: Aws, key: str, dead_before: int) -> bool:
    """Whether the input's dead-letter queue has grown by a message about `key`. Messages stay where they are."""
    name = aws.endpoints.dead_letter_queues[0]
    if aws.depth(name).total <= dead_before:
        return False
    # Looked at with no visibility timeout at all: nobody else misses a message meanwhile.
    looked = aws.sqs.receive_message(QueueUrl=aws.queue_url(name), MaxNumberOfMessages=10, VisibilityTimeout=0)
    return any(key in event_keys(message.get("Body", "")) for message in looked.get("Messages", []))


def event_keys(body: str) -> set[str]:
    """Keys of the objects an S3 event speaks of; empty for anything else."""
    try:
        records = json.loads(body).get("Records", [])
        return {unquote_plus(record["s3"]["object"]["key"]) for record in records}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def why_unanswered(aws: Aws, upload: Upload, timeout: float) -> str:
    """The likely reason that an upload has no answer after `timeout` seconds, and what to type."""
    endpoints = aws.endpoints
    start = f"no answer to {upload.key!r} within {timeout:.0f} s"
    head = aws.s3.head_object(Bucket=endpoints.input_bucket, Key=upload.key)
    if head["ETag"].strip('"') != upload.etag:
        return f"{start}: another upload has replaced the video meanwhile: upload it again under another KEY="
    depth = aws.depth(endpoints.input_queue)
    if depth.in_flight:
        return (
            f"{start}: {depth.in_flight} messages are being worked on, so the function is slow or fails and is tried "
            "again: make logs shows which; a bigger TIMEOUT= waits longer"
        )
    if depth.visible:
        return f"{start}: {depth.visible} messages wait and nobody reads them, so the poller is down: make status"
    return f"{start}: no message about it is left in {endpoints.input_queue}: make status, then make logs"


def upload(aws: Aws, video: Path, key: str, timeout: float) -> str:
    """Upload, wait, tell the reader about the answer, and return its CSV.

    Raises:
        OpsError: no answer, with the reason.
    """
    endpoints = aws.endpoints
    dead_before = aws.depth(endpoints.dead_letter_queues[0]).total
    start = time.monotonic()
    sent = send(aws, video, key)
    uploaded = time.monotonic()
    answer = await_answer(aws, sent, timeout, dead_before)
    times = Times(uploaded - start, time.monotonic() - uploaded)
    report(aws, video, sent, answer, times)
    return answer.csv


def report(aws: Aws, video: Path, sent: Upload, answer: Answer, times: Times) -> None:
    """Tell the reader what was answered and where it is."""
    result = answer.result
    place = f"s3://{aws.endpoints.output_bucket}/{answers.table_key(sent.key)}"
    picture = f", picture {result.frame.rpartition('/')[2]}" if result.frame else ""
    info(f"status    {answer.status}" + (f": {result.reason}" if result.reason else ""))
    for number, student in enumerate(result.students):
        info(f"{'' if number else 'students':<10}{_seen(student, result.duration_seconds)}")
    if not result.students:
        info("students  none")
    info(f"took      {times.answer:.2f} s after the upload of {size(video.stat().st_size)} in {times.upload:.2f} s")
    info(f"bucket    {place}, beside it .json{picture}")
    info(f"VM        {_on_vm(aws, sent)}")


def _seen(student: SeenStudent, duration_seconds: float) -> str:
    """A student, how sure the name is, and in a long clip when they were seen."""
    text = f"{student.name}: {student.confidence.value} (distance {student.distance:.2f})"
    if duration_seconds <= _LONG_CLIP_SECONDS or not student.appearance.seen:
        return text
    return f"{text}, seen {', '.join(f'{_clock(begin)}-{_clock(end)}' for begin, end in student.appearance.seen)}"


def _clock(seconds: float) -> str:
    """Seconds as a player shows them: 75 is ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _on_vm(aws: Aws, sent: Upload) -> str:
    """Where the poller stored the answer, or what to type when it has not: the answer itself is there already."""
    deadline = time.monotonic() + ON_VM_SECONDS
    try:
        while True:
            # The poller keeps the answers to earlier videos under this key, each named by its ETag.
            files = [one for one in stored.find(aws.endpoints, sent.key) if sent.etag in one.path]
            if files:
                return f"{files[0].host}:{files[0].path.removesuffix('.json')}.csv, beside it .json"
            if time.monotonic() > deadline:
                return f"not stored there within {ON_VM_SECONDS:.0f} s: make status"
            time.sleep(SLOW_TICK_SECONDS)
    except CommandError as error:
        return f"cannot look: {error}: make status"


def run(aws: Aws, video: str, key: str | None, timeout: float) -> str:
    """Check what was typed, then `upload`."""
    path = check_video(video)
    chosen = check_key(key, path)
    try:
        return upload(aws, path, chosen, timeout)
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error
