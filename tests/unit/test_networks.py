"""Filters of networks."""

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.smart_classroom.platform.plugins.filter.networks import floating_network, overlapping_routes

CIDR = "172.24.4.0/24"


def test_the_default_route_and_another_network_do_not_count() -> None:
    routes = [
        {"dst": "default", "gateway": "10.0.0.1"},
        {"dst": "172.30.0.0/24", "dev": "br0"},
        {"type": "unreachable"},
    ]
    assert overlapping_routes(routes, CIDR) == []


@pytest.mark.parametrize("destination", ["172.24.0.0/16", "172.24.4.0/24", "172.24.4.128/25", "172.24.4.9"])
def test_a_larger_an_equal_a_smaller_and_a_single_address_overlap(destination: str) -> None:
    assert overlapping_routes([{"dst": destination, "dev": "vpn0"}], CIDR) == [f"{destination} dev vpn0"]
    assert overlapping_routes([{"dst": destination, "gateway": "10.1.1.1", "dev": "vpn0"}], CIDR) == [
        f"{destination} via 10.1.1.1"
    ]


def test_addresses_to_give_away_lie_in_the_floating_network() -> None:
    found = floating_network("172.24.4.0/24")
    assert found == {"gateway": "172.24.4.1", "prefix": "24", "first": "172.24.4.10", "last": "172.24.4.250"}
    small = floating_network("192.0.2.32/27")
    network = ipaddress.ip_network("192.0.2.32/27")
    assert all(ipaddress.ip_address(small[name]) in network for name in ("gateway", "first", "last"))
    with pytest.raises(ValueError, match="too small"):
        floating_network("192.0.2.0/28")
