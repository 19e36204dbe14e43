"""One EC2 instance: found by its tags, started, stopped, protected and ended."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import WaiterError

from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    Ledger,
    identity_filters,
    only,
    text_tags,
)

POLL_SECONDS = 5
ALIVE = ["pending", "running", "stopping", "stopped"]
ENDING = "shutting-down"


class Instance:
    """The instance. ``wanted`` holds the parameters of the module aws_host."""

    def __init__(self, ec2: Any, wanted: dict[str, Any], ledger: Ledger) -> None:
        self.ec2 = ec2
        self.wanted = wanted
        self.name = wanted["name"]
        self.tags = text_tags(wanted["tags"])
        self.filters = identity_filters(self.name, self.tags)
        self.ledger = ledger

    def find(self) -> dict[str, Any] | None:
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

    def ensure(self, template_id: str) -> dict[str, Any]:
        """The instance, started when it is stopped; empty in a check of a missing one."""
        instance = self.find()
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

    def terminate(self, instance: dict[str, Any]) -> None:
        """End the instance and wait until it is gone, since its network cannot go before."""
        if instance["State"]["Name"] != ENDING:
            self.protect(instance["InstanceId"], False)
            self.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        self.wait("instance_terminated", instance["InstanceId"])

    def remove(self) -> None:
        """End the instance, if there is one."""
        if instance := self.find():
            self.ledger.put("instance", lambda: self.terminate(instance))
