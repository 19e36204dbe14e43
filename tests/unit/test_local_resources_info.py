"""What a teardown must find: routes, mounts and processes that belong to the environment, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ansible_collections.smart_classroom.platform.plugins.modules.local_resources_info import (
    mounts_below,
    processes_below,
    routes_through,
)


def test_only_routes_through_the_network_count() -> None:
    routes = [
        {"dst": "default", "gateway": "10.0.0.1"},
        {"dst": "172.24.4.0/24", "gateway": "172.30.0.20"},
        {"dst": "172.30.0.0/24", "dev": "br-smartclass"},
    ]
    assert routes_through(routes, "172.30.0.0/24") == ["172.24.4.0/24"]


def test_mounts_of_a_neighbour_with_the_same_beginning_do_not_count() -> None:
    mounts = "tmpfs /srv/state tmpfs rw 0 0\nproc /srv/state/a\\040b proc rw 0 0\ntmpfs /srv/state-other tmpfs rw 0 0\n"
    assert mounts_below(mounts, Path("/srv/state")) == ["/srv/state", "/srv/state/a b"]


def test_a_process_in_the_directory_is_found(tmp_path: Path) -> None:
    # It says that it runs: until then the process may still bear no name.
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert processes_below(Path("/proc"), tmp_path) == [f"{process.pid} {Path(sys.executable).name}"]
        finally:
            process.kill()
    assert processes_below(Path("/proc"), tmp_path) == []
