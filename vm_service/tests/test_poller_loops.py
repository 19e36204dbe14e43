"""Each loop alone, against stand-ins: what becomes of every message, what is counted, what is said."""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from classroom_poller import input_loop as input_module
from classroom_poller import loop as loop_module
from classroom_poller import output_loop as output_module
from classroom_poller.input_loop import InputLoop
from classroom_poller.invocation import InvocationFailedError, NotStartedError
from classroom_poller.logs import JsonFormatter
from classroom_poller.output_loop import OutputLoop
from classroom_poller.results import Outcome, ResultStore
from classroom_poller.status import Status
from poller_testing.doubles import Leases, QuickStop, config, message
from poller_testing.loopback_aws import result_message, upload_event
from poller_testing.world import eventually

AWAY = EndpointConnectionError(endpoint_url="http://nowhere")
COUNTERS = ("invoked", "answered", "failures", "stored", "unchanged", "rejected", "in_flight")


@pytest.fixture(autouse=True)
def whole_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No chance in pauses, and every line of the log."""
    for module in (loop_module, input_module, output_module):
        monkeypatch.setattr(module, "backoff_seconds", lambda attempt, base, limit: min(limit, base * attempt))
    caplog.set_level(logging.INFO)


class Said:
    """The log, line by line."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self, text: str = "") -> list[dict[str, Any]]:
        """Lines with this message, or all."""
        lines = [json.loads(JsonFormatter().format(record)) for record in self._caplog.records]
        return [line for line in lines if not text or line["message"] == text]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    return Said(caplog)


class Bench:
    """A loop with what it works on; it ends with the test."""

    def __init__(self) -> None:
        self.stop, self.status = QuickStop(), Status()
        self.leases = Leases()
        self.loops: list[Any] = []

    def counts(self) -> dict[str, int]:
        """Counters that are not 0."""
        values = self.status.snapshot()
        return {name: values[name] for name in COUNTERS if values[name]}

    def problems(self) -> dict[str, str]:
        """Present problems."""
        found: dict[str, str] = self.status.snapshot()["problems"]
        return found


