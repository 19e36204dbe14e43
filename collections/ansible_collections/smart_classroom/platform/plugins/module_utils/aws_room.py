"""Whether an AWS account has room for an environment: its quotas, and where the instance's type is offered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import pages
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    IDENTITY,
    offering_zones,
    text_tags,
)

# Service, code, what it limits. The codes are AWS's and the same in every account.
STANDARD_VCPUS = ("ec2", "L-1216C47A", "vCPUs of running standard instances")
ELASTIC_IPS = ("ec2", "L-0263D0A3", "Elastic IPs")
VPCS = ("vpc", "L-F678F1CE", "VPCs")


class Room:
    """What is asked about room, and the answers so far. ``wanted`` holds the parameters of aws_prerequisites."""

    def __init__(self, wanted: dict[str, Any], make_client: Callable[[str], Any]) -> None:
        self.wanted = wanted
        self.client = make_client
        self.tags = {key: value for key, value in text_tags(wanted["tags"]).items() if key in IDENTITY}
        self.problems: list[str] = []
        self.answers: list[str] = []
        self.unanswered: list[str] = []

    def ask(self, what: str, question: Callable[[], None]) -> None:
        """Ask one thing; a refusal or a service that is not there is noted."""
        try:
            question()
        except (ClientError, BotoCoreError) as error:
            self.unanswered.append(f"{what}: {error}")

    def offer(self) -> None:
        """That the type can run in the zone, and whether its servers will run on KVM."""
        wanted = self.wanted["instance_type"]
        zones = offering_zones(self.client("ec2"), wanted)
        if not zones:
            self.problems.append(
                f"no zone of {self.wanted['region']} offers {wanted}: set another ec2_host_instance_type (families "
                "c8i, m8i, r8i for KVM) or another region"
            )
        elif self.wanted["zone"] and self.wanted["zone"] not in zones:
            self.problems.append(
                f"{self.wanted['zone']} does not offer {wanted}: set ec2_host_zone to one of {', '.join(zones)}"
            )
        else:
            self.answers.append(f"{wanted} is offered in {self.wanted['zone'] or ', '.join(zones)}")

    def quota(self, limit: tuple[str, str, str], used: int, more: int) -> None:
        """That ``more`` still fit beside the ``used`` ones."""
        service, code, name = limit
        value = int(
            self.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
        )
        if used + more > value:
            self.problems.append(
                f"the account may have {value} {name} in {self.wanted['region']}, {used} are in use and {more} more "
                f"are needed: aws service-quotas request-service-quota-increase --service-code {service} --quota-code "
                f"{code} --desired-value {used + more}"
            )
        else:
            self.answers.append(f"{name}: {used} of {value} in use, {more} more needed")

    def is_ours(self, tags: list[dict[str, str]]) -> bool:
        """Whether something with these tags is of this environment."""
        return self.tags.items() <= {tag["Key"]: tag["Value"] for tag in tags}.items()

    def vcpus(self) -> None:
        """That the account may run the instance."""
        ec2 = self.client("ec2")
        states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        groups = pages(ec2, "describe_instances", "Reservations", Filters=states)
        running = [item for group in groups for item in group["Instances"]]
        used = sum(
            item.get("CpuOptions", {}).get("CoreCount", 1) * item.get("CpuOptions", {}).get("ThreadsPerCore", 1)
            for item in running
        )
        type_ = ec2.describe_instance_types(InstanceTypes=[self.wanted["instance_type"]])["InstanceTypes"][0]
        ours = any(self.is_ours(item.get("Tags", [])) for item in running)
        self.quota(STANDARD_VCPUS, used, 0 if ours else type_["VCpuInfo"]["DefaultVCpus"])

    def addresses(self) -> None:
        """That the account may have one more Elastic IP."""
        found = self.client("ec2").describe_addresses()["Addresses"]
        ours = any(self.is_ours(item.get("Tags", [])) for item in found)
        self.quota(ELASTIC_IPS, len(found), 0 if ours else 1)

    def networks(self) -> None:
        """That the account may have one more VPC."""
        found = self.client("ec2").describe_vpcs()["Vpcs"]
        ours = any(self.is_ours(item.get("Tags", [])) for item in found)
        self.quota(VPCS, len(found), 0 if ours else 1)

    def concurrency(self) -> None:
        """That enough invocations can run at once."""
        limit = self.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
        wanted = self.wanted["function_concurrency"]
        if limit < wanted:
            self.problems.append(
                f"Lambda lets {limit} invocations run at once, {wanted} are wanted: aws service-quotas "
                "request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000"
            )
        else:
            self.answers.append(f"Lambda lets {limit} invocations run at once")
