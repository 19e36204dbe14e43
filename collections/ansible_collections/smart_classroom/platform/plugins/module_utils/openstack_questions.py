"""What a project of an OpenStack cloud is asked for an environment, and the sentences for what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

IDENTITY = ("project", "environment")
UNLIMITED = -1


class Questions:
    """What is asked of the cloud, and the answers so far. ``wanted`` holds the module's parameters."""

    def __init__(self, wanted: dict[str, Any], cloud: Any, refusals: tuple[type[Exception], ...]) -> None:
        self.wanted, self.cloud, self.refusals = wanted, cloud, refusals
        self.tags = {key: str(value) for key, value in wanted["tags"].items() if key in IDENTITY}
        self.problems: list[str] = []
        self.answers: list[str] = []
        self.unanswered: list[str] = []
        self.held: list[str] = []
        names = ("network", "router", "security_group", "external", "external_name", "image", "project", "flavor")
        self.found = dict.fromkeys(names, "")
        self.admin = False
        self.missing_servers: list[str] = []

    def ask(self, what: str, question: Callable[[], None]) -> None:
        """Ask one thing; a refusal is noted."""
        try:
            question()
        except self.refusals as error:
            self.unanswered.append(f"{what}: {error}")

    def marked(self, texts: Iterable[str]) -> bool:
        """Whether texts of the form ``key=value`` hold the environment's tags."""
        return {f"{key}={value}" for key, value in self.tags.items()} <= set(texts)

    def described(self, resource: Any) -> bool:
        """Whether a resource of Neutron is ours, by its description."""
        return self.marked((resource.description or "").split(", "))

    def sign_in(self) -> None:
        """Whose the credentials are."""
        access = self.cloud.session.auth.get_access(self.cloud.session)
        self.admin = "admin" in access.role_names
        self.found["project"] = str(self.cloud.current_project_id)
        rights = "an administrator" if self.admin else "without administrator's rights"
        self.answers.append(f"project {access.project_name or self.found['project']}, {rights}")

    def ours(self, kind: str, variable: str, name: str, named: list[Any]) -> str:
        """The id of our resource among those of a name; empty without one, and a problem where only others' "
        "have the name."""
        own = [one for one in named if self.described(one)]
        if len(own) > 1:
            ids = ", ".join(sorted(one.id for one in own))
            self.problems.append(
                f"there are {len(own)} of this environment's {kind}s '{name}' ({ids}): remove all but one"
            )
        elif not own and named:
            self.problems.append(
                f"a {kind} '{name}' ({named[0].id}) is there that is not this environment's: it stays as it "
                "is; set another "
                f"{variable}, or remove it if nobody needs it"
            )
        return str(own[0].id) if own else ""

    def network(self) -> None:
        """Network, router and security group: ours, or their names free."""
        wanted, network = self.wanted["network"], self.cloud.network
        groups = list(network.security_groups(name=wanted["security_group"]))
        self.found["security_group"] = self.ours(
            "security group", "neutron_network_security_group", wanted["security_group"], groups
        )
        networks = list(network.networks(name=wanted["name"]))
        if wanted["create"]:
            self.found["network"] = self.ours("network", "neutron_network_name", wanted["name"], networks)
            routers = list(network.routers(name=wanted["router"]))
            self.found["router"] = self.ours("router", "neutron_network_router", wanted["router"], routers)
            return
        if len(networks) != 1:
            others = ", ".join(sorted(one.name for one in network.networks())) or "none"
            self.problems.append(
                f"{len(networks) or 'no'} network{'s are' if networks else ' is'} named '{wanted['name']}': "
                "set neutron_network_name "
                f"to one of {others}, or neutron_network_create to true"
            )
        elif not networks[0].subnet_ids:
            self.problems.append(f"the network '{wanted['name']}' has no subnet: ask its owner for one")
        else:
            self.found["network"] = str(networks[0].id)
            self.answers.append(f"network {wanted['name']}, which exists")

    def external(self) -> None:
        """The network of the floating IPs."""
        wanted = self.wanted["network"]
        there = list(self.cloud.network.networks(is_router_external=True))
        chosen = [one for one in there if wanted["external"] in ("", one.name, one.id)]
        names = ", ".join(sorted(one.name for one in there)) or "none"
        if len(chosen) == 1:
            self.found["external"], self.found["external_name"] = str(chosen[0].id), str(chosen[0].name)
            self.answers.append(f"floating IPs from {chosen[0].name}")
        elif wanted["create_external"] and not chosen:
            if not self.admin:
                self.problems.append(
                    "only an administrator makes an external network: empty neutron_network_external, and "
                    "name one that exists "
                    f"in neutron_network_external_name ({names})"
                )
        elif wanted["external"]:
            self.problems.append(
                f"there is no external network '{wanted['external']}': set neutron_network_external_name to "
                f"one of {names}"
                if not chosen
                else f"several external networks are named '{wanted['external']}': name one by its id"
            )
        elif there:
            self.problems.append(
                f"there are several external networks: set neutron_network_external_name to one of {names}"
            )
        else:
            self.problems.append(
                "there is no external network, so there are no floating IPs: set nova_server_floating_ips to false and "
                "neutron_network_create to false, with a provider network that you reach as neutron_network_name"
            )

    def network_quota(self) -> None:
        """That what is missing may be made."""
        wanted, found = self.wanted["network"], self.found
        more = {"security_groups": int(not found["security_group"])}
        if wanted["create"]:
            networks, routers = int(not found["network"]), int(not found["router"])
            more |= {"networks": networks, "subnets": networks, "routers": routers}
        if wanted["floating_ips"]:
            more["floating_ips"] = len(self.missing_addresses())
        quota = self.cloud.network.get_quota(found["project"], details=True)
        for kind, number in more.items():
            # A cloud may not count something at all.
            held = getattr(quota, kind) or {"limit": UNLIMITED}
            left = number if held["limit"] == UNLIMITED else held["limit"] - held["used"] - held["reserved"]
            if left < number:
                self.problems.append(
                    f"the project's quota leaves {max(left, 0)} {kind.replace('_', ' ')} of {held['limit']}, "
                    f"{int(number)} more "
                    f"{'is' if number == 1 else 'are'} needed: ask the cloud's administrator for more, or "
                    "remove what is not used"
                )

    def missing_addresses(self) -> list[str]:
        """The servers whose floating IP is not reserved yet."""
        names = (self.wanted["servers"] or {}).get("names", [])
        own = [
            ip.description or ""
            for ip in self.cloud.network.ips(project_id=self.found["project"])
            if self.described(ip)
        ]
        reserved = {description.partition(", ")[0] for description in own}
        return [name for name in names if name not in reserved]

    def pool(self) -> None:
        """That the external network has an address left for each."""
        missing = self.missing_addresses()
        if not missing or not self.found["external"]:
            return
        room = self.cloud.network.get_network_ip_availability(self.found["external"])
        if room.total_ips - room.used_ips < len(missing):
            self.problems.append(
                f"the external network {self.found['external_name']} has {room.total_ips - room.used_ips} of "
                f"{room.total_ips} "
                f"addresses left, {len(missing)} needed: ask its administrator for more, or release floating "
                "IPs that nobody uses"
            )

    def servers(self) -> None:
        """Which are there, and that others have not their names."""
        names = self.wanted["servers"]["names"]
        there = {server.name: server for server in self.cloud.compute.servers() if server.name in names}
        for name, server in there.items():
            if not self.tags.items() <= server.metadata.items():
                self.problems.append(
                    f"a server '{name}' ({server.id}) is there that is not this environment's: it stays as it "
                    "is; rename the host in "
                    "the inventory's hosts.yml, or remove the server if nobody needs it"
                )
        self.missing_servers = [name for name in names if name not in there]

    def flavor(self) -> None:
        """A flavor of which a server starts from the image."""
        wanted = self.wanted["servers"]["flavor"]
        needs = {"vcpus": wanted["vcpus"], "ram": wanted["ram_mb"], "disk": wanted["disk_gb"]}
        text = "{vcpus} vCPU, {ram} MB, {disk} GB"
        there = list(self.cloud.compute.flavors())
        named = [one for one in there if one.name == wanted["name"]]
        equal = [one for one in named if all(getattr(one, key) == value for key, value in needs.items())]
        fits = [one for one in there if all(getattr(one, key) >= value for key, value in needs.items())]
        fits.sort(key=lambda one: (one.ram, one.vcpus, one.disk, one.name))
        smallest = f"the smallest that fits is {fits[0].name}" if fits else "the project sees none that fits"
        if wanted["create"]:
            self.found["flavor"] = wanted["name"]
            if not equal and not self.admin:
                self.problems.append(
                    f"only an administrator makes the flavor {wanted['name']} ({text.format(**needs)}): set "
                    "create to false in "
                    f"nova_server_flavor; {smallest}"
                )
        elif named and named[0] in fits:
            self.found["flavor"] = wanted["name"]
        elif named:
            has = text.format(**{key: getattr(named[0], key) for key in needs})
            self.problems.append(
                f"the flavor {wanted['name']} has {has}, and image and poller need {text.format(**needs)}: "
                f"{smallest}; set "
                "the name in nova_server_flavor, or an empty one to have it chosen"
            )
        elif wanted["name"]:
            self.problems.append(
                f"there is no flavor '{wanted['name']}': {smallest}; set its name in nova_server_flavor"
            )
        elif fits:
            self.found["flavor"] = fits[0].name
            has = text.format(**{key: getattr(fits[0], key) for key in needs})
            self.answers.append(f"flavor {fits[0].name} ({has}), the smallest with {text.format(**needs)}")
        else:
            self.problems.append(
                f"no flavor has {text.format(**needs)}: ask the cloud's administrator for one, or set a "
                "smaller smart_classroom_image"
            )

    def compute_quota(self) -> None:
        """That the missing servers may be made."""
        wanted, number = self.wanted["servers"]["flavor"], len(self.missing_servers)
        limits = self.cloud.compute.get_limits().absolute
        sizes = {one.name: one for one in self.cloud.compute.flavors()}
        chosen = sizes.get(self.found["flavor"])
        cores, ram = (chosen.vcpus, chosen.ram) if chosen else (wanted["vcpus"], wanted["ram_mb"])
        for what, limit, used, each in (
            ("servers", limits.instances, limits.instances_used, 1),
            ("vCPUs", limits.total_cores, limits.total_cores_used, cores),
            ("MB of memory", limits.total_ram, limits.total_ram_used, ram),
        ):
            if limit != UNLIMITED and limit - used < number * each:
                self.problems.append(
                    f"the project's quota leaves {max(limit - used, 0)} {what} of {limit}, {number * each} "
                    "more are needed: ask the "
                    "cloud's administrator for more, or remove what is not used"
                )

    def zone(self) -> None:
        """That the availability zone takes servers."""
        wanted = self.wanted["servers"]["availability_zone"]
        there = {
            zone.name: bool((zone.state or {}).get("available")) for zone in self.cloud.compute.availability_zones()
        }
        if wanted and not there.get(wanted):
            state = "takes no servers now" if wanted in there else "is not there"
            open_ones = ", ".join(sorted(name for name, available in there.items() if available)) or "none"
            self.problems.append(
                f"the availability zone '{wanted}' {state}: set nova_server_availability_zone to one of "
                f"{open_ones}, or to nothing"
            )

    def surroundings(self) -> None:
        """What the servers stand in, where it is there: ours, or the only one of the name."""
        wanted, network = self.wanted["servers"], self.cloud.network
        for what, named in (
            ("network", list(network.networks(name=wanted["network"]))),
            ("security_group", list(network.security_groups(name=wanted["security_group"]))),
            (
                "external",
                [
                    one
                    for one in network.networks(is_router_external=True)
                    if wanted["external"] in ("", one.name, one.id)
                ],
            ),
        ):
            chosen = [one for one in named if self.described(one)] or named
            self.found[what] = str(chosen[0].id) if len(chosen) == 1 else ""

    def image(self) -> None:
        """The image that the environment's servers start from."""
        named = list(self.cloud.image.images(name=self.wanted["servers"]["image"]))
        own = [one for one in named if self.marked(one.tags)]
        chosen = own or named
        self.found["image"] = str(chosen[0].id) if len(chosen) == 1 else ""

    def holdings(self) -> None:
        """Everything that carries the environment's tags."""
        network, project = self.cloud.network, self.found["project"]
        self.held += [
            f"server {server.name}"
            for server in self.cloud.compute.servers()
            if self.tags.items() <= server.metadata.items()
        ]
        for kind, things in (
            ("floating IP", network.ips(project_id=project)),
            ("network", network.networks(project_id=project)),
            ("router", network.routers(project_id=project)),
            ("security group", network.security_groups(project_id=project)),
        ):
            self.held += [f"{kind} {one.name or one.id}" for one in things if self.described(one)]
        self.held += [
            f"image {one.name}" for one in self.cloud.image.images(visibility="private") if self.marked(one.tags)
        ]
