#!/usr/bin/python
"""Ansible module: which objects of a private cloud bear a name that begins in a certain way."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nova_resources_info
short_description: List the objects of a private cloud by the beginning of their names
description:
  - Looks at servers, flavors, key pairs, images, networks, routers and security groups by name, and at floating IPs by
    description. Meant for proving that a teardown left nothing.
options:
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud.
    type: path
    required: true
  cloud:
    description: Name of the cloud in it.
    type: str
    required: true
  prefix:
    description: How the names begin.
    type: str
    required: true
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look for what a test left
  smart_classroom.platform.nova_resources_info:
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    prefix: molecule
"""

RETURN = r"""
found:
  description: Kind and name of each object.
  type: list
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import (
    CLOUD_ARGUMENTS,
    cloud_errors,
    connect,
)


def named(connection: Any, prefix: str) -> list[str]:
    """``<kind> <name>`` of each object whose name, or description for a floating IP, begins with ``prefix``."""
    compute, network = connection.compute, connection.network
    everything = [
        *(("server", item.name) for item in compute.servers(details=False)),
        *(("flavor", item.name) for item in compute.flavors(details=False)),
        *(("key pair", item.name) for item in compute.keypairs()),
        *(("image", item.name) for item in connection.image.images()),
        *(("network", item.name) for item in network.networks()),
        *(("router", item.name) for item in network.routers()),
        *(("security group", item.name) for item in network.security_groups()),
        *(("floating IP", item.description) for item in network.ips()),
    ]
    return sorted(f"{kind} {name}" for kind, name in everything if (name or "").startswith(prefix))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={**CLOUD_ARGUMENTS, "prefix": {"type": "str", "required": True}}, supports_check_mode=True
    )
    try:
        found = named(connect(module.params["clouds_file"], module.params["cloud"]), module.params["prefix"])
    except cloud_errors() as error:
        module.fail_json(msg=f"The cloud could not be asked: {error}. Check that it answers: make status")
    module.exit_json(changed=False, found=found)


if __name__ == "__main__":
    main()
