"""Who is it: known encodings, the distance of a face to each student, and one decision for each person in a clip."""

from __future__ import annotations

import functools
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from classroom_contract import ContractError
from classroom_contract.gallery import DIMENSIONS, GalleryFile
from recognition.engine import MODEL_NAME, Box, Encoding
from recognition.rule import Confidence, Limits, Rule

__all__ = [
    "Confidence",
    "Decision",
    "Gallery",
    "GalleryError",
    "Limits",
    "Match",
    "Person",
    "Rule",
    "Sighting",
    "decide_all",
    "group",
    "is_settled",
]

COHORT_FILE = Path(__file__).parent / "cohort.npy"  # cohort.md says what it is
NO_RUNNER_UP = 2.0  # the margin where one student is enrolled
_REMEMBERED = 1024  # encodings whose nearest student is kept
_NEAR, _FAR = 3, 30  # of the cohort
_USUAL_CONTRAST = 0.07  # of people of LFW, on average
_FEW_STUDENTS = 10
_SIGHTINGS_KEPT = 16  # of a person, with encodings: about 1 kB each
_SAME_PLACE = 0.3  # part of two boxes that is in both (intersection over union)
_STRANGER_LOOKS = 2

Matrix = npt.NDArray[np.float64]


class GalleryError(Exception):
    """The gallery's text is not what this version understands."""


@dataclass(frozen=True)
class Match:
    """The student nearest to an encoding.

    `distance` is to the mean of the student's encodings, `margin` how much farther the runner-up is (2.0 when there is
    none). `relative` is the distance less what is usual for two faces of this kind (see `Neighbourhood`), so it is
    negative where they are nearer than usual.
    """

    name: str
    distance: float
    margin: float
    relative: float


class Neighbourhood(NamedTuple):
    """How crowded it is where a face lies, by distances to the cohort: n numbers each, for n faces.

    `near` is the mean distance to the three nearest of the cohort. A match is as good as its distance is smaller than
    that (symmetric score normalisation, as in speaker verification). `contrast` is how much farther the 30 nearest are.
    It is large where the network has pressed a whole population together that is rare in the cohort, as it does with
    East Asian faces: two strangers are nearer to each other there than the few neighbours in the cohort can tell.
    """

    near: npt.NDArray[np.float64]
    contrast: npt.NDArray[np.float64]

    @classmethod
    def of(cls, encodings: Matrix) -> Neighbourhood:
        """Measures it for encodings (n x 128)."""
        cohort = _cohort()
        squares = (encodings**2).sum(axis=1)[:, None] + (cohort**2).sum(axis=1) - 2 * encodings @ cohort.T
        nearest = np.partition(squares, (_NEAR - 1, _FAR - 1), axis=1)[:, :_FAR]
        distances = np.sqrt(np.maximum(nearest, 0.0))
        near = distances[:, :_NEAR].mean(axis=1)
        return cls(near, distances.mean(axis=1) - near)

    def usual(self, other: Neighbourhood, weight: float = 1.0) -> npt.NDArray[np.float64]:
        """Returns the distance that is usual between faces of both; `weight` says how much the contrast counts."""
        contrast = (self.contrast + other.contrast) / 2 - _USUAL_CONTRAST
        return (self.near + other.near) / 2 - weight * contrast

    def take(self, index: int) -> Neighbourhood:
        """Returns that of one of the faces."""
        return Neighbourhood(self.near[index : index + 1], self.contrast[index : index + 1])


@functools.cache
def _cohort() -> Matrix:
    return np.asarray(np.load(COHORT_FILE), dtype=np.float64)


