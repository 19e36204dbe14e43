"""Reads a list of students as schools have it: CSV in any common encoding and with any common delimiter, XLSX, JSON.

A list that the standard library's `csv.Sniffer` guesses the delimiter of, from how often signs occur, is read wrongly
when it is short or has many commas in it. Here the delimiter is the one with which the header names the columns.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from classroom_contract.keys import class_problem
from classroom_contract.roster import CLASS_COLUMN, COLUMNS, CONSENT_COLUMN, RosterError, RosterStudent, stored_text
from classroom_ops.enrolment.owners import name_words
from classroom_ops.enrolment.text import TextError, decode

_MAX_BYTES = 32 * 1024 * 1024
_MAX_UNPACKED_BYTES = 256 * 1024 * 1024
_MAX_FIELD = 200  # letters; longer is no name, but what a missing quotation mark has swallowed
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_HEADER_WITHIN = 20  # rows; above the table some have a title

# How columns are called, without case, blanks and punctuation. The first of each is the name in our own lists.
_HEADINGS: dict[str, tuple[str, ...]] = {
    "name": ("name", "fullname", "studentname", "student", "displayname", "nameofstudent", "names"),
    "first name": ("firstname", "givenname", "forename", "first", "given", "vorname", "prénom", "prenom", "nombre"),
    "last name": (
        *("lastname", "surname", "familyname", "last", "family", "nachname", "familienname", "nom", "apellido"),
        *("apellidos", "cognome"),
    ),
    "id": (
        *("id", "studentid", "studentnumber", "studentno", "idnumber", "matriculationnumber", "matrikelnummer"),
        *("matriculation", "sisid", "sisuserid", "sourcedid", "number", "nr", "no"),
    ),
    "major": (
        *("major", "subject", "program", "programme", "fieldofstudy", "courseofstudy", "field", "department"),
        *("studiengang", "fach", "filière", "carrera"),
    ),
    "year": ("year", "yearofstudy", "classyear", "yeargroup", "gradelevel", "grade", "jahrgang", "année", "año"),
    CLASS_COLUMN: ("class", "classname", "section", "group", "course", "klasse", "classe", "clase"),
    CONSENT_COLUMN: ("consent", "consentdate", "dateofconsent", "einwilligung", "consentement", "consentimiento"),
}
_COLUMN_OF = {heading: column for column, headings in _HEADINGS.items() for heading in headings}
# Invisible: soft hyphen, zero-width space, word joiner, byte order mark, directions of writing. (The zero-width
# joiners stay: emoji and several scripts are spelled with them.)
_INVISIBLE = dict.fromkeys(
    (0xAD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
)
_WHOLE_AS_FLOAT = re.compile(r"(\d+)\.0+")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+?\d+", re.IGNORECASE)
_TEXT_AS_FORMULA = re.compile(r'="([^"]*)"')  # how spreadsheets are made to keep the zeros before a number
# Where a day begins first: a date that nobody has yet lies in the future.
_EARLIEST_ZONE = timezone(timedelta(hours=14))
_FIRST_YEAR = 2000
_ERROR_VALUES = ("#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!")


@dataclass(frozen=True)
class Roster:
    """The students of a list in its order, and what its reader should know about how it was read (`notes`)."""

    students: tuple[RosterStudent, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Table:
    """A header and the rows below it. `place` tells where the row of an index stands: ``line 3``."""

    header: list[str]
    rows: list[tuple[str, list[str]]]
    counted: str = ""  # the delimiter's name where the fields of each row have to be counted
    notes: list[str] = field(default_factory=list)


def read_roster(path: Path) -> Roster:
    """Read the list `path`; what it holds decides its form, not the ending of its name.

    Raises:
        RosterError: it cannot be read, lacks a column, a row is not one student's, or two students have one name or
            one id. Everything is named at once, with its line and what to do.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _MAX_BYTES else None
    except OSError as error:
        raise RosterError([f"{path.name}: cannot be read: {error.strerror}"]) from error
    if data is None:
        raise RosterError([f"{path.name}: is larger than {_MAX_BYTES >> 20} MB, which no list of students is"])
    try:
        table = _table(data)
        columns = _columns(table)
    except _UnreadableError as error:
        raise RosterError([f"{path.name}: {error}"]) from error
    problems: list[str] = []
    students = _students(table, columns, problems)
    if not table.rows:
        problems.append("holds no students")
    if problems:
        raise RosterError([f"{path.name}{_joint(problem)}{problem}" for problem in problems])
    return Roster(tuple(students), tuple(f"{path.name}{_joint(note)}{note}" for note in table.notes))


