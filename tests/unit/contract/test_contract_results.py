"""The account and the message: what is written is read back, and whatever else comes is refused with its reason."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom_contract import ContractError
from classroom_contract.keys import result_keys
from classroom_contract.notification import Notification
from classroom_contract.results import Confidence, EndedBy, Looks, Result, Status, Video, time_text
from classroom_contract.tables import Row, parse_csv

from .examples import ETAG, FACE, WHEN, result, student


def notification(**changes: Any) -> Notification:
    one = result(**changes)
    return Notification.about(one, "output", result_keys(one.video.key))


def test_an_account_is_read_as_it_was_written() -> None:
    assert Result.parse(result().render()) == result()


def test_an_account_of_nobody_is_read_as_it_was_written() -> None:
    empty = Result(Video("b", "k.mov", ETAG), Status.UNREADABLE, WHEN, "r", reason="not a video")
    assert Result.parse(empty.render()) == empty


def test_the_account_is_schema_2_as_documented() -> None:
    document = json.loads(result().render())
    assert document["schema"] == 2
    assert document["video"] == {
        "bucket": "input",
        "key": "week 1/lesson.mp4",
        "version_id": "v1",
        "etag": ETAG,
        "size_bytes": 1000,
    }
    assert document["students"] == [
        {
            "name": "Ada Lovelace",
            "id": "7",
            "major": "mathematics",
            "year": "1833",
            "confidence": "probable",
            "distance": 0.3123,
            "margin": 0.2,
            "seen": [[1.0, 4.5], [9.0, 9.0]],
            "box": {"left": 10, "top": 20, "right": 110, "bottom": 140},
            "frame_seconds": 4.5,
        }
    ]
    assert document["unknown_people"] == [
        {
            "seen": [[1.0, 4.5], [9.0, 9.0]],
            "box": {"left": 10, "top": 20, "right": 110, "bottom": 140},
            "frame_seconds": 4.5,
        }
    ]
    assert document["looks"] == {"count": 12, "of_seconds": 60.0, "ended_by": "settled", "smallest_face_px": 80}
    assert document["frame"] == "week 1/lesson.jpg"
    assert document["processed_at"] == "2026-03-02T09:30:15.250Z"


def test_a_message_is_read_as_it_was_written() -> None:
    assert Notification.parse(notification().render()) == notification()


def test_the_message_is_schema_2_as_documented() -> None:
    assert json.loads(notification().render()) == {
        "schema": 2,
        "video": {"bucket": "input", "key": "week 1/lesson.mp4", "version_id": "v1", "etag": ETAG},
        "status": "recognized",
        "students": [
            {
                "name": "Ada Lovelace",
                "major": "mathematics",
                "year": "1833",
                "confidence": "probable",
                "distance": 0.3123,
            }
        ],
        "result": {
            "bucket": "output",
            "csv": "week 1/lesson.csv",
            "json": "week 1/lesson.json",
            "frame": "week 1/lesson.jpg",
        },
        "request_id": "request-1",
        "processed_at": "2026-03-02T09:30:15.250Z",
    }


def test_figures_are_rounded_to_what_they_are_worth() -> None:
    one = student(distance=0.312345, margin=0.123456)
    shown = json.loads(result(students=(one,), duration_seconds=1.23456, frame_seconds=0.00049).render())
    assert (shown["students"][0]["distance"], shown["students"][0]["margin"]) == (0.3123, 0.1235)
    assert (shown["duration_seconds"], shown["frame_seconds"]) == (1.235, 0.0)
    message = json.loads(notification(students=(one,)).render())
    assert message["students"][0]["distance"] == 0.3123


def test_the_messages_table_has_a_row_for_each_student() -> None:
    two = (student(), student("Grace", major="", year=""))
    assert parse_csv(notification(students=two).csv()) == (Row("Ada Lovelace", "mathematics", "1833"), Row("Grace"))


def test_without_a_picture_the_message_names_none() -> None:
    assert notification(frame=None).result.frame is None


SCHEMA_1_MESSAGE: dict[str, Any] = {
    "schema": 1,
    "video": {"bucket": "b", "key": "a.mp4", "version_id": None, "etag": f'"{ETAG}"'},
    "status": "recognized",
    "students": [
        {"name": "Ada", "major": None, "year": 3, "distance": 0.31},
        {"name": "Bo", "major": "x", "year": 2.5},
    ],
    "result": {"bucket": "o", "csv": "a.csv", "json": "a.json", "frame": "a.jpg"},
    "request_id": "r",
    "processed_at": "2026-03-02T09:30:15.250Z",
}


def test_a_message_of_schema_1_is_still_read() -> None:
    old = Notification.parse(json.dumps(SCHEMA_1_MESSAGE))
    assert old.video == Video("b", "a.mp4", ETAG)
    assert [(one.name, one.major, one.year) for one in old.students] == [("Ada", "", "3"), ("Bo", "x", "2.5")]
    assert {one.confidence for one in old.students} == {Confidence.SURE}
    assert [one.distance for one in old.students] == [0.31, None]
    assert old.processed_at == WHEN


def test_an_account_of_schema_1_is_still_read() -> None:
    face = {"left": 1, "top": 2, "right": 3, "bottom": 4}
    old = Result.parse(
        json.dumps(
            {
                "schema": 1,
                "video": SCHEMA_1_MESSAGE["video"] | {"size_bytes": 5},
                "status": "recognized",
                "reason": None,
                "students": [
                    {
                        "name": "Ada",
                        "id": "1",
                        "major": "m",
                        "year": "y",
                        "distance": 0.3,
                        "margin": 0.2,
                        "frame_seconds": 1.5,
                        "box": face,
                    }
                ],
                "people_seen": 1,
                "frames_looked_at": 2,
                "frame_seconds": 1.5,
                "width": 640,
                "height": 360,
                "duration_seconds": 3.0,
                "timings_ms": {"total": 1.5},
                "model": "m",
                "gallery_version": "g",
                "function_version": "$LATEST",
                "request_id": "r",
                "processed_at": "2026-03-02T09:30:15.250Z",
            }
        )
    )
    (ada,) = old.students
    assert (ada.name, ada.confidence, ada.appearance.seen, ada.appearance.frame_seconds) == ("Ada", "sure", (), 1.5)
    assert (old.frame, old.looks, old.unknown_people, old.size_bytes) == (None, None, (), 5)


Parse = Callable[[str], object]
DOCUMENTS: dict[str, tuple[Callable[[], str], Parse]] = {
    "account": (lambda: result().render(), Result.parse),
    "message": (lambda: notification().render(), Notification.parse),
    "old message": (lambda: json.dumps(SCHEMA_1_MESSAGE), Notification.parse),
}


def places(document: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the document holds a value, the containers included."""
    if path:
        yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else [])
    )
    for name, value in items:
        yield from places(value, (*path, name))


