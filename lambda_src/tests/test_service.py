"""What the function does around the look at a video: order, records, what is told to whom, what is logged."""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from function_cloud import INPUT, OUTPUT, TABLE, Cloud, FakeContext, Logged, s3_body, sqs_event
from recognition import engine, pipeline, results, service
from recognition.engine import Box
from recognition.matching import Confidence, Decision, Match, Person, Sighting
from recognition.objects import ObjectChangedError
from recognition.pipeline import Analysis, Picture, TooLittleTimeError
from recognition.service import InvocationError

from classroom_contract.results import EndedBy

VIDEO = b"not looked at here"


def seen(*names: str, **changes: Any) -> Analysis:
    """An analysis in which these students were seen, one beside another, and one stranger."""
    people = [
        Person([Sighting(0, 1.0, Box(30 * index, 20, 30 * index + 20, 60), np.zeros(128))])
        for index in range(len(names) + 1)
    ]
    decisions = [
        Decision(Match(name, 0.3, 0.2, -0.1), Confidence.SURE, one.sightings[0], one)
        for name, one in zip(names, people, strict=False)
    ]
    picture = Picture(0, 1.0, np.full((360, 640, 3), 200, np.uint8), 1.0, tuple(one.boxes[0] for one in people))
    found = Analysis(
        decisions=decisions,
        people=people,
        gallery_version="g1",
        picture=picture,
        width=640,
        height=360,
        duration_seconds=3.0,
        looks=[1.0, 2.0],
        ended_by=EndedBy.SETTLED,
        faces=4,
        timings_ms={"decode": 5.0},
    )
    return replace(found, **changes)


class Look:
    """Stands in for the look at a video: says what is seen, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Analysis | Exception] = []
        self.answer: Analysis = seen("Ada")
        self.sources: list[Any] = []
        self.seconds_left: list[float] = []
        self.newest: Any = None
        self.during: Any = lambda: None

    def __call__(self, source: Any, gallery: Any, newest: Any, _config: Any, seconds_left: float) -> Analysis:
        self.sources.append(source)
        self.seconds_left.append(seconds_left)
        self.newest = newest
        self.during()
        answer = self.answers.pop(0) if self.answers else self.answer
        if isinstance(answer, Exception):
            raise answer
        return replace(answer, timings_ms=dict(answer.timings_ms), gallery_version=gallery.version)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    look = Look()
    monkeypatch.setattr(service, "analyse", look)
    monkeypatch.setattr(engine, "load", lambda: None)
    return look


def upload(cloud: Cloud, key: str = "a.mp4", body: bytes = VIDEO) -> str:
    """Puts a video; returns its ETag."""
    return cloud.clients.s3.put_object(Bucket=INPUT, Key=key, Body=body)["ETag"].strip('"')


def record(cloud: Cloud, name: str, **fields: str) -> None:
    cloud.clients.dynamodb.put_item(
        TableName=TABLE, Item={field: {"S": value} for field, value in {"name": name, **fields}.items()}
    )


def handle(cloud: Cloud, *keys: str, deliveries: int = 1, context: FakeContext | None = None) -> dict[str, Any]:
    """The function with one message about these videos."""
    records = [json.loads(s3_body(key))["Records"][0] for key in keys]
    event = sqs_event(json.dumps({"Records": records}))
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": str(deliveries)}
    return cloud.service.handle(event, context or FakeContext())


def lines(logged: Logged, name: str) -> list[dict[str, Any]]:
    return [line for line in logged() if line["message"] == name]


class Calls:
    """What a client is asked, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *targets: tuple[Any, str]) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []
        for client, name in targets:
            monkeypatch.setattr(client, name, self._spy(name, getattr(client, name)))

    def _spy(self, name: str, call: Any) -> Any:
        def spied(**arguments: Any) -> Any:
            self.made.append((name, arguments))
            return call(**arguments)

        return spied

    def of(self, name: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.made if called == name]


