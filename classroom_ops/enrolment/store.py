"""Where students are kept: records in a table, known encodings as one object of a bucket.

Beside the known encodings lies ``samples.json``: the names of the sample students that were enrolled once, and which
student has the face of one that gave way. Whoever of them is gone was removed, or gave way, and is not enrolled again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from classroom_contract import ContractError
from classroom_contract.gallery import Encodings, GalleryFile
from classroom_contract.results import Result
from classroom_contract.roster import RosterStudent
from classroom_ops.enrolment.errors import EnrolmentError

MODEL = "dlib_face_recognition_resnet_model_v1"
# S3 keeps 2 kB of an object's own metadata: room for these, newest first.
_SOURCES_KEY = "sources"
_SOURCES_KEPT = 32
_SAMPLE = "sample"  # the attribute that a sample student's record has


@dataclass(frozen=True)
class Record:
    """A student's record in the table; `sample` marks one of this repository's sample students."""

    name: str
    id: str
    major: str
    year: str
    sample: bool = False

    @classmethod
    def of(cls, student: RosterStudent, *, sample: bool) -> Record:
        """The record of a student of a list."""
        return cls(student.name, student.id, student.major, student.year, sample)


@dataclass(frozen=True)
class Known:
    """Encodings by name, and the sources that they came from, newest first."""

    students: Mapping[str, Encodings]
    sources: tuple[str, ...] = ()

    def file(self) -> GalleryFile:
        """The object in the bucket. Raises ContractError for encodings that are none."""
        return GalleryFile.of(MODEL, self.students.items())


@dataclass(frozen=True)
class Samples:
    """Names of the samples that were `enrolled` once, and of the students who are seen in the place of one."""

    enrolled: frozenset[str] = frozenset()
    replaced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What is to be written: records, names whose record goes, encodings and the account of samples if they change."""

    write: tuple[Record, ...] = ()
    remove: tuple[str, ...] = ()
    known: Known | None = None
    samples: Samples | None = None

    def __bool__(self) -> bool:
        return bool(self.write or self.remove or self.known is not None or self.samples is not None)


