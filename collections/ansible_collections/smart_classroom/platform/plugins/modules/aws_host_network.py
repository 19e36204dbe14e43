#!/usr/bin/python
"""Ansible module: the network of one EC2 instance, open to nobody but its operator."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_host_network
short_description: Make the VPC, subnet, way to the internet and security group of one instance
description:
  - Everything is found by its C(Name), C(project) and C(environment) tags, so a run that was interrupted is continued
    and a half-made network can be removed.
  - The modules of C(amazon.aws) need the id of the VPC to look at what is in it, so none of them can say in check mode
    what an empty account would get; this one can.
options:
  name:
    description: Value of the C(Name) tag of every part.
    type: str
    required: true
  cidr:
    description: Address range of the VPC; its one subnet has the same. Required with O(state=present).
    type: str
  zone:
    description: Availability zone of the subnet. Required with O(state=present).
    type: str
  operator_cidrs:
    description: Who may reach the instance, by SSH. Required with O(state=present).
    type: list
    elements: str
  tags:
    description: Tags of every part. C(project) and C(environment) must be among them. Other tags are kept.
    type: dict
    required: true
  state:
    description: V(absent) removes the network, whatever is there of it.
    type: str
    choices: [present, absent]
    default: present
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the network
  smart_classroom.platform.aws_host_network:
    name: smart-classroom-dev-host
    cidr: 10.80.0.0/24
    zone: us-east-1a
    operator_cidrs: [192.0.2.10/32]
    tags: {project: smart-classroom, environment: dev}
"""

RETURN = r"""
vpc_id:
  description: The VPC, empty in a check of one that is not there yet.
  type: str
  returned: always
subnet_id:
  description: The subnet, empty like the VPC.
  type: str
  returned: always
security_group_id:
  description: The security group, empty like the VPC.
  type: str
  returned: always
differences:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import AWS_ERRORS, aws_client
from ansible_collections.smart_classroom.platform.plugins.module_utils.ec2_resources import (
    Ec2Error,
    Ledger,
    identity_filters,
    only,
    specification,
    text_tags,
)

SSH_PORT = 22
EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Part:
    """A kind of thing: what a person calls it, and the API's names for looking at it."""

    kind: str
    describe: str
    answer: str
    identifier: str


VPC = Part("vpc", "describe_vpcs", "Vpcs", "VpcId")
SUBNET = Part("subnet", "describe_subnets", "Subnets", "SubnetId")
GATEWAY = Part("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId")
TABLE = Part("route table", "describe_route_tables", "RouteTables", "RouteTableId")
GROUP = Part("security group", "describe_security_groups", "SecurityGroups", "GroupId")


