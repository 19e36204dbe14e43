"""Videos through the whole function: what is answered, written and told, and what is delivered again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import cv2
import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from function_cloud import (
    EVENTS,
    INPUT,
    KNOWN,
    LAMBDA_SRC,
    MEDIA,
    OUTPUT,
    Cloud,
    FakeContext,
    Logged,
    s3_body,
    sqs_event,
)
from recognition import engine
from recognition.config import ConfigError
from recognition.matching import Gallery
from recognition.results import Student
from recognition.service import InvocationError, Service

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key, result_keys
from classroom_contract.notification import Notification
from classroom_contract.results import Result
from classroom_contract.tables import parse_csv
from classroom_ops.verify import cases

ANSWERS: dict[str, dict[str, Any]] = json.loads((MEDIA / "answers.json").read_text())
RECORDS = {row["name"]: row for row in csv.DictReader((MEDIA / "students.csv").open(encoding="utf-8"))}


@pytest.mark.parametrize("clip", sorted(ANSWERS))
def test_each_sample_clip_gets_its_answer(cloud: Cloud, clip: str) -> None:
    expected = ANSWERS[clip]
    cloud.upload(clip)
    answer = cloud.service.handle(sqs_event(s3_body(clip)), FakeContext())
    assert answer == {"batchItemFailures": [], "answers": [{"key": clip, "status": expected["status"]}]}

    stem = clip.removesuffix(".mp4")
    rows = list(csv.DictReader(io.StringIO(cloud.read(f"{stem}.csv").decode(), newline="")))
    assert sorted(row["name"] for row in rows) == sorted(expected["students"])
    for row in rows:
        assert row == {field: RECORDS[row["name"]][field] for field in ("name", "major", "year")}

    account = json.loads(cloud.read(f"{stem}.json"))
    assert account["status"] == expected["status"]
    assert [student["name"] for student in account["students"]] == [row["name"] for row in rows]
    assert all(student["confidence"] in ("sure", "probable") and student["seen"] for student in account["students"])
    assert (account["reason"] is not None) == (expected["status"] == "unreadable")

    (message,) = cloud.messages()
    assert message["schema"] == 2
    parse = Notification.parse(json.dumps(message))
    assert [student.name for student in parse.students] == [row["name"] for row in rows]
    assert Result.parse(cloud.read(f"{stem}.json")).students == () or expected["students"]
    assert message["status"] == expected["status"]
    assert message["video"]["bucket"] == INPUT
    assert message["video"]["key"] == clip
    assert message["video"]["etag"] == cloud.clients.s3.head_object(Bucket=INPUT, Key=clip)["ETag"].strip('"')
    assert sorted(student["name"] for student in message["students"]) == sorted(expected["students"])
    assert message["result"]["csv"] == f"{stem}.csv"
    assert message["request_id"] == FakeContext().aws_request_id
    readable = expected["status"] != "unreadable"
    assert message["result"]["frame"] == (f"{stem}.jpg" if readable else None)
    assert (f"{stem}.jpg" in cloud.result_keys()) == readable
    if readable:
        assert cv2.imdecode(np.frombuffer(cloud.read(f"{stem}.jpg"), np.uint8), cv2.IMREAD_COLOR) is not None


def test_the_reason_of_an_unreadable_file_says_what_it_is(cloud: Cloud) -> None:
    words = {"empty.mp4": "empty", "text.mp4": "not a video", "truncated.mp4": "truncated", "audio-only.mp4": "sound"}
    for clip, word in words.items():
        cloud.upload(clip)
        cloud.service.handle(sqs_event(s3_body(clip)), FakeContext())
        assert word in json.loads(cloud.read(clip.removesuffix(".mp4") + ".json"))["reason"]


def test_csv_is_rfc_4180(cloud: Cloud) -> None:
    item = {"name": "Joe Biden", "major": 'History, "modern"', "year": "Junior"}
    cloud.clients.dynamodb.put_item(TableName=cloud.config.table_name, Item={k: {"S": v} for k, v in item.items()})
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert cloud.read("joe-biden-360p.csv") == b'name,major,year\r\nJoe Biden,"History, ""modern""",Junior\r\n'