ODD: tuple[Any, ...] = (
    None,
    True,
    7,
    1.5,
    10**400,
    "",
    "x",
    "\ud800",
    [],
    {},
    [1],
    ["\ud800"],
    {"a": "\ud800"},
    -1,
    "nan",
)
LITERALS = ("NaN", "-Infinity", "1e999")


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_wrong_value_in_any_field_is_taken_whole_or_refused_and_nothing_else(kind: str) -> None:
    """Whatever is taken can be written again, so that nothing fails later."""
    render, parse = DOCUMENTS[kind]
    good = json.loads(render())
    accepted = refused = 0
    for path in places(good):
        for odd in (*ODD, *LITERALS):
            changed = copy.deepcopy(good)
            holder = changed
            for name in path[:-1]:
                holder = holder[name]
            holder[path[-1]] = odd
            text = json.dumps(changed)
            if odd in LITERALS:
                text = text.replace(f'"{odd}"', str(odd))
            try:
                taken: Any = parse(text)
            except ContractError:
                refused += 1
                continue
            taken.render().encode()
            if isinstance(taken, Notification):
                taken.csv().encode()
            accepted += 1
    assert refused > accepted > 10


@pytest.mark.parametrize(("kind", "field"), [(k, f) for k in DOCUMENTS for f in json.loads(DOCUMENTS[k][0]())])
def test_a_list_instead_of_any_field_is_refused_by_its_name(kind: str, field: str) -> None:
    render, parse = DOCUMENTS[kind]
    with pytest.raises(ContractError, match=field):
        parse(json.dumps(json.loads(render()) | {field: [None]}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 3}, "schema is 3, known are 1, 2"),
        ({"schema": True}, "schema is True"),
        ({"schema": None}, "schema is no number"),
        ({"video": None}, "video is missing or no object"),
        ({"video": {"bucket": "b", "key": "a.mp4"}}, "etag is missing"),
        ({"video": {"bucket": "b", "key": "", "etag": "e"}}, "key is missing"),
        ({"video": {"bucket": "b", "key": "\ud800", "etag": "e"}}, "key is not valid Unicode"),
        ({"video": {"bucket": "b", "key": "k", "etag": "e", "version_id": 4}}, "version_id is not a text"),
        ({"status": "fine"}, "status is 'fine', none of recognized, unknown, no_face, unreadable"),
        ({"status": ["recognized"]}, "status is no text, none of"),
        ({"students": {}}, "students is not a list"),
        ({"students": ["Ada"]}, "students holds something that is no object"),
        ({"students": [{"name": 1}]}, "name is not a text"),
        ({"students": [{"name": "Ada", "major": "\ud800"}]}, "major is not valid Unicode"),
        ({"students": [{"name": "Ada", "year": [1]}]}, "year is not a text"),
        ({"students": [{"name": "Ada", "year": True}]}, "year is not a text"),
        ({"processed_at": "yesterday"}, "processed_at is not a time"),
        ({"processed_at": "2026-01-01T00:00:00"}, "processed_at has no time zone"),
        ({"request_id": None}, "request_id is missing"),
        ({"result": {}}, "bucket is missing"),
    ],
)
@pytest.mark.parametrize("schema", [1, 2])
def test_the_reason_of_a_refusal_is_said(changes: dict[str, Any], reason: str, schema: int) -> None:
    good = json.loads(notification().render()) if schema == 2 else SCHEMA_1_MESSAGE
    with pytest.raises(ContractError, match=reason):
        Notification.parse(json.dumps(good | changes))


