"""The answer to one video: where it is stored, how it is read, and how to tell it from an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from classroom_contract import ContractError
from classroom_contract.keys import result_keys
from classroom_contract.results import Result
from classroom_contract.tables import Row, parse_csv
from classroom_ops.aws import Aws, AwsFailure, is_missing
from classroom_ops.errors import OpsError


@dataclass(frozen=True)
class Answer:
    """One answer as read from the bucket: the CSV's own text, its rows, and the account in the JSON beside it."""

    csv: str
    rows: tuple[Row, ...]
    result: Result

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the CSV, in its order."""
        return tuple(row.name for row in self.rows)

    @property
    def status(self) -> str:
        """The status, as a word."""
        return self.result.status.value


def parse_answer(json_text: str | bytes, csv_text: str) -> Answer:
    """Read an answer from the text of its two objects.

    Raises:
        OpsError: one of them is not what the function writes.
    """
    try:
        return Answer(csv_text, parse_csv(csv_text), Result.parse(json_text))
    except ContractError as error:
        raise OpsError(f"the result is damaged: {error}") from error


@dataclass(frozen=True)
class ObjectState:
    """What tells one writing of an object from the next."""

    etag: str
    modified: datetime


def object_state(aws: Aws, key: str) -> ObjectState | None:
    """The present writing of `key` in the output bucket, None if there is none."""
    try:
        head = aws.s3.head_object(Bucket=aws.endpoints.output_bucket, Key=key)
    except AwsFailure as error:
        if is_missing(error):
            return None
        raise
    return ObjectState(head["ETag"].strip('"'), head["LastModified"])


@dataclass(frozen=True)
class Upload:
    """One upload: the video's key and ETag, the server's time of it, and the answer's JSON as it stood before."""

    key: str
    etag: str
    modified: datetime
    before: ObjectState | None


def account_key(video_key: str) -> str:
    """Key of the JSON that answers a video."""
    return result_keys(video_key).json


def table_key(video_key: str) -> str:
    """Key of the CSV that answers a video."""
    return result_keys(video_key).csv


def find_answer(aws: Aws, upload: Upload) -> Answer | None:
    """The answer to this very `upload`, None while there is only an earlier one or none at all.

    The same key may have been answered before, even for the same bytes and within the same second. So the JSON
    must have been written again since and name this video's ETag, and the CSV beside it, which the function writes
    last and in a call of its own, must be as new and list the same students.
    """
    now = object_state(aws, account_key(upload.key))
    if now is None or now == upload.before or now.modified < upload.modified:
        return None
    table = object_state(aws, table_key(upload.key))
    if table is None or table.modified < upload.modified:
        return None
    answer = read_answer(aws, upload.key)
    if answer is None or answer.result.video.etag != upload.etag:
        return None
    if sorted(answer.names) != sorted(student.name for student in answer.result.students):
        return None
    return answer


def read_answer(aws: Aws, video_key: str) -> Answer | None:
    """The answer stored for `video_key`, None unless both its CSV and its JSON exist."""
    texts: list[str] = []
    for key in (account_key(video_key), table_key(video_key)):
        try:
            body = aws.s3.get_object(Bucket=aws.endpoints.output_bucket, Key=key)["Body"].read()
        except AwsFailure as error:
            if is_missing(error):
                return None
            raise
        texts.append(body.decode("utf-8", errors="replace"))
    return parse_answer(*texts)


def result_objects(video_key: str) -> list[str]:
    """Keys of everything that answers the video `video_key`."""
    keys = result_keys(video_key)
    return [keys.csv, keys.json, keys.frame]
