"""A thousand clips, a fault at every fiftieth, each kind at least once: a thousand right end states, each once."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from classroom_poller.clients import Clients
from classroom_poller.invocation import Function
from classroom_poller.messages import file_stem
from classroom_poller.notify import Notifier
from classroom_poller.results import ResultStore
from classroom_poller.service import Service
from classroom_poller.status import Status
from poller_testing.doubles import config
from poller_testing.loopback_aws import FunctionFault, InvokeRefused, result_message, upload_event
from poller_testing.memory_aws import MemoryFunction, MemoryQueues
from poller_testing.world import eventually

from classroom_contract.results import Video

COUNT, EVERY = 1000, 50
VISIBILITY = 5
EARLIER = "2020-01-01T00:00:00Z"
# What happens to a clip: once, unless it says always. Behind it, where the clip ends: as a result, or among the dead
# letters of a queue.
RESULT, INPUT, OUTPUT = "result", "input", "output"
FAULTS = {
    "the function crashes": RESULT,
    "the function crashes after it has answered": RESULT,
    "the function always crashes": INPUT,
    "the function names it as failed": RESULT,
    "the function always names it as failed": INPUT,
    "the function's answer names somebody else": RESULT,
    "the function is throttled": RESULT,
    "Lambda has an error": RESULT,
    "the function takes longer than the lease": RESULT,
    "the upload is announced twice": RESULT,
    "the answer comes twice": RESULT,
    "an older answer comes late": RESULT,
    "the answer has the older schema": RESULT,
    "the answer is no JSON": OUTPUT,
    "the answer holds half a letter": OUTPUT,
    "the call raises KeyError": RESULT,
    "the call always raises MemoryError": INPUT,
    "the disk is full": RESULT,
    "storing raises UnicodeEncodeError": RESULT,
    "storing always raises RuntimeError": OUTPUT,
}
KINDS = list(FAULTS)
assert len(KINDS) == COUNT // EVERY


def key_of(number: int) -> str:
    """The clip's key; those with a fault have it in their name."""
    fault = KINDS[number // EVERY] if number % EVERY == EVERY // 2 else "fine"
    return f"day/{number:04d} {fault}.mp4"


def fault_of(key: str) -> str:
    """What happens to this clip."""
    return key.removesuffix(".mp4").partition(" ")[2]


def upload_key(body: str) -> str:
    """The clip that an upload's event is about."""
    return unquote_plus(json.loads(body)["Records"][0]["s3"]["object"]["key"])


class Day:
    """The function of such a day, and what else goes wrong on it."""

    def __init__(self, queues: MemoryQueues, answers: str) -> None:
        self._queues, self._answers = queues, answers
        self._happened: set[str] = set()

    def first(self, key: str) -> bool:
        """Whether the fault of this clip has not happened yet."""
        if key in self._happened:
            return False
        self._happened.add(key)
        return True

    def function(self, event: Any) -> Any:
        """Answers as the real one, but for the faults."""
        failed, raised, named = [], None, None
        for record in event["Records"]:
            upload = json.loads(record["body"])["Records"][0]["s3"]["object"]
            key = upload_key(record["body"])
            fault = fault_of(key)
            if fault == "the function always crashes" or (fault == "the function crashes" and self.first(key)):
                raise FunctionFault("signal: killed")
            if fault == "the function is throttled" and self.first(key):
                raise InvokeRefused("TooManyRequestsException", 429)
            if fault == "Lambda has an error" and self.first(key):
                raise InvokeRefused("ServiceException", 500)
            if fault == "the function takes longer than the lease" and self.first(key):
                time.sleep(VISIBILITY + 1)
            if fault == "the function always names it as failed" or (
                fault == "the function names it as failed" and self.first(key)
            ):
                failed.append({"itemIdentifier": record["messageId"]})
                continue
            self._answer(key, upload["eTag"], fault)
            if fault == "the function crashes after it has answered" and self.first(key):
                raised = FunctionFault("signal: killed")
            if fault == "the function's answer names somebody else" and self.first(key):
                named = {"batchItemFailures": [{"itemIdentifier": "nobody"}]}
        if raised:
            raise raised
        return named or {"batchItemFailures": failed}

    def _answer(self, key: str, etag: str, fault: str) -> None:
        good = result_message(key, etag)
        bodies = {
            "the answer comes twice": [json.dumps(good)] * 2,
            "an older answer comes late": [
                json.dumps(good),
                json.dumps(good | {"processed_at": EARLIER, "status": "unknown", "students": []}),
            ],
            "the answer has the older schema": [json.dumps(good | {"schema": 1})],
            "the answer is no JSON": ["{"],
            "the answer holds half a letter": [
                json.dumps(good | {"students": [{"name": "Ada", "major": "\ud800", "confidence": "sure"}]})
            ],
        }
        for body in bodies.get(fault, [json.dumps(good)]):
            self._queues.send(self._answers, body)

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The faults on the poller's own side."""
        invoke, store = Function.invoke, ResultStore.store

        def faulty_invoke(this: Function, messages: Any) -> set[str]:
            for message in messages:
                key = upload_key(message["Body"])
                if fault_of(key) == "the call always raises MemoryError":
                    raise MemoryError
                if fault_of(key) == "the call raises KeyError" and self.first(key):
                    raise KeyError(key)
            return invoke(this, messages)

        def faulty_store(this: ResultStore, notification: Any, body: str) -> Any:
            key = notification.video.key
            if fault_of(key) == "storing always raises RuntimeError":
                raise RuntimeError
            if fault_of(key) == "storing raises UnicodeEncodeError" and self.first(key):
                raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "planted")
            if fault_of(key) == "the disk is full" and self.first(key):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return store(this, notification, body)

        monkeypatch.setattr(Function, "invoke", faulty_invoke)
        monkeypatch.setattr(ResultStore, "store", faulty_store)


