"""One video from the event to its answer: read it, look at it, look the students up, write, tell the poller."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from recognition import events, logs, results
from recognition.config import Config
from recognition.events import VideoReference
from recognition.gallery import GalleryStore
from recognition.pipeline import Analysis, Status, analyse
from recognition.results import Context, ResultKeys, Student

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_GONE = {"NoSuchKey", "NoSuchVersion", "404"}
_CHUNK_BYTES = 1024 * 1024
_RESERVE_MS = 15_000  # a video is not begun with less time than this left: its message is delivered again


class InvocationError(Exception):
    """An invocation without a queue behind it failed in a way that a retry mends; AWS repeats it then."""


class LambdaContext(Protocol):
    """The part of the runtime's context that is used here."""

    aws_request_id: str
    function_version: str

    def get_remaining_time_in_millis(self) -> int:
        """Returns the time left for this invocation."""


@dataclass(frozen=True)
class Clients:
    """Connections to the services, made once per container."""

    s3: S3Client
    sqs: SQSClient
    dynamodb: DynamoDBClient


@dataclass(frozen=True)
class _Download:
    path: Path
    size_bytes: int
    etag: str
    version_id: str | None
    too_large: bool


class Service:
    """The function, apart from how it is started."""

    def __init__(self, config: Config, clients: Clients) -> None:
        """Takes the settings and the clients; nothing is read before the first video."""
        self._config, self._clients = config, clients
        self._gallery = GalleryStore(
            clients.s3, config.gallery_bucket, config.gallery_key, config.gallery_ttl_seconds, baked=config.gallery_file
        )

    def handle(self, event: object, context: LambdaContext) -> dict[str, Any]:
        """Answers every video of the event.

        Returns `batchItemFailures` with the messages to deliver again, and `answers` with key and status of the rest.
        Raises InvocationError when the event came without a queue and has to be repeated.
        """
        logs.request_id.set(context.aws_request_id)
        batch = events.messages(event)
        if batch is not None:
            answers: list[dict[str, str]] = []
            failed = [message.message_id for message in batch if not self._message(message, context, answers)]
            return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed], "answers": answers}
        try:
            videos = events.videos(event)
        except events.NotAnS3EventError as error:
            logs.event(logging.ERROR, "event_dropped", reason=str(error))
            return {"batchItemFailures": [], "answers": []}
        answers = []
        if not self._videos(videos, context, answers):
            raise InvocationError("a service did not answer; the log names it. The event has to be delivered again.")
        return {"batchItemFailures": [], "answers": answers}

    def _message(self, message: events.Message, context: LambdaContext, answers: list[dict[str, str]]) -> bool:
        try:
            videos = events.videos_in_body(message.body)
        except events.NotAnS3EventError as error:
            # Delivering it again would not make it one: it is answered by this line and goes.
            logs.event(
                logging.ERROR,
                "message_dropped",
                message_id=message.message_id,
                reason=str(error),
                body=message.body[:200],
            )
            return True
        return self._videos(videos, context, answers)

    def _videos(self, videos: list[VideoReference], context: LambdaContext, answers: list[dict[str, str]]) -> bool:
        done = True
        for video in videos:
            token = logs.correlation_id.set(video.correlation_id)
            try:
                if context.get_remaining_time_in_millis() < _RESERVE_MS:
                    logs.event(logging.WARNING, "video_postponed", reason="too little time is left in this invocation")
                    done = False
                    continue
                status = self._video(video, context)
                if status is not None:
                    answers.append({"key": video.key, "status": status})
            except (ClientError, BotoCoreError, OSError) as error:
                logs.event(logging.ERROR, "video_failed", reason=str(error), kind=type(error).__name__)
                done = False
            except Exception as error:
                # A mistake of this program: the queue's dead-letter queue keeps the message for whoever mends it.
                logs.event(logging.ERROR, "video_failed", reason=str(error), kind=type(error).__name__, exc_info=True)
                done = False
            finally:
                logs.correlation_id.reset(token)
        return done

    def _video(self, video: VideoReference, context: LambdaContext) -> str | None:
        started = time.monotonic()
        gallery = self._gallery.current()
        got_gallery = time.monotonic()
        with self._downloaded(video) as download:
            if download is None:
                logs.event(logging.WARNING, "video_gone", reason="the object was deleted before it was read")
                return None
            logs.correlation_id.set(replace(video, etag=video.etag or download.etag).correlation_id)
            downloaded = time.monotonic()
            if download.too_large:
                limit = self._config.max_video_bytes
                reason = f"the file has {download.size_bytes} bytes; the limit is {limit}"
                analysis = Analysis(Status.UNREADABLE, reason=reason, gallery_version=gallery.version)
            else:
                analysis = analyse(download.path, gallery, lambda: self._gallery.current(fresh=True), self._config)
        analysed = time.monotonic()
        students = [self._record(decision.match.name) for decision in analysis.decisions]
        analysis.add("records", (time.monotonic() - analysed) * 1000)
        analysis.add("gallery", (got_gallery - started) * 1000)
        analysis.add("download", (downloaded - got_gallery) * 1000)
        analysis.add("total", (time.monotonic() - started) * 1000)
        about = Context(
            video=replace(video, etag=download.etag, version_id=download.version_id),
            size_bytes=download.size_bytes,
            request_id=context.aws_request_id,
            function_version=context.function_version,
            processed_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        self._publish(analysis, students, about)
        analysis.add("written", (time.monotonic() - started) * 1000)
        logs.metrics(analysis.status.value, _measured(analysis, download.size_bytes))
        logs.event(
            logging.INFO,
            "video_answered",
            status=analysis.status.value,
            reason=analysis.reason,
            students=[student.name for student in students],
            distances=[round(decision.match.distance, 3) for decision in analysis.decisions],
            people=len(analysis.people),
            frames=analysis.frames,
            size_bytes=download.size_bytes,
            gallery_version=analysis.gallery_version,
            timings_ms=analysis.timings_ms,
        )
        return analysis.status.value

    @contextmanager
    def _downloaded(self, video: VideoReference) -> Iterator[_Download | None]:
        """Streams the object into a file that lives as long as the context; nothing when there is no such object."""
        version = {"VersionId": video.version_id} if video.version_id else {}
        try:
            answer = self._clients.s3.get_object(Bucket=video.bucket, Key=video.key, **version)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _GONE:
                raise
            yield None
            return
        size = answer["ContentLength"]
        etag, version_id = answer["ETag"].strip('"'), answer.get("VersionId", video.version_id)
        descriptor, name = tempfile.mkstemp(suffix=".mp4", dir=self._config.work_dir)
        path = Path(name)
        try:
            too_large = size > self._config.max_video_bytes
            with os.fdopen(descriptor, "wb") as file, closing(answer["Body"]) as body:
                if not too_large:
                    for chunk in body.iter_chunks(_CHUNK_BYTES):
                        file.write(chunk)
            yield _Download(path, size, etag, version_id, too_large)
        finally:
            path.unlink(missing_ok=True)

    def _record(self, name: str) -> Student:
        item = self._clients.dynamodb.get_item(TableName=self._config.table_name, Key={"name": {"S": name}}).get("Item")
        if not item:
            logs.event(logging.WARNING, "record_missing", student=name, table=self._config.table_name)
            return Student(name)
        values = {field: str(next(iter(value.values()))) for field, value in item.items()}
        return Student(name, id=values.get("id", ""), major=values.get("major", ""), year=values.get("year", ""))

    def _publish(self, analysis: Analysis, students: list[Student], about: Context) -> None:
        """Writes the results, the CSV last because people wait for it, and only then tells the poller.

        A crash in between leaves results without a message; the video's own message is then delivered again and the
        same keys are written once more. There is never a message without its results.
        """
        config = self._config
        keys = ResultKeys.of(about.video.key, config.gallery_key)
        picture = results.draw(analysis)
        account = json.dumps(results.describe(analysis, students, about), ensure_ascii=False, indent=2).encode()
        if picture is not None:
            self._put(keys.frame, picture, "image/jpeg")
        self._put(keys.json, account, "application/json")
        self._put(keys.csv, results.render_csv(students), "text/csv; charset=utf-8")
        message = results.notification(analysis, students, about, config, keys)
        self._clients.sqs.send_message(
            QueueUrl=config.output_queue_url, MessageBody=json.dumps(message, ensure_ascii=False)
        )

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._clients.s3.put_object(Bucket=self._config.output_bucket, Key=key, Body=body, ContentType=content_type)


def _measured(analysis: Analysis, size_bytes: int) -> dict[str, tuple[str, float]]:
    """Returns what CloudWatch is told about a video: name, unit and value."""
    stages = {f"{stage.capitalize()}Time": ("Milliseconds", took) for stage, took in analysis.timings_ms.items()}
    return stages | {
        "Videos": ("Count", 1),
        "FramesDecoded": ("Count", analysis.frames),
        "FacesEncoded": ("Count", analysis.faces),
        "StudentsRecognized": ("Count", len(analysis.decisions)),
        "PeopleSeen": ("Count", len(analysis.people)),
        "VideoSize": ("Bytes", size_bytes),
    }
