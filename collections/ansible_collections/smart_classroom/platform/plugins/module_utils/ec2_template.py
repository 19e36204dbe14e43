"""Launch template and key pair of an EC2 instance: what a new instance starts with."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import error_code
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    Ledger,
    identity_filters,
    only,
    specification,
    text_tags,
)

NESTED = "nested-virtualization"
NO_SUCH_TYPE = ("InvalidInstanceType", "InvalidParameterValue")


class Template:
    """Key pair and launch template, each found by its tags. ``wanted`` holds the parameters of the module aws_host."""

    def __init__(self, ec2: Any, wanted: dict[str, Any], ledger: Ledger) -> None:
        self.ec2 = ec2
        self.wanted = wanted
        self.name = wanted["name"]
        self.tags = text_tags(wanted["tags"])
        self.filters = identity_filters(self.name, self.tags)
        self.ledger = ledger

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

    def find(self) -> dict[str, Any] | None:
        """The launch template, None when there is none."""
        templates = self.ec2.describe_launch_templates(Filters=self.filters)["LaunchTemplates"]
        found: dict[str, Any] | None = only("launch template", self.name, templates)
        return found

    def content(self, image: dict[str, Any], nested: bool) -> dict[str, Any]:
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

    def ensure(self) -> tuple[str, dict[str, Any], bool]:
        """The template with exactly the wanted content as its default version.

        A version cannot be changed after it was made, so the hash of its content in its description says what it holds.

        Returns:
            The template's id (empty in a check of a missing one), its content, whether it has nested virtualization.
        """
        template = self.find()
        current: dict[str, Any] = {}
        if template:
            current = self.ec2.describe_launch_template_versions(
                LaunchTemplateId=template["LaunchTemplateId"], Versions=["$Default"]
            )["LaunchTemplateVersions"][0]
        nested = self.has_nested_virtualization()
        image = self.image(current.get("LaunchTemplateData", {}).get("ImageId", ""))
        data = self.content(image, nested)
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

    def remove(self) -> None:
        """Remove both."""
        if template := self.find():
            identifier = template["LaunchTemplateId"]
            self.ledger.put("launch template", lambda: self.ec2.delete_launch_template(LaunchTemplateId=identifier))
        if self.key_pair():
            self.ledger.put("key pair", lambda: self.ec2.delete_key_pair(KeyName=self.name))
