#!/usr/bin/python
"""Ansible module: one EC2 instance that carries a private cloud, with its launch template and its Elastic IP."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_host
short_description: Run one EC2 instance from a launch template, at a fixed public address
description:
  - Makes a key pair, a launch template (session tokens required for the metadata service, encrypted gp3 volume, nested
    virtualization where the type has it), the instance and an Elastic IP, each found by its tags.
  - C(amazon.aws.ec2_instance) and C(amazon.aws.ec2_launch_template) do not know C(CpuOptions.NestedVirtualization),
    without which the instance has no C(/dev/kvm).
  - A running instance is never replaced or stopped to bring it up to the template; the module says what differs and
    fails.
options:
  name:
    description: Value of the C(Name) tag of every part, and the name of the key pair and the template.
    type: str
    required: true
  zone:
    description: Availability zone that O(state=offered) is asked about; any if empty.
    type: str
    default: ''
  subnet_id:
    description: Subnet of the instance. May be empty in check mode.
    type: str
    default: ''
  security_group_id:
    description: Security group of the instance. May be empty in check mode.
    type: str
    default: ''
  instance_type:
    description: Type of the instance. Required unless O(state=absent).
    type: str
  image_id:
    description: Image of a new instance. The newest that O(image_owner) calls O(image_name) if empty.
    type: str
    default: ''
  image_owner:
    description: Account that publishes the image.
    type: str
    default: ''
  image_name:
    description: Name of the image, C(*) stands for anything.
    type: str
    default: ''
  volume_gb:
    description: Size of the root volume in GB.
    type: int
    default: 60
  public_key:
    description: Public SSH key of the operator, as in an authorized_keys file. Required with O(state=running).
    type: str
  user_data:
    description: What cloud-init gets, as text. No secret may be in it, every process of the instance can read it.
    type: str
    default: ''
  termination_protection:
    description: Whether AWS refuses to terminate the instance for anybody but this module.
    type: bool
    default: false
  tags:
    description: Tags of every part. C(project) and C(environment) must be among them. Other tags are kept.
    type: dict
    required: true
  timeout_seconds:
    description: How long the instance may take to run, stop or end.
    type: int
    default: 600
  state:
    description:
      - V(stopped) keeps everything and costs only volume and address; V(absent) removes all of it.
      - V(offered) changes nothing; it says where an instance of the type can run, and fails where there is no zone.
    type: str
    choices: [running, stopped, offered, absent]
    default: running
notes:
  - >-
    Nearest: M(amazon.aws.ec2_instance), M(amazon.aws.ec2_launch_template), M(amazon.aws.ec2_key),
    M(amazon.aws.ec2_eip). None knows C(CpuOptions.NestedVirtualization); C(ec2_key) reports a change or
    imports a temporary key on each run, C(ec2_eip) allocates another address on each run. No module asks for
    offers of an instance type.
  - >-
    Can go: when C(cpu_options) of both has nested virtualization and C(ec2_eip) is idempotent without a
    device.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Run the instance
  smart_classroom.platform.aws_host:
    name: smart-classroom-dev-host
    subnet_id: subnet-0123456789abcdef0
    security_group_id: sg-0123456789abcdef0
    instance_type: m8i.xlarge
    image_owner: "136693071363"
    image_name: debian-12-amd64-*
    public_key: "{{ lookup('ansible.builtin.file', 'id_ed25519.pub') }}"
    tags: {project: smart-classroom, environment: dev}
"""

