"""Both message formats and the names of results."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from classroom_poller.input_loop import split
from classroom_poller.invocation import InvocationFailedError, failed_ids
from classroom_poller.leases import backoff_seconds
from classroom_poller.messages import (
    RejectedMessageError,
    function_event,
    parse_result,
    result_stem,
    upload_correlation,
)
from hypothesis import given
from hypothesis import strategies as st
from poller_testing.loopback_aws import result_message, upload_event


def sqs_message(number: int = 1, receives: int = 1, body: str = "{}") -> Any:
    return {
        "MessageId": f"id-{number}",
        "ReceiptHandle": f"handle-{number}",
        "Body": body,
        "MD5OfBody": "0" * 32,
        "Attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": "1"},
    }


def test_the_event_is_that_of_an_event_source_mapping() -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:input-notification"
    assert function_event([sqs_message(body="text")], arn, "us-east-1") == {
        "Records": [
            {
                "messageId": "id-1",
                "receiptHandle": "handle-1",
                "body": "text",
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1"},
                "messageAttributes": {},
                "md5OfBody": "0" * 32,
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": "us-east-1",
            }
        ]
    }


def test_csv_is_rfc_4180() -> None:
    students = [
        {"name": 'Öztürk, "Ali"', "major": "a,b\nc", "year": 2, "distance": 0.1},
        {"name": "Ada", "major": None, "year": "3"},
    ]
    text = parse_result(json.dumps(result_message("a.mp4", students=students))).csv()
    assert text.startswith("name,major,year\r\n")
    assert text.endswith("\r\n")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["name", "major", "year"],
        ['Öztürk, "Ali"', "a,b\nc", "2"],
        ["Ada", "", "3"],
    ]


@pytest.mark.parametrize("status", ["unknown", "no_face", "unreadable"])
def test_an_answer_without_students_has_a_header_only(status: str) -> None:
    assert parse_result(json.dumps(result_message("a.mp4", status=status, students=[]))).csv() == "name,major,year\r\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"video": None}, "video is missing"),
        ({"video": {"key": "a.mp4"}}, "etag is missing"),
        ({"video": {"key": "", "etag": "e"}}, "key is missing"),
        ({"video": {"key": "\ud800", "etag": "e"}}, "key is not valid Unicode"),
        ({"video": {"key": "k", "etag": "e", "version_id": 4}}, "version_id"),
        ({"status": "fine"}, "status is 'fine'"),
        ({"students": {}}, "students is not a list"),
        ({"students": ["Ada"]}, "a student is not an object"),
        ({"students": [{"name": 1}]}, "name is missing or not a text"),
        ({"students": [{"name": "Ada", "year": [1]}]}, "a student's record holds"),
        ({"processed_at": "yesterday"}, "processed_at is not a time"),
        ({"processed_at": "2026-01-01T00:00:00"}, "no time zone"),
    ],
)
def test_what_is_no_result_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedMessageError, match=reason):
        parse_result(json.dumps(result_message("a.mp4", **changes)))


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '"text"', "[" * 100_000])
def test_what_is_no_json_object_is_refused(body: str) -> None:
    with pytest.raises(RejectedMessageError):
        parse_result(body)


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=600)
ETAGS = st.from_regex(r"\A[0-9a-f]{32}(-[0-9]{1,4})?\Z")


@given(KEYS, ETAGS)
def test_any_key_gives_a_file_name(key: str, etag: str) -> None:
    name = f".{result_stem(key, etag)}.json.tmp"
    assert len(name.encode()) <= 255
    assert "/" not in name
    assert "\0" not in name
    assert not result_stem(key, etag).startswith(".")


@given(KEYS, KEYS, ETAGS)
def test_two_videos_never_share_a_name(one: str, other: str, etag: str) -> None:
    if one.removesuffix(".mp4") != other.removesuffix(".mp4"):
        assert result_stem(one, etag) != result_stem(other, etag)


def test_names_are_readable() -> None:
    assert result_stem("course 1/lecture+2.mp4", '"abc"') == "course%201%2Flecture%2B2-abc"
    assert result_stem("lecture.mp4", "abc-2") == "lecture-abc-2"
    assert result_stem("x" * 300 + "1.mp4", "abc") != result_stem("x" * 300 + "2.mp4", "abc")


def test_an_upload_is_named_by_key_and_etag() -> None:
    body = json.dumps(upload_event("ä b+c/d.mp4", "abc"))
    assert upload_correlation(sqs_message(body=body)) == "ä b+c/d.mp4@abc"


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"Records": 3}', '{"Event": "s3:TestEvent"}', '{"Records": [{"s3": {}}]}']
)
def test_what_is_no_upload_is_named_by_its_message(body: str) -> None:
    assert upload_correlation(sqs_message(body=body)) == "id-1"


@pytest.mark.parametrize(
    ("fresh", "workers", "sizes"),
    [(1, 2, [1]), (2, 2, [1, 1]), (4, 2, [2, 2]), (7, 2, [4, 3]), (10, 2, [5, 5]), (10, 1, [5, 5]), (0, 2, [])],
)
def test_workers_share_the_messages(fresh: int, workers: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in split([sqs_message(n) for n in range(fresh)], workers, 5)] == sizes


def test_a_message_that_comes_again_goes_alone() -> None:
    batches = split([sqs_message(1), sqs_message(2, receives=2), sqs_message(3)], 1, 5)
    assert [[message["MessageId"] for message in batch] for batch in batches] == [["id-1", "id-3"], ["id-2"]]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}', b'"x"']
)
def test_no_failures_named_is_a_success(body: bytes) -> None:
    assert failed_ids(body, {"a"}) == set()


def test_named_failures() -> None:
    assert failed_ids(b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a", "b"}) == {"a"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"batchItemFailures": [{"itemIdentifier": "c"}]}',
        b'{"batchItemFailures": [{}]}',
        b'{"batchItemFailures": [1]}',
        b'{"batchItemFailures": [{"itemIdentifier": ""}]}',
        b'{"batchItemFailures": 7}',
    ],
)
def test_an_answer_that_cannot_be_trusted_fails_the_batch(body: bytes) -> None:
    with pytest.raises(InvocationFailedError):
        failed_ids(body, {"a", "b"})


def test_pauses_double_up_to_the_limit() -> None:
    for attempt, longest in enumerate([2, 4, 8, 16, 30, 30], start=1):
        assert longest // 2 <= backoff_seconds(attempt, 2, 30) <= longest
    assert backoff_seconds(10**6, 2, 30) <= 30
    assert backoff_seconds(1, 0, 30) == 0
