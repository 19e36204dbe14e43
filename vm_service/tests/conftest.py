"""AWS on a loopback port, settings that hurry, and the service in a thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from classroom_poller.clients import open_clients
from classroom_poller.notify import Notifier
from classroom_poller.service import Service
from classroom_poller.status import Status
from poller_testing.loopback_aws import REGION, LoopbackAws, make_queues
from poller_testing.world import MAX_RECEIVES, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two queues with dead-letter queues, and a function that answers."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    aws = LoopbackAws()
    sqs: Any = boto3.client("sqs", region_name=REGION)
    urls = make_queues(MAX_RECEIVES)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "aws").write_text(
        "[default]\naws_access_key_id = file\naws_secret_access_key = secret-of-the-file\n"
    )
    settings = {
        "region": REGION,
        "endpoint_url": aws.url,
        "function_name": "smart-classroom",
        "input_queue_url": urls["input-notification"],
        "output_queue_url": urls["output-notification"],
        "results_dir": str(tmp_path / "state" / "results"),
        "state_file": str(tmp_path / "status.json"),
        "metrics_file": str(tmp_path / "poller.prom"),
        "wait_seconds": 1,
        "visibility_seconds": 3,
        "function_timeout_seconds": 5,
        "backoff_base_seconds": 1,
        "backoff_max_seconds": 1,
        "hold_seconds": 60,
        "drain_seconds": 20,
    }
    yield World(aws, sqs, settings, credentials, urls)
    aws.close()


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., Service]]:
    """Runs the service in a thread; stops it at the end of the test."""
    running: list[tuple[threading.Event, threading.Thread]] = []

    def run(**changes: Any) -> Service:
        config = world.config(**changes)
        stop = threading.Event()
        service = Service(config, open_clients(config, world.credentials / "aws"), Notifier({}), stop, Status())
        thread = threading.Thread(target=service.run, daemon=True)
        thread.start()
        running.append((stop, thread))
        return service

    yield run
    for stop, _ in running:
        stop.set()
    for _, thread in running:
        thread.join(25)
        assert not thread.is_alive(), "the service did not drain"
