"""Filters of networks: who has a route into one, and which of its addresses serve what.

``ansible.utils`` has ``network_in_network`` and ``nthhost``, which want netaddr, a package for what Python has itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

SMALLEST = 32  # addresses


def overlapping_routes(routes: Iterable[Mapping[str, Any]], cidr: str, own: str = "") -> list[str]:
    """Routes that overlap a network, with their gateway, interface or type; no default route.

    Args:
        routes: as ``ip -json -4 route show`` prints them. One of several ways, or to nowhere, has no ``dev``.
        cidr: the network.
        own: interface whose routes do not count.

    Raises:
        ValueError: ``cidr`` is no network.
    """
    network = ipaddress.ip_network(cidr)

    def way(route: Mapping[str, Any]) -> str:
        named = ((word, route.get(key)) for word, key in (("via ", "gateway"), ("dev ", "dev"), ("", "type")))
        return next((f" {word}{value}" for word, value in named if value), "")

    return [
        f"{route['dst']}{way(route)}"
        for route in routes
        if route.get("dst", "default") != "default"
        and not (own and route.get("dev") == own)
        and ipaddress.ip_network(route["dst"], strict=False).overlaps(network)
    ]


def floating_network(cidr: str) -> dict[str, str]:
    """Gateway, length of the prefix, first and last address to give away of a network of floating addresses.

    Raises:
        ValueError: it is no network, or too small.
    """
    network = ipaddress.ip_network(cidr)
    if network.num_addresses < SMALLEST:
        raise ValueError(
            f"the network of the floating addresses {cidr} is too small: give it {SMALLEST} addresses or more"
        )
    # The low addresses are left to the host and to what an operator sets by hand.
    return {
        "gateway": str(network[1]),
        "prefix": str(network.prefixlen),
        "first": str(network[10]),
        "last": str(network[-6]),
    }


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"floating_network": floating_network, "overlapping_routes": overlapping_routes}
