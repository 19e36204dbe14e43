"""``verify``: videos through the whole system, each station's trace compared, and a closing table for the reader.

The people in the videos are known in a class that is made for the run (`probe_class`), so no student is needed.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from boto3.dynamodb.types import TypeDeserializer

from classroom_contract import ContractError
from classroom_contract.tables import Row, parse_csv
from classroom_ops import answers, probe_class, stored, upload, workload
from classroom_ops.answers import Answer, Upload
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.environment import PROJECT_ROOT, Endpoints
from classroom_ops.errors import NoAnswerError, OpsError, UsageError

DAMAGED_BYTES = 2048  # of a clip that then ends in the middle of its description
ON_VM_SECONDS = 60.0
ANSWER_SECONDS = 120.0
TICK_SECONDS = 0.5
SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Case:
    """A video to send: what it is for the reader, the clip, its bytes, and what must be answered."""

    name: str
    clip: str
    body: bytes
    expected: workload.Expected


@dataclass(frozen=True)
class Proof:
    """What one video showed.

    `seconds` lie between the end of the upload and the answer; `rows` are those of the CSV; `path` is the
    result's CSV on the VM `host`.
    """

    case: str
    clip: str
    status: str
    seconds: float
    rows: tuple[Row, ...]
    host: str
    path: str


def cases(media: Path, people: Mapping[str, str], *, full: bool = False) -> list[Case]:
    """The smallest clip of one person; with `full` also of two, of a stranger, of no face, and a damaged one."""
    shown = workload.read_expected(media)
    wanted: list[tuple[str, Callable[[workload.Expected], bool]]] = [("a student", lambda one: len(one.students) == 1)]
    if full:
        wanted += [
            ("two students", lambda one: len(one.students) == 2),
            ("a stranger", lambda one: one.status == "unknown"),
            ("no face", lambda one: one.status == "no_face"),
        ]
    found: list[Case] = []
    for name, fits in wanted:
        clips = sorted((clip for clip, one in shown.items() if fits(one)), key=lambda clip: clip.stat().st_size)
        for clip in clips[:1]:
            names = tuple(people.get(student, student) for student in shown[clip].students)
            expected = workload.Expected(shown[clip].status, names)
            found.append(Case(name, clip.name, clip.read_bytes(), expected))
    if not found:
        raise UsageError(f"{media} has no clip of one person")
    if full:
        part = found[0].body[:DAMAGED_BYTES]
        found.append(Case("a damaged file", f"damaged-{found[0].clip}", part, workload.Expected("unreadable", ())))
    return found


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
            f"{', '.join(answer.names) or 'nobody'} ({answer.status}): make logs says why"
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


def prove(aws: Aws, media: Path, *, full: bool = False) -> list[Proof]:
    """Send videos of the class that is made for it, compare every station's trace, and remove the traces.

    With `full` the first is also delivered twice, which must change nothing. After a failure the videos and their
    results stay, to be looked at.

    Raises:
        OpsError: no answer, or one that differs.
    """
    with probe_class.enrolled(aws, media) as known:
        sent = [(case, _send(aws, known.name, case)) for case in cases(media, known.people, full=full)]
        proofs = [_compare(aws, case, one) for case, one in sent]
        if full:
            proofs.append(_twice(aws, sent[0][1].upload, proofs[0]))
        for (_, one), proof in zip(sent, proofs, strict=False):
            remove(aws, one.upload, stored.Stored(proof.host, proof.path))
    return proofs


@dataclass(frozen=True)
class _Sent:
    upload: Upload
    at: float
    dead_before: int


def _send(aws: Aws, folder: str, case: Case) -> _Sent:
    dead_before = aws.depth(aws.endpoints.dead_letter_queues[0]).total
    with tempfile.TemporaryDirectory(prefix="verify-") as directory:
        video = Path(directory) / case.clip
        video.write_bytes(case.body)
        sent = upload.send(aws, video, f"{folder}/{case.clip}", quiet=True)
    return _Sent(sent, time.monotonic(), dead_before)


def _compare(aws: Aws, case: Case, sent: _Sent) -> Proof:
    answer = upload.await_answer(aws, sent.upload, timeout=ANSWER_SECONDS, dead_before=sent.dead_before)
    seconds = time.monotonic() - sent.at
    compare(case.expected, answer, records(aws, answer.names))
    result = on_vm(aws.endpoints, sent.upload, answer)
    return Proof(case.name, case.clip, answer.status, seconds, answer.rows, result.host, result.path)


def _twice(aws: Aws, sent: Upload, first: Proof) -> Proof:
    """Deliver the message about `sent` once more: it is answered again, in the same place, with the same words."""
    key = answers.account_key(sent.key)
    before = answers.read_answer(aws, sent.key)
    begin = time.monotonic()
    body = json.dumps(_event(aws, sent.key, sent.etag))
    aws.sqs.send_message(QueueUrl=aws.queue_url(aws.endpoints.input_queue), MessageBody=body)
    while True:
        now = answers.read_answer(aws, sent.key)
        if now is not None and before is not None and now.result.request_id != before.result.request_id:
            break
        if time.monotonic() - begin > ANSWER_SECONDS:
            raise NoAnswerError(f"the second delivery of {key} was not answered within {ANSWER_SECONDS:.0f} s")
        time.sleep(TICK_SECONDS)
    _settle(aws)
    if now.rows != first.rows:
        raise OpsError(f"the second delivery was answered with {now.rows}, the first with {first.rows}")
    files = stored.find(aws.endpoints, sent.key)
    if len(files) != 1:
        raise OpsError(f"the VMs hold {len(files)} results of one upload that was delivered twice")
    seconds = time.monotonic() - begin
    return replace(first, case="delivered twice", seconds=seconds)


def _settle(aws: Aws) -> None:
    """Wait until both queues are empty, for some seconds at most: who uploads meanwhile keeps them filled.

    The account changes before the CSV is written again and the poller is told; what is removed before that comes back.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    place = aws.endpoints
    while any(aws.depth(name).total for name in (place.input_queue, place.output_queue)):
        if time.monotonic() > deadline:
            return
        time.sleep(TICK_SECONDS)


