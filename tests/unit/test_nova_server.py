# ruff: noqa: ARG002 the fakes take what the SDK takes
"""Servers are made, mended and removed; host keys come from the console and nowhere else."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.smart_classroom.platform.plugins.module_utils.nova_cloud import CloudError, wait_for
from ansible_collections.smart_classroom.platform.plugins.module_utils.ssh_access import (
    console_keys,
    known_hosts_lines,
    login,
)
from ansible_collections.smart_classroom.platform.plugins.modules import nova_ssh_access
from ansible_collections.smart_classroom.platform.plugins.modules.nova_instances import Instances
from ansible_collections.smart_classroom.platform.plugins.modules.nova_server_probe import port_state, problems_of
from ansible_collections.smart_classroom.platform.plugins.modules.nova_ssh_access import Access, ssh_config


def public_key(kind: str, length: int = 32) -> str:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + length.to_bytes(4, "big") + bytes(range(length))
    return f"{kind} {base64.b64encode(blob).decode()}"


KEY = public_key("ssh-ed25519")
OTHER = public_key("ecdsa-sha2-nistp256", 73)


def block(*lines: str) -> str:
    return "\n".join(["-----BEGIN SSH HOST KEY KEYS-----", *lines, "-----END SSH HOST KEY KEYS-----", ""])


@pytest.mark.parametrize(
    ("console", "keys"),
    [
        ("", []),
        ("boot\n-----BEGIN SSH HOST KEY KEYS-----\n" + KEY, []),  # the block is not complete yet
        (f"boot\n{block(KEY + ' root@vm', OTHER + ' root@vm')}login:", [OTHER, KEY]),
        (block(OTHER) + "reboot\n" + block(KEY), [KEY]),  # the last boot counts
        (block(f"[   31.2] cloud-init[612]: {KEY} root@vm"), [KEY]),
        (block(KEY[:40], "ssh-ed25519 AAAAnonsense"), []),  # torn by another message
        (block(KEY.replace("ssh-ed25519", "ssh-rsa")), []),  # says one kind, is another
    ],
)
def test_console_keys(console: str, keys: list[str]) -> None:
    assert console_keys(console) == keys


def test_known_hosts_says_whose_key_it_is() -> None:
    assert known_hosts_lines("poller-1", "id-1", [KEY]) == [f"poller-1 {KEY} id-1"]


def test_ssh_config_checks_host_keys_and_uses_only_our_key(tmp_path: Path) -> None:
    text = ssh_config({"poller-1": "192.0.2.1", "poller-2": "192.0.2.2"}, tmp_path, "classroom", "id", "jump.example")
    assert text.count("StrictHostKeyChecking yes") == text.count("IdentitiesOnly yes") == 2
    assert text.count("ProxyJump jump.example") == 2
    assert f'IdentityFile "{tmp_path}/id"' in text
    assert f'Include "{tmp_path}/*.conf"' in text
    direct = ssh_config({"poller-1": "192.0.2.1"}, tmp_path, "classroom", "id", "")
    assert "ProxyJump" not in direct
    assert "Include" not in direct


def test_wait_for_gives_up_with_a_name() -> None:
    with pytest.raises(CloudError, match="the thing did not come about within 0 s"):
        wait_for("the thing", lambda: None, 0, 0)


class Cloud:
    """Nova and Neutron with just enough memory; ``outcomes`` are the states that new servers end in."""

    def __init__(self, *servers: SimpleNamespace, outcomes: tuple[str, ...] = ()) -> None:
        self.machines = {item.id: item for item in servers}
        self.outcomes = list(outcomes)
        self.addresses: list[SimpleNamespace] = []
        self.flavors: list[SimpleNamespace] = []
        self.compute = self.network = self.image = self

    # Nova
    def servers(self, details: bool) -> list[SimpleNamespace]:
        return list(self.machines.values())

    def get_server(self, server_id: str) -> SimpleNamespace:
        return self.machines[server_id]

    def create_server(self, name: str, **request: Any) -> SimpleNamespace:
        new = server(name, self.outcomes.pop(0) if self.outcomes else "ACTIVE", f"{name}-new{len(self.outcomes)}")
        self.machines[new.id] = new
        return new

    def start_server(self, item: SimpleNamespace) -> None:
        item.status = "ACTIVE"

    def delete_server(self, item: SimpleNamespace, ignore_missing: bool) -> None:
        del self.machines[item.id]
        for address in self.addresses:
            address.port_id = None if address.port_id == f"port-{item.id}" else address.port_id

    def wait_for_delete(self, item: SimpleNamespace, interval: float, wait: float) -> None:
        assert item.id not in self.machines

    def find_flavor(self, name: str, ignore_missing: bool) -> SimpleNamespace | None:
        return next((item for item in self.flavors if item.name == name), None)

    def create_flavor(self, **request: Any) -> SimpleNamespace:
        self.flavors.append(SimpleNamespace(id="flavor", **request))
        return self.flavors[-1]

    def delete_flavor(self, flavor: SimpleNamespace) -> None:
        self.flavors.remove(flavor)

    # Glance and Neutron
    def images(self, name: str, status: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id="image", name=name)]

    def networks(self, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id=f"network-{name}", name=name)]

    def security_groups(self, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id="group", name=name)]

    def ports(self, device_id: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id=f"port-{device_id}", security_group_ids=["group"])]

    def ips(self) -> list[SimpleNamespace]:
        return list(self.addresses)

    def create_ip(self, floating_network_id: str, port_id: str, description: str) -> SimpleNamespace:
        number = len(self.addresses) + 10
        self.addresses.append(
            SimpleNamespace(description=description, port_id=port_id, tags=[], floating_ip_address=f"192.0.2.{number}")
        )
        return self.addresses[-1]

    def update_ip(self, address: SimpleNamespace, port_id: str) -> None:
        address.port_id = port_id

    def delete_ip(self, address: SimpleNamespace, ignore_missing: bool) -> None:
        self.addresses.remove(address)

    def set_tags(self, item: SimpleNamespace, tags: list[str]) -> None:
        item.tags = tags


def server(name: str, status: str, server_id: str | None = None) -> SimpleNamespace:
    fault = {"code": 500, "message": "No valid host"} if status == "ERROR" else None
    return SimpleNamespace(id=server_id or f"{name}-old", name=name, status=status, task_state=None, fault=fault)


def instances(cloud: Cloud, *names: str, check_mode: bool = False) -> Instances:
    parameters = {
        "names": list(names),
        "flavor": {"name": "small", "vcpus": 1, "ram_mb": 512, "disk_gb": 5, "create": True},
        "image": "centos",
        "network": "private",
        "external_network": "public",
        "security_group": "group",
        "key_name": "key",
        "availability_zone": "nova",
        "metadata": {"project": "x"},
        "timeout_seconds": 1,
    }
    return Instances(cloud, parameters, check_mode)


def test_servers_are_made_and_a_second_run_changes_nothing() -> None:
    cloud = Cloud()
    made = instances(cloud, "a", "b").present()
    assert [(item["name"], item["floating_ip"]) for item in made] == [("a", "192.0.2.10"), ("b", "192.0.2.11")]
    second = instances(cloud, "a", "b")
    assert second.present() == made
    assert second.changes == []


def test_check_mode_tells_and_does_nothing() -> None:
    cloud = Cloud()
    planned = instances(cloud, "a", check_mode=True)
    planned.present()
    assert "server a" in planned.changes
    assert cloud.machines == {}
    assert cloud.addresses == []


def test_a_server_that_is_off_is_started() -> None:
    cloud = Cloud(server("a", "SHUTOFF"))
    run = instances(cloud, "a")
    run.present()
    assert cloud.machines["a-old"].status == "ACTIVE"
    assert any("was SHUTOFF and is started" in change for change in run.changes)


def test_a_failed_server_is_replaced_and_its_fault_named() -> None:
    cloud = Cloud(server("a", "ERROR"))
    run = instances(cloud, "a")
    run.present()
    assert [item.id for item in cloud.machines.values()] == ["a-new0"]
    assert any("No valid host (code 500)" in change for change in run.changes)


def test_a_server_that_fails_once_is_made_again() -> None:
    cloud = Cloud(outcomes=("ERROR", "ACTIVE"))
    run = instances(cloud, "a")
    run.present()
    assert [item.status for item in cloud.machines.values()] == ["ACTIVE"]
    assert any("is made again: No valid host" in change for change in run.changes)


def test_a_server_that_always_fails_stops_the_run_with_its_fault() -> None:
    with pytest.raises(CloudError, match="server 'a' does not start, state ERROR: No valid host"):
        instances(Cloud(outcomes=("ERROR", "ERROR")), "a").present()


def test_a_deleted_floating_ip_is_given_again_and_a_loose_one_attached() -> None:
    cloud = Cloud()
    instances(cloud, "a").present()
    cloud.addresses.clear()
    instances(cloud, "a").present()
    assert [address.port_id for address in cloud.addresses] == ["port-a-new0"]
    cloud.addresses[0].port_id = None
    instances(cloud, "a").present()
    assert [address.port_id for address in cloud.addresses] == ["port-a-new0"]


def test_a_replaced_server_keeps_its_address() -> None:
    cloud = Cloud()
    instances(cloud, "a").present()
    cloud.machines["a-new0"].status, cloud.machines["a-new0"].fault = "ERROR", {}
    cloud.outcomes = ["ACTIVE", "ACTIVE"]
    made = instances(cloud, "a").present()
    assert made[0]["floating_ip"] == "192.0.2.10"
    assert len(cloud.addresses) == 1


def test_two_servers_of_one_name_are_refused() -> None:
    cloud = Cloud(server("a", "ACTIVE", "1"), server("a", "ACTIVE", "2"))
    with pytest.raises(CloudError, match="two servers 'a': 1 and 2"):
        instances(cloud, "a").present()


def test_teardown_takes_what_is_ours_and_nothing_else() -> None:
    cloud = Cloud(server("somebody", "ACTIVE"))
    cloud.create_ip("network-public", "port-somebody-old", "somebody")
    instances(cloud, "a").present()
    instances(cloud, "a").absent()
    assert list(cloud.machines) == ["somebody-old"]
    assert [address.description for address in cloud.addresses] == ["somebody"]
    assert cloud.flavors == []
    second = instances(cloud, "a")
    second.absent()
    assert second.changes == []


class AccessCloud:
    """One server with a floating IP and a console."""

    def __init__(self, server_id: str, console: str, statuses: tuple[str, ...] = ("ACTIVE",)) -> None:
        self.server_id, self.log = server_id, console
        self.compute = self.network = self
        self.statuses = list(statuses)
        self.started = 0

    def servers(self, details: bool) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="a", id=self.server_id)]

    def ports(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(id="port", device_id=self.server_id)]

    def ips(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(port_id="port", floating_ip_address="192.0.2.10")]

    def get_server(self, server_id: str) -> SimpleNamespace:
        """Shows one state after the other and stays with the last."""
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return server("a", status, server_id)

    def start_server(self, item: SimpleNamespace) -> None:
        self.started += 1
        self.statuses = ["ACTIVE"]

    def get_server_console_output(self, server_id: str) -> dict[str, str]:
        return {"output": self.log}


def access(cloud: AccessCloud, directory: Path, **changed: Any) -> Access:
    parameters = {
        "names": ["a"],
        "user": "classroom",
        "directory": str(directory),
        "key_file": "id_ed25519",
        "proxy_jump": "",
        "control_path": "",
        "timeout_seconds": 0,
    }
    return Access(cloud, {**parameters, **changed})


@pytest.fixture
def login_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_ssh_access, "login", lambda *_: None)


@pytest.mark.usefixtures("login_works")
def test_keys_are_recorded_once_and_again_for_a_new_server(tmp_path: Path) -> None:
    assert access(AccessCloud("id-1", block(KEY)), tmp_path).establish(False)["changed"] is True
    known = tmp_path / "known_hosts"
    assert known.read_text() == f"a {KEY} id-1\n"
    assert known.stat().st_mode & 0o777 == 0o600
    # The console may have scrolled away since.
    assert access(AccessCloud("id-1", ""), tmp_path).establish(False)["changed"] is False
    assert access(AccessCloud("id-2", block(OTHER)), tmp_path).establish(False)["changed"] is True
    assert known.read_text() == f"a {OTHER} id-2\n"


@pytest.mark.usefixtures("login_works")
def test_check_mode_sees_that_a_server_was_replaced(tmp_path: Path) -> None:
    access(AccessCloud("id-1", block(KEY)), tmp_path).establish(False)
    assert access(AccessCloud("id-1", ""), tmp_path).establish(True)["changed"] is False
    assert access(AccessCloud("id-2", ""), tmp_path).establish(True)["changed"] is True
    assert (tmp_path / "known_hosts").read_text() == f"a {KEY} id-1\n"


def test_a_guest_that_shows_no_keys_is_never_trusted(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"(?s)host keys on the console did not come.*Kernel panic"):
        access(AccessCloud("id-1", "Kernel panic"), tmp_path).establish(False)
    assert not (tmp_path / "known_hosts").exists()


def test_another_host_key_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_ssh_access, "login", lambda *_: "Host key verification failed.")
    with pytest.raises(CloudError, match="has another host key"):
        access(AccessCloud("id-1", block(KEY)), tmp_path, timeout_seconds=600).establish(False)


def test_a_server_that_turns_out_to_be_off_while_it_is_awaited_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = AccessCloud("id-1", block(KEY), ("ACTIVE", "SHUTOFF"))
    monkeypatch.setattr(nova_ssh_access, "login", lambda *_: None if cloud.started else "No route to host")
    result = access(cloud, tmp_path, timeout_seconds=5).establish(False)
    assert cloud.started == 1
    assert result["changes"] == ["server a was SHUTOFF and is started"]
    assert result["changed"] is True


def test_a_server_that_fails_while_it_is_awaited_stops_the_run_with_its_fault(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="server 'a' is in state ERROR: No valid host"):
        access(AccessCloud("id-1", "", ("ERROR",)), tmp_path, timeout_seconds=600).establish(False)


@pytest.mark.parametrize("kept", [True, False])
def test_the_connection_of_a_login_is_a_new_one_and_is_kept_if_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/said\ncase "$*" in *" -O "*) exit 255; esac\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    control_path = str(tmp_path / "cp/%C") if kept else ""
    assert login(tmp_path / "config", "a", control_path) is None
    begin = f"-F {tmp_path}/config -o BatchMode=yes -o LogLevel=ERROR"
    path = f"-o ControlPath={control_path}"
    assert (tmp_path / "said").read_text().splitlines() == (
        [f"{begin} {path} -O stop a", f"{begin} {path} -o ControlMaster=auto -o ControlPersist=60 a true"]
        if kept
        else [f"{begin} a true"]
    )
    if kept:
        assert (tmp_path / "cp").stat().st_mode & 0o777 == 0o700


def test_a_missing_server_is_named(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match="no server with a floating IP has the name b"):
        access(AccessCloud("id-1", ""), tmp_path, names=["a", "b"]).establish(False)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (["a", "0", "4950"], None),
        (["localhost", "0", "4950"], "calls itself localhost"),
        (["a", "sudo:", "4950"], "sudo without a password"),
        (["a", "0", "1200"], "root file system has 1200 MB"),
        ([], "answers the login with"),
    ],
)
def test_what_a_server_says_is_judged(answers: list[str], problem: str | None) -> None:
    problems = problems_of("a", answers, 5)
    assert (problems == []) if problem is None else (len(problems) == 1 and problem in problems[0])


def test_open_and_closed_ports_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port_state("127.0.0.1", port) == "open"
    assert port_state("127.0.0.1", port) == "closed"
