"""Something odd in every loop and call: the right end state within one visibility time-out, and nobody else waits."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classroom_poller import service as service_module
from classroom_poller.input_loop import InputLoop
from classroom_poller.invocation import Function
from classroom_poller.leases import LeasedQueue
from classroom_poller.logs import JsonFormatter
from classroom_poller.results import ResultStore
from classroom_poller.service import Renewal, Service
from classroom_poller.status import Status
from poller_testing.loopback_aws import FunctionFault, result_message
from poller_testing.world import MAX_RECEIVES, World, eventually

Start = Callable[..., Service]
ODD = [KeyError("odd"), RuntimeError("odd"), MemoryError(), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "odd")]
KINDS = [type(error).__name__ for error in ODD]
VISIBILITY = 2


def faulty(call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`call`, which raises instead of its work the first time, and after its work the third time."""
    lock = threading.Lock()
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            number = calls
        if number == 1:
            raise error
        result = call(*arguments, **options)
        # What was received is accounted for by whoever called.
        if number == 3 and call.__name__ != "receive":
            raise error
        return result

    return wrapped


def log_of(caplog: pytest.LogCaptureFixture) -> str:
    """The log as it would be written."""
    return "\n".join(JsonFormatter().format(record) for record in caplog.records)


CALLS: list[tuple[type, str]] = [
    (LeasedQueue, "receive"),
    (LeasedQueue, "_forget"),
    (LeasedQueue, "holds"),
    (LeasedQueue, "delete"),
    (LeasedQueue, "extend"),
    (Function, "invoke"),
    (InputLoop, "capacity"),
    (InputLoop, "handle"),
    (InputLoop, "_finish"),
    (ResultStore, "store"),
    (ResultStore, "sync"),
    (Status, "polled"),
    (Status, "count"),
    (Status, "line"),
    (Status, "write"),
]


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=[f"{owner.__name__}.{name}" for owner, name in CALLS])
def test_a_call_that_raises_something_odd_delays_its_messages_and_loses_none(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, faulty(getattr(owner, name), ODD[len(name) % len(ODD)]))
    world.allow_receives(5)
    for number in range(6):
        world.upload(f"{number}.mp4")
    service = start(visibility_seconds=VISIBILITY, concurrency=1)
    eventually(lambda: len(world.csv_files()) == 6 and world.empty(), what="all results", seconds=4 * VISIBILITY)
    assert world.depth("input-notification-dlq") == world.depth("output-notification-dlq") == 0
    assert len(world.results()) == 12
    assert [fault for part in service._parts if (fault := part.fault(150))] == []
    before = service.status.snapshot()["written_at"]
    eventually(lambda: json.loads(Path(world.settings["state_file"]).read_text())["written_at"] > before, what="life")


