"""From a list, photos and a file of encodings to what has to be written; everything that is wrong is told at once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path, PurePath
from typing import Protocol

from classroom_contract.roster import RosterError, RosterStudent
from classroom_ops.enrolment import photos as pictures
from classroom_ops.enrolment.computing import Computed, Job, Photo, Progress
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.owners import Owners, Unowned
from classroom_ops.enrolment.rosters import read_roster
from classroom_ops.enrolment.store import Changes, Known, Record, Samples, Store

_NO_PHOTO = ": is in students.csv but has no photo"  # as the image says it, which knows the list by this name
_PROGRESS_FROM = 50  # photos: fewer are done before anybody asks


@dataclass(frozen=True)
class Sources:
    """What is enrolled: a list, a directory of photos, the course project's file of encodings; one of them is enough.

    Without a list, photos and encodings are of students who have a record. `image` names the function's image, whose
    encodings they will be. `sample` says that these are this repository's sample students, `prune` that everybody who
    is not in the list goes, `consent_required` that everybody is refused who has no date of a consent.
    """

    roster: Path | None = None
    photos: Path | None = None
    encodings: Path | None = None
    image: str = ""
    sample: bool = False
    prune: bool = False
    consent_required: bool = False


@dataclass
class Outcome:
    """What an enrolment does, or would do: names by what happens to them, and what its reader should know.

    `classes` are the classes' files that were written, where one was.
    """

    changes: Changes = field(default_factory=Changes)
    records: list[str] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    gave_way: list[str] = field(default_factory=list)
    stay_away: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    version: str = ""
    students: int = 0

    def names(self) -> dict[str, object]:
        """Everything but the encodings, for programs."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "changes"}


class Computing(Protocol):
    """Computes encodings (`computing.Engine`)."""

    def compute(self, job: Job, progress: Progress = ...) -> Computed:
        """Encodings of a job. Raises EnrolmentError."""
        ...


def enrol(store: Store, sources: Sources, computing: Computing, progress: Progress = lambda _: None) -> Outcome:
    """What has to be written so that the students of `sources` are enrolled; nothing is written yet.

    A source that was enrolled before only fills in what is missing since: what was enrolled later for the same student
    stays.

    Raises:
        EnrolmentError: with everything that has to be corrected.
        botocore's ClientError, BotoCoreError: the store cannot be read.
    """
    if not (sources.roster or sources.photos or sources.encodings):
        raise EnrolmentError(["nothing is named: make enroll ROSTER=students.csv PHOTOS=directory ENCODINGS=file"])
    records, known = store.records(), store.known()
    outcome = Outcome()
    problems: list[str] = []
    students = _students(sources, records, outcome, problems)
    listed, everybody = not problems, students
    if sources.sample:
        students = _samples_that_are_wanted(students, records, known, store.samples().enrolled, outcome)
    else:
        problems += _conflicts(students, records, sources)
    found = _found(sources, outcome, problems)
    owned = _owned(sources, found, students, listed, outcome, problems)
    if sources.consent_required:
        asked = students if sources.roster or sources.encodings else [owner for _, owner in owned if owner]
        problems += _without_consent(asked, records, sources)
    with tempfile.TemporaryDirectory(prefix="photos-") as directory:
        # A list that cannot be read makes every photo nobody's, so faces are looked at when it can.
        prepared = _prepared(sources, owned, Path(directory), problems, progress)
        if not listed:
            raise EnrolmentError(problems)
        source = _source(sources, everybody, found)
        repeated = source in known.sources
        computed = Computed({})
        unknown = [student.name for student in students if student.name not in known.students] if sources.roster else []
        if not (owned or sources.encodings):
            problems += [f"{name}: has no photo: name a directory of them, too: PHOTOS=directory" for name in unknown]
        elif not repeated or unknown:
            try:
                job = Job(students, prepared, sources.encodings, *_compared(students, records, known, sources))
                computed = computing.compute(job, progress if len(prepared) > _PROGRESS_FROM else lambda _: None)
            except EnrolmentError as error:
                problems += _told_once(error.problems, problems, owned, sources)
    if problems:
        raise EnrolmentError(problems)
    _decide(store, sources, students, records, known, source, computed, outcome)
    return outcome


def _students(
    sources: Sources, records: Mapping[str, Record], outcome: Outcome, problems: list[str]
) -> list[RosterStudent]:
    if sources.roster is None:
        known = (RosterStudent(one.name, one.id, one.major, one.year, one.class_name) for one in records.values())
        if not records:
            problems.append("nobody has a record yet: name a list, too: make enroll ROSTER=students.csv")
        return sorted(known, key=lambda student: student.name)
    try:
        roster = read_roster(sources.roster)
    except RosterError as error:
        problems += error.problems
        return []
    outcome.notes += roster.notes
    return list(roster.students)


