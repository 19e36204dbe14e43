"""Lists of students in the forms that schools have: what is read, what is refused, and what is said about it."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import openpyxl
import pytest
from hypothesis import strategies as st

from classroom_contract.roster import RosterError, RosterStudent
from classroom_ops.enrolment.owners import name_words
from classroom_ops.enrolment.rosters import Roster, read_roster

JOE = RosterStudent("Joe Biden", "1002", "History", "Junior")
HEADER = "name,id,major,year\n"


def read(tmp_path: Path, content: str | bytes, name: str = "students.csv") -> Roster:
    """Read a list of this content."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_roster(path)


def told(tmp_path: Path, content: str | bytes, name: str = "students.csv") -> list[str]:
    """What is said about a list of this content, which is refused."""
    with pytest.raises(RosterError) as refused:
        read(tmp_path, content, name)
    return refused.value.problems


@pytest.mark.parametrize(
    "content",
    [
        "name,id,major,year\nJoe Biden,1002,History,Junior\n",
        "name,id,major,year\r\nJoe Biden,1002,History,Junior",
        "name,id,major,year\rJoe Biden,1002,History,Junior\r",
        "\ufeffname,id,major,year\nJoe Biden,1002,History,Junior\n",
        "name;id;major;year\r\nJoe Biden;1002;History;Junior\r\n",
        "name\tid\tmajor\tyear\nJoe Biden\t1002\tHistory\tJunior\n",
        "name|id|major|year\nJoe Biden|1002|History|Junior\n",
        "sep=;\r\nname;id;major;year\r\nJoe Biden;1002;History;Junior\r\n",
        '"sep=,"\r\nname,id,major,year\r\nJoe Biden,1002,History,Junior\r\n',
        "sep=#\nname#id#major#year\nJoe Biden#1002#History#Junior\n",
        "Name, ID, Major, Year\nJoe Biden,1002,History,Junior\n",
        "NAME,Student ID,Field of study,Year of Study\nJoe Biden,1002,History,Junior\n",
        "year,major,id,name\nJunior,History,1002,Joe Biden\n",
        "First Name,Last Name,id,major,year\nJoe,Biden,1002,History,Junior\n",
        "last_name;first_name;id;major;year\nBiden;Joe;1002;History;Junior\n",
        "Vorname;Name;Matrikelnummer;Fach;Jahrgang\nJoe;Biden;1002;History;Junior\n",
        "name,id,major,year,e-mail\nJoe Biden,1002,History,Junior,joe@example.org\n",
        "name,id,major,year\nJoe Biden,1002,History,Junior\n,,,\n\n , , , \n",
        "name,id,major,year,,\nJoe Biden,1002,History,Junior,,\n",
        "Class of 2026,,,\n,,,\nname,id,major,year\nJoe Biden,1002,History,Junior\n",
        "name,id,major,year\nJoe Biden,1002.0,History,Junior\n",
        'name,id,major,year\nJoe Biden,="1002",History,Junior\n',
        "name,id,major,year\n  Joe\u00a0 Biden , 1002 ,\u200bHistory, Junior \n",
        'name, "id", "major", year\n"Joe Biden", "1002", "History", Junior\n',
        '[{"id": 1002, "name": "Joe Biden", "major": "History", "year": "Junior"}]',
        '{"students": [{"ID": 1002.0, "Name": "Joe Biden", "Major": "History", "Year": "Junior", "tags": []}]}',
        ' [{"sis_id": "1002", "first name": "Joe", "last name": "Biden", "major": "History", "year": "Junior"}, {}]',
        "name,id,major,year\nJoe Biden,1002,History,Junior\n".encode("utf-16"),
        "name,id,major,year\nJoe Biden,1002,History,Junior\n".encode("utf-16-le"),
        "name,id,major,year\nJoe Biden,1002,History,Junior\n".encode("utf-16-be"),
        "name,id,major,year\nJoe Biden,1002,History,Junior\n".encode("utf-32"),
    ],
)
def test_forms_of_one_list(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content, "list of an unknown kind").students == (JOE,)


