"""A processor that cannot run guests is not taken for one that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.smart_classroom.platform.plugins.modules.host_virtualization import virtualization


def test_no_hardware_virtualization_means_emulation_even_where_the_device_exists(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    assert virtualization("flags\t\t: fpu vme sse2\n", device) == "qemu"


@pytest.mark.parametrize("flag", ["vmx", "svm"])
def test_a_device_that_is_absent_or_no_kvm_means_emulation(tmp_path: Path, flag: str) -> None:
    cpuinfo = f"flags\t\t: fpu {flag} sse2\n"
    assert virtualization(cpuinfo, tmp_path / "absent") == "qemu"
    plain = tmp_path / "kvm"
    plain.touch()
    assert virtualization(cpuinfo, plain) == "qemu"
