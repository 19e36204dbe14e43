"""What a machine must have before it can carry a private cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.smart_classroom.platform.plugins.module_utils.host_machine import (
    HostError,
    memory_mb,
    virtualization,
)
from ansible_collections.smart_classroom.platform.plugins.modules.openstack_host import (
    clashes,
    guest_interfaces,
    is_routed,
    mounts,
    problems,
)

OURS = {"dst": "172.24.4.0/24", "gateway": "172.30.0.20", "dev": "br-smartclass"}
ROUTES: list[dict[str, Any]] = [
    {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
    {"dst": "10.0.0.0/24", "dev": "eth0"},
    {"dst": "192.168.1.7", "dev": "wg0"},
]


def test_its_own_route_and_the_default_are_no_clash() -> None:
    assert clashes([*ROUTES, OURS], "172.24.4.0/24", "172.30.0.20") == []
    assert is_routed([*ROUTES, OURS], "172.24.4.0/24", "172.30.0.20")


def test_the_same_network_through_somebody_else_is_a_clash() -> None:
    assert clashes([{**OURS, "gateway": "10.0.0.9"}], "172.24.4.0/24", "172.30.0.20") == ["172.24.4.0/24 via 10.0.0.9"]
    assert not is_routed([{**OURS, "gateway": "10.0.0.9"}], "172.24.4.0/24", "172.30.0.20")


@pytest.mark.parametrize("destination", ["172.24.0.0/16", "172.24.4.128/25", "172.24.4.9"])
def test_a_larger_a_smaller_and_a_single_address_are_clashes(destination: str) -> None:
    assert clashes([{"dst": destination, "dev": "tun0"}], "172.24.4.0/24", "172.30.0.20") == [f"{destination} dev tun0"]


def test_everything_that_is_missing_is_reported_with_its_remedy(tmp_path: Path) -> None:
    parameters = {
        "floating_cidr": "10.0.0.0/24",
        "gateway": "172.30.0.20",
        "docker_dir": str(tmp_path / "not/there"),
        "minimum_disk_mb": 10**9,
        "minimum_memory_mb": 10**9,
    }
    found = "\n".join(problems(parameters, ROUTES))
    assert "10.0.0.0/24 overlaps the route 10.0.0.0/24 dev eth0" in found
    assert "`ip route del 10.0.0.0/24 dev eth0`" in found
    assert "of memory, 1000000000 MB are needed" in found
    assert f"{tmp_path} has" in found


def test_memory_is_read_in_megabytes() -> None:
    assert memory_mb("MemFree: 1 kB\nMemTotal:       24684084 kB\n") == 24105
    with pytest.raises(HostError):
        memory_mb("")


def test_no_hardware_virtualization_means_emulation_even_where_the_device_exists(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    assert virtualization("flags\t\t: fpu lm hypervisor\n", device) == "qemu"


@pytest.mark.parametrize("flag", ["vmx", "svm"])
def test_a_device_that_is_absent_or_no_kvm_means_emulation(tmp_path: Path, flag: str) -> None:
    cpuinfo = f"flags\t\t: fpu {flag} lm\n"
    assert virtualization(cpuinfo, tmp_path / "kvm") == "qemu"
    (tmp_path / "kvm").touch()
    assert virtualization(cpuinfo, tmp_path / "kvm") == "qemu"


def test_mounts_of_the_directory_and_below_it_are_seen() -> None:
    info = (
        "36 25 0:30 / /sys rw - sysfs sysfs rw\n"
        "90 25 254:0 /state/openstack/tree /srv/elsewhere rw - ext4 /dev/vda rw\n"
        "91 25 0:44 / /state/openstack/with\\040space rw - tmpfs tmpfs rw\n"
        "92 25 254:0 / / rw - ext4 /dev/vda rw\n"
    )
    assert mounts(info, Path("/state/openstack")) == ["/srv/elsewhere", "/state/openstack/with space"]


def test_guest_interfaces_are_known_by_their_names() -> None:
    assert guest_interfaces(["lo", "eth0", "docker0", "br-smartclass", "tap1", "brq9", "vxlan-7", "br-ex"]) == [
        "br-ex",
        "brq9",
        "tap1",
        "vxlan-7",
    ]
