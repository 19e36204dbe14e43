"""Makes the gallery and the records from photos and a roster.

Usage: python -m recognition.enroll --photos DIRECTORY --roster students.csv [--pickle FILE] [--known GALLERY]

A photo belongs to the student whose name begins its file name ("Joe Biden.jpg", "joe_biden-2.png"), or to the one
that its folder is named after ("Joe Biden/summer.jpg"). Case, "_" and "-" do not matter. The roster has the columns
name,id,major,year. Prints {"gallery": ..., "records": [...], "warnings": [...]} on standard output; the warnings, about
what is only suspicious, on standard error, too. When anything is wrong, everything that is wrong is listed on standard
error, each line beginning with "enroll: ", nothing is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from recognition import engine, pickles
from recognition.engine import Encoding, Image
from recognition.matching import Gallery, GalleryError, Neighbourhood
from recognition.results import Student

_PHOTOS = {".jpg", ".jpeg", ".png"}
_COLUMNS = ("name", "id", "major", "year")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # no other decoder of OpenCV is needed, and so none is reached
# A face below these moves its encoding by a quarter of the distance that separates people; docs/recognition.md.
_MIN_WIDTH = 80  # pixels
_MIN_SHARPNESS = 12.0
_MAX_TURNED = 0.2
# Of two photos, the distance less what is usual for such faces (`Neighbourhood.usual`). A quarter of one person's pairs is
# below the first and two thirds are below the second; of two people's, 1 in 50,000 and 1 in 1,000 at most, whatever
# their origin. So a class of 30 is refused wrongly once in 100 times, and warned of wrongly where faces are much alike.
_SAME_FACE = -0.15
_MAYBE_SAME_FACE = -0.05
# The distance to the nearest of the student's other photos: of right pairs 1 in 350 is above the first, 1 in 50 above
# the second; of those with two other photos, none of 395.
_ANOTHER_FACE = 0.66
_MAYBE_ANOTHER_FACE = 0.6


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
    """Returns the encoding of the one face in a photo, or why there is none and what to do about it."""
    content = path.read_bytes()
    decoded = None
    if content.startswith(_SIGNATURES):
        with contextlib.suppress(cv2.error):
            decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        return "is not a picture that can be read: save it as JPEG or PNG with at most 100 megapixels"
    photo: Image = np.asarray(decoded, dtype=np.uint8)
    faces = engine.find_faces(photo)
    if not faces:
        return "no face was found: take one in which the whole face looks at the camera"
    if len(faces) > 1:
        return f"{len(faces)} faces were found: cut it so that only the student is in it"
    quality = engine.quality(photo, faces[0])
    if quality.width < _MIN_WIDTH:
        return f"the face is {quality.width} pixels wide: take one in which it has {_MIN_WIDTH} or more"
    if quality.sharpness < _MIN_SHARPNESS:
        return "the face is blurred: take one in more light, with a steady camera"
    if quality.turned > _MAX_TURNED:
        return "the face is turned away: take one in which it looks at the camera"
    return engine.encode(photo, faces)[0]


@dataclass
class Findings:
    """What was found out about photos: `problems` have to be mended, `warnings` are worth a look."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, text: str, mend: str, *, certain: bool) -> None:
        """Adds a problem when it is certain, else a warning."""
        if certain:
            self.problems.append(f"{text}: {mend}")
        else:
            self.warnings.append(f"{text}, perhaps: look at it, and if so, {mend}")