class Gallery:
    """Known encodings, several per student; a face is compared with the mean of each student's in one step."""

    def __init__(self, students: Sequence[tuple[str, Matrix]], version: str | None = None) -> None:
        """Takes (name, encodings as n x 128) pairs with n >= 1; the version is computed unless it is known."""
        self.students = [(name, encodings) for name, encodings in students if len(encodings)]
        self.names = [name for name, _ in self.students]
        self._known_version = version
        self.means: Matrix = np.array([encodings.mean(axis=0) for _, encodings in self.students]).reshape(
            -1, DIMENSIONS
        )
        # The squares are compared in 32 bits, which is half of the memory to read; the two nearest are measured again.
        self._rough = self.means.astype(np.float32)
        self._squares = np.einsum("ij,ij->i", self._rough, self._rough)
        self._remember = functools.lru_cache(maxsize=_REMEMBERED)(self._nearest)

    @functools.cached_property
    def version(self) -> str:
        """A hash of what is in it."""
        return self._known_version or self._file.version

    @functools.cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood.of(self.means)

    def nearest(self, encoding: Encoding) -> Match | None:
        """Returns the nearest student, or nothing when nobody is enrolled. Asked for again, it costs nothing."""
        return self._remember(encoding.tobytes()) if self.names else None

    def _nearest(self, data: bytes) -> Match:
        encoding = np.frombuffer(data, dtype=np.float64)
        squares = self._squares - 2 * (self._rough @ encoding.astype(np.float32))
        best = int(np.argmin(squares))
        distance = self._distance(best, encoding)
        margin = NO_RUNNER_UP
        if len(self.names) > 1:
            squares[best] = np.inf
            margin = self._distance(int(np.argmin(squares)), encoding) - distance
        # Among many students, the margin tells faces that are pressed together apart better than the contrast does.
        weight = min(1.0, _FEW_STUDENTS / len(self.names))
        usual = Neighbourhood.of(encoding[None]).usual(self._neighbourhood.take(best), weight)
        return Match(self.names[best], distance, margin, distance - float(usual[0]))

    def mean_of(self, name: str) -> Encoding:
        """Returns the mean of a student's encodings. Raises ValueError for a name that is not enrolled."""
        return np.asarray(self.means[self.names.index(name)])

    def _distance(self, student: int, encoding: Encoding) -> float:
        return float(np.linalg.norm(self.means[student] - encoding))

    def render(self) -> str:
        """Returns the text that `from_json` reads."""
        return self._file.render()

    @classmethod
    def from_json(cls, text: str | bytes) -> Gallery:
        """Reads the file of known encodings. Raises GalleryError when it is damaged or made for another model."""
        try:
            file = GalleryFile.parse(text, MODEL_NAME)
        except ContractError as error:
            raise GalleryError(str(error)) from error
        return cls([(name, np.array(rows, dtype=np.float64)) for name, rows in file.students], file.version)

    @functools.cached_property
    def _file(self) -> GalleryFile:
        return GalleryFile.of(MODEL_NAME, [(name, rows.tolist()) for name, rows in self.students])


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one look at the clip; `frame` counts the looks, `seconds` is its time in the clip."""

    frame: int
    seconds: float
    box: Box
    encoding: Encoding


@dataclass(frozen=True, eq=False)
class Decision:
    """A person who is a student. `sighting` is the one that looks most like the student: its frame can be shown."""

    match: Match
    confidence: Confidence
    sighting: Sighting
    person: Person


class Person:
    """Somebody in the clip, seen in one look or in several.

    Of every sighting its time and box are kept, and the sum of the encodings; whole sightings only of the largest faces
    (`sightings`), so that a lesson of any length fits in the memory.
    """

    def __init__(self, sightings: Sequence[Sighting] = ()) -> None:
        """Takes what has been seen so far, at most one sighting of each look."""
        self.sightings: list[Sighting] = []
        self.boxes: dict[int, Box] = {}  # by look
        self._times: list[tuple[float, int]] = []  # seconds and look, in the order of time
        self._sum = np.zeros(DIMENSIONS)
        for sighting in sightings:
            self.add(sighting)

    @property
    def mean(self) -> Encoding:
        """The mean of the encodings of all sightings."""
        return self._sum / len(self._times)

    def frames(self) -> int:
        """Returns in how many looks this person was seen."""
        return len(self.boxes)

    def add(self, sighting: Sighting) -> None:
        """Adds a sighting of a look in which this person was not seen yet."""
        self.boxes[sighting.frame] = sighting.box
        insort(self._times, (sighting.seconds, sighting.frame))
        self._sum = self._sum + sighting.encoding
        self._keep([sighting])

    def join(self, other: Person) -> None:
        """Adds everything that was seen of another one, who is the same person; they have no look in common."""
        self.boxes.update(other.boxes)
        self._times = sorted(self._times + other._times)
        self._sum = self._sum + other._sum
        self._keep(other.sightings)

    def _keep(self, more: Sequence[Sighting]) -> None:
        self.sightings.extend(more)
        while len(self.sightings) > _SIGHTINGS_KEPT:
            self.sightings.remove(min(self.sightings, key=lambda sighting: _area(sighting.box)))

    def was_near(self, sighting: Sighting, seconds: float) -> bool:
        """Tells whether the sighting nearest in time is at most `seconds` away and whether its box overlaps."""
        place = bisect_left(self._times, (sighting.seconds, sighting.frame))
        around = self._times[max(0, place - 1) : place + 1]
        time, look = min(around, key=lambda seen: abs(seen[0] - sighting.seconds))
        return abs(time - sighting.seconds) <= seconds and _overlap(self.boxes[look], sighting.box) >= _SAME_PLACE

    def decide(self, gallery: Gallery, rule: Rule) -> Decision | None:
        """Returns the student, by the mean of all sightings; nothing when it is nobody enrolled."""
        mean = self.mean
        match = gallery.nearest(mean)
        if match is None:
            return None
        confidence = rule.confidence(match.distance, match.margin, match.relative)
        if confidence is None:
            return None
        student = gallery.mean_of(match.name)
        closest = min(self.sightings, key=lambda sighting: float(np.linalg.norm(sighting.encoding - student)))
        return Decision(match, confidence, closest, self)

    def seen(self, looks: Sequence[float]) -> list[tuple[float, float]]:
        """Returns when this person was there, as intervals of seconds, by the times of all looks that were made.

        Somebody seen in two looks that follow one another was there between them.
        """
        times = np.unique(np.asarray(looks, dtype=np.float64))
        seen = np.unique(np.array([time for time, _ in self._times]))
        positions = np.searchsorted(times, seen)
        breaks = np.flatnonzero(np.diff(positions) > 1)
        firsts, lasts = [0, *(breaks + 1)], [*breaks, len(seen) - 1]
        return [(float(seen[first]), float(seen[last])) for first, last in zip(firsts, lasts, strict=True)]


def _area(box: Box) -> int:
    return (box.right - box.left) * (box.bottom - box.top)


def _overlap(one: Box, other: Box) -> float:
    """Returns the part of the two boxes' area that is in both (intersection over union)."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (_area(one) + _area(other) - across * down)


