"""Makes the gallery and the records from photos and a roster.

Usage: python -m recognition.enroll --photos DIRECTORY --roster students.csv [--pickle FILE]

A photo belongs to the student whose name begins its file name ("Joe Biden.jpg", "joe_biden-2.png"), or to the one
that its folder is named after ("Joe Biden/summer.jpg"). Case, "_" and "-" do not matter. The roster has the columns
name,id,major,year. Prints {"gallery": ..., "records": [...]} on standard output. When anything is wrong, everything
that is wrong is listed on standard error, nothing is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from recognition import engine, pickles
from recognition.engine import Encoding, Image
from recognition.matching import Gallery
from recognition.results import Student

_PHOTOS = {".jpg", ".jpeg", ".png"}
_COLUMNS = ("name", "id", "major", "year")


class EnrollError(Exception):
    """Something about the photos, the roster or the pickle has to be mended; `problems` has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def read_roster(path: Path, problems: list[str]) -> list[Student]:
    """Returns the students of the CSV; what is wrong with it is added to `problems`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path.name}: cannot be read: {error}")
        return []
    if not rows:
        problems.append(f"{path.name}: holds no students")
        return []
    missing = [column for column in _COLUMNS if column not in rows[0]]
    if missing:
        problems.append(
            f"{path.name}: lacks the columns {', '.join(missing)}; the first line has to be {','.join(_COLUMNS)}"
        )
        return []
    students: dict[str, Student] = {}
    for number, row in enumerate(rows, start=2):
        student = Student(**{column: unicodedata.normalize("NFC", (row[column] or "").strip()) for column in _COLUMNS})
        if not student.name:
            problems.append(f"{path.name}, line {number}: has no name")
        elif _plain(student.name) in students:
            problems.append(f"{path.name}, line {number}: {student.name} stands there twice")
        else:
            students[_plain(student.name)] = student
    return list(students.values())


def owner(photo: Path, students: Sequence[Student]) -> Student | None:
    """Returns the student whose photo this is, by the folder it is in or by the beginning of its name."""
    by_name = {_plain(student.name): student for student in students}
    if photo.parent.name and len(photo.parts) > 1:
        return by_name.get(_plain(photo.parent.name))
    stem = _plain(photo.stem)
    fitting = [name for name in by_name if stem == name or (stem.startswith(name) and not stem[len(name)].isalpha())]
    return by_name[max(fitting, key=len)] if fitting else None


def encode_photo(path: Path) -> Encoding | str:
    """Returns the encoding of the one face in a photo, or why there is none."""
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if decoded is None:
        return "is not a picture that can be read"
    photo: Image = np.asarray(decoded, dtype=np.uint8)
    faces = engine.find_faces(photo) or engine.find_faces(photo, fine=True)
    if not faces:
        return "no face was found: take one in which the whole face looks at the camera"
    if len(faces) > 1:
        return f"{len(faces)} faces were found: cut it so that only the student is in it"
    return engine.encode(photo, faces)[0]


def enroll(photos: Path, roster: Path, pickled: Path | None = None) -> tuple[Gallery, list[Student]]:
    """Returns the gallery and the records. Raises EnrollError with everything that has to be mended."""
    problems: list[str] = []
    students = read_roster(roster, problems)
    encodings: dict[str, list[Encoding]] = {student.name: [] for student in students}
    for path in sorted(photos.rglob("*")) if photos.is_dir() else []:
        relative = path.relative_to(photos)
        if path.suffix.lower() not in _PHOTOS or not path.is_file():
            continue
        student = owner(relative, students)
        if student is None:
            problems.append(f"{relative}: nobody of this name is in {roster.name}")
            continue
        encoding = encode_photo(path)
        if isinstance(encoding, str):
            problems.append(f"{relative}: {encoding}")
        encodings[student.name].append(np.zeros(128) if isinstance(encoding, str) else encoding)
    if pickled is not None:
        _add_pickle(pickled, students, encodings, problems, roster.name)
    if not photos.is_dir():
        problems.append(f"{photos}: there is no such directory")
    problems.extend(f"{name}: is in {roster.name} but has no photo" for name, found in encodings.items() if not found)
    if problems:
        raise EnrollError(problems)
    return Gallery([(name, np.stack(found)) for name, found in sorted(encodings.items())]), students


def _add_pickle(
    path: Path, students: Sequence[Student], encodings: dict[str, list[Encoding]], problems: list[str], roster: str
) -> None:
    by_name = {_plain(student.name): student.name for student in students}
    try:
        pairs = pickles.read_encodings(path.read_bytes())
    except (pickles.PickleError, OSError) as error:
        problems.append(f"{path.name}: is refused: {error}")
        return
    for name, encoding in pairs:
        if _plain(name) in by_name:
            encodings[by_name[_plain(name)]].append(encoding)
        else:
            problems.append(f"{path.name}: {name} is not in {roster}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="recognition.enroll", description="Makes the gallery from photos and a roster."
    )
    parser.add_argument("--photos", type=Path, required=True, help="directory of photos")
    parser.add_argument("--roster", type=Path, required=True, help="CSV with name,id,major,year")
    parser.add_argument("--pickle", type=Path, help="the course project's pickle of encodings, read without running it")
    options = parser.parse_args(arguments)
    try:
        gallery, students = enroll(options.photos, options.roster, options.pickle)
    except EnrollError as error:
        sys.stderr.write("".join(f"enroll: {problem}\n" for problem in error.problems))
        return 1
    document = {"gallery": gallery.to_json(), "records": [asdict(student) for student in students]}
    sys.stdout.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
