#!/usr/bin/python
"""Ansible module: everything that an environment has in an AWS account."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_environment_info
short_description: List everything in an AWS account that carries the tags of an environment
description:
  - Asks every service that the project uses by itself. AWS's tagging API would be one call, but it goes on naming
    things for hours after they are gone, and it does not know all of them.
  - Nothing is changed.
options:
  tags:
    description: C(project) and C(environment), which decide what belongs to the environment. Others are ignored.
    type: dict
    required: true
  services:
    description: The services to ask; all if empty.
    type: list
    elements: str
    default: []
notes:
  - >-
    Nearest: the C(*_info) modules of amazon.aws and community.aws. There is none for lists of ECR and SQS,
    none outside EC2 selects by tags, and it would be 25 calls.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: List what is there
  smart_classroom.platform.aws_environment_info:
    tags: {project: smart-classroom, environment: dev}
"""

RETURN = r"""
resources:
  description: C(service), C(kind), C(id) and, where data would die with it, C(data) of each thing.
  type: list
  elements: dict
  returned: always
services:
  description: The services that were asked.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from botocore.exceptions import ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import (
    AWS_ERRORS,
    aws_client,
    error_code,
    pages,
)
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import IDENTITY, text_tags

Resource = dict[str, str]
ENDED = ("terminated", "shutting-down")
# Kind, call, key of the answer, key of the identifier. Instances and volumes are asked for apart.
EC2_KINDS = (
    ("Elastic IP", "describe_addresses", "Addresses", "AllocationId"),
    ("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    ("key pair", "describe_key_pairs", "KeyPairs", "KeyPairId"),
    ("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("network interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    ("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("subnet", "describe_subnets", "Subnets", "SubnetId"),
    ("vpc", "describe_vpcs", "Vpcs", "VpcId"),
)


def pairs(tags: list[dict[str, str]]) -> dict[str, str]:
    """Tags of an answer as a mapping; some services write the keys in lower case."""
    return {tag.get("Key", tag.get("key", "")): tag.get("Value", tag.get("value", "")) for tag in tags}


class Account:
    """The account, and which of its things belong to the environment."""

    def __init__(self, tags: Mapping[str, str], make_client: Callable[[str], Any]) -> None:
        self.wanted = {key: tags[key] for key in IDENTITY}
        self.client = make_client

    def is_ours(self, tags: Mapping[str, str]) -> bool:
        """Whether something with these tags belongs to the environment."""
        return self.wanted.items() <= tags.items()

    def ec2(self) -> Iterator[Resource]:
        """Instance, volumes, address, template, key and network."""
        ec2 = self.client("ec2")
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in self.wanted.items()]
        for group in pages(ec2, "describe_instances", "Reservations", Filters=filters):
            for instance in group["Instances"]:
                if instance["State"]["Name"] not in ENDED:
                    data = "the private cloud with its virtual machines and the poller's results"
                    yield {"kind": "instance", "id": instance["InstanceId"], "data": data}
        for volume in pages(ec2, "describe_volumes", "Volumes", Filters=filters):
            if not volume.get("Attachments"):  # an attached one goes with its instance
                yield {"kind": "volume", "id": volume["VolumeId"], "data": f"{volume['Size']} GB"}
        for kind, operation, key, identifier in EC2_KINDS:
            for item in pages(ec2, operation, key, Filters=filters):
                if kind != "network interface" or item.get("Status") != "in-use":
                    yield {"kind": kind, "id": item[identifier]}

    def s3(self) -> Iterator[Resource]:
        """Buckets, with how many objects are in them."""
        s3 = self.client("s3")
        for bucket in s3.list_buckets()["Buckets"]:
            name = bucket["Name"]
            try:
                tags = pairs(s3.get_bucket_tagging(Bucket=name)["TagSet"])
                if not self.is_ours(tags):
                    continue
                versions = s3.get_paginator("list_object_versions").paginate(Bucket=name)
                count = sum(len(page.get("Versions", [])) + len(page.get("DeleteMarkers", [])) for page in versions)
            except ClientError as error:
                # Without tags, or of somebody who lets nobody look: not one that this project made.
                if error_code(error) in ("NoSuchTagSet", "AccessDenied", "NoSuchBucket"):
                    continue
                raise
            yield {"kind": "bucket", "id": name, **({"data": f"{count} objects"} if count else {})}

    def sqs(self) -> Iterator[Resource]:
        """Queues, with how many messages wait in them."""
        sqs = self.client("sqs")
        for url in pages(sqs, "list_queues", "QueueUrls"):
            if self.is_ours(sqs.list_queue_tags(QueueUrl=url).get("Tags", {})):
                attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
                count = int(attributes["Attributes"]["ApproximateNumberOfMessages"])
                yield {
                    "kind": "queue",
                    "id": url.rsplit("/", 1)[-1],
                    **({"data": f"{count} messages"} if count else {}),
                }

    def dynamodb(self) -> Iterator[Resource]:
        """Tables, with about how many items are in them."""
        dynamodb = self.client("dynamodb")
        for name in pages(dynamodb, "list_tables", "TableNames"):
            table = dynamodb.describe_table(TableName=name)["Table"]
            if self.is_ours(pairs(dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags", []))):
                yield {"kind": "table", "id": name, "data": f"about {table.get('ItemCount', 0)} records of students"}

    def lambda_(self) -> Iterator[Resource]:
        """Functions."""
        functions = self.client("lambda")
        for function in pages(functions, "list_functions", "Functions"):
            if self.is_ours(functions.list_tags(Resource=function["FunctionArn"]).get("Tags", {})):
                yield {"kind": "function", "id": function["FunctionName"]}

    def logs(self) -> Iterator[Resource]:
        """Groups of logs."""
        logs = self.client("logs")
        for group in pages(logs, "describe_log_groups", "logGroups"):
            arn = group["arn"].removesuffix(":*")
            if self.is_ours(logs.list_tags_for_resource(resourceArn=arn).get("tags", {})):
                yield {"kind": "log group", "id": group["logGroupName"], "data": f"{group.get('storedBytes', 0)} bytes"}

    def iam(self) -> Iterator[Resource]:
        """Roles and users. A listing does not show their tags."""
        iam = self.client("iam")
        for role in pages(iam, "list_roles", "Roles"):
            if not role["Path"].startswith("/aws-service-role/") and self.is_ours(
                pairs(iam.list_role_tags(RoleName=role["RoleName"])["Tags"])
            ):
                yield {"kind": "role", "id": role["RoleName"]}
        for user in pages(iam, "list_users", "Users"):
            if self.is_ours(pairs(iam.list_user_tags(UserName=user["UserName"])["Tags"])):
                yield {"kind": "user", "id": user["UserName"]}

    def ecr(self) -> Iterator[Resource]:
        """Repositories, with how many images are in them."""
        ecr = self.client("ecr")
        for repository in pages(ecr, "describe_repositories", "repositories"):
            if self.is_ours(pairs(ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"]).get("tags", []))):
                name = repository["repositoryName"]
                count = len(list(pages(ecr, "list_images", "imageIds", repositoryName=name)))
                yield {"kind": "repository", "id": name, **({"data": f"{count} images"} if count else {})}

    def cloudwatch(self) -> Iterator[Resource]:
        """Alarms."""
        cloudwatch = self.client("cloudwatch")
        for alarm in pages(cloudwatch, "describe_alarms", "MetricAlarms"):
            if self.is_ours(pairs(cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"]).get("Tags", []))):
                yield {"kind": "alarm", "id": alarm["AlarmName"]}

    def sns(self) -> Iterator[Resource]:
        """Topics."""
        sns = self.client("sns")
        for topic in pages(sns, "list_topics", "Topics"):
            if self.is_ours(pairs(sns.list_tags_for_resource(ResourceArn=topic["TopicArn"]).get("Tags", []))):
                yield {"kind": "topic", "id": topic["TopicArn"].rsplit(":", 1)[-1]}

    def services(self) -> dict[str, Callable[[], Iterator[Resource]]]:
        """How to ask each service."""
        return {
            "ec2": self.ec2,
            "s3": self.s3,
            "sqs": self.sqs,
            "dynamodb": self.dynamodb,
            "lambda": self.lambda_,
            "logs": self.logs,
            "iam": self.iam,
            "ecr": self.ecr,
            "cloudwatch": self.cloudwatch,
            "sns": self.sns,
        }


def run(parameters: dict[str, Any], make_client: Callable[[str], Any]) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        ClientError: AWS refuses to list something, so nobody can say what is there.
    """
    asked = Account(text_tags(parameters["tags"]), make_client).services()
    names = parameters["services"] or list(asked)
    resources = [{"service": name, **resource} for name in names for resource in asked[name]()]
    return {"changed": False, "resources": resources, "services": names}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "tags": {"type": "dict", "required": True},
            "services": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, aws_client)
    except AWS_ERRORS as error:
        module.fail_json(
            msg=f"What the environment has in AWS could not be listed: {error}. The credentials need the List and "
            "Describe actions of every service that is used: playbooks/check-prerequisites.yml names them."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
