"""What stands in the way of a deployment is said before anything is installed, each thing with its remedy."""

from __future__ import annotations

import ipaddress
import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "roles/control_node/files/machine.py"


class _Machine:
    """The functions of the program."""

    def __init__(self) -> None:
        vars(self).update(runpy.run_path(str(PROGRAM)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


machine = _Machine()
PORT = {"what": "the AWS emulator", "setting": "aws_emulator_port", "address": "172.30.0.10"}
RANGES: list[dict[str, Any]] = [
    {"range": "172.30.0.0/24", "setting": "smart_classroom_network_cidr", "network": "smart-classroom", "bridge": "br"},
    {
        "range": "172.24.4.0/24",
        "setting": "smart_classroom_floating_cidr",
        "network": "",
        "bridge": "",
        "via": "172.30.0.20",
    },
]
OWN_ROUTES = [
    {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
    {"dst": "172.30.0.0/24", "dev": "br"},
    {"dst": "172.24.4.0/24", "gateway": "172.30.0.20", "dev": "br"},
    {"dst": "172.17.0.0/16", "dev": "docker0"},
]


def test_a_good_checkout_has_no_problem(tmp_path: Path) -> None:
    assert machine.of_the_checkout(tmp_path) == []


def test_each_kind_of_checkout_is_named(tmp_path: Path) -> None:
    root = tmp_path / "my classroom"
    (root / "bin").mkdir(parents=True)
    (root / "bin/setup").write_bytes(b"#!/bin/sh\r\necho\r\n")
    root.chmod(0o777)
    found = machine.of_the_checkout(root)
    assert len(found) == 3
    assert "has a blank in it" in found[0]
    assert "every user of this machine can change" in found[1]
    assert "Windows ends of line (bin/setup)" in found[2]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a checkout away")
def test_gits_doubt_about_the_owner_is_named(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    for path in (tmp_path, tmp_path / ".git"):
        os.chown(path, 12345, 12345)
    (found,) = machine.of_the_checkout(tmp_path)
    assert "belongs to the user 12345" in found
    assert "safe.directory" in found


def test_the_control_groups_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user/session\n")
    session = tmp_path / "cgroup/user/session"
    session.mkdir(parents=True)
    (session / "memory.max").write_text("max\n")
    assert machine.memory_limit_mb(tmp_path / "proc", tmp_path / "cgroup") is None
    (session.parent / "memory.max").write_text(f"{4000 * machine.MB}\n")
    limit = machine.memory_limit_mb(tmp_path / "proc", tmp_path / "cgroup")
    assert limit == 4000
    (found,) = machine.of_memory(10000, limit)
    assert "4000 MB of memory, 10000 MB are needed" in found
    assert machine.of_memory(3000, limit) == machine.of_memory(10000, None) == []


def test_dockers_own_disk_is_asked(tmp_path: Path) -> None:
    assert machine.of_disk(tmp_path / "not/there/yet", 1) == []
    (found,) = machine.of_disk(tmp_path, 10**9)
    assert f"free in Docker's directory {tmp_path}" in found
    assert "data-root" in found


def test_a_taken_port_names_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = machine.of_ports([PORT | {"port": port}])
        assert f"port {port}, which is for the AWS emulator, is taken by process {os.getpid()} (" in found
        assert "set aws_emulator_port" in found
    assert machine.of_ports([PORT | {"port": port}]) == []
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        assert machine.of_ports([PORT | {"port": elsewhere.getsockname()[1]}]) == []


def test_the_port_of_the_own_container_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address rem_address   st\n   0: 0100007F:11D6 00000000:0000 0A 0:0 0:0 0 0 0 777 1\n"
    )
    (tmp_path / "42/fd").mkdir(parents=True)
    (tmp_path / "42/fd/3").symlink_to("socket:[777]")
    for address, taken in (("172.30.0.10", 0), ("172.17.0.2", 1)):
        command = f"/usr/bin/docker-proxy\0-host-port\x004566\0-container-ip\0{address}\0-container-port\x004566"
        (tmp_path / "42/cmdline").write_text(command)
        assert len(machine.of_ports([PORT | {"port": 4566}], tmp_path)) == taken


def test_who_holds_apts_lock_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    lock.touch()
    assert machine.of_apt(locks=[str(lock), str(tmp_path / "none")]) == []
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()",  # noqa: E501
            str(lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        (found,) = machine.of_apt(locks=[str(lock)])
        assert f"(process {holder.pid}, {lock})" in found
    finally:
        holder.communicate(b"\n")


@pytest.mark.parametrize(
    ("information", "settings", "command", "said"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}, {}, "", "userns-remap"),
        ({}, {"userns-remap": "default"}, "", "userns-remap"),
        ({}, {"iptables": False}, "", "iptables is off"),
        ({}, {}, "/usr/bin/dockerd --iptables=false -H fd://", "iptables is off"),
        ({"SecurityOptions": ["name=rootless"]}, {}, "", "without root"),
        ({"OSType": "windows"}, {}, "", "Linux containers"),
    ],
)
def test_settings_of_docker_that_cannot_work_are_named(
    information: dict[str, Any], settings: dict[str, Any], command: str, said: str
) -> None:
    (found,) = machine.of_docker(information, settings, command)
    assert said in found


def test_dockers_usual_settings_are_none() -> None:
    information = {"SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"], "OSType": "linux"}
    assert machine.of_docker(information, {"log-driver": "local", "iptables": True}, "/usr/bin/dockerd") == []
    assert machine.of_docker({}, {}, "") == []


def docker_network(name: str, subnet: str) -> dict[str, Any]:
    return {"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}}


def test_the_environments_own_ranges_are_no_clash() -> None:
    networks = [docker_network("smart-classroom", "172.30.0.0/24"), docker_network("bridge", "172.17.0.0/16")]
    assert machine.of_ranges(RANGES, OWN_ROUTES, networks) == []
    assert machine.of_ranges(RANGES, [], [{"Name": "host", "IPAM": {"Config": None}}]) == []


@pytest.mark.parametrize(
    ("routes", "networks", "setting", "by"),
    [
        ([{"dst": "172.16.0.0/12", "dev": "tun0"}], [], "smart_classroom_network_cidr", "the route 172.16.0.0/12 tun0"),
        (
            [{"dst": "172.24.4.7", "gateway": "10.8.0.1", "dev": "tun0"}],
            [],
            "smart_classroom_floating_cidr",
            "10.8.0.1 tun0",
        ),
        ([], [docker_network("other", "172.30.0.0/16")], "smart_classroom_network_cidr", "Docker's network other"),
    ],
)
def test_a_clash_is_named_with_a_range_that_is_free(
    routes: list[dict[str, Any]], networks: list[dict[str, Any]], setting: str, by: str
) -> None:
    found = machine.of_ranges(RANGES, routes, networks)
    assert by in found[0]
    assert f"set {setting} to a free one, such as " in found[0]
    free = [ipaddress.IPv4Network(one.partition("such as ")[2].partition(",")[0]) for one in found]
    taken = [ipaddress.IPv4Network(route["dst"]) for route in routes]
    assert len(set(free)) == len(found)
    assert not any(one.overlaps(other) for one in free for other in taken)


def test_a_kernel_feature_that_no_module_brings_is_named() -> None:
    assert machine.of_the_kernel(["/dev/null=null"]) == []
    (found,) = machine.of_the_kernel(["/dev/nonexistent=no_such_module"])
    assert "/dev/nonexistent is missing, and the kernel module no_such_module" in found


def test_setup_reports_before_it_installs(tmp_path: Path) -> None:
    """The file runs by itself, with any Python and without packages."""
    root = tmp_path / "a b"
    root.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), str(root)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "setup: the path of the checkout has a blank in it" in done.stderr


def test_the_role_is_told_everything(tmp_path: Path) -> None:
    wanted = {
        "minimum_memory_mb": 0,
        "minimum_disk_mb": 10**9,
        "packages": [],
        "kernel": ["/dev/nonexistent=no_such_module"],
        "ports": [],
        "ranges": [{"range": "127.0.0.0/8", "setting": "nothing"}],
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert len(found) >= 2
    assert "MB of disk are free in Docker's directory" in found[0]
    assert "no_such_module" in found[1]
