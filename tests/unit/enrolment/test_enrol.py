"""Enrolment: what is written for which sources, what is refused, what stays, who gives way."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from classroom_ops.enrolment import __main__ as command
from classroom_ops.enrolment import report
from classroom_ops.enrolment.enrol import Sources, enrol
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.store import EVERYONE_KEY, Record, wrong_between

from .conftest import BUCKET, TABLE, Greys, Place


def problems_of(place: Place, sources: Sources) -> list[str]:
    """What is told about sources that are refused; nothing was written."""
    before = (place.records(), place.store.known())
    with pytest.raises(EnrolmentError) as refused:
        place.enrol(sources)
    assert (place.records(), place.store.known()) == before
    return refused.value.problems


def test_students_are_enrolled_once(place: Place) -> None:
    outcome = place.simply("first", {"Ada": 50, "Joe": 100})
    assert (outcome.records, outcome.encodings, outcome.students) == (["Ada", "Joe"], ["Ada", "Joe"], 2)
    assert place.known() == {"Ada": 0.5, "Joe": 1.0}
    assert place.records()["Ada"] == Record("Ada", "1", "History", "Senior")
    again = place.simply("first", {"Ada": 50, "Joe": 100})
    assert not again.changes
    assert isinstance(place.computing, Greys)
    assert len(place.computing.jobs) == 1


def test_others_stay_and_a_later_enrolment_wins_over_an_earlier_one_that_is_repeated(place: Place) -> None:
    place.simply("first", {"Ada": 50})
    place.simply("second", {"Joe": 100}, first_id=2)
    newer = place.roster("newer", ["Ada,1,Physics,Senior"])
    place.enrol(Sources(newer, place.photos("newer", {"Ada.png": 150}), image="image:1"))
    assert not place.simply("first", {"Ada": 50}).changes
    assert place.known() == {"Ada": 1.5, "Joe": 1.0}
    assert place.records()["Ada"].major == "Physics"


def test_what_is_missing_is_filled_in(place: Place) -> None:
    place.simply("first", {"Ada": 50, "Joe": 100})
    place.dynamodb.delete_item(TableName=TABLE, Key={"name": {"S": "Joe"}})
    assert place.simply("first", {"Ada": 50, "Joe": 100}).records == ["Joe"]
    place.s3.delete_object(Bucket=BUCKET, Key=EVERYONE_KEY)
    assert place.simply("first", {"Ada": 50, "Joe": 100}).encodings == ["Ada", "Joe"]
    assert place.known() == {"Ada": 0.5, "Joe": 1.0}


@pytest.mark.parametrize("change", ["photo", "name of a photo", "list", "image"])
def test_any_change_of_the_sources_is_noticed(place: Place, change: str) -> None:
    place.simply("first", {"Ada": 50})
    photos, roster, image = place.directory / "first", place.directory / "first.csv", "image:1"
    if change == "photo":
        place.photos("first", {"Ada.png": 60})
    elif change == "name of a photo":
        (photos / "Ada.png").rename(photos / "ada-2.png")
    elif change == "list":
        place.roster("first", ["Ada,1,Physics,Senior"])
    else:
        image = "image:2"
    assert place.enrol(Sources(roster, photos, image=image)).changes
    assert isinstance(place.computing, Greys)
    assert len(place.computing.jobs) == 2


def test_photos_alone_are_of_students_who_have_a_record(place: Place) -> None:
    place.simply("first", {"Ada Lovelace": 50, "Joe": 100})
    outcome = place.enrol(Sources(photos=place.photos("more", {"Lovelace, Ada.webp": 60}), image="image:1"))
    assert (outcome.encodings, outcome.records) == (["Ada Lovelace"], [])
    assert place.known() == {"Ada Lovelace": 0.6, "Joe": 1.0}
    assert not place.enrol(Sources(photos=place.directory / "more", image="image:1")).changes


def test_a_list_alone_changes_records(place: Place) -> None:
    place.simply("first", {"Ada": 50})
    assert place.enrol(Sources(place.roster("next", ["Ada,1,Physics,Senior"]), image="i")).records == ["Ada"]
    assert place.records()["Ada"].major == "Physics"
    refused = problems_of(place, Sources(place.roster("more", ["Ada,1,Physics,Senior", "Joe,2,a,b"]), image="i"))
    assert refused == ["Joe: has no photo: name a directory of them, too: PHOTOS=directory"]


def test_nothing_is_nothing_to_enrol(place: Place) -> None:
    assert problems_of(place, Sources(image="i"))[0].startswith("nothing is named: make enroll ROSTER=")
    assert "nobody has a record yet" in problems_of(place, Sources(photos=place.photos("p", {"Ada.png": 1})))[0]


def test_everything_that_is_wrong_is_told_at_once(place: Place) -> None:
    place.simply("before", {"Grace": 20, "Alan": 30}, first_id=77)
    photos = place.photos(
        "now", {"Ada.png": 50, "two.png": 255, "Maria Garcia Lopez.png": 60, "Kurt.png": 20, "._Ada.png": 1}
    )
    (photos / "Emmy.jpg").write_bytes(b"no picture")
    rows = ["Ada,1,a,b", "two,2,a,b", "Maria Garcia,3,a,b", "Kurt,4,a,b", "Emmy,5,a,b", "Grace,9,a,b", "Alonzo,78,a,b"]
    told = problems_of(place, Sources(place.roster("now", rows), photos, image="i"))
    assert [one.split(": ")[0] for one in told] == [
        "now.csv",
        "now.csv",
        "Maria Garcia Lopez.png",
        "Emmy.jpg",
        "Kurt.png",
        "two.png",
        "Maria Garcia",
        "Alonzo",
    ]
    text = "\n".join(told)
    assert "Grace has the id 9, and the Grace who is enrolled has 77 (History, Senior)" in text
    assert "Alonzo has the id 78, and so has Alan, who is enrolled" in text
    assert 'the nearest is Maria Garcia (id 3): if it shows Maria Garcia, rename it to "Maria Garcia.png"' in text
    assert "Maria Garcia: is in now.csv and has no photo" in text
    assert "Emmy: is in" not in text, "what is wrong with her photo is told already"


def test_a_list_with_mistakes_is_told_with_the_photos_that_cannot_be_read(place: Place) -> None:
    photos = place.photos("now", {"Ada.png": 50})
    (photos / "Joe.jpg").write_bytes(b"")
    told = problems_of(place, Sources(place.roster("now", ["Ada,1,Art, History,b"]), photos, image="i"))
    assert [one[:40] for one in told] == [
        "now.csv, line 2: has 5 fields and the he",
        "Joe.jpg: is empty: copy it again; of a p",
    ]


def test_prune_removes_who_is_not_in_the_list(place: Place) -> None:
    place.simply("first", {"Ada": 50, "Joe": 100})
    photos = place.photos("next", {"Joe.png": 120})
    sources = Sources(place.roster("next", ["Joe,2,a,b"]), photos, image="i", prune=True)
    assert place.enrol(sources).removed == ["Ada"]
    assert (place.known(), set(place.records())) == ({"Joe": 1.2}, {"Joe"})
    assert not place.enrol(sources).changes


# --- samples --------------------------------------------------------------------------------------------------------


def test_samples_are_marked(place: Place) -> None:
    place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001)
    assert place.records()["Barack Obama"].sample
    assert not place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001).changes


def test_samples_enrolled_before_they_were_marked_get_their_mark(place: Place) -> None:
    place.simply("samples", {"Barack Obama": 50}, first_id=1001)
    place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001)
    assert place.records()["Barack Obama"].sample


def test_samples_give_way_to_real_students_with_the_same_face_or_name_and_stay_away(place: Place) -> None:
    samples = {"Barack Obama": 50, "Joe Biden": 100, "Ada": 150}
    place.simply("samples", samples, sample=True, first_id=1001)
    outcome = place.simply("real", {"president_obama": 50, "Joe Biden": 120}, first_id=1)
    assert outcome.gave_way == ["Barack Obama"]
    assert place.known() == {"president_obama": 0.5, "Joe Biden": 1.2, "Ada": 1.5}
    assert {name: one.sample for name, one in place.records().items()} == {
        "president_obama": False,
        "Joe Biden": False,
        "Ada": True,
    }
    assert place.store.samples().replaced == {"Barack Obama": "president_obama"}
    again = place.simply("samples", samples, sample=True, first_id=1001)
    assert not again.changes
    assert again.stay_away == ["Barack Obama", "Joe Biden"]
    # Not even where photos or code of the samples have changed since.
    changed = place.simply("samples", {**samples, "Ada": 160}, sample=True, first_id=1001)
    assert (changed.encodings, changed.records) == (["Ada"], [])


def test_a_real_student_may_have_a_samples_id(place: Place) -> None:
    place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001)
    assert place.simply("real", {"Ada": 70}, first_id=1001).records == ["Ada"]
    assert place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001).stay_away == ["Barack Obama"]


def test_samples_come_into_a_class_that_is_there_without_taking_anybodys_place(place: Place) -> None:
    place.simply("real", {"president_obama": 50})
    outcome = place.simply("samples", {"Barack Obama": 50, "Joe Biden": 100}, sample=True, first_id=1001)
    assert (outcome.encodings, outcome.gave_way) == (["Joe Biden"], ["Barack Obama"])
    assert place.known() == {"president_obama": 0.5, "Joe Biden": 1.0}
    assert set(place.records()) == {"president_obama", "Joe Biden"}
    assert not place.simply("samples", {"Barack Obama": 50, "Joe Biden": 100}, sample=True, first_id=1001).changes


def test_a_sample_that_was_removed_stays_away(place: Place) -> None:
    samples = {"Barack Obama": 50, "Joe Biden": 100}
    place.simply("samples", samples, sample=True, first_id=1001)
    place.store.forget({"Joe Biden"})
    again = place.simply("samples", samples, sample=True, first_id=1001)
    assert (again.stay_away, place.known()) == (["Joe Biden"], {"Barack Obama": 0.5})
    place.simply("samples", samples, sample=True, first_id=1001)
    assert place.known() == {"Barack Obama": 0.5}


def test_samples_come_back_where_everything_was_lost(place: Place) -> None:
    place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001)
    for key in [each["Key"] for each in place.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]:
        place.s3.delete_object(Bucket=BUCKET, Key=key)
    place.simply("samples", {"Barack Obama": 50}, sample=True, first_id=1001)
    assert place.known() == {"Barack Obama": 0.5}


# --- the command ----------------------------------------------------------------------------------------------------

NAMES = [
    "Conan O'Brien",
    "-rf; echo planted",
    '"quoted" $HOME ${HOME} `id` $(id) \\ %s * ~',
    "{{ 6 * 7 }} {% if true %}no{% endif %}",
    "Jürgen Müller 🎓 #1",
    "=HYPERLINK(1)",
    "李小龙",
    "Zoë  d\u2019Arc,  Jr.",
]
ENGINE = """#!/usr/bin/env python3
# Stands for the container engine and the image: everybody has a face of their own.
import csv, json, sys
assert sys.argv[sys.argv.index("--network") + 1] == "none", "photos must not reach the network"
shared, target, mode = sys.argv[sys.argv.index("--volume") + 1].rsplit(":", 2)
assert (target, mode) == ("/enroll", "ro")
names = [row["name"] for row in csv.DictReader(open(f"{shared}/students.csv", newline=""))]
owners = json.load(open(f"{shared}/owners.json"))
sys.stderr.write("progress: 1 of 1\\n")
if "refuse" in str(owners):
    sys.exit("enroll: " + str(owners["00000.jpg"]["label"]) + ": 2 faces were found")
