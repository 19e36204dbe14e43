#!/usr/bin/python
"""Module ``machine_problems``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_problems
short_description: Say what a machine lacks, or has that stands in the way, before anything is changed
description:
  - >-
    Looks at the checkout (owner, rights, blanks, ends of line), the control group's memory, Docker's disk and settings,
    kernel modules, ports, address ranges and apt's locks. It changes nothing.
options:
  project:
    description: Directory of the checkout.
    type: path
    required: true
  minimum_memory_mb:
    description: Memory that the control group must allow, in MB.
    type: int
    default: 0
  minimum_disk_mb:
    description: Free disk that Docker's directory must have, in MB.
    type: int
    default: 0
  packages:
    description: Debian packages that will be installed where they are missing; then apt must not be locked.
    type: list
    elements: str
    default: []
  kernel:
    description: Paths that must exist and the kernel module that brings each, as C(path=module).
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports of the loopback address that must be free or belong to their own container.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      what:
        description: Whom it is for.
        type: str
        required: true
      setting:
        description: The variable that holds it.
        type: str
        required: true
      address:
        description: Address of the container that it belongs to.
        type: str
        required: true
  ranges:
    description: Address ranges that nothing else may use.
    type: list
    elements: dict
    default: []
    suboptions:
      range:
        description: The range, such as C(172.30.0.0/24).
        type: str
        required: true
      setting:
        description: The variable that holds it.
        type: str
        required: true
      network:
        description: Docker's network that may have it.
        type: str
        default: ""
      bridge:
        description: Interface whose routes may lead there.
        type: str
        default: ""
      via:
        description: Gateway whose routes may lead there.
        type: str
        default: ""
notes:
  - >-
    Nearest: M(ansible.builtin.setup), M(ansible.builtin.wait_for) and M(community.docker.docker_host_info). None says
    who has a port or apt's lock, knows a control group's limit, or finds a range that is free.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look for what stands in the way
  smart_classroom.platform.machine_problems:
    project: "{{ playbook_dir }}/.."
    minimum_memory_mb: 10000
    ports:
      - {port: 4566, what: the AWS emulator, setting: aws_emulator_port, address: 172.30.0.10}
  register: found
"""

RETURN = r"""
problems:
  description: A sentence with its remedy for each thing.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.machine import problems


def main() -> None:
    """Run the module."""
    numbers = {"minimum_memory_mb", "minimum_disk_mb"}
    text, required = {"type": "str", "default": ""}, {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            **{name: {"type": "int", "default": 0} for name in sorted(numbers)},
            **{name: {"type": "list", "elements": "str", "default": []} for name in ("packages", "kernel")},
            "ports": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "port": {"type": "int", "required": True},
                    "what": required,
                    "setting": required,
                    "address": required,
                },
            },
            "ranges": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"range": required, "setting": required, "network": text, "bridge": text, "via": text},
            },
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, problems=problems(module.params))


if __name__ == "__main__":
    main()
