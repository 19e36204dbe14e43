"""Where students are kept: records in a table, known encodings in a bucket of their own.

In the bucket, ``everyone.json`` holds the known encodings of all students and decides who is enrolled. ``<class>.json``
holds those of a class's students: it is made of everyone's and of the records, and can be made again at any time.
``account/samples.json`` (a class has no slash in its name) holds the names of the sample students that were enrolled
once, and which student has the face of one that gave way. Whoever of them is gone was removed, or gave way, and is not
enrolled again.

Nothing is written over what somebody else has written meanwhile: S3 compares the ETag that was read (If-Match).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from classroom_contract import ContractError
from classroom_contract.gallery import Encodings, GalleryFile
from classroom_contract.keys import class_problem, gallery_key
from classroom_contract.roster import RosterStudent
from classroom_ops.enrolment.errors import ConflictError, EnrolmentError

MODEL = "dlib_face_recognition_resnet_model_v1"
EVERYONE_KEY = gallery_key()
SAMPLES_KEY = "account/samples.json"
# Students of `make verify`, for as long as it runs: an attribute of their records, and the file of their class.
VERIFICATION_MARK = "verification"
VERIFICATION_KEY = re.compile(r"verification-[0-9a-f]{8}\.json")
# S3 keeps 2 kB of an object's own metadata: room for these, newest first.
_SOURCES_KEY = "sources"
_SOURCES_KEPT = 32
_TIMES = 8  # that work is repeated because somebody else was faster; one of those who write at once always gets through

_T = TypeVar("_T")


def repeated(work: Callable[[], _T]) -> _T:
    """Do `work`, again from its beginning where somebody else has written meanwhile what it has read.

    Raises:
        ConflictError: others were faster every time.
    """
    for _ in range(_TIMES - 1):
        try:
            return work()
        except ConflictError:
            time.sleep(random.uniform(0, 0.5))  # noqa: S311 - apart from the other, not a secret
    return work()


@dataclass(frozen=True)
class Record:
    """A student's record in the table; `sample` marks one of this repository's sample students.

    Dates are written 2026-09-30, and empty where they are not known: `enrolled` since when the student has a record,
    `consent` since when there is a consent. `class_name` is empty for a student of no class.
    """

    name: str
    id: str
    major: str
    year: str
    sample: bool = False
    class_name: str = ""
    consent: str = ""
    enrolled: str = field(default="", compare=False)

    @classmethod
    def of(cls, student: RosterStudent, *, sample: bool, before: Record | None = None) -> Record:
        """The record of a student of a list; what the list does not say stays as it was in the same one's `before`."""
        if before is None or (before.id, before.sample) != (student.id, sample):
            before = Record("", "", "", "", enrolled=datetime.now(UTC).date().isoformat())
        class_name = before.class_name if student.class_name is None else student.class_name
        consent = before.consent if student.consent is None else student.consent
        rest = (class_name, consent, before.enrolled)
        return cls(student.name, student.id, student.major, student.year, sample, *rest)

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> Record:
        """The record that an item of the table is."""
        texts = {name: str(next(iter(item.get(of, {}).values()), "")) for name, of in _ATTRIBUTES.items()}
        return cls(**texts, sample=bool(item.get(_SAMPLE, {}).get("BOOL")))

    def item(self) -> dict[str, Any]:
        """The table's item; what is empty and need not be there is left out."""
        texts = {of: getattr(self, name) for name, of in _ATTRIBUTES.items()}
        item: dict[str, Any] = {of: {"S": text} for of, text in texts.items() if text or of in _ALWAYS}
        return item | ({_SAMPLE: {"BOOL": True}} if self.sample else {})


# Attributes of the table by what a record calls them, and the one of a sample.
_ALWAYS = ("name", "id", "major", "year")
_ATTRIBUTES = {name: name for name in (*_ALWAYS, "consent", "enrolled")} | {"class_name": "class"}
_SAMPLE = "sample"