students = [{"name": name, "encodings": [[float(number)] * 128]} for number, name in enumerate(names)]
print(json.dumps({"gallery": {"students": students}, "skipped": ["bush"]}))
"""


def run(
    place: Place, monkeypatch: pytest.MonkeyPatch, *arguments: str, command_name: str = "enrol"
) -> dict[str, object]:
    """Run the command against the place; its report."""
    monkeypatch.setattr(command, "_client", lambda service: {"s3": place.s3, "dynamodb": place.dynamodb}[service])
    engine = place.directory / "engine"
    engine.write_text(ENGINE)
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
    report_file = place.directory / "report.json"
    common = [command_name, "--table", TABLE, "--bucket", BUCKET, "--report", str(report_file)]
    more = ["--image", "image:1", "--engine", str(engine)] if command_name == "enrol" else []
    assert command.main([*common, *more, *arguments]) == 0
    document = json.loads(report_file.read_text())
    assert isinstance(document, dict)
    return document


def test_names_are_data(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    roster = place.directory / "my 'list' $(id); ü.json"
    roster.write_text(
        json.dumps([{"name": name, "id": number, "major": "", "year": ""} for number, name in enumerate(NAMES)])
    )
    photos = place.photos('my "photos"; $HOME 🎓', {f"{number}.png": number * 20 for number in range(len(NAMES))})
    done = run(place, monkeypatch, f"--roster={roster}", f"--photos={photos}")
    assert done["problems"] == []
    stored = {name.strip() for name in [*NAMES[:-1], "Zoë d\u2019Arc, Jr."]}
    assert set(place.records()) == set(place.known()) == stored
    assert not run(place, monkeypatch, f"--roster={roster}", f"--photos={photos}")["changed"]
    assert run(place, monkeypatch, f"--roster={roster}", command_name="verify")["problems"] == []
    assert run(place, monkeypatch, f"--roster={roster}", command_name="remove")["changed"]
    assert (place.records(), place.known()) == ({}, {})
    assert "Contents" not in place.s3.list_objects_v2(Bucket=BUCKET)


def test_a_dry_run_shows_what_would_change_and_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (f"--roster={place.roster('now', ['Ada,1,a,b'])}", f"--photos={place.photos('now', {'Ada.png': 5})}")
    done = run(place, monkeypatch, *arguments, "--dry-run")
    assert not done["changed"]
    assert "would be enrolled          1: Ada" in str(done["text"])
    assert "record would be written    1: Ada" in str(done["text"])
    assert (place.records(), place.known()) == ({}, {})
    assert run(place, monkeypatch, *arguments)["changed"]
    assert set(place.known()) == {"Ada"}


def test_people_of_the_pickle_without_a_record_are_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.directory / "encoding").write_bytes(b"pickle")
    roster = place.roster("now", ["Ada,1,a,b"])
    done = run(place, monkeypatch, f"--roster={roster}", f"--encodings={place.directory / 'encoding'}")
    assert (done["problems"], done["skipped"]) == ([], ["bush"])
    assert "skipped, has no record     1: bush" in str(done["text"])


def test_what_the_image_refuses_is_told_by_the_photos_own_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = place.photos("now", {"Ada/refuse me.tiff": 5})
    done = run(place, monkeypatch, f"--roster={place.roster('now', ['Ada,1,a,b'])}", f"--photos={photos}")
    assert done["problems"] == ["Ada/refuse me.tiff: 2 faces were found"]
    assert (place.records(), place.known()) == ({}, {})


def test_a_place_that_is_away_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.s3.delete_bucket(Bucket=BUCKET)
    roster, photos = place.roster("now", ["Ada,1,a,b"]), place.photos("now", {"Ada.png": 5})
    done = run(place, monkeypatch, f"--roster={roster}", f"--photos={photos}")
    assert "table or bucket cannot be used" in str(done["problems"])


def test_many_photos_show_how_far_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"student {number}" for number in range(60)]
    roster = place.roster("now", [f"{name},{number + 100},a,b" for number, name in enumerate(names)])
    photos = place.photos("now", {f"{name}.png": number for number, name in enumerate(names)})
    assert run(place, monkeypatch, f"--roster={roster}", f"--photos={photos}")["problems"] == []
    phases = [line for line in capsys.readouterr().out.splitlines() if line.startswith("phase: ")]
    assert "phase: photo 60 of 60" in phases
    assert "phase: faces of photo 1 of 1" in phases


def test_a_damaged_object_is_not_overwritten(place: Place) -> None:
    place.s3.put_object(Bucket=BUCKET, Key=EVERYONE_KEY, Body=b'{"students": [{"name": "Ada", "encodings": [[1]]}]}')
    with pytest.raises(EnrolmentError, match=r"are damaged .* restore an earlier version"):
        place.simply("first", {"Joe": 50})


def test_verify_names_what_is_wrong(place: Place) -> None:
    place.simply("samples", {"Ada": 50, "Joe": 100, "Grace": 150}, sample=True)
    place.store.forget({"Grace"})
    place.dynamodb.delete_item(TableName=TABLE, Key={"name": {"S": "Joe"}})
    from classroom_ops.enrolment.rosters import read_roster

    students = read_roster(place.directory / "samples.csv").students
    excused = place.store.samples().enrolled
    assert wrong_between(place.records(), place.store.known(), students, excused) == ["Joe has no record in the table"]
    assert wrong_between(place.records(), place.store.known(), []) == ["Joe has known encodings but no record"]


def test_many_names_are_shortened_for_the_reader(place: Place) -> None:
    outcome = place.simply("first", {f"student {number}": number for number in range(20)})
    assert any(line.endswith("and 8 more") for line in report.lines(outcome, dry_run=False))


def test_nothing_is_written_before_apply(place: Place, tmp_path: Path) -> None:
    sources = Sources(place.roster("now", ["Ada,1,a,b"]), place.photos("now", {"Ada.png": 5}), image="i")
    assert enrol(place.store, sources, place.computing).changes
    assert place.records() == {}


def test_a_directory_that_is_not_there_is_told_with_the_rest(place: Place) -> None:
    told = problems_of(place, Sources(place.roster("now", ["Ada,1,a,b"]), place.directory / "nowhere", image="i"))
    assert [one.rpartition("/")[2] for one in told] == [
        "nowhere: no such file or directory: name a directory of photos",
        "Ada: has no photo: name a directory of them, too: PHOTOS=directory",
    ]


def test_encodings_that_are_not_there_are_named(place: Place) -> None:
    told = problems_of(place, Sources(place.roster("now", ["Ada,1,a,b"]), None, place.directory / "none", image="i"))
    assert told[0].endswith("none: No such file or directory")


def with_consent(place: Place, label: str, *dates: str) -> Path:
    """A list with a column of dates, one a student."""
    path = place.directory / f"{label}.csv"
    rows = [f"Student {number},{number},a,b,{given}" for number, given in enumerate(dates, start=1)]
    path.write_text("\n".join(["name,id,major,year,Date of consent", *rows]) + "\n")
    return path


def test_the_date_of_a_consent_is_kept_and_may_be_wanted(place: Place) -> None:
    photos = place.photos("photos", {"Student 1.png": 50, "Student 2.png": 100})
    listed = with_consent(place, "first", "2026-09-01", "")
    told = problems_of(place, Sources(listed, photos, image="i", consent_required=True))
    assert told == [
        "first.csv: Student 2 has no date of a consent: add it in a column consent, as 2026-09-30, or take the student "
        "out of the list (docs/privacy.md)"
    ]
    place.enrol(Sources(listed, photos, image="i"))
    assert {name: one.consent for name, one in place.records().items()} == {"Student 1": "2026-09-01", "Student 2": ""}
    # A list that says nothing of it takes nothing away.
    silent = place.roster("silent", ["Student 1,1,a,c"])
    place.enrol(Sources(silent, image="i", consent_required=True))
    assert (place.records()["Student 1"].consent, place.records()["Student 1"].year) == ("2026-09-01", "c")
    # A photo of the one does not ask about the other.
    place.enrol(Sources(photos=place.photos("more", {"Student 1.png": 60}), image="i", consent_required=True))
    told = problems_of(
        place, Sources(photos=place.photos("again", {"Student 2.png": 110}), image="i", consent_required=True)
    )
    assert len(told) == 1
    assert told[0].startswith("the table of records: Student 2 has no date of a consent")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("yes", "write the date on which it was given, as 2026-09-30"),
        ("30.09.2026", "write the date"),
        ("2026-9-1", "write the date"),
        ("20260901", "write the date"),
        ("2026-02-30", "write the date"),
        ("2999-01-01", "lies in the future"),
        ("1001-01-01", "lies too far back"),
    ],
)
def test_what_is_no_date_of_a_consent_is_refused_with_its_line(place: Place, given: str, said: str) -> None:
    told = problems_of(place, Sources(with_consent(place, "now", "2026-09-01", given), image="i"))
    assert len(told) == 1
    assert told[0].startswith(f"now.csv, line 3: its consent is '{given}': {said}")
