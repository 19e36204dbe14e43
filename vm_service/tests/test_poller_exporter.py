"""What the exporter writes of queues, function, clock and certificates, against AWS on a loopback port."""

from __future__ import annotations

import json
import math
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from classroom_poller.config import ConfigError
from classroom_poller.exporter import Exporter, Settings, certificate_expiry, load_settings
from poller_testing.loopback_aws import REGION
from poller_testing.world import ROOT, World, eventually

FUNCTION = "smart-classroom"


@pytest.fixture
def settings(world: World, tmp_path: Path) -> Settings:
    return Settings(
        region=REGION,
        function_name=FUNCTION,
        queues=(world.urls["input-notification"], world.urls["output-notification"]),
        dead_letter_queues=tuple(url for name, url in world.urls.items() if name.endswith("-dlq")),
        endpoint_url=world.aws.url,
        output=tmp_path / "aws.prom",
    )


def exporter(settings: Settings, world: World, **changes: Any) -> Exporter:
    where: Any = {"region_name": REGION, "endpoint_url": world.aws.url}
    values = {"sqs": boto3.client("sqs", **where), "cloudwatch": boto3.client("cloudwatch", **where)} | changes
    return Exporter(settings, **values)


def read(one: Exporter) -> dict[str, float]:
    lines = [line for line in one.metrics.text().splitlines() if line[:1] != "#"]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_queues_and_dead_letters_are_counted(settings: Settings, world: World) -> None:
    for number in range(3):
        world.upload(f"{number}.mp4")
    world.sqs.receive_message(QueueUrl=world.urls["input-notification"], MaxNumberOfMessages=1)
    world.sqs.send_message(QueueUrl=world.urls["input-notification-dlq"], MessageBody="given up")
    one = exporter(settings, world)
    assert one.measure(time.time())
    seen = read(one)
    assert seen['smart_classroom_queue_messages{queue="input-notification",state="waiting"}'] == 2
    assert seen['smart_classroom_queue_messages{queue="input-notification",state="in_flight"}'] == 1
    assert seen['smart_classroom_queue_messages{queue="output-notification",state="waiting"}'] == 0
    assert seen['smart_classroom_dead_letters{queue="input-notification-dlq"}'] == 1
    assert seen['smart_classroom_dead_letters{queue="output-notification-dlq"}'] == 0


def test_a_queue_that_is_not_emptied_grows_old_and_young_again(settings: Settings, world: World) -> None:
    age = 'smart_classroom_queue_oldest_message_seconds{queue="input-notification"}'
    one, now = exporter(settings, world), time.time()
    one.measure(now)
    assert read(one)[age] == 0
    world.upload("a.mp4")
    one.measure(now + 60)
    assert read(one)[age] == 60
    one.measure(now + 660)
    assert read(one)[age] == 660
    world.sqs.purge_queue(QueueUrl=world.urls["input-notification"])
    one.measure(now + 720)
    assert read(one)[age] == 0


def put(metric: str, value: float, minutes_ago: float, namespace: str = "AWS/Lambda", **dimensions: str) -> None:
    cloudwatch: Any = boto3.client("cloudwatch", region_name=REGION)
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": metric,
                "Value": value,
                "Timestamp": datetime.now(UTC) - timedelta(minutes=minutes_ago),
                "Dimensions": [
                    {"Name": name, "Value": text} for name, text in (dimensions or {"FunctionName": FUNCTION}).items()
                ],
            }
        ],
    )


def test_the_functions_last_minutes_are_summed(settings: Settings, world: World) -> None:
    for minutes_ago in (1, 3, 30):
        put("Invocations", 4, minutes_ago)
        put("Errors", 1, minutes_ago)
    put("Throttles", 2, 2)
    put("Duration", 500, 1)
    put("Duration", 1500, 3)
    put("Duration", 99000, 30)
    put("Errors", 50, 1, FunctionName="another")
    one = exporter(settings, world)
    one.measure(time.time())
    seen = read(one)
    assert {
        name: seen[f'smart_classroom_function_calls{{result="{name}"}}'] for name in ("all", "error", "throttled")
    } == {
        "all": 8,
        "error": 2,
        "throttled": 2,
    }
    assert seen['smart_classroom_function_duration_seconds{statistic="average"}'] == 1
    assert seen['smart_classroom_function_duration_seconds{statistic="maximum"}'] == 1.5