class InputBench(Bench):
    """An input loop and a function that answers what `answer` says."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.answer: Callable[[list[Any]], set[str]] = lambda _: set()

    def invoke(self, batch: list[Any]) -> set[str]:
        """The function."""
        self.batches.append([one["MessageId"] for one in batch])
        return self.answer(batch)

    def start(self, *rounds: Any, **changes: Any) -> InputLoop:
        """A loop that is served these rounds."""
        self.leases.rounds = list(rounds)
        function: Any = self
        leases: Any = self.leases
        loop = InputLoop(config(**changes), leases, function, self.status, self.stop)
        self.loops.append(loop)
        loop.start()
        return loop

    def settled(self) -> bool:
        """Every round was served and no message is held."""
        return not self.leases.rounds and not self.leases.held and not self.status.snapshot()["in_flight"]


@pytest.fixture
def bench() -> Iterator[InputBench]:
    bench = InputBench()
    yield bench
    bench.stop.set()
    for loop in bench.loops:
        assert loop.join(5)
        assert loop.drain(time.monotonic() + 5)


def upload(number: int, receives: int = 1) -> Any:
    return message(number, receives, json.dumps(upload_event(f"{number}.mp4", "abc")))


def test_answered_messages_are_deleted_counted_and_named(bench: InputBench, said: Said) -> None:
    bench.start([upload(1), upload(2)], concurrency=1)
    eventually(bench.settled)
    assert bench.leases.deleted == ["id-1", "id-2"]
    assert bench.leases.returned == []
    assert bench.batches == [["id-1", "id-2"]]
    eventually(lambda: bench.counts() == {"invoked": 2, "answered": 2})
    first, second = said.lines("answered")
    assert (first["level"], first["correlation"], first["message_id"]) == ("INFO", "1.mp4@abc", "id-1")
    assert (first["receive_count"], first["batch"]) == (1, 2)
    assert 0 <= first["seconds"] < 5
    assert second["correlation"] == "2.mp4@abc"
    assert bench.status.snapshot()["input_polled_at"]
    assert bench.status.snapshot()["output_polled_at"] is None


def test_failed_messages_alone_go_back_after_a_pause(bench: InputBench, said: Said) -> None:
    bench.answer = lambda batch: {"id-1"} & {one["MessageId"] for one in batch}
    bench.start([upload(1), upload(2)], concurrency=1, backoff_base_seconds=3)
    eventually(bench.settled)
    assert bench.leases.deleted == ["id-2"]
    assert bench.leases.returned == [("id-1", 3)]
    eventually(lambda: bench.counts() == {"invoked": 2, "answered": 1, "failures": 1})
    (line,) = said.lines("the function asks for another attempt")
    assert (line["level"], line["message_id"], line["batch"]) == ("WARNING", "id-1", 1)
    assert 0 <= line["seconds"] < 5


def test_when_all_fail_nothing_is_deleted(bench: InputBench, said: Said) -> None:
    bench.answer = lambda _: {"id-1"}
    bench.start([upload(1, receives=4)], backoff_base_seconds=3, backoff_max_seconds=10)
    eventually(bench.settled)
    assert (bench.leases.deleted, bench.leases.returned) == ([], [("id-1", 10)])
    assert said.lines("answered") == []
    eventually(lambda: bench.counts() == {"invoked": 1, "failures": 1})


def test_an_invocation_that_failed_fails_all(bench: InputBench, said: Said) -> None:
    def fail(_: Any) -> set[str]:
        raise InvocationFailedError("said so")

    bench.answer = fail
    bench.status.problem("function", "from before")
    bench.start([upload(1), upload(2)], concurrency=1)
    eventually(bench.settled)
    assert bench.leases.returned == [("id-1", 2), ("id-2", 2)]
    assert [(line["level"], line["error"]) for line in said.lines("an invocation failed")] == [("ERROR", "said so")] * 2
    eventually(lambda: bench.counts() == {"invoked": 2, "failures": 2})
    assert bench.problems() == {}, "it was started"
    assert said.lines("a batch failed for an unforeseen reason") == []


def test_something_odd_fails_all_and_is_described_by_its_place(bench: InputBench, said: Said) -> None:
    def fail(_: Any) -> set[str]:
        raise KeyError("Ada")

    bench.answer = fail
    bench.start([upload(1), upload(2)], [upload(3)], concurrency=1)
    eventually(bench.settled)
    assert bench.leases.returned == [("id-1", 2), ("id-2", 2), ("id-3", 2)]
    eventually(lambda: bench.counts() == {"invoked": 3, "failures": 3})
    lines = eventually(lambda: len(found := said.lines("a batch failed for an unforeseen reason")) == 3 and found)
    assert {(line["level"], line["error"]) for line in lines} == {("ERROR", "KeyError")}
    assert [line["message_id"] for line in lines] == ["id-1", "id-2", "id-3"]
    assert lines[0]["raised_in"]


def test_a_function_that_is_away_is_tried_again_with_the_same_messages(bench: InputBench, said: Said) -> None:
    def away(_: Any) -> set[str]:
        if len(bench.batches) < 4:
            problems.append(dict(bench.problems()))
            raise NotStartedError("throttled")
        return set()

    problems: list[dict[str, str]] = []
    bench.answer = away
    bench.start([upload(1)], hold_seconds=60)
    eventually(bench.settled)
    assert bench.batches == [["id-1"]] * 4
    assert bench.leases.deleted == ["id-1"]
    assert problems[1] == {"function": "the function cannot be started: throttled"}
    eventually(lambda: bench.problems() == {})
    lines = said.lines("the function cannot be started")
    assert [line["attempt"] for line in lines] == [1, 2, 3]
    assert {(line["level"], line["error"]) for line in lines} == {("ERROR", "throttled")}
    assert 0 <= lines[0]["held_seconds"] < 5
    assert [seconds for seconds in bench.stop.waits if seconds] == [1, 2, 3]
    eventually(lambda: bench.counts() == {"invoked": 4, "answered": 1})


def test_times_in_the_log_are_rounded_seconds(bench: InputBench, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(input_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(_: Any) -> set[str]:
        now[0] += 1.23456
        if len(bench.batches) == 1:
            raise NotStartedError("throttled")
        return {"id-2"}

    bench.answer = slow
    bench.start([upload(1), upload(2)], concurrency=1, hold_seconds=60)
    eventually(bench.settled)
    assert {line["held_seconds"] for line in said.lines("the function cannot be started")} == {1.2}
    (answered,) = said.lines("answered")
    (again,) = said.lines("the function asks for another attempt")
    assert (answered["seconds"], again["seconds"]) == (2.469, 2.469)


def test_the_pause_for_a_function_that_is_away_has_a_limit(bench: InputBench) -> None:
    def away(_: Any) -> set[str]:
        if len(bench.batches) < 18:
            raise NotStartedError("throttled")
        return set()

    bench.answer = away
    bench.start([upload(1)], hold_seconds=60)
    eventually(bench.settled)
    assert max(seconds or 0 for seconds in bench.stop.waits) == 15


def test_after_the_time_to_hold_the_queue_decides(
    bench: InputBench, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Any) -> set[str]:
        raise NotStartedError("throttled")

    monkeypatch.setattr(input_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    bench.answer = away
    bench.start([upload(1)], hold_seconds=0)
    eventually(bench.settled)
    assert bench.batches == [["id-1"]]
    assert bench.leases.returned == [("id-1", 2)]
    assert "function" in bench.problems()
    eventually(lambda: bench.counts() == {"invoked": 1, "failures": 1})
    assert said.lines("a batch failed for an unforeseen reason") == []


def test_a_message_whose_lease_is_lost_is_not_invoked(bench: InputBench) -> None:
    def lose(_: Any) -> set[str]:
        if len(bench.batches) == 1:
            del bench.leases.held["id-1"]
            raise NotStartedError("throttled")
        return set()

    bench.answer = lose
    bench.start([upload(1), upload(2)], concurrency=1)
    eventually(bench.settled)
    assert bench.batches == [["id-1", "id-2"], ["id-2"]]
    assert bench.leases.deleted == ["id-2"]


def test_a_batch_that_is_lost_whole_invokes_nothing(bench: InputBench) -> None:
    def lose(_: Any) -> set[str]:
        bench.leases.held.clear()
        raise NotStartedError("throttled")

    bench.answer = lose
    bench.start([upload(1)])
    eventually(bench.settled)
    bench.start([upload(2)])
    eventually(lambda: len(bench.batches) == 2)
    assert bench.batches == [["id-1"], ["id-2"]]
    assert bench.leases.deleted == []


def test_nothing_is_begun_after_the_stop(bench: InputBench) -> None:
    def stop(_: Any) -> set[str]:
        bench.stop.set()
        return set()

    bench.answer = stop
    loop = bench.start([upload(number, receives=2) for number in range(3)], concurrency=1)
    assert loop.join(5)
    assert loop.drain(time.monotonic() + 5)
    assert bench.batches == [["id-0"]]
    assert sorted(bench.leases.returned) == [("id-1", 0), ("id-2", 0)]


def test_a_function_that_is_away_is_not_tried_after_the_stop(bench: InputBench) -> None:
    def away(_: Any) -> set[str]:
        bench.stop.set()
        raise NotStartedError("throttled")

    bench.answer = away
    loop = bench.start([upload(1)], hold_seconds=60)
    assert loop.join(5)
    assert loop.drain(time.monotonic() + 5)
    assert bench.batches == [["id-1"]]
    assert bench.leases.returned == [("id-1", 0)]
    assert "failures" not in bench.counts()


def test_messages_of_a_long_poll_that_ends_after_the_stop_go_back(bench: InputBench) -> None:
    bench.leases.before_answer = bench.stop.set
    loop = bench.start([upload(1)])
    assert loop.join(5)
    assert bench.leases.returned == [("id-1", 0)]
    assert bench.batches == []


def test_the_drain_waits_for_what_runs_and_tells_when_it_does_not_end(bench: InputBench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Any) -> set[str]:
        begun.set()
        assert go_on.wait(10)
        return set()

    bench.answer = slow
    loop = bench.start([upload(1, receives=2), upload(2, receives=2)], concurrency=1)
    assert begun.wait(5)
    bench.stop.set()
    assert loop.join(5)
    started = time.monotonic()
    assert not loop.drain(time.monotonic() + 0.1)
    assert 0.05 < time.monotonic() - started < 3
    assert bench.leases.returned == [("id-2", 0)]
    assert not loop.drain(time.monotonic() - 5)
    go_on.set()
    assert loop.drain(time.monotonic() + 5)
    assert bench.leases.deleted == ["id-1"]
    assert bench.counts() == {"invoked": 1, "answered": 1}


def test_as_many_are_received_as_free_workers_take(bench: InputBench) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(_: Any) -> set[str]:
        begun.release()
        assert go_on.wait(10)
        return set()

    bench.answer = slow
    bench.start([upload(1)], [upload(2)], concurrency=3, batch_size=2)
    assert begun.acquire(timeout=5)
    assert begun.acquire(timeout=5)
    eventually(lambda: len(bench.leases.asked) > 2)
    assert bench.leases.asked[0] == (6, 7)
    assert bench.leases.asked[1][0] == 4
    assert bench.leases.asked[2][0] == 2
    assert bench.status.snapshot()["in_flight"] == 2
    go_on.set()
    eventually(bench.settled)


def test_at_most_ten_are_received(bench: InputBench) -> None:
    bench.start(concurrency=4, batch_size=5)
    eventually(lambda: bench.leases.asked)
    assert bench.leases.asked[0][0] == 10


def test_while_every_worker_is_busy_nothing_is_received(bench: InputBench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Any) -> set[str]:
        begun.set()
        assert go_on.wait(10)
        return set()

    bench.answer = slow
    loop = bench.start([upload(1, receives=2), upload(2, receives=2)], concurrency=1)
    assert begun.wait(5)
    asked = len(bench.leases.asked)
    time.sleep(1.2)
    assert len(bench.leases.asked) == asked
    assert loop.fault(1.1) is None, "it waits at most a second at a time, and shows life"
    started = time.monotonic()
    go_on.set()
    eventually(lambda: len(bench.leases.asked) > asked)
    assert time.monotonic() - started < 0.9, "the end of the work wakes it"


def test_batches_run_beside_each_other_and_redelivered_messages_go_alone(bench: InputBench) -> None:
    together = threading.Barrier(3, timeout=5)

    def meet(_: Any) -> set[str]:
        together.wait()
        return set()

    bench.answer = meet
    bench.start([upload(1), upload(2), upload(3, receives=2)], concurrency=3, batch_size=5)
    eventually(bench.settled)
    assert sorted(bench.batches) == [["id-1"], ["id-2"], ["id-3"]]


def test_the_free_workers_share_what_is_there(bench: InputBench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(batch: Any) -> set[str]:
        begun.set()
        assert batch[0]["MessageId"] != "id-0" or go_on.wait(10)
        return set()

    bench.answer = slow
    bench.start([upload(0)], concurrency=2, batch_size=5)
    assert begun.wait(5)
    bench.leases.rounds.append([upload(number) for number in range(1, 5)])
    eventually(lambda: len(bench.leases.deleted) == 4)
    assert bench.batches[1:] == [["id-1", "id-2", "id-3", "id-4"]], "the one that is free takes all"
    go_on.set()
    eventually(bench.settled)


def test_a_worker_survives_and_its_place_is_free_again(bench: InputBench) -> None:
    def fail(_: Any) -> set[str]:
        raise MemoryError

    bench.answer = fail
    loop = bench.start(*[[upload(number)] for number in range(5)], concurrency=1)
    eventually(bench.settled)
    assert len(bench.leases.returned) == 5
    assert loop.fault(5) is None
    names = [thread.name for thread in loop.threads()]
    assert names == ["input", "worker-0"]
    assert all(thread.daemon and thread.is_alive() for thread in loop.threads())


def test_a_poll_that_fails_is_a_problem_until_one_works(bench: InputBench, said: Said) -> None:
    bench.leases.before_answer = lambda: problems.append(bench.problems())
    problems: list[dict[str, str]] = []
    bench.start(AWAY, KeyError("Ada"), [upload(1)])
    eventually(bench.settled)
    assert problems == [{"input": "the input queue cannot be served: KeyError"}]
    first, second, third = (line for line in said.lines() if "queue" in line or "round" in line["message"])
    assert first["message"] == "a queue cannot be reached, another attempt follows"
    assert (first["level"], first["queue"], first["attempt"], first["error"]) == ("ERROR", "input", 1, str(AWAY))
    assert second["message"] == "a round failed for an unforeseen reason, another attempt follows"
    assert (second["attempt"], second["error"]) == (2, "KeyError")
    assert third["message"] == "the queue is served again"
    assert (third["level"], third["queue"], third["attempts"]) == ("WARNING", "input", 2)
    assert [seconds for seconds in bench.stop.waits if seconds] == [1, 2]
    eventually(lambda: bench.problems() == {})


def test_messages_whose_round_fails_go_back(bench: InputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.status, "polled", lambda _: 1 / 0)
    bench.start([upload(1, receives=3)], backoff_base_seconds=2)
    eventually(lambda: bench.leases.returned)
    assert bench.leases.returned == [("id-1", 6)]
    assert bench.batches == []


class OutputBench(Bench):
    """An output loop and a real store."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.config = config(directory)
        self.store = ResultStore(self.config.results_dir)
        self.store.open()
        leases: Any = self.leases
        self.loop = OutputLoop(self.config, leases, self.store, self.status, self.stop)

    def handle(self, *messages: Any) -> None:
        """One round with these messages, as far as the loop itself deals with them."""
        self.leases.held |= {one["MessageId"]: True for one in messages}
        self.loop.handle(list(messages))

    def names(self) -> list[str]:
        """Files of results."""
        return sorted(path.name for path in self.config.results_dir.iterdir())