def test_keys_with_spaces_plus_umlauts_and_folders(cloud: Cloud) -> None:
    key = cloud.upload("joe-biden-360p.mp4", "klasse 7b/Übung 1+2.mp4")
    body = (EVENTS / "s3-multipart-odd-key.json").read_text()
    answer = cloud.service.handle(sqs_event(body), FakeContext())
    assert answer["answers"] == [{"key": key, "status": "recognized"}]
    assert cloud.result_keys() == {f"klasse 7b/Übung 1+2.{kind}" for kind in ("csv", "json", "jpg")}
    assert cloud.messages()[0]["video"]["key"] == key


def test_of_a_batch_with_garbage_only_the_garbage_fails(cloud: Cloud) -> None:
    for clip in ("barack-obama-360p.mp4", "joe-biden-360p.mp4"):
        cloud.upload(clip)
    event = json.loads((EVENTS / "sqs-batch.json").read_text())
    answer = cloud.service.handle(event, FakeContext())
    garbage = [f"0000000{number}-0000-4000-8000-000000000000" for number in (4, 5)]
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == garbage
    assert [entry["key"] for entry in answer["answers"]] == ["barack-obama-360p.mp4", "joe-biden-360p.mp4"]
    assert len(cloud.messages()) == 2


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"Records": 3}',
        '{"Records": [null]}',
        '{"Records": [{"s3": {}}]}',
        '{"Records": [{"eventSource": "aws:sns", "s3": {}}]}',
        '{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": "a.mp4"}}}]}',
        '{"Records": [{"eventName": "ObjectDreamt:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "a.mp4"}}}]}',
        '{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {}}}',
        '{"Type": "Notification", "Message": "hello"}',
        "[" * 100_000,
        "\ud83d",
    ],
)
def test_a_body_that_announces_no_video_fails_with_its_reason(cloud: Cloud, body: str, logged: Logged) -> None:
    answer = cloud.service.handle(sqs_event(body), FakeContext())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}], "answers": []}
    assert cloud.messages() == []
    (line,) = [line for line in logged() if line["message"] == "message_failed"]
    assert line["reason"]
    assert line["message_id"] == "m0"


@pytest.mark.parametrize("shape", ["sns", "eventbridge", "minio", "bare-eventbridge"])
def test_every_shape_that_announces_a_video_is_answered(cloud: Cloud, shape: str) -> None:
    key = cloud.upload("joe-biden-360p.mp4", "a b+c.mp4")
    plain = s3_body("a+b%2Bc.mp4")
    eventbridge = {
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {"bucket": {"name": INPUT}, "object": {"key": key, "etag": "x"}},
    }
    event: dict[str, Any] = {
        "sns": sqs_event(json.dumps({"Type": "Notification", "Message": plain})),
        "eventbridge": sqs_event(json.dumps(eventbridge)),
        "minio": sqs_event(plain.replace("ObjectCreated:Put", "s3:ObjectCreated:Put")),
        "bare-eventbridge": eventbridge,
    }[shape]
    answer = cloud.service.handle(event, FakeContext())
    assert answer == {"batchItemFailures": [], "answers": [{"key": key, "status": "recognized"}]}


@pytest.mark.parametrize("name", ["s3-test.json", "s3-removed.json"])
def test_events_that_announce_no_video_are_ignored(cloud: Cloud, name: str) -> None:
    event = (EVENTS / name).read_text()
    assert cloud.service.handle(sqs_event(event), FakeContext())["batchItemFailures"] == []
    assert cloud.service.handle(json.loads(event), FakeContext())["answers"] == []
    assert cloud.messages() == []


