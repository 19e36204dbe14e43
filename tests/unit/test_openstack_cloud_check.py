"""A cloud is judged by what its APIs do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from keystoneauth1.exceptions import ConnectFailure

from ansible_collections.smart_classroom.platform.plugins.modules.openstack_cloud_check import check, missing


def refuse(*_args: object, **_kwargs: object) -> list[Any]:
    raise ConnectFailure("connection refused")


def cloud(**changes: Any) -> SimpleNamespace:
    parts: dict[str, Any] = {
        "authorize": lambda: "token",
        "image": SimpleNamespace(images=lambda **_: []),
        "placement": SimpleNamespace(resource_providers=lambda: [object()]),
        "compute": SimpleNamespace(
            services=lambda: [SimpleNamespace(binary="nova-compute", state="up")], hypervisors=lambda: [object()]
        ),
        "network": SimpleNamespace(agents=lambda: [SimpleNamespace(binary="neutron-l3-agent", is_alive=True)]),
    }
    return SimpleNamespace(**(parts | changes))


def test_a_cloud_that_works_has_no_problem() -> None:
    assert check(cloud(), ["nova-compute"], ["neutron-l3-agent"]) == []


def test_an_api_that_refuses_is_named_and_the_others_are_asked_all_the_same() -> None:
    broken = cloud(image=SimpleNamespace(images=refuse), placement=SimpleNamespace(resource_providers=list))
    assert check(broken, ["nova-compute"], []) == [
        "Glance does not answer: connection refused",
        "Placement knows no host",
    ]


def test_services_that_are_down_or_absent_are_told_apart() -> None:
    assert missing(["a", "b", "c"], [("a", True), ("b", False)], "the agent") == [
        "the agent b is down",
        "the agent c never reported in",
    ]


def test_a_dead_host_does_not_hide_a_live_one() -> None:
    assert missing(["a"], [("a", True), ("a", False)], "the service") == []


def test_a_compute_service_without_a_hypervisor_is_a_problem() -> None:
    empty = SimpleNamespace(services=lambda: [SimpleNamespace(binary="nova-compute", state="up")], hypervisors=list)
    assert check(cloud(compute=empty), ["nova-compute"], []) == ["no hypervisor is known to Nova"]
