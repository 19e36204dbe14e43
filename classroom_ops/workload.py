"""``workload``: upload many clips with known answers, and say whether every answer is right and how fast it came."""

from __future__ import annotations

import json
import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from classroom_ops import answers, latency, stored
from classroom_ops.answers import Answer
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.console import histogram, info, show
from classroom_ops.enrolment.store import Store
from classroom_ops.environment import PROJECT_ROOT
from classroom_ops.errors import CommandError, OpsError, UsageError
from classroom_ops.stored import Stored

MEDIA = PROJECT_ROOT / "samples"
PREFIX = "workload"
TICK_SECONDS = 0.5
REPORT_SECONDS = 5.0
UPLOADERS = 4
READERS = 8
ON_VM_SECONDS = 60.0
ON_VM_TICK_SECONDS = 2.0
_MAX_DELETE = 1000


@dataclass(frozen=True)
class Expected:
    """What a clip must be answered with."""

    status: str
    students: tuple[str, ...]


@dataclass
class Clip:
    """One upload of a run. Times are seconds since the epoch; None means not yet, or never."""

    key: str
    source: Path
    expected: Expected
    etag: str | None = None
    uploaded_at: float | None = None
    seen_at: float | None = None
    written_at: float | None = None
    answer: Answer | None = None
    fault: str | None = None

    @property
    def latency(self) -> float | None:
        """Seconds from the end of the upload to the answer.

        Looking at the bucket costs up to a tick, so the CSV's own time counts where the bucket tells more than whole
        seconds, else the time of the answer that the function gives; neither when it contradicts what was seen
        because two clocks differ.
        """
        if self.uploaded_at is None or self.seen_at is None:
            return None
        processed = self.answer.result.processed_at.timestamp() if self.answer else None
        for exact in (self.written_at, processed):
            if exact is not None and self.uploaded_at < exact < self.seen_at:
                return exact - self.uploaded_at
        return max(0.0, self.seen_at - self.uploaded_at)

    @property
    def verdict(self) -> str:
        """``right``, ``wrong``, or ``late`` when there was no answer in time."""
        if self.fault is not None:
            return "wrong"
        if self.answer is None:
            return "late"
        right = self.answer.status == self.expected.status and sorted(self.answer.names) == sorted(
            self.expected.students
        )
        return "right" if right else "wrong"


@dataclass
class Run:
    """A whole run: its clips, and how many results the VMs hold for them (None: they could not be asked)."""

    run_id: str
    started_at: datetime
    clips: list[Clip]
    rate: float
    timeout: float
    on_vm: list[Stored] | None = None
    vm_fault: str | None = None
    interrupted: bool = False

    @property
    def prefix(self) -> str:
        """What all keys of this run start with."""
        return f"{PREFIX}/{self.run_id}/"

    def count(self, verdict: str) -> int:
        """How many clips have this verdict."""
        return sum(clip.verdict == verdict for clip in self.clips)

    @property
    def latencies(self) -> list[float]:
        """Seconds of the answered clips, in order of upload."""
        return [clip.latency for clip in self.clips if clip.latency is not None]

    @property
    def seconds(self) -> float:
        """From the first upload's end to the last answer; 0 while nothing is answered."""
        starts = [clip.uploaded_at for clip in self.clips if clip.uploaded_at is not None]
        ends = [clip.seen_at for clip in self.clips if clip.seen_at is not None]
        return max(0.0, max(ends) - min(starts)) if starts and ends else 0.0

    @property
    def stored_once(self) -> int | None:
        """How many different results the VMs hold: a queue may give one message to two of them."""
        return None if self.on_vm is None else len({Path(one.path).name for one in self.on_vm})

    @property
    def succeeded(self) -> bool:
        """Every clip answered rightly, and each exactly once on the VMs."""
        everything_right = self.count("right") == len(self.clips)
        return everything_right and self.stored_once == len(self.clips)


def read_expected(media: Path) -> dict[Path, Expected]:
    """Clips in `media` and what each must be answered with, from ``answers.json`` there.

    Raises:
        UsageError: the file is missing or damaged, or names a clip that is not there.
    """
    path = media / "answers.json"
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expected = {
            media / name: Expected(str(one["status"]), tuple(str(student) for student in one["students"]))
            for name, one in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"no clips with known answers: {path}: {type(error).__name__}: {error}") from error
    missing = [clip.name for clip in expected if not clip.is_file()]
    if missing or not expected:
        raise UsageError(f"{path} names {', '.join(missing) or 'no clip'}: the clip is not in {media}")
    return expected