class Store:
    """Table and bucket of one environment. Every call may raise botocore's ClientError and BotoCoreError."""

    def __init__(self, dynamodb: Any, s3: Any, table: str, bucket: str, key: str) -> None:
        """Takes boto3's clients; `key` is that of the known encodings."""
        self._dynamodb, self._s3 = dynamodb, s3
        self._table, self._bucket, self._key = table, bucket, key
        folder = key.rpartition("/")[0]
        self._samples_key = f"{folder}/samples.json" if folder else "samples.json"

    def records(self) -> dict[str, Record]:
        """All records by name; none when there is no table."""
        records: dict[str, Record] = {}
        try:
            for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True):
                for item in page["Items"]:
                    texts = {key: str(next(iter(value.values()))) for key, value in item.items() if key != _SAMPLE}
                    name = texts["name"]
                    values = (texts.get("id", ""), texts.get("major", ""), texts.get("year", ""))
                    records[name] = Record(name, *values, sample=bool(item.get(_SAMPLE, {}).get("BOOL")))
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
        return records

    def known(self) -> Known:
        """The known encodings, none when there is no object or no bucket. Raises EnrolmentError when it is damaged."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if _code(error) not in ("NoSuchKey", "NoSuchBucket"):
                raise
            return Known({})
        try:
            file = GalleryFile.parse(answer["Body"].read(), MODEL)
        except ContractError as error:
            raise EnrolmentError(
                [
                    f"the known encodings s3://{self._bucket}/{self._key} are damaged ({error}): restore an earlier "
                    "version of the object, or delete it and enroll everybody again"
                ]
            ) from error
        sources = answer.get("Metadata", {}).get(_SOURCES_KEY, "")
        return Known(dict(file.students), tuple(source for source in sources.split(",") if source))

    def samples(self) -> Samples:
        """What became of the sample students. Raises EnrolmentError when the account of them is damaged."""
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=self._samples_key)["Body"].read()
        except ClientError as error:
            if _code(error) not in ("NoSuchKey", "NoSuchBucket"):
                raise
            return Samples()
        try:
            document = json.loads(body)
            replaced = {str(sample): str(student) for sample, student in dict(document["replaced"]).items()}
            return Samples(frozenset(map(str, document["enrolled"])), replaced)
        except (ValueError, KeyError, TypeError) as error:
            raise EnrolmentError(
                [f"s3://{self._bucket}/{self._samples_key} is damaged ({error!r}): delete it"]
            ) from error

    def apply(self, changes: Changes) -> None:
        """Write changes: records first, because whoever is recognised has one; those that go last."""
        for record in changes.write:
            item: dict[str, Any] = {
                key: {"S": value}
                for key, value in (
                    ("name", record.name),
                    ("id", record.id),
                    ("major", record.major),
                    ("year", record.year),
                )
            }
            if record.sample:
                item[_SAMPLE] = {"BOOL": True}
            self._dynamodb.put_item(TableName=self._table, Item=item)
        if changes.samples is not None:
            enrolled, replaced = sorted(changes.samples.enrolled), dict(changes.samples.replaced)
            self._put(self._samples_key, json.dumps({"schema": 1, "enrolled": enrolled, "replaced": replaced}))
        if changes.known is not None:
            sources = ",".join(changes.known.sources[:_SOURCES_KEPT])
            self._put(self._key, changes.known.file().render(), {_SOURCES_KEY: sources})
        for name in changes.remove:
            self._dynamodb.delete_item(TableName=self._table, Key={"name": {"S": name}})

    def _put(self, key: str, body: str, metadata: Mapping[str, str] | None = None) -> None:
        self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=body.encode(), ContentType="application/json", Metadata=metadata or {}
        )

    def without(self, names: Collection[str]) -> Changes:
        """What removing `names` writes: no records and no encodings of theirs. Nothing is changed yet."""
        known = self.known()
        kept = {name: encodings for name, encodings in known.students.items() if name not in names}
        gone = tuple(sorted(set(names) & self.records().keys()))
        # Without its sources, the next enrolment of any of them writes everything again.
        return Changes((), gone, Known(kept) if len(kept) < len(known.students) else None)

    def forget(self, names: Collection[str]) -> Changes:
        """Remove records and encodings of `names`; objects that hold nobody any more go, too. Says what it did."""
        changes = self.without(names)
        if changes.known is None or changes.known.students:
            self.apply(changes)
            return changes
        self.apply(Changes((), changes.remove))
        for key in (self._key, self._samples_key):
            self._delete(key)
        return changes

    def results_of(self, names: Collection[str], bucket: str) -> list[str]:
        """Keys of every result in `bucket` whose account names one of `names`."""
        keys = {
            item["Key"]
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for item in page.get("Contents", [])
        }
        found: list[str] = []
        for key in sorted(keys):
            if key.endswith(".json") and key not in (self._key, self._samples_key):
                account = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                if not _names_in(account).isdisjoint(names):
                    stem = key.removesuffix(".json")
                    found += [f"{stem}{kind}" for kind in (".csv", ".json", ".jpg") if f"{stem}{kind}" in keys]
        return found

    def delete_results(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete results from `bucket`."""
        for key in keys:
            self._s3.delete_object(Bucket=bucket, Key=key)

    def _delete(self, key: str) -> None:
        try:
            self._s3.delete_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) != "NoSuchBucket":
                raise


def _names_in(account: bytes) -> set[str]:
    """Students that a result names; none when it is not one of the function's."""
    try:
        return {student.name for student in Result.parse(account).students}
    except ContractError:
        return set()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def wrong_between(
    records: Mapping[str, Record], known: Known, wanted: Sequence[RosterStudent], excused: Collection[str] = ()
) -> list[str]:
    """What is not as it should be: of `wanted` everybody has a record and encodings, and so has who is known.

    Of `excused` names, who has neither is in order.
    """
    wrong = []
    for student in wanted:
        there = (student.name in records, student.name in known.students)
        if student.name in excused and not any(there):
            continue
        if not there[0]:
            wrong.append(f"{student.name} has no record in the table")
        if not there[1]:
            wrong.append(f"{student.name} has no known encodings")
    names = {student.name for student in wanted}
    wrong += [
        f"{name} has known encodings but no record"
        for name in sorted(known.students)
        if name not in records and name not in names
    ]
    return wrong
