#!/usr/bin/python
"""Ansible module: what a project of an OpenStack cloud lacks for an environment, and what it holds of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openstack_environment
short_description: List what a project of an OpenStack cloud lacks for an environment, and what it holds of it
description:
  - Only asks. What these credentials may not ask is listed as unanswered, not as a problem.
  - A resource is the environment's own when it carries the tags C(project) and C(environment), which servers have as
    metadata, images as tags, the others in their description. Whatever else has the same name is somebody else's,
    and is named.
options:
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud.
    type: path
    required: true
  cloud:
    description: Name of the cloud in it.
    type: str
    required: true
  tags:
    description: Tags of the environment, C(project) and C(environment) among them.
    type: dict
    required: true
  network:
    description: What the servers stand in; nothing is asked about it if not given.
    type: dict
    options:
      name:
        description: Name of the private network.
        type: str
        required: true
      router:
        description: Name of the router.
        type: str
        required: true
      security_group:
        description: Name of the security group.
        type: str
        required: true
      create:
        description: Whether network and router are made. Otherwise the network exists, and is somebody else's.
        type: bool
        default: true
      external:
        description: Name of the network of the floating IPs; the only one if empty.
        type: str
        default: ''
      create_external:
        description: Whether that network is made too.
        type: bool
        default: false
      floating_ips:
        description: Whether the servers have floating IPs.
        type: bool
        default: true
  servers:
    description: The servers; nothing is asked about them if not given.
    type: dict
    options:
      names:
        description: Their names.
        type: list
        elements: str
        required: true
      image:
        description: Name of their image.
        type: str
        required: true
      network:
        description: Name of the network that they stand in.
        type: str
        required: true
      security_group:
        description: Name of their security group.
        type: str
        required: true
      external:
        description: Name of the network of the floating IPs; the only one if empty.
        type: str
        default: ''
      flavor:
        description: Its name (any that fits if empty), and what it must have at least. With C(create) it is made.
        type: dict
        required: true
      availability_zone:
        description: Their availability zone; the cloud chooses if empty.
        type: str
        default: ''
notes:
  - >-
    Nearest: M(openstack.cloud.project_info) and its neighbours. None asks for limits and use of a project that is no
    administrator's, or for the roles that the credentials have, and each of a dozen would log in again.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Ask the cloud
  smart_classroom.platform.openstack_environment:
    clouds_file: ~/.config/openstack/clouds.yaml
    cloud: openstack
    tags: {project: smart-classroom, environment: campus}
    servers:
      names: [classroom-poller-1]
      image: centos
      network: classroom
      security_group: classroom
      flavor: {name: '', vcpus: 1, ram_mb: 768, disk_gb: 13, create: false}
"""

RETURN = r"""
problems:
  description: One sentence for each thing that is missing, with its fix.
  type: list
  elements: str
  returned: always
answers:
  description: What is as it should be, and what was chosen.
  type: list
  elements: str
  returned: always
unanswered:
  description: What could not be asked, and why.
  type: list
  elements: str
  returned: always
found:
  description: >-
    Ids of what is there, empty where nothing is: C(network), C(router), C(security_group), C(external), C(image),
    C(project); C(flavor) and C(external_name) are names.
  type: dict
  returned: always
held:
  description: What the project holds of the environment, one text for each resource.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.openstack_questions import IDENTITY, Questions

API_TIMEOUT_SECONDS = 60


def run(wanted: dict[str, Any], cloud: Any, refusals: tuple[type[Exception], ...]) -> dict[str, Any]:
    """See the module's documentation. One thing that is wrong never hides another."""
    asked = Questions(wanted, cloud, refusals)
    asked.sign_in()
    if wanted["network"]:
        asked.ask("the network", asked.network)
        if wanted["network"]["floating_ips"] or wanted["network"]["create"]:
            asked.ask("the external network", asked.external)
        asked.ask("the network's quota", asked.network_quota)
        if wanted["network"]["floating_ips"]:
            asked.ask("how many addresses the external network has left", asked.pool)
    if wanted["servers"]:
        asked.ask("the servers", asked.servers)
        asked.ask("the flavors", asked.flavor)
        asked.ask("the quota", asked.compute_quota)
        asked.ask("the availability zones", asked.zone)
        asked.ask("the image", asked.image)
    if wanted["servers"] and not wanted["network"]:
        asked.ask("what the servers stand in", asked.surroundings)
    asked.ask("what the project holds", asked.holdings)
    told = ("problems", "answers", "unanswered", "found", "held")
    return {"changed": False, **{name: getattr(asked, name) for name in told}}


def connect(clouds_file: str, name: str) -> Any:
    """A connection to the cloud."""
    import openstack.config
    import openstack.connection

    configuration = openstack.config.OpenStackConfig(config_files=[clouds_file])
    return openstack.connection.Connection(config=configuration.get_one(name, api_timeout=API_TIMEOUT_SECONDS))


def unusable(clouds_file: str, name: str, error: Exception) -> str:
    """A sentence for a cloud that lets nobody in."""
    kind = type(error).__name__
    if kind in ("Unauthorized", "NotFound"):
        return (
            f"the cloud does not take the credentials of '{name}' in {clouds_file} ({error}): make a new application "
            "credential (openstack application credential create), and put it there"
        )
    return (
        f"the cloud '{name}' in {clouds_file} cannot be used ({error}): check the entry, and that its auth_url answers "
        "from here"
    )


def main() -> None:
    """Entry point of the module."""
    network = {
        "name": {"type": "str", "required": True},
        "router": {"type": "str", "required": True},
        "security_group": {"type": "str", "required": True},
        "create": {"type": "bool", "default": True},
        "external": {"type": "str", "default": ""},
        "create_external": {"type": "bool", "default": False},
        "floating_ips": {"type": "bool", "default": True},
    }
    servers = {
        "names": {"type": "list", "elements": "str", "required": True},
        "image": {"type": "str", "required": True},
        "network": {"type": "str", "required": True},
        "security_group": {"type": "str", "required": True},
        "external": {"type": "str", "default": ""},
        "flavor": {
            "type": "dict",
            "required": True,
            "options": {
                "name": {"type": "str", "required": True},
                "vcpus": {"type": "int", "required": True},
                "ram_mb": {"type": "int", "required": True},
                "disk_gb": {"type": "int", "required": True},
                "create": {"type": "bool", "required": True},
            },
        },
        "availability_zone": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "clouds_file": {"type": "path", "required": True},
            "cloud": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "network": {"type": "dict", "options": network},
            "servers": {"type": "dict", "options": servers},
        },
        supports_check_mode=True,
    )
    if missing := [key for key in IDENTITY if not module.params["tags"].get(key)]:
        # Without them everything that is there would be taken for the environment's own.
        module.fail_json(msg=f"the tags lack {' and '.join(missing)}, so nobody could tell whose a resource is")
    import keystoneauth1.exceptions
    import openstack.exceptions

    refusals = (openstack.exceptions.SDKException, keystoneauth1.exceptions.ClientException)
    try:
        answer = run(module.params, connect(module.params["clouds_file"], module.params["cloud"]), refusals)
    except refusals as error:
        problem = unusable(module.params["clouds_file"], module.params["cloud"], error)
        module.fail_json(msg=problem, problems=[problem])
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