def test_a_bare_s3_event_is_answered(cloud: Cloud) -> None:
    cloud.upload("barack-obama-360p.mp4")
    answer = cloud.service.handle(json.loads((EVENTS / "s3-put.json").read_text()), FakeContext())
    assert answer["answers"] == [{"key": "barack-obama-360p.mp4", "status": "recognized"}]


@pytest.mark.parametrize("event", [None, [], {}, "text", {"detail": {}}, {"Records": [{"messageId": "m0"}]}])
def test_an_invocation_that_is_not_understood_fails(cloud: Cloud, event: object) -> None:
    with pytest.raises(InvocationError):
        cloud.service.handle(event, FakeContext())


def test_a_second_delivery_writes_the_same_keys(cloud: Cloud) -> None:
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    first, table = cloud.result_keys(), cloud.read("joe-biden-360p.csv")
    cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert cloud.result_keys() == first
    assert cloud.read("joe-biden-360p.csv") == table
    before, after = cloud.messages()
    assert (before["video"], before["students"], before["result"]) == (
        after["video"],
        after["students"],
        after["result"],
    )


def test_a_deleted_object_is_dropped(cloud: Cloud) -> None:
    answer = cloud.service.handle(sqs_event(s3_body("gone.mp4")), FakeContext())
    assert answer == {"batchItemFailures": [], "answers": []}
    assert cloud.messages() == []


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetObject"),  # type: ignore[typeddict-item]
        EndpointConnectionError(endpoint_url="http://192.0.2.1"),
    ],
)
def test_only_the_message_whose_service_failed_is_delivered_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cloud.upload("joe-biden-360p.mp4")
    cloud.upload("barack-obama-360p.mp4")
    read = cloud.clients.s3.get_object

    def flaky(**arguments: Any) -> Any:
        if arguments["Key"] == "barack-obama-360p.mp4":
            raise error
        return read(**arguments)

    monkeypatch.setattr(cloud.clients.s3, "get_object", flaky)
    event = sqs_event(s3_body("joe-biden-360p.mp4"), s3_body("barack-obama-360p.mp4"))
    answer = cloud.service.handle(event, FakeContext())
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m1"}]
    assert [message["video"]["key"] for message in cloud.messages()] == ["joe-biden-360p.mp4"]
    bare = json.loads(s3_body("barack-obama-360p.mp4"))
    with pytest.raises(InvocationError):
        cloud.service.handle(bare, FakeContext())


def test_no_message_without_its_results(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.upload("joe-biden-360p.mp4")
    write = cloud.clients.s3.put_object
    written: list[str] = []

    def failing(**arguments: Any) -> Any:
        if arguments["Key"].endswith(".csv"):
            raise ClientError({"Error": {"Code": "InternalError"}}, "PutObject")
        written.append(arguments["Key"].rpartition(".")[2])
        return write(**arguments)

    monkeypatch.setattr(cloud.clients.s3, "put_object", failing)
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert written == ["jpg", "json"]  # the CSV is last: who waits for it finds all the rest
    assert cloud.messages() == []


def test_without_time_left_the_message_waits_for_the_next_invocation(cloud: Cloud) -> None:
    for clip in ("joe-biden-360p.mp4", "barack-obama-360p.mp4"):
        cloud.upload(clip)
    event = sqs_event(s3_body("joe-biden-360p.mp4"), s3_body("barack-obama-360p.mp4"))
    # 40 s are a short clip's budget here, 15 s are kept for the answer.
    answer = cloud.service.handle(event, FakeContext(seconds=[60.0, 60.0, 54.9]))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m1"}]
    assert [entry["key"] for entry in answer["answers"]] == ["joe-biden-360p.mp4"]
    answer = cloud.service.handle(sqs_event(s3_body("barack-obama-360p.mp4")), FakeContext(seconds=[60.0, 55.1]))
    assert answer["batchItemFailures"] == []


def test_a_timeout_that_is_too_short_for_any_video_is_a_fault_of_the_deployment(cloud: Cloud) -> None:
    cloud.upload("joe-biden-360p.mp4")
    with pytest.raises(ConfigError, match="lambda_function_timeout_seconds to 60"):
        cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext(seconds=[15.0]))


