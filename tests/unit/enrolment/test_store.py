"""The bucket of known encodings: a file for each class, nobody is lost, and the move from the earlier place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from classroom_contract.gallery import GalleryFile
from classroom_ops.enrolment import moving
from classroom_ops.enrolment.enrol import Outcome, Sources
from classroom_ops.enrolment.errors import ConflictError, EnrolmentError
from classroom_ops.enrolment.store import EVERYONE_KEY, SAMPLES_KEY, Record, Store, repeated

from .conftest import BUCKET, RESULTS, TABLE, Place


def listed(place: Place, bucket: str = BUCKET) -> set[str]:
    return {one["Key"] for one in place.s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def names_in(place: Place, key: str) -> set[str]:
    body = place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return {name for name, _ in GalleryFile.parse(body).students}


def in_classes(place: Place, label: str, classes: dict[str, str], first_id: int = 1, grey: int = 10) -> Outcome:
    """Enrol students by name and class."""
    rows = [f"{name},{number},a,b,{of}" for number, (name, of) in enumerate(classes.items(), start=first_id)]
    greys = {f"{name}.png": grey + 20 * number for number, name in enumerate(classes)}
    return place.enrol(Sources(place.roster(label, rows, classes=True), place.photos(label, greys), image="i"))


def test_each_class_has_a_file_of_its_students_and_everyones_holds_all(place: Place) -> None:
    outcome = in_classes(place, "list", {"Ada": "history-101", "Joe": "history-101", "Li": "Übung 2", "Kim": ""})
    assert outcome.classes == ["history-101.json", "Übung 2.json"]
    assert listed(place) == {EVERYONE_KEY, "history-101.json", "Übung 2.json"}
    assert names_in(place, EVERYONE_KEY) == {"Ada", "Joe", "Li", "Kim"}
    assert names_in(place, "history-101.json") == {"Ada", "Joe"}
    assert place.records()["Li"].class_name == "Übung 2"
    again = in_classes(place, "list", {"Ada": "history-101", "Joe": "history-101", "Li": "Übung 2", "Kim": ""})
    assert not again.changes
    assert not again.classes


def test_a_student_who_changes_the_class_leaves_the_other_and_an_empty_class_goes(place: Place) -> None:
    in_classes(place, "list", {"Ada": "one", "Joe": "one", "Kim": "two"})
    moved = place.enrol(Sources(place.roster("next", ["Ada,1,a,b,two", "Joe,2,a,b,"], classes=True), image="i"))
    assert moved.classes == ["one.json", "two.json"]
    assert listed(place) == {EVERYONE_KEY, "two.json"}
    assert names_in(place, "two.json") == {"Ada", "Kim"}


def test_a_list_without_the_column_leaves_classes_and_consent_as_they_are(place: Place) -> None:
    in_classes(place, "list", {"Ada": "one"})
    item = place.records()["Ada"].item() | {"consent": {"S": "2026-09-01"}}
    place.dynamodb.put_item(TableName=TABLE, Item=item)
    place.enrol(Sources(place.roster("next", ["Ada,1,Physics,b"]), image="i"))
    ada = place.records()["Ada"]
    assert (ada.major, ada.class_name, ada.consent) == ("Physics", "one", "2026-09-01")
    assert ada.enrolled == item["enrolled"]["S"]


def test_a_name_that_can_be_no_class_is_refused_with_its_line(place: Place) -> None:
    with pytest.raises(EnrolmentError) as refused:
        in_classes(place, "list", {"Ada": "a/b", "Joe": "everyone", "Kim": "fine"})
    assert refused.value.problems[:2] == [
        "list.csv, line 2: its class is 'a/b': a class is named like a folder, and '/' cannot be in its name",
        "list.csv, line 3: its class is 'everyone': 'everyone' stands for all students and cannot be a class",
    ]


def test_who_is_removed_leaves_the_classs_file(place: Place) -> None:
    in_classes(place, "list", {"Ada": "one", "Joe": "one", "Kim": "two"})
    place.store.forget({"Joe", "Kim"})
    assert listed(place) == {EVERYONE_KEY, "one.json"}
    assert names_in(place, "one.json") == {"Ada"}


@pytest.mark.parametrize("damage", ["removed", "damaged", "another's"])
def test_a_file_of_a_class_that_is_wrong_is_seen_and_made_again(place: Place, damage: str) -> None:
    in_classes(place, "list", {"Ada": "one", "Joe": "two"})
    if damage == "removed":
        place.s3.delete_object(Bucket=BUCKET, Key="one.json")
    else:
        place.s3.put_object(Bucket=BUCKET, Key="one.json" if damage == "damaged" else "three.json", Body=b"{")
    assert place.store.wrong_classes() == ["three.json" if damage == "another's" else "one.json"]
    outcome = in_classes(place, "list", {"Ada": "one", "Joe": "two"})
    assert (bool(outcome.changes), len(outcome.classes)) == (False, 1)
    assert place.store.wrong_classes() == []
    assert listed(place) == {EVERYONE_KEY, "one.json", "two.json"}


def test_etags_that_are_no_md5_are_no_difference(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    in_classes(place, "list", {"Ada": "one"})
    monkeypatch.setattr(place.store, "_listed", lambda: {EVERYONE_KEY: "x", "one.json": '"of-a-key-of-kms"'})
    assert place.store.wrong_classes() == []


# --- a death between two writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("survived", range(7))
def test_whatever_was_written_before_a_death_the_same_again_completes_it(place: Place, survived: int) -> None:
    in_classes(place, "before", {"Old": "one"}, first_id=9)
    left = [survived]

    def die(**_: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    events = [(place.s3, "before-call.s3.PutObject"), (place.dynamodb, "before-call.dynamodb.PutItem")]
    for client, event in events:
        client.meta.events.register(event, die)
    new = {"Ada": "one", "Joe": "two", "Kim": "three"}
    try:
        in_classes(place, "list", new, grey=90)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("it did not die")
    for client, event in events:
        client.meta.events.unregister(event, die)
    in_classes(place, "list", new, grey=90)
    assert set(place.known()) == set(place.records()) == {"Old", *new}
    assert names_in(place, "one.json") == {"Old", "Ada"}
    assert names_in(place, "three.json") == {"Kim"}
    assert place.store.wrong_classes() == []


# --- two at the same time -------------------------------------------------------------------------------------------


def once(client: Any, event: str, do: Callable[[], object]) -> None:
    """Do something just before the next call of this kind."""

    def first(**_: Any) -> None:
        client.meta.events.unregister(event, first)
        do()

    client.meta.events.register(event, first)


def test_nobody_is_lost_when_another_enrolment_is_faster(place: Place) -> None:
    in_classes(place, "before", {"Old": "one"}, first_id=9)
    once(place.s3, "before-call.s3.PutObject", lambda: in_classes(place, "other", {"Joe": "one"}, 5, grey=200))
    with pytest.raises(ConflictError, match="run the same command again"):
        in_classes(place, "list", {"Ada": "one"}, grey=90)
    repeated(lambda: in_classes(place, "list", {"Ada": "one"}, grey=90))
    assert names_in(place, EVERYONE_KEY) == names_in(place, "one.json") == {"Old", "Joe", "Ada"}


def test_two_who_write_one_classs_file_at_once_both_come_into_it(place: Place) -> None:
    in_classes(place, "before", {"Old": "one"}, first_id=9)
    calls: list[str] = []

    def other_comes(params: dict[str, Any], **_: Any) -> None:
        calls.append(params["url_path"])
        if params["url_path"].endswith("/one.json") and len(calls) == 2:
            in_classes(place, "other", {"Joe": "one"}, 5, grey=200)

    place.s3.meta.events.register("before-call.s3.PutObject", other_comes)
    in_classes(place, "list", {"Ada": "one"}, grey=90)
    assert calls[:3] == ["/everyone.json", "/one.json", "/everyone.json"]
    assert names_in(place, EVERYONE_KEY) == names_in(place, "one.json") == {"Old", "Joe", "Ada"}


def test_a_class_that_somebody_comes_into_while_it_goes_stays(place: Place) -> None:
    in_classes(place, "before", {"Old": "one"}, first_id=9)
    once(place.s3, "before-call.s3.DeleteObject", lambda: in_classes(place, "other", {"Joe": "one"}, 5, grey=200))
    place.store.forget({"Old"})
    assert names_in(place, "one.json") == {"Joe"}


def test_work_is_repeated_until_nobody_is_faster_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    tries: list[int] = []

    def work() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConflictError
        return len(tries)

    assert repeated(work) == 3

    def never() -> None:
        raise ConflictError

    with pytest.raises(ConflictError):
        repeated(never)


# --- from where they were before ------------------------------------------------------------------------------------


def before(place: Place, greys: dict[str, int], *, sample: bool = True) -> None:
    """Records, and known encodings in the bucket of results as they were written until then."""
    place.simply("before", greys, sample=sample, first_id=1001)
    for key, former in ((EVERYONE_KEY, moving.KNOWN_KEY), (SAMPLES_KEY, moving.SAMPLES_KEY)):
        if key in listed(place):
            place.s3.copy_object(Bucket=RESULTS, Key=former, CopySource={"Bucket": BUCKET, "Key": key})
            place.s3.delete_object(Bucket=BUCKET, Key=key)
    place.s3.put_object(Bucket=RESULTS, Key="lesson.csv", Body=b"")


def test_what_was_in_the_bucket_of_results_comes_once_and_leaves_it(place: Place) -> None:
    place.s3.put_bucket_versioning(Bucket=RESULTS, VersioningConfiguration={"Status": "Enabled"})
    before(place, {"Ada": 50, "Joe": 100})
    assert moving.take_over(place.store, RESULTS) == ["Ada", "Joe"]
    assert place.known() == {"Ada": 0.5, "Joe": 1.0}
    assert place.store.samples().enrolled == {"Ada", "Joe"}
    assert listed(place, RESULTS) == {moving.KNOWN_KEY, moving.SAMPLES_KEY, "lesson.csv"}, "a function may read it yet"
    assert moving.take_over(place.store, RESULTS) is None
    again = place.simply("before", {"Ada": 50, "Joe": 100}, sample=True, first_id=1001)
    assert not again.changes, "the sources came too"
    assert moving.remove(place.store, place.s3, RESULTS)
    versions = place.s3.list_object_versions(Bucket=RESULTS)
    assert {one["Key"] for one in (*versions["Versions"], *versions.get("DeleteMarkers", []))} == {"lesson.csv"}
    assert not moving.remove(place.store, place.s3, RESULTS)
    assert moving.take_over(place.store, RESULTS) is None


def test_who_was_removed_in_the_new_place_does_not_come_back_and_who_was_enrolled_in_the_old_one_does(
    place: Place,
) -> None:
    before(place, {"Ada": 50, "Joe": 100, "Late": 150}, sample=False)
    place.s3.put_object(Bucket=BUCKET, Key=EVERYONE_KEY, Body=place.store.known().file.render().encode())
    place.simply("new", {"Joe": 200}, first_id=1002)
    place.dynamodb.delete_item(TableName=TABLE, Key={"name": {"S": "Ada"}})
    with pytest.raises(EnrolmentError, match="1 students are only in"):
        moving.remove(place.store, place.s3, RESULTS)
    assert moving.take_over(place.store, RESULTS) == ["Late"]
    assert place.known() == {"Joe": 2.0, "Late": 1.5}
    assert moving.remove(place.store, place.s3, RESULTS)


def test_an_environment_that_had_none_has_nothing_to_move(place: Place) -> None:
    assert moving.take_over(place.store, RESULTS) is None
    assert not moving.remove(place.store, place.s3, RESULTS)
    assert listed(place) == set()


def test_an_empty_file_stays_one(place: Place) -> None:
    before(place, {"Ada": 50})
    place.s3.put_object(Bucket=RESULTS, Key=moving.KNOWN_KEY, Body=place.store.known().file.render().encode())
    assert moving.take_over(place.store, RESULTS) == []
    assert EVERYONE_KEY in listed(place)


def test_what_is_damaged_stays_where_it_is(place: Place) -> None:
    place.s3.put_object(Bucket=RESULTS, Key=moving.KNOWN_KEY, Body=b"{")
    for move in (lambda: moving.take_over(place.store, RESULTS), lambda: moving.remove(place.store, place.s3, RESULTS)):
        with pytest.raises(EnrolmentError, match=r"results/\.gallery/known-encodings\.json are damaged"):
            move()
    assert listed(place, RESULTS) == {moving.KNOWN_KEY}


# --- what is not written --------------------------------------------------------------------------------------------


def test_emptying_the_bucket_of_results_loses_nobody(place: Place) -> None:
    in_classes(place, "list", {"Ada": "one"})
    place.s3.put_object(Bucket=RESULTS, Key="lesson.csv", Body=b"")
    for key in listed(place, RESULTS):
        place.s3.delete_object(Bucket=RESULTS, Key=key)
    assert names_in(place, EVERYONE_KEY) == names_in(place, "one.json") == {"Ada"}


def test_a_refusal_of_s3_is_no_conflict(place: Place) -> None:
    gone = Store(place.dynamodb, place.s3, TABLE, "nowhere")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        gone.apply(place_changes(place))


def place_changes(place: Place) -> Any:
    from classroom_ops.enrolment.store import Changes, Known

    return Changes(known=Known({"Ada": [[0.5] * 128]}))


def test_a_record_is_read_as_it_was_written() -> None:
    record = Record("Ada", "1", "", "", sample=True, class_name="one", consent="2026-09-01", enrolled="2026-09-02")
    assert Record.read(json.loads(json.dumps(record.item()))) == record
    assert Record.read(record.item()).enrolled == "2026-09-02"
    assert Record("Ada", "1", "", "").item().keys() == {"name", "id", "major", "year"}
