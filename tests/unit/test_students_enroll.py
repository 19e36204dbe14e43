"""Enrolment: what is written for which source, what is refused, what stays."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ansible_collections.smart_classroom.platform.plugins.modules import students_enroll as module

BUCKET, TABLE, KEY = "output", "student_table", ".gallery/known-encodings.json"
ENGINE = """#!/usr/bin/env python3
import csv, json, sys
from pathlib import Path
mounts = dict(
    reversed(value.removesuffix(":ro").split(":"))
    for flag, value in zip(sys.argv, sys.argv[1:]) if flag == "--volume"
)
Path(__file__).with_name("calls").open("a").write(json.dumps(sys.argv) + "\\n")
photos = sorted(Path(mounts["/enroll/photos"]).iterdir())
refused = [photo.name for photo in photos if "two" in photo.name]
if refused:
    sys.exit("".join(f"enroll: {name}: 2 faces were found\\n" for name in refused).rstrip())
rows = list(csv.DictReader(open(mounts["/enroll/students.csv"])))
students = [
    {"name": row["name"], "encodings": [[float(len(photo.read_bytes()))] * 128 for photo in photos
     if photo.stem == row["name"]]} for row in rows
]
print(json.dumps({"gallery": {"students": students}}))
"""


class Place:
    """A table, a bucket and a directory of photos."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        keys: Any = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        self.s3: Any = boto3.client("s3", **keys)
        self.dynamodb: Any = boto3.client("dynamodb", **keys)
        self.students = module.Students(self.dynamodb, self.s3, TABLE, BUCKET, KEY)
        self.engine = directory / "engine"
        self.engine.write_text(ENGINE)
        self.engine.chmod(self.engine.stat().st_mode | stat.S_IXUSR)

    def make(self) -> None:
        self.s3.create_bucket(Bucket=BUCKET)
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def enroll(self, label: str, students: dict[str, str], majors: str = "History", **changes: Any) -> module.Plan:
        """Load students, each with the content of their photo; ``label`` names the directory."""
        photos = self.directory / label
        photos.mkdir(exist_ok=True)
        for name, content in students.items():
            (photos / f"{name}.jpg").write_text(content)
        roster = self.directory / f"{label}.csv"
        rows = [f"{name},{number},{majors},Senior" for number, name in enumerate(students)]
        roster.write_text("\n".join(["name,id,major,year", *rows]) + "\n")
        parameters = {
            "photos_dir": str(photos),
            "roster": str(roster),
            "encoding_pickle": None,
            "image": "function:1",
            "engine": str(self.engine),
            "prune": False,
            "timeout_seconds": 20,
            **changes,
        }
        plan = module.plan_present(self.students, parameters, check_mode=False)
        self.students.apply(plan)
        return plan

    def calls(self) -> list[list[str]]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def known(self) -> dict[str, float]:
        return {name: encodings[0][0] for name, encodings in self.students.gallery().students.items()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with mock_aws():
        place = Place(tmp_path)
        place.make()
        yield place


def nothing(plan: module.Plan) -> bool:
    return not (plan.write or plan.remove or plan.gallery)


def test_students_are_loaded_once(place: Place) -> None:
    plan = place.enroll("first", {"Ada": "a", "Joe": "bb"})
    assert [record["name"] for record in plan.write] == ["Ada", "Joe"]
    assert place.known() == {"Ada": 1.0, "Joe": 2.0}
    assert nothing(place.enroll("first", {"Ada": "a", "Joe": "bb"}))
    assert len(place.calls()) == 1
    record = place.dynamodb.get_item(TableName=TABLE, Key={"name": {"S": "Ada"}})["Item"]
    assert record == {"name": {"S": "Ada"}, "id": {"S": "0"}, "major": {"S": "History"}, "year": {"S": "Senior"}}


def test_the_container_has_no_network_and_cannot_write(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    (call,) = place.calls()
    assert call[call.index("--network") + 1] == "none"
    volumes = [value for flag, value in itertools.pairwise(call) if flag == "--volume"]
    assert volumes
    assert all(volume.endswith(":ro") for volume in volumes)


def test_others_are_kept(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    place.enroll("second", {"Joe": "bb"})
    assert place.known() == {"Ada": 1.0, "Joe": 2.0}
    assert set(place.students.records(None)) == {"Ada", "Joe"}


def test_a_later_enrolment_wins_over_a_source_that_is_loaded_again(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    place.enroll("second", {"Ada": "new photo"}, majors="Physics")
    assert nothing(place.enroll("first", {"Ada": "a"}))
    assert place.known() == {"Ada": 9.0}
    assert place.students.records(["Ada"])["Ada"]["major"] == "Physics"


def test_what_is_missing_is_filled_in(place: Place) -> None:
    place.enroll("first", {"Ada": "a", "Joe": "bb"})
    place.dynamodb.delete_item(TableName=TABLE, Key={"name": {"S": "Joe"}})
    assert [record["name"] for record in place.enroll("first", {"Ada": "a", "Joe": "bb"}).write] == ["Joe"]
    place.s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert place.enroll("first", {"Ada": "a", "Joe": "bb"}).gallery is not None
    assert place.known() == {"Ada": 1.0, "Joe": 2.0}


def test_prune_removes_the_others(place: Place) -> None:
    place.enroll("first", {"Ada": "a", "Joe": "bb"})
    plan = place.enroll("second", {"Joe": "ccc"}, prune=True)
    assert plan.remove == ("Ada",)
    assert place.known() == {"Joe": 3.0}
    assert set(place.students.records(None)) == {"Joe"}
    assert nothing(place.enroll("second", {"Joe": "ccc"}, prune=True))


def test_a_refused_photo_changes_nothing(place: Place) -> None:
    with pytest.raises(module.StudentsError, match=r"^two\.jpg: 2 faces were found$"):
        place.enroll("first", {"Ada": "a", "two": "b"})
    assert place.known() == {}
    assert place.students.records(None) == {}


@pytest.mark.parametrize("change", ["photo", "roster", "image"])
def test_any_change_of_the_source_is_noticed(place: Place, change: str) -> None:
    place.enroll("first", {"Ada": "a"})
    if change == "photo":
        place.enroll("first", {"Ada": "changed"})
    elif change == "roster":
        place.enroll("first", {"Ada": "a"}, majors="Physics")
    else:
        place.enroll("first", {"Ada": "a"}, image="function:2")
    assert len(place.calls()) == 2


def test_removal_takes_the_roster_only(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    place.enroll("second", {"Joe": "bb"})
    roster = module.read_roster(place.directory / "first.csv")
    place.students.apply(module.plan_absent(place.students, roster))
    assert place.known() == {"Joe": 2.0}
    assert set(place.students.records(None)) == {"Joe"}
    assert nothing(module.plan_absent(place.students, roster))
    place.students.apply(module.plan_absent(place.students, module.read_roster(place.directory / "second.csv")))
    assert place.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_removal_without_table_and_bucket_is_nothing_to_do(tmp_path: Path) -> None:
    with mock_aws():
        place = Place(tmp_path)
        (tmp_path / "students.csv").write_text("name,id,major,year\nAda,1,a,b\n")
        assert nothing(module.plan_absent(place.students, module.read_roster(tmp_path / "students.csv")))


def test_the_container_gets_the_gallery_so_far(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    place.enroll("second", {"Joe": "bb"})
    first, second = place.calls()
    assert "--known" not in first
    assert second[second.index("--known") + 1] == "/enroll/known.json"
    (volume,) = [each for each in second if each.endswith(":/enroll/known.json:ro")]
    assert not Path(volume.split(":")[0]).exists(), "the copy of the gallery was left behind"


def result(place: Place, stem: str, *names: str) -> None:
    """Writes what the function writes about a video."""
    account = json.dumps({"schema": 1, "students": [{"name": name} for name in names]}).encode()
    for kind, body in ((".csv", b"name,major,year"), (".json", account), (".jpg", b"picture")):
        place.s3.put_object(Bucket=BUCKET, Key=stem + kind, Body=body)


def keys(place: Place) -> set[str]:
    return {item["Key"] for item in place.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def test_a_student_is_removed_with_record_encodings_and_results(place: Place) -> None:
    place.enroll("first", {"Ada": "a", "Joe": "bb"})
    result(place, "klasse/ada", "Ada")
    result(place, "both", "Ada", "Joe")
    result(place, "joe", "Joe")
    place.s3.put_object(Bucket=BUCKET, Key="other.json", Body=b"[1]")
    plan = module.plan_removed(place.students, ["Ada"], BUCKET)
    assert plan.remove == ("Ada",)
    assert plan.results == ("both.csv", "both.json", "both.jpg", "klasse/ada.csv", "klasse/ada.json", "klasse/ada.jpg")
    place.students.apply(plan, BUCKET)
    assert place.known() == {"Joe": 2.0}
    assert set(place.students.records(None)) == {"Joe"}
    assert keys(place) == {KEY, "joe.csv", "joe.json", "joe.jpg", "other.json"}
    again = module.plan_removed(place.students, ["Ada"], BUCKET)
    assert nothing(again)
    assert not again.results


def test_results_stay_unless_their_removal_is_asked_for(place: Place) -> None:
    place.enroll("first", {"Ada": "a"})
    result(place, "ada", "Ada")
    place.students.apply(module.plan_removed(place.students, ["Ada"], None))
    assert keys(place) == {KEY, "ada.csv", "ada.json", "ada.jpg"}
    # The gallery stays, empty: else one in the function's image would know her again.
    assert place.known() == {}


def test_verify_names_what_is_wrong(place: Place) -> None:
    place.enroll("first", {"Ada": "a", "Joe": "bb"})
    roster = module.read_roster(place.directory / "first.csv")
    assert module.verify(roster, place.students.records(None), place.students.gallery()) == []
    assert module.verify(roster, {}, module.Gallery({"Joe": [[0.0] * 128]})) == [
        "Ada has no record in the table",
        "Joe has no record in the table",
        "Ada is not in the gallery",
        "Joe is in the gallery but has no record",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the columns name, id, major, year"),
        ("name,major\nAda,History\n", "lacks the columns id, year"),
        ("name,id,major,year\n", "is empty"),
        ("name,id,major,year\n ,1,a,b\n", "a line has no name"),
        ("name,id,major,year\nAda,1,a,b\nAda ,2,a,b\n", "Ada stands there twice"),
    ],
)
def test_a_roster_that_cannot_be_used_is_explained(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "students.csv"
    path.write_text(text)
    with pytest.raises(module.StudentsError, match=reason):
        module.read_roster(path)


def test_a_damaged_gallery_is_not_overwritten(place: Place) -> None:
    place.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b'{"students": [{"name": "Ada", "encodings": [[1]]}]}')
    with pytest.raises(module.StudentsError, match=r"is damaged .* delete the object and enroll again"):
        place.enroll("first", {"Joe": "a"})


def test_many_records_are_read_in_parts(place: Place) -> None:
    names = [f"student {number}" for number in range(230)]
    for name in names:
        place.dynamodb.put_item(TableName=TABLE, Item={"name": {"S": name}, "year": {"N": "3"}})
    records = place.students.records(names)
    assert len(records) == 230
    assert records["student 7"] == {"name": "student 7", "year": "3"}


def test_the_version_is_the_functions_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    np = pytest.importorskip("numpy")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "lambda_src"))
    matching = pytest.importorskip("recognition.matching")
    gallery = module.Gallery({"Élodie": [[0.125] * 128], "Ada": [[0.5] * 128, [-0.25] * 128]})
    theirs = matching.Gallery.from_json(gallery.body())
    assert theirs.version == matching.Gallery(theirs.students).version == gallery.version
    assert [name for name, _ in theirs.students] == ["Ada", "Élodie"]
    assert np.allclose(theirs.students[0][1][1], -0.25)
