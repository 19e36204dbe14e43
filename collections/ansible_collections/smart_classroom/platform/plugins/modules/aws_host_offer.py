#!/usr/bin/python
"""Ansible module: the availability zone for an instance of a type."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_host_offer
short_description: Say in which availability zone an instance of a type can run
description:
  - Nothing is changed. A subnet that is there already decides, because it cannot move; else O(zone); else the first
    zone of the region, by name, that offers the type.
options:
  name:
    description: Value of the C(Name) tag of the subnet.
    type: str
    required: true
  instance_type:
    description: Type of the instance.
    type: str
    required: true
  zone:
    description: The zone that is wanted; the first that offers the type if empty.
    type: str
    default: ''
  tags:
    description: Tags of the subnet, with C(project) and C(environment) among them.
    type: dict
    required: true
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Look for a zone
  smart_classroom.platform.aws_host_offer:
    name: smart-classroom-dev-host
    instance_type: m8i.xlarge
    tags: {project: smart-classroom, environment: dev}
"""

RETURN = r"""
zone:
  description: The zone.
  type: str
  returned: always
zones:
  description: Every zone of the region that offers the type.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    identity_filters,
    text_tags,
)


def offering_zones(ec2: Any, instance_type: str) -> list[str]:
    """The zones of the client's region that offer the type, by name."""
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
    )["InstanceTypeOfferings"]
    return sorted(offer["Location"] for offer in offers)


def run(ec2: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        Ec2Error: the type cannot run in the wanted zone, or in none.
        ClientError: AWS refuses.
    """
    instance_type, wanted = parameters["instance_type"], parameters["zone"]
    zones = offering_zones(ec2, instance_type)
    filters = identity_filters(parameters["name"], text_tags(parameters["tags"]))
    present = [subnet["AvailabilityZone"] for subnet in ec2.describe_subnets(Filters=filters)["Subnets"]]
    if not zones:
        raise Ec2Error(
            f"no zone of {ec2.meta.region_name} offers {instance_type}: set another ec2_host_instance_type, or another "
            "smart_classroom_region"
        )
    zone = wanted or (present or zones)[0]
    if zone not in zones:
        raise Ec2Error(
            f"{zone} does not offer {instance_type}, but {', '.join(zones)} do: set ec2_host_zone to one of them"
        )
    return {"changed": False, "zone": zone, "zones": zones}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "instance_type": {"type": "str", "required": True},
            "zone": {"type": "str", "default": ""},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("ec2"), module.params)
    except (Ec2Error, *AWS_ERRORS) as error:
        module.fail_json(
            msg=f"There is no place for an instance of type {module.params['instance_type']}: {error}. If AWS refused "
            "to say, ansible-playbook playbooks/check-prerequisites.yml tells what these credentials lack."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
