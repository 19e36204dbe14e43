"""Programs on the VMs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from classroom_ops.commands import one_connection, ssh
from classroom_ops.environment import Endpoints

SSH = """#!/bin/sh
# Stands in for ssh: writes down with what it was called. A connection is kept where a file says so.
echo "$@" >>"$FAKE_VM/calls"
case "$*" in *" -O check "*) [ -e "$FAKE_VM/kept" ] ;; esac
"""


REAL_SSH = shutil.which("ssh")


def settings(config: Path, host: str) -> dict[str, str]:
    """What ssh itself makes of a configuration, by the name of the setting."""
    assert REAL_SSH is not None
    said = subprocess.run([REAL_SSH, "-G", "-F", str(config), host], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in said.splitlines() if " " in line)


@pytest.mark.skipif(REAL_SSH is None, reason="there is no ssh, whose word this test asks for")
def test_one_connection_serves_a_block_and_is_closed(endpoints: Endpoints, tmp_path: Path) -> None:
    (tmp_path / "bin" / "ssh").write_text(SSH)
    endpoints.ssh_config.parent.mkdir(parents=True)
    endpoints.ssh_config.write_text("Host classroom-poller-1\n  HostName 172.24.4.9\n  User poller\n  Port 2222\n")
    with one_connection(endpoints) as connected:
        made = settings(connected.ssh_config, "classroom-poller-1")
        assert (made["hostname"], made["user"], made["port"]) == ("172.24.4.9", "poller", "2222")
        assert (made["controlmaster"], made["controlpersist"]) == ("auto", "120")
        assert (made["serveraliveinterval"], made["serveralivecountmax"]) == ("5", "3")
        socket = Path(made["controlpath"])
        assert socket.parent == connected.ssh_config.parent
        # A socket's path is at most 108 bytes, and ssh makes it under a name 17 bytes longer.
        assert len(str(socket)) < 91
        assert settings(connected.ssh_config, "another")["controlpath"] != str(socket), "each VM has its own"
        ssh(connected, "classroom-poller-1", ["true"], 20)
    first, last = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith(f"-F {connected.ssh_config} ")
    assert last == f"-F {connected.ssh_config} -O exit classroom-poller-1"
    assert not connected.ssh_config.parent.exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_connection_that_ansible_keeps_is_used_and_stays(endpoints: Endpoints, tmp_path: Path, is_kept: bool) -> None:
    (tmp_path / "bin" / "ssh").write_text(SSH)
    if is_kept:
        (tmp_path / "kept").touch()
    with one_connection(endpoints, kept=True) as connected:
        lines = [line.strip() for line in connected.ssh_config.read_text().splitlines()]
        ssh(connected, "classroom-poller-1", ["true"], 20)
    assert (f'ControlPath "{endpoints.ssh_control_path}"' in lines) is is_kept
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"ControlPath={endpoints.ssh_control_path} -O check classroom-poller-1" in calls[0]
    assert len(calls) == (2 if is_kept else 3)
    assert ("-O exit" in calls[-1]) is not is_kept