def test_on_aws_cloudwatch_says_how_old_the_oldest_message_is(settings: Settings, world: World) -> None:
    put("ApproximateAgeOfOldestMessage", 1234, 2, "AWS/SQS", QueueName="input-notification")
    age = 'smart_classroom_queue_oldest_message_seconds{queue="input-notification"}'
    one = exporter(Settings(**{**vars(settings), "endpoint_url": ""}), world)
    now = time.time()
    one.measure(now)
    assert read(one)[age] == 0
    world.upload("a.mp4")
    one.measure(now + 1)
    assert read(one)[age] == 1234


def test_what_does_not_answer_is_not_a_number_and_leaves_the_rest(settings: Settings, world: World) -> None:
    class Away:
        def get_metric_statistics(self, **_: object) -> None:
            raise OSError("no route to host")

    one = exporter(settings, world, cloudwatch=Away())
    assert one.measure(time.time())
    seen = read(one)
    assert math.isnan(seen['smart_classroom_function_calls{result="error"}'])
    assert seen['smart_classroom_exporter_last_answer_timestamp_seconds{source="cloudwatch"}'] == 0
    assert seen['smart_classroom_exporter_last_answer_timestamp_seconds{source="sqs"}'] > 0
    assert seen['smart_classroom_dead_letters{queue="input-notification-dlq"}'] == 0


def test_a_clock_that_is_wrong_is_seen(settings: Settings, world: World) -> None:
    one = exporter(settings, world)
    one.measure(time.time())
    assert read(one)["smart_classroom_clock_offset_seconds"] == pytest.approx(0, abs=1.5)
    one.measure(time.time() + 400)
    assert read(one)["smart_classroom_clock_offset_seconds"] == pytest.approx(400, abs=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, float]]:
    """A TLS server whose own certificate ends in 20 days."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "20", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                continue

    threading.Thread(target=serve, daemon=True).start()
    yield f"localhost:{listener.getsockname()[1]}", certificate, time.time() + 20 * 86400
    listener.close()


def test_a_certificates_end_is_read_and_one_that_nobody_vouches_for_is_none(
    server: tuple[str, Path, float],
) -> None:
    name, authorities, end = server
    assert certificate_expiry(name, str(authorities)) == pytest.approx(end, abs=120)
    assert certificate_expiry(name) == 0


def test_the_process_writes_its_file_and_gives_up_a_key_that_is_refused(
    world: World, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {**vars(settings), "output": str(settings.output), "interval_seconds": 1}
    path = tmp_path / "exporter.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in text.items()))
    process = subprocess.Popen(
        [sys.executable, "-m", "classroom_poller", "export", "--config", str(path)],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT.parent),
            "CREDENTIALS_DIRECTORY": str(world.credentials),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(settings.output.exists, seconds=30, what="the file")
        assert "smart_classroom_queue_messages" in settings.output.read_text()
        body = json.dumps({"__type": "com.amazon.coral.service#InvalidClientTokenId", "message": "planted"}).encode()
        refusal = (403, {"Content-Type": "application/x-amz-json-1.0"}, body)
        monkeypatch.setattr(world.aws, "handle", lambda *_: refusal)
        assert process.wait(30) == 1
        assert "smart_classroom_dead_letters" in settings.output.read_text()
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("region = ", "cannot be read"),
        ('region = "x"', "queues is missing"),
        ('region = "x"\nfunction_name = "f"\nqueues = "q"\ndead_letter_queues = []', "queues must be a list"),
        ('region = "x"\nfunction_name = "f"\nqueues = []\ndead_letter_queues = []\nport = 1', "port is no setting"),
        (
            'region = "x"\nfunction_name = "f"\nqueues = []\ndead_letter_queues = []\ninterval_seconds = 0',
            "from 1 to 3600",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "exporter.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_settings(path)
