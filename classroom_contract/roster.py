"""The list of students: a CSV with the columns name, id, major, year and, if wanted, class."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("name", "id", "major", "year")
CLASS_COLUMN = "class"
CONSENT_COLUMN = "consent"


class RosterError(ValueError):
    """The roster cannot be used; `problems` has one line for each thing to mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class RosterStudent:
    """One line of the roster, its values in the form in which they are stored.

    `class_name` is empty where the student is in no class, and None where the list does not say. `consent` is the date
    since when there is a consent, as 2026-09-30, empty where there is none, and None where the list does not say.
    """

    name: str
    id: str
    major: str
    year: str
    class_name: str | None = None
    consent: str | None = None


def stored_text(value: str) -> str:
    """A name or value as it is stored: Unicode's form NFC, no blanks around it, single ones inside."""
    return " ".join(unicodedata.normalize("NFC", value).split())


def name_key(name: str) -> str:
    """The same for two spellings of one name: Unicode's form, case and blanks do not tell students apart."""
    return unicodedata.normalize("NFC", stored_text(name).casefold())


def read_roster(path: Path) -> list[RosterStudent]:
    """Students of the CSV `path` in its order; a byte order mark before the header is allowed.

    Raises:
        RosterError: it cannot be read, lacks a column, or a line is not one student's: no name, a field too many (a
            comma without quotes), a name or an id that another line has. All lines are named at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                wanted = f"the first line has to be {','.join(COLUMNS)}"
                raise RosterError([f"{path.name}: lacks the columns {', '.join(missing)}; {wanted}"])
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise RosterError([f"{path.name}: cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RosterError([f"{path.name}: cannot be read: {error}"]) from error
    problems = [f"{path.name}, line {line}: {reason}" for line, reason in _faults(rows)]
    if not rows:
        problems.append(f"{path.name}: holds no students")
    if problems:
        raise RosterError(problems)
    return [_student(row) for _, row in rows]


def _student(row: Mapping[str, str | None]) -> RosterStudent:
    name, number, major, year = (stored_text(row.get(column) or "") for column in COLUMNS)
    class_name = stored_text(row[CLASS_COLUMN] or "") if CLASS_COLUMN in row else None
    return RosterStudent(name, number, major, year, class_name)


def _faults(rows: Sequence[tuple[int, Mapping[str, str | None]]]) -> Iterator[tuple[int, str]]:
    checks: tuple[tuple[str, Callable[[RosterStudent], str]], ...] = (
        ("name", lambda student: name_key(student.name)),
        ("id", lambda student: student.id),
    )
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        if None in row:  # where csv puts what is beyond the header
            yield line, "has more fields than the header; a value with a comma has to stand in quotes"
        if None in row.values():
            yield line, "has fewer fields than the header"
        student = _student(row)
        if not student.name:
            yield line, "has no name"
        for column, value_of in checks:
            value = value_of(student)
            first = seen.setdefault((column, value), line)
            if value and first != line:
                yield line, f"has the {column} of line {first}; two students need different ones"