@pytest.fixture
def output(tmp_path: Path) -> OutputBench:
    return OutputBench(tmp_path)


def answer(number: int, receives: int = 1, **changes: Any) -> Any:
    return message(number, receives, json.dumps(result_message(f"{number}.mp4", "abc", **changes)))


def test_answers_are_stored_then_deleted_and_counted(output: OutputBench, said: Said) -> None:
    output.handle(answer(1), answer(2))
    assert output.names() == ["1-abc.csv", "1-abc.json", "2-abc.csv", "2-abc.json"]
    assert output.leases.deleted == ["id-1", "id-2"]
    assert output.leases.returned == []
    again = answer(3)
    output.handle(again, again)
    assert output.counts() == {"stored": 3, "unchanged": 1}
    first = said.lines("stored")[0]
    assert first == first | {
        "level": "INFO",
        "correlation": "1.mp4@abc",
        "message_id": "id-1",
        "status": "recognized",
        "students": 1,
        "file": "1-abc.csv",
    }
    assert len(said.lines("unchanged")) == 1
    assert output.loop.capacity() == 10


def test_nothing_is_deleted_before_the_names_are_safe(output: OutputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, delete = output.store.sync, output.leases.delete

    def synced() -> None:
        order.append("sync")
        sync()

    def deleted(messages: Any) -> None:
        order.append("delete")
        delete(messages)

    monkeypatch.setattr(output.store, "sync", synced)
    monkeypatch.setattr(output.leases, "delete", deleted)
    output.handle(answer(1), answer(2))
    assert order == ["sync", "delete"]
    output.handle()
    output.handle(message(3, body="{"))
    assert order == ["sync", "delete"], "without a result there is nothing to make safe"


def test_what_is_no_result_goes_back_alone_and_nothing_of_it_is_kept(output: OutputBench, said: Said) -> None:
    output.handle(answer(1), message(2, 3, '{"schema": 9, "students": [{"name": "Ada"}]}'), answer(3))
    assert output.leases.deleted == ["id-1", "id-3"]
    assert output.leases.returned == [("id-2", 6)]
    assert output.counts() == {"stored": 2, "rejected": 1}
    (line,) = [line for line in said.lines() if "reason" in line]
    assert line["message"] == "a message in the output queue is no result, it goes to the dead-letter queue"
    assert (line["level"], line["message_id"], line["receive_count"]) == ("ERROR", "id-2", 3)
    assert line["reason"] == "schema is 9, known are 1, 2"
    assert output.names() == ["1-abc.csv", "1-abc.json", "3-abc.csv", "3-abc.json"]


def test_something_odd_sends_its_message_back_alone(
    output: OutputBench, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = output.store.store

    def odd(notification: Any, body: str) -> Outcome:
        if notification.video.key == "2.mp4":
            raise KeyError("Ada")
        return store(notification, body)

    monkeypatch.setattr(output.store, "store", odd)
    output.handle(answer(1), answer(2, receives=3), answer(3))
    assert output.leases.deleted == ["id-1", "id-3"]
    assert output.leases.returned == [("id-2", 6)]
    assert output.counts() == {"stored": 2, "failures": 1}
    (line,) = said.lines("an answer could not be stored for an unforeseen reason, it comes again")
    assert (line["level"], line["message_id"], line["receive_count"]) == ("ERROR", "id-2", 3)
    assert line["error"] == "KeyError"


def refusing(code: int, times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, which the disk refuses so many times before."""
    left = [times]

    def call(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(code, f"error {code}")
        return then(*arguments)

    return call


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EROFS, "the disk refuses")],
)
def test_while_the_disk_refuses_the_message_stays(
    output: OutputBench, said: Said, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    problems: list[dict[str, str]] = []
    store = output.store.store

    def stored(*arguments: Any) -> Any:
        problems.append(output.problems())
        return store(*arguments)

    monkeypatch.setattr(output.store, "store", refusing(code, 17, stored))
    output.handle(answer(1))
    assert output.leases.deleted == ["id-1"]
    assert output.leases.returned == []
    assert output.stop.waits == [*range(1, 16), 15, 15]
    text = f"{reason}, results wait in the queue: error {code}: {output.config.results_dir}"
    assert problems == [{"disk": text}]
    assert output.problems() == {}
    lines = said.lines(text)
    assert [line["attempt"] for line in lines] == list(range(1, 18))
    assert {line["level"] for line in lines} == {"ERROR"}
    assert lines[0]["error"] == f"[Errno {code}] error {code}"
    (line,) = said.lines("the disk takes results again")
    assert (line["level"], line["attempts"]) == ("WARNING", 17)


@pytest.mark.parametrize("code", [errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ])
def test_a_refusal_that_one_file_causes_holds_up_no_other(
    output: OutputBench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(output.store, "store", refusing(code, 1, output.store.store))
    output.handle(answer(1), answer(2))
    assert output.leases.returned == [("id-1", 2)]
    assert output.leases.deleted == ["id-2"]
    assert (output.stop.waits, output.problems()) == ([], {})


def test_a_message_whose_lease_ends_meanwhile_is_left_to_its_next_receiver(
    output: OutputBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        output.leases.held.pop("id-1", None)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(output.store, "store", full)
    output.handle(answer(1))
    assert output.leases.deleted == []
    assert output.counts() == {}
    assert len(output.stop.waits) == 1


def test_the_stop_ends_the_waiting_for_the_disk(output: OutputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        output.stop.set()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(output.store, "store", full)
    output.handle(answer(1), answer(2))
    assert len(output.stop.waits) == 1
    assert output.leases.deleted == []
    assert output.names() == []
    assert output.counts() == {}, "the disk's fault is not the answer's"


def test_names_that_are_not_safe_at_the_stop_leave_their_messages_in_the_queue(
    output: OutputBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        output.stop.set()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(output.store, "sync", full)
    output.handle(answer(1))
    assert output.leases.deleted == []


def test_after_the_stop_no_answer_is_begun_and_what_is_stored_is_deleted(
    output: OutputBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = output.store.store

    def last(*arguments: Any) -> Outcome:
        output.stop.set()
        return store(*arguments)

    monkeypatch.setattr(output.store, "store", last)
    output.handle(answer(1), answer(2))
    assert output.names() == ["1-abc.csv", "1-abc.json"]
    assert output.leases.deleted == ["id-1"]


def test_a_disk_that_refuses_the_names_is_waited_for(output: OutputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.store, "sync", refusing(errno.ENOSPC, 2, output.store.sync))
    output.handle(answer(1))
    assert output.stop.waits == [1, 2]
    assert output.leases.deleted == ["id-1"]


def test_it_shows_life_at_every_attempt_and_every_refusal(output: OutputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []
    monkeypatch.setattr(output.loop, "beat", lambda: beats.append("beat"))
    output.handle(answer(1), message(2, body="{"))
    assert len(beats) == 3, "the answer, the refusal, the names"


def test_a_round_leaves_nothing_leased(output: OutputBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the round: each message is deleted or back in the queue."""
    monkeypatch.setattr(output.store, "sync", lambda: 1 / 0)
    output.leases.rounds = [[answer(1), answer(2, receives=2)]]
    output.loop.start()
    eventually(lambda: output.leases.returned)
    output.stop.set()
    assert output.loop.join(5)
    assert output.leases.returned == [("id-1", 2), ("id-2", 4)]
    assert output.leases.held == {}
    assert output.leases.asked[0] == (10, 7)
    assert output.status.snapshot()["output_polled_at"]
    assert output.status.snapshot()["input_polled_at"] is None