RETURN = r"""
instance_id:
  description: The instance, empty in a check of one that is not there yet.
  type: str
  returned: unless O(state=offered)
public_address:
  description: The Elastic IP, empty like the instance.
  type: str
  returned: unless O(state=offered)
private_address:
  description: The address inside the VPC, which stays over stop and start.
  type: str
  returned: unless O(state=offered)
image_id:
  description: The image of the launch template.
  type: str
  returned: when O(state=running) or O(state=stopped)
nested_virtualization:
  description: Whether the instance can run virtual machines in hardware.
  type: bool
  returned: when O(state=running) or O(state=stopped)
zone:
  description: O(zone), or the first that offers the type.
  type: str
  returned: when O(state=offered)
zones:
  description: Every zone of the region that offers the type.
  type: list
  elements: str
  returned: when O(state=offered)
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_instance import Instance
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    Ledger,
    identity_filters,
    offering_zones,
    only,
    specification,
    text_tags,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_template import Template


class Host:
    """The parts of the host, each found by its tags."""

    def __init__(self, ec2: Any, parameters: dict[str, Any], check_mode: bool) -> None:
        self.ec2 = ec2
        self.wanted = parameters
        self.name = parameters["name"]
        self.tags = text_tags(parameters["tags"])
        self.filters = identity_filters(self.name, self.tags)
        self.ledger = Ledger(check_mode)
        self.template = Template(ec2, parameters, self.ledger)
        self.instance = Instance(ec2, parameters, self.ledger)

    def offered(self) -> dict[str, Any]:
        """Where an instance of the type can run.

        Raises:
            Ec2Error: not in the wanted zone, or in none.
        """
        instance_type, wanted = self.wanted["instance_type"], self.wanted["zone"]
        zones = offering_zones(self.ec2, instance_type)
        if not zones:
            raise Ec2Error(
                f"no zone of {self.ec2.meta.region_name} offers {instance_type}: set another ec2_host_instance_type "
                "or another smart_classroom_region"
            )
        if wanted and wanted not in zones:
            raise Ec2Error(
                f"{wanted} does not offer {instance_type}, but {', '.join(zones)} do: set ec2_host_zone to one of them"
            )
        return {"zone": wanted or zones[0], "zones": zones}

    def address(self) -> dict[str, Any] | None:
        """The Elastic IP, None when there is none."""
        found: dict[str, Any] | None = only(
            "Elastic IP", self.name, self.ec2.describe_addresses(Filters=self.filters)["Addresses"]
        )
        return found

    def ensure_address(self, instance_id: str) -> str:
        """The Elastic IP, associated with the instance; empty in a check of a missing one."""
        address = self.address()
        if address is None:
            address = self.ledger.put("Elastic IP", self.allocate) or {}
        else:
            self.ledger.tags(self.ec2, "Elastic IP", address["AllocationId"], address.get("Tags", []), self.tags)
        if not instance_id or address.get("InstanceId") != instance_id:
            allocation = address.get("AllocationId", "")
            self.ledger.put(
                "association of the Elastic IP",
                lambda: self.ec2.associate_address(AllocationId=allocation, InstanceId=instance_id),
            )
        return str(address.get("PublicIp", ""))

    def allocate(self) -> dict[str, Any]:
        """A new Elastic IP."""
        address: dict[str, Any] = self.ec2.allocate_address(
            Domain="vpc", TagSpecifications=specification("elastic-ip", self.name, self.tags)
        )
        return address

    def present(self) -> dict[str, Any]:
        """Make what is missing.

        Raises:
            Ec2Error: something is in the way.
        """
        self.template.ensure_key_pair()
        template_id, data, nested = self.template.ensure()
        instance = self.instance.ensure(template_id)
        return {
            "instance_id": instance.get("InstanceId", ""),
            "private_address": instance.get("PrivateIpAddress", ""),
            "public_address": self.ensure_address(instance.get("InstanceId", "")),
            "image_id": data["ImageId"],
            "nested_virtualization": nested,
        }

    def absent(self) -> dict[str, Any]:
        """Remove what is there, the last first."""
        if address := self.address():
            self.ledger.put("Elastic IP", lambda: self.release(address))
        self.instance.remove()
        self.template.remove()
        return {"instance_id": "", "private_address": "", "public_address": ""}

    def release(self, address: dict[str, Any]) -> None:
        """Take the Elastic IP from its instance and give it back."""
        if "AssociationId" in address:
            self.ec2.disassociate_address(AssociationId=address["AssociationId"])
        self.ec2.release_address(AllocationId=address["AllocationId"])


def run(ec2: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        Ec2Error: something is in the way.
        ClientError: AWS refuses.
    """
    host = Host(ec2, parameters, check_mode)
    acts = {"absent": host.absent, "offered": host.offered}
    result = acts.get(parameters["state"], host.present)()
    return {"changed": bool(host.ledger.differences), "differences": host.ledger.differences, **result}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "zone": {"type": "str", "default": ""},
            "subnet_id": {"type": "str", "default": ""},
            "security_group_id": {"type": "str", "default": ""},
            "instance_type": {"type": "str"},
            "image_id": {"type": "str", "default": ""},
            "image_owner": {"type": "str", "default": ""},
            "image_name": {"type": "str", "default": ""},
            "volume_gb": {"type": "int", "default": 60},
            "public_key": {"type": "str"},
            "user_data": {"type": "str", "default": ""},
            "termination_protection": {"type": "bool", "default": False},
            "tags": {"type": "dict", "required": True},
            "timeout_seconds": {"type": "int", "default": 600},
            "state": {"type": "str", "choices": ["running", "stopped", "offered", "absent"], "default": "running"},
        },
        required_if=[
            ("state", "running", ["instance_type", "public_key"]),
            ("state", "offered", ["instance_type"]),
            ("state", "stopped", ["instance_type", "public_key"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("ec2"), module.params, module.check_mode)
    except (Ec2Error, *AWS_ERRORS) as error:
        module.fail_json(
            msg=f"The instance {module.params['name']} could not be set up: {error}. "
            "ansible-playbook playbooks/check-prerequisites.yml says what the account lacks."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
