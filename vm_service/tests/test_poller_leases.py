"""A queue whose messages are leased: every call as SQS wants it, and no lease that nobody answers for."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from classroom_poller import leases as module
from classroom_poller.leases import LeasedQueue, backoff_seconds
from classroom_poller.logs import JsonFormatter
from poller_testing.doubles import SqsClient, message

ODD = KeyError("odd")
AWAY = EndpointConnectionError(endpoint_url="http://nowhere")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A leased queue of 30 s, its clients and its clock."""

    def __init__(self) -> None:
        self.clock, self.receiver, self.sqs = Clock(), SqsClient(), SqsClient()
        receiver: Any = self.receiver
        sqs: Any = self.sqs
        self.queue = LeasedQueue(receiver, sqs, "url", 30, self.clock)

    def receive(self, *messages: Any, seconds: float = 0.0) -> list[Any]:
        self.receiver.answers.append({"Messages": list(messages)})
        self.receiver.during_call = lambda: setattr(self.clock, "now", self.clock.now + seconds)
        return self.queue.receive(10, 20)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(JsonFormatter().format(record)) for record in caplog.records]


@pytest.mark.parametrize(("asked", "sent"), [(3, 3), (10, 10), (25, 10)])
def test_a_poll_asks_for_the_lease_and_for_all_attributes(bench: Bench, asked: int, sent: int) -> None:
    bench.receiver.answers.append({"Messages": [message(1)]})
    assert bench.queue.receive(asked, 20) == [message(1)]
    assert bench.receiver.calls == [
        (
            "receive",
            {
                "QueueUrl": "url",
                "MaxNumberOfMessages": sent,
                "WaitTimeSeconds": 20,
                "VisibilityTimeout": 30,
                "MessageSystemAttributeNames": ["All"],
            },
        )
    ]


def test_an_empty_poll_gives_nothing(bench: Bench) -> None:
    assert bench.queue.receive(1, 20) == []
    assert bench.sqs.calls == []


def test_a_poll_that_fails_raises(bench: Bench) -> None:
    bench.receiver.answers.append(AWAY)
    with pytest.raises(EndpointConnectionError):
        bench.queue.receive(1, 20)


def test_a_lease_is_counted_from_before_the_poll(bench: Bench) -> None:
    """The answer may have been on its way for as long as the call took: 25 s of the 30 may be over."""
    bench.receive(message(1), seconds=25)
    assert bench.queue.holds(message(1))
    bench.clock.now = 129.9
    assert bench.queue.holds(message(1))
    bench.clock.now = 130
    assert not bench.queue.holds(message(1))


def test_after_a_slow_poll_its_leases_are_renewed_at_once(bench: Bench) -> None:
    bench.receive(message(9))
    bench.sqs.answers.append({"Successful": [{"Id": "0"}]})
    bench.receive(message(1), seconds=20)
    ((name, options),) = bench.sqs.calls
    assert (name, options["QueueUrl"]) == ("change", "url")
    assert options["Entries"] == [{"Id": "0", "ReceiptHandle": "handle-1", "VisibilityTimeout": 30}]
    bench.clock.now = 149.9
    assert bench.queue.holds(message(1))
    assert not bench.queue.holds(message(9))


@pytest.mark.parametrize(("seconds", "renewed"), [(5, 0), (5.1, 1)])
def test_a_poll_is_slow_after_a_sixth_of_the_lease(bench: Bench, seconds: float, renewed: int) -> None:
    bench.receive(message(1), seconds=seconds)
    assert len(bench.sqs.calls) == renewed


def test_an_empty_poll_renews_nothing(bench: Bench) -> None:
    bench.receive(seconds=20)
    assert bench.sqs.calls == []


def test_only_the_holder_of_the_newest_receipt_holds_a_message(bench: Bench) -> None:
    bench.receive(message(1))
    older = message(1) | {"ReceiptHandle": "older"}
    assert bench.queue.holds(message(1))
    assert not bench.queue.holds(older)
    assert not bench.queue.holds(message(2))
    bench.queue.give_back([older], lambda _: 0)
    bench.queue.delete([older])
    assert bench.queue.holds(message(1)), "what is said of an older receipt changes nothing"


def test_a_lease_that_was_renewed_lasts_as_long_again(bench: Bench) -> None:
    bench.receive(message(1), message(2))
    bench.clock.now = 120
    bench.sqs.answers.append({"Successful": [{"Id": "1"}]})
    bench.queue.extend()
    assert bench.sqs.calls[0][1]["Entries"] == [
        {"Id": "0", "ReceiptHandle": "handle-1", "VisibilityTimeout": 30},
        {"Id": "1", "ReceiptHandle": "handle-2", "VisibilityTimeout": 30},
    ]
    bench.clock.now = 149.9
    assert not bench.queue.holds(message(1))
    assert bench.queue.holds(message(2))
    bench.clock.now = 150
    assert not bench.queue.holds(message(2))


