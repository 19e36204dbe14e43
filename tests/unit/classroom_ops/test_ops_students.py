"""The list of who is enrolled."""

from __future__ import annotations

import json

import pytest

from classroom_ops import cli
from classroom_ops.aws import Aws
from classroom_ops.enrolment.store import Changes, Known, Record, Store

pytestmark = pytest.mark.usefixtures("in_root")
ADA = Record(
    "Ada [b]Lovelace[/b]", "1", "Math", "Senior", class_name="Übung 1", consent="2026-09-01", enrolled="2026-09-02"
)
JOE = Record("Joe", "2", "Art", "", class_name="history-101", enrolled="2026-09-03")
KIM = Record("Kim", "3", "Art", "Junior", sample=True)


@pytest.fixture(autouse=True)
def _students(aws: Aws) -> None:
    place = aws.endpoints
    known = Known({ADA.name: [[0.1] * 128, [0.2] * 128], "Joe": [[0.3] * 128], "Li": [[0.4] * 128]})
    Store(aws.dynamodb, aws.s3, place.table, place.gallery_bucket).apply(Changes((ADA, JOE, KIM), known=known))


def test_everybody_is_listed_by_class_with_what_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["students"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "id", "major", "year", "class", "photos", "enrolled", "consent"]
    assert [line.split()[0] for line in lines[1:5]] == ["Kim", "Li", "Joe", "Ada"]
    assert lines[1].split() == ["Kim", "3", "Art", "Junior", "-", "0", "-", "-", "sample"]
    assert lines[2].split() == ["Li", "-", "-", "-", "-", "1", "-", "-"], "known, and without a record"
    assert "Ada [b]Lovelace[/b]" in lines[4]
    assert lines[4].split()[-4:] == ["1", "2", "2026-09-02", "2026-09-01"]
    assert lines[-1].split() == ["4", "students"]


def test_a_class_alone_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["students", "--class=U\u0308bung  1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["students"] == [
        {
            "name": ADA.name,
            "id": "1",
            "major": "Math",
            "year": "Senior",
            "class": "Übung 1",
            "photos": 2,
            "enrolled": "2026-09-02",
            "consent": "2026-09-01",
            "sample": False,
        }
    ]


def test_what_is_not_known_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["students", "--json"]) == 0
    kim = json.loads(capsys.readouterr().out)["students"][0]
    assert (kim["name"], kim["class"], kim["enrolled"], kim["consent"], kim["photos"]) == ("Kim", None, None, None, 0)


def test_a_class_that_nobody_is_in_is_told_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["students", "--class=history101"]) == 2
    assert "nobody is in the class 'history101'; there are 2 classes, as history-101" in capsys.readouterr().err


def test_a_table_that_is_away_is_one_sentence(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.s3.put_object(Bucket=aws.endpoints.gallery_bucket, Key="everyone.json", Body=b"{")
    assert cli.main(["students"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the known encodings s3://known-encodings/everyone.json are damaged")
    assert told.count("\n") == 1
