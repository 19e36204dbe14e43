#!/usr/bin/python
"""Ansible module: servers with floating IPs, made one after the other and mended where they are broken."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nova_instances
short_description: Keep servers running, each with a floating IP
description:
  - Makes what is missing, starts what is off, gives a new floating IP where it was deleted, and replaces a server in
    state ERROR after noting its fault.
  - Servers are made one after the other, because small clouds fail at several at once.
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
    description: Whether the servers are there.
    type: str
    choices: [present, absent]
    default: present
  names:
    description: Names of the servers.
    type: list
    elements: str
    required: true
  flavor:
    description: >-
      Flavor with the keys C(name), C(vcpus), C(ram_mb), C(disk_gb) and C(create). With C(create) it is made,
      and removed with the servers.
    type: dict
    required: true
  image:
    description: Name of the image. Required for O(state=present).
    type: str
  network:
    description: Name of the private network. Required for O(state=present).
    type: str
  external_network:
    description: Name of the network of the floating IPs. Required for O(state=present).
    type: str
  security_group:
    description: Name of the security group. Required for O(state=present).
    type: str
  key_name:
    description: Name of the key pair. Required for O(state=present).
    type: str
  availability_zone:
    description: Availability zone of new servers.
    type: str
    default: nova
  metadata:
    description: Metadata of the servers; also, as C(key=value), the tags of their floating IPs.
    type: dict
    default: {}
  timeout_seconds:
    description: How long each server may take to become active.
    type: int
    default: 300
author: Smart Classroom (@smart-classroom)
"""

EXAMPLES = r"""
- name: Keep the servers running
  smart_classroom.platform.nova_instances:
    clouds_file: .state/local/clouds.yaml
    cloud: smart-classroom
    names: [classroom-poller-1]
    flavor: {name: classroom.small, vcpus: 1, ram_mb: 512, disk_gb: 5, create: true}
    image: centos
    network: classroom
    external_network: public
    security_group: classroom
    key_name: classroom
"""

