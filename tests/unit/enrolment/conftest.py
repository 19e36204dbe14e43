"""A table and a bucket in this process, and two ways to compute encodings: quickly from a photo's grey, or really."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from PIL import Image, ImageFile

from classroom_ops.enrolment import computing
from classroom_ops.enrolment.computing import Computed, Job, Progress
from classroom_ops.enrolment.enrol import Outcome, Sources, enrol
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.store import Record, Store

ROOT = Path(__file__).resolve().parents[3]
MEDIA = ROOT / "tests" / "media"
TABLE, BUCKET, RESULTS = "student_table", "known", "results"


@dataclass
class Greys:
    """Takes the mean grey of a photo for its face: photos of one grey show one person. White shows two."""

    jobs: list[Job] = field(default_factory=list)
    photos: list[tuple[str, str]] = field(default_factory=list)

    def compute(self, job: Job, progress: Progress = lambda _: None) -> Computed:
        """As the image does, for these photos."""
        self.jobs.append(job)
        self.photos = [(photo.student, photo.label) for photo in job.photos]
        found: dict[str, list[list[float]]] = {}
        refused: set[str] = set()
        problems: list[str] = []
        gave_way: dict[str, str] = {}
        for number, photo in enumerate(job.photos, start=1):
            progress(f"faces of photo {number} of {len(job.photos)}")
            grey: Any = Image.open(photo.file).convert("L").resize((1, 1)).getpixel((0, 0))
            if grey > 250:
                problems.append(f"{photo.label}: 2 faces were found")
                refused.add(photo.student)
                continue
            encoding = [round(grey / 100, 1)] * 128
            for other, theirs in job.known.students.items():
                if other != photo.student and list(theirs[0]) == encoding:
                    if other in job.giving_way:
                        gave_way[other] = photo.student
                    elif photo.student in job.giving_way:
                        gave_way[photo.student] = other
                    else:
                        problems.append(f"{photo.label}: shows the face of {other}, who is enrolled already")
            found.setdefault(photo.student, []).append(encoding)
        for student in job.students:
            if not job.partial and student.name not in {*found, *job.known.students, *refused}:
                problems.append(f"{student.name}: is in students.csv but has no photo")
        if problems:
            raise EnrolmentError(problems)
        for name in gave_way:
            found.pop(name, None)
        return Computed(found, gave_way)


class Really:
    """Runs what the image runs, in this process."""

    def compute(self, job: Job, progress: Progress = lambda _: None) -> Computed:
        """As the image does."""
        progress("faces")
        sys.path.insert(0, str(ROOT / "lambda_src"))
        try:
            enroll = pytest.importorskip("recognition.enroll")
        finally:
            sys.path.remove(str(ROOT / "lambda_src"))
        with tempfile.TemporaryDirectory() as directory:
            arguments = [each.replace("/enroll", directory) for each in computing.write(job, Path(directory))]
            output, errors = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                code = enroll.main(arguments)
        name = job.pickle.name if job.pickle else ""
        return computing.understood(code, output.getvalue(), errors.getvalue().splitlines(), name)


class Place:
    """A table and a bucket, and a directory to make lists and photos in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        keys: Any = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        self.s3: Any = boto3.client("s3", **keys)
        self.dynamodb: Any = boto3.client("dynamodb", **keys)
        self.store = Store(self.dynamodb, self.s3, TABLE, BUCKET)
        self.computing: Greys | Really = Greys()

    def make(self) -> None:
        """The table and the buckets."""
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.create_bucket(Bucket=RESULTS)
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def photos(self, label: str, photos: dict[str, int]) -> Path:
        """A directory of photos, each of one grey, by their paths."""
        directory = self.directory / label
        for name, grey in photos.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (grey,) * 3).save(directory / name, "PNG")
        return directory

    def roster(self, label: str, rows: Sequence[str], *, classes: bool = False) -> Path:
        """A list of students, with or without their classes."""
        path = self.directory / f"{label}.csv"
        header = "name,id,major,year" + (",class" if classes else "")
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    def enrol(self, sources: Sources, **more: Any) -> Outcome:
        """Enrol and write."""
        outcome = enrol(self.store, sources, self.computing, **more)
        outcome.classes = self.store.apply(outcome.changes)
        return outcome

    def simply(self, label: str, students: dict[str, int], *, sample: bool = False, first_id: int = 1) -> Outcome:
        """Enrol students by name and grey."""
        photos = self.photos(label, {f"{name}.png": grey for name, grey in students.items()})
        rows = [f"{name},{number},History,Senior" for number, name in enumerate(students, start=first_id)]
        return self.enrol(Sources(self.roster(label, rows), photos, image="image:1", sample=sample))

    def known(self) -> dict[str, float]:
        """The grey of everybody who is known."""
        return {name: encodings[0][0] for name, encodings in self.store.known().students.items()}

    def records(self) -> dict[str, Record]:
        """All records."""
        return self.store.records()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty table and an empty bucket."""
    with mock_aws():
        place = Place(tmp_path)
        place.make()
        yield place


@pytest.fixture(autouse=True)
def _no_truncated_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing face_recognition, as other tests do, lets Pillow take truncated files; the commands never import it."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
