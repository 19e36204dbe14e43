"""What the service counts, as somebody reads it who has only the file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classroom_poller import metrics
from classroom_poller.metrics import Family, Metrics
from classroom_poller.service import Service
from classroom_poller.status import Status
from poller_testing.loopback_aws import FunctionFault, InvokeRefused, result_message
from poller_testing.world import World, eventually

Start = Callable[..., Service]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classroom_poller.service.METRICS_SECONDS", 0)


def read(world: World) -> dict[str, float]:
    """Every sample of the file by its name."""
    path = Path(world.settings["metrics_file"])
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_what_was_done_is_counted(world: World, start: Start) -> None:
    tries = 0

    def function(event: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise InvokeRefused("TooManyRequestsException", 429)
        if tries == 2:
            raise FunctionFault("signal: killed")
        return world.aws.answer_uploads(event)

    world.aws.function = function
    before = time.time()
    for number in range(4):
        world.upload(f"{number}.mp4")
    start(concurrency=1, batch_size=4)
    eventually(
        lambda: read(world).get('classroom_poller_results_total{result="stored"}') == 4 and world.empty(),
        what="4 results counted",
    )
    eventually(lambda: read(world)['classroom_poller_leases{queue="input"}'] == 0, what="no lease")
    seen = read(world)
    assert seen['classroom_poller_invocations_total{result="not_started"}'] == 1
    assert seen['classroom_poller_invocations_total{result="failed"}'] == 1
    # Whatever comes again goes alone.
    assert seen['classroom_poller_invocations_total{result="answered"}'] == 4
    assert seen["classroom_poller_invocation_seconds_count"] == 4
    assert seen["classroom_poller_videos_total"] == 4
    assert seen["classroom_poller_failures_total"] == 4
    # Two calls with four videos, four with one.
    assert seen["classroom_poller_batch_videos_count"] == 6
    assert seen["classroom_poller_batch_videos_sum"] == 12
    assert seen['classroom_poller_batch_videos_bucket{le="3"}'] == 4
    assert seen['classroom_poller_batch_videos_bucket{le="+Inf"}'] == 6
    # First receipts only: those that come again waited because of the pause, not in the queue.
    assert seen['classroom_poller_queue_wait_seconds_count{queue="input"}'] == 4
    assert seen['classroom_poller_queue_wait_seconds_count{queue="output"}'] == 4
    assert seen["classroom_poller_running"] == 1
    for name in ('poll_timestamp_seconds{queue="input"}', "answer_timestamp_seconds", "result_timestamp_seconds"):
        assert before < seen[f"classroom_poller_last_{name}"] <= time.time()
    assert seen['classroom_poller_problem{part="function"}'] == 0


def test_counters_go_on_after_a_restart_and_a_stopped_service_says_so(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classroom_poller.service.METRICS_SECONDS", 3600)
    stored = 'classroom_poller_results_total{result="stored"}'

    def serve_one(key: str) -> None:
        world.send("output-notification", json.dumps(result_message(key)))
        service = start()
        eventually(lambda: service.status.snapshot()["stored"] == 1, what="a result")
        service._stop.set()
        eventually(lambda: read(world).get("classroom_poller_running") == 0, what="the last word")

    for run in (1, 2):
        serve_one(f"{run}.mp4")
        assert read(world)[stored] == run
        assert read(world)['classroom_poller_queue_wait_seconds_count{queue="output"}'] == run


def test_a_part_that_does_not_work_is_named(world: World, start: Start) -> None:
    def function(_: Any) -> Any:
        raise InvokeRefused("ResourceNotFoundException", 404)

    world.aws.function = function
    world.upload("a.mp4")
    start()
    eventually(lambda: read(world).get('classroom_poller_problem{part="function"}') == 1, what="the problem")
    seen = read(world)
    assert seen['classroom_poller_problem{part="disk"}'] == 0
    assert seen['classroom_poller_leases{queue="input"}'] == 1
    assert seen["classroom_poller_videos_in_flight"] == 1
    assert seen['classroom_poller_last_poll_timestamp_seconds{queue="input"}'] > 0


def test_metrics_that_cannot_be_written_stop_nothing(world: World, start: Start, tmp_path: Path) -> None:
    world.upload("a.mp4")
    start(metrics_file=tmp_path / "missing" / "poller.prom")
    eventually(lambda: len(world.csv_files()) == 1 and world.empty(), what="the result")


HISTOGRAM = Family("seconds", "histogram", "Some time.", (1, 2.5))
COUNTER = Family("things_total", "counter", "Things.")


def some() -> Metrics:
    return Metrics([(HISTOGRAM, ()), (COUNTER, ('kind="a"', 'kind="b"'))])


def test_the_format_is_that_of_prometheus() -> None:
    counts = some()
    counts.observe("seconds", 2)
    counts.add("things_total", 'kind="b"', 3)
    assert counts.text().splitlines() == [
        "# HELP seconds Some time.",
        "# TYPE seconds histogram",
        'seconds_bucket{le="1"} 0',
        'seconds_bucket{le="2.5"} 1',
        'seconds_bucket{le="+Inf"} 1',
        "seconds_sum 2",
        "seconds_count 1",
        "# HELP things_total Things.",
        "# TYPE things_total counter",
        'things_total{kind="a"} 0',
        'things_total{kind="b"} 3',
    ]


@pytest.mark.parametrize(
    "text",
    ["", "\x00\xff", "seconds_count", "seconds_count x", 'things_total{kind="c"} 9', "another 5", "seconds_count 1 2"],
)
def test_a_file_that_is_damaged_costs_only_what_it_does_not_say(tmp_path: Path, text: str) -> None:
    path = tmp_path / "poller.prom"
    path.write_text(f'{text}\nthings_total{{kind="a"}} 7\n')
    counts = some()
    counts.restore(path)
    assert counts.text() == some_with(7)


def some_with(count: float) -> str:
    counts = some()
    counts.add("things_total", 'kind="a"', count)
    return counts.text()


def test_nobody_reads_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "poller.prom"
    some().write(path)
    before = path.read_text()

    def stop(*_: object) -> None:
        raise OSError("the machine stops here")

    counts = some()
    counts.add("things_total", 'kind="a"')
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        patch.setattr(Path, "replace", stop)
        with pytest.raises(OSError, match="stops here"):
            counts.write(path)
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.glob("*.prom")] == ["poller.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_every_family_of_the_service_can_be_restored(tmp_path: Path) -> None:
    """A name that the reader does not understand would begin at 0 after each restart."""
    first, second = Status(), Status()
    for family, labels in metrics.FAMILIES:
        for label in labels or ("",):
            if family.kind == "histogram":
                first.metrics.observe(family.name, 1.5, label)
            elif family.kind == "counter":
                first.metrics.add(family.name, label, 4)
            else:
                first.metrics.set(family.name, 1795713600.25, label)
    first.metrics.write(tmp_path / "poller.prom")
    second.metrics.restore(tmp_path / "poller.prom")
    assert second.metrics.text() == first.metrics.text()
