#!/usr/bin/python
"""Ansible module: whether the processor of a machine runs guests (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_virtualization
short_description: Report whether the processor of a machine runs guests or they are emulated, and its level
description:
  - Creates a virtual machine through C(/dev/kvm) and gives it up at once. Changes nothing.
  - The facts of M(ansible.builtin.setup) name the processor's flags and cannot try the device.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: See whether the processor runs guests
  smart_classroom.platform.host_virtualization:
"""

RETURN = r"""
virtualization:
  description: V(kvm) where the processor runs guests, V(qemu) where they are emulated.
  returned: always
  type: str
cpu:
  description: >-
    The highest level of the x86-64 psABI that the processor has all instructions of, V(x86-64) to V(x86-64-v4).
  returned: always
  type: str
"""

import fcntl
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

KVM_DEVICE = Path("/dev/kvm")
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_API_VERSION = 12
# What each level adds, by the names of /proc/cpuinfo (abm is LZCNT, pni SSE3; without OSXSAVE the kernel shows no avx).
# Source: x86-64 psABI, table "Micro-architecture levels".
LEVELS = {
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


def flags_of(cpuinfo: str) -> set[str]:
    """The features of the processor, by the names of /proc/cpuinfo."""
    return {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}


def cpu_level(cpuinfo: str) -> str:
    """The highest level that the processor has with all levels below it."""
    flags, reached = flags_of(cpuinfo), "x86-64"
    for level, needed in LEVELS.items():
        if not needed <= flags:
            break
        reached = level
    return reached


def virtualization(cpuinfo: str, device: Path = KVM_DEVICE) -> str:
    """``kvm`` or ``qemu``.

    A device that opens is not enough: kernels exist whose /dev/kvm creates a machine that never gets past its firmware,
    because their processor has no hardware virtualization. So the processor has to have it too.
    """
    if not flags_of(cpuinfo) & {"vmx", "svm"}:
        return "qemu"
    try:
        kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            if fcntl.ioctl(kvm, KVM_GET_API_VERSION) != KVM_API_VERSION:
                return "qemu"
            os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
        finally:
            os.close(kvm)
    except OSError:
        return "qemu"
    return "kvm"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    module.exit_json(changed=False, virtualization=virtualization(cpuinfo), cpu=cpu_level(cpuinfo))


if __name__ == "__main__":
    main()
