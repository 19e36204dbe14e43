"""Videos through the whole function: what is answered, written and told, and what is delivered again."""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from function_cloud import EVENTS, INPUT, MEDIA, Cloud, FakeContext, s3_body, sqs_event
from recognition import logs
from recognition.matching import Gallery
from recognition.results import Student
from recognition.service import InvocationError, Service

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
    assert account["students"] == sorted(account["students"], key=lambda student: student["distance"])
    assert (account["reason"] is not None) == (expected["status"] == "unreadable")

    (message,) = cloud.messages()
    assert message["schema"] == 1
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
    words = {"empty.mp4": "empty", "text.mp4": "not an MP4", "truncated.mp4": "truncated", "audio-only.mp4": "sound"}
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


def test_batch_with_garbage_is_answered_and_nothing_is_delivered_again(
    cloud: Cloud, capfd: pytest.CaptureFixture[str]
) -> None:
    for clip in ("barack-obama-360p.mp4", "joe-biden-360p.mp4"):
        cloud.upload(clip)
    answer = cloud.service.handle(json.loads((EVENTS / "sqs-batch.json").read_text()), FakeContext())
    assert answer["batchItemFailures"] == []
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
        "\ud83d",
    ],
)
def test_a_body_that_is_no_s3_event_is_dropped(cloud: Cloud, body: str) -> None:
    assert cloud.service.handle(sqs_event(body), FakeContext()) == {"batchItemFailures": [], "answers": []}
    assert cloud.messages() == []


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


@pytest.mark.parametrize("event", [None, [], {}, "text", {"detail": {}}])
def test_an_unknown_invocation_does_not_crash(cloud: Cloud, event: object) -> None:
    assert cloud.service.handle(event, FakeContext()) == {"batchItemFailures": [], "answers": []}


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


def test_too_large_is_answered_without_reading_it(cloud: Cloud) -> None:
    cloud.clients.s3.put_object(Bucket=INPUT, Key="big.mp4", Body=b"\0" * (cloud.config.max_video_bytes + 1))
    answer = cloud.service.handle(sqs_event(s3_body("big.mp4")), FakeContext())
    assert answer["answers"] == [{"key": "big.mp4", "status": "unreadable"}]
    assert "limit is 2000000" in json.loads(cloud.read("big.json"))["reason"]


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

    def failing(**arguments: Any) -> Any:
        if arguments["Key"].endswith(".csv"):
            raise ClientError({"Error": {"Code": "InternalError"}}, "PutObject")
        return write(**arguments)

    monkeypatch.setattr(cloud.clients.s3, "put_object", failing)
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert cloud.messages() == []


def test_without_time_left_the_message_waits_for_the_next_invocation(cloud: Cloud) -> None:
    cloud.upload("joe-biden-360p.mp4")
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext(remaining_ms=5000))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]


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
    cloud.clients.s3.put_object(Bucket=cloud.config.gallery_bucket, Key=cloud.config.gallery_key, Body=text)
    cloud.upload("stranger-720p.mp4")
    assert cloud.service.handle(sqs_event(s3_body("stranger-720p.mp4")), FakeContext())["batchItemFailures"] == []
    assert cloud.service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"


def test_without_a_gallery_everybody_is_unknown(cloud: Cloud) -> None:
    cloud.clients.s3.delete_object(Bucket=cloud.config.gallery_bucket, Key=cloud.config.gallery_key)
    cloud.upload("joe-biden-360p.mp4")
    answer = cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert answer["answers"][0]["status"] == "unknown"


def test_without_a_record_the_name_is_answered(cloud: Cloud) -> None:
    cloud.clients.dynamodb.delete_item(TableName=cloud.config.table_name, Key={"name": {"S": "Joe Biden"}})
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(sqs_event(s3_body("joe-biden-360p.mp4")), FakeContext())
    assert cloud.read("joe-biden-360p.csv") == b"name,major,year\r\nJoe Biden,,\r\n"


def test_an_upload_cannot_overwrite_the_gallery(cloud: Cloud, enrolled: tuple[Gallery, list[Student]]) -> None:
    cloud.upload("joe-biden-360p.mp4", ".gallery/known-encodings.mp4")
    cloud.service.handle(sqs_event(s3_body(".gallery/known-encodings.mp4")), FakeContext())
    assert Gallery.from_json(cloud.read(cloud.config.gallery_key)).version == enrolled[0].version
    assert "_.gallery/known-encodings.csv" in cloud.result_keys()


def test_every_log_line_is_json_with_the_id_of_its_video(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("recognition").handlers.clear()
    logs.configure("INFO")
    cloud.upload("joe-biden-360p.mp4")
    cloud.service.handle(sqs_event("garbage", s3_body("joe-biden-360p.mp4")), FakeContext())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logging.getLogger("recognition").handlers.clear()
    assert [line["event"] for line in lines] == [
        "message_dropped",
        "gallery_loaded",
        "video_measured",
        "video_answered",
    ]
    assert lines[-1]["correlation_id"] == "joe-biden-360p.mp4@9a0364b9e99bb480dd25e1f0284c8555"
    assert all(line["request_id"] == FakeContext().aws_request_id for line in lines)
    assert lines[-1]["timings_ms"]["total"] > 0


def test_measurements_are_in_cloudwatchs_format(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("recognition").handlers.clear()
    logs.configure("INFO")
    cloud.upload("two-students-720p.mp4")
    cloud.service.handle(sqs_event(s3_body("two-students-720p.mp4")), FakeContext())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logging.getLogger("recognition").handlers.clear()
    (measured,) = [line for line in lines if "_aws" in line]
    (definition,) = measured["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == "SmartClassroom"
    assert measured["_aws"]["Timestamp"] > 1_600_000_000_000
    for dimensions in definition["Dimensions"]:
        assert all(isinstance(measured[name], str) for name in dimensions)
    values = {metric["Name"]: measured[metric["Name"]] for metric in definition["Metrics"]}
    assert all(isinstance(value, int | float) and value >= 0 for value in values.values())
    assert {metric["Unit"] for metric in definition["Metrics"]} == {"Milliseconds", "Count", "Bytes"}
    assert (values["StudentsRecognized"], values["PeopleSeen"], values["Videos"]) == (2, 2, 1)
    assert {"DecodeTime", "DetectTime", "EncodeTime", "DownloadTime", "TotalTime"} <= set(values)


def test_the_gallery_in_the_image_serves_while_the_bucket_has_none(
    cloud: Cloud, enrolled: tuple[Gallery, list[Student]], tmp_path: Path
) -> None:
    baked = tmp_path / "known-encodings.json"
    baked.write_text(json.dumps(enrolled[0].to_json()))
    service = Service(replace(cloud.config, gallery_file=baked), cloud.clients)
    cloud.clients.s3.delete_object(Bucket=cloud.config.gallery_bucket, Key=cloud.config.gallery_key)
    cloud.upload("joe-biden-360p.mp4")
    event = sqs_event(s3_body("joe-biden-360p.mp4"))
    assert service.handle(event, FakeContext())["answers"][0]["status"] == "recognized"
    cloud.publish_gallery(Gallery([]))  # the bucket's counts as soon as there is one
    service = Service(replace(cloud.config, gallery_file=baked), cloud.clients)
    assert service.handle(event, FakeContext())["answers"][0]["status"] == "unknown"