@pytest.mark.parametrize("error", ODD, ids=KINDS)
def test_an_invocation_that_raises_gives_its_batch_back(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    calls: list[float] = []
    invoke = Function.invoke

    def failing(self: Function, messages: Any) -> set[str]:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise error
        return invoke(self, messages)

    monkeypatch.setattr(Function, "invoke", failing)
    world.upload("a.mp4")
    service = start(visibility_seconds=VISIBILITY)
    eventually(lambda: world.csv_files() and world.empty(), what="the result", seconds=10)
    assert len(calls) == 2
    # After the pause that every failure has, and long before the lease would have ended by itself.
    assert 0.9 < calls[1] - calls[0] < VISIBILITY + 1
    eventually(lambda: service.status.snapshot()["failures"] == 1, what="the failure counted")
    assert service.status.snapshot()["in_flight"] == 0
    assert f'"error": "{type(error).__name__}"' in log_of(caplog)
    assert '"raised_in"' in log_of(caplog)


def test_an_invocation_that_always_raises_ends_in_the_dead_letter_queue_with_its_reason_in_the_log(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    invoke = Function.invoke

    def failing(self: Function, messages: Any) -> set[str]:
        if any("poison" in message["Body"] for message in messages):
            raise KeyError("Ada Lovelace")
        return invoke(self, messages)

    monkeypatch.setattr(Function, "invoke", failing)
    for key in ("a.mp4", "poison.mp4", "b.mp4", "c.mp4"):
        world.upload(key)
    start(visibility_seconds=VISIBILITY, concurrency=1)
    eventually(lambda: world.depth("input-notification-dlq") == 1 and world.empty(), what="one dead letter")
    assert len(world.csv_files()) == 3
    lines = [json.loads(line) for line in log_of(caplog).splitlines()]
    told = [line for line in lines if line.get("error") == "KeyError" and line["correlation"].startswith("poison.mp4@")]
    assert [line["receive_count"] for line in told] == list(range(1, MAX_RECEIVES + 1))
    assert "Lovelace" not in log_of(caplog)


@pytest.mark.parametrize("error", ODD, ids=KINDS)
def test_an_answer_whose_storing_raises_takes_no_neighbour_along(
    world: World,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    store = ResultStore.store

    def failing(self: ResultStore, notification: Any, body: str) -> Any:
        if "poison" in notification.video.key:
            raise error
        return store(self, notification, body)

    monkeypatch.setattr(ResultStore, "store", failing)
    for key in ("a.mp4", "poison.mp4", "b.mp4"):
        world.send("output-notification", json.dumps(result_message(key)))
    service = start(visibility_seconds=VISIBILITY)
    eventually(lambda: len(world.csv_files()) == 2, what="the neighbours", seconds=3)
    eventually(lambda: world.depth("output-notification-dlq") == 1 and world.empty(), what="one dead letter")
    assert log_of(caplog).count(f'"error": "{type(error).__name__}"') == MAX_RECEIVES
    assert service.status.snapshot()["failures"] == MAX_RECEIVES
    assert service.status.snapshot()["stored"] == 2


def test_a_file_that_the_disk_alone_refuses_stops_no_other(
    world: World, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory of that name stands in the way; waiting for it would hold up everything."""
    in_the_way = Path(world.settings["results_dir"]) / f"poison-{'e' * 32}.json"
    in_the_way.mkdir(parents=True)
    for key in ("poison.mp4", "a.mp4"):
        world.send("output-notification", json.dumps(result_message(key)))
    service = start(visibility_seconds=VISIBILITY)
    eventually(lambda: world.depth("output-notification-dlq") == 1 and world.empty(), what="one dead letter")
    assert f"a-{'e' * 32}.csv" in world.results()
    assert "Is a directory" in log_of(caplog)
    assert "disk" not in service.status.snapshot()["problems"]


POISON: dict[str, Any] = {
    "surrogate in a name": {"students": [{"name": "\ud800", "confidence": "sure"}]},
    "surrogate in major": {"students": [{"name": "Ada", "major": "\ud800", "confidence": "sure"}]},
    "surrogate in the key": {"video": {"bucket": "b", "key": "\ud800.mp4", "etag": "e"}},
    "number as year": {"students": [{"name": "Ada", "year": 3, "confidence": "sure"}]},
    "status of a later version": {"status": "perhaps"},
    "schema of a later version": {"schema": 3},
    "students as text": {"students": "Ada"},
    "time without zone": {"processed_at": "2026-01-01T00:00:00"},
    "etag as list": {"video": {"bucket": "b", "key": "a.mp4", "etag": ["e"]}},
}


def test_every_kind_of_poison_is_rejected_alone_with_its_reason(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    for number, changes in enumerate(POISON.values()):
        world.send("output-notification", json.dumps(result_message("poison.mp4", **changes)))
        world.send("output-notification", json.dumps(result_message(f"{number}.mp4")))
    service = start(visibility_seconds=VISIBILITY)
    eventually(lambda: len(world.csv_files()) == len(POISON), what="the good answers", seconds=5)
    dead = len(POISON)
    eventually(lambda: world.depth("output-notification-dlq") == dead and world.empty(), what="the dead letters")
    reasons = [json.loads(line)["reason"] for line in log_of(caplog).splitlines() if '"reason"' in line]
    assert len(reasons) == MAX_RECEIVES * len(POISON)
    assert len(set(reasons)) >= 8
    assert "Ada" not in log_of(caplog)
    assert service.status.snapshot()["rejected"] == MAX_RECEIVES * len(POISON)


def test_messages_of_schema_1_are_stored_during_an_upgrade(world: World, start: Start) -> None:
    old = [{"name": "Ada", "major": None, "year": 3, "distance": 0.3}]
    world.send("output-notification", json.dumps(result_message("a.mp4", schema=1, students=old)))
    start()
    eventually(lambda: world.csv_files() and world.empty(), what="the result")
    (name,) = world.csv_files()
    assert (Path(world.settings["results_dir"]) / name).read_bytes() == b"name,major,year\r\nAda,,3\r\n"


def test_an_upload_whose_key_is_half_a_pair_is_logged_all_the_same(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def function(_: Any) -> Any:
        raise FunctionFault("signal: killed")

    world.aws.function = function
    body = {"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "\ud800.mp4", "eTag": "e"}}}]}
    world.send("input-notification", json.dumps(body))
    start(visibility_seconds=VISIBILITY)
    eventually(lambda: world.depth("input-notification-dlq") == 1, what="a dead letter")
    assert "Runtime.ExitError: signal: killed" in log_of(caplog)
    log_of(caplog).encode()


def test_after_the_stop_nothing_that_waits_here_is_begun(world: World, start: Start) -> None:
    running, go_on = threading.Event(), threading.Event()

    def function(event: Any) -> Any:
        running.set()
        assert go_on.wait(10)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    for number in range(4):
        world.upload(f"{number}.mp4")
    url = world.urls["input-notification"]
    assert len(world.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]) == 4
    # Messages that come again go alone: three wait in line for the only worker. The long poll holds up the drain.
    service = start(concurrency=1, wait_seconds=5)
    assert running.wait(10)
    service._stop.set()
    go_on.set()
    eventually(lambda: world.visible("input-notification") == 3, what="three messages for others", seconds=3)
    eventually(lambda: service._ended.is_set(), what="the end of the drain")
    assert len(world.aws.invocations) == 1


def test_answers_received_at_the_stop_go_back_at_once(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    store = ResultStore.store

    def slow(self: ResultStore, notification: Any, body: str) -> Any:
        began.set()
        assert go_on.wait(10)
        return store(self, notification, body)

    monkeypatch.setattr(ResultStore, "store", slow)
    for number in range(4):
        world.send("output-notification", json.dumps(result_message(f"{number}.mp4")))
    service = start(visibility_seconds=30)
    assert began.wait(10)
    service._stop.set()
    go_on.set()
    eventually(lambda: service._ended.is_set(), what="the end of the drain")
    assert len(world.csv_files()) == 1
    assert world.visible("output-notification") == 3


def service_at_rest(world: World, **changes: Any) -> tuple[Service, list[str]]:
    """A service that is not started, and the signs of life that it sends."""
    from classroom_poller.clients import open_clients
    from classroom_poller.notify import Notifier

    signs: list[str] = []
    notifier = Notifier({})
    notifier.alive = lambda: signs.append("alive")  # type: ignore[method-assign]
    config = world.config(**changes)
    stop = threading.Event()
    return Service(config, open_clients(config, world.credentials / "aws"), notifier, stop, Status()), signs


def test_a_loop_that_was_not_started_does_not_hang(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk refuses at the start: no loop runs, so none can hang, however long it lasts."""
    monkeypatch.setattr(service_module, "STALL_SECONDS", -1)
    monkeypatch.setattr(service_module, "OPEN_SECONDS", 0.05)
    refuse = threading.Event()
    refuse.set()
    opened = ResultStore.open

    def full(self: ResultStore) -> None:
        if refuse.is_set():
            raise OSError(28, "No space left on device")
        opened(self)

    monkeypatch.setattr(ResultStore, "open", full)
    service, signs = service_at_rest(world)
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    eventually(lambda: len(signs) > 3, what="signs of life")
    assert "No space left" in service.status.snapshot()["problems"]["disk"]
    assert json.loads(Path(world.settings["state_file"]).read_text())["problems"]
    assert "watchdog" not in caplog.text
    monkeypatch.setattr(service_module, "STALL_SECONDS", 150)
    refuse.clear()
    eventually(lambda: service.status.snapshot()["state"] == "running", what="the start")
    assert service.status.snapshot()["problems"] == {}
    service._stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_stop_while_the_disk_refuses_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: ResultStore) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ResultStore, "open", full)
    service, _ = service_at_rest(world)
    threading.Timer(0.2, service._stop.set).start()
    assert service.run() is True


@pytest.mark.parametrize("part", ["input", "output", "worker", "renewal"])
def test_a_thread_that_dies_stops_the_signs_of_life(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    """Nothing that an Exception is ends a thread; whatever else does is seen by the watchdog."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    service, signs = service_at_rest(world, visibility_seconds=1)
    owner, name = {
        "input": (service._input, "_round"),
        "output": (service._output, "_round"),
        "worker": (service._input, "_attempt"),
        "renewal": (service._renewals[0]._messages, "extend"),
    }[part]

    def end(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(owner, name, end)
    world.upload("a.mp4")
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    eventually(lambda: "watchdog will restart" in caplog.text, what="the watchdog", seconds=10)
    assert "has died" in log_of(caplog)
    signs.clear()
    time.sleep(1.5)
    assert signs == []
    service._stop.set()
    thread.join(25)


def test_a_loop_or_renewal_that_hangs_stops_the_signs_of_life(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    service, signs = service_at_rest(world)
    hang = threading.Event()
    monkeypatch.setattr(LeasedQueue, "receive", lambda *_: hang.wait(20) and [])
    monkeypatch.setattr(LeasedQueue, "extend", lambda *_: hang.wait(20))
    for part in service._parts:
        part.start()
        assert part.fault(150) is None
    time.sleep(1.5)
    assert [loop.fault(1) for loop in service._loops] == ["the input loop hangs", "the output loop hangs"]
    # Between two renewals lies a third of the visibility (3 s here), which is no hang.
    assert [one.fault(1) for one in service._renewals] == [None, None]
    assert [one.fault(0) for one in service._renewals] == [
        "the renewal of the input queue hangs",
        "the renewal of the output queue hangs",
    ]
    monkeypatch.setattr(service_module, "STALL_SECONDS", 1)
    service._show_life()
    assert signs == []
    service._stop.set()
    assert [loop.fault(0) for loop in service._loops] == [None, None], "after the stop silence is right"
    service._ended.set()
    assert [one.fault(0) for one in service._renewals] == [None, None]
    hang.set()


def test_rejecting_many_messages_over_a_slow_link_is_no_hang(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    service, _ = service_at_rest(world)
    loop = service._output
    silent: list[float] = []

    def slow(*_: Any) -> None:
        silent.append(time.monotonic() - loop._beat)
        time.sleep(0.1)

    monkeypatch.setattr(loop._messages, "give_back", slow)
    service._store.open()
    bad: Any = [{"MessageId": f"m{n}", "ReceiptHandle": "h", "Body": "{"} for n in range(5)]
    loop.handle(bad)
    assert len(silent) == 5
    assert max(silent) < 0.1


def test_the_renewal_goes_on_after_anything(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[float] = []

    class Failing:
        def extend(self) -> None:
            calls.append(time.monotonic())
            raise ODD[len(calls) % len(ODD)]

    ended = threading.Event()
    leases: Any = Failing()
    renewal = Renewal("input", leases, 0.15, ended)
    renewal.start()
    eventually(lambda: len(calls) > 5, what="renewals")
    assert renewal.fault(1) is None
    ended.set()
    assert "MemoryError" in log_of(caplog)
    gaps = [later - earlier for earlier, later in itertools.pairwise(calls)]
    assert min(gaps) > 0.04


def test_the_log_quotes_no_fault_that_nobody_foresaw() -> None:
    try:
        raise KeyError("Ada Lovelace")
    except KeyError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "text", None, sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert line["error"] == "KeyError"
    assert line["raised_in"][0].endswith("test_the_log_quotes_no_fault_that_nobody_foresaw")
    assert "Lovelace" not in json.dumps(line)
    assert JsonFormatter().format(logging.makeLogRecord({"msg": "\ud800"})).encode()
