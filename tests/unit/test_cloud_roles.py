"""What the roles of the private cloud conclude from what they have read of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_variables import evaluate

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "192.0.2.1/32"


def test_only_the_operator_comes_in() -> None:
    rules = evaluate(
        "neutron_network",
        "__neutron_network_rules",
        neutron_network_operator_cidrs=[OPERATOR],
        neutron_network_tcp_ports=[22, 443],
    )
    ingress = [rule for rule in rules if rule["direction"] == "ingress"]
    assert {rule["remote_ip_prefix"] for rule in ingress} == {OPERATOR}
    assert [(rule["protocol"], rule.get("port_range_min"), rule.get("port_range_max")) for rule in ingress] == [
        ("icmp", None, None),
        ("tcp", 22, 22),
        ("tcp", 443, 443),
    ]
    assert [rule["ether_type"] for rule in rules if rule["direction"] == "egress"] == ["IPv4", "IPv6"]


def network(**changes: Any) -> list[str]:
    same = {"changed": False}
    known: dict[str, Any] = {
        "neutron_network_tags": ["project=p", "environment=e"],
        "__neutron_network_external": same,
        "__neutron_network_external_subnet": same,
        "__neutron_network_private": same,
        "__neutron_network_subnet": same,
        "__neutron_network_router": same,
        "__neutron_network_group": same,
        "__neutron_network_key": {"public_key": "ssh-ed25519 AAAA smart-classroom"},
        "__neutron_network_routers": {"routers": [{"id": "r", "external_gateway_info": {"network_id": "e"}}]},
        "__neutron_network_ports": {"resources": [{"device_id": "r", "fixed_ips": [{"subnet_id": "s"}]}]},
        "__neutron_network_subnets": {"resources": [{"id": "s"}]},
        "__neutron_network_groups": {"security_groups": []},
    }
    found: list[str] = evaluate("neutron_network", "__neutron_network_differences", **(known | changes))
    return found


def test_a_network_as_it_should_be_differs_in_nothing() -> None:
    assert network() == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"__neutron_network_routers": {"routers": []}}, "the way from the router out"),
        ({"__neutron_network_ports": {"resources": []}}, "the way from the router to the servers"),
        (
            {"__neutron_network_ports": {"resources": [{"device_id": "other", "fixed_ips": [{"subnet_id": "s"}]}]}},
            "the way from the router to the servers",
        ),
        ({"__neutron_network_private": {"changed": True}}, "the private network"),
        ({"__neutron_network_subnet": {"changed": False, "skipped": True}}, "the subnet of the servers"),
    ],
)
def test_what_differs_in_the_network_is_named(changes: dict[str, Any], named: str) -> None:
    assert named in network(**changes)


def test_a_rule_that_somebody_added_is_shown() -> None:
    rules = [
        {"direction": "ingress", "protocol": "tcp", "port_range_min": 443, "remote_ip_prefix": None},
        {"direction": "egress", "protocol": None, "port_range_min": None, "remote_ip_prefix": None},
    ]
    (found,) = network(
        __neutron_network_group={"changed": True},
        __neutron_network_groups={"security_groups": [{"security_group_rules": rules}]},
    )
    assert found == "the security group, which lets in tcp 443 from anybody"


def test_a_part_of_the_hosts_network_that_changed_or_could_not_be_looked_at_differs() -> None:
    same, skipped = (
        {"changed": False},
        {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"},
    )
    parts: dict[str, Any] = {f"__ec2_host_{name}": same for name in ("vpc", "subnet", "gateway", "routes", "group")}
    assert evaluate("ec2_host", "__ec2_host_network_differences", **parts) == []
    parts |= {"__ec2_host_vpc": {"changed": True}, "__ec2_host_routes": skipped, "__ec2_host_group": skipped}
    found = evaluate("ec2_host", "__ec2_host_network_differences", **parts)
    assert found == ["vpc", "route table", "security group"]


def test_the_hosts_things_are_found_by_their_name_and_two_tags() -> None:
    tags = {"project": "p", "environment": "dev", "owner": "somebody"}
    found = evaluate("ec2_host", "__ec2_host_filters", ec2_host_name="p-dev", ec2_host_tags=tags)
    assert found == {"tag:project": "p", "tag:environment": "dev", "tag:Name": "p-dev"}
    assert evaluate("ec2_host", "__ec2_host_filters", ec2_host_name="x", ec2_host_tags={}) == {"tag:Name": "x"}


def server(**changes: Any) -> dict[str, Any]:
    return {
        "name": "classroom-poller-1",
        "id": "1f6f",
        "status": "ACTIVE",
        "security_groups": [{"name": "classroom"}],
        "metadata": {"project": "p", "environment": "e"},
        "addresses": {"classroom": [{"addr": "10.20.0.5"}, {"addr": "172.24.4.9"}]},
    } | changes


def servers(*found: dict[str, Any], fixed: str | None = "10.20.0.5", flavor: bool = False) -> list[str]:
    ip = {
        "description": "classroom-poller-1, environment=e, project=p",
        "fixed_ip_address": fixed,
        "floating_ip_address": "172.24.4.9",
    }
    differences: list[str] = evaluate(
        "nova_server",
        "__nova_server_differences",
        nova_server_metadata={"project": "p", "environment": "e"},
        __nova_server_read={"servers": list(found)},
        __nova_server_ips={"floating_ips": [ip]},
        __nova_server_flavor={"changed": flavor},
    )
    return differences


def test_servers_as_they_should_be_differ_in_nothing() -> None:
    assert servers(server()) == []


@pytest.mark.parametrize(
    ("found", "fixed", "named"),
    [
        ([], "10.20.0.5", "there are 0 servers classroom-poller-1"),
        ([server(), server(id="2")], "10.20.0.5", "there are 2 servers classroom-poller-1"),
        ([server(status="SHUTOFF")], "10.20.0.5", "server classroom-poller-1 is SHUTOFF"),
        (
            [server(security_groups=[{"name": "default"}])],
            "10.20.0.5",
            "server classroom-poller-1 is in other security groups",
        ),
        ([server(metadata={})], "10.20.0.5", "server classroom-poller-1 has other metadata"),
        ([server()], "10.20.0.77", "the floating IP of classroom-poller-1 is missing"),
        ([server()], None, "the floating IP of classroom-poller-1 is missing"),
    ],
)
def test_what_differs_in_servers_is_named(found: list[dict[str, Any]], fixed: str | None, named: str) -> None:
    assert named in servers(*found, fixed=fixed)


def test_without_floating_ips_a_server_is_reached_at_its_own_address() -> None:
    found = server(addresses={"provider": [{"addr": "2001:db8::5", "version": 6}, {"addr": "192.0.2.5", "version": 4}]})
    addresses = evaluate(
        "nova_server",
        "__nova_server_addresses",
        nova_server_floating_ips=False,
        nova_server_metadata={"project": "p", "environment": "e"},
        __nova_server_read={"servers": [found, server(name="other", addresses={})]},
    )
    assert addresses == {"classroom-poller-1": "192.0.2.5"}


def test_the_teardown_takes_only_servers_that_bear_the_environments_tags() -> None:
    whose = [
        {"project": "p", "environment": "e", "owner": "o"},
        {"project": "p", "environment": "other"},
        {},
        {"environment": "e"},
    ]
    ours = evaluate(
        "nova_server",
        "__nova_server_ours | map(attribute='name')",
        nova_server_metadata={"project": "p", "environment": "e"},
        __nova_server_read={"servers": [server(name=f"s-{at}", metadata=tags) for at, tags in enumerate(whose)]},
    )
    assert ours == ["s-0"]


def user_data(ssh_dir: Path) -> str:
    text: str = evaluate(
        "nova_server", "lookup('ansible.builtin.template', 'user_data.j2')", nova_server_ssh_dir=str(ssh_dir)
    )
    return text


def test_user_data_makes_the_operators_login_its_key_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA smart-classroom\n")
    header, _, rest = user_data(tmp_path).partition("\n")
    assert header == "#cloud-config"
    wanted = yaml.safe_load(rest)
    assert wanted == json.loads(rest)
    assert set(wanted) == {"users", "disable_root", "ssh_pwauth"}
    assert (wanted["disable_root"], wanted["ssh_pwauth"]) == (True, False)
    # No "default": the image's own login is not made either.
    (user,) = wanted["users"]
    assert (user["name"], user["lock_passwd"]) == ("classroom", True)
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA smart-classroom"]


def test_the_small_guest_makes_the_login_that_the_user_data_asks_for(tmp_path: Path) -> None:
    """The program of the built image, with the programs of a system that notes what it is asked for."""
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA smart-classroom\n")
    (tmp_path / "user-data").write_text(user_data(tmp_path))
    for program, code in (("getent", 2), ("useradd", 0), ("chown", 0)):
        path = tmp_path / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> {tmp_path}/asked\nexit {code}\n')
        path.chmod(0o755)
    (tmp_path / "home/classroom").mkdir(parents=True)
    (tmp_path / "sudoers.d").mkdir()
    program = (ROOT / "roles/glance_image/files/image/agent/usr/local/sbin/guest-users").read_text()
    program = program.replace('"/home"', f'"{tmp_path}/home"').replace("/etc/sudoers.d", f"{tmp_path}/sudoers.d")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def run(file: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", program, str(tmp_path / file)]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    for _ in range(2):  # it may have been cut off the first time
        done = run("user-data")
        assert (done.returncode, done.stdout) == (0, "guest: login classroom is made\n"), done.stderr
    assert (
        "useradd --create-home --comment Smart Classroom operator --shell /bin/bash classroom"
        in (tmp_path / "asked").read_text()
    )
    keys = tmp_path / "home/classroom/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 AAAA smart-classroom\n"
    assert (keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (tmp_path / "sudoers.d/90-user-data").read_text() == "classroom ALL=(ALL) NOPASSWD:ALL\n"
    (tmp_path / "script").write_text("#!/bin/sh\n")
    refused = run("script")
    assert (refused.returncode, "begins with '#!/bin/sh'" in refused.stderr) == (1, True)


def test_the_key_of_a_server_that_is_gone_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("classroom-poller-1 ssh-ed25519 AAAA 0000\n")
    values: dict[str, Any] = {
        "nova_server_ssh_dir": str(tmp_path),
        "__nova_server_name": "classroom-poller-1",
        "__nova_server_read": {"servers": [server()]},
    }
    assert evaluate("nova_server", "__nova_server_recorded", **values) is False
    (tmp_path / "known_hosts").write_text("classroom-poller-1 ssh-ed25519 AAAA 1f6f\n")
    assert evaluate("nova_server", "__nova_server_recorded", **values) is True


def test_ssh_config_checks_host_keys_and_uses_only_our_key(tmp_path: Path) -> None:
    text = evaluate(
        "nova_server",
        "lookup('ansible.builtin.template', 'ssh_config.j2')",
        nova_server_ssh_dir=str(tmp_path),
        nova_server_proxy_jump="devstack-1",
        nova_server_metadata={"project": "p", "environment": "e"},
        __nova_server_ips={
            "floating_ips": [
                {
                    "description": "classroom-poller-1, environment=e, project=p",
                    "fixed_ip_address": "10.20.0.5",
                    "floating_ip_address": "172.24.4.9",
                },
                {"description": "other", "fixed_ip_address": None, "floating_ip_address": "172.24.4.10"},
            ]
        },
    )
    lines = [line.strip() for line in text.splitlines()]
    assert {
        "Host classroom-poller-1",
        "HostName 172.24.4.9",
        "HostKeyAlias classroom-poller-1",
        "StrictHostKeyChecking yes",
        "GlobalKnownHostsFile /dev/null",
        "IdentitiesOnly yes",
        "ProxyJump devstack-1",
        f'Include "{tmp_path}/*.conf"',
    } <= set(lines)
    assert "172.24.4.10" not in text


def image(*found: dict[str, Any]) -> str:
    problem: str = evaluate(
        "glance_image",
        "__glance_image_problem",
        glance_image_properties={"os_distro": "debian", "hw_rng_model": "virtio"},
        glance_image_tags=["project=p"],
        __glance_image_path="/cache/built.qcow2",
        __glance_image_file={"stat": {"exists": True, "checksum": "abc"}},
        __glance_image_found={"images": list(found)},
    )
    return problem


IMAGE: dict[str, Any] = {
    "id": "1",
    "name": "centos",
    "status": "active",
    "hash_value": "abc",
    "visibility": "private",
    "tags": ["project=p"],
    "hw_rng_model": "virtio",
    "properties": {"os_distro": "debian"},
}


def test_an_image_that_equals_the_file_is_right() -> None:
    assert image(IMAGE) == ""


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ([], "is missing, not active, or not the file /cache/built.qcow2"),
        ([IMAGE | {"hash_value": "other"}], "not the file"),
        ([IMAGE | {"status": "queued"}], "not active"),
        ([IMAGE | {"tags": []}], "is missing"),
        ([IMAGE | {"hw_rng_model": None}], "other properties or tags"),
        ([IMAGE | {"visibility": "public"}], "other properties or tags"),
        ([IMAGE, IMAGE | {"id": "2", "hash_value": "old"}], "another image has the name"),
    ],
)
def test_an_image_that_differs_is_named(found: list[dict[str, Any]], named: str) -> None:
    assert named in image(*found)


@pytest.mark.parametrize(
    ("checksum", "wanted"),
    [
        ("sha256:" + "a" * 64, "sha256:" + "a" * 64),
        ("https://mirror.example/CHECKSUM", "sha256:https://mirror.example/CHECKSUM"),
        ("https://mirror.example/SHA512SUMS", "sha512:https://mirror.example/SHA512SUMS"),
    ],
)
def test_a_list_of_checksums_is_named_with_its_algorithm(checksum: str, wanted: str) -> None:
    assert evaluate("glance_image", "__glance_image_checksum", glance_image_checksum=checksum) == wanted


def test_each_template_of_the_cloud_renders_with_what_the_role_gives(tmp_path: Path) -> None:
    for name in ("admin", "database", "messaging", "metadata", "service"):
        (tmp_path / "secrets").mkdir(exist_ok=True)
        (tmp_path / "secrets" / f"{name}_password").write_text(f"the-{name}-password\n")
    values: dict[str, Any] = {
        "openstack_allinone_state_dir": str(tmp_path),
        "__openstack_allinone_host": {"virtualization": "qemu"},
    }
    templates = evaluate("openstack_allinone", "__openstack_allinone_templates", **values)
    assert len(templates) == 39
    rendered = {
        item["path"]: evaluate("openstack_allinone", f"lookup('ansible.builtin.template', '{item['src']}')", **values)
        for item in templates
    }
    assert not [path for path, text in rendered.items() if "{{" in text or "@@" in text]
    assert "the-database-password" in rendered["rootfs/etc/nova/nova.conf.j2"]
    secret = [item for item in templates if "-password" in rendered[item["path"]]]
    assert all(evaluate("openstack_allinone", "__openstack_allinone_is_secret", item=item, **values) for item in secret)


def test_the_fingerprint_of_secrets_follows_them_and_hides_them(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    names = ("admin", "database", "messaging", "metadata", "service")
    prints = set()
    for value in ("one", "two"):
        for name in names:
            (tmp_path / "secrets" / f"{name}_password").write_text(f"{name}-{value}\n")
        prints.add(
            evaluate(
                "openstack_allinone", "__openstack_allinone_fingerprint", openstack_allinone_state_dir=str(tmp_path)
            )
        )
    assert len(prints) == 2
    assert all(len(value) == 16 and "one" not in value for value in prints)