def test_a_renewal_counts_from_before_its_call(bench: Bench) -> None:
    bench.receive(message(1))
    bench.sqs.answers.append({"Successful": [{"Id": "0"}]})
    bench.sqs.during_call = lambda: setattr(bench.clock, "now", 120.0)
    bench.queue.extend()
    bench.clock.now = 130
    assert not bench.queue.holds(message(1))


def test_what_has_run_out_is_not_renewed(bench: Bench) -> None:
    bench.receive(message(1))
    bench.clock.now = 130
    bench.queue.extend()
    assert bench.sqs.calls == []


def test_eleven_leases_are_renewed_by_two_calls(bench: Bench) -> None:
    bench.receive(*(message(number) for number in range(10)))
    bench.receive(message(10))
    bench.clock.now = 120
    bench.sqs.answers += [{"Successful": [{"Id": "9"}]}, {"Successful": [{"Id": "0"}]}]
    bench.queue.extend()
    assert [len(options["Entries"]) for _, options in bench.sqs.calls] == [10, 1]
    bench.clock.now = 140
    assert [number for number in range(11) if bench.queue.holds(message(number))] == [9, 10]


def test_a_lease_that_the_queue_calls_over_is_over(bench: Bench) -> None:
    bench.receive(message(1), message(2))
    bench.sqs.answers.append({"Failed": [{"Id": "0", "SenderFault": False, "Code": "Throttled"}]})
    bench.queue.extend()
    assert bench.queue.holds(message(1))
    bench.sqs.answers.append({"Failed": [{"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}]})
    bench.queue.extend()
    assert not bench.queue.holds(message(1))
    assert bench.queue.holds(message(2))


@pytest.mark.parametrize("outcome", ["Successful", "Failed"])
def test_a_message_received_anew_during_a_renewal_keeps_its_new_lease(bench: Bench, outcome: str) -> None:
    bench.receive(message(1))
    again = message(1) | {"ReceiptHandle": "newer"}
    bench.clock.now = 120

    def received_anew() -> None:
        bench.sqs.during_call = lambda: None
        bench.receive(again)
        bench.clock.now = 125

    bench.sqs.during_call = received_anew
    bench.sqs.answers.append({outcome: [{"Id": "0", "SenderFault": True}]})
    bench.queue.extend()
    assert bench.queue.holds(again)
    bench.clock.now = 150
    assert not bench.queue.holds(again)


@pytest.mark.parametrize("outcome", ["Successful", "Failed"])
def test_a_message_deleted_during_a_renewal_stays_deleted(bench: Bench, outcome: str) -> None:
    bench.receive(message(1))
    bench.sqs.during_call = lambda: setattr(bench.queue, "_leases", {})
    bench.sqs.answers.append({outcome: [{"Id": "0", "SenderFault": True}]})
    bench.queue.extend()
    assert not bench.queue.holds(message(1))


@pytest.mark.parametrize("error", [AWAY, ODD])
def test_a_renewal_that_fails_leaves_the_leases_and_never_raises(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    bench.receive(*(message(number) for number in range(10)))
    bench.receive(message(10))
    bench.sqs.answers.append(error)
    bench.queue.extend()
    assert len(bench.sqs.calls) == 1, "the queue is away for the others too"
    assert bench.queue.holds(message(1))
    (line,) = log_lines(caplog)
    assert line["level"] == "WARNING"
    assert line["message"] == "messages could not be kept, another attempt follows"
    assert line["error"] == (str(AWAY) if error is AWAY else "KeyError")


def test_messages_go_back_each_after_its_pause(bench: Bench) -> None:
    mine = [message(1, receives=1), message(2, receives=4), message(3, receives=100), message(4, receives=50)]
    bench.receive(*mine)
    bench.queue.give_back(mine, lambda count: {1: 1, 4: 8, 100: 99_999, 50: -3}[count])
    ((name, options),) = bench.sqs.calls
    assert (name, options["QueueUrl"]) == ("change", "url")
    assert options["Entries"] == [
        {"Id": "0", "ReceiptHandle": "handle-1", "VisibilityTimeout": 1},
        {"Id": "1", "ReceiptHandle": "handle-2", "VisibilityTimeout": 8},
        {"Id": "2", "ReceiptHandle": "handle-3", "VisibilityTimeout": 43200},
        {"Id": "3", "ReceiptHandle": "handle-4", "VisibilityTimeout": 0},
    ]
    assert not any(bench.queue.holds(one) for one in mine)
    bench.queue.give_back(mine, lambda _: 0)
    assert len(bench.sqs.calls) == 1, "what is not held is not given back"


@pytest.mark.parametrize("error", [AWAY, ODD])
def test_messages_that_cannot_be_given_back_are_let_go(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    mine = [message(number) for number in range(11)]
    bench.receive(*mine[:10])
    bench.receive(mine[10])
    bench.sqs.answers.append(error)
    bench.queue.give_back(mine, lambda _: 0)
    assert [len(options["Entries"]) for _, options in bench.sqs.calls] == [10, 1]
    bench.queue.extend()
    assert len(bench.sqs.calls) == 2, "no lease is renewed any more"
    (line,) = log_lines(caplog)
    assert line["level"] == "WARNING"
    assert line["message"] == "messages could not be given back, they come by themselves"
    assert line["error"] in (str(AWAY), "KeyError")


def test_a_pause_that_cannot_be_computed_lets_go_too(bench: Bench) -> None:
    bench.receive(message(1))

    def odd(_: int) -> int:
        raise ODD

    bench.queue.give_back([message(1)], odd)
    assert not bench.queue.holds(message(1))


def test_messages_are_deleted_ten_by_ten(bench: Bench) -> None:
    mine = [message(number) for number in range(11)]
    bench.receive(*mine[:10])
    bench.receive(mine[10])
    bench.queue.delete(mine)
    assert [name for name, _ in bench.sqs.calls] == ["delete", "delete"]
    assert [options["QueueUrl"] for _, options in bench.sqs.calls] == ["url", "url"]
    assert bench.sqs.calls[0][1]["Entries"][9] == {"Id": "9", "ReceiptHandle": "handle-9"}
    assert bench.sqs.calls[1][1]["Entries"] == [{"Id": "0", "ReceiptHandle": "handle-10"}]
    assert not any(bench.queue.holds(one) for one in mine)


def test_a_message_that_cannot_be_deleted_is_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.receive(message(1), message(2), message(3))
    failed = [{"Id": "1", "Code": "InternalError"}, {"Id": "2", "Code": "x", "Message": "said so"}]
    bench.sqs.answers.append({"Failed": failed})
    bench.queue.delete([message(1), message(2), message(3)])
    told = [(line["level"], line["message"], line["message_id"], line["error"]) for line in log_lines(caplog)]
    text = "a message could not be deleted, it comes back"
    assert told == [("WARNING", text, "id-2", "InternalError"), ("WARNING", text, "id-3", "said so")]
    assert not bench.queue.holds(message(2)), "it comes back only when its lease is not renewed"


@pytest.mark.parametrize("error", [AWAY, ODD, ClientError({"Error": {"Code": "Denied"}}, "DeleteMessageBatch")])
def test_a_deletion_that_fails_lets_go_and_tries_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    mine = [message(number) for number in range(11)]
    bench.receive(*mine[:10])
    bench.receive(mine[10])
    bench.sqs.answers.append(error)
    bench.queue.delete(mine)
    assert len(bench.sqs.calls) == 2
    assert not any(bench.queue.holds(one) for one in mine)
    (line,) = log_lines(caplog)
    assert (line["level"], line["message"]) == ("WARNING", "messages could not be deleted, they come back")
    assert line["error"] == ("KeyError" if error is ODD else str(error))


def test_pauses_double_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[float, float]] = []

    def most(low: float, high: float) -> float:
        shares.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", most)
    assert [backoff_seconds(attempt, 2, 30) for attempt in range(1, 7)] == [2, 4, 8, 16, 30, 30]
    assert set(shares) == {(0.5, 1)}
    monkeypatch.setattr(random, "uniform", lambda low, _: low)
    assert [backoff_seconds(attempt, 2, 30) for attempt in range(1, 7)] == [1, 2, 4, 8, 15, 15]
    assert backoff_seconds(10**6, 2, 10**9) == 2**16
    assert backoff_seconds(18, 1, 10**9) == 2**15, "the doubling ends"
    assert backoff_seconds(1, 0, 30) == 0
    assert backoff_seconds(1, 1, 30) == 1, "a second is not halved"
    assert isinstance(backoff_seconds(2, 2, 30), int)


def test_the_clock_is_one_that_never_goes_back() -> None:
    client: Any = SqsClient()
    client.answers.append({"Messages": [message(1)]})
    queue = LeasedQueue(client, client, "url", 30)
    queue.receive(1, 0)
    assert queue.holds(message(1))
    assert logging.getLogger(module.__name__) is module.LOG