def as_enrolled(aws: Aws, expected: Mapping[Path, Expected]) -> dict[Path, Expected]:
    """What the clips are answered with now: sample students in them may have given way, or have been removed.

    A student who has the face of a sample is expected in its place; where nobody in a clip is enrolled, it is unknown.
    """
    place = aws.endpoints
    store = Store(aws.dynamodb, aws.s3, place.table, place.gallery_bucket)
    samples, records = store.samples(), store.records()

    def student(sample: str) -> str | None:
        """Who is seen where the sample is shown; a record of that name without the mark is of somebody else."""
        record = records.get(sample)
        if record and (record.sample or sample not in samples.enrolled):
            return sample
        other = samples.replaced.get(sample)
        return other if other in records else None

    now: dict[Path, Expected] = {}
    for clip, one in expected.items():
        names = tuple(name for sample in one.students if (name := student(sample)))
        now[clip] = Expected(one.status if names or not one.students else "unknown", names)
    return now


def plan(expected: Mapping[Path, Expected], count: int, seed: int, run_id: str) -> list[Clip]:
    """`count` uploads under keys of their own: every clip as often as any other, in an order that `seed` decides."""
    sources = sorted(expected)
    chosen = [sources[index % len(sources)] for index in range(count)]
    random.Random(seed).shuffle(chosen)  # noqa: S311 - an order that can be repeated, not a secret
    return [
        Clip(f"{PREFIX}/{run_id}/{number:04d}-{source.name}", source, expected[source])
        for number, source in enumerate(chosen, start=1)
    ]


def new_run(expected: Mapping[Path, Expected], count: int, seed: int, rate: float, timeout: float | None) -> Run:
    """A run that has not started. `rate` is in uploads per second, 0 for as fast as possible.

    Raises:
        UsageError: `count`, `rate` or `timeout` make no sense.
    """
    if count < 1:
        raise UsageError(f"COUNT={count}: at least one clip is needed")
    if rate < 0 or (timeout is not None and timeout <= 0):
        raise UsageError("the rate may not be negative, and the timeout must be more than 0 s")
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    clips = plan(expected, count, seed, run_id)
    return Run(run_id, now, clips, rate, timeout if timeout is not None else max(120.0, 3.0 * count))


def execute(aws: Aws, run: Run) -> None:
    """Upload the clips, wait for their answers, read and compare them. An interrupt ends the waiting alone."""
    try:
        with _uploading(aws, run) as uploading:
            _watch(aws, run, uploading)
    except KeyboardInterrupt:
        run.interrupted = True
        info("interrupted: what was answered until now is reported")
    _read(aws, run)
    if not run.interrupted:
        _count_on_vm(aws, run)


@contextmanager
def _uploading(aws: Aws, run: Run) -> Iterator[Callable[[], bool]]:
    """Upload in the background; yields whether it still goes on. Leaving the block stops it."""
    todo: queue.SimpleQueue[tuple[int, Clip]] = queue.SimpleQueue()
    for item in enumerate(run.clips):
        todo.put(item)
    stop = threading.Event()
    bodies = {clip.source: clip.source.read_bytes() for clip in run.clips}
    start = time.monotonic()

    def work() -> None:
        while not stop.is_set():
            try:
                number, clip = todo.get_nowait()
            except queue.Empty:
                return
            if run.rate and stop.wait(max(0.0, start + number / run.rate - time.monotonic())):
                return
            try:
                put = aws.s3.put_object(
                    Bucket=aws.endpoints.input_bucket, Key=clip.key, Body=bodies[clip.source], ContentType="video/mp4"
                )
            except AwsFailure as error:
                clip.fault = f"not uploaded: {error}"
            else:
                clip.etag, clip.uploaded_at = put["ETag"].strip('"'), time.time()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(UPLOADERS)]
    for worker in workers:
        worker.start()
    try:
        yield lambda: any(worker.is_alive() for worker in workers)
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=70)