def _joint(text: str) -> str:
    return ", " if re.match(r"(lines?|rows?|entry|entries) \d", text) else ": "


class _UnreadableError(Exception):
    """The list as a whole cannot be used."""


def _table(data: bytes) -> _Table:
    if data.startswith(b"PK\x03\x04"):
        return _spreadsheet(data)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise _UnreadableError("is a spreadsheet in Excel's form from before 2007: save it as XLSX or CSV")
    if data.startswith(b"%PDF"):
        raise _UnreadableError("is a PDF: save the list as XLSX or CSV")
    try:
        text = decode(data)
    except TextError as error:
        raise _UnreadableError(f"{error}: save it as XLSX or as CSV UTF-8") from error
    content = text.content.removeprefix("\ufeff")
    table = _json(content) if content.lstrip()[:1] in ("[", "{") else _csv(content)
    odd = next((word for word in re.findall(r"[^\s,;|\t\"]+", content) if not word.isascii()), "")
    if text.guessed:
        table.notes.append(f"was read as {text.guessed}, by its letters; if {odd!r} is wrong, save it as CSV UTF-8")
    return table


# --- CSV ------------------------------------------------------------------------------------------------------------


def _csv(content: str) -> _Table:
    declared = re.match(r'"?sep=(.)"?[ ,;\t|]*\r?\n', content, re.IGNORECASE)
    skipped = 0
    if declared:
        content, skipped = content[declared.end() :], 1
        rows = _rows(content, declared[1], skipped)
        return _below_header(rows, _DELIMITERS.get(declared[1], repr(declared[1])))
    fitting: list[tuple[int, _Table]] = []
    problem: _UnreadableError | None = None
    for delimiter, name in _DELIMITERS.items():
        try:
            table = _below_header(_rows(content, delimiter, skipped), name)
        except _UnreadableError as error:
            # What is said about the delimiter that the first line has most of helps most.
            problem = problem if problem and not isinstance(error, _QuotesError) else error
            continue
        fitting.append((len(_known(table.header)), table))
    if not fitting:
        raise problem or _UnreadableError("holds no students")
    return max(fitting, key=lambda each: each[0])[1]


class _QuotesError(_UnreadableError):
    """The quotation marks of a row are not as CSV wants them."""


def _rows(content: str, delimiter: str, skipped: int) -> list[tuple[str, list[str]]]:
    """Rows that hold something, each with its first line's number."""
    if "\0" in content:
        raise _UnreadableError("is not a text: it holds zero bytes")
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[tuple[str, list[str]]] = []
    line = skipped + 1
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((f"line {line}", row))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        known = bool(rows) and any(_known(row) for _, row in rows[:_HEADER_WITHIN])
        kind = _QuotesError if known else _UnreadableError
        raise kind(
            f'line {line}: a quotation mark is missing or too many ({error}): a value that holds one is written "so, '
            '""twice"", in quotes"'
        ) from error
    return rows


def _below_header(rows: Sequence[tuple[str, list[str]]], counted: str = "") -> _Table:
    """The table below the first row that names columns. Raises _UnreadableError."""
    for number, (_, row) in enumerate(rows[:_HEADER_WITHIN]):
        known = _known(row)
        if len(set(known)) >= 2 and (known & {"name", "first name", "last name"}):
            header = [field.strip() for field in row]
            while header and not header[-1]:
                header.pop()
            return _Table(header, list(rows[number + 1 :]), counted)
    first = " | ".join(field.strip() for field in rows[0][1])[:80] if rows else ""
    found = f"; the first line is: {first}" if first else ", it is empty"
    raise _UnreadableError(f"lacks a line that names the columns {', '.join(COLUMNS)}{found}")


def _folded(heading: str) -> str:
    letters = unicodedata.normalize("NFKC", heading).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


def _known(headings: Sequence[str]) -> set[str]:
    return {_COLUMN_OF[folded] for heading in headings if (folded := _folded(heading)) in _COLUMN_OF}


# --- spreadsheets ---------------------------------------------------------------------------------------------------


