#!/usr/bin/python
"""Loads students: records into the table, known encodings into the gallery."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: students_enroll
short_description: Load students' records and known encodings
description:
  - Puts the roster's records into the table, and the encodings of the photos into the gallery, an object in a bucket.
  - The encodings are computed by the function's own image in a container without network, so they fit the function.
  - Students who are there already and not in this roster are kept. A source (photos, roster, pickle and image together)
    that was loaded before only fills in what is missing since, and a later enrolment of the same student wins.
  - When a photo is refused, or anything else is wrong with the source, nothing is changed.
options:
  photos_dir:
    description: >-
      Directory of photos; each photo's name begins with its student's, or its folder has that name. Required unless
      O(state=removed).
    type: path
  roster:
    description: CSV with the columns name, id, major and year. Required unless O(state=removed).
    type: path
  names:
    description: Students to remove. Required for O(state=removed).
    type: list
    elements: str
  results_bucket:
    description: >-
      With O(state=removed), bucket from which every result that names one of them is removed too: table, account and
      picture. Without it the results stay.
    type: str
  encoding_pickle:
    description: Pickle of the course project with further encodings. Nothing in it is run.
    type: path
  image:
    description: Image that computes the encodings. Required for O(state=present).
    type: str
  engine:
    description: Container engine's command.
    type: str
    default: docker
  table:
    description: Table of records.
    type: str
    required: true
  bucket:
    description: Bucket of the gallery.
    type: str
    required: true
  key:
    description: Object key of the gallery.
    type: str
    required: true
  prune:
    description: Whether students who are not in this roster are removed.
    type: bool
    default: false
  state:
    description:
      - V(present) loads, V(verified) fails when a student of the roster is not loaded, V(absent) removes the roster's,
        V(removed) removes those of O(names).
    type: str
    choices: [present, verified, absent, removed]
    default: present
  timeout_seconds:
    description: Time limit for computing the encodings.
    type: int
    default: 600
notes:
  - >-
    Nearest: none, this is what the project is for.
  - >-
    Can go: never; its logic belongs to the operator's commands.
author: Smart Classroom (@smart-classroom)
"""

RETURN = r"""
records_written:
  description: Students whose record was written.
  type: list
  elements: str
  returned: success
records_removed:
  description: Students whose record was removed.
  type: list
  elements: str
  returned: success
encodings_removed:
  description: Students whose encodings were removed.
  type: list
  elements: str
  returned: success
results_removed:
  description: Keys of the results that were removed.
  type: list
  elements: str
  returned: success
gallery_version:
  description: Version of the gallery.
  type: str
  returned: success
students:
  description: Students in the gallery.
  type: list
  elements: str
  returned: success
"""

EXAMPLES = r"""
- name: Load the students
  smart_classroom.platform.students_enroll:
    photos_dir: photos
    roster: students.csv
    image: smart-classroom/function:0123456789abcdef
    table: student_table
    bucket: output-bucket-vid
    key: .gallery/known-encodings.json

- name: Remove a student with everything that is known
  smart_classroom.platform.students_enroll:
    names: [Joe Biden]
    table: student_table
    bucket: output-bucket-vid
    key: .gallery/known-encodings.json
    results_bucket: output-bucket-vid
    state: removed
"""

import csv
import hashlib
import json
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)

Record = dict[str, str]
Encodings = dict[str, list[list[float]]]

SCHEMA = 1
MODEL = "dlib_face_recognition_resnet_model_v1"
DIMENSIONS = 128
COLUMNS = ("name", "id", "major", "year")
# S3 keeps 2 kB of an object's own metadata: room for these, newest first.
SOURCES_KEY = "sources"
SOURCES_KEPT = 32
TABLE_BATCH = 100


class StudentsError(Exception):
    """The students cannot be loaded; the text lists everything that has to be mended."""


