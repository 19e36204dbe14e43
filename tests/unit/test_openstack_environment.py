"""Each fault of a project in a cloud turns into its own sentence, with its fix, before anything is made."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.smart_classroom.platform.plugins.modules import openstack_environment

TAGS = {"project": "p", "environment": "campus", "owner": "o"}
MARK = "environment=campus, managed-by=ansible, owner=somebody, project=p"
FLAVOR = {"name": "", "vcpus": 1, "ram_mb": 768, "disk_gb": 6, "create": False}
WANTED: dict[str, Any] = {
    "tags": TAGS,
    "network": {
        "name": "net",
        "router": "net",
        "security_group": "net",
        "create": True,
        "external": "",
        "create_external": False,
        "floating_ips": True,
    },
    "servers": {
        "names": ["poller-1", "poller-2"],
        "image": "img",
        "network": "net",
        "security_group": "net",
        "external": "",
        "flavor": FLAVOR,
        "availability_zone": "",
    },
}


class RefusedError(Exception):
    """What a cloud says to whoever may not ask."""


def thing(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**({"id": f"id-{values.get('name')}", "description": ""} | values))


class Cloud:
    """A cloud as its services answer a project; a test changes what it needs."""

    def __init__(self) -> None:
        self.roles = ["member"]
        self.networks = [thing(name="public", external=True, subnet_ids=["s"])]
        self.routers: list[Any] = []
        self.groups = [thing(name="default")]
        self.ips: list[Any] = []
        self.servers: list[Any] = []
        self.images: list[Any] = []
        self.flavors = [
            thing(name="huge", vcpus=8, ram=16384, disk=100),
            thing(name="small", vcpus=1, ram=1024, disk=10),
            thing(name="tiny", vcpus=1, ram=512, disk=1),
        ]
        self.zones = [thing(name="nova", state={"available": True}), thing(name="closed", state={"available": False})]
        self.left: dict[str, int] = {}
        self.limits = {"instances": 10, "total_cores": 20, "total_ram": 51200}
        self.pool = (100, 3)
        self.refused: set[str] = set()
        self.current_project_id = "project-id"

    def _listed(self, what: str, **by: Any) -> list[Any]:
        if what in self.refused:
            raise RefusedError(f"Policy doesn't allow {what}")
        by.pop("project_id", None)
        by.pop("visibility", None)
        if by.pop("is_router_external", False):
            by["external"] = True
        found: list[Any] = getattr(self, what)
        return [one for one in found if all(getattr(one, key, None) == value for key, value in by.items())]

    def _quota(self, project: str, details: bool) -> Any:
        assert (project, details) == ("project-id", True)
        kinds = ("networks", "subnets", "routers", "security_groups", "floating_ips")
        # Two are used and one is reserved, so `limit` is what is left and three more.
        return SimpleNamespace(
            **{kind: {"limit": self.left.get(kind, 10) + 3, "used": 2, "reserved": 1} for kind in kinds}
        )

    def _pool(self, network: str) -> Any:
        assert network == "id-public"
        if "pool" in self.refused:
            raise RefusedError("Policy doesn't allow get_network_ip_availability")
        return SimpleNamespace(total_ips=self.pool[0], used_ips=self.pool[1])

    @property
    def session(self) -> Any:
        access = SimpleNamespace(role_names=self.roles, project_name="teachers")
        return SimpleNamespace(auth=SimpleNamespace(get_access=lambda _: access))

    @property
    def network(self) -> Any:
        return SimpleNamespace(
            networks=lambda **by: self._listed("networks", **by),
            routers=lambda **by: self._listed("routers", **by),
            security_groups=lambda **by: self._listed("groups", **by),
            ips=lambda **by: self._listed("ips", **by),
            get_quota=self._quota,
            get_network_ip_availability=self._pool,
        )

    @property
    def compute(self) -> Any:
        used = {"instances_used": 1, "total_cores_used": 1, "total_ram_used": 1024}
        return SimpleNamespace(
            servers=lambda: self._listed("servers"),
            flavors=lambda: self._listed("flavors"),
            availability_zones=lambda: self._listed("zones"),
            get_limits=lambda: SimpleNamespace(absolute=SimpleNamespace(**self.limits, **used)),
        )

    @property
    def image(self) -> Any:
        return SimpleNamespace(images=lambda **by: self._listed("images", **by))


def ask(change: Callable[[Cloud], Any] | None = None, **wanted: Any) -> dict[str, Any]:
    cloud, parameters = Cloud(), copy.deepcopy(WANTED)
    if change:
        change(cloud)
    for name, values in wanted.items():
        parameters[name] |= values
    return openstack_environment.run(parameters, cloud, (RefusedError,))


def test_an_empty_project_without_rights_lacks_nothing_and_is_told_what_was_chosen() -> None:
    answer = ask()
    assert answer["problems"] == []
    assert answer["answers"] == [
        "project teachers, without administrator's rights",
        "floating IPs from public",
        "flavor small (1 vCPU, 1024 MB, 10 GB), the smallest with 1 vCPU, 768 MB, 6 GB",
    ]
    assert answer["unanswered"] == []
    assert answer["held"] == []
    assert answer["changed"] is False
    found = answer["found"]
    assert (found["flavor"], found["external_name"], found["project"]) == ("small", "public", "project-id")
    assert (found["network"], found["router"], found["security_group"], found["image"]) == ("", "", "", "")


def foreign(cloud: Cloud) -> None:
    cloud.networks.append(thing(name="net", subnet_ids=["s"], description="of the library"))
    cloud.groups.append(thing(name="net", description="environment=dev, project=p"))
    cloud.servers.append(thing(name="poller-1", metadata={"project": "p", "environment": "dev"}))


FAULTS: dict[str, tuple[Callable[[Cloud], Any] | None, dict[str, Any], str]] = {
    "flavor too small": (
        None,
        {"servers": {"flavor": FLAVOR | {"name": "tiny"}}},
        "the flavor tiny has 1 vCPU, 512 MB, 1 GB, and image and poller need 1 vCPU, 768 MB, 6 GB: the smallest "
        "that fits is small; set the name in nova_server_flavor, or an empty one to have it chosen",
    ),
    "no such flavor": (
        None,
        {"servers": {"flavor": FLAVOR | {"name": "m1"}}},
        "there is no flavor 'm1': the smallest that fits is small; set its name in nova_server_flavor",
    ),
    "no flavor fits": (
        lambda cloud: cloud.flavors.clear(),
        {},
        "no flavor has 1 vCPU, 768 MB, 6 GB: ask the cloud's administrator for one, or set a smaller "
        "smart_classroom_image",
    ),
    "no admin makes a flavor": (
        None,
        {"servers": {"flavor": FLAVOR | {"name": "mine", "create": True}}},
        "only an administrator makes the flavor mine (1 vCPU, 768 MB, 6 GB): set create to false in "
        "nova_server_flavor; the "
        "smallest that fits is small",
    ),
    "no admin makes an external network": (
        None,
        {"network": {"external": "mine", "create_external": True}},
        "only an administrator makes an external network: empty neutron_network_external, and name one that exists in "
        "neutron_network_external_name (public)",
    ),
    "quota of servers is 0": (
        lambda cloud: cloud.limits.update(instances=0),
        {},
        "the project's quota leaves 0 servers of 0, 2 more are needed: ask the cloud's administrator for "
        "more, or remove "
        "what is not used",
    ),
    "quota of memory": (
        lambda cloud: cloud.limits.update(total_ram=2048),
        {},
        "the project's quota leaves 1024 MB of memory of 2048, 2048 more are needed: ask the cloud's administrator for "
        "more, or remove what is not used",
    ),
    "quota of floating IPs": (
        lambda cloud: cloud.left.update(floating_ips=1),
        {},
        "the project's quota leaves 1 floating ips of 4, 2 more are needed: ask the cloud's administrator for more, or "
        "remove what is not used",
    ),
    "quota of routers is used up": (
        lambda cloud: cloud.left.update(routers=-1),
        {},
        "the project's quota leaves 0 routers of 2, 1 more is needed: ask the cloud's administrator for "
        "more, or remove "
        "what is not used",
    ),
    "no floating IP left": (
        lambda cloud: setattr(cloud, "pool", (50, 49)),
        {},
        "the external network public has 1 of 50 addresses left, 2 needed: ask its administrator for more, or release "
        "floating IPs that nobody uses",
    ),
    "no external network": (
        lambda cloud: cloud.networks.clear(),
        {},
        "there is no external network, so there are no floating IPs: set nova_server_floating_ips to false and "
        "neutron_network_create to false, with a provider network that you reach as neutron_network_name",
    ),
    "several external networks": (
        lambda cloud: cloud.networks.append(thing(name="other", external=True)),
        {},
        "there are several external networks: set neutron_network_external_name to one of other, public",
    ),
    "another external network": (
        None,
        {"network": {"external": "campus"}},
        "there is no external network 'campus': set neutron_network_external_name to one of public",
    ),
    "closed zone": (
        None,
        {"servers": {"availability_zone": "closed"}},
        "the availability zone 'closed' takes no servers now: set nova_server_availability_zone to one of nova, or to "
        "nothing",
    ),
    "no such network": (
        None,
        {"network": {"create": False, "name": "provider"}},
        "no network is named 'provider': set neutron_network_name to one of public, or neutron_network_create to true",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_with_its_fix(fault: str) -> None:
    change, wanted, sentence = FAULTS[fault]
    assert ask(change, **wanted)["problems"] == [sentence]


def test_what_others_named_alike_is_named_and_never_ours() -> None:
    answer = ask(foreign)
    assert [problem.split(" is there")[0] for problem in answer["problems"]] == [
        "a security group 'net' (id-net)",
        "a network 'net' (id-net)",
        "a server 'poller-1' (id-poller-1)",
    ]
    assert all("is not this environment's: it stays as it is" in problem for problem in answer["problems"])
    assert answer["held"] == []


def test_beside_others_of_the_same_name_ours_is_found() -> None:
    def both(cloud: Cloud) -> None:
        foreign(cloud)
        cloud.servers.clear()
        cloud.networks.append(thing(id="ours", name="net", description=MARK, subnet_ids=["s"]))
        cloud.groups.append(thing(id="our-group", name="net", description=MARK))

    answer = ask(both)
    assert answer["problems"] == []
    assert (answer["found"]["network"], answer["found"]["security_group"]) == ("ours", "our-group")
    assert answer["held"] == ["network net", "security group net"]


def deployed(cloud: Cloud) -> None:
    metadata = TAGS | {"managed-by": "ansible"}
    cloud.servers += [thing(name=name, metadata=metadata) for name in ("poller-1", "poller-2", "poller-3")]
    cloud.ips += [
        thing(name="172.24.4.9", description=f"poller-{number}, environment=campus, project=p") for number in (1, 2)
    ]
    cloud.images += [
        thing(name="img", tags=["project=p", "environment=campus"]),
        thing(id="public", name="img", tags=[]),
    ]


def test_what_is_there_needs_no_room_and_is_held() -> None:
    def full(cloud: Cloud) -> None:
        deployed(cloud)
        cloud.limits.update(instances=1, total_cores=1, total_ram=1024)
        cloud.left["floating_ips"] = 0
        cloud.pool = (10, 10)

    answer = ask(full)
    assert answer["problems"] == []
    assert answer["found"]["image"] == "id-img"
    # Also the server that is not wanted any more.
    assert answer["held"] == [
        "server poller-1",
        "server poller-2",
        "server poller-3",
        "floating IP 172.24.4.9",
        "floating IP 172.24.4.9",
        "image img",
    ]


def test_an_administrator_makes_flavor_and_external_network() -> None:
    def change(cloud: Cloud) -> None:
        cloud.roles.append("admin")
        cloud.networks.clear()

    answer = ask(
        change,
        servers={"flavor": FLAVOR | {"name": "mine", "create": True}},
        network={"external": "mine", "create_external": True},
    )
    assert answer["problems"] == []
    assert answer["found"]["flavor"] == "mine"


def test_a_provider_network_needs_no_router_and_no_floating_ip() -> None:
    def change(cloud: Cloud) -> None:
        cloud.networks.append(thing(name="net", subnet_ids=["s"]))
        cloud.left.update(routers=0, networks=0)

    answer = ask(change, network={"create": False, "floating_ips": False})
    assert answer["problems"] == []
    assert answer["found"]["network"] == "id-net"


def test_what_may_not_be_asked_is_no_problem() -> None:
    answer = ask(lambda cloud: cloud.refused.add("pool"))
    assert answer["problems"] == []
    assert answer["unanswered"] == [
        "how many addresses the external network has left: Policy doesn't allow get_network_ip_availability"
    ]


def test_without_the_network_part_what_the_servers_stand_in_is_found() -> None:
    cloud, parameters = Cloud(), copy.deepcopy(WANTED) | {"network": None}
    foreign(cloud)
    deployed(cloud)
    cloud.servers = [server for server in cloud.servers if server.metadata["environment"] == "campus"]
    cloud.networks.append(thing(id="ours", name="net", description=MARK))
    found = openstack_environment.run(parameters, cloud, (RefusedError,))["found"]
    assert (found["network"], found["security_group"], found["external"]) == ("ours", "id-net", "id-public")


def test_credentials_that_are_not_taken_say_what_to_do() -> None:
    class Unauthorized(Exception):  # noqa: N818 keystoneauth's name
        pass

    told = openstack_environment.unusable("clouds.yaml", "openstack", Unauthorized("HTTP 401"))
    assert (
        "does not take the credentials of 'openstack' in clouds.yaml (HTTP 401): make a new application credential"
        in told
    )
    assert "check the entry, and that its auth_url answers from here" in openstack_environment.unusable(
        "clouds.yaml", "openstack", OSError("refused")
    )
