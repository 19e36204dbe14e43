"""The running stack as its tests see it: uploads, answers, what lies where, and things to break."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3.s3.transfer

from classroom_ops import answers, stored, workload
from classroom_ops.answers import Answer
from classroom_ops.aws import Aws, AwsFailure
from classroom_ops.commands import POLLER_STATUS, Output, run, ssh
from classroom_ops.environment import PROJECT_ROOT, Endpoints
from classroom_ops.errors import OpsError
from classroom_ops.workload import Expected

# The samples, and damaged and odd clips besides.
MEDIA = PROJECT_ROOT / "tests" / "media"
# The function's containers of this environment; scenarios may run others beside it.
FUNCTION_FILTERS = ("--filter", "label=ministack=lambda", "--filter", "label=smart-classroom.environment=local")
TICK_SECONDS = 0.5
_UPLOADERS = 4


@dataclass
class Video:
    """One upload. Times are seconds since the epoch."""

    key: str
    path: Path
    expected: Expected
    etag: str = ""
    uploaded_at: float = 0.0


@dataclass
class Batch:
    """Uploads below a prefix of their own."""

    prefix: str
    videos: list[Video] = field(default_factory=list)


class Stack:
    """Everything a test does to the stack."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.aws = Aws(endpoints)
        self.known = {path.name: expected for path, expected in workload.read_expected(MEDIA).items()}
        self.batches: list[Batch] = []
        self.vm = endpoints.pollers[0]

    # -- waiting -------------------------------------------------------------------------------------------------------

    def await_(self, what: str, condition: Callable[[], Any], seconds: float, tick: float = TICK_SECONDS) -> None:
        """Wait until `condition` holds. A part that does not answer meanwhile is what most of these tests cause."""
        deadline = time.monotonic() + seconds
        last: object = "it never held"
        while True:
            try:
                found = condition()
                if found:
                    return
                last = f"last seen: {found!r}"
            except (OpsError, *AwsFailure) as error:
                last = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; {last}")
            time.sleep(tick)

    # -- uploads and answers -------------------------------------------------------------------------------------------

    def batch(self) -> Batch:
        """An empty batch, removed at the end of the test."""
        new = Batch(f"stack/{secrets.token_hex(6)}/")
        self.batches.append(new)
        return new

    def upload(self, batch: Batch, name: str, path: Path, expected: Expected) -> Video:
        """Upload one file below the batch's prefix."""
        video = Video(batch.prefix + name, path, expected)
        batch.videos.append(video)
        self._put(video)
        return video

    def upload_many(self, batch: Batch, count: int, names: Sequence[str] = ()) -> None:
        """Upload `count` sample clips at once, all kinds of answers among them."""
        kinds = list(names) or [name for name in sorted(self.known) if name != "4k.mp4"]
        first = len(batch.videos)
        videos = [
            Video(f"{batch.prefix}{first + number:03d}-{name}", MEDIA / name, self.known[name])
            for number, name in ((number, kinds[number % len(kinds)]) for number in range(count))
        ]
        batch.videos += videos
        with ThreadPoolExecutor(_UPLOADERS) as pool:
            list(pool.map(self._put, videos))

    def _put(self, video: Video) -> None:
        bucket = self.endpoints.input_bucket
        # Small files in one call, whose end is the moment of the event; big ones in parts.
        if video.path.stat().st_size < 8 * 1024 * 1024:
            answer = self.aws.s3.put_object(Bucket=bucket, Key=video.key, Body=video.path.read_bytes())
            video.etag = answer["ETag"].strip('"')
        else:
            settings = boto3.s3.transfer.TransferConfig(multipart_chunksize=8 * 1024 * 1024, max_concurrency=4)
            self.aws.s3.upload_file(str(video.path), bucket, video.key, Config=settings)
            video.etag = self.aws.s3.head_object(Bucket=bucket, Key=video.key)["ETag"].strip('"')
        video.uploaded_at = time.time()

    def result_objects(self, batch: Batch) -> dict[str, datetime]:
        """All objects below the batch's prefix in the output bucket, and when each was written."""
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.endpoints.output_bucket, Prefix=batch.prefix
        )
        return {one["Key"]: one["LastModified"] for page in pages for one in page.get("Contents", [])}

    def answered(self, batch: Batch) -> int:
        """How many CSVs the batch has in the output bucket."""
        return sum(key.endswith(".csv") for key in self.result_objects(batch))

    def on_vm(self, batch: Batch) -> int:
        """How many results the batch has on the VM."""
        return len(stored.find(self.endpoints, batch.prefix, prefix=True))

    def answer(self, video: Video) -> Answer:
        """The answer to `video`, which must be there."""
        found = answers.read_answer(self.aws, video.key)
        assert found is not None, f"{video.key} has no answer"
        return found

    def expect_all_answered_once(self, batch: Batch, seconds: float) -> None:
        """Nothing lost, nothing doubled, everything right, nothing left in any queue."""
        total = len(batch.videos)
        self.await_(f"{total} answers in the bucket", lambda: self.answered(batch) >= total, seconds)
        self.await_(f"{total} results on the VM", lambda: self.on_vm(batch) >= total, seconds, tick=2)
        self.await_("all queues empty", self.queues_empty, seconds)
        assert self.on_vm(batch) == total
        names = list(self.result_objects(batch))
        assert sum(name.endswith(".csv") for name in names) == total
        assert sum(name.endswith(".json") for name in names) == total
        wrong = [
            f"{video.key}: {answer.status} {answer.names} instead of {video.expected}"
            for video in batch.videos
            for answer in [self.answer(video)]
            if (answer.status, sorted(answer.names)) != (video.expected.status, sorted(video.expected.students))
        ]
        assert wrong == []

    def remove(self, batch: Batch) -> None:
        """Remove the batch and its results."""
        for video in batch.videos:
            self.aws.s3.delete_object(Bucket=self.endpoints.input_bucket, Key=video.key)
        for key in self.result_objects(batch):
            self.aws.s3.delete_object(Bucket=self.endpoints.output_bucket, Key=key)
        stored.remove(self.endpoints, stored.find(self.endpoints, batch.prefix, prefix=True))

    # -- queues --------------------------------------------------------------------------------------------------------

    def depths(self) -> dict[str, int]:
        """Messages of every queue, those in flight included."""
        return {name: self.aws.depth(name).total for name in self.endpoints.queues}

    def queues_empty(self) -> bool:
        """Whether no queue holds a message, dead-letter queues included."""
        return not any(self.depths().values())

    def send_event_again(self, video: Video) -> None:
        """Put the message about `video` into the input queue once more, as S3 wrote it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        thing = {"key": quote_plus(video.key, safe="/"), "size": video.path.stat().st_size, "eTag": video.etag}
        record = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": self.endpoints.region,
            "eventTime": now,
            "eventName": "ObjectCreated:Put",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": self.endpoints.input_bucket}, "object": thing},
        }
        self.send(self.endpoints.input_queue, json.dumps({"Records": [record]}))

    def send(self, queue: str, body: str) -> None:
        """Put a message into a queue."""
        self.aws.sqs.send_message(QueueUrl=self.aws.queue_url(queue), MessageBody=body)

    # -- VM and containers ---------------------------------------------------------------------------------------------

    def on_the_vm(self, *argv: str, seconds: float = 30, ok: Sequence[int] = (0,)) -> Output:
        """Run a command as root on the VM."""
        return ssh(self.endpoints, self.vm, ["sudo", "-n", *argv], seconds, ok)

    def poller(self) -> dict[str, Any]:
        """The poller's own status."""
        values: dict[str, Any] = json.loads(self.on_the_vm("sh", "-c", POLLER_STATUS, ok=(0, 1)).stdout)
        return values

    def functions(self) -> set[str]:
        """Containers of the function that run now, each with the time it was started."""
        ids = run(["docker", "ps", "--quiet", "--no-trunc", *FUNCTION_FILTERS], 20).stdout.split()
        if not ids:
            return set()
        # One that ends between the two calls is not running: code 1.
        started = run(["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *ids], 20, ok=(0, 1)).stdout
        return set(started.splitlines())