def _event(aws: Aws, key: str, etag: str) -> dict[str, Any]:
    """What S3 says of an upload."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": aws.endpoints.input_bucket},
            "object": {"key": quote_plus(key, safe="/"), "eTag": etag},
        },
    }
    return {"Records": [record]}


def prove_function(aws: Aws, media: Path, qualifier: str) -> str:
    """Have one version of the function, named by a number or an alias, answer a video that no event speaks of.

    Its callers go on with the version that they have. Returns one sentence.

    Raises:
        OpsError: it fails, or answers wrongly.
    """
    try:
        with probe_class.enrolled(aws, media) as known:
            return _prove_function(aws, cases(media, known.people)[0], known.name, qualifier)
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error


def _prove_function(aws: Aws, case: Case, folder: str, qualifier: str) -> str:
    key = f"{folder}/{case.clip}.probe"  # with this ending S3 tells nobody
    try:
        stored_as = aws.s3.put_object(Bucket=aws.endpoints.input_bucket, Key=key, Body=case.body)
        event = _event(aws, key, stored_as["ETag"].strip('"'))
        done = aws.function.invoke(
            FunctionName=aws.endpoints.function,
            Qualifier=qualifier,
            Payload=json.dumps(event).encode(),
        )
        said = done["Payload"].read().decode(errors="replace")
        if done.get("FunctionError"):
            raise OpsError(f"the function fails: {said[:500]}")
        answer = answers.read_answer(aws, key)
        if answer is None:
            raise OpsError(f"the function answered {said[:200]} and wrote no result")
        compare(case.expected, answer, records(aws, answer.names))
        return f"version {done.get('ExecutedVersion', qualifier)} answers {case.clip} rightly"
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


def remove(aws: Aws, sent: Upload, result: stored.Stored) -> None:
    """Remove a video and all that was made of it; `result` is the CSV on the VM."""
    aws.s3.delete_object(Bucket=aws.endpoints.input_bucket, Key=sent.key)
    for name in answers.result_objects(sent.key):
        aws.s3.delete_object(Bucket=aws.endpoints.output_bucket, Key=name)
    stored.remove(aws.endpoints, [stored.Stored(result.host, f"{result.path.removesuffix('.csv')}.json")])


def dead_letters(aws: Aws) -> int:
    """Messages in the two dead-letter queues."""
    return sum(aws.depth(name).total for name in aws.endpoints.dead_letter_queues)


def lines(endpoints: Endpoints, proofs: Sequence[Proof], dead: int) -> list[str]:
    """The closing table: what was proved, where everything is, what to type next."""
    state = endpoints.state_dir.relative_to(PROJECT_ROOT)
    letters = "both empty" if dead == 0 else f"{dead} messages from before: make redrive DRY_RUN=true"
    proof = proofs[0]
    sections: dict[str, list[tuple[str, str]]] = {
        "Proved just now": [
            *((f"{one.case}", f"{one.clip} in {one.seconds:.2f} s: {_said(one)}") for one in proofs),
            ("the rows agree", f"with the records in the table {endpoints.table}"),
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


def _said(proof: Proof) -> str:
    return "; ".join(", ".join(row) for row in proof.rows) or proof.status


def run(aws: Aws, media: Path, *, full: bool = False) -> list[str]:
    """`prove`, then the closing table."""
    try:
        proofs = prove(aws, media, full=full)
        return lines(aws.endpoints, proofs, dead_letters(aws))
    except AwsFailure as error:
        raise OpsError(explain(error, aws.endpoints)) from error
