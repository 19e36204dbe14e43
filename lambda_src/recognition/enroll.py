"""Makes the gallery and the records from photos and a roster.

Usage: python -m recognition.enroll --photos DIRECTORY --roster students.csv [--owners FILE] [--pickle FILE]
           [--known GALLERY] [--giving-way FILE] [--partial]

The roster has the columns name,id,major,year. Whose a photo is, says the file of owners: {"0001.jpg": {"student": "Joe
Biden", "label": "Biden, Joe.HEIC"}, ...}; the label is what the photo is called in messages. Without that file a photo
is the student's whose name it bears ("Joe Biden.jpg", "joe_biden-2.png"), or after whom its folder is named.

Students who are known already need no photo, and with --partial nobody does. Names in the file of --giving-way (a JSON
list) are of samples: where one of them has the face of somebody else, the sample gives way instead of anything being
wrong. Whoever is in the pickle and not in the roster is skipped.

Prints {"gallery": ..., "records": [...], "warnings": [...], "gave_way": {sample: student}, "skipped": [...]} on
standard output. Warnings, about what is only suspicious, and how far it has come ("progress: 3 of 80") go to standard
error. When anything is wrong, everything that is wrong is listed on standard error, each line beginning with
"enroll: ", nothing is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import re
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
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
_COPY = re.compile(r"(?: ?(?:\(?\d+\)?|copy))+$")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # no other decoder of OpenCV is needed, and so none is reached
# A face below these moves its encoding by a quarter of the distance that separates people; docs/recognition.md.
_MIN_WIDTH = 80  # pixels
_MIN_SHARPNESS = 12.0
_MAX_TURNED = 0.2
# Of two photos, the distance less what is usual for such faces (`Neighbourhood.usual`). Of one person's pairs a quarter
# is below the first and two thirds are below the second; of two people's, 1 in 50,000 and 1 in 1,000 at most, whatever
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
    """Returns the student whose photo this is, by the folder it is in or by its name.

    Behind the name only a number or the mark of a copy may stand: whose name merely begins alike is somebody else.
    """
    by_name = {_plain(student.name): student for student in students}
    if photo.parent.name and len(photo.parts) > 1:
        return by_name.get(_plain(photo.parent.name))
    stem = _plain(photo.stem)
    return by_name.get(stem) or by_name.get(_COPY.sub("", stem))


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
    gave_way: dict[str, str] = field(default_factory=dict)  # by the sample, who has the face

    def add(self, text: str, fix: str, *, certain: bool) -> None:
        """Adds a problem when it is certain, else a warning."""
        if certain:
            self.problems.append(f"{text}: {fix}")
        else:
            self.warnings.append(f"{text}, perhaps: look at it, and if so, {fix}")


def compare(
    encodings: Mapping[str, Sequence[tuple[str, Encoding]]],
    known: Gallery | None,
    giving_way: Collection[str] = frozenset(),
) -> Findings:
    """Returns which faces are alike and should not be, or the other way: (where it is from, encoding) by student.

    `giving_way` are names of samples, among those that are compared or among the known.
    """
    found = Findings()
    everybody = [(name, label, encoding) for name, photos in encodings.items() for label, encoding in photos]
    if not everybody:
        return found
    enrolled = dict(known.students) if known else {}
    others = Gallery([student for student in enrolled.items() if not encodings.get(student[0])])
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
        if name in enrolled and name not in giving_way:
            nearest = np.linalg.norm(enrolled[name] - encoding, axis=1).min()
            if nearest > _MAYBE_ANOTHER_FACE:
                found.add(
                    f"{label}: shows somebody else than the {name} who is enrolled already (distance {nearest:.2f})",
                    "if it is another student of the same name, add to the name what tells them apart, as a middle "
                    "name; if it is the same one, remove that student first, and enroll again",
                    certain=bool(nearest > _ANOTHER_FACE),
                )
        if others.names:
            apart = np.linalg.norm(others.means - encoding, axis=1) - kind_of_others.usual(kind.take(number))
            for other in np.flatnonzero(apart <= _MAYBE_SAME_FACE):
                pair = (others.names[other], name)
                if sample := next((one for one in pair if one in giving_way), None):
                    found.gave_way[sample] = pair[1] if sample == pair[0] else pair[0]
                    continue
                found.add(
                    f"{label}: shows the face of {others.names[other]}, who is enrolled already",
                    "take the photo away, or remove that student first",
                    certain=bool(apart[other] <= _SAME_FACE),
                )
    return found


@dataclass
class Enrolled:
    """What came of an enrolment: who `gave_way` to whom, and who of the pickle was `skipped`."""

    gallery: Gallery
    students: list[Student]
    warnings: list[str]
    gave_way: dict[str, str]
    skipped: list[str]


def enroll(
    photos: Path,
    roster: Path,
    pickled: Path | None = None,
    known: Gallery | None = None,
    *,
    owners: Mapping[str, Mapping[str, str]] | None = None,
    giving_way: Collection[str] = frozenset(),
    partial: bool = False,
) -> Enrolled:
    """Returns the gallery of the roster's students and the records; what the options mean is said above.

    Raises EnrollError with everything that has to be mended.
    """
    problems: list[str] = []
    students = read_roster(roster, problems)
    encodings: dict[str, list[tuple[str, Encoding]]] = {student.name: [] for student in students}
    wanted = _photos(photos, owners, students, roster.name, problems)
    refused: set[str] = set()
    for number, (path, name, label) in enumerate(wanted, start=1):
        encoding = encode_photo(path)
        if isinstance(encoding, str):
            problems.append(f"{label}: {encoding}")
            refused.add(name)
        else:
            encodings[name].append((label, encoding))
        sys.stderr.write(f"progress: {number} of {len(wanted)}\n")
    skipped = _add_pickle(pickled, encodings, problems) if pickled else []
    refused.update(known.names if known else ())
    problems.extend(
        f"{name}: is in {roster.name} but has no photo"
        for name, found in encodings.items()
        if not found and name not in refused and not partial
    )
    found = compare(encodings, known, giving_way)
    problems.extend(found.problems)
    if problems:
        raise EnrollError(problems)
    rows = [
        (name, np.stack([encoding for _, encoding in own]))
        for name, own in sorted(encodings.items())
        if own and name not in found.gave_way
    ]
    return Enrolled(Gallery(rows), students, found.warnings, found.gave_way, skipped)


def _photos(
    photos: Path,
    owners: Mapping[str, Mapping[str, str]] | None,
    students: Sequence[Student],
    roster: str,
    problems: list[str],
) -> list[tuple[Path, str, str]]:
    """Returns each photo with its student's name and what it is called."""
    if not photos.is_dir():
        problems.append(f"{photos}: there is no such directory")
        return []
    if owners is not None:
        return [(photos / file, owned["student"], owned["label"]) for file, owned in sorted(owners.items())]
    found = []
    for path in sorted(photos.rglob("*")):
        relative = path.relative_to(photos)
        if path.suffix.lower() not in _PHOTOS or not path.is_file():
            continue
        student = owner(relative, students)
        if student is None:
            problems.append(f"{relative}: nobody of this name is in {roster}")
        else:
            found.append((path, student.name, str(relative)))
    return found