def group(people: list[Person], sightings: Sequence[Sighting], rule: Rule) -> list[Person]:
    """Adds the sightings of one look to the people they belong to; two faces of one look are two people.

    Returns the person of each sighting; new ones are added to `people`.
    """
    owners: dict[int, Person] = {}
    taken: set[int] = set()
    for _, number, index in _candidates(people, sightings, rule):
        if number not in taken and index not in owners:
            taken.add(number)
            owners[index] = people[number]
    for index, sighting in enumerate(sightings):
        if index in owners:
            owners[index].add(sighting)
        else:
            owners[index] = Person([sighting])
            people.append(owners[index])
    return [owners[index] for index in range(len(sightings))]


def _candidates(people: Sequence[Person], sightings: Sequence[Sighting], rule: Rule) -> list[tuple[float, int, int]]:
    """Returns who may be whom: (distance less what the place is worth, person, sighting), the likeliest first."""
    if not people or not sightings:
        return []
    means = np.stack([person.mean for person in people])
    faces = np.stack([sighting.encoding for sighting in sightings])
    squares = (means**2).sum(axis=1)[:, None] + (faces**2).sum(axis=1) - 2 * means @ faces.T
    distances = np.sqrt(np.maximum(squares, 0.0))
    # Sightings that are all as far from one another are nearer to their mean, by this factor, the more there are.
    counts = np.array([person.frames() for person in people])
    limits = rule.same_person * np.sqrt((1 + 1 / counts) / 2)
    found: list[tuple[float, int, int]] = []
    for number, index in np.argwhere(distances <= limits[:, None] + rule.same_place):
        cost = float(distances[number, index])
        if people[number].was_near(sightings[index], rule.same_place_seconds):
            cost -= rule.same_place
        if cost <= limits[number]:
            found.append((cost, int(number), int(index)))
    return sorted(found)


def is_settled(person: Person, gallery: Gallery, rule: Rule) -> bool:
    """Tells whether more looks are worth nothing: surely a student, or in two looks a probable one or certainly nobody.

    The limits hold for a single look, so a name from two is at least as good as they promise.
    """
    match = gallery.nearest(person.mean)
    if match is None:
        return person.frames() >= _STRANGER_LOOKS
    confidence = rule.confidence(match.distance, match.margin, match.relative)
    if confidence is Confidence.SURE:
        return True
    settled = confidence is not None or rule.rules_out(match.distance, match.relative)
    return settled and person.frames() >= _STRANGER_LOOKS


def decide_all(people: list[Person], gallery: Gallery, rule: Rule) -> list[Decision]:
    """Returns the students, the surest first, each once.

    Whoever is the same student as another, and was never seen beside that one, is joined to that one and taken out of
    `people`; so is who is not sure to be anybody, but nearest to that student, and as near to that person as two
    sightings of one are. Of two who are seen beside one another the surer is the student, the other nobody.
    """
    decisions = [decision for person in people if (decision := person.decide(gallery, rule))]
    decisions.sort(key=lambda decision: (decision.confidence is not Confidence.SURE, decision.match.relative))
    students: dict[str, Decision] = {}
    for decision in decisions:
        known = students.setdefault(decision.match.name, decision)
        if known is not decision and known.person.boxes.keys().isdisjoint(decision.person.boxes):
            known.person.join(decision.person)
            people.remove(decision.person)
    decided = {id(decision.person) for decision in decisions}
    for person in [person for person in people if id(person) not in decided]:
        match = gallery.nearest(person.mean)
        student = students.get(match.name) if match else None
        if (
            student
            and float(np.linalg.norm(student.person.mean - person.mean)) <= rule.same_person
            and student.person.boxes.keys().isdisjoint(person.boxes)
        ):
            student.person.join(person)
            people.remove(person)
    return list(students.values())