def test_numbers_in_a_record_are_refused_in_schema_2() -> None:
    message = json.loads(notification().render())
    message["students"][0]["year"] = 3
    with pytest.raises(ContractError, match="year is not a text"):
        Notification.parse(json.dumps(message))


@pytest.mark.parametrize("seen", [None, 3, [1, 2], [[1]], [[1, 2, 3]], [["a", "b"]], [[1, None]]])
def test_intervals_are_pairs_of_numbers(seen: object) -> None:
    account = json.loads(result().render())
    account["students"][0]["seen"] = seen
    with pytest.raises(ContractError, match=r"seen|from|to"):
        Result.parse(json.dumps(account))


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '"text"', "[" * 100_000, b"\xff", '{"schema": NaN}'])
def test_what_is_no_json_object_is_refused(body: str | bytes) -> None:
    for parse in (Notification.parse, Result.parse):
        with pytest.raises(ContractError, match="not"):
            parse(body)


def test_no_refusal_names_a_student() -> None:
    account = json.loads(result().render())
    for path in places(account["students"][0]):
        changed = copy.deepcopy(account)
        changed["students"][0][path[0]] = {"Ada": ["Lovelace"]}
        with pytest.raises(ContractError) as caught:
            Result.parse(json.dumps(changed))
        assert "Lovelace" not in str(caught.value)


def test_members_that_a_later_version_adds_are_no_obstacle() -> None:
    assert Result.parse(json.dumps(json.loads(result().render()) | {"later": 1})) == result()


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_to_the_millisecond(moment: datetime) -> None:
    one = Result.parse(result(processed_at=moment).render())
    assert abs(one.processed_at - moment) < timedelta(milliseconds=1)


def test_a_time_keeps_its_zone_and_never_loses_it() -> None:
    assert time_text(WHEN.astimezone(timezone(timedelta(hours=2)))) == "2026-03-02T11:30:15.250+02:00"
    with pytest.raises(ValueError, match="without a zone"):
        time_text(WHEN.replace(tzinfo=None))


def test_a_video_is_named_with_its_version_where_there_are_versions() -> None:
    assert Video("b", "k", "e").correlation == "k@e"
    assert Video("b", "k", "e", "null").correlation == "k@e"
    assert Video("b", "k", "e", "v").correlation == "k@e/v"


def test_a_search_that_ran_out_of_time_says_so() -> None:
    looks = Looks(3, 60.0, EndedBy.TIME, 80)
    assert Result.parse(result(looks=looks).render()).looks == looks
    assert Result.parse(result(unknown_people=(FACE, FACE)).render()).unknown_people == (FACE, FACE)
