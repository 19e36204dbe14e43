#!/usr/bin/python
"""Ansible module: whether the processor of a machine runs guests (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_virtualization
short_description: Say whether the processor of a machine runs guests, or whether they have to be emulated
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
"""

import fcntl
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

KVM_DEVICE = Path("/dev/kvm")
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_API_VERSION = 12


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


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, virtualization=virtualization(Path("/proc/cpuinfo").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
