"""One video from the event to its answer: read it, look at it, look the students up, write, tell the poller.

What is wrong with the video is the answer to it. Everything else (a service that does not answer, a model that does not
load, a mistake of this program) fails the message, with its reason in the log: the queue delivers it again, and after
its last delivery it is in the dead-letter queue, not lost behind a wrong answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError

from classroom_contract.keys import class_of, result_keys
from classroom_contract.notification import Notification
from classroom_contract.tables import Row, render_csv
from recognition import engine, events, logs, results
from recognition.config import Config
from recognition.events import VideoReference
from recognition.gallery import GalleryStore
from recognition.objects import ObjectChangedError, ObjectGoneError, RangedObject
from recognition.pipeline import Analysis, TooLittleTimeError, analyse
from recognition.results import Context, Student

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef
    from mypy_boto3_sqs import SQSClient

_NOT_THERE = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
_DONE_ETAG, _DONE_STATUS = "done-etag", "done-status"  # metadata of a CSV: all of this upload's answer is written
_RECORDS_AT_ONCE = 100  # DynamoDB's limit for BatchGetItem
_UPLOADS_FOLLOWED = 3  # uploads under one key, while one of them is looked at, that are answered in the same go


class InvocationError(Exception):
    """An invocation without a queue behind it failed; AWS repeats it, or its caller does."""


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


class Service:
    """The function, apart from how it is started."""

    def __init__(self, config: Config, clients: Clients) -> None:
        """Takes the settings and the clients; nothing is read before the first video."""
        self._config, self._clients = config, clients
        self._gallery = GalleryStore(
            clients.s3, config.gallery_bucket, config.gallery_ttl_seconds, baked=config.gallery_file
        )

    def handle(self, event: object, context: LambdaContext) -> dict[str, Any]:
        """Answers every video of the event.

        Returns `batchItemFailures` with the messages to deliver again, and `answers` with key and status of the rest.

        Raises:
            ConfigError: the function's time-out is too short for what a video may take.
            InvocationError: the event came without a queue, and has to be repeated or was not understood.
        """
        logs.configure(self._config.log_level, context.aws_request_id)
        self._config.check_timeout(context.get_remaining_time_in_millis() / 1000)
        batch = events.messages(event)
        answers: list[dict[str, str]] = []
        if batch is not None:
            failed = []
            for message in batch:
                logs.message(message.message_id)
                if not self._message(message, context, answers):
                    failed.append(message.message_id)
            logs.message(None)
            return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed], "answers": answers}
        try:
            videos = events.videos(event)
        except events.NotUnderstoodError as error:
            raise InvocationError(f"the event announces no video: {error}") from error
        if not self._videos(videos, context, answers, deliveries=1):
            raise InvocationError("a video was not answered; the log says why. The event has to be delivered again.")
        return {"batchItemFailures": [], "answers": answers}

    def _message(self, message: events.Message, context: LambdaContext, answers: list[dict[str, str]]) -> bool:
        try:
            videos = events.videos_in_body(message.body)
        except events.NotUnderstoodError as error:
            logs.event(
                logging.ERROR,
                "message_failed",
                deliveries=message.deliveries,
                reason=str(error),
                size_characters=len(message.body),
            )
            return False
        return self._videos(videos, context, answers, message.deliveries)

    def _videos(
        self, videos: list[VideoReference], context: LambdaContext, answers: list[dict[str, str]], deliveries: int
    ) -> bool:
        done = True
        for video in videos:
            with logs.about(video.correlation_id):
                try:
                    # A message of several videos goes on where its last delivery stopped.
                    several = len(videos) > 1
                    status = self._answered(video) if several and deliveries > 1 else None
                    if status is None:
                        status = self._video(video, context, mark=several)
                    if status is not None:
                        answers.append({"key": video.key, "status": status})
                except TooLittleTimeError as error:
                    logs.event(logging.WARNING, "video_postponed", reason=str(error))
                    done = False
                except Exception as error:
                    logs.event(
                        logging.ERROR, "video_failed", reason=str(error), kind=type(error).__name__, exc_info=True
                    )
                    done = False
        return done

    def _video(self, video: VideoReference, context: LambdaContext, *, mark: bool) -> str | None:
        """Answers a video, and whatever is uploaded under its key meanwhile: the newest answer stays."""
        engine.load()  # a model that does not load is no fault of the video
        for _ in range(_UPLOADS_FOLLOWED):
            if video.version_id is not None:
                current = self._current(video)
                if current is not None and current.get("VersionId") != video.version_id:
                    logs.event(logging.INFO, "video_superseded", reason="a newer upload of this key has its own event")
                    return None
                if current is None:
                    logs.event(logging.WARNING, "video_gone", reason="the object was deleted before it was read")
                    return None
            try:
                status, answered = self._answer(video, context, mark=mark)
            except ObjectGoneError:
                logs.event(logging.WARNING, "video_gone", reason="the object was deleted before it was read")
                return None
            except ObjectChangedError as error:
                logs.event(logging.INFO, "video_changed", reason=str(error))
            else:
                current = self._current(video)
                if current is None or _is(current, answered):
                    return status
            # The other upload may have been answered before this one was: the last word has to be about that one.
            video = replace(video, etag=None, version_id=None, size_bytes=None)
        raise TooLittleTimeError("other videos are uploaded under this key faster than they are answered")

    def _current(self, video: VideoReference) -> HeadObjectOutputTypeDef | None:
        try:
            return self._clients.s3.head_object(Bucket=video.bucket, Key=video.key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_THERE:
                return None
            raise

    def _answer(self, video: VideoReference, context: LambdaContext, *, mark: bool) -> tuple[str, VideoReference]:
        """Looks at a video and writes its answer; returns the status, and the upload that was looked at."""
        started = time.monotonic()
        class_name = class_of(video.key)
        gallery = self._gallery.current(class_name)
        got_gallery = time.monotonic()
        source = RangedObject(
            self._clients.s3, video.bucket, video.key, video.version_id, expected_bytes=video.size_bytes
        )
        answered = replace(video, etag=source.etag, version_id=source.version_id)
        with logs.about(answered.correlation_id):
            seconds_left = context.get_remaining_time_in_millis() / 1000 - self._config.reserve_seconds
            newest = partial(self._gallery.current, class_name, fresh=True)
            analysis = analyse(source, gallery, newest, self._config, seconds_left)
            analysed = time.monotonic()
            students = self._records([decision.match.name for decision in analysis.decisions])
            analysis.add("gallery", (got_gallery - started) * 1000)
            analysis.add("look", (analysed - got_gallery) * 1000)
            analysis.add("records", (time.monotonic() - analysed) * 1000)
            analysis.add("total", (time.monotonic() - started) * 1000)
            about = Context(
                video=answered,
                size_bytes=source.size_bytes,
                request_id=context.aws_request_id,
                function_version=context.function_version,
                processed_at=datetime.now(UTC),
            )
            self._publish(analysis, students, about, mark=mark)
            analysis.add("written", (time.monotonic() - started) * 1000)
            logs.metrics(analysis.status.value, _measured(analysis, source))
            logs.event(
                logging.INFO,
                "video_answered",
                status=analysis.status.value,
                reason=analysis.reason,
                students=len(students),
                people=len(analysis.people),
                looks=len(analysis.looks),
                ended_by=analysis.ended_by,
                size_bytes=source.size_bytes,
                bytes_read=source.bytes_read,
                requests=source.requests,
                gallery_version=analysis.gallery_version,
                timings_ms=analysis.timings_ms,
            )
        return analysis.status.value, answered

    def _records(self, names: Sequence[str]) -> list[Student]:
        """Returns the academic records in the order of the names; without one, the name alone is known."""
        found: dict[str, dict[str, Any]] = {}
        table = self._config.table_name
        for start in range(0, len(names), _RECORDS_AT_ONCE):
            keys: list[Any] = [{"name": {"S": name}} for name in names[start : start + _RECORDS_AT_ONCE]]
            # Somebody enrolled a moment ago is asked for too.
            request: Any = {table: {"Keys": keys, "ConsistentRead": True}}
            while request:
                answer = self._clients.dynamodb.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(table, []):
                    found[item["name"]["S"]] = item
                request = answer.get("UnprocessedKeys")
        if missing := len(set(names) - found.keys()):
            logs.event(logging.WARNING, "records_missing", students=missing, table=table)
        return [Student.of(name, found.get(name, {})) for name in names]

    def _publish(self, analysis: Analysis, students: list[Student], about: Context, *, mark: bool) -> None:
        """Writes the results, the CSV last because people wait for it, and only then tells the poller.

        A crash in between leaves results without a message; the video's own message is then delivered again and the
        same keys are written once more. There is never a message without its results. With `mark` the CSV says at the
        end that all of it is done, so that a later delivery need not do it again.
        """
        keys = result_keys(about.video.key)
        picture = results.draw(analysis, blur_strangers=self._config.blur_unknown_faces)
        if picture is not None:
            self._put(keys.frame, picture, "image/jpeg")
        else:
            # That of an earlier upload would stand beside this answer, with names on it.
            self._clients.s3.delete_object(Bucket=self._config.output_bucket, Key=keys.frame)
        result = results.describe(analysis, students, about, keys)
        self._put(keys.json, result.render().encode(), "application/json")
        table = render_csv(Row(student.name, student.major, student.year) for student in students)
        self._put(keys.csv, table.encode(), "text/csv; charset=utf-8")
        message = Notification.about(result, self._config.output_bucket, keys)
        self._clients.sqs.send_message(QueueUrl=self._config.output_queue_url, MessageBody=message.render())
        if mark:
            done = {_DONE_ETAG: result.video.etag, _DONE_STATUS: result.status.value}
            self._put(keys.csv, table.encode(), "text/csv; charset=utf-8", done)

    def _answered(self, video: VideoReference) -> str | None:
        """Returns the status of a video that an earlier delivery has answered; nothing when none has."""
        key = result_keys(video.key).csv
        try:
            # Not HEAD, whose refusals do not say why.
            answer = self._clients.s3.get_object(Bucket=self._config.output_bucket, Key=key, Range="bytes=0-0")
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_THERE:
                return None
            raise
        done, current = answer["Metadata"], self._current(video)
        if current is None or done.get(_DONE_ETAG) != current["ETag"].strip('"'):
            return None
        logs.event(logging.INFO, "video_answered_before")
        return done.get(_DONE_STATUS)

    def _put(self, key: str, body: bytes, content_type: str, metadata: dict[str, str] | None = None) -> None:
        self._clients.s3.put_object(
            Bucket=self._config.output_bucket, Key=key, Body=body, ContentType=content_type, Metadata=metadata or {}
        )


def _is(current: HeadObjectOutputTypeDef, answered: VideoReference) -> bool:
    """Tells whether the object that is now under the key is the upload that was answered."""
    if answered.version_id not in (None, "null"):
        return current.get("VersionId") == answered.version_id
    return current["ETag"].strip('"') == answered.etag


def _measured(analysis: Analysis, source: RangedObject) -> dict[str, tuple[MetricUnit, float]]:
    """Returns what CloudWatch is told about a video: name, unit and value."""
    stages = {
        f"{stage.capitalize()}Time": (MetricUnit.Milliseconds, took) for stage, took in analysis.timings_ms.items()
    }
    return stages | {
        "Videos": (MetricUnit.Count, 1),
        "Looks": (MetricUnit.Count, len(analysis.looks)),
        "FacesEncoded": (MetricUnit.Count, analysis.faces),
        "StudentsRecognized": (MetricUnit.Count, len(analysis.decisions)),
        "PeopleSeen": (MetricUnit.Count, len(analysis.people)),
        "VideoSize": (MetricUnit.Bytes, source.size_bytes),
        "BytesRead": (MetricUnit.Bytes, source.bytes_read),
    }
