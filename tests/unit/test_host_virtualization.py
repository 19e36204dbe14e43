"""A processor that cannot run guests is not taken for one that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.smart_classroom.platform.plugins.modules.host_virtualization import cpu_level, virtualization


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


V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse2", "x86-64"),
        (V2, "x86-64-v2"),
        (V3.replace("avx2", ""), "x86-64-v2"),
        (V3, "x86-64-v3"),
        # The highest instructions without those below them are no level.
        (f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl".replace("ssse3", ""), "x86-64"),
        (f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl", "x86-64-v4"),
    ],
)
def test_a_level_needs_every_instruction_of_it_and_of_those_below(flags: str, level: str) -> None:
    assert cpu_level(f"model name\t: x\nflags\t\t: {flags}\nbugs\t\t: avx2\n") == level
