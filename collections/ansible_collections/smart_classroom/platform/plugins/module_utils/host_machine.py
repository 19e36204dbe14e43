"""What the modules that look at a machine share: its memory, and how fast guests can run on it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

KVM_DEVICE = Path("/dev/kvm")
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_API_VERSION = 12


class HostError(Exception):
    """The machine cannot be looked at."""


def memory_mb(meminfo: str) -> int:
    """Memory of the machine in MB, from the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    raise HostError("/proc/meminfo names no MemTotal")


def virtualization(cpuinfo: str, device: Path = KVM_DEVICE) -> str:
    """``kvm`` or ``qemu``.

    A device that opens is not enough: kernels exist whose /dev/kvm creates a machine that never gets past its firmware,
    because their processor has no hardware virtualization. So the processor has to have it too.
    """
    flags = {flag for line in cpuinfo.splitlines() if line.startswith("flags") for flag in line.split()}
    if not flags & {"vmx", "svm"}:
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