@dataclass(frozen=True)
class Known:
    """Encodings by name, and the sources that they came from, newest first.

    `etag` is that of the object that they were read from, empty where there is none.
    """

    students: Mapping[str, Encodings]
    sources: tuple[str, ...] = ()
    etag: str = ""

    @cached_property
    def file(self) -> GalleryFile:
        """The object in the bucket. Raises ContractError for encodings that are none."""
        return GalleryFile.of(MODEL, self.students.items())

    def written(self, etag: str) -> Known:
        """The same after it was written."""
        return self._of(self.file, self.sources, etag)

    @classmethod
    def _of(cls, file: GalleryFile, sources: tuple[str, ...], etag: str) -> Known:
        known = cls(dict(file.students), sources, etag)
        vars(known)["file"] = file  # where cached_property keeps it: of ten thousand students it takes a second to make
        return known

    @classmethod
    def read(cls, content: bytes, sources: str, etag: str) -> Known:
        """What is in an object. Raises ContractError when it is damaged."""
        return cls._of(GalleryFile.parse(content, MODEL), tuple(one for one in sources.split(",") if one), etag)


@dataclass(frozen=True)
class Samples:
    """Names of the samples that were `enrolled` once, and of the students who are seen in the place of one.

    `etag` is that of the object that they were read from, empty where there is none.
    """

    enrolled: frozenset[str] = frozenset()
    replaced: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True)
class Changes:
    """What is to be written: records, names whose record goes, encodings and the account of samples if they change.

    Encodings and account bear the ETag of what they take the place of.
    """

    write: tuple[Record, ...] = ()
    remove: tuple[str, ...] = ()
    known: Known | None = None
    samples: Samples | None = None

    def __bool__(self) -> bool:
        return bool(self.write or self.remove or self.known is not None or self.samples is not None)


