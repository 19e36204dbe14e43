#!/usr/bin/python
"""Ask every API of a private cloud whether it works (see DOCUMENTATION)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: openstack_cloud_check
short_description: Ask every API of a private cloud whether it works
description:
  - Logs in as C(clouds.yaml) says, asks each API for a list, and looks whether every service of Nova and every agent of
    Neutron that is expected reports in. Changes nothing.
options:
  cloud:
    description: Name of the cloud in O(clouds_file).
    type: str
    required: true
  clouds_file:
    description: The C(clouds.yaml).
    type: path
    required: true
  nova_services:
    description: Services that have to be up.
    type: list
    elements: str
    default: []
  neutron_agents:
    description: Agents that have to be alive.
    type: list
    elements: str
    default: []
  timeout_seconds:
    description: How long one request may take.
    type: int
    default: 20
requirements: [openstacksdk]
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Ask the cloud
  smart_classroom.platform.openstack_cloud_check:
    cloud: smart-classroom
    clouds_file: "{{ smart_classroom_state_dir }}/clouds.yaml"
    nova_services: [nova-compute]
"""

RETURN = r"""
problems:
  description: What does not work, one sentence each.
  returned: always
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def missing(expected: Iterable[str], reported: Iterable[tuple[str, bool]], what: str) -> list[str]:
    """Sentences about expected services that are absent or down; ``reported`` is (name, whether it is well)."""
    well = dict(sorted(reported))
    return [
        f"{what} {name} {'is down' if name in well else 'never reported in'}"
        for name in expected
        if not well.get(name, False)
    ]


def check(connection: Any, nova_services: list[str], neutron_agents: list[str]) -> list[str]:
    """Ask a cloud, an openstacksdk connection, and return what does not work."""
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import SDKException

    def compute() -> list[str]:
        services = [(service.binary, service.state == "up") for service in connection.compute.services()]
        found = missing(nova_services, services, "the service")
        if not any(True for _ in connection.compute.hypervisors()):
            found.append("no hypervisor is known to Nova")
        return found

    def network() -> list[str]:
        agents = [(agent.binary, bool(agent.is_alive)) for agent in connection.network.agents()]
        return missing(neutron_agents, agents, "the agent")

    def image() -> list[str]:
        list(connection.image.images(limit=1, paginated=False))
        return []

    def placement() -> list[str]:
        return [] if list(connection.placement.resource_providers()) else ["Placement knows no host"]

    def identity() -> list[str]:
        connection.authorize()
        return []

    apis: dict[str, Callable[[], list[str]]] = {
        "Keystone": identity,
        "Glance": image,
        "Placement": placement,
        "Nova": compute,
        "Neutron": network,
    }
    found: list[str] = []
    for name, ask in apis.items():
        try:
            found.extend(ask())
        except (SDKException, ClientException) as error:
            found.append(f"{name} does not answer: {error}")
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "cloud": {"type": "str", "required": True},
            "clouds_file": {"type": "path", "required": True},
            "nova_services": {"type": "list", "elements": "str", "default": []},
            "neutron_agents": {"type": "list", "elements": "str", "default": []},
            "timeout_seconds": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    try:
        import openstack
        from openstack.config import OpenStackConfig
        from openstack.exceptions import SDKException
    except ImportError as error:
        module.fail_json(msg=f"openstacksdk is missing here ({error}): run `make setup`.")
    try:
        region = OpenStackConfig(config_files=[module.params["clouds_file"]], load_envvars=False).get_one(
            cloud=module.params["cloud"], api_timeout=module.params["timeout_seconds"]
        )
        connection = openstack.connection.Connection(config=region)
    except SDKException as error:
        module.fail_json(msg=f"{module.params['clouds_file']} cannot be used: {error}")
    module.exit_json(
        changed=False, problems=check(connection, module.params["nova_services"], module.params["neutron_agents"])
    )


if __name__ == "__main__":
    main()