def test_a_message_of_several_videos_goes_on_where_it_stopped(cloud: Cloud) -> None:
    names = [cloud.upload("joe-biden-360p.mp4", f"{number}.mp4") for number in range(3)]
    records = [json.loads(s3_body(name))["Records"][0] for name in names]
    event = sqs_event(json.dumps({"Records": records}))
    answer = cloud.service.handle(event, FakeContext(seconds=[60.0, 60.0, 60.0, 5.0]))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert [entry["key"] for entry in answer["answers"]] == names[:2]
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": "2"}
    answer = cloud.service.handle(event, FakeContext(seconds=[60.0, 60.0, 5.0]))  # time for one
    assert answer["batchItemFailures"] == []
    assert [entry["status"] for entry in answer["answers"]] == ["recognized"] * 3
    assert [message["video"]["key"] for message in cloud.messages()] == names


def test_an_answer_to_an_earlier_upload_is_none_for_a_later_delivery(cloud: Cloud) -> None:
    names = [cloud.upload("joe-biden-360p.mp4", f"{number}.mp4") for number in range(2)]
    event = sqs_event(json.dumps({"Records": [json.loads(s3_body(name))["Records"][0] for name in names]}))
    cloud.service.handle(event, FakeContext())
    cloud.upload("barack-obama-360p.mp4", names[0])
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": "2"}
    cloud.service.handle(event, FakeContext())
    assert b"Barack Obama" in cloud.read("0.csv")


def versioned(cloud: Cloud) -> None:
    cloud.clients.s3.put_bucket_versioning(Bucket=INPUT, VersioningConfiguration={"Status": "Enabled"})


def version_body(key: str, version: str) -> str:
    event = json.loads(s3_body(key))
    event["Records"][0]["s3"]["object"]["versionId"] = version
    return json.dumps(event)


def test_a_late_message_does_not_overwrite_the_answer_to_a_newer_upload(cloud: Cloud) -> None:
    versioned(cloud)
    versions = []
    for clip in ("joe-biden-360p.mp4", "barack-obama-360p.mp4"):
        cloud.upload(clip, "lesson.mp4")
        versions.append(cloud.clients.s3.head_object(Bucket=INPUT, Key="lesson.mp4")["VersionId"])
    for version in reversed(versions):
        assert (
            cloud.service.handle(sqs_event(version_body("lesson.mp4", version)), FakeContext())["batchItemFailures"]
            == []
        )
    assert b"Barack Obama" in cloud.read("lesson.csv")
    assert [message["video"]["version_id"] for message in cloud.messages()] == [versions[1]]