def _spreadsheet(data: bytes) -> _Table:
    import openpyxl  # half a second, which other lists need not wait for

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if sum(member.file_size for member in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise _UnreadableError(f"unpacks to more than {_MAX_UNPACKED_BYTES >> 20} MB, no list of students does")
        if "xl/workbook.xml" not in names:
            kind = "an OpenDocument file" if "mimetype" in names else "an archive"
            raise _UnreadableError(f"is {kind}, not a list: save it as XLSX or CSV")
        # The second one has the results of formulas, as far as the program that saved it stored them.
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
        results = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except _UnreadableError:
        raise
    except Exception as error:  # openpyxl raises whatever it meets in a damaged file
        raise _UnreadableError(f"is a damaged spreadsheet ({error}): open it and save it anew") from error
    tables: dict[str, _Table] = {}
    problem: _UnreadableError | None = None
    for sheet in book.worksheets:
        try:
            tables[sheet.title] = _below_header(_cells(sheet, results[sheet.title]))
        except _UnreadableError as error:
            problem = problem or error
    if not tables:
        raise problem or _UnreadableError("holds no sheet")
    if len(tables) > 1:
        raise _UnreadableError(
            f"has lists of students in {len(tables)} sheets ({', '.join(tables)}): save each as a file of its own"
        )
    ((title, table),) = tables.items()
    if len(book.worksheets) > 1:
        table.notes.append(f"only the sheet {title!r} was read, no other one holds a list of students")
    return table


def _cells(sheet: Any, results: Any) -> list[tuple[str, list[str]]]:
    rows = []
    for number, (cells, values) in enumerate(zip(sheet.iter_rows(), results.iter_rows(), strict=True), start=1):
        row = [_cell(cell, value) for cell, value in zip(cells, values, strict=True)]
        if any(row):
            rows.append((f"row {number}", row))
    return rows


def _cell(cell: Any, result: Any) -> str:
    if cell.data_type == "f":
        if result.value is None:
            raise _UnreadableError(
                f"{cell.coordinate} is a formula without its result: save the file once in a spreadsheet program"
            )
        return _value(result.value)
    if cell.data_type == "e":
        raise _UnreadableError(f"{cell.coordinate} holds the error {cell.value}: correct it in the spreadsheet")
    if isinstance(cell.value, int) and re.fullmatch(r"0+", str(cell.number_format)):
        return str(cell.value).zfill(len(cell.number_format))  # shown with zeros before it
    return _value(cell.value)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


# --- JSON -----------------------------------------------------------------------------------------------------------


def _json(content: str) -> _Table:
    try:
        document = json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise _UnreadableError(
            f"line {error.lineno}, column {error.colno}: is not JSON ({error.msg}); a comma or a quotation mark is "
            "missing or too many there"
        ) from error
    except (RecursionError, ValueError) as error:
        raise _UnreadableError("is not a JSON list of students") from error
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 else [document]
    if not all(isinstance(entry, dict) for entry in document):
        raise _UnreadableError('is not a list of students: [{"name": "Joe Biden", "id": 1, ...}, ...] is expected')
    header = list(dict.fromkeys(key for entry in document for key in entry))
    rows = []
    for number, entry in enumerate(document, start=1):
        nested = [key for key, value in entry.items() if isinstance(value, list | dict | bool)]
        if wrong := [key for key in nested if _folded(key) in _COLUMN_OF]:
            raise _UnreadableError(f"entry {number}: {wrong[0]} is neither text nor number")
        values = ["" if entry.get(key) is None or key in nested else str(entry[key]).strip() for key in header]
        if any(values):
            rows.append((f"entry {number}", values))
    return _below_header([("", header), *rows]) if rows else _Table(list(COLUMNS), [])


# --- rows become students -------------------------------------------------------------------------------------------


def _columns(table: _Table) -> Mapping[str, int]:
    """Where each column stands. Raises _UnreadableError for one that is missing, or there twice."""
    found: dict[str, int] = {}
    for number, heading in enumerate(table.header):
        column = _COLUMN_OF.get(_folded(heading))
        if column is None:
            continue
        if column not in found:
            found[column] = number
            continue
        ranks = [_HEADINGS[column].index(_folded(table.header[place])) for place in (found[column], number)]
        if ranks[0] == ranks[1]:
            raise _UnreadableError(f"has two columns {heading!r}: rename one of them, or take it away")
        if ranks[1] < ranks[0]:
            found[column] = number
    if "name" not in found and {"first name", "last name"} <= found.keys():
        needed: set[str] = set(COLUMNS) - {"name"}
    else:
        needed = set(COLUMNS)
    missing = [column for column in COLUMNS if column in needed and column not in found]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        there = ", ".join(heading for heading in table.header if heading)
        raise _UnreadableError(
            f"lacks the column{plural} {', '.join(missing)}; it has {there}. The columns {', '.join(COLUMNS)} are "
            "needed (first name and last name instead of name will do)"
        )
    unused = [heading for number, heading in enumerate(table.header) if heading and number not in found.values()]
    if unused:
        table.notes.append(f"not used: the column{'s' if len(unused) > 1 else ''} {', '.join(unused)}")
    return found


def _students(table: _Table, columns: Mapping[str, int], problems: list[str]) -> list[RosterStudent]:
    students: list[RosterStudent] = []
    places: dict[RosterStudent, str] = {}
    by_name: dict[tuple[str, ...], RosterStudent] = {}
    by_id: dict[str, RosterStudent] = {}
    for place, row in table.rows:
        faults = list(_faults(table, row))
        values, more = _values(row, columns)
        faults += more
        problems.extend(f"{place}: {fault}" for fault in faults)
        if faults:
            continue
        student = RosterStudent(**values)
        if student in places:
            table.notes.append(f"{place} repeats {places[student]} and counts once")
            continue
        places[student] = place
        students.append(student)
        other = by_name.setdefault(name_words(student.name), student)
        if other is not student:
            problems.append(
                f"{place}: {student.name} (id {student.id or 'empty'}) has the name of {places[other]} (id "
                f"{other.id or 'empty'}): take one away, or if they are two students, add to one name what tells them "
                f"apart, as a middle name or the year: {student.name} {student.year or 'II'}".rstrip()
            )
        other = by_id.setdefault(student.id, student) if student.id else student
        if other is not student and student.name != other.name:
            problems.append(
                f"{place}: {student.name} has the id {student.id}, and so has {other.name} of {places[other]}: "
                "correct one of them"
            )
    return students


def _faults(table: _Table, row: Sequence[str]) -> Iterator[str]:
    if not table.counted:
        return
    wanted = len(table.header)
    counts = f"has {len(row)} fields and the header {wanted}"
    if any(field.strip() for field in row[wanted:]):
        example = ', as in "Art, History"' if table.counted == "comma" else ""
        yield f"{counts}: a value with a {table.counted} in it has to stand in quotes{example}"
    elif len(row) < wanted:
        yield f"{counts}: what is not known has to be left empty, between two delimiters ({table.counted})"


def _values(row: Sequence[str], columns: Mapping[str, int]) -> tuple[dict[str, Any], list[str]]:
    """A student's values by the names of `RosterStudent`, and what is wrong with them."""
    faults: list[str] = []
    raw = {column: _clean(row[number]) if number < len(row) else "" for column, number in columns.items()}
    for column, value in raw.items():
        if len(value) > _MAX_FIELD:
            faults.append(f"its {column} has {len(value)} letters; is a quotation mark missing above it?")
        elif any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            faults.append(f"its {column} holds what is no letter (a control character): type it anew")
        elif value in _ERROR_VALUES:
            faults.append(f"its {column} is {value}, an error of a spreadsheet: correct it there")
    first, last = raw.pop("first name", ""), raw.pop("last name", "")
    name = raw.pop("name", "")
    if first and not last and not set(name_words(first)) <= set(name_words(name)):
        name = f"{first} {name}"  # as in the German "Vorname; Name"
    name = name or f"{first} {last}".strip()
    if not name_words(name):
        faults.append(f"has no name{f': {name!r} is none' if name else ''}")
    number = raw["id"]
    if whole := _WHOLE_AS_FLOAT.fullmatch(number):
        number = whole[1]
    elif _SHORTENED.fullmatch(number):
        faults.append(
            f"the id {number} was shortened by a spreadsheet, and its last figures are lost: give the column the "
            "format 'text', type the id anew and save the list again"
        )
    class_name = raw.pop(CLASS_COLUMN, None)
    if class_name and (problem := class_problem(class_name)):
        faults.append(f"its class is {class_name!r}: {problem}")
    consent = raw.pop(CONSENT_COLUMN, None)
    if consent and (problem := _no_consent(consent)):
        faults.append(f"its consent is {consent!r}: {problem}")
    values = {"name": name, "id": number, "major": raw["major"], "year": raw["year"]}
    return {**values, "class_name": class_name, "consent": consent}, faults


def _no_consent(text: str) -> str:
    """Why a text is not the date of a consent; empty where it is."""
    try:
        given = date.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.isoformat() != text:  # fromisoformat takes more forms than one can read at a glance
        return "write the date on which it was given, as 2026-09-30, and leave it empty where there is none"
    if given > datetime.now(_EARLIEST_ZONE).date():
        return "lies in the future; write the date on which it was given"
    return "" if given.year >= _FIRST_YEAR else "lies too far back to be the date of this consent"


def _clean(value: str) -> str:
    text = stored_text(value.translate(_INVISIBLE))
    formula = _TEXT_AS_FORMULA.fullmatch(text)
    return stored_text(formula[1]) if formula else text
