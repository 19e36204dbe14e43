"""Programs on the VMs."""

from __future__ import annotations

from pathlib import Path

from classroom_ops.commands import one_connection, ssh
from classroom_ops.environment import Endpoints

SSH = """#!/bin/sh
# Stands in for ssh: writes down with what it was called.
echo "$@" >>"$FAKE_VM/calls"
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
