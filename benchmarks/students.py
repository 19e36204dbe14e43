"""Ten thousand students in three hundred classes: what enrolling one more takes, and what a function loads.

Usage: python benchmarks/students.py [--students 10000] [--classes 300]      (encodings are random, AWS is emulated)

Times what does not look at photos: deciding and writing. Then the function's gallery as
after a cold start, for a class, for a school of 100 in one file, and for everyone, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lambda_src")]

from recognition import logs  # noqa: E402 - after the path
from recognition.gallery import GalleryStore  # noqa: E402 - after the path

from classroom_contract.gallery import DIMENSIONS, GalleryFile  # noqa: E402
from classroom_ops.enrolment.computing import Computed, Job, Progress  # noqa: E402
from classroom_ops.enrolment.enrol import Sources, enrol  # noqa: E402
from classroom_ops.enrolment.store import MODEL, Changes, Known, Record, Store  # noqa: E402

TABLE, BUCKET, OTHER = "student_table", "known-encodings", "school-of-100"
SEED = 20_240_101
SCHOOL = 100  # students; the gallery that a class's is compared with


class Random:
    """Gives everybody who is new a face; no photo is looked at."""

    def compute(self, job: Job, _progress: Progress = lambda _: None) -> Computed:
        """An encoding for each student of the list who is not known."""
        rng = np.random.default_rng(SEED + 1)
        new = [student.name for student in job.students if student.name not in job.known.students]
        return Computed({name: rng.normal(size=(1, DIMENSIONS)).round(8).tolist() for name in new})


def say(text: str) -> None:
    """A line of the figures."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the processor that `work` takes: others may be busy on this machine."""
    started = time.process_time()
    work()
    return time.process_time() - started


def fill(store: Store, students: int, classes: int) -> float:
    """Enrol everybody; seconds that it took."""
    encodings = np.random.default_rng(SEED).normal(size=(students, 1, DIMENSIONS)).round(8)
    names = [f"Student {number:05}" for number in range(students)]
    known = Known({name: rows.tolist() for name, rows in zip(names, encodings, strict=True)})
    records = tuple(
        Record(name, str(number), "Art", "Junior", class_name=f"class-{number % classes:03}")
        for number, name in enumerate(names)
    )
    return timed(lambda: store.apply(Changes(records, known=known)))


def one_more(store: Store, directory: Path, number: int) -> tuple[float, float]:
    """Seconds of deciding and of writing, for a student who comes into a class."""
    roster, pickle = directory / "one.csv", directory / "encoding"
    roster.write_text(f"name,id,major,year,class\nNewcomer {number},new-{number},Art,Junior,class-007\n")
    pickle.write_bytes(b"")
    outcome = []
    deciding = timed(lambda: outcome.append(enrol(store, Sources(roster, encodings=pickle, image="i"), Random())))
    return deciding, timed(lambda: store.apply(outcome[0].changes))


def cold(s3: Any, bucket: str, class_name: str | None) -> tuple[float, int]:
    """Seconds until a function that has just started has its gallery, and how many students are in it."""
    found = []
    seconds = timed(lambda: found.append(GalleryStore(s3, bucket, 30.0).current(class_name)))
    return seconds, len(found[0].names)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=300)
    options = parser.parse_args()
    logs.configure("ERROR", "benchmark")
    keys: Any = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    with mock_aws(), tempfile.TemporaryDirectory() as directory:
        s3: Any = boto3.client("s3", **keys)
        dynamodb: Any = boto3.client("dynamodb", **keys)
        for bucket in (BUCKET, OTHER):
            s3.create_bucket(Bucket=bucket)
        dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        store = Store(dynamodb, s3, TABLE, BUCKET)
        filled = fill(store, options.students, options.classes)
        say(f"{options.students} students in {options.classes} classes: written in {filled:.1f} s")
        size = s3.head_object(Bucket=BUCKET, Key="everyone.json")["ContentLength"]
        say(f"everyone.json {size / 1e6:.1f} MB")
        scan, read = timed(store.records), timed(store.known)
        say(f"the emulator's scan of the table {scan:.2f} s (two for one more), everyone's file {read:.2f} s")
        rounds = [one_more(store, Path(directory), number) for number in range(3)]
        for what, seconds in zip(("reading and deciding", "writing"), zip(*rounds, strict=True), strict=True):
            say(f"one more, {what:<22} {statistics.median(seconds):.2f} s")
        all_of_it = [deciding + writing for deciding, writing in rounds]
        say(f"one more, all                    {statistics.median(all_of_it):.2f} s, most {max(all_of_it):.2f} s")
        encodings = np.random.default_rng(SEED).normal(size=(SCHOOL, 1, DIMENSIONS)).round(8)
        school = GalleryFile.of(MODEL, [(f"Student {number}", rows.tolist()) for number, rows in enumerate(encodings)])
        s3.put_object(Bucket=OTHER, Key="everyone.json", Body=school.render().encode())
        places = {"a class": (BUCKET, "class-007"), "a school of 100": (OTHER, None), "everyone": (BUCKET, None)}
        measured: dict[str, list[tuple[float, int]]] = {place: [] for place in places}
        for _ in range(9):
            for place, (bucket, class_name) in places.items():
                measured[place].append(cold(s3, bucket, class_name))
        for place, found in measured.items():
            cold_seconds = statistics.median(each[0] for each in found)
            say(f"cold start, {place:<16} {cold_seconds * 1000:8.1f} ms, {found[0][1]} students")


if __name__ == "__main__":
    main()