def test_a_thousand_clips_with_every_kind_of_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(
        tmp_path,
        state_file=tmp_path / "status.json",
        metrics_file=tmp_path / "poller.prom",
        wait_seconds=1,
        visibility_seconds=VISIBILITY,
        backoff_base_seconds=1,
        backoff_max_seconds=1,
        concurrency=4,
    )
    queues: Any = MemoryQueues(receives=3)
    day = Day(queues, settings.output_queue_url)
    day.plant(monkeypatch)
    keys = [key_of(number) for number in range(COUNT)]
    for key in [*keys, *(key for key in keys if fault_of(key) == "the upload is announced twice")]:
        queues.send(settings.input_queue_url, json.dumps(upload_event(key)))
    ends = {key: FAULTS.get(fault_of(key), RESULT) for key in keys}

    function: Any = MemoryFunction(day.function)
    stop, status = threading.Event(), Status()
    service = Service(settings, Clients(queues, queues, function), Notifier({}), stop, status)
    thread = threading.Thread(target=service.run, daemon=True)
    began = time.monotonic()
    thread.start()
    urls = (settings.input_queue_url, settings.output_queue_url)
    eventually(lambda: not any(map(queues.depth, urls)), what="a thousand end states", seconds=60, tick=0.1)
    eventually(lambda: status.snapshot()["in_flight"] == 0, what="the end of the last batch")
    assert time.monotonic() - began < 60
    stop.set()
    thread.join(20)
    assert not thread.is_alive()

    assert [len(queues.dead[url]) for url in urls] == [3, 3]
    given_up = {upload_key(letter["Body"]) for letter in queues.dead[settings.input_queue_url]}
    assert given_up == {key for key, end in ends.items() if end == INPUT}
    names: list[str] = []
    for key in (key for key, end in ends.items() if end == RESULT):
        etag = upload_event(key)["Records"][0]["s3"]["object"]["eTag"]
        names += [f"{file_stem(Video('b', key, etag))}.{kind}" for kind in ("csv", "json")]
    assert sorted(path.name for path in settings.results_dir.iterdir()) == sorted(names)
    tables = {path.read_bytes() for path in settings.results_dir.glob("*.csv")}
    assert tables == {b"name,major,year\r\nAda Lovelace,mathematics,1833\r\n"}, "no older answer replaced a newer one"
    counted = status.snapshot()
    assert counted["problems"] == {}
    assert counted["stored"] >= COUNT - 6
    assert counted["rejected"] == 2 * 3