def _samples_that_are_wanted(
    students: Sequence[RosterStudent],
    records: Mapping[str, Record],
    known: Known,
    before: Collection[str],
    outcome: Outcome,
) -> list[RosterStudent]:
    """Without those who were removed since, and those whose name or id a real student has."""
    wanted = []
    real = [record for record in records.values() if not record.sample and record not in map(_plain, students)]
    names, ids = {record.name for record in real}, {record.id for record in real}
    for student in students:
        gone = student.name in before and student.name not in records and student.name not in known.students
        if gone or student.name in names or student.id in ids:
            outcome.stay_away.append(student.name)
        else:
            wanted.append(student)
    return wanted


def _plain(student: RosterStudent) -> Record:
    return Record.of(student, sample=False)


def _conflicts(students: Sequence[RosterStudent], records: Mapping[str, Record], sources: Sources) -> list[str]:
    """Students whose name or id somebody else has who is enrolled; samples give way, with `prune` everybody does."""
    if sources.roster is None or sources.prune:
        return []
    problems = []
    listed = {student.name: student.id for student in students}
    by_id = {record.id: record for record in records.values() if record.id and not record.sample}
    for student in students:
        same_name = records.get(student.name)
        if same_name and not same_name.sample and same_name.id != student.id:
            problems.append(
                f"{sources.roster.name}: {student.name} has the id {student.id or '(empty)'}, and the {student.name} "
                f"who is enrolled has {same_name.id or '(empty)'} ({same_name.major}, {same_name.year}): if they are "
                "two students, add to one name what tells them apart, as a middle name; if the id has changed, remove "
                "the student first, and enroll again: make forget"
            )
        same_id = by_id.get(student.id)
        if same_id and same_id.name != student.name and listed.get(same_id.name, student.id) == student.id:
            problems.append(
                f"{sources.roster.name}: {student.name} has the id {student.id}, and so has {same_id.name}, who is "
                "enrolled: correct the id; if the name has changed, remove the earlier one first: make forget"
            )
    return problems


def _without_consent(students: Sequence[RosterStudent], records: Mapping[str, Record], sources: Sources) -> list[str]:
    """Of students of whom neither the list nor an earlier one says since when there is a consent."""
    where = sources.roster.name if sources.roster else "the table of records"
    return [
        f"{where}: {student.name} has no date of a consent: add it in a column consent, as 2026-09-30, or take the "
        "student out of the list (docs/privacy.md)"
        for student in dict.fromkeys(students)
        if not Record.of(student, sample=False, before=records.get(student.name)).consent
    ]


def _found(sources: Sources, outcome: Outcome, problems: list[str]) -> tuple[PurePath, ...]:
    """The photos' paths below their directory."""
    if sources.photos is None:
        return ()
    try:
        found = pictures.find(sources.photos)
    except OSError as error:
        problems.append(f"{sources.photos}: {(error.strerror or str(error)).lower()}: name a directory of photos")
        return ()
    outcome.notes += found.notes
    if not found.photos:
        problems.append(f"{sources.photos}: holds no photo")
    return found.photos


def _owned(
    sources: Sources,
    found: Sequence[PurePath],
    students: Sequence[RosterStudent],
    listed: bool,
    outcome: Outcome,
    problems: list[str],
) -> list[tuple[PurePath, RosterStudent | None]]:
    """Photos with their students; without one where the list could not be read."""
    where = sources.roster.name if sources.roster else "the table of records"
    owners = Owners(students, where)
    away = Owners([RosterStudent(name, "", "", "") for name in outcome.stay_away], where)
    owned: list[tuple[PurePath, RosterStudent | None]] = []
    for photo in found:
        owner = owners.of(photo)
        if isinstance(owner, RosterStudent):
            owned.append((photo, owner))
        elif not listed:
            owned.append((photo, None))
        elif isinstance(away.of(photo), Unowned):
            problems.append(f"{photo}: {owner.reason}")
    return owned


def _prepared(
    sources: Sources,
    owned: Sequence[tuple[PurePath, RosterStudent | None]],
    directory: Path,
    problems: list[str],
    progress: Progress,
) -> list[Photo]:
    prepared = []
    for number, (label, owner) in enumerate(owned, start=1):
        if len(owned) > _PROGRESS_FROM:
            progress(f"photo {number} of {len(owned)}")
        target = directory / f"{number}.jpg"
        try:
            pictures.prepare((sources.photos or Path()) / label, target)
        except pictures.PhotoError as error:
            problems.append(f"{label}: {error}")
            continue
        if owner:
            prepared.append(Photo(target, owner.name, str(label)))
    return prepared