def _add_pickle(path: Path, encodings: dict[str, list[tuple[str, Encoding]]], problems: list[str]) -> list[str]:
    """Adds the pickle's encodings to those of their students; returns who is no student."""
    by_name = {_plain(name): name for name in encodings}
    try:
        pairs = pickles.read_encodings(path.read_bytes())
    except (pickles.PickleError, OSError) as error:
        problems.append(f"{path.name}: is refused: {error}")
        return []
    skipped: dict[str, None] = {}
    for name, encoding in pairs:
        if _plain(name) in by_name:
            encodings[by_name[_plain(name)]].append((f"{path.name} ({name})", encoding))
        else:
            skipped[name] = None
    return list(skipped)


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
    parser.add_argument("--owners", type=Path, help="JSON: student and label of each photo, by its file name")
    parser.add_argument("--giving-way", type=Path, help="JSON: names of samples, who give way to anybody else")
    parser.add_argument("--partial", action="store_true", help="students without a photo are passed over")
    options = parser.parse_args(arguments)
    try:
        enrolled = enroll(
            options.photos,
            options.roster,
            options.pickle,
            _read_known(options.known) if options.known else None,
            owners=json.loads(options.owners.read_bytes()) if options.owners else None,
            giving_way=json.loads(options.giving_way.read_bytes()) if options.giving_way else (),
            partial=options.partial,
        )
    except EnrollError as error:
        sys.stderr.write("".join(f"enroll: {problem}\n" for problem in error.problems))
        return 1
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in enrolled.warnings))
    document = {
        "gallery": enrolled.gallery.to_json(),
        "records": [asdict(student) for student in enrolled.students],
        "warnings": enrolled.warnings,
        "gave_way": enrolled.gave_way,
        "skipped": enrolled.skipped,
    }
    sys.stdout.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
