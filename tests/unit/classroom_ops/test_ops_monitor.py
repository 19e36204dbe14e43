"""``monitor``: the way to the page opens, says where it is, and closes."""

from __future__ import annotations

import sys
import time
import urllib.request
from pathlib import Path

import pytest

from classroom_ops import cli, monitor
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError

# Stands in for ssh with -L: serves what Prometheus would at this end of the way.
SSH = """#!{python}
import http.server, re, sys, time
words = " ".join(sys.argv)
port, there = re.search(r"-L 127.0.0.1:(\\d+):127.0.0.1:(\\d+)", words).groups()
open("{directory}/words", "w").write(words)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(self.path.encode())
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(port)), Page)
{act}
"""


@pytest.fixture
def prometheus(tmp_path: Path, root: Path) -> Path:
    """Replaces ssh; returns the program."""
    assert root
    program = tmp_path / "bin/ssh"
    program.write_text(SSH.format(python=sys.executable, directory=tmp_path, status=200, act="server.serve_forever()"))
    return program


def test_the_page_is_on_this_machine_while_the_command_runs(
    prometheus: Path, endpoints: Endpoints, tmp_path: Path
) -> None:
    assert prometheus
    with monitor.opened(endpoints, "classroom-poller-1") as (address, process):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 our own address
            assert answer.read() == b"/consoles/index.html"
        assert process.poll() is None
    assert process.poll() is not None
    words = (tmp_path / "words").read_text()
    # Nobody but this machine, and an own connection: one that Ansible shares would not end with it.
    assert ":127.0.0.1:9090 classroom-poller-1" in words
    assert "ControlPath=none" in words
    assert "ExitOnForwardFailure=yes" in words


def test_two_ways_are_open_at_the_same_time(prometheus: Path, endpoints: Endpoints) -> None:
    assert prometheus
    with (
        monitor.opened(endpoints, "classroom-poller-1") as (first, _),
        monitor.opened(endpoints, "classroom-poller-2") as (second, _),
    ):
        assert first != second


def test_a_server_that_cannot_be_reached_is_named(endpoints: Endpoints, tmp_path: Path) -> None:
    (tmp_path / "unreachable").touch()
    with (
        pytest.raises(CommandError, match=r"classroom-poller-1 cannot be reached.*No route to host"),
        monitor.opened(endpoints, "classroom-poller-1"),
    ):
        pass


def test_a_server_without_prometheus_says_what_installs_it(
    prometheus: Path, endpoints: Endpoints, tmp_path: Path
) -> None:
    text = SSH.format(python=sys.executable, directory=tmp_path, status=503, act="server.serve_forever()")
    prometheus.write_text(text)
    with (
        pytest.raises(CommandError, match=r"does not answer on classroom-poller-1.*make monitor"),
        monitor.opened(endpoints, "classroom-poller-1", ready_seconds=1),
    ):
        pass


@pytest.mark.usefixtures("in_root")
def test_the_command_prints_the_address_and_ctrl_c_ends_it_well(
    prometheus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prometheus

    def press_ctrl_c(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor, "wait", press_ctrl_c)
    assert cli.main(["monitor"]) == 0
    assert "classroom-poller-1  http://127.0.0.1:" in capsys.readouterr().out


@pytest.mark.usefixtures("in_root")
def test_a_connection_that_breaks_ends_the_command(
    prometheus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    act = "server.timeout = 3\nserver.handle_request()\nserver.handle_request()\nsys.exit('Connection reset by peer')"
    prometheus.write_text(SSH.format(python=sys.executable, directory=tmp_path, status=200, act=act))
    started = time.monotonic()
    assert cli.main(["monitor"]) == 1
    assert time.monotonic() - started < 30
    assert "the connection has ended: Connection reset by peer" in capsys.readouterr().err