def _watch(aws: Aws, run: Run, uploading: Callable[[], bool]) -> None:
    """Note when each CSV appears, until all are there or the last has had its time."""
    by_csv = {answers.table_key(clip.key): clip for clip in run.clips}
    reported = time.monotonic()
    deadline: float | None = None
    failures = 0
    while True:
        busy = uploading()
        try:
            present = _listed(aws, aws.endpoints.output_bucket, run.prefix)
            failures = 0
        except AwsFailure as error:  # an emulator that restarts is no reason to lose the run
            failures += 1
            if failures == 1:
                info(f"the bucket cannot be listed just now ({type(error).__name__}), trying on")
            present = {}
        now = time.time()
        for key, modified in present.items():
            clip = by_csv.pop(key, None)
            if clip is not None:
                clip.seen_at = now
                clip.written_at = modified.timestamp() if modified.microsecond else None
        if not busy and deadline is None:
            deadline = time.monotonic() + run.timeout
        waited_for = [clip for clip in by_csv.values() if clip.fault is None]
        if (not busy and not waited_for) or (deadline is not None and time.monotonic() > deadline):
            return
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            info(
                f"{sum(c.uploaded_at is not None for c in run.clips)} uploaded, {len(run.clips) - len(by_csv)} answered"
            )
        time.sleep(TICK_SECONDS)


def _read(aws: Aws, run: Run) -> None:
    """Read the answers of all clips that have one."""

    def read(clip: Clip) -> None:
        try:
            clip.answer = answers.read_answer(aws, clip.key)
            if clip.answer is None:
                clip.fault = "a CSV without its JSON"
        except (OpsError, *AwsFailure) as error:
            clip.fault = str(error)
        if clip.latency is not None and clip.latency > run.timeout:
            clip.answer = None

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, [clip for clip in run.clips if clip.seen_at is not None]))


def _count_on_vm(aws: Aws, run: Run) -> None:
    """Count the run's results on the VMs, waiting a little for the last."""
    expected = sum(clip.seen_at is not None for clip in run.clips)
    deadline = time.monotonic() + ON_VM_SECONDS
    while True:
        try:
            run.on_vm = stored.find(aws.endpoints, run.prefix, prefix=True)
            run.vm_fault = None
        except CommandError as error:
            run.vm_fault = str(error)
        if (run.on_vm is not None and len(run.on_vm) >= expected) or time.monotonic() > deadline:
            return
        time.sleep(ON_VM_TICK_SECONDS)


def clean(aws: Aws, run: Run) -> None:
    """Remove the answered clips and their answers from the buckets, and the run's results from the VMs.

    A clip without an answer stays: its message may still be on its way, and the function would miss the video.
    """
    answered = [clip for clip in run.clips if clip.seen_at is not None]
    done = [clip.key for clip in answered]
    results = [key for clip in answered for key in answers.result_objects(clip.key)]
    for bucket, keys in ((aws.endpoints.input_bucket, done), (aws.endpoints.output_bucket, results)):
        for start in range(0, len(keys), _MAX_DELETE):
            some = keys[start : start + _MAX_DELETE]
            aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True})
    left = sum(clip.uploaded_at is not None for clip in run.clips) - len(done)
    if left:
        info(f"{left} clips without an answer stay below s3://{aws.endpoints.input_bucket}/{run.prefix}")
    try:
        stored.remove(aws.endpoints, run.on_vm or [])
    except CommandError as error:
        info(f"the results of this run stay on the VM: {error}")


def _listed(aws: Aws, bucket: str, prefix: str) -> dict[str, datetime]:
    """Keys below `prefix` and when each was written."""
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {one["Key"]: one["LastModified"] for page in pages for one in page.get("Contents", [])}


