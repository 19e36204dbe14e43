#!/usr/bin/python
"""Ansible module: one EC2 instance that carries a private cloud, with its launch template and its Elastic IP."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_host
short_description: Run one EC2 instance from a launch template, at a fixed public address
description:
  - Makes a key pair, a launch template (session tokens required for the metadata service, encrypted gp3 volume, nested
    virtualization where the type has it), the instance and an Elastic IP, each found by its tags.
  - C(amazon.aws.ec2_instance) and C(community.aws.ec2_launch_template) do not know C(CpuOptions.NestedVirtualization),
    without which the instance has no C(/dev/kvm).
  - A running instance is never replaced or stopped to bring it up to the template; the module says what differs and
    fails.
options:
  name:
    description: Value of the C(Name) tag of every part, and the name of the key pair and the template.
    type: str
    required: true
  subnet_id:
    description: Subnet of the instance. May be empty in check mode.
    type: str
    default: ''
  security_group_id:
    description: Security group of the instance. May be empty in check mode.
    type: str
    default: ''
  instance_type:
    description: Type of the instance. Required with O(state=running).
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
    description: V(stopped) keeps everything and costs only volume and address; V(absent) removes all of it.
    type: str
    choices: [running, stopped, absent]
    default: running
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
  returned: always
public_address:
  description: The Elastic IP, empty like the instance.
  type: str
  returned: always
private_address:
  description: The address inside the VPC, which stays over stop and start.
  type: str
  returned: always
image_id:
  description: The image of the launch template.
  type: str
  returned: when O(state) is not V(absent)
nested_virtualization:
  description: Whether the instance can run virtual machines in hardware.
  type: bool
  returned: when O(state) is not V(absent)
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError, WaiterError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    Ledger,
    identity_filters,
    only,
    specification,
    text_tags,
)

POLL_SECONDS = 5
ALIVE = ["pending", "running", "stopping", "stopped"]
ENDING = "shutting-down"
NESTED = "nested-virtualization"
NO_SUCH_TYPE = ("InvalidInstanceType", "InvalidParameterValue")


class Host:
    """The parts of the host, each found by its tags."""

    def __init__(self, ec2: Any, parameters: dict[str, Any], check_mode: bool) -> None:
        self.ec2 = ec2
        self.wanted = parameters
        self.name = parameters["name"]
        self.tags = text_tags(parameters["tags"])
        self.filters = identity_filters(self.name, self.tags)
        self.ledger = Ledger(check_mode)

    def key_pair(self) -> dict[str, Any] | None:
        """The key pair, None when there is none."""
        found: dict[str, Any] | None = only(
            "key pair", self.name, self.ec2.describe_key_pairs(Filters=self.filters)["KeyPairs"]
        )
        return found

    def ensure_key_pair(self) -> None:
        """The operator's key under the host's name; another key takes its place for instances to come."""
        public_key = self.wanted["public_key"].strip()
        digest = hashlib.sha256(" ".join(public_key.split()[:2]).encode()).hexdigest()[:16]
        tags = {**self.tags, "key-digest": digest}
        found = self.key_pair()
        if found and {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}.get("key-digest") != digest:
            self.ledger.put("other key pair", lambda: self.ec2.delete_key_pair(KeyName=self.name))
            found = None
        if found is None:
            self.ledger.put(
                "key pair",
                lambda: self.ec2.import_key_pair(
                    KeyName=self.name,
                    PublicKeyMaterial=public_key.encode(),
                    TagSpecifications=specification("key-pair", self.name, tags),
                ),
            )
        else:
            self.ledger.tags(self.ec2, "key pair", found["KeyPairId"], found.get("Tags", []), tags)

    def has_nested_virtualization(self) -> bool:
        """Whether the wanted type lets an instance run virtual machines in hardware; AWS says so of each type.

        Raises:
            Ec2Error: there is no such type in the region.
        """
        name = self.wanted["instance_type"]
        try:
            found = self.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
        except ClientError as error:
            if error_code(error) not in NO_SUCH_TYPE:
                raise
            found = []
        if not found:
            raise Ec2Error(f"the region has no instance type {name}: set another ec2_host_instance_type")
        return NESTED in found[0].get("ProcessorInfo", {}).get("SupportedFeatures", [])

    def image(self, present: str) -> dict[str, Any]:
        """The image of new instances: the wanted one, else the one that the template has, else the newest of its name.

        An image that is newer than the template's makes no difference: it would only be used by another instance.

        Raises:
            Ec2Error: nobody publishes such an image.
        """
        wanted = self.wanted["image_id"] or present
        found = self.ec2.describe_images(ImageIds=[wanted])["Images"] if wanted else []
        if not found and not self.wanted["image_id"]:
            found = self.ec2.describe_images(
                Owners=[self.wanted["image_owner"]],
                Filters=[
                    {"Name": "name", "Values": [self.wanted["image_name"]]},
                    {"Name": "state", "Values": ["available"]},
                ],
            )["Images"]
        if not found:
            raise Ec2Error(
                f"the region has no image {wanted or self.wanted['image_name'] + ' of ' + self.wanted['image_owner']}: "
                "set ec2_host_image_id to a Debian 12 image that this account may use"
            )
        newest: dict[str, Any] = max(found, key=lambda image: image["CreationDate"])
        return newest

    def template(self) -> dict[str, Any] | None:
        """The launch template, None when there is none."""
        templates = self.ec2.describe_launch_templates(Filters=self.filters)["LaunchTemplates"]
        found: dict[str, Any] | None = only("launch template", self.name, templates)
        return found

    def template_data(self, image: dict[str, Any], nested: bool) -> dict[str, Any]:
        """What an instance is started with, in the shape of the API."""
        wanted = self.wanted
        options: dict[str, Any] = {"CpuOptions": {"NestedVirtualization": "enabled"}} if nested else {}
        if wanted["user_data"]:
            options["UserData"] = base64.b64encode(wanted["user_data"].encode()).decode()
        return {
            **options,
            "ImageId": image["ImageId"],
            "InstanceType": wanted["instance_type"],
            "KeyName": self.name,
            "DisableApiTermination": wanted["termination_protection"],
            "InstanceInitiatedShutdownBehavior": "stop",
            "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "BlockDeviceMappings": [
                {
                    "DeviceName": image.get("RootDeviceName") or "/dev/xvda",
                    "Ebs": {
                        "DeleteOnTermination": True,
                        "Encrypted": True,
                        "VolumeSize": wanted["volume_gb"],
                        "VolumeType": "gp3",
                    },
                }
            ],
            "TagSpecifications": [
                *specification("instance", self.name, self.tags),
                *specification("volume", self.name, self.tags),
                *specification("network-interface", self.name, self.tags),
            ],
        }

    def ensure_template(self) -> tuple[str, dict[str, Any], bool]:
        """The template with exactly the wanted content as its default version.

        A version cannot be changed after it was made, so the hash of its content in its description says what it holds.

        Returns:
            The template's id (empty in a check of a missing one), its content, whether it has nested virtualization.
        """
        template = self.template()
        current: dict[str, Any] = {}
        if template:
            current = self.ec2.describe_launch_template_versions(
                LaunchTemplateId=template["LaunchTemplateId"], Versions=["$Default"]
            )["LaunchTemplateVersions"][0]
        nested = self.has_nested_virtualization()
        image = self.image(current.get("LaunchTemplateData", {}).get("ImageId", ""))
        data = self.template_data(image, nested)
        digest = "content " + hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]
        if template is None:
            made = self.ledger.put(
                "launch template",
                lambda: self.ec2.create_launch_template(
                    LaunchTemplateName=self.name,
                    VersionDescription=digest,
                    LaunchTemplateData=data,
                    TagSpecifications=specification("launch-template", self.name, self.tags),
                )["LaunchTemplate"],
            )
            return (made["LaunchTemplateId"] if made else ""), data, nested
        identifier = str(template["LaunchTemplateId"])
        self.ledger.tags(self.ec2, "launch template", identifier, template.get("Tags", []), self.tags)
        if current.get("VersionDescription") != digest:
            self.ledger.put("content of the launch template", lambda: self.new_default(identifier, data, digest))
        return identifier, data, nested

    def new_default(self, identifier: str, data: dict[str, Any], digest: str) -> None:
        """Make a version of the template and let it be the default."""
        version = self.ec2.create_launch_template_version(
            LaunchTemplateId=identifier, VersionDescription=digest, LaunchTemplateData=data
        )["LaunchTemplateVersion"]["VersionNumber"]
        self.ec2.modify_launch_template(LaunchTemplateId=identifier, DefaultVersion=str(version))

    def instance(self) -> dict[str, Any] | None:
        """The instance, None when there is none or it has ended."""
        states = [*ALIVE, ENDING] if self.wanted["state"] == "absent" else ALIVE
        filters = [*self.filters, {"Name": "instance-state-name", "Values": states}]
        groups = self.ec2.describe_instances(Filters=filters)["Reservations"]
        found: dict[str, Any] | None = only(
            "instance", self.name, [item for group in groups for item in group["Instances"]]
        )
        return found

    def wait(self, waiter: str, instance_id: str) -> None:
        """Wait until the instance is as the waiter says.

        Raises:
            Ec2Error: it is not in time.
        """
        attempts = max(1, self.wanted["timeout_seconds"] // max(1, POLL_SECONDS))
        try:
            self.ec2.get_waiter(waiter).wait(
                InstanceIds=[instance_id], WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": attempts}
            )
        except WaiterError as error:
            raise Ec2Error(
                f"the instance {instance_id} is not {waiter.removeprefix('instance_')} after "
                f"{self.wanted['timeout_seconds']} s ({error}): look at its state in the EC2 console, then run "
                "this again"
            ) from error

    def ensure_instance(self, template_id: str) -> dict[str, Any]:
        """The instance, started when it is stopped; empty in a check of a missing one."""
        instance = self.instance()
        if instance is None:
            made = self.ledger.put("instance", lambda: self.launch(template_id))
            return made or {}
        self.ledger.tags(self.ec2, "instance", instance["InstanceId"], instance.get("Tags", []), self.tags)
        self.refuse_what_needs_another_instance(instance)
        self.ensure_protection(instance["InstanceId"])
        self.ensure_power(instance)
        return instance

    def launch(self, template_id: str) -> dict[str, Any]:
        """Run an instance from the template's default version and wait until it runs.

        It has its tags from birth, so a run that was killed after the call finds it again.
        """
        instance: dict[str, Any] = self.ec2.run_instances(
            MinCount=1,
            MaxCount=1,
            LaunchTemplate={"LaunchTemplateId": template_id, "Version": "$Default"},
            SubnetId=self.wanted["subnet_id"],
            SecurityGroupIds=[self.wanted["security_group_id"]],
        )["Instances"][0]
        self.wait("instance_running", instance["InstanceId"])
        if self.protection_differs(instance["InstanceId"]):
            self.protect(instance["InstanceId"], self.wanted["termination_protection"])
        if self.wanted["state"] == "stopped":
            self.stop(instance["InstanceId"])
        return instance

    def refuse_what_needs_another_instance(self, instance: dict[str, Any]) -> None:
        """Say what cannot be changed in place.

        Raises:
            Ec2Error: the instance has another type than wanted.
        """
        if instance["InstanceType"] != self.wanted["instance_type"]:
            raise Ec2Error(
                f"the instance {instance['InstanceId']} is a {instance['InstanceType']}, ec2_host_instance_type says "
                f"{self.wanted['instance_type']}. It is not replaced, because the private cloud on it would be lost: "
                "set the value back, or remove the environment with playbooks/teardown.yml and deploy it anew"
            )

    def protection_differs(self, instance_id: str) -> bool:
        """Whether the instance has another termination protection than wanted."""
        answer = self.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="disableApiTermination")
        return bool(answer["DisableApiTermination"].get("Value", False) != self.wanted["termination_protection"])

    def ensure_protection(self, instance_id: str) -> None:
        """Termination protection as wanted."""
        if self.protection_differs(instance_id):
            wanted = self.wanted["termination_protection"]
            self.ledger.put("termination protection", lambda: self.protect(instance_id, wanted))

    def protect(self, instance_id: str, protected: bool) -> None:
        """Set termination protection."""
        self.ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": protected})

    def ensure_power(self, instance: dict[str, Any]) -> None:
        """Running or stopped, as wanted."""
        identifier, state = instance["InstanceId"], instance["State"]["Name"]
        if self.wanted["state"] == "running" and state in ("stopping", "stopped"):
            self.ledger.put("start", lambda: self.start(identifier))
        if self.wanted["state"] == "stopped" and state in ("pending", "running"):
            self.ledger.put("stop", lambda: self.stop(identifier))

    def start(self, instance_id: str) -> None:
        """Start the instance, which may still be stopping."""
        self.wait("instance_stopped", instance_id)
        self.ec2.start_instances(InstanceIds=[instance_id])
        self.wait("instance_running", instance_id)

    def stop(self, instance_id: str) -> None:
        """Stop the instance, which may still be starting."""
        self.wait("instance_running", instance_id)
        self.ec2.stop_instances(InstanceIds=[instance_id])
        self.wait("instance_stopped", instance_id)

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
        self.ensure_key_pair()
        template_id, data, nested = self.ensure_template()
        instance = self.ensure_instance(template_id)
        return {
            "instance_id": instance.get("InstanceId", ""),
            "private_address": instance.get("PrivateIpAddress", ""),
            "public_address": self.ensure_address(instance.get("InstanceId", "")),
            "image_id": data["ImageId"],
            "nested_virtualization": nested,
        }

    def absent(self) -> dict[str, Any]:
        """Remove what is there, the last first."""
        ec2 = self.ec2
        if address := self.address():
            self.ledger.put("Elastic IP", lambda: self.release(address))
        if instance := self.instance():
            self.ledger.put("instance", lambda: self.terminate(instance))
        if template := self.template():
            self.ledger.put(
                "launch template",
                lambda: ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"]),
            )
        if self.key_pair():
            self.ledger.put("key pair", lambda: ec2.delete_key_pair(KeyName=self.name))
        return {"instance_id": "", "private_address": "", "public_address": ""}

    def release(self, address: dict[str, Any]) -> None:
        """Take the Elastic IP from its instance and give it back."""
        if "AssociationId" in address:
            self.ec2.disassociate_address(AssociationId=address["AssociationId"])
        self.ec2.release_address(AllocationId=address["AllocationId"])

    def terminate(self, instance: dict[str, Any]) -> None:
        """End the instance and wait until it is gone, since its network cannot go before."""
        if instance["State"]["Name"] != ENDING:
            self.protect(instance["InstanceId"], False)
            self.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        self.wait("instance_terminated", instance["InstanceId"])


def run(ec2: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        Ec2Error: something is in the way.
        ClientError: AWS refuses.
    """
    host = Host(ec2, parameters, check_mode)
    act: Callable[[], dict[str, Any]] = host.absent if parameters["state"] == "absent" else host.present
    result = act()
    return {"changed": bool(host.ledger.differences), "differences": host.ledger.differences, **result}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
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
            "state": {"type": "str", "choices": ["running", "stopped", "absent"], "default": "running"},
        },
        required_if=[
            ("state", "running", ["instance_type", "public_key"]),
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
