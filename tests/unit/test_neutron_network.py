# ruff: noqa: ARG002 the fakes take what the SDK takes
"""The network is made once, corrected where it drifted, and removed without touching others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import CloudError
from ansible_collections.smart_classroom.platform.plugins.modules.neutron_topology import Topology, wanted_rules

EXTERNAL = {
    "physical_network": "public",
    "cidr": "192.0.2.0/24",
    "gateway": "192.0.2.1",
    "pool_start": "192.0.2.10",
    "pool_end": "192.0.2.20",
}


class Cloud:
    """Neutron and key pairs in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, list[SimpleNamespace]] = {}
        self.network = self.compute = self

    def select(self, kind: str, **query: Any) -> list[SimpleNamespace]:
        return [item for item in self.objects.get(kind, []) if all(getattr(item, k) == v for k, v in query.items())]

    def add(self, kind: str, **fields: Any) -> SimpleNamespace:
        items = self.objects.setdefault(kind, [])
        items.append(SimpleNamespace(id=f"{kind}-{len(items)}", tags=[], **fields))
        return items[-1]

    def remove(self, item: SimpleNamespace) -> None:
        for items in self.objects.values():
            if item in items:
                items.remove(item)

    def networks(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("networks", **query)

    def subnets(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("subnets", **query)

    def routers(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("routers", **query)

    def ports(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("ports", **query)

    def security_groups(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("groups", **query)

    def security_group_rules(self, **query: Any) -> list[SimpleNamespace]:
        return self.select("rules", **query)

    def create_network(self, name: str, **fields: Any) -> SimpleNamespace:
        return self.add("networks", name=name)

    def create_subnet(self, **fields: Any) -> SimpleNamespace:
        return self.add("subnets", **{"dns_nameservers": [], **fields})

    def create_router(self, **fields: Any) -> SimpleNamespace:
        return self.add("routers", **fields)

    def update_router(self, router: SimpleNamespace, **fields: Any) -> None:
        router.__dict__.update(fields)

    def add_interface_to_router(self, router: SimpleNamespace, subnet_id: str) -> None:
        self.add(
            "ports",
            device_id=router.id,
            device_owner="network:router_interface",
            fixed_ips=[{"subnet_id": subnet_id}],
            network_id="x",
        )

    def remove_interface_from_router(self, router: SimpleNamespace, port_id: str) -> None:
        for port in self.select("ports", id=port_id):
            self.remove(port)

    def create_security_group(self, name: str, description: str) -> SimpleNamespace:
        group = self.add("groups", name=name)
        for family in ("IPv4", "IPv6"):
            self.create_security_group_rule(group.id, "egress", family, None, None, None, None)
        return group

    def create_security_group_rule(
        self,
        security_group_id: str,
        direction: str,
        ether_type: str,
        protocol: str | None,
        port_range_min: int | None,
        port_range_max: int | None,
        remote_ip_prefix: str | None,
    ) -> SimpleNamespace:
        return self.add(
            "rules",
            security_group_id=security_group_id,
            direction=direction,
            ether_type=ether_type,
            protocol=protocol,
            port_range_min=port_range_min,
            port_range_max=port_range_max,
            remote_ip_prefix=remote_ip_prefix,
            remote_group_id=None,
        )

    def find_keypair(self, name: str, ignore_missing: bool) -> SimpleNamespace | None:
        return next(iter(self.select("keys", name=name)), None)

    def create_keypair(self, name: str, public_key: str) -> SimpleNamespace:
        return self.add("keys", name=name, public_key=public_key)

    def set_tags(self, item: SimpleNamespace, tags: list[str]) -> None:
        item.tags = tags

    delete_network = delete_router = delete_security_group = delete_security_group_rule = delete_keypair = remove


def topology(cloud: Cloud, check_mode: bool = False, **changed: Any) -> Topology:
    parameters = {
        "network": "private",
        "cidr": "10.0.0.0/24",
        "dns_servers": [],
        "router": "router",
        "external_network": "public",
        "external": EXTERNAL,
        "security_group": "group",
        "sources": ["192.0.2.7/32"],
        "tcp_ports": [22],
        "key_name": "key",
        "public_key": "ssh-ed25519 AAAA me",
        "tags": ["project=x"],
    }
    return Topology(cloud, {**parameters, **changed}, check_mode)


@pytest.fixture
def made() -> Cloud:
    cloud = Cloud()
    topology(cloud).present()
    return cloud


def again(cloud: Cloud, **changed: Any) -> list[str]:
    run = topology(cloud, **changed)
    run.present()
    return run.changes


def test_a_second_run_changes_nothing(made: Cloud) -> None:
    assert again(made) == []
    assert len(made.networks()) == 2


def test_check_mode_tells_and_does_nothing() -> None:
    cloud = Cloud()
    run = topology(cloud, check_mode=True)
    run.present()
    assert {"network private", "router router", "security group group", "key pair key"} <= set(run.changes)
    assert cloud.objects == {}


def test_only_the_operator_comes_in() -> None:
    rules = wanted_rules(["192.0.2.7/32"], [22])
    assert {rule for rule in rules if rule[0] == "ingress"} == {
        ("ingress", "icmp", None, None, "192.0.2.7/32"),
        ("ingress", "tcp", 22, 22, "192.0.2.7/32"),
    }


def test_a_rule_that_somebody_added_is_removed(made: Cloud) -> None:
    group = made.security_groups()[0]
    made.create_security_group_rule(group.id, "ingress", "IPv4", "tcp", 80, 80, None)
    assert again(made) == ["rule ('ingress', 'tcp', 80, 80, None) removed"]
    assert made.select("rules", port_range_min=80) == []


def test_a_rule_that_is_gone_comes_back(made: Cloud) -> None:
    made.remove(made.select("rules", port_range_min=22)[0])
    assert again(made) == ["rule ('ingress', 'tcp', 22, 22, '192.0.2.7/32')"]


def test_an_operator_who_moved_is_let_in_and_the_old_address_shut_out(made: Cloud) -> None:
    again(made, sources=["192.0.2.8/32"])
    assert {rule.remote_ip_prefix for rule in made.select("rules", direction="ingress")} == {"192.0.2.8/32"}


def test_router_without_gateway_or_interface_is_mended(made: Cloud) -> None:
    made.routers()[0].external_gateway_info = None
    made.objects["ports"].clear()
    assert again(made) == ["gateway of router", "interface of router"]


def test_another_public_key_replaces_the_pair_but_a_comment_does_not(made: Cloud) -> None:
    assert again(made, public_key="ssh-ed25519 AAAA other-comment") == []
    assert again(made, public_key="ssh-ed25519 BBBB me") == ["other key key removed", "key pair key"]


def test_other_addresses_are_refused(made: Cloud) -> None:
    with pytest.raises(CloudError, match=r"10\.0\.0\.0/24, not 10\.9\.0\.0/24"):
        again(made, cidr="10.9.0.0/24")


def test_two_objects_of_one_name_are_refused(made: Cloud) -> None:
    made.add("routers", name="router", external_gateway_info=None)
    with pytest.raises(CloudError, match="2 objects 'router'"):
        again(made)


def test_without_a_plan_the_external_network_must_exist() -> None:
    with pytest.raises(CloudError, match="no external network 'public'"):
        topology(Cloud(), external={}).present()


def test_teardown_leaves_nothing_of_ours_and_works_twice(made: Cloud) -> None:
    topology(made).absent()
    assert [kind for kind in ("networks", "routers", "groups", "keys", "ports") if made.objects[kind]] == []
    second = topology(made)
    second.absent()
    assert second.changes == []


def test_teardown_keeps_an_external_network_that_others_made_or_use(made: Cloud) -> None:
    public = made.networks(name="public")[0]
    made.add("ports", device_id="another-router", network_id=public.id)
    topology(made).absent()
    assert [item.name for item in made.networks()] == ["public"]
    made.objects["ports"].clear()
    public.tags = ["owner=somebody"]
    topology(made).absent()
    assert [item.name for item in made.networks()] == ["public"]
