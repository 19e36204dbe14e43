"""The service in a thread against queues on a loopback port: what it does with good and bad days."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classroom_poller.service import Service
from poller_testing.loopback_aws import FunctionFault, InvokeRefused, result_message
from poller_testing.world import MAX_RECEIVES, World, eventually

Start = Callable[..., Service]


def test_uploads_become_files_and_the_queues_end_empty(world: World, start: Start) -> None:
    keys = [f"week 1/lecture {number}+ü.mp4" for number in range(25)]
    for key in keys:
        world.upload(key)
    service = start()
    eventually(lambda: len(world.csv_files()) == 25 and world.empty(), what="25 results")

    def counts() -> tuple[object, ...]:
        status = service.status.snapshot()
        return tuple(status[name] for name in ("invoked", "answered", "stored", "failures"))

    eventually(lambda: counts() == (25, 25, 25, 0), what="the counts of 25 videos")
    assert len(world.results()) == 50


def test_two_workers_share_what_is_there(world: World, start: Start) -> None:
    together = threading.Barrier(2, timeout=10)

    def function(event: Any) -> Any:
        together.wait()
        return world.aws.answer_uploads(event)

    world.aws.function = function
    for number in range(10):
        world.upload(f"{number}.mp4")
    start()
    eventually(lambda: len(world.csv_files()) == 10, what="10 results")
    assert sorted(len(event["Records"]) for event in world.aws.invocations) == [5, 5]


def test_the_function_sees_an_event_source_mapping(world: World, start: Start) -> None:
    world.upload("a.mp4")
    start()
    eventually(lambda: world.aws.invocations, what="an invocation")
    record = world.aws.invocations[0]["Records"][0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:123456789012:input-notification"
    assert record["awsRegion"] == "us-east-1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert json.loads(record["body"])["Records"][0]["s3"]["object"]["key"] == "a.mp4"


def test_only_named_failures_come_again(world: World, start: Start) -> None:
    tries: dict[str, int] = {}

    def function(event: Any) -> Any:
        failures = []
        for record in event["Records"]:
            tries[record["messageId"]] = tries.get(record["messageId"], 0) + 1
            if "bad" in record["body"] and tries[record["messageId"]] == 1:
                failures.append({"itemIdentifier": record["messageId"]})
            else:
                world.aws.answer_uploads({"Records": [record]})
        return {"batchItemFailures": failures}

    world.aws.function = function
    for key in ("a.mp4", "bad.mp4", "c.mp4"):
        world.upload(key)
    service = start(concurrency=1)
    eventually(lambda: len(world.csv_files()) == 3 and world.empty(), what="3 results")
    assert sorted(tries.values()) == [1, 1, 2]
    eventually(lambda: service.status.snapshot()["failures"] == 1, what="one failure counted")


def test_a_function_that_always_fails_ends_in_the_dead_letter_queue_and_takes_nobody_along(
    world: World, start: Start
) -> None:
    def function(event: Any) -> Any:
        if any("poison" in record["body"] for record in event["Records"]):
            raise FunctionFault("signal: killed")
        return world.aws.answer_uploads(event)

    world.aws.function = function
    for key in ("a.mp4", "poison.mp4", "c.mp4", "d.mp4"):
        world.upload(key)
    start(concurrency=1)
    eventually(lambda: world.depth("input-notification-dlq") == 1 and world.empty(), what="one dead letter")
    assert len(world.csv_files()) == 3
    assert sum("poison" in json.dumps(event) for event in world.aws.invocations) == MAX_RECEIVES


@pytest.mark.parametrize(
    ("code", "http_status"), [("TooManyRequestsException", 429), ("ResourceNotFoundException", 404)]
)
def test_a_function_that_cannot_be_started_costs_no_receive(
    world: World, start: Start, code: str, http_status: int
) -> None:
    refusals = 2
    seen: list[int] = []

    def function(event: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise InvokeRefused(code, http_status)
        seen.extend(int(record["attributes"]["ApproximateReceiveCount"]) for record in event["Records"])
        return world.aws.answer_uploads(event)

    world.aws.function = function
    world.upload("a.mp4")
    service = start()
    eventually(lambda: "function" in service.status.snapshot()["problems"], what="a problem in the status")
    eventually(lambda: world.csv_files() and world.empty(), what="the result")
    assert seen == [1]
    eventually(lambda: service.status.snapshot()["problems"] == {}, what="a status without a problem")


def test_a_function_that_stays_away_lets_the_queue_decide(world: World, start: Start) -> None:
    def function(_: Any) -> Any:
        raise InvokeRefused("TooManyRequestsException", 429)

    world.aws.function = function
    world.upload("a.mp4")
    start(hold_seconds=0)
    eventually(lambda: world.depth("input-notification-dlq") == 1, what="a dead letter")


def test_a_server_error_is_not_repeated_at_once(world: World, start: Start) -> None:
    calls: list[float] = []

    def function(event: Any) -> Any:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise InvokeRefused("ServiceException", 500)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    world.upload("a.mp4")
    start()
    eventually(lambda: world.csv_files() and world.empty(), what="the result")
    assert len(calls) == 2
    assert calls[1] - calls[0] > 0.9


def test_a_long_invocation_keeps_its_message(world: World, start: Start) -> None:
    """Visibility is 1 s, the invocation takes 3: without renewal the message would come twice."""
    calls: list[Any] = []

    def function(event: Any) -> Any:
        calls.append(event)
        time.sleep(3)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    world.upload("slow.mp4")
    start(visibility_seconds=1)
    eventually(lambda: world.csv_files() and world.empty(), what="the result", seconds=20)
    assert len(calls) == 1


def test_duplicates_change_nothing(world: World, start: Start) -> None:
    body = json.dumps(result_message("a.mp4"))
    for _ in range(5):
        world.send("output-notification", body)
    service = start()
    eventually(world.empty, what="an empty queue")
    assert len(world.results()) == 2
    eventually(lambda: service.status.snapshot()["unchanged"] == 4, what="four duplicates noticed")
    assert service.status.snapshot()["stored"] == 1


def test_garbage_goes_to_the_dead_letter_queue_and_stops_nobody(world: World, start: Start) -> None:
    for body in ("not json", '{"schema": 99}', "[]"):
        world.send("output-notification", body)
    world.send("output-notification", json.dumps(result_message("good.mp4")))
    start()
    eventually(lambda: world.depth("output-notification-dlq") == 3 and world.empty(), what="three dead letters")
    assert len(world.csv_files()) == 1
    # A message that is no result may hold names all the same: the dead-letter queue is the one place that keeps it.
    assert [path.name for path in Path(world.settings["results_dir"]).parent.iterdir() if path.is_dir()] == ["results"]


def test_a_full_disk_loses_nothing_and_spends_no_receives(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, full = os.fsync, threading.Event()
    full.set()

    def fsync(descriptor: int) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(12):
        world.send("output-notification", json.dumps(result_message(f"{number}.mp4")))
    with caplog.at_level(logging.ERROR):
        service = start(visibility_seconds=1)
        # Longer than all the receives that the queue allows would last.
        time.sleep(MAX_RECEIVES + 1)
    assert "the disk is full" in service.status.snapshot()["problems"]["disk"]
    assert "the disk is full" in caplog.text
    assert world.results() == []
    assert world.depth("output-notification-dlq") == 0
    full.clear()
    eventually(lambda: len(world.csv_files()) == 12 and world.empty(), what="12 results", seconds=30)
    eventually(lambda: service.status.snapshot()["problems"] == {}, what="a status without a problem")


def test_the_stop_finishes_what_runs_and_gives_back_the_rest(world: World, start: Start) -> None:
    running, go_on = threading.Event(), threading.Event()

    def function(event: Any) -> Any:
        running.set()
        assert go_on.wait(10)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    for number in range(10):
        world.upload(f"{number}.mp4")
    # One worker, batches of two: the others of the ten stay in the queue, and what is queued here goes back at once.
    service = start(concurrency=1, batch_size=2)
    assert running.wait(10)
    service._stop.set()
    eventually(lambda: world.visible("input-notification") == 8, what="eight messages for others")
    go_on.set()
    eventually(lambda: service._ended.is_set(), what="the end of the drain")
    assert world.depth("input-notification") == 8
    assert sum(len(event["Records"]) for event in world.aws.invocations) == 2


def test_batches_that_no_worker_has_begun_go_back_at_the_stop(world: World, start: Start) -> None:
    """Messages that come a second time go one by one, so they wait in line for the only worker."""
    running, go_on = threading.Event(), threading.Event()

    def function(event: Any) -> Any:
        running.set()
        assert go_on.wait(10)
        return world.aws.answer_uploads(event)

    world.aws.function = function
    for number in range(4):
        world.upload(f"{number}.mp4")
    url = world.urls["input-notification"]
    first = world.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
    assert len(first) == 4
    service = start(concurrency=1)
    assert running.wait(10)
    service._stop.set()
    eventually(lambda: world.visible("input-notification") == 3, what="three messages for others")
    go_on.set()
    eventually(lambda: service._ended.is_set(), what="the end of the drain")
    assert world.depth("input-notification") == 3