@dataclass
class Gallery:
    """Known encodings by name, and the sources they came from (newest first)."""

    students: Encodings = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def document(self) -> list[dict[str, Any]]:
        """Students as the function reads them, in the order of their names."""
        return [{"name": name, "encodings": self.students[name]} for name in sorted(self.students)]

    @property
    def version(self) -> str:
        """Hash of the students, as the function computes it."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def body(self) -> bytes:
        """The object in the bucket."""
        content = {"schema": SCHEMA, "model": MODEL, "version": self.version, "students": self.document()}
        return json.dumps(content, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Plan:
    """What has to be written: records, names whose record goes, and the gallery when it differs; results that go.

    An empty gallery is removed unless it is to be kept: without one, a gallery in the function's image would serve.
    """

    write: tuple[Record, ...]
    remove: tuple[str, ...]
    gallery: Gallery | None
    results: tuple[str, ...] = ()
    keep_empty: bool = False


def plain(text: str) -> str:
    """A name or value as it is stored: one Unicode form, no blanks around it."""
    return unicodedata.normalize("NFC", text.strip())


def read_roster(path: Path) -> list[Record]:
    """Records of the CSV, in its order. Raises StudentsError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
            if missing:
                raise StudentsError(
                    f"{path}: lacks the columns {', '.join(missing)}; the first line has to be {','.join(COLUMNS)}"
                )
            records = [{column: plain(row[column] or "") for column in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudentsError(f"{path}: cannot be read: {error}") from error
    names = [record["name"] for record in records]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or "" in names or twice:
        reason = f"{', '.join(twice)} stands there twice" if twice else "a line has no name" if names else "is empty"
        raise StudentsError(f"{path}: {reason}")
    return records


def source_hash(photos: Path, roster: Path, pickle: Path | None, image: str) -> str:
    """Names everything that decides the encodings. Raises StudentsError when a file cannot be read."""
    digest = hashlib.sha256(image.encode())
    try:
        if not photos.is_dir():
            raise StudentsError(f"{photos}: there is no such directory; give it as PHOTOS=<directory>")
        files = sorted(path for path in photos.rglob("*") if path.is_file())
        for path in [*files, roster, *([pickle] if pickle else [])]:
            label = str(path.relative_to(photos)) if path in files else "another"
            digest.update(label.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    except OSError as error:
        raise StudentsError(f"{error.filename}: {error.strerror}") from error
    return digest.hexdigest()[:16]


def encode(
    engine: str,
    image: str,
    photos: Path,
    roster: Path,
    pickle: Path | None,
    timeout_seconds: int,
    source: str,
    known: Gallery | None = None,
) -> Encodings:
    """Encodings by name, computed in a container of the function's image.

    The faces are compared with those of ``known`` too: nobody is enrolled under two names. Raises StudentsError with
    the reason of each photo that was refused.
    """
    if known and known.students:
        with tempfile.NamedTemporaryFile(prefix="known-", suffix=".json") as file:
            file.write(known.body())
            file.flush()
            more = {Path(file.name): "/enroll/known.json"}
            return _encode(engine, image, photos, roster, pickle, timeout_seconds, source, more)
    return _encode(engine, image, photos, roster, pickle, timeout_seconds, source, {})


def _encode(
    engine: str,
    image: str,
    photos: Path,
    roster: Path,
    pickle: Path | None,
    timeout_seconds: int,
    source: str,
    known: dict[Path, str],
) -> Encodings:
    mounts = {photos: "/enroll/photos", roster: "/enroll/students.csv"}
    arguments = ["--photos", "/enroll/photos", "--roster", "/enroll/students.csv"]
    if pickle:
        mounts[pickle] = "/enroll/encodings.pickle"
        arguments += ["--pickle", "/enroll/encodings.pickle"]
    for path, target in known.items():
        mounts[path] = target
        arguments += ["--known", target]
    name = f"students-enroll-{source}"
    command = [engine, "run", "--rm", "--name", name, "--network", "none", "--entrypoint", "python3"]
    for path, target in mounts.items():
        command += ["--volume", f"{path.resolve()}:{target}:ro"]
    command += [image, "-m", "recognition.enroll", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        subprocess.run([engine, "rm", "--force", name], capture_output=True, timeout=60, check=False)
        raise StudentsError(
            f"the encodings were not computed in {timeout_seconds} s; raise students_timeout_seconds"
        ) from error
    except OSError as error:
        raise StudentsError(f"{engine} cannot be run: {error}; is the container engine installed? make up") from error
    if done.returncode != 0:
        problems = [line.removeprefix("enroll: ") for line in done.stderr.splitlines() if line.startswith("enroll: ")]
        raise StudentsError("\n".join(problems) or f"computing the encodings failed: {done.stderr.strip()[-2000:]}")
    try:
        students = json.loads(done.stdout)["gallery"]["students"]
        return {str(student["name"]): checked(student["encodings"]) for student in students}
    except (ValueError, KeyError, TypeError) as error:
        raise StudentsError(f"the image's answer cannot be understood: {error!r}; build it again: make up") from error


def checked(encodings: Any) -> list[list[float]]:
    """Encodings of one student. Raises ValueError unless there is one, and each has 128 numbers."""
    if not encodings or any(len(encoding) != DIMENSIONS for encoding in encodings):
        raise ValueError(f"an encoding has not {DIMENSIONS} numbers")
    return [[float(number) for number in encoding] for encoding in encodings]


def read_gallery(s3: Any, bucket: str, key: str) -> Gallery:
    """The gallery, empty when there is none. Raises StudentsError when it is damaged, AWS_ERRORS otherwise."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error_code(error) == "NoSuchKey":
            return Gallery()
        raise
    try:
        students = json.loads(answer["Body"].read())["students"]
        known = {str(student["name"]): checked(student["encodings"]) for student in students}
    except (ValueError, KeyError, TypeError) as error:
        raise StudentsError(
            f"the gallery s3://{bucket}/{key} is damaged ({error!r}); delete the object and enroll again"
        ) from error
    sources = answer.get("Metadata", {}).get(SOURCES_KEY, "")
    return Gallery(known, [source for source in sources.split(",") if source])


def write_gallery(s3: Any, bucket: str, key: str, gallery: Gallery, *, keep_empty: bool = False) -> None:
    """Store the gallery; one without students is removed unless ``keep_empty``."""
    if not gallery.students and not keep_empty:
        s3.delete_object(Bucket=bucket, Key=key)
        return
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=gallery.body(),
        ContentType="application/json",
        Metadata={SOURCES_KEY: ",".join(gallery.sources[:SOURCES_KEPT])},
    )


def chunks(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """``names`` in parts of ``size``."""
    return (names[start : start + size] for start in range(0, len(names), size))


def read_records(dynamodb: Any, table: str, names: Sequence[str] | None) -> dict[str, Record]:
    """Records by name; of ``names``, or all of them."""
    items: list[dict[str, Any]] = []
    if names is None:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            items += page["Items"]
    else:
        for part in chunks(names, TABLE_BATCH):
            request = {table: {"Keys": [{"name": {"S": name}} for name in part]}}
            while request:
                answer = dynamodb.batch_get_item(RequestItems=request)
                items += answer["Responses"].get(table, [])
                request = answer.get("UnprocessedKeys") or {}
    records = [{key: str(next(iter(value.values()))) for key, value in item.items()} for item in items]
    return {record["name"]: record for record in records}


def plan_records(
    roster: Sequence[Record], existing: dict[str, Record], *, known: bool, prune: bool
) -> tuple[list[Record], list[str]]:
    """Records to write and names to remove; a source loaded before only fills in what is missing."""
    write = [
        record
        for record in roster
        if record["name"] not in existing or (not known and existing[record["name"]] != record)
    ]
    names = {record["name"] for record in roster}
    return write, sorted(set(existing) - names) if prune else []


def merge(gallery: Gallery, new: Encodings, source: str, names: Sequence[str], *, prune: bool) -> Gallery:
    """The gallery after an enrolment."""
    known = source in gallery.sources
    students = {**new, **gallery.students} if known else {**gallery.students, **new}
    if prune:
        students = {name: encodings for name, encodings in students.items() if name in names}
    sources = [source, *(other for other in gallery.sources if other != source)]
    return Gallery(students, gallery.sources if known else sources[:SOURCES_KEPT])


def verify(roster: Sequence[Record], records: dict[str, Record], gallery: Gallery) -> list[str]:
    """What is not as the roster wants it."""
    wrong = [f"{record['name']} has no record in the table" for record in roster if record["name"] not in records]
    wrong += [f"{record['name']} is not in the gallery" for record in roster if record["name"] not in gallery.students]
    wrong += [f"{name} is in the gallery but has no record" for name in gallery.students if name not in records]
    return wrong


class Students:
    """The table and the gallery of one environment."""

    def __init__(self, dynamodb: Any, s3: Any, table: str, bucket: str, key: str) -> None:
        self._dynamodb, self._s3 = dynamodb, s3
        self._table, self._bucket, self._key = table, bucket, key

    def gallery(self, *, missing_ok: bool = False) -> Gallery:
        """Known encodings; a bucket that is not there yet counts as empty when ``missing_ok``."""
        try:
            return read_gallery(self._s3, self._bucket, self._key)
        except ClientError as error:
            if missing_ok and error_code(error) == "NoSuchBucket":
                return Gallery()
            raise

    def records(self, names: Sequence[str] | None, *, missing_ok: bool = False) -> dict[str, Record]:
        """Records; a table that is not there yet counts as empty when ``missing_ok``."""
        try:
            return read_records(self._dynamodb, self._table, names)
        except ClientError as error:
            if missing_ok and error_code(error) == "ResourceNotFoundException":
                return {}
            raise

    def apply(self, plan: Plan, results_bucket: str = "") -> None:
        """Records first: whoever is recognised has one. Encodings go before records, results last."""
        for record in plan.write:
            item = {key: {"S": value} for key, value in record.items()}
            self._dynamodb.put_item(TableName=self._table, Item=item)
        if plan.gallery is not None:
            write_gallery(self._s3, self._bucket, self._key, plan.gallery, keep_empty=plan.keep_empty)
        for name in plan.remove:
            self._dynamodb.delete_item(TableName=self._table, Key={"name": {"S": name}})
        for key in plan.results:
            self._s3.delete_object(Bucket=results_bucket, Key=key)

    def results_of(self, names: Sequence[str], bucket: str) -> list[str]:
        """Keys of every result in ``bucket`` that names one of them."""
        keys = {
            item["Key"]
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for item in page.get("Contents", [])
        }
        found: list[str] = []
        for key in sorted(keys):
            if not key.endswith(".json") or key == self._key:
                continue
            account = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            if names_in(account).isdisjoint(names):
                continue
            stem = key.removesuffix(".json")
            found += [f"{stem}{kind}" for kind in (".csv", ".json", ".jpg") if f"{stem}{kind}" in keys]
        return found


def names_in(account: bytes) -> set[str]:
    """Students that a result names; none when it is not one of the function's."""
    try:
        return {str(student["name"]) for student in json.loads(account)["students"]}
    except (ValueError, KeyError, TypeError):
        return set()


def plan_present(students: Students, parameters: dict[str, Any], *, check_mode: bool) -> Plan:
    """What an enrolment has to write. Raises StudentsError and AWS_ERRORS, having changed nothing."""
    photos, roster_path = Path(parameters["photos_dir"]), Path(parameters["roster"])
    pickle = Path(parameters["encoding_pickle"]) if parameters["encoding_pickle"] else None
    prune = parameters["prune"]
    roster = read_roster(roster_path)
    names = [record["name"] for record in roster]
    source = source_hash(photos, roster_path, pickle, parameters["image"])
    gallery = students.gallery(missing_ok=check_mode)
    known = source in gallery.sources
    existing = students.records(None if prune else names, missing_ok=check_mode)
    write, remove = plan_records(roster, existing, known=known, prune=prune)
    new: Encodings = {}
    if not known or any(name not in gallery.students for name in names):
        new = encode(
            parameters["engine"],
            parameters["image"],
            photos,
            roster_path,
            pickle,
            parameters["timeout_seconds"],
            source,
            None if prune else gallery,
        )
    merged = merge(gallery, new, source, names, prune=prune)
    differs = merged.version != gallery.version or merged.sources != gallery.sources
    return Plan(tuple(write), tuple(remove), merged if differs else None)


def plan_absent(students: Students, roster: Sequence[Record]) -> Plan:
    """What removing the roster's students has to write."""
    names = [record["name"] for record in roster]
    gallery = students.gallery(missing_ok=True)
    kept = {name: encodings for name, encodings in gallery.students.items() if name not in names}
    # Without its sources, the next enrolment of any of them writes everything again.
    smaller = Gallery(kept, [])
    return Plan(
        (),
        tuple(sorted(students.records(names, missing_ok=True))),
        smaller if len(kept) != len(gallery.students) else None,
    )


def plan_removed(students: Students, names: Sequence[str], results_bucket: str | None) -> Plan:
    """What removing these students has to write: record, encodings and, if a bucket is named, results."""
    wanted = [plain(name) for name in names]
    gallery = students.gallery(missing_ok=True)
    kept = {name: encodings for name, encodings in gallery.students.items() if name not in wanted}
    return Plan(
        (),
        tuple(sorted(students.records(wanted, missing_ok=True))),
        Gallery(kept, []) if len(kept) != len(gallery.students) else None,
        tuple(students.results_of(wanted, results_bucket)) if results_bucket else (),
        keep_empty=True,
    )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "photos_dir": {"type": "path"},
            "roster": {"type": "path"},
            "names": {"type": "list", "elements": "str"},
            "results_bucket": {"type": "str"},
            "encoding_pickle": {"type": "path"},
            "image": {"type": "str"},
            "engine": {"type": "str", "default": "docker"},
            "table": {"type": "str", "required": True},
            "bucket": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
            "prune": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "verified", "absent", "removed"], "default": "present"},
            "timeout_seconds": {"type": "int", "default": 600},
        },
        required_if=[
            ("state", "present", ["image", "photos_dir", "roster"]),
            ("state", "verified", ["photos_dir", "roster"]),
            ("state", "absent", ["photos_dir", "roster"]),
            ("state", "removed", ["names"]),
        ],
        supports_check_mode=True,
    )
    parameters = module.params
    plan = Plan((), (), None)
    try:
        students = Students(
            aws_client("dynamodb"), aws_client("s3"), parameters["table"], parameters["bucket"], parameters["key"]
        )
        if parameters["state"] == "present":
            plan = plan_present(students, parameters, check_mode=module.check_mode)
        elif parameters["state"] == "absent":
            plan = plan_absent(students, read_roster(Path(parameters["roster"])))
        elif parameters["state"] == "removed":
            plan = plan_removed(students, parameters["names"], parameters["results_bucket"])
        else:
            wrong = verify(read_roster(Path(parameters["roster"])), students.records(None), students.gallery())
            if wrong:
                raise StudentsError("\n".join([*wrong, "load them: make enroll PHOTOS=<directory> ROSTER=<csv>"]))
        before = set(students.gallery(missing_ok=True).students) if plan.gallery else set()
        if not module.check_mode:
            students.apply(plan, parameters["results_bucket"] or "")
        gone_ok = parameters["state"] in ("absent", "removed") or module.check_mode
        gallery = plan.gallery or students.gallery(missing_ok=gone_ok)
    except StudentsError as error:
        problems = [f"- {line}" for line in str(error).splitlines()]
        module.fail_json(msg="\n".join(["The students are not loaded, and nothing was changed:", *problems]))
    except AWS_ERRORS as error:
        module.fail_json(msg=f"The students' table or gallery cannot be used: {error}. Are both there? make up")
    module.exit_json(
        changed=bool(plan.write or plan.remove or plan.gallery or plan.results),
        records_written=[record["name"] for record in plan.write],
        records_removed=list(plan.remove),
        encodings_removed=sorted(before - set(gallery.students)) if plan.gallery else [],
        results_removed=list(plan.results),
        gallery_version=gallery.version,
        students=sorted(gallery.students),
    )


if __name__ == "__main__":
    main()