def test_classes_are_read(tmp_path: Path) -> None:
    roster = read(tmp_path, "name,id,major,year,Class\nJoe Biden,1,a,b,history-101\n")
    assert roster.students[0].class_name == "history-101"


def workbook(path: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    """A spreadsheet with these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_spreadsheets(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "list.csv", [["Name", "ID", "Major", "Year"], ["Joe Biden", 1002.0, "History", 2026], []]
    )
    assert read_roster(path).students == (RosterStudent("Joe Biden", "1002", "History", "2026"),)


def test_zeros_that_a_spreadsheet_shows_before_a_number_stay(tmp_path: Path) -> None:
    path = workbook(tmp_path / "list.xlsx", [["name", "id", "major", "year"], ["Joe", 17, "a", "b"]])
    book = openpyxl.load_workbook(path)
    book.active["B2"].number_format = "00000"
    book.save(path)
    assert read_roster(path).students[0].id == "00017"


def test_a_sheet_among_others_is_found(tmp_path: Path) -> None:
    table: list[list[Any]] = [["name", "id", "major", "year"], ["Joe", 1, "a", "b"]]
    roster = read_roster(workbook(tmp_path / "list.xlsx", [["Read me"]], table))
    assert roster.students[0].name == "Joe"
    assert "only the sheet 'Sheet1' was read" in roster.notes[0]
    with pytest.raises(RosterError, match=r"has lists of students in 2 sheets \(Sheet, Sheet1\): save each as a file"):
        read_roster(workbook(tmp_path / "two.xlsx", table, table))


def test_formulas_without_their_results_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "list.xlsx", [["name", "id", "major", "year"], ["Joe", "=1+1", "a", "b"]])
    with pytest.raises(RosterError, match="B2 is a formula without its result: save the file once in a spreadsheet"):
        read_roster(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "lacks a line that names the columns name, id, major, year, it is empty"),
        (
            "Joe,1,a,b\n",
            "lacks a line that names the columns name, id, major, year; the first line is: Joe | 1 | a | b",
        ),
        (
            "name,id\nJoe,1\n",
            "lacks the columns major, year; it has name, id. The columns name, id, major, year are needed",
        ),
        ("first name,id,major,year\nJoe,1,a,b\n", "lacks the column name; it has first name, id"),
        ("name,id,id,major,year\nJoe,1,1,a,b\n", "has two columns 'id': rename one of them"),
        (HEADER, "holds no students"),
        ("[]", "holds no students"),
        (HEADER + " ,1,a,b\n", "line 2: has no name"),
        (HEADER + "--,1,a,b\n", "line 2: has no name: '--' is none"),
        (
            HEADER + "\nJoe,1,Art, History,b\n",
            "line 3: has 5 fields and the header 4: a value with a comma in it has to ",
        ),
        ("name;id;major;year\nJoe;1;a;b;c\n", "line 2: has 5 fields and the header 4: a value with a semicolon in it"),
        (HEADER + "Joe,1,a\n", "line 2: has 3 fields and the header 4: what is not known has to be left empty"),
        (HEADER + '"Joe,1,a,b\nAda,2,a,b\n', "line 2: a quotation mark is missing or too many"),
        (HEADER + '"Joe "Jo"",1,a,b\n', "line 2: a quotation mark is missing or too many"),
        (HEADER + "Joe,1.23457E+11,a,b\n", "line 2: the id 1.23457E+11 was shortened by a spreadsheet"),
        (HEADER + "Joe,#REF!,a,b\n", "line 2: its id is #REF!, an error of a spreadsheet"),
        (HEADER + "Jo\x07e,1,a,b\n", "line 2: its name holds what is no letter"),
        (HEADER + f"{'x' * 300},1,a,b\n", "line 2: its name has 300 letters"),
        ('[{"name": "Joe", "id": 1, "major": "a", "year": "b",}]', "line 1, column 53: is not JSON"),
        ('[{"name": "\\ud800", "id": 1, "major": "a", "year": "b"}]', "entry 1: its name holds what is no letter"),
        ('[{"name": ["Joe"], "id": 1, "major": "a", "year": "b"}]', "entry 1: name is neither text nor number"),
        ('["Joe"]', "is not a list of students"),
        ("[" * 100_000, "JSON"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel's form from before 2007: save it as XLSX or CSV"),
        (b"%PDF-1.7", "is a PDF: save the list as XLSX or CSV"),
        (b"PK\x03\x04garbage", "is a damaged spreadsheet"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0\0\0\0\0", "is not a text: save it as XLSX or as CSV UTF-8"),
        (b"\xff\xfen\0a\0m", "is damaged: it is not the UTF-16 that its first bytes announce"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place_and_what_to_do(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    (problem,) = told(tmp_path, content)
    assert problem.startswith(("students.csv: ", "students.csv, line ", "students.csv, entry "))
    assert reason in problem


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    rows = ["Joe,1,Art, History,b", "Ada,2,a,b", ",3,a,b", "ada,4,a,b", "Grace,2,a,b", "Kurt,5"]
    assert [problem[:26] for problem in told(tmp_path, HEADER + "\n".join(rows))] == [
        "students.csv, line 2: has ",
        "students.csv, line 4: has ",
        "students.csv, line 5: ada ",
        "students.csv, line 6: Grac",
        "students.csv, line 7: has ",
    ]


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, HEADER + "Joe Biden,1,a,Senior\nAda,2,a,b\njoe-biden,3,a,Junior\n")
    assert problem == (
        "students.csv, line 4: joe-biden (id 3) has the name of line 2 (id 1): take one away, or if they are two "
        "students, add to one name what tells them apart, as a middle name or the year: joe-biden Junior"
    )


def test_two_of_one_id_are_told_apart(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, HEADER + "Joe Biden,1,a,b\nAda,1.0,a,b\n")
    assert problem == ("students.csv, line 3: Ada has the id 1, and so has Joe Biden of line 2: correct one of them")


def test_a_row_that_is_repeated_counts_once(tmp_path: Path) -> None:
    roster = read(tmp_path, HEADER + "Joe Biden,1002,History,Junior\n" * 2)
    assert roster == Roster((JOE,), ("students.csv, line 3 repeats line 2 and counts once",))


def test_a_row_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    assert told(tmp_path, HEADER + 'Joe,1,"Art,\nHistory",b\nAda,2\n')[0].startswith(
        "students.csv, line 4: has 2 fields"
    )


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    notes = read(tmp_path, "name,id,major,year,e-mail,phone\nJoe,1,a,b,c,d\n").notes
    assert notes == ("students.csv: not used: the columns e-mail, phone",)


@pytest.mark.parametrize("formula", ['=HYPERLINK("http://x","y")', "+1", "-rf", "@SUM(1)"])
def test_what_a_spreadsheet_would_run_stays_text(tmp_path: Path, formula: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerow(["Joe", "1", formula, "b"])
    assert read(tmp_path, HEADER + text.getvalue()).students[0].major == formula


# --- encodings ------------------------------------------------------------------------------------------------------

WESTERN = [
    "Jürgen Müller,1,Géographie,Junior",
    "Joe Biden,1002,Géographie,Junior",
    "José Peña,1,Matemáticas,Senior",
    "Øystein Ås,1,Français,b",
    "Conan O\u2019Brien,2,x,y",
    "ÉLODIE FAÇADE,1,a,b",
    "João Gonçalves,1,a,b",
    "Åsa Öberg,1,Straße,b",
    "Ñuñez,1,a,b",
    "Özgür Ünal,1,a,b",
]


@pytest.mark.parametrize("row", WESTERN)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mac_roman"])
def test_letters_are_right_in_every_encoding(tmp_path: Path, row: str, encoding: str) -> None:
    roster = read(tmp_path, f"{HEADER}{row}\n".encode(encoding))
    (student,) = roster.students
    assert [student.name, student.id, student.major, student.year] == row.split(",")
    guessed = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman"}.get(encoding)
    assert [note for note in roster.notes if "was read as" in note and (guessed or "?") in note] == list(roster.notes)
    assert bool(roster.notes) == bool(guessed)


def test_a_list_in_another_alphabet(tmp_path: Path) -> None:
    rows = "\n".join(
        f"{name},{number},История,Старший курс" for number, name in enumerate(["Анна Каренина", "Лев Мышкин"])
    )
    roster = read(tmp_path, f"{HEADER}{rows}\n".encode("cp1251"))
    assert [student.name for student in roster.students] == ["Анна Каренина", "Лев Мышкин"]
    assert "if 'Анна' is wrong, save it as CSV UTF-8" in roster.notes[0]


# --- properties -----------------------------------------------------------------------------------------------------

LETTERS = st.characters(exclude_categories=["C", "Z"])
WORDS = st.text(LETTERS | st.sampled_from(" ;,|\t'\"$=-"), min_size=1, max_size=12)


def stored(text: str) -> str:
    """As values are stored."""
    return " ".join(unicodedata.normalize("NFC", text).split())


VALUES = WORDS.map(stored).filter(lambda text: not text.startswith(("#", '="')) and text == stored(text))
NAMES = VALUES.filter(lambda text: name_words(text) != ())
IDS = st.from_regex(r"[A-Z]{0,2}[0-9]{1,6}", fullmatch=True)


@st.composite
def students(draw: st.DrawFn) -> list[RosterStudent]:
    """A list of students with names and ids of their own."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique_by=name_words))
    ids = draw(st.lists(IDS, min_size=len(names), max_size=len(names), unique=True))
    pairs = zip(names, ids, strict=True)
    return [RosterStudent(name, number, draw(VALUES), draw(VALUES)) for name, number in pairs]


@hypothesis.given(
    students(),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.permutations(["name", "id", "major", "year"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([str.lower, str.upper, str.title, lambda text: f" {text} "]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_what_is_written_as_csv_is_read(
    wanted: list[RosterStudent],
    delimiter: str,
    encoding: str,
    order: list[str],
    end: str,
    heading: Any,
    quoting: Any,
    decomposed: bool,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow([heading(column) for column in order])
    for student in wanted:
        writer.writerow([getattr(student, column) for column in order])
    content = unicodedata.normalize("NFD", text.getvalue()) if decomposed else text.getvalue()
    with tempfile.TemporaryDirectory() as directory:
        assert read(Path(directory), content.encode(encoding)).students == tuple(wanted)


@hypothesis.settings(max_examples=30)
@hypothesis.given(students(), st.permutations(["name", "id", "major", "year"]))
def test_what_is_written_as_json_or_spreadsheet_is_read(wanted: list[RosterStudent], order: list[str]) -> None:
    rows = [{column: getattr(student, column) for column in order} for student in wanted]
    with tempfile.TemporaryDirectory() as directory:
        assert read(Path(directory), json.dumps(rows)).students == tuple(wanted)
        book = openpyxl.Workbook()
        book.active.append(order)
        for number, row in enumerate(rows, start=2):
            for column, name in enumerate(order, start=1):
                cell = book.active.cell(number, column, row[name])
                cell.data_type = "s"  # text, whatever it begins with
        book.save(Path(directory) / "list.xlsx")
        assert read_roster(Path(directory) / "list.xlsx").students == tuple(wanted)


@hypothesis.given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_file_ends_otherwise_than_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for start in (b"", HEADER.encode(), b"PK\x03\x04", b"[", b"\xff\xfe", b"sep=;\n"):
            try:
                roster = read(Path(directory), start + content)
            except RosterError as error:
                assert error.problems  # noqa: PT017
            else:
                assert all(student.name for student in roster.students)