RETURN = r"""
changes:
  description: What was made, mended or removed.
  type: list
  returned: always
servers:
  description: C(name), C(id), C(floating_ip) of each server.
  type: list
  returned: when present, outside check mode
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import (
    CLOUD_ARGUMENTS,
    CloudError,
    cloud_errors,
    connect,
    fault_of,
    is_off,
    start,
    wait_for,
)

ATTEMPTS = 2


class Instances:
    """Brings servers to their wanted state and notes in ``changes`` what that took."""

    def __init__(self, connection: Any, parameters: dict[str, Any], check_mode: bool) -> None:
        self.compute = connection.compute
        self.network = connection.network
        self.image = connection.image
        self.wanted = parameters
        self.check_mode = check_mode
        self.changes: list[str] = []
        self.tags = sorted(f"{key}={value}" for key, value in parameters["metadata"].items())

    def change(self, what: str, action: Callable[[], Any]) -> Any:
        """Note ``what``; do it unless this is a check."""
        self.changes.append(what)
        return None if self.check_mode else action()

    def needed(self, kind: str, name: str, objects: Any) -> Any:
        """The object of that name. In a check it may be missing, because what makes it was only checked, too.

        Raises:
            CloudError: it is missing.
        """
        found = next((item for item in objects if item.name == name), None)
        if found is None and not self.check_mode:
            raise CloudError(f"there is no {kind} '{name}'; ansible-playbook playbooks/deploy-vm.yml makes it")
        return found

    def servers(self) -> dict[str, Any]:
        """Our servers by name, with details.

        Raises:
            CloudError: two servers share a name.
        """
        found: dict[str, Any] = {}
        for server in self.compute.servers(details=True):
            if server.name in self.wanted["names"]:
                if server.name in found:
                    raise CloudError(f"there are two servers '{server.name}': {found[server.name].id} and {server.id}")
                found[server.name] = server
        return found

    def flavor(self) -> Any:
        """The flavor, made if that is wanted. One with other sizes is replaced; servers keep theirs."""
        plan = self.wanted["flavor"]
        sizes = (plan["vcpus"], plan["ram_mb"], plan["disk_gb"])
        flavor = self.compute.find_flavor(plan["name"], ignore_missing=True)
        if not plan["create"]:
            return self.needed("flavor", plan["name"], [flavor] if flavor else [])
        if flavor is not None and (flavor.vcpus, flavor.ram, flavor.disk) == sizes:
            return flavor
        if flavor is not None:
            self.change(f"flavor {plan['name']} of another size removed", lambda: self.compute.delete_flavor(flavor))
        return self.change(
            f"flavor {plan['name']}",
            lambda: self.compute.create_flavor(name=plan["name"], vcpus=sizes[0], ram=sizes[1], disk=sizes[2]),
        )

    def settled(self, server_id: str) -> Any:
        """The server once it is in a state that does not change by itself."""

        def probe() -> Any:
            server = self.compute.get_server(server_id)
            moving = server.task_state or server.status in ("BUILD", "REBOOT", "HARD_REBOOT", "UNKNOWN")
            # A server that failed may keep its task; its state is final nevertheless.
            return None if moving and server.status != "ERROR" else server

        return wait_for(f"an end of the work on server {server_id}", probe, self.wanted["timeout_seconds"])

    def removed(self, server: Any) -> None:
        """Delete a server and wait until Nova has forgotten it, and so its port."""
        self.compute.delete_server(server, ignore_missing=True)
        self.compute.wait_for_delete(server, interval=1, wait=self.wanted["timeout_seconds"])

    def created(self, name: str, parts: dict[str, Any]) -> Any:
        """A new server, active.

        Raises:
            CloudError: each attempt ended in state ERROR.
        """
        for attempt in range(1, ATTEMPTS + 1):
            server = self.compute.create_server(
                name=name,
                image_id=parts["image"].id,
                flavor_id=parts["flavor"].id,
                networks=[{"uuid": parts["network"].id}],
                security_groups=[{"name": parts["group"].id}],
                key_name=self.wanted["key_name"],
                availability_zone=self.wanted["availability_zone"],
                metadata={key: str(value) for key, value in self.wanted["metadata"].items()},
            )
            server = self.settled(server.id)
            if server.status == "ACTIVE":
                return server
            if attempt < ATTEMPTS:
                self.changes.append(f"server {name} failed and is made again: {fault_of(server)}")
                self.removed(server)
        raise CloudError(f"server '{name}' does not start, state {server.status}: {fault_of(server)}")

    def running(self, name: str, server: Any, parts: dict[str, Any]) -> Any:
        """The server, active, whatever state it was in."""
        if server is not None and not self.check_mode:
            server = self.settled(server.id)
        if server is not None and is_off(server):
            found = server
            self.change(f"server {name} was {found.status} and is started", lambda: start(self.compute, found))
            return (
                found
                if self.check_mode
                else wait_for(
                    f"the start of server '{name}'",
                    lambda: next(
                        (item for item in [self.settled(found.id)] if item.status in ("ACTIVE", "ERROR")), None
                    ),
                    self.wanted["timeout_seconds"],
                )
            )
        if server is not None and server.status != "ACTIVE":
            broken = server
            self.change(
                f"server {name} was {broken.status} and is replaced: {fault_of(broken)}", lambda: self.removed(broken)
            )
            server = None
        if server is None:
            server = self.change(f"server {name}", lambda: self.created(name, parts))
        return server

    def port_of(self, name: str, server: Any, group: Any) -> Any:
        """The server's port, in the wanted security group."""
        port = next(iter(self.network.ports(device_id=server.id)), None) if server else None
        if port is not None and group is not None and port.security_group_ids != [group.id]:
            self.change(f"security group of {name}", lambda: self.network.update_port(port, security_groups=[group.id]))
        return port

    def floating_ip(self, name: str, port: Any, external: Any, known: list[Any]) -> str | None:
        """The address of a server.

        The floating IP bears the server's name as description, so a server that replaces another keeps the address.
        """
        ours = [ip for ip in known if ip.description == name]
        address = next((ip for ip in ours if port is not None and ip.port_id == port.id), ours[0] if ours else None)
        if address is None:
            address = self.change(
                f"floating IP of {name}",
                lambda: self.network.create_ip(
                    floating_network_id=external.id, port_id=port.id if port else None, description=name
                ),
            )
        elif port is None or address.port_id != port.id:
            found = address
            self.change(f"floating IP of {name} attached", lambda: self.network.update_ip(found, port_id=port.id))
        if address is None:
            return None
        if sorted(address.tags or []) != self.tags:
            self.change(f"tags of the floating IP of {name}", lambda: self.network.set_tags(address, self.tags))
        return str(address.floating_ip_address)

    def present(self) -> list[dict[str, str | None]]:
        """Bring every server up, one after the other."""
        wanted = self.wanted
        parts = {
            "flavor": self.flavor(),
            "image": self.needed("image", wanted["image"], self.image.images(name=wanted["image"], status="active")),
            "network": self.needed("network", wanted["network"], self.network.networks(name=wanted["network"])),
            "group": self.needed(
                "security group",
                wanted["security_group"],
                self.network.security_groups(name=wanted["security_group"]),
            ),
        }
        external = self.needed(
            "network", wanted["external_network"], self.network.networks(name=wanted["external_network"])
        )
        servers, known = self.servers(), list(self.network.ips())
        result: list[dict[str, str | None]] = []
        for name in wanted["names"]:
            server = self.running(name, servers.get(name), parts)
            port = self.port_of(name, server, parts["group"])
            address = self.floating_ip(name, port, external, known)
            result.append({"name": name, "id": server.id if server else None, "floating_ip": address})
        return result

    def absent(self) -> None:
        """Remove the servers, their floating IPs, and the flavor if it is made here."""
        known = [ip for ip in self.network.ips() if ip.description in self.wanted["names"]]
        for name, server in self.servers().items():
            self.change(f"server {name}", lambda server=server: self.removed(server))  # type: ignore[misc]
        for ip in known:
            self.change(
                f"floating IP of {ip.description}",
                lambda ip=ip: self.network.delete_ip(ip, ignore_missing=True),  # type: ignore[misc]
            )
        plan = self.wanted["flavor"]
        flavor = self.compute.find_flavor(plan["name"], ignore_missing=True) if plan["create"] else None
        if flavor is not None:
            self.change(f"flavor {plan['name']}", lambda: self.compute.delete_flavor(flavor))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            **CLOUD_ARGUMENTS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "names": {"type": "list", "elements": "str", "required": True},
            "flavor": {"type": "dict", "required": True},
            "image": {"type": "str"},
            "network": {"type": "str"},
            "external_network": {"type": "str"},
            "security_group": {"type": "str"},
            "key_name": {"type": "str", "no_log": False},
            "availability_zone": {"type": "str", "default": "nova"},
            "metadata": {"type": "dict", "default": {}},
            "timeout_seconds": {"type": "int", "default": 300},
        },
        required_if=[("state", "present", ["image", "network", "external_network", "security_group", "key_name"])],
        supports_check_mode=True,
    )
    result: dict[str, Any] = {}
    try:
        connection = connect(module.params["clouds_file"], module.params["cloud"])
        instances = Instances(connection, module.params, module.check_mode)
        if module.params["state"] == "absent":
            instances.absent()
        else:
            result["servers"] = instances.present()
    except cloud_errors() as error:
        module.fail_json(
            msg=f"The servers {', '.join(module.params['names'])} could not be brought to their state: {error}. "
            "Check that the cloud answers (make status), then run the same command again."
        )
    module.exit_json(changed=bool(instances.changes), changes=instances.changes, **result)


if __name__ == "__main__":
    main()
