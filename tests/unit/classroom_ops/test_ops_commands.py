"""Programs on the VMs."""

from __future__ import annotations

from pathlib import Path

import pytest

from classroom_ops.commands import one_connection, ssh
from classroom_ops.environment import Endpoints

SSH = """#!/bin/sh
# Stands in for ssh: writes down with what it was called. A connection is kept where a file says so.
echo "$@" >>"$FAKE_VM/calls"
case "$*" in *" -O check "*) [ -e "$FAKE_VM/kept" ] ;; esac
"""


def test_one_connection_serves_a_block_and_is_closed(endpoints: Endpoints, tmp_path: Path) -> None:
    (tmp_path / "bin" / "ssh").write_text(SSH)
    with one_connection(endpoints) as connected:
        config = connected.ssh_config
        lines = [line.strip() for line in config.read_text().splitlines()]
        assert lines[-1] == f'Include "{endpoints.ssh_config}"'
        assert f"ControlPath {config.parent}/%C" in lines
        ssh(connected, "classroom-poller-1", ["true"], 20)
    first, last = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith(f"-F {config} ")
    assert last == f"-F {config} -O exit classroom-poller-1"
    assert not config.parent.exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_connection_that_ansible_keeps_is_used_and_stays(endpoints: Endpoints, tmp_path: Path, is_kept: bool) -> None:
    (tmp_path / "bin" / "ssh").write_text(SSH)
    if is_kept:
        (tmp_path / "kept").touch()
    with one_connection(endpoints, kept=True) as connected:
        lines = [line.strip() for line in connected.ssh_config.read_text().splitlines()]
        ssh(connected, "classroom-poller-1", ["true"], 20)
    assert (f"ControlPath {endpoints.ssh_control_path}" in lines) is is_kept
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"ControlPath={endpoints.ssh_control_path} -O check classroom-poller-1" in calls[0]
    assert len(calls) == (2 if is_kept else 3)
    assert ("-O exit" in calls[-1]) is not is_kept