def test_the_upload_that_comes_while_another_is_looked_at_has_the_last_word(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    versioned(cloud)
    cloud.upload("joe-biden-360p.mp4", "lesson.mp4")
    version = cloud.clients.s3.head_object(Bucket=INPUT, Key="lesson.mp4")["VersionId"]
    write = cloud.clients.s3.put_object
    other: list[Any] = []

    def while_it_is_written(**arguments: Any) -> Any:
        if not other:
            # Another invocation answers the newer upload before this one has written its own answer.
            other.append(write(Bucket=INPUT, Key="lesson.mp4", Body=(MEDIA / "barack-obama-360p.mp4").read_bytes()))
            cloud.service.handle(sqs_event(version_body("lesson.mp4", other[0]["VersionId"])), FakeContext())
        return write(**arguments)

    monkeypatch.setattr(cloud.clients.s3, "put_object", while_it_is_written)
    cloud.service.handle(sqs_event(version_body("lesson.mp4", version)), FakeContext())
    assert b"Barack Obama" in cloud.read("lesson.csv")
    assert json.loads(cloud.read("lesson.json"))["video"]["version_id"] == other[0]["VersionId"]


def test_the_picture_of_an_earlier_upload_does_not_stay(cloud: Cloud) -> None:
    for clip in ("joe-biden-360p.mp4", "text.mp4"):
        cloud.upload(clip, "lesson.mp4")
        cloud.service.handle(sqs_event(s3_body("lesson.mp4")), FakeContext())
    assert cloud.result_keys() == {"lesson.csv", "lesson.json"}
    assert json.loads(cloud.read("lesson.json"))["status"] == "unreadable"


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("can't start new thread"), FileNotFoundError("model")])
def test_a_fault_of_the_function_is_no_answer(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fault: Exception, logged: Logged
) -> None:
    cloud.upload("joe-biden-360p.mp4")

    def broken(*_: Any, **__: Any) -> Any:
        raise fault

    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    for name in ("load", "find_faces", "aligned", "encode_aligned"):
        with monkeypatch.context() as patch:
            patch.setattr(engine, name, broken)
            assert cloud.service.handle(event, FakeContext())["batchItemFailures"] == [{"itemIdentifier": "m0"}], name
    assert cloud.result_keys() == set()
    assert cloud.messages() == []
    failed = [line for line in logged() if line["message"] == "video_failed"]
    assert [line["kind"] for line in failed] == [type(fault).__name__] * 4


def test_a_picture_that_cannot_be_processed_is_an_answer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.upload("joe-biden-360p.mp4")

    def broken(*_: Any, **__: Any) -> Any:
        raise engine.PictureError("a picture of nothing")

    monkeypatch.setattr(engine, "find_faces", broken)
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer["answers"] == [{"key": "joe-biden-360p.mp4", "status": "unreadable"}]
    assert "a picture of nothing" in json.loads(cloud.read("joe-biden-360p.json"))["reason"]


def test_somebody_enrolled_a_second_ago_is_recognised(cloud: Cloud, enrolled: tuple[Gallery, list[Student]]) -> None:
    cloud.publish_gallery(Gallery([]))
    cloud.upload("joe-biden-360p.mp4")
    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "unknown"
    cloud.publish_gallery(enrolled[0])  # the function believes that its copy is good for an hour
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"
    assert json.loads(cloud.read("joe-biden-360p.json"))["gallery_version"] == enrolled[0].version


@pytest.mark.parametrize("text", [b"", b"{", b'{"schema": 9, "model": "x", "students": []}', b'{"schema": 1}'])
def test_a_damaged_gallery_does_not_replace_the_good_one(cloud: Cloud, text: bytes) -> None:
    cloud.upload("joe-biden-360p.mp4")
    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    cloud.service.handle(event, FakeContext())
    cloud.publish_gallery(text)
    cloud.upload("stranger-720p.mp4")
    assert cloud.service.handle(sqs_event(s3_body("stranger-720p.mp4")), FakeContext())["batchItemFailures"] == []
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"


@pytest.mark.parametrize("text", [b"", b"{", b'{"schema": 9, "model": "x", "students": []}', b'{"schema": 1}'])
def test_a_gallery_that_nobody_understands_is_no_answer(cloud: Cloud, text: bytes) -> None:
    cloud.upload("joe-biden-360p.mp4")
    cloud.publish_gallery(text)
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}], "answers": []}
    assert cloud.result_keys() == set()


def test_without_a_gallery_everybody_is_unknown(cloud: Cloud) -> None:
    cloud.remove_gallery()
    cloud.upload("joe-biden-360p.mp4")
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer["answers"][0]["status"] == "unknown"