class Store:
    """Table and bucket of one environment. Every call may raise botocore's ClientError and BotoCoreError."""

    def __init__(self, dynamodb: Any, s3: Any, table: str, bucket: str) -> None:
        """Takes boto3's clients and the names."""
        self._dynamodb, self._s3 = dynamodb, s3
        self._table, self.bucket = table, bucket

    def records(self) -> dict[str, Record]:
        """All records by name but those of a verification; none when there is no table."""
        records: dict[str, Record] = {}
        try:
            for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True):
                for item in page["Items"]:
                    if VERIFICATION_MARK in item:
                        continue
                    record = Record.read(item)
                    records[record.name] = record
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
        return records

    def known(self) -> Known:
        """The known encodings of everyone, none when there is no object or no bucket.

        Raises:
            EnrolmentError: the object is damaged.
        """
        return self.known_in(self.bucket, EVERYONE_KEY)

    def known_in(self, bucket: str, key: str) -> Known:
        """The same of any object."""
        answer = self._get(bucket, key)
        if answer is None:
            return Known({})
        try:
            return Known.read(answer["Body"].read(), answer.get("Metadata", {}).get(_SOURCES_KEY, ""), answer["ETag"])
        except ContractError as error:
            raise EnrolmentError(
                [
                    f"the known encodings s3://{bucket}/{key} are damaged ({error}): restore an earlier version of the "
                    "object, or delete it and enroll everybody again"
                ]
            ) from error

    def samples(self) -> Samples:
        """What became of the sample students. Raises EnrolmentError when the account of them is damaged."""
        return self.samples_in(self.bucket, SAMPLES_KEY)

    def samples_in(self, bucket: str, key: str) -> Samples:
        """The same of any object."""
        answer = self._get(bucket, key)
        if answer is None:
            return Samples()
        try:
            document = json.loads(answer["Body"].read())
            replaced = {str(sample): str(student) for sample, student in dict(document["replaced"]).items()}
            return Samples(frozenset(map(str, document["enrolled"])), replaced, answer["ETag"])
        except (ValueError, KeyError, TypeError) as error:
            raise EnrolmentError([f"s3://{bucket}/{key} is damaged ({error!r}): delete it"]) from error

    def apply(self, changes: Changes) -> list[str]:
        """Write changes, and make the classes' files anew where they differ; returns the keys of these.

        Records come first, because whoever is recognised has one; those that go are the last. Where it ends half way,
        to do the same again completes it.

        Raises:
            ConflictError: somebody else has written meanwhile what `changes` were made of. Nothing of theirs is lost;
                read and decide again (`repeated`).
        """
        for record in changes.write:
            self._dynamodb.put_item(TableName=self._table, Item=record.item())
        known = changes.known
        if changes.samples is not None:
            enrolled, replaced = sorted(changes.samples.enrolled), dict(changes.samples.replaced)
            body = json.dumps({"schema": 1, "enrolled": enrolled, "replaced": replaced})
            self._put(SAMPLES_KEY, body, changes.samples.etag)
        if known is not None:
            sources = ",".join(known.sources[:_SOURCES_KEPT])
            known = known.written(self._put(EVERYONE_KEY, known.file.render(), known.etag, {_SOURCES_KEY: sources}))
        classes = self.mend_classes(known)
        for name in changes.remove:
            self._dynamodb.delete_item(TableName=self._table, Key={"name": {"S": name}})
        return classes

    def mend_classes(self, known: Known | None = None) -> list[str]:
        """Write each class's file that is not what everyone's and the records make it; returns the keys of these.

        `known` saves reading everyone's where it is still that.

        Raises:
            ConflictError: others were faster every time.
        """
        written: list[str] = []

        def mend() -> None:
            gone = False
            for key, body, etag in self._classes_to_write(known):
                if body is None:
                    self._s3.delete_object(Bucket=self.bucket, Key=key)
                    gone = True
                else:
                    self._put(key, body, etag)
                written.append(key)
            # S3 compares nothing before it deletes: somebody may have come into that class meanwhile.
            if gone and self.wrong_classes():
                raise ConflictError

        repeated(mend)
        return sorted(set(written))

    def wrong_classes(self) -> list[str]:
        """Keys of the classes' files that are missing, too many, or not what everyone's and the records make them."""
        return [key for key, _, _ in self._classes_to_write(None)]

    def _classes_to_write(self, known: Known | None) -> Iterator[tuple[str, str | None, str]]:
        """Key, text (None where the file goes) and present ETag of each class's file that is not as it should be."""
        # The ETags first: who writes a file after that is noticed, who did before is among the records read here.
        there = self._listed()
        if known is None or known.etag != there.get(EVERYONE_KEY):
            known = self.known()
        there.pop(EVERYONE_KEY, None)
        wanted = {gallery_key(name): known.file.only(who).render() for name, who in self._classes(known).items()}
        for key, body in wanted.items():
            etag = there.pop(key, "")
            # The MD5 is the ETag unless the bucket has a key of KMS.
            same = etag.strip('"') == hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
            if not same and not (etag and self._text(key) == body):
                yield key, body, etag
        for key, etag in there.items():
            yield key, None, etag

    def _classes(self, known: Known) -> dict[str, set[str]]:
        """Who is known, by class."""
        members: dict[str, set[str]] = {}
        for record in self.records().values():
            if record.name in known.students and not class_problem(record.class_name):
                members.setdefault(record.class_name, set()).add(record.name)
        return members

    def _listed(self) -> dict[str, str]:
        """ETags of everyone's and the classes' files by their keys."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Delimiter="/")
        try:
            listed = {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", [])}
            return {key: etag for key, etag in listed.items() if not VERIFICATION_KEY.fullmatch(key)}
        except ClientError as error:
            if _code(error) != "NoSuchBucket":
                raise
            return {}

    def _get(self, bucket: str, key: str) -> Any:
        """S3's answer, nothing when there is no such object."""
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _code(error) not in ("NoSuchKey", "NoSuchBucket"):
                raise
            return None

    def _text(self, key: str) -> str | None:
        answer = self._get(self.bucket, key)
        return None if answer is None else str(answer["Body"].read().decode("utf-8", "replace"))

    def _put(self, key: str, body: str, etag: str, metadata: Mapping[str, str] | None = None) -> str:
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            answer = self._s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body.encode(),
                ContentType="application/json",
                Metadata=metadata or {},
                **condition,
            )
        except ClientError as error:
            # The second is what S3 answers to two that write in the same moment, the third where the object has gone.
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                raise ConflictError from error
            raise
        return str(answer["ETag"])

    def without(self, names: Collection[str]) -> Changes:
        """What removing `names` writes: no records and no encodings of theirs. Nothing is changed yet."""
        known = self.known()
        kept = {name: encodings for name, encodings in known.students.items() if name not in names}
        gone = tuple(sorted(set(names) & self.records().keys()))
        # Without its sources, the next enrolment of any of them writes everything again.
        return Changes((), gone, Known(kept, etag=known.etag) if len(kept) < len(known.students) else None)

    def forget(self, names: Collection[str]) -> Changes:
        """Remove records and encodings of `names`; objects that hold nobody any more go, too. Says what it did."""

        def forget() -> Changes:
            changes = self.without(names)
            self.apply(changes)
            return changes

        changes = repeated(forget)
        if changes.known is not None and not changes.known.students:
            for key in (EVERYONE_KEY, SAMPLES_KEY):
                self._s3.delete_object(Bucket=self.bucket, Key=key)
        return changes


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
