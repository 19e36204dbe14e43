#!/usr/bin/python
"""Ansible module: the project's network, router, security group and key pair, in one connection."""

from __future__ import annotations

DOCUMENTATION = r"""
module: neutron_topology
short_description: A private network behind a router, a security group and a key pair
description:
  - One authenticated connection for all of them; one module call for each would cost seconds apiece.
  - Ingress rules of the security group that are not listed are removed.
options:
  clouds_file:
    description: The C(clouds.yaml) that describes the cloud.
    type: path
    required: true
  cloud:
    description: Name of the cloud in it.
    type: str
    required: true
  state:
    description: Whether they are there.
    type: str
    choices: [present, absent]
    default: present
  network:
    description: Name of the private network; its subnet has the same.
    type: str
    required: true
  cidr:
    description: Addresses of the private network.
    type: str
    required: true
  dns_servers:
    description: Name servers that the servers learn by DHCP.
    type: list
    elements: str
    default: []
  router:
    description: Name of the router.
    type: str
    required: true
  external_network:
    description: Name of the network that floating IPs come from.
    type: str
    required: true
  external:
    description:
      - How to make the external network when it is missing, with the keys C(physical_network), C(cidr), C(gateway),
        C(pool_start) and C(pool_end). Needs administrator's rights. When empty, the network must exist,
        and it is never removed.
    type: dict
    default: {}
  security_group:
    description: Name of the security group.
    type: str
    required: true
  sources:
    description: Addresses that may send ICMP and reach O(tcp_ports), in CIDR notation. Nobody else reaches anything.
    type: list
    elements: str
    default: []
  tcp_ports:
    description: TCP ports that are open to O(sources).
    type: list
    elements: int
    default: [22]
  key_name:
    description: Name of the key pair.
    type: str
    required: true
  public_key:
    description: The public key. Required for O(state=present).
    type: str
  tags:
    description: Tags of networks, subnets, router and security group, C(key=value).
    type: list
    elements: str
    default: []
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Make the network of the servers
  smart_classroom.platform.neutron_topology:
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    network: classroom
    cidr: 10.20.0.0/24
    router: classroom
    external_network: public
    security_group: classroom
    sources: [192.0.2.1/32]
    key_name: classroom
    public_key: ssh-ed25519 AAAA
"""

RETURN = r"""
changes:
  description: What was made, corrected or removed.
  type: list
  returned: always
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import (
    CLOUD_ARGUMENTS,
    CloudError,
    cloud_errors,
    connect,
)

Rule = tuple[str, str, int | None, int | None, str | None]


def wanted_rules(sources: list[str], tcp_ports: list[int]) -> set[Rule]:
    """A security group as comparable tuples: the rules asked for, and everything outwards over IPv4 and IPv6."""
    wanted: set[Rule] = {("egress", "any", None, None, None), ("egress6", "any", None, None, None)}
    for source in sources:
        wanted.add(("ingress", "icmp", None, None, source))
        wanted |= {("ingress", "tcp", port, port, source) for port in tcp_ports}
    return wanted


def as_rule(rule: Any) -> Rule:
    """A rule of Neutron's as a comparable tuple."""
    direction = str(rule.direction) + ("6" if rule.ether_type == "IPv6" else "")
    source = rule.remote_ip_prefix or rule.remote_group_id
    return direction, rule.protocol or "any", rule.port_range_min, rule.port_range_max, source