def test_without_a_record_the_name_is_answered(cloud: Cloud) -> None:
    cloud.clients.dynamodb.delete_item(TableName=cloud.config.table_name, Key={"name": {"S": "Joe Biden"}})
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert cloud.read("joe-biden-360p.csv") == b"name,major,year\r\nJoe Biden,,\r\n"


def test_a_video_in_a_classs_folder_is_compared_with_that_class_any_other_with_everyone(
    cloud: Cloud, enrolled: tuple[Gallery, list[Student]]
) -> None:
    obama = Gallery([student for student in enrolled[0].students if student[0] == "Barack Obama"])
    cloud.publish_gallery(obama, "history-101")
    keys = ("history-101/a.mp4", "maths/a.mp4", "a.mp4", "everyone/a.mp4", "a|b/a.mp4")
    for key in keys:
        cloud.upload("joe-biden-360p.mp4", key)
    answers = cloud.service.handle(sqs_event(*(s3_body(quote_plus(key)) for key in keys)), FakeContext())["answers"]
    assert [answer["status"] for answer in answers] == ["unknown"] + ["recognized"] * 4
    assert json.loads(cloud.read("history-101/a.json"))["gallery_version"] == obama.version
    assert json.loads(cloud.read("maths/a.json"))["gallery_version"] == enrolled[0].version


def test_somebody_who_came_into_the_class_a_second_ago_is_recognised(
    cloud: Cloud, enrolled: tuple[Gallery, list[Student]]
) -> None:
    cloud.publish_gallery(Gallery([]), "history-101")
    cloud.upload("joe-biden-360p.mp4", "history-101/a.mp4")
    event = sqs_event(s3_body("history-101/a.mp4"))
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "unknown"
    cloud.publish_gallery(enrolled[0], "history-101")
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"


@pytest.mark.parametrize("text", [b"", b"{", b'{"schema": 9, "model": "x", "students": []}', b'{"schema": 1}'])
def test_a_damaged_file_of_a_class_fails_the_message_and_others_are_answered(cloud: Cloud, text: bytes) -> None:
    cloud.publish_gallery(text, "history-101")
    for key in ("history-101/a.mp4", "a.mp4"):
        cloud.upload("joe-biden-360p.mp4", key)
    answer = cloud.service.handle(sqs_event(s3_body("history-101/a.mp4"), s3_body("a.mp4")), FakeContext())
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert answer["answers"] == [{"key": "a.mp4", "status": "recognized"}]


def test_emptying_the_bucket_of_results_forgets_nobody(cloud: Cloud) -> None:
    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(event, FakeContext())
    for key in cloud.result_keys():
        cloud.clients.s3.delete_object(Bucket=OUTPUT, Key=key)
    service = Service(cloud.config, cloud.clients)  # as after a cold start
    assert service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"
    assert cloud.result_keys() == {f"joe-biden-360p.{kind}" for kind in ("csv", "json", "jpg")}


def test_it_asks_for_one_object_a_video_and_lists_no_bucket(
    cloud: Cloud, enrolled: tuple[Gallery, list[Student]]
) -> None:
    calls: list[tuple[str, str]] = []

    def note(model: Any, params: dict[str, Any], **_: object) -> None:
        calls.append((model.name, params["url"]))

    cloud.publish_gallery(enrolled[0], "history-101")
    cloud.clients.s3.meta.events.register("before-call.s3", note)
    for key in ("history-101/a.mp4", "history-101/b.mp4"):
        cloud.upload("joe-biden-360p.mp4", key)
        cloud.service.handle(sqs_event(s3_body(key)), FakeContext())
    assert [url.rpartition("/")[2] for name, url in calls if KNOWN in url] == ["history-101.json"] * 2  # put and get
    assert not [name for name, _ in calls if name.startswith("List")]


