"""Both message formats and the names of results."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from classroom_poller.input_loop import split_into_batches
from classroom_poller.invocation import InvocationFailedError, failed_ids, fault
from classroom_poller.leases import backoff_seconds
from classroom_poller.messages import file_stem, function_event, receive_count, upload_correlation
from hypothesis import given
from hypothesis import strategies as st
from poller_testing.loopback_aws import upload_event

from classroom_contract.keys import result_stem
from classroom_contract.results import Video


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


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
ETAGS = st.from_regex(r"\A[0-9a-f]{32}(-[0-9]{1,4})?\Z")


def stem(key: str, etag: str = "abc") -> str:
    return file_stem(Video("b", key, etag))


@given(KEYS, ETAGS)
def test_any_key_gives_a_file_name(key: str, etag: str) -> None:
    name = f".{stem(key, etag)}.json.tmp"
    assert len(name.encode()) <= 255
    assert "/" not in name
    assert not any(unicodedata.category(character) == "Cc" for character in name)
    assert not stem(key, etag).startswith(".")
    assert re.sub("%(~|[0-9A-F]{2})", "", name).find("%") == -1, "an escape was cut"


@given(KEYS, KEYS, ETAGS)
def test_two_videos_never_share_a_name(one: str, other: str, etag: str) -> None:
    if result_stem(one) != result_stem(other):
        assert stem(one, etag) != stem(other, etag)


def test_names_are_readable() -> None:
    assert stem("course 1/lecture+2.mp4") == "course 1%2Flecture+2-abc"
    assert stem("数学/第一课 ü.mp4") == "数学%2F第一课 ü-abc"
    assert stem("lecture.mp4", "abc-2") == "lecture-abc-2"
    assert stem("lecture.MOV") == "lecture.MOV-abc"
    assert stem("100%\n\x7f.mp4") == "100%25%0A%7F-abc"
    assert stem(".hidden.mp4") == "%2Ehidden-abc"


def test_a_long_key_is_cut_between_letters_and_keeps_a_hash() -> None:
    names = {stem(f"{'数' * 100}{number}.mp4") for number in range(2)}
    assert len(names) == 2
    for name in names:
        head, _, rest = name.partition("%~")
        assert set(head) == {"数"}
        assert len(head.encode()) > 100
        assert len(rest) == 32 + len("-abc")
    exactly = "x" * 140
    assert stem(f"{exactly}.mp4") == f"{exactly}-abc"
    assert stem("x" * 141).startswith("x" * 106 + "%~")


def test_an_etag_of_another_store_is_harmless_in_a_name() -> None:
    assert stem("a.mp4", "x/../y" + "z" * 100) == "a-x%2F..%2Fy" + "z" * 54


def test_an_upload_is_named_by_key_and_etag() -> None:
    event = upload_event("ä b+c/d.mp4", "abc")
    assert upload_correlation(sqs_message(body=json.dumps(event))) == "ä b+c/d.mp4@abc"
    event["Records"] += upload_event("e.mp4", "def")["Records"] + upload_event("f.mp4", "g")["Records"]
    event["Records"][1]["s3"]["object"]["versionId"] = "v1"
    del event["Records"][2]["s3"]["object"]["eTag"]
    assert upload_correlation(sqs_message(body=json.dumps(event))) == "ä b+c/d.mp4@abc, e.mp4@def/v1, f.mp4@"


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
    assert [len(batch) for batch in split_into_batches([sqs_message(n) for n in range(fresh)], workers, 5)] == sizes


def test_a_message_that_comes_again_goes_alone() -> None:
    batches = split_into_batches([sqs_message(1), sqs_message(2, receives=2), sqs_message(3)], 1, 5)
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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}, "Runtime.ExitError: signal: killed"),
        ({"errorMessage": "Task timed out after 3.00 seconds"}, "Task timed out after 3.00 seconds"),
        ({"errorType": "KeyError", "errorMessage": "'Ada Lovelace'"}, "KeyError"),
        (["Ada Lovelace"], "for a reason that cannot be read"),
    ],
)
def test_of_a_failed_invocation_no_text_of_the_programs_own_is_said(body: object, said: str) -> None:
    assert fault(json.dumps(body).encode()) == said
    assert fault(b"Ada Lovelace") == "for a reason that cannot be read"


def test_the_refusal_of_an_answer_quotes_nothing() -> None:
    for body in (b"Ada", b'{"batchItemFailures": ["Ada"]}', b'{"batchItemFailures": [{"itemIdentifier": "Ada"}]}'):
        with pytest.raises(InvocationFailedError) as caught:
            failed_ids(body, {"a"})
        assert "Ada" not in str(caught.value)


def test_an_event_of_a_message_that_tells_little_is_whole() -> None:
    bare: Any = {"MessageId": "m", "ReceiptHandle": "h", "Body": "b"}
    (record,) = function_event([bare], "arn", "region")["Records"]
    assert (record["attributes"], record["md5OfBody"]) == ({}, "")


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("1", 1), ("0", 1), ("-2", 1), ("x", 1)])
def test_the_receive_count_is_what_the_queue_says_and_at_least_one(told: str, count: int) -> None:
    message = sqs_message()
    message["Attributes"]["ApproximateReceiveCount"] = told
    assert receive_count(message) == count
    assert receive_count({"MessageId": "m"}) == 1
