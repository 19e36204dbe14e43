"""The dialogue with the service manager."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from classroom_poller.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(1)
        yield listener


def test_messages_arrive(tmp_path: Path, manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready()
    notifier.status("running")
    notifier.status("running")
    notifier.alive()
    notifier.stopping()
    assert [manager.recv(100) for _ in range(4)] == [b"READY=1", b"STATUS=running", b"WATCHDOG=1", b"STOPPING=1"]


def test_abstract_sockets_work() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0classroom-poller-test")
        listener.settimeout(1)
        Notifier({"NOTIFY_SOCKET": "@classroom-poller-test"}).ready()
        assert listener.recv(100) == b"READY=1"


def test_nobody_listening_is_no_fault(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_status_that_is_no_unicode_is_sent_all_the_same(tmp_path: Path, manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).status("half a pair: \ud800")
    assert manager.recv(100) == b"STATUS=half a pair: ?"