def _compared(
    students: Sequence[RosterStudent], records: Mapping[str, Record], known: Known, sources: Sources
) -> tuple[Known, frozenset[str], bool]:
    """The rest of a `Job`: with whom they are compared, who gives way, and whether some may lack a photo."""
    samples = frozenset(name for name, record in records.items() if record.sample)
    if sources.sample:
        samples |= {student.name for student in students}
    return (Known({}) if sources.prune else known), samples, sources.roster is None


def _told_once(
    problems: Sequence[str],
    before: Sequence[str],
    owned: Sequence[tuple[PurePath, RosterStudent | None]],
    sources: Sources,
) -> list[str]:
    """The image's problems in the caller's names, without "has no photo" of who has one that was refused before."""
    refused = {owner.name for label, owner in owned if owner and any(one.startswith(f"{label}: ") for one in before)}
    own = [one for one in problems if not any(one == f"{name}{_NO_PHOTO}" for name in refused)]
    roster = sources.roster.name if sources.roster else ""
    return [
        one.replace(_NO_PHOTO, f": is in {roster} and has no photo") if one.endswith(_NO_PHOTO) else one for one in own
    ]


def _source(sources: Sources, students: Sequence[RosterStudent], found: Sequence[PurePath]) -> str:
    """A name for everything that decides the encodings. Raises EnrolmentError when a file cannot be read."""
    listed = [astuple(student) for student in students] if sources.roster else []
    digest = hashlib.sha256(json.dumps([sources.image, sources.sample, listed]).encode())
    files = [(str(photo), (sources.photos or Path()) / photo) for photo in found]
    if sources.encodings:
        files.append(("", sources.encodings))
    try:
        for label, path in files:
            digest.update(json.dumps(label).encode() + hashlib.sha256(path.read_bytes()).digest())
    except OSError as error:
        raise EnrolmentError([f"{error.filename}: {error.strerror}"]) from error
    return digest.hexdigest()[:16]


def _decide(
    store: Store,
    sources: Sources,
    students: Sequence[RosterStudent],
    records: Mapping[str, Record],
    known: Known,
    source: str,
    computed: Computed,
    outcome: Outcome,
) -> None:
    """Fill `outcome` with what has to be written."""
    repeated = source in known.sources
    # A sample that is enrolled as one may be among those who give way, to somebody who is known.
    staying = [student for student in students if student.name not in computed.gave_way or not sources.sample]
    wanted = [
        Record.of(student, sample=sources.sample, before=records.get(student.name))
        for student in (staying if sources.roster else ())
    ]
    write = [one for one in wanted if records.get(one.name) != one and not (repeated and _is_there(one, records))]
    goes = {name for name in computed.gave_way if name in records or name in known.students}
    goes -= {student.name for student in students} if not sources.sample else set()
    if sources.prune:
        goes |= records.keys() | known.students.keys()
        goes -= {student.name for student in staying}
    new = dict(computed.encodings)
    after = {**new, **known.students} if repeated else {**known.students, **new}
    after = {name: encodings for name, encodings in after.items() if name not in goes}
    named = (source, *known.sources) if (new or write) and not repeated else known.sources
    # To make the file of ten thousand students takes a second: not where nobody's encodings change.
    differs = after != known.students
    merged = Known(after, named, known.etag) if differs else replace(known, sources=named)
    version = merged.file.version if differs else known.file.version
    before = store.samples()
    offered = {*(student.name for student in students), *outcome.stay_away} if sources.sample else set()
    samples = Samples(before.enrolled | offered, {**before.replaced, **computed.gave_way}, before.etag)
    outcome.changes = Changes(
        tuple(write),
        tuple(sorted(goes & records.keys())),
        merged if differs or named != known.sources else None,
        samples if samples != before else None,
    )
    outcome.records = [record.name for record in write]
    outcome.encodings = sorted(name for name in new if known.students.get(name) != after.get(name))
    outcome.removed = sorted(goes - set(computed.gave_way))
    outcome.gave_way = sorted(computed.gave_way)
    outcome.skipped, outcome.warnings = list(computed.skipped), list(computed.warnings)
    outcome.version, outcome.students = version, len(after)


def _is_there(wanted: Record, records: Mapping[str, Record]) -> bool:
    """Whether there is a record that a source leaves as it is when it is enrolled again."""
    there = records.get(wanted.name)
    return there is not None and (there.sample == wanted.sample)