def compare(encodings: Mapping[str, Sequence[tuple[str, Encoding]]], known: Gallery | None) -> Findings:
    """Returns which faces are alike and should not be, or the other way: (where it is from, encoding) by student."""
    found = Findings()
    everybody = [(name, label, encoding) for name, photos in encodings.items() for label, encoding in photos]
    if not everybody:
        return found
    others = Gallery([student for student in known.students if student[0] not in encodings]) if known else Gallery([])
    matrix = np.stack([encoding for _, _, encoding in everybody])
    kind, kind_of_others = Neighbourhood.of(matrix), Neighbourhood.of(others.means)
    for number, (name, label, encoding) in enumerate(everybody):
        distances = np.linalg.norm(matrix - encoding, axis=1)
        relative = distances - kind.usual(kind.take(number))
        for other in np.flatnonzero(relative[:number] <= _MAYBE_SAME_FACE):
            if everybody[other][0] != name:
                found.add(
                    f"{label}: shows the same face as {everybody[other][1]}, which is {everybody[other][0]}'s",
                    "take the wrong one away",
                    certain=bool(relative[other] <= _SAME_FACE),
                )
        own = [row for row, (owner_name, _, _) in enumerate(everybody) if owner_name == name and row != number]
        if own and (nearest := distances[own].min()) > _MAYBE_ANOTHER_FACE:
            found.add(
                f"{label}: shows somebody else than {name}'s other photos",
                "take the wrong one away",
                certain=bool(nearest > _ANOTHER_FACE),
            )
        if others.names:
            apart = np.linalg.norm(others.means - encoding, axis=1) - kind_of_others.usual(kind.take(number))
            nearest_other = int(np.argmin(apart))
            if apart[nearest_other] <= _MAYBE_SAME_FACE:
                found.add(
                    f"{label}: shows the face of {others.names[nearest_other]}, who is enrolled already",
                    "take the photo away, or remove that student first",
                    certain=bool(apart[nearest_other] <= _SAME_FACE),
                )
    return found


def enroll(
    photos: Path,
    roster: Path,
    pickled: Path | None = None,
    known: Gallery | None = None,
    warnings: list[str] | None = None,
) -> tuple[Gallery, list[Student]]:
    """Returns the gallery and the records; what is only suspicious is added to `warnings`.

    Raises EnrollError with everything that has to be mended.
    """
    problems: list[str] = []
    students = read_roster(roster, problems)
    encodings: dict[str, list[tuple[str, Encoding]]] = {student.name: [] for student in students}
    refused: set[str] = set()
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
            refused.add(student.name)
        else:
            encodings[student.name].append((str(relative), encoding))
    if pickled is not None:
        _add_pickle(pickled, students, encodings, problems, roster.name)
    if not photos.is_dir():
        problems.append(f"{photos}: there is no such directory")
    problems.extend(
        f"{name}: is in {roster.name} but has no photo"
        for name, found in encodings.items()
        if not found and name not in refused
    )
    found = compare(encodings, known)
    problems.extend(found.problems)
    if warnings is not None:
        warnings.extend(found.warnings)
    if problems:
        raise EnrollError(problems)
    rows = [(name, np.stack([encoding for _, encoding in found])) for name, found in sorted(encodings.items())]
    return Gallery(rows), students


def _add_pickle(
    path: Path,
    students: Sequence[Student],
    encodings: dict[str, list[tuple[str, Encoding]]],
    problems: list[str],
    roster: str,
) -> None:
    by_name = {_plain(student.name): student.name for student in students}
    try:
        pairs = pickles.read_encodings(path.read_bytes())
    except (pickles.PickleError, OSError) as error:
        problems.append(f"{path.name}: is refused: {error}")
        return
    for name, encoding in pairs:
        if _plain(name) in by_name:
            encodings[by_name[_plain(name)]].append((f"{path.name} ({name})", encoding))
        else:
            problems.append(f"{path.name}: {name} is not in {roster}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def _read_known(path: Path) -> Gallery:
    try:
        return Gallery.from_json(path.read_bytes())
    except (GalleryError, OSError) as error:
        raise EnrollError([f"{path.name}: {error}"]) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="recognition.enroll", description="Makes the gallery from photos and a roster."
    )
    parser.add_argument("--photos", type=Path, required=True, help="directory of photos")
    parser.add_argument("--roster", type=Path, required=True, help="CSV with name,id,major,year")
    parser.add_argument("--pickle", type=Path, help="the course project's pickle of encodings, read without running it")
    parser.add_argument(
        "--known", type=Path, help="the gallery so far: nobody in it may be enrolled under another name"
    )
    options = parser.parse_args(arguments)
    warnings: list[str] = []
    try:
        known = _read_known(options.known) if options.known else None
        gallery, students = enroll(options.photos, options.roster, options.pickle, known, warnings)
    except EnrollError as error:
        sys.stderr.write("".join(f"enroll: {problem}\n" for problem in error.problems))
        return 1
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in warnings))
    document = {
        "gallery": gallery.to_json(),
        "records": [asdict(student) for student in students],
        "warnings": warnings,
    }
    sys.stdout.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
