"""Tables and rosters: a name comes back as it was, nothing in it is run, and a faulty roster is told line by line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom_contract import ContractError
from classroom_contract.roster import RosterError, RosterStudent, name_key, read_roster, stored_text
from classroom_contract.tables import Row, parse_csv, render_csv

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.text(st.sampled_from("'=+-@\t\r\n\",a＝")),  # noqa: RUF001 a full-width sign
)


def test_the_table_is_rfc_4180() -> None:
    text = render_csv([Row('Öztürk, "Ali"', "a,b\nc", "2"), Row("Ada")])
    assert text == 'name,major,year\r\n"Öztürk, ""Ali""","a,b\nc",2\r\nAda,,\r\n'


def test_without_students_there_is_a_header() -> None:
    assert render_csv([]) == "name,major,year\r\n"
    assert parse_csv("name,major,year\r\n") == ()


@given(st.lists(st.builds(Row, TEXTS, TEXTS, TEXTS)))
def test_every_field_comes_back_and_none_is_a_formula(rows: list[Row]) -> None:
    text = render_csv(rows)
    assert parse_csv(text) == tuple(rows)
    for fields in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not any(field.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for field in fields)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_a_formula_is_shown_as_text(sign: str) -> None:
    (row,) = list(csv.reader(io.StringIO(render_csv([Row(f"{sign}1", "a")]), newline="")))[1:]
    assert row == [f"'{sign}1", "a", ""]


def test_an_ordinary_apostrophe_stays_as_it_is() -> None:
    assert render_csv([Row("'t Hooft", "O'Neill-Smith")]).splitlines()[1] == "'t Hooft,O'Neill-Smith,"
    assert parse_csv("name,major,year\r\n'=1,''=1,'a\r\n") == (Row("=1", "'=1", "'a"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "header"),
        ("<html>", "header"),
        ("name,major\r\n", "header"),
        ("name,major,year\r\na,b\r\n", "3 fields"),
        ("name,major,year\r\na,b,c,d\r\n", "3 fields"),
        ('name,major,year\r\n"a', "not a CSV"),
    ],
)
def test_what_is_no_table_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        parse_csv(text)


def roster(directory: Path, text: str) -> Path:
    path = directory / "students.csv"
    path.write_bytes(text.encode())
    return path


def test_a_roster_is_read_in_its_order_in_one_form(tmp_path: Path) -> None:
    text = '\ufeffname,id,major,year\r\n  U\u0308mit   Öz ,1,"Arts,\u00a0Design",2\r\nAda,2,,\r\n'
    assert read_roster(roster(tmp_path, text)) == [
        RosterStudent("\u00dcmit Öz", "1", "Arts, Design", "2"),
        RosterStudent("Ada", "2", "", ""),
    ]


def test_a_roster_may_say_the_class(tmp_path: Path) -> None:
    (ada,) = read_roster(roster(tmp_path, "class,name,id,major,year\nhistory-101,Ada,1,m,y\n"))
    assert (ada.class_name, ada.name) == ("history-101", "Ada")


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ("", ["holds no students"]),
        (",1,m,y\n", ["line 2: has no name"]),
        ("A,1,Arts, Design,2\n", ["line 2: has more fields than the header"]),
        ("A,1,Arts\n", ["line 2: has fewer fields than the header"]),
        ("Ada,1,m,y\n ADA ,2,m,y\n", ["line 3: has the name of line 2"]),
        ("Ada,1,m,y\nBo,1,m,y\n", ["line 3: has the id of line 2"]),
        ("Ada,,m,y\nBo,,m,y\n,3,m,y\n", ["line 4: has no name"]),
        ("Ada,1,m,y\nBo,1,m,y\n,3\n", ["line 3: has the id", "line 4: has fewer", "line 4: has no name"]),
    ],
)
def test_everything_wrong_with_a_roster_is_said_at_once(tmp_path: Path, lines: str, problems: list[str]) -> None:
    with pytest.raises(RosterError) as caught:
        read_roster(roster(tmp_path, f"name,id,major,year\n{lines}"))
    assert len(caught.value.problems) == len(problems)
    for said, wanted in zip(caught.value.problems, problems, strict=True):
        assert said.startswith("students.csv")
        assert wanted in said
    assert str(caught.value) == "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    "content", [b"name,id,major,year\n\xff,1,m,y\n", b'name,id,major,year\n"a', b"name,id\nA,1\n", b""]
)
def test_what_is_no_roster_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "students.csv").write_bytes(content)
    with pytest.raises(RosterError, match=r"students\.csv: (cannot be read|lacks the columns)"):
        read_roster(tmp_path / "students.csv")


def test_a_missing_roster_is_named(tmp_path: Path) -> None:
    with pytest.raises(RosterError, match=r"none\.csv: cannot be read: No such file"):
        read_roster(tmp_path / "none.csv")


def test_the_columns_that_lack_are_named(tmp_path: Path) -> None:
    with pytest.raises(RosterError, match="lacks the columns id, year; the first line has to be name,id,major,year"):
        read_roster(roster(tmp_path, "name,major\nA,m\n"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("José", "Jose\u0301"), ("ADA", "ada"), (" Ada  L ", "Ada L"), ("Straße", "STRASSE"), ("A\u00a0B", "A B")],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


def test_two_names_stay_two() -> None:
    assert name_key("Jose") != name_key("José")
    assert name_key("Joe Biden") != name_key("JoeBiden")
    assert stored_text(" Ada\tL ") == "Ada L"