def document(run: Run, environment: str) -> dict[str, Any]:
    """The run as JSON; times in seconds."""
    values = run.latencies
    figures = (
        {
            "p50": round(latency.percentile(values, 0.5), 3),
            "p95": round(latency.percentile(values, 0.95), 3),
            "min": round(min(values), 3),
            "max": round(max(values), 3),
            "mean": round(sum(values) / len(values), 3),
        }
        if values
        else None
    )
    return {
        "schema": 1,
        "run": run.run_id,
        "environment": environment,
        "started_at": run.started_at.isoformat(),
        "interrupted": run.interrupted,
        "succeeded": run.succeeded and not run.interrupted,
        "count": len(run.clips),
        "right": run.count("right"),
        "wrong": run.count("wrong"),
        "late": run.count("late"),
        "rate_per_second": run.rate,
        "timeout_seconds": run.timeout,
        "seconds": round(run.seconds, 3),
        "throughput_per_second": round(len(values) / run.seconds, 3) if run.seconds else None,
        "latency_seconds": figures,
        "on_vm": {
            "expected": len(run.clips),
            "found": run.stored_once,
            "fault": run.vm_fault,
        },
        "clips": [
            {
                "key": clip.key,
                "verdict": clip.verdict,
                "expected": {"status": clip.expected.status, "students": list(clip.expected.students)},
                "answer": {"status": clip.answer.status, "students": list(clip.answer.names)} if clip.answer else None,
                "latency_seconds": None if clip.latency is None else round(clip.latency, 3),
                "fault": clip.fault,
            }
            for clip in run.clips
        ],
    }


def report(run: Run) -> Group:
    """The run as a person reads it."""
    total = len(run.clips)
    verdicts = Table("verdict", Column("clips", justify="right"), box=None, pad_edge=False)
    for verdict in ("right", "wrong", "late"):
        verdicts.add_row(verdict, str(run.count(verdict)))
    verdicts.add_row("of", str(total))
    found = "not asked" if run.interrupted else f"cannot be read: {run.vm_fault}"
    if run.stored_once is not None:
        found = f"{run.stored_once}, " + ("each once" if run.stored_once == total else f"but {total} were uploaded")
    shown: list[RenderableType] = [verdicts, f"on the VM: {found}"]
    values = run.latencies
    if values:
        shown.append(
            f"latency p50 {latency.percentile(values, 0.5):.2f} s, p95 {latency.percentile(values, 0.95):.2f} s, "
            f"max {max(values):.2f} s (end of upload to answer)"
        )
        rate = f", {len(values) / run.seconds:.1f} clips/s" if run.seconds else ""
        shown += [f"all in {run.seconds:.1f} s{rate}", histogram(latency.distribution(values))]
    for clip in _first_failed(run.clips):
        answer = f"{clip.answer.status} {', '.join(clip.answer.names)}" if clip.answer else clip.fault or "no answer"
        shown.append(
            f"{clip.verdict}: {clip.key}: {answer.strip()} instead of "
            f"{clip.expected.status} {', '.join(clip.expected.students)}".rstrip()
        )
    if run.count("late"):
        shown.append("late answers: make status shows what is slow or down, make logs collects why")
    return Group(*shown)


def _first_failed(clips: Sequence[Clip], most: int = 10) -> list[Clip]:
    return [clip for clip in clips if clip.verdict != "right"][:most]


def run(aws: Aws, media: Path, count: int, seed: int, rate: float, timeout: float | None, *, keep: bool) -> int:
    """The whole command; returns the exit code.

    Raises:
        OpsError: it could not even start.
    """
    endpoints = aws.endpoints
    this = new_run(as_enrolled(aws, read_expected(media)), count, seed, rate, timeout)
    info(f"uploading {count} clips to s3://{endpoints.input_bucket}/{this.prefix} (seed {seed})")
    try:
        answers.object_state(aws, f"{this.prefix}reachable")
        execute(aws, this)
        show(report(this))
        json_path = endpoints.state_dir / "workload.json"
        json_path.write_text(f"{json.dumps(document(this, endpoints.environment), indent=2)}\n", encoding="utf-8")
        written = [json_path]
        if this.latencies:
            png_path = endpoints.state_dir / "workload.png"
            latency.write_png(png_path, this.latencies, f"{count} clips, {endpoints.environment}")
            written.append(png_path)
        info(f"written: {', '.join(str(path) for path in written)}")
    except AwsFailure as error:
        raise OpsError(explain(error, endpoints)) from error
    finally:
        if not keep:
            try:
                clean(aws, this)
            except AwsFailure as error:
                info(f"objects below {this.prefix} stay in the buckets: {error}")
    if this.interrupted:
        return 130
    return 0 if this.succeeded else 1
