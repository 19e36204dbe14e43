"""``verify``: one video through the whole system, each station's trace compared, and a closing table for the reader."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from boto3.dynamodb.types import TypeDeserializer

from classroom_contract import ContractError
from classroom_contract.tables import Row, parse_csv
from classroom_ops import answers, stored, upload, workload
from classroom_ops.answers import Answer, Upload
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.environment import PROJECT_ROOT, Endpoints
from classroom_ops.errors import NoAnswerError, OpsError

PREFIX = "verify"
ON_VM_SECONDS = 60.0
TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Proof:
    """What one video showed.

    `seconds` lie between the end of the upload and the answer; `rows` are those of the CSV; `path` is the
    result's CSV on the VM `host`.
    """

    clip: str
    seconds: float
    rows: tuple[Row, ...]
    host: str
    path: str


def records(aws: Aws, names: Sequence[str]) -> tuple[Row, ...]:
    """Name, major and year of each student as the table holds them; at most a hundred.

    Raises:
        OpsError: a student has no record.
    """
    if not names:
        return ()
    table = aws.endpoints.table
    keys = [{"name": {"S": name}} for name in names]
    answer = aws.dynamodb.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    if answer.get("UnprocessedKeys"):
        raise OpsError(f"the table {table} is busy: run the command again")
    read = TypeDeserializer().deserialize
    found = [{name: read(value) for name, value in item.items()} for item in answer["Responses"].get(table, [])]
    by_name = {str(item["name"]): item for item in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise OpsError(f"{', '.join(missing)} is in the CSV but not in the table {table}: run make enroll")
    return tuple(
        Row(name, str(by_name[name].get("major") or ""), str(by_name[name].get("year") or "")) for name in names
    )


def compare(expected: workload.Expected, answer: Answer, in_table: tuple[Row, ...]) -> None:
    """Hold the answer against what the clip shows and against the table.

    Raises:
        OpsError: they differ.
    """
    if answer.status != expected.status or sorted(answer.names) != sorted(expected.students):
        raise OpsError(
            f"the clip shows {', '.join(expected.students) or 'nobody'} ({expected.status}), but the answer is "
            f"{', '.join(answer.names) or 'nobody'} ({answer.status}): make enroll loads students, make logs says why"
        )
    if answer.rows != in_table:
        raise OpsError(f"the CSV says {answer.rows}, the table {in_table}: upload the video again")


def on_vm(endpoints: Endpoints, sent: Upload, wanted: Answer, seconds: float = ON_VM_SECONDS) -> stored.Stored:
    """Wait until a VM holds the result of `sent` with the rows of `wanted`, the answer in the bucket.

    Raises:
        NoAnswerError: it did not come in time, or says something else.
        OpsError: a VM cannot be asked.
    """
    deadline = time.monotonic() + seconds
    while not (found := stored.read(endpoints, sent.key)):
        if time.monotonic() > deadline:
            raise NoAnswerError(f"the bucket has the answer, but no VM stored it within {seconds:.0f} s: make status")
        time.sleep(TICK_SECONDS)
    file, text = found
    try:
        rows = parse_csv(text)
    except ContractError as error:
        raise NoAnswerError(f"{file.host}:{file.path} is damaged: {error}: make logs") from error
    if rows != wanted.rows:
        raise NoAnswerError(f"{file.host}:{file.path} says {rows}, the bucket {wanted.rows}: make logs")
    return file


def prove(aws: Aws, media: Path) -> Proof:
    """Send the smallest clip of one person, compare every station's trace, and remove the traces.

    Whoever has that person's face is expected to be named, and nobody where nobody is enrolled.

    After a failure they stay, to be looked at.

    Raises:
        OpsError: no answer, or one that differs.
    """
    shown = workload.read_expected(media)
    clip = _smallest(shown)
    expected = workload.as_enrolled(aws, {clip: shown[clip]})[clip]
    key = f"{PREFIX}/{secrets.token_hex(4)}/{clip.name}"
    dead_before = aws.depth(aws.endpoints.dead_letter_queues[0]).total
    sent = upload.send(aws, clip, key, quiet=True)
    begin = time.monotonic()
    answer = upload.await_answer(aws, sent, timeout=120, dead_before=dead_before)
    seconds = time.monotonic() - begin
    compare(expected, answer, records(aws, answer.names))
    result = on_vm(aws.endpoints, sent, answer)
    remove(aws, sent, result)
    return Proof(clip.name, seconds, answer.rows, result.host, result.path)


def prove_function(aws: Aws, media: Path, qualifier: str) -> str:
    """Have one version of the function, named by a number or an alias, answer a video that no event speaks of.

    Its callers go on with the version that they have. Returns one sentence.

    Raises:
        OpsError: it fails, or answers wrongly.
    """
    shown = workload.read_expected(media)
    clip = _smallest(shown)
    expected = workload.as_enrolled(aws, {clip: shown[clip]})[clip]
    bucket = aws.endpoints.input_bucket
    key = f"{PREFIX}/{secrets.token_hex(4)}/{clip.name}.probe"  # with this ending S3 tells nobody
    try:
        etag = aws.s3.put_object(Bucket=bucket, Key=key, Body=clip.read_bytes())["ETag"].strip('"')
        thing = {"key": quote_plus(key, safe="/"), "size": clip.stat().st_size, "eTag": etag}
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": thing},
        }
        done = aws.function.invoke(
            FunctionName=aws.endpoints.function,
            Qualifier=qualifier,
            Payload=json.dumps({"Records": [record]}).encode(),
        )
        said = done["Payload"].read().decode(errors="replace")
        if done.get("FunctionError"):
            raise OpsError(f"the function fails: {said[:500]}")
        answer = answers.read_answer(aws, key)
        if answer is None:
            raise OpsError(f"the function answered {said[:200]} and wrote no result")
        compare(expected, answer, records(aws, answer.names))
        return f"version {done.get('ExecutedVersion', qualifier)} answers {clip.name} rightly"
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error
    finally:
        _clear(aws, key)


def _clear(aws: Aws, key: str) -> None:
    """Remove a video, its answer, and what a poller has made of the answer meanwhile."""
    aws.s3.delete_object(Bucket=aws.endpoints.input_bucket, Key=key)
    answered = False
    for name in answers.result_objects(key):
        answered |= answers.object_state(aws, name) is not None
        aws.s3.delete_object(Bucket=aws.endpoints.output_bucket, Key=name)
    deadline = time.monotonic() + (ON_VM_SECONDS if answered else 0)
    while not (files := stored.find(aws.endpoints, key)) and time.monotonic() < deadline:
        time.sleep(TICK_SECONDS)
    stored.remove(aws.endpoints, files)


def _smallest(shown: Mapping[Path, workload.Expected]) -> Path:
    """The smallest clip of one person."""
    alone = [clip for clip, one in shown.items() if len(one.students) == 1]
    return min(alone, key=lambda clip: clip.stat().st_size)


def remove(aws: Aws, sent: Upload, result: stored.Stored) -> None:
    """Remove a video and all that was made of it; `result` is the CSV on the VM."""
    aws.s3.delete_object(Bucket=aws.endpoints.input_bucket, Key=sent.key)
    for name in answers.result_objects(sent.key):
        aws.s3.delete_object(Bucket=aws.endpoints.output_bucket, Key=name)
    stored.remove(aws.endpoints, [stored.Stored(result.host, f"{result.path.removesuffix('.csv')}.json")])


def dead_letters(aws: Aws) -> int:
    """Messages in the two dead-letter queues."""
    return sum(aws.depth(name).total for name in aws.endpoints.dead_letter_queues)


def lines(endpoints: Endpoints, proof: Proof, dead: int) -> list[str]:
    """The closing table: what was proved, where everything is, what to type next."""
    state = endpoints.state_dir.relative_to(PROJECT_ROOT)
    who = "; ".join(", ".join(row) for row in proof.rows) or "somebody who is not enrolled"
    letters = "both empty" if dead == 0 else f"{dead} messages from before: make status"
    sections: dict[str, list[tuple[str, str]]] = {
        "Proved just now": [
            ("a video was answered", f"{proof.clip} in {proof.seconds:.2f} s: {who}"),
            ("the row agrees", f"with the record in the table {endpoints.table}"),
            ("the VM stored it", f"{proof.host}:{proof.path}"),
            ("dead-letter queues", letters),
        ],
        "Where everything is": [
            ("AWS APIs", endpoints.endpoint_url or f"AWS, region {endpoints.region}"),
            ("videos, results", f"s3://{endpoints.input_bucket}  ->  s3://{endpoints.output_bucket}"),
            ("OpenStack", f"OS_CLIENT_CONFIG_FILE={state}/clouds.yaml, cloud {endpoints.cloud}"),
            ("VM", f"ssh -F {state}/ssh/config {endpoints.pollers[0]}"),
        ],
        "Type next": [
            ("make upload", "VIDEO=samples/two-students-720p.mp4"),
            ("make enroll", "PHOTOS=dir ROSTER=students.csv"),
            ("make workload", "COUNT=100"),
            ("make status", "make logs, make down"),
        ],
    }
    text: list[str] = []
    for title, entries in sections.items():
        text += [title, *(f"  {left:<22}{right}" for left, right in entries), ""]
    return text[:-1]


def run(aws: Aws, media: Path) -> list[str]:
    """`prove`, then the closing table."""
    try:
        proof = prove(aws, media)
        return lines(aws.endpoints, proof, dead_letters(aws))
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error
