"""Who is it: known encodings, the distance of a face to each student, and the decision from several sightings."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from recognition.config import Thresholds
from recognition.engine import MODEL_NAME, Box, Encoding

SCHEMA = 1
_DIMENSIONS = 128
_DECIMALS = 8
_REMEMBERED = 1024  # faces whose nearest student is kept


class GalleryError(Exception):
    """The gallery's text is not what this version understands."""


@dataclass(frozen=True)
class Match:
    """The nearest student to a face: the distance, and how much farther the runner-up is (2.0 when there is none)."""

    name: str
    distance: float
    margin: float


class Gallery:
    """Known encodings, several per student, compared with a face in one step."""

    def __init__(self, students: Sequence[tuple[str, npt.NDArray[np.float64]]], version: str | None = None) -> None:
        """Takes (name, encodings as n x 128) pairs with n >= 1; the version is computed unless it is known."""
        self.students = [(name, encodings) for name, encodings in students if len(encodings)]
        self.names = [name for name, _ in self.students]
        self._known_version = version
        self._starts = np.cumsum([0] + [len(encodings) for _, encodings in self.students])[:-1]
        self._matrix = (
            np.concatenate([encodings for _, encodings in self.students])
            if self.students
            else np.empty((0, _DIMENSIONS))
        )
        # The squares are compared in 32 bits, which is half of the memory to read; the two nearest are measured again.
        self._rough = self._matrix.astype(np.float32)
        self._squares = np.einsum("ij,ij->i", self._rough, self._rough)
        self._remember = functools.lru_cache(maxsize=_REMEMBERED)(self._nearest)

    @functools.cached_property
    def version(self) -> str:
        """A hash of what is in it."""
        return self._known_version or hashlib.sha256(_canonical(self._document()).encode()).hexdigest()[:16]

    def nearest(self, encoding: Encoding) -> Match | None:
        """Returns the nearest student, or nothing when nobody is enrolled. A face asked for again costs nothing."""
        return self._remember(encoding.tobytes()) if self.names else None

    def _nearest(self, data: bytes) -> Match:
        encoding = np.frombuffer(data, dtype=np.float64)
        squares = self._squares - 2 * (self._rough @ encoding.astype(np.float32))
        by_student = np.minimum.reduceat(squares, self._starts)
        best = int(np.argmin(by_student))
        distance = self._distance(best, encoding)
        if len(self.names) == 1:
            return Match(self.names[best], distance, 2.0)
        by_student[best] = np.inf
        return Match(self.names[best], distance, self._distance(int(np.argmin(by_student)), encoding) - distance)

    def _distance(self, student: int, encoding: Encoding) -> float:
        return float(np.linalg.norm(self.students[student][1] - encoding, axis=1).min())

    def to_json(self) -> dict[str, Any]:
        """Returns the document that `from_json` reads."""
        return {"schema": SCHEMA, "model": MODEL_NAME, "version": self.version, "students": self._document()}

    @classmethod
    def from_json(cls, text: str | bytes) -> Gallery:
        """Reads the document. Raises GalleryError when it is damaged or made for another model."""
        try:
            document = json.loads(text)
            if document["schema"] != SCHEMA or document["model"] != MODEL_NAME:
                raise GalleryError(f"schema {document['schema']!r} with model {document['model']!r} is not known here")
            students = [
                (str(student["name"]), np.array(student["encodings"], dtype=np.float64).reshape(-1, _DIMENSIONS))
                for student in document["students"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryError(f"the gallery is damaged: {error!r}") from error
        if not all(np.isfinite(encodings).all() for _, encodings in students):
            raise GalleryError("the gallery is damaged: an encoding holds a number that is not finite")
        version = document.get("version")
        return cls(students, version if isinstance(version, str) and version else None)

    def _document(self) -> list[dict[str, Any]]:
        ordered = sorted(self.students, key=lambda student: student[0])
        return [
            {"name": name, "encodings": [[round(float(x), _DECIMALS) for x in row] for row in rows]}
            for name, rows in ordered
        ]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Sighting:
    """A face in one frame; `frame` counts the frames looked at, `seconds` is its time in the clip."""

    frame: int
    seconds: float
    box: Box
    encoding: Encoding


@dataclass(frozen=True)
class Decision:
    """A student recognised, and the sighting that decided."""

    match: Match
    sighting: Sighting


@dataclass
class Person:
    """Somebody in the clip: all sightings whose encodings are near one another."""

    sightings: list[Sighting] = field(default_factory=list)

    def distance(self, encoding: Encoding) -> float:
        """Returns how far this face is from the nearest sighting."""
        return min(float(np.linalg.norm(sighting.encoding - encoding)) for sighting in self.sightings)

    def frames(self) -> int:
        """Returns in how many frames this person was seen."""
        return len({sighting.frame for sighting in self.sightings})

    def decide(self, gallery: Gallery, limits: Thresholds) -> Decision | None:
        """Returns the student: nearest by a margin, in one frame when near, in two frames that agree when less near."""
        candidates: dict[str, list[Decision]] = {}
        for sighting in self.sightings:
            match = gallery.nearest(sighting.encoding)
            if match and match.distance <= limits.match and match.margin >= limits.margin:
                candidates.setdefault(match.name, []).append(Decision(match, sighting))
        if len(candidates) != 1:
            return None  # nobody, or frames that contradict one another
        decisions = next(iter(candidates.values()))
        best = min(decisions, key=lambda decision: decision.match.distance)
        agreeing = len({decision.sighting.frame for decision in decisions})
        return best if best.match.distance <= limits.sure or agreeing >= 2 else None


def group(people: list[Person], sightings: Sequence[Sighting], limits: Thresholds) -> list[Person]:
    """Adds the sightings of one frame to the people they belong to; two faces of one frame are two people.

    Returns the person of each sighting.
    """
    owners: dict[int, Person] = {}
    pairs = sorted(
        (person.distance(sighting.encoding), number, index)
        for number, person in enumerate(people)
        for index, sighting in enumerate(sightings)
    )
    taken: set[int] = set()
    for distance, number, index in pairs:
        if distance <= limits.same_person and number not in taken and index not in owners:
            taken.add(number)
            owners[index] = people[number]
    for index, sighting in enumerate(sightings):
        if index in owners:
            owners[index].sightings.append(sighting)
        else:
            owners[index] = Person([sighting])
            people.append(owners[index])
    return [owners[index] for index in range(len(sightings))]


def decide_all(people: Sequence[Person], gallery: Gallery, limits: Thresholds) -> list[Decision]:
    """Returns the students recognised, nearest first, each once."""
    best: dict[str, Decision] = {}
    for person in people:
        decision = person.decide(gallery, limits)
        if decision and (
            decision.match.name not in best or decision.match.distance < best[decision.match.name].match.distance
        ):
            best[decision.match.name] = decision
    return sorted(best.values(), key=lambda decision: decision.match.distance)