def test_every_log_line_has_the_id_of_its_video_and_no_students_name(cloud: Cloud, logged: Logged) -> None:
    cloud.upload("joe-biden-360p.mp4", "lesson.mp4")
    cloud.service.handle(sqs_event("garbage", s3_body("lesson.mp4")), FakeContext())
    lines = logged()
    text = json.dumps(lines)
    assert [line["message"] for line in lines] == [
        "message_failed",
        "gallery_loaded",
        "video_answered",
    ]
    assert (
        lines[-1]["correlation_id"]
        == f"lesson.mp4@{cloud.clients.s3.head_object(Bucket=INPUT, Key='lesson.mp4')['ETag'].strip(chr(34))}"
    )
    assert [line.get("message_id") for line in lines] == ["m0", "m1", "m1"]
    assert all(line["request_id"] == FakeContext().aws_request_id for line in lines)
    assert lines[-1]["timings_ms"]["total"] > 0
    assert lines[-1]["students"] == 1
    assert "Biden" not in text
    assert "garbage" not in text


def test_measurements_are_in_cloudwatchs_format(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.upload("two-students-720p.mp4")
    cloud.service.handle(sqs_event(s3_body("two-students-720p.mp4")), FakeContext())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (measured,) = [line for line in lines if "_aws" in line]
    (definition,) = measured["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == "SmartClassroom"
    assert measured["_aws"]["Timestamp"] > 1_600_000_000_000
    assert definition["Dimensions"] == [["FunctionName"], ["FunctionName", "Status"]]
    for dimensions in definition["Dimensions"]:
        assert all(isinstance(measured[name], str) for name in dimensions)
    values = {metric["Name"]: measured[metric["Name"]] for metric in definition["Metrics"]}
    assert all(value >= 0 for (value,) in values.values())
    assert {metric["Unit"] for metric in definition["Metrics"]} == {"Milliseconds", "Count", "Bytes"}
    assert (values["StudentsRecognized"], values["PeopleSeen"], values["Videos"]) == ([2], [2], [1])
    assert {"DecodeTime", "DetectTime", "EncodeTime", "LookTime", "TotalTime"} <= set(values)


def test_the_gallery_in_the_image_serves_while_the_bucket_has_none(
    cloud: Cloud, enrolled: tuple[Gallery, list[Student]], tmp_path: Path
) -> None:
    baked = tmp_path / "known-encodings.json"
    baked.write_text(json.dumps(enrolled[0].to_json()))
    service = Service(replace(cloud.config, gallery_file=baked), cloud.clients)
    cloud.remove_gallery()
    cloud.upload("joe-biden-360p.mp4")
    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    assert service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"
    cloud.publish_gallery(Gallery([]))  # the bucket's counts as soon as there is one
    service = Service(replace(cloud.config, gallery_file=baked), cloud.clients)
    assert service.handle(event, FakeContext())["answers"][0]["status"] == "unknown"


def test_each_video_of_a_verification_is_answered_as_it_expects(cloud: Cloud) -> None:
    """With the class that a verification makes for itself, whoever else is enrolled."""
    samples = LAMBDA_SRC.parent / "samples"
    known = GalleryFile.parse((samples / "probe.json").read_bytes())
    people = {name: f"Verification probe 0a1b2c3d-{number}" for number, (name, _) in enumerate(known.students)}
    made = GalleryFile.of(known.model, ((people[name], encodings) for name, encodings in known.students))
    folder = "verification-0a1b2c3d"
    cloud.clients.s3.put_object(
        Bucket=cloud.config.gallery_bucket, Key=gallery_key(folder), Body=made.render().encode()
    )
    for case in cases(samples, people, full=True):
        key = f"{folder}/{case.clip}"
        cloud.clients.s3.put_object(Bucket=INPUT, Key=key, Body=case.body)
        answer = cloud.service.handle(sqs_event(s3_body(key)), FakeContext())
        rows = parse_csv(cloud.read(result_keys(key).csv).decode())
        assert (answer["answers"][0]["status"], sorted(row.name for row in rows)) == (
            case.expected.status,
            sorted(case.expected.students),
        ), case.name