class Topology:
    """Brings each object to its wanted state and notes in ``changes`` what that took."""

    def __init__(self, connection: Any, parameters: dict[str, Any], check_mode: bool) -> None:
        self.network_api = connection.network
        self.compute_api = connection.compute
        self.wanted = parameters
        self.check_mode = check_mode
        self.changes: list[str] = []

    def change(self, what: str, action: Callable[[], Any]) -> Any:
        """Note ``what``; do it unless this is a check."""
        self.changes.append(what)
        return None if self.check_mode else action()

    def only(self, kind: str, objects: list[Any], name: str) -> Any:
        """The one object of that name, None without one.

        Raises:
            CloudError: there are several, so it is not clear which is ours.
        """
        if len(objects) > 1:
            raise CloudError(
                f"there are {len(objects)} objects '{name}' of kind {kind}; remove the one that is not this project's "
                f"({', '.join(item.id for item in objects)})"
            )
        return objects[0] if objects else None

    def find(self, kind: str, name: str) -> Any:
        """The object of that kind and name among those of our own project, None without one."""
        return self.only(kind, list(getattr(self.network_api, kind)(name=name)), name)

    def tag(self, what: str, item: Any) -> None:
        """Set the tags of a Neutron object."""
        if item is not None and sorted(item.tags or []) != sorted(self.wanted["tags"]):
            self.change(f"tags of {what}", lambda: self.network_api.set_tags(item, sorted(self.wanted["tags"])))

    def external_network(self) -> Any:
        """The network of the floating IPs, made if that is wanted."""
        name, plan = self.wanted["external_network"], self.wanted["external"]
        network = self.find("networks", name)
        if network is None and not plan:
            raise CloudError(f"there is no external network '{name}', and this environment does not make one")
        if not plan:
            return network
        if network is None:
            network = self.change(
                f"external network {name}",
                lambda: self.network_api.create_network(
                    name=name,
                    is_router_external=True,
                    provider_network_type="flat",
                    provider_physical_network=plan["physical_network"],
                ),
            )
        self.tag(f"external network {name}", network)
        if network is None or not list(self.network_api.subnets(network_id=network.id)):
            self.change(
                f"subnet of {name}",
                lambda: self.network_api.create_subnet(
                    name=name,
                    network_id=network.id,
                    ip_version=4,
                    cidr=plan["cidr"],
                    gateway_ip=plan["gateway"],
                    is_dhcp_enabled=False,
                    allocation_pools=[{"start": plan["pool_start"], "end": plan["pool_end"]}],
                ),
            )
        return network

    def private_network(self) -> Any:
        """The subnet of the private network."""
        name = self.wanted["network"]
        network = self.find("networks", name)
        if network is None:
            network = self.change(f"network {name}", lambda: self.network_api.create_network(name=name))
        self.tag(f"network {name}", network)
        subnets = list(self.network_api.subnets(network_id=network.id)) if network else []
        subnet = self.only("subnets", subnets, name)
        servers = self.wanted["dns_servers"]
        if subnet is not None and subnet.cidr != self.wanted["cidr"]:
            raise CloudError(
                f"the subnet of network '{name}' has the addresses {subnet.cidr}, not {self.wanted['cidr']}; addresses "
                "cannot be changed under running servers: tear the servers and the network down first"
            )
        if subnet is None:
            subnet = self.change(
                f"subnet of {name}",
                lambda: self.network_api.create_subnet(
                    name=name, network_id=network.id, ip_version=4, cidr=self.wanted["cidr"], dns_nameservers=servers
                ),
            )
        elif (subnet.dns_nameservers or []) != servers:
            self.change(
                f"name servers of {name}", lambda: self.network_api.update_subnet(subnet, dns_nameservers=servers)
            )
        return subnet

    def router(self, external: Any, subnet: Any) -> None:
        """The router between the private and the external network."""
        name = self.wanted["router"]
        router = self.find("routers", name)
        gateway = {"network_id": external.id} if external else None
        if router is None:
            router = self.change(
                f"router {name}", lambda: self.network_api.create_router(name=name, external_gateway_info=gateway)
            )
        elif (router.external_gateway_info or {}).get("network_id") != (external.id if external else None):
            self.change(
                f"gateway of {name}", lambda: self.network_api.update_router(router, external_gateway_info=gateway)
            )
        self.tag(f"router {name}", router)
        ports = list(self.network_api.ports(device_id=router.id)) if router else []
        if subnet is None or not any(ip["subnet_id"] == subnet.id for port in ports for ip in port.fixed_ips):
            self.change(
                f"interface of {name}",
                lambda: self.network_api.add_interface_to_router(router, subnet_id=subnet.id),
            )

    def security_group(self) -> None:
        """The security group with exactly the wanted rules."""
        name = self.wanted["security_group"]
        group = self.find("security_groups", name)
        if group is None:
            group = self.change(
                f"security group {name}",
                lambda: self.network_api.create_security_group(
                    name=name, description="SSH and ICMP from the operator only"
                ),
            )
        self.tag(f"security group {name}", group)
        rules = list(self.network_api.security_group_rules(security_group_id=group.id)) if group else []
        wanted = wanted_rules(self.wanted["sources"], self.wanted["tcp_ports"])
        for rule in rules:
            if as_rule(rule) not in wanted:
                self.change(
                    f"rule {as_rule(rule)} removed",
                    lambda rule=rule: self.network_api.delete_security_group_rule(rule),  # type: ignore[misc]
                )
        for missing in sorted(wanted - {as_rule(rule) for rule in rules}, key=str):
            direction, protocol, low, high, cidr = missing
            request = {
                "security_group_id": group.id if group else None,
                "direction": direction.rstrip("6"),
                "ether_type": "IPv6" if direction.endswith("6") else "IPv4",
                "protocol": None if protocol == "any" else protocol,
                "port_range_min": low,
                "port_range_max": high,
                "remote_ip_prefix": cidr,
            }
            self.change(
                f"rule {missing}",
                lambda request=request: self.network_api.create_security_group_rule(**request),  # type: ignore[misc]
            )

    def key_pair(self) -> None:
        """The key pair; Nova cannot change one, so another key replaces it."""
        name, wanted = self.wanted["key_name"], self.wanted["public_key"].split()[:2]
        pair = self.compute_api.find_keypair(name, ignore_missing=True)
        if pair is not None and pair.public_key.split()[:2] == wanted:
            return
        if pair is not None:
            self.change(f"other key {name} removed", lambda: self.compute_api.delete_keypair(pair))
        self.change(
            f"key pair {name}",
            lambda: self.compute_api.create_keypair(name=name, public_key=self.wanted["public_key"]),
        )

    def present(self) -> None:
        """Make and correct everything."""
        external = self.external_network()
        subnet = self.private_network()
        self.router(external, subnet)
        self.security_group()
        self.key_pair()

    def absent(self) -> None:
        """Remove everything, in reverse order; the external network only if it is ours and nobody else uses it."""
        wanted = self.wanted
        pair = self.compute_api.find_keypair(wanted["key_name"], ignore_missing=True)
        if pair is not None:
            self.change(f"key pair {pair.name}", lambda: self.compute_api.delete_keypair(pair))
        router = self.find("routers", wanted["router"])
        if router is not None:
            for port in self.network_api.ports(device_id=router.id, device_owner="network:router_interface"):
                self.change(
                    f"interface of {router.name}",
                    lambda port=port: self.network_api.remove_interface_from_router(  # type: ignore[misc]
                        router, port_id=port.id
                    ),
                )
            self.change(f"router {router.name}", lambda: self.network_api.delete_router(router))
        network = self.find("networks", wanted["network"])
        if network is not None:
            self.change(f"network {network.name}", lambda: self.network_api.delete_network(network))
        group = self.find("security_groups", wanted["security_group"])
        if group is not None:
            self.change(f"security group {group.name}", lambda: self.network_api.delete_security_group(group))
        external = self.find("networks", wanted["external_network"]) if wanted["external"] else None
        if external is None or sorted(external.tags or []) != sorted(wanted["tags"]):
            return
        if not list(self.network_api.ports(network_id=external.id)):
            self.change(f"external network {external.name}", lambda: self.network_api.delete_network(external))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            **CLOUD_ARGUMENTS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "network": {"type": "str", "required": True},
            "cidr": {"type": "str", "required": True},
            "dns_servers": {"type": "list", "elements": "str", "default": []},
            "router": {"type": "str", "required": True},
            "external_network": {"type": "str", "required": True},
            "external": {"type": "dict", "default": {}},
            "security_group": {"type": "str", "required": True},
            "sources": {"type": "list", "elements": "str", "default": []},
            "tcp_ports": {"type": "list", "elements": "int", "default": [22]},
            "key_name": {"type": "str", "required": True, "no_log": False},
            "public_key": {"type": "str"},
            "tags": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "present", ["public_key"])],
        supports_check_mode=True,
    )
    try:
        connection = connect(module.params["clouds_file"], module.params["cloud"])
        topology = Topology(connection, module.params, module.check_mode)
        topology.present() if module.params["state"] == "present" else topology.absent()
    except cloud_errors() as error:
        module.fail_json(
            msg=f"The network '{module.params['network']}' could not be brought to its state: {error}. "
            "Check that the cloud answers (make status), then run the same command again."
        )
    module.exit_json(changed=bool(topology.changes), changes=topology.changes)


if __name__ == "__main__":
    main()