class Network:
    """The parts of the network, each found by its tags."""

    def __init__(self, ec2: Any, parameters: dict[str, Any], check_mode: bool) -> None:
        self.ec2 = ec2
        self.wanted = parameters
        self.name = parameters["name"]
        self.tags = text_tags(parameters["tags"])
        self.filters = identity_filters(self.name, self.tags)
        self.ledger = Ledger(check_mode)

    def find(self, part: Part) -> dict[str, Any] | None:
        """The part, None when there is none."""
        found: dict[str, Any] | None = only(
            part.kind, self.name, getattr(self.ec2, part.describe)(Filters=self.filters)[part.answer]
        )
        return found

    def ensure(self, part: Part, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The part, made when it is missing; empty in a check of a missing one."""
        found = self.find(part)
        if found is None:
            made: dict[str, Any] = self.ledger.put(part.kind, make) or {}
            return made
        self.ledger.tags(self.ec2, part.kind, found[part.identifier], found.get("Tags", []), self.tags)
        return found

    def vpc(self) -> str:
        """The VPC, with names for its hosts.

        Raises:
            Ec2Error: it is there with another address range, which cannot be changed.
        """
        vpc = self.ensure(
            VPC,
            lambda: self.ec2.create_vpc(
                CidrBlock=self.wanted["cidr"], TagSpecifications=specification("vpc", self.name, self.tags)
            )["Vpc"],
        )
        if not vpc:
            return ""
        if vpc["CidrBlock"] != self.wanted["cidr"]:
            raise Ec2Error(
                f"the VPC {vpc['VpcId']} has the addresses {vpc['CidrBlock']}, not {self.wanted['cidr']}, and AWS "
                "cannot change that: set ec2_host_cidr back, or tear the environment down first"
            )
        return str(vpc["VpcId"])

    def subnet(self, vpc_id: str) -> str:
        """The subnet.

        Raises:
            Ec2Error: it is there in another zone.
        """
        subnet = self.ensure(
            SUBNET,
            lambda: self.ec2.create_subnet(
                VpcId=vpc_id,
                CidrBlock=self.wanted["cidr"],
                AvailabilityZone=self.wanted["zone"],
                TagSpecifications=specification("subnet", self.name, self.tags),
            )["Subnet"],
        )
        if subnet and subnet["AvailabilityZone"] != self.wanted["zone"]:
            raise Ec2Error(
                f"the subnet {subnet['SubnetId']} lies in {subnet['AvailabilityZone']}, not in {self.wanted['zone']}: "
                "set ec2_host_zone back, or tear the environment down first"
            )
        return str(subnet.get("SubnetId", ""))

    def gateway(self, vpc_id: str) -> str:
        """The internet gateway, attached to the VPC."""
        gateway = self.ensure(
            GATEWAY,
            lambda: self.ec2.create_internet_gateway(
                TagSpecifications=specification("internet-gateway", self.name, self.tags)
            )["InternetGateway"],
        )
        identifier = str(gateway.get("InternetGatewayId", ""))
        if [item["VpcId"] for item in gateway.get("Attachments", [])] != [vpc_id] or not identifier:
            self.ledger.put(
                "attachment of the internet gateway",
                lambda: self.ec2.attach_internet_gateway(InternetGatewayId=identifier, VpcId=vpc_id),
            )
        return identifier

    def routes(self, vpc_id: str, subnet_id: str, gateway_id: str) -> None:
        """The route table: everywhere through the gateway, in force for the subnet."""
        table = self.ensure(
            TABLE,
            lambda: self.ec2.create_route_table(
                VpcId=vpc_id, TagSpecifications=specification("route-table", self.name, self.tags)
            )["RouteTable"],
        )
        identifier = table.get("RouteTableId", "")
        outward = [route for route in table.get("Routes", []) if route.get("DestinationCidrBlock") == EVERYWHERE]
        if not outward or outward[0].get("GatewayId") != gateway_id:
            act = self.ec2.replace_route if outward else self.ec2.create_route
            self.ledger.put(
                "route to the internet",
                lambda: act(RouteTableId=identifier, DestinationCidrBlock=EVERYWHERE, GatewayId=gateway_id),
            )
        if subnet_id not in [item.get("SubnetId") for item in table.get("Associations", [])] or not subnet_id:
            self.ledger.put(
                "association of the route table",
                lambda: self.ec2.associate_route_table(RouteTableId=identifier, SubnetId=subnet_id),
            )

    def group(self, vpc_id: str) -> str:
        """The security group: SSH from the operator, nothing else."""
        group = self.ensure(
            GROUP,
            lambda: self.ec2.create_security_group(
                GroupName=self.name,
                Description="SSH from the operator only",
                VpcId=vpc_id,
                TagSpecifications=specification("security-group", self.name, self.tags),
            ),
        )
        identifier = str(group.get("GroupId", ""))
        wanted = {(("tcp", SSH_PORT, SSH_PORT), cidr) for cidr in self.wanted["operator_cidrs"]}
        current: set[tuple[tuple[str, int | None, int | None], str]] = set()
        foreign = []
        for rule in group.get("IpPermissions", []):
            ports = (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"))
            current |= {(ports, item["CidrIp"]) for item in rule.get("IpRanges", [])}
            if any(rule.get(key) for key in ("Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")):
                foreign.append({key: value for key, value in rule.items() if key != "IpRanges"})
        closed = [permission(ports, cidr) for ports, cidr in sorted(current - wanted, key=str)] + foreign
        if closed:
            self.ledger.put(
                "rules that let others in",
                lambda: self.ec2.revoke_security_group_ingress(GroupId=identifier, IpPermissions=closed),
            )
        opened = [permission(ports, cidr) for ports, cidr in sorted(wanted - current, key=str)]
        if opened:
            self.ledger.put(
                "rule that lets the operator in",
                lambda: self.ec2.authorize_security_group_ingress(GroupId=identifier, IpPermissions=opened),
            )
        return identifier

    def present(self) -> dict[str, Any]:
        """Make what is missing.

        Raises:
            Ec2Error: something is there that cannot be changed into what is wanted.
        """
        vpc_id = self.vpc()
        subnet_id = self.subnet(vpc_id)
        self.routes(vpc_id, subnet_id, self.gateway(vpc_id))
        return {"vpc_id": vpc_id, "subnet_id": subnet_id, "security_group_id": self.group(vpc_id)}

    def absent(self) -> dict[str, Any]:
        """Remove what is there, the last first."""
        ec2 = self.ec2
        if group := self.find(GROUP):
            self.ledger.put("security group", lambda: ec2.delete_security_group(GroupId=group["GroupId"]))
        if table := self.find(TABLE):
            self.ledger.put("route table", lambda: self.remove_table(table))
        if gateway := self.find(GATEWAY):
            self.ledger.put("internet gateway", lambda: self.remove_gateway(gateway))
        if subnet := self.find(SUBNET):
            self.ledger.put("subnet", lambda: ec2.delete_subnet(SubnetId=subnet["SubnetId"]))
        if vpc := self.find(VPC):
            self.ledger.put("vpc", lambda: ec2.delete_vpc(VpcId=vpc["VpcId"]))
        return {"vpc_id": "", "subnet_id": "", "security_group_id": ""}

    def remove_table(self, table: dict[str, Any]) -> None:
        """Remove a route table from its subnets, then from the VPC."""
        for association in table.get("Associations", []):
            self.ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        self.ec2.delete_route_table(RouteTableId=table["RouteTableId"])

    def remove_gateway(self, gateway: dict[str, Any]) -> None:
        """Detach a gateway, then remove it."""
        for attachment in gateway.get("Attachments", []):
            self.ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=attachment["VpcId"])
        self.ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])


def permission(ports: tuple[str, int | None, int | None], cidr: str) -> dict[str, Any]:
    """A rule of a security group in the shape of the API; a protocol without ports has none."""
    protocol, first, last = ports
    bounds = {} if first is None else {"FromPort": first, "ToPort": last}
    return {"IpProtocol": protocol, **bounds, "IpRanges": [{"CidrIp": cidr}]}


def run(ec2: Any, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """See the module's documentation.

    Raises:
        Ec2Error: something is in the way.
        ClientError: AWS refuses.
    """
    network = Network(ec2, parameters, check_mode)
    result = network.present() if parameters["state"] == "present" else network.absent()
    return {"changed": bool(network.ledger.differences), "differences": network.ledger.differences, **result}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cidr": {"type": "str"},
            "zone": {"type": "str"},
            "operator_cidrs": {"type": "list", "elements": "str"},
            "tags": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["cidr", "zone", "operator_cidrs"])],
        supports_check_mode=True,
    )
    try:
        result = run(aws_client("ec2"), module.params, module.check_mode)
    except (Ec2Error, *AWS_ERRORS) as error:
        module.fail_json(
            msg=f"The network of {module.params['name']} could not be set up: {error}. "
            "ansible-playbook playbooks/check-prerequisites.yml says what the account lacks."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