# --- what is written, and in which order ------------------------------------------------------------------------------


def test_the_csv_is_last_and_the_message_comes_after_it(
    bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = upload(bare, "week 1/a.mp4")
    record(bare, "Ada", id="7", major="mathematics", year="1833")
    calls = Calls(
        monkeypatch,
        (bare.clients.s3, "put_object"),
        (bare.clients.s3, "delete_object"),
        (bare.clients.sqs, "send_message"),
    )
    before = datetime.now(UTC)
    assert handle(bare, "week+1/a.mp4")["answers"] == [{"key": "week 1/a.mp4", "status": "recognized"}]
    picture, account, table, message = [arguments for _, arguments in calls.made]
    assert [arguments["Key"] for arguments in (picture, account, table)] == [
        f"week 1/a.{kind}" for kind in ("jpg", "json", "csv")
    ]
    assert {arguments["Bucket"] for arguments in (picture, account, table)} == {OUTPUT}
    assert [arguments["ContentType"] for arguments in (picture, account, table)] == [
        "image/jpeg",
        "application/json",
        "text/csv; charset=utf-8",
    ]
    assert {str(arguments["Metadata"]) for arguments in (picture, account, table)} == {"{}"}
    assert picture["Body"].startswith(b"\xff\xd8\xff")
    assert table["Body"] == b"name,major,year\r\nAda,mathematics,1833\r\n"
    told = json.loads(account["Body"])
    assert told["video"] == {
        "bucket": INPUT,
        "key": "week 1/a.mp4",
        "version_id": None,
        "etag": etag,
        "size_bytes": len(VIDEO),
    }
    assert (told["request_id"], told["function_version"]) == (FakeContext().aws_request_id, "7")
    assert told["students"][0]["id"] == "7"
    assert told["frame"] == "week 1/a.jpg"
    assert timedelta(0) <= datetime.fromisoformat(told["processed_at"]) - before + timedelta(milliseconds=1)
    assert datetime.fromisoformat(told["processed_at"]).utcoffset() == timedelta(0)
    assert list(told["timings_ms"]) == ["decode", "gallery", "look", "records", "total"]
    assert message["QueueUrl"] == bare.config.output_queue_url
    notified = json.loads(message["MessageBody"])
    assert notified["result"] == {"bucket": OUTPUT, **{kind: f"week 1/a.{kind}" for kind in ("csv", "json")}} | {
        "frame": "week 1/a.jpg"
    }
    assert notified["students"][0]["major"] == "mathematics"


@pytest.mark.parametrize("blur", [True, False])
def test_strangers_are_blurred_as_the_setting_says(
    bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch, blur: bool
) -> None:
    upload(bare)
    asked: list[bool] = []

    def draw(_: Analysis, *, blur_strangers: bool) -> bytes:
        asked.append(blur_strangers)
        return b"picture"

    monkeypatch.setattr(results, "draw", draw)
    service.Service(replace(bare.config, blur_unknown_faces=blur), bare.clients).handle(
        sqs_event(s3_body("a.mp4")), FakeContext()
    )
    assert asked == [blur]
    assert bare.read("a.jpg") == b"picture"


def test_the_picture_of_an_earlier_answer_is_removed(bare: Cloud, look: Look) -> None:
    upload(bare)
    handle(bare, "a.mp4")
    assert bare.result_keys() == {"a.csv", "a.json", "a.jpg"}
    look.answer = Analysis(reason="not a video")
    handle(bare, "a.mp4")
    assert bare.result_keys() == {"a.csv", "a.json"}


# --- records ----------------------------------------------------------------------------------------------------------


def test_records_come_in_the_order_of_the_decisions_whoever_has_none_with_the_name_alone(
    bare: Cloud, look: Look, logged: Logged
) -> None:
    upload(bare)
    record(bare, "Ada", major="mathematics", year="1833")
    record(bare, "Grace", major="physics", year="1928")
    look.answer = seen("Grace", "Emmy", "Ada", "Lise")
    handle(bare, "a.mp4")
    assert bare.read("a.csv").decode().splitlines()[1:] == [
        "Grace,physics,1928",
        "Emmy,,",
        "Ada,mathematics,1833",
        "Lise,,",
    ]
    (line,) = lines(logged, "records_missing")
    assert (line["level"], line["students"], line["table"]) == ("WARNING", 2, TABLE)


def test_a_large_class_is_asked_for_in_parts_and_what_is_left_over_again(
    bare: Cloud, look: Look, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bare)
    names = [f"Student {number:03}" for number in range(230)]
    for name in names:
        record(bare, name, major=f"of {name}")
    look.answer = seen(*names)
    ask = bare.clients.dynamodb.batch_get_item
    asked: list[int] = []

    def limited(RequestItems: Any) -> Any:  # noqa: N803 - DynamoDB's name
        ((table, request),) = RequestItems.items()
        asked.append(len(request["Keys"]))
        assert request["ConsistentRead"] is True, "somebody enrolled a moment ago"
        later = request["Keys"][60:]
        now: Any = {table: {**request, "Keys": request["Keys"][:60]}}
        answer: Any = ask(RequestItems=now)
        answer["UnprocessedKeys"] = {table: {**request, "Keys": later}} if later else {}
        return answer

    monkeypatch.setattr(bare.clients.dynamodb, "batch_get_item", limited)
    handle(bare, "a.mp4")
    assert bare.read("a.csv").decode().splitlines()[1:] == [f"{name},of {name}," for name in names]
    assert asked == [100, 40, 100, 40, 30]
    assert lines(logged, "records_missing") == []


def test_where_nobody_was_recognised_no_record_is_asked_for(
    bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bare)
    look.answer = seen()
    calls = Calls(monkeypatch, (bare.clients.dynamodb, "batch_get_item"))
    assert handle(bare, "a.mp4")["answers"][0]["status"] == "unknown"
    assert calls.made == []


# --- what is logged and measured --------------------------------------------------------------------------------------


def test_the_log_says_what_became_of_a_video(bare: Cloud, look: Look, logged: Logged) -> None:
    etag = upload(bare)
    record(bare, "Ada")
    look.answer = seen("Ada", faces=9)
    handle(bare, "a.mp4")
    (line,) = lines(logged, "video_answered")
    version = json.loads(bare.read("a.json"))["gallery_version"]
    expected = {
        "level": "INFO",
        "correlation_id": f"a.mp4@{etag}",
        "request_id": FakeContext().aws_request_id,
        "status": "recognized",
        "students": 1,
        "people": 2,
        "looks": 2,
        "ended_by": "settled",
        "size_bytes": len(VIDEO),
        "bytes_read": len(VIDEO),
        "requests": look.sources[0].requests,
        "gallery_version": version,
    }
    assert line == line | expected
    assert "reason" not in line
    assert list(line["timings_ms"]) == ["decode", "gallery", "look", "records", "total", "written"]


def test_times_are_milliseconds_of_what_they_name(
    bare: Cloud, look: Look, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bare)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def passes(seconds: float, call: Any) -> Any:
        def slow(*arguments: Any, **named: Any) -> Any:
            now[0] += seconds
            return call(*arguments, **named)

        return slow

    part: Any = bare.service
    monkeypatch.setattr(part._gallery, "current", passes(1, part._gallery.current))
    monkeypatch.setattr(service, "analyse", passes(2, look))
    monkeypatch.setattr(bare.clients.dynamodb, "batch_get_item", passes(4, bare.clients.dynamodb.batch_get_item))
    monkeypatch.setattr(bare.clients.sqs, "send_message", passes(8, bare.clients.sqs.send_message))
    handle(bare, "a.mp4")
    (line,) = lines(logged, "video_answered")
    assert line["timings_ms"] == {
        "decode": 5.0,
        "gallery": 1000,
        "look": 2000,
        "records": 4000,
        "total": 7000,
        "written": 15000,
    }


def test_the_reason_of_an_unreadable_video_is_logged(bare: Cloud, look: Look, logged: Logged) -> None:
    upload(bare)
    look.answer = Analysis(reason="not a video")
    handle(bare, "a.mp4")
    (line,) = lines(logged, "video_answered")
    assert (line["status"], line["reason"]) == ("unreadable", "not a video")


def test_what_cloudwatch_is_told(bare: Cloud, look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    upload(bare)
    look.answer = seen("Ada", timings_ms={"decode": 5.0}, faces=9, looks=[1.0, 2.0, 3.0])
    handle(bare, "a.mp4")
    (told,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line]
    units = {metric["Name"]: metric["Unit"] for metric in told["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    counted = {
        "Videos": ("Count", 1),
        "Looks": ("Count", 3),
        "FacesEncoded": ("Count", 9),
        "StudentsRecognized": ("Count", 1),
        "PeopleSeen": ("Count", 2),
        "VideoSize": ("Bytes", len(VIDEO)),
        "BytesRead": ("Bytes", len(VIDEO)),
        "DecodeTime": ("Milliseconds", 5.0),
    }
    assert {name: (units[name], told[name][0]) for name in counted} == counted
    stages = {"DecodeTime", "GalleryTime", "LookTime", "RecordsTime", "TotalTime", "WrittenTime"}
    assert units.keys() == counted.keys() | stages
    assert {units[stage] for stage in stages} == {"Milliseconds"}
    assert told["Status"] == "recognized"


# --- failures ---------------------------------------------------------------------------------------------------------


def test_what_fails_is_delivered_again_alone_and_the_log_says_why(bare: Cloud, look: Look, logged: Logged) -> None:
    upload(bare)
    upload(bare, "b.mp4")
    look.answers = [MemoryError("too large")]
    answer = bare.service.handle(sqs_event(s3_body("a.mp4"), "garbage", s3_body("b.mp4")), FakeContext())
    assert answer == {
        "batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}],
        "answers": [{"key": "b.mp4", "status": "recognized"}],
    }
    (line,) = lines(logged, "video_failed")
    assert (line["level"], line["reason"], line["kind"]) == ("ERROR", "too large", "MemoryError")
    assert "MemoryError" in line["exception"]
    assert line["correlation_id"].startswith("a.mp4@")
    (line,) = lines(logged, "message_failed")
    assert (line["level"], line["message_id"], line["deliveries"], line["size_characters"]) == ("ERROR", "m1", 1, 7)
    assert "JSON" in line["reason"]


def test_the_log_says_how_often_a_message_came_that_is_not_understood(bare: Cloud, logged: Logged) -> None:
    event = sqs_event("garbage")
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": "4"}
    bare.service.handle(event, FakeContext())
    assert [line["deliveries"] for line in lines(logged, "message_failed")] == [4]


def test_a_video_for_which_no_time_is_left_is_postponed(bare: Cloud, look: Look, logged: Logged) -> None:
    upload(bare)
    look.answers = [TooLittleTimeError("it may take 40 s, and 30 s are left")]
    assert handle(bare, "a.mp4") == {"batchItemFailures": [{"itemIdentifier": "m0"}], "answers": []}
    (line,) = lines(logged, "video_postponed")
    assert (line["level"], line["reason"]) == ("WARNING", "it may take 40 s, and 30 s are left")
    assert lines(logged, "video_failed") == []


def test_the_time_for_the_answer_is_kept_back(bare: Cloud, look: Look) -> None:
    upload(bare)
    handle(bare, "a.mp4", context=FakeContext(seconds=[60.0, 50.0]))
    assert look.seconds_left == [50.0 - bare.config.reserve_seconds]


def test_before_somebody_is_called_unknown_the_newest_encodings_are_asked_for(
    bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bare, "history/a.mp4")
    handle(bare, "history/a.mp4")
    asked = Calls(monkeypatch, (bare.clients.s3, "get_object"))
    look.newest()
    assert [arguments["Key"] for arguments in asked.of("get_object")] == ["history.json", "everyone.json"]


def test_a_bare_event_that_fails_or_says_nothing_is_raised(bare: Cloud, look: Look) -> None:
    upload(bare)
    event = json.loads(s3_body("a.mp4"))
    assert bare.service.handle(event, FakeContext()) == {
        "batchItemFailures": [],
        "answers": [{"key": "a.mp4", "status": "recognized"}],
    }
    look.answers = [OSError("the network")]
    with pytest.raises(InvocationError, match=r"^a video was not answered; the log says why\. The event has to"):
        bare.service.handle(event, FakeContext())
    with pytest.raises(InvocationError, match=r"^the event announces no video: the event lacks"):
        bare.service.handle({"Records": [{"s3": {}}]}, FakeContext())


def test_a_bare_event_of_several_videos_is_answered_from_the_beginning(bare: Cloud, look: Look) -> None:
    for key in ("a.mp4", "b.mp4"):
        upload(bare, key)
    event = {"Records": [json.loads(s3_body(key))["Records"][0] for key in ("a.mp4", "b.mp4")]}
    for _ in range(2):
        assert [one["key"] for one in bare.service.handle(event, FakeContext())["answers"]] == ["a.mp4", "b.mp4"]
    assert len(look.sources) == 4


def test_the_models_are_loaded_before_a_video_is_read(bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(bare)
    order: list[str] = []
    monkeypatch.setattr(engine, "load", lambda: order.append("models"))
    look.during = lambda: order.append("video")
    handle(bare, "a.mp4")
    assert order == ["models", "video"]


# --- several videos in a message --------------------------------------------------------------------------------------


def done_marks(cloud: Cloud, key: str) -> dict[str, str]:
    return cloud.clients.s3.head_object(Bucket=OUTPUT, Key=key)["Metadata"]


def test_a_message_of_several_videos_goes_on_where_its_last_delivery_stopped(
    bare: Cloud, look: Look, logged: Logged
) -> None:
    etags = {key: upload(bare, key) for key in ("a.mp4", "b.mp4", "c.mp4")}
    look.answers = [seen("Ada"), OSError("the network"), seen()]
    answer = handle(bare, *etags)
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert [one["key"] for one in answer["answers"]] == ["a.mp4", "c.mp4"], "one that fails stops no other"
    assert done_marks(bare, "a.csv") == {"done-etag": etags["a.mp4"], "done-status": "recognized"}
    assert bare.clients.s3.head_object(Bucket=OUTPUT, Key="a.csv")["ContentType"] == "text/csv; charset=utf-8"
    assert bare.read("a.csv") == b"name,major,year\r\nAda,,\r\n"
    answer = handle(bare, *etags, deliveries=2)
    assert answer == {
        "batchItemFailures": [],
        "answers": [
            {"key": "a.mp4", "status": "recognized"},
            {"key": "b.mp4", "status": "recognized"},
            {"key": "c.mp4", "status": "unknown"},
        ],
    }
    assert len(look.sources) == 4, "only b is looked at again"
    before = lines(logged, "video_answered_before")
    assert [(line["level"], line["correlation_id"].partition("@")[0]) for line in before] == [
        ("INFO", "a.mp4"),
        ("INFO", "c.mp4"),
    ]
    assert [message["video"]["key"] for message in bare.messages()] == ["a.mp4", "c.mp4", "b.mp4"]


def test_the_first_delivery_and_a_message_of_one_video_are_answered_whatever_is_there(bare: Cloud, look: Look) -> None:
    for key in ("a.mp4", "b.mp4"):
        upload(bare, key)
    handle(bare, "a.mp4", "b.mp4")
    handle(bare, "a.mp4", "b.mp4")
    assert len(look.sources) == 4
    handle(bare, "a.mp4", deliveries=2)
    assert len(look.sources) == 5
    assert done_marks(bare, "a.csv") == {}


def test_an_answer_to_an_earlier_upload_or_a_deleted_one_is_none(bare: Cloud, look: Look) -> None:
    for key in ("a.mp4", "b.mp4"):
        upload(bare, key)
    handle(bare, "a.mp4", "b.mp4")
    upload(bare, "a.mp4", b"another")
    bare.clients.s3.delete_object(Bucket=INPUT, Key="b.mp4")
    assert handle(bare, "a.mp4", "b.mp4", deliveries=2)["answers"] == [{"key": "a.mp4", "status": "recognized"}]
    assert len(look.sources) == 3


def test_a_bucket_that_does_not_say_whether_there_is_an_answer_fails_the_message(
    bare: Cloud, look: Look, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.mp4", "b.mp4"):
        upload(bare, key)
    read = bare.clients.s3.get_object

    def denied(**arguments: Any) -> Any:
        if arguments["Bucket"] == OUTPUT and arguments["Key"].endswith(".csv"):
            assert arguments["Range"] == "bytes=0-0"
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
        return read(**arguments)

    monkeypatch.setattr(bare.clients.s3, "get_object", denied)
    answer = handle(bare, "a.mp4", "b.mp4", deliveries=2)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}], "answers": []}
    assert [line["kind"] for line in lines(logged, "video_failed")] == ["ClientError"] * 2


# --- uploads under the same key ---------------------------------------------------------------------------------------


def versioned(cloud: Cloud) -> None:
    cloud.clients.s3.put_bucket_versioning(Bucket=INPUT, VersioningConfiguration={"Status": "Enabled"})


def handle_version(cloud: Cloud, key: str, version: str) -> dict[str, Any]:
    event = json.loads(s3_body(key))
    event["Records"][0]["s3"]["object"]["versionId"] = version
    return cloud.service.handle(sqs_event(json.dumps(event)), FakeContext())


def put_version(cloud: Cloud, key: str, body: bytes) -> str:
    return cloud.clients.s3.put_object(Bucket=INPUT, Key=key, Body=body)["VersionId"]


def test_an_older_version_is_left_to_the_newer_ones_event(bare: Cloud, look: Look, logged: Logged) -> None:
    versioned(bare)
    older, newer = (put_version(bare, "a.mp4", body) for body in (b"one", b"two"))
    assert handle_version(bare, "a.mp4", older) == {"batchItemFailures": [], "answers": []}
    assert look.sources == []
    (line,) = lines(logged, "video_superseded")
    assert (line["level"], line["reason"]) == ("INFO", "a newer upload of this key has its own event")
    assert handle_version(bare, "a.mp4", newer)["answers"] == [{"key": "a.mp4", "status": "recognized"}]
    assert [(source.version_id, source.size_bytes) for source in look.sources] == [(newer, 3)]
    (line,) = lines(logged, "video_answered")
    told = json.loads(bare.read("a.json"))["video"]
    assert (told["version_id"], told["etag"]) == (newer, look.sources[0].etag)
    assert line["correlation_id"] == f"a.mp4@{look.sources[0].etag}/{newer}", "as in the poller's log"


def test_a_deleted_video_is_answered_by_nobody(bare: Cloud, look: Look, logged: Logged) -> None:
    versioned(bare)
    version = put_version(bare, "a.mp4", b"one")
    bare.clients.s3.delete_object(Bucket=INPUT, Key="a.mp4")
    assert handle_version(bare, "a.mp4", version) == {"batchItemFailures": [], "answers": []}
    assert handle(bare, "never.mp4") == {"batchItemFailures": [], "answers": []}
    assert look.sources == []
    gone = lines(logged, "video_gone")
    assert {(line["level"], line["reason"]) for line in gone} == {
        ("WARNING", "the object was deleted before it was read")
    }
    assert [line["correlation_id"].partition("@")[0] for line in gone] == ["a.mp4", "never.mp4"]
    assert bare.result_keys() == set()


def test_a_video_that_is_deleted_while_it_is_looked_at_keeps_its_answer(bare: Cloud, look: Look) -> None:
    versioned(bare)
    version = put_version(bare, "a.mp4", b"one")
    look.during = lambda: bare.clients.s3.delete_object(Bucket=INPUT, Key="a.mp4")
    assert handle_version(bare, "a.mp4", version)["answers"] == [{"key": "a.mp4", "status": "recognized"}]
    assert len(look.sources) == 1


@pytest.mark.parametrize("with_versions", [True, False])
def test_an_upload_that_comes_meanwhile_has_the_last_word(bare: Cloud, look: Look, with_versions: bool) -> None:
    if with_versions:
        versioned(bare)
    bodies = [b"two", b"three"]

    def during() -> None:
        if bodies:
            upload(bare, "a.mp4", bodies.pop(0))

    if with_versions:
        version = put_version(bare, "a.mp4", b"one")
        look.during = during
        answer = handle_version(bare, "a.mp4", version)
    else:
        upload(bare, "a.mp4", b"one")
        look.during = during
        answer = handle(bare, "a.mp4")
    assert answer["answers"] == [{"key": "a.mp4", "status": "recognized"}]
    assert [source.size_bytes for source in look.sources] == [3, 3, 5]
    assert json.loads(bare.read("a.json"))["video"]["size_bytes"] == 5


def test_uploads_without_end_under_one_key_are_left_to_a_later_delivery(
    bare: Cloud, look: Look, logged: Logged
) -> None:
    upload(bare, "a.mp4", b"0")
    look.during = lambda: upload(bare, "a.mp4", str(len(look.sources)).encode())
    assert handle(bare, "a.mp4")["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert len(look.sources) == 3
    (line,) = lines(logged, "video_postponed")
    assert line["reason"] == "other videos are uploaded under this key faster than they are answered"


def test_a_video_that_changes_while_it_is_read_is_read_again(bare: Cloud, look: Look, logged: Logged) -> None:
    upload(bare)
    look.answers = [ObjectChangedError("the ETag was 1 and is 2"), seen("Ada")]
    assert handle(bare, "a.mp4")["answers"] == [{"key": "a.mp4", "status": "recognized"}]
    assert len(look.sources) == 2
    (line,) = lines(logged, "video_changed")
    assert (line["level"], line["reason"]) == ("INFO", "the ETag was 1 and is 2")


def test_a_small_video_whose_size_the_event_tells_is_read_in_one_request(bare: Cloud, look: Look) -> None:
    upload(bare, "a.mp4", b"x" * 2_000_000)
    event = json.loads(s3_body("a.mp4"))
    event["Records"][0]["s3"]["object"]["size"] = 2_000_000
    bare.service.handle(sqs_event(json.dumps(event)), FakeContext())
    assert look.sources[0].requests == 1


def test_a_bucket_that_refuses_to_say_what_is_in_it_fails_the_message(
    bare: Cloud, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bare)

    def denied(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "403"}}, "HeadObject")

    monkeypatch.setattr(bare.clients.s3, "head_object", denied)
    assert handle(bare, "a.mp4")["batchItemFailures"] == [{"itemIdentifier": "m0"}]


def test_the_level_of_the_log_is_the_setting(bare: Cloud, look: Look, logged: Logged) -> None:
    upload(bare)
    quiet = service.Service(replace(bare.config, log_level="ERROR"), bare.clients)
    quiet.handle(sqs_event(s3_body("a.mp4")), FakeContext())
    assert logged() == []


def test_the_looks_of_the_pipeline_are_what_the_service_expects() -> None:
    """The stand-in for the look takes what the real one takes."""
    real = list(inspect.signature(pipeline.analyse).parameters)
    assert real == ["source", "gallery", "newest", "config", "seconds_left"]
