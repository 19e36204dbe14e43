"""What a machine lacks is said at once, one sentence with its remedy for each thing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.support.role_variables import evaluate

FACTS: dict[str, Any] = {
    "all_ipv4_addresses": ["10.0.0.5", "172.17.0.1"],
    "default_ipv4": {"address": "10.0.0.5"},
    "distribution": "Debian",
    "distribution_major_version": "12",
    "distribution_release": "bookworm",
    "memtotal_mb": 24000,
    "service_mgr": "systemd",
    "user_id": "root",
}


def controller(disk: int = 50000, **facts: Any) -> list[str]:
    found: list[str] = evaluate(
        "control_node",
        "__control_node_problems",
        ansible_facts=FACTS | facts,
        __control_node_disk=disk,
        __control_node_machine={"stdout": "[]"},
    )
    return found


def test_a_good_controller_has_no_problem() -> None:
    assert controller() == []


def test_everything_that_a_controller_lacks_is_reported_together() -> None:
    found = controller(900, distribution="Fedora", distribution_major_version="42", user_id="ann", memtotal_mb=4000)
    assert len(found) == 4
    assert "Fedora 42" in found[0]
    assert "sudo make up" in found[1]
    assert "4000 MB of memory" in found[2]
    assert "900 MB of disk" in found[3]


def test_an_engine_that_is_there_is_kept() -> None:
    """docker-ce and docker.io exclude one another."""
    packages = ["docker.io", "skopeo"]

    def installed(program: str) -> Any:
        return evaluate(
            "control_node",
            "__control_node_packages",
            control_node_packages=packages,
            __control_node_engine_programs=[program],
        )

    assert installed("/bin/sh") == ["skopeo"]
    assert sorted(installed("/nonexistent")) == packages


def cloud(
    routes: list[dict[str, str]], disk: int = 50000, network: bool = True, guest_cpu: str = "x86-64", **facts: Any
) -> list[str]:
    found: list[str] = evaluate(
        "openstack_allinone",
        "__openstack_allinone_problems | reject('search', '/dev/net/tun|br_netfilter')",  # of the test's own machine
        ansible_facts=FACTS | facts,
        __openstack_allinone_routes={"stdout": json.dumps(routes)},
        __openstack_allinone_disk={"stdout_lines": ["Avail", f" {disk}"]},
        __openstack_allinone_network={"exists": network},
        openstack_allinone_guest_cpu=guest_cpu,
        __openstack_allinone_host={"virtualization": "qemu", "cpu": "x86-64-v4"},
    )
    return found


def test_the_clouds_own_route_and_the_default_are_no_clash() -> None:
    own = {"dst": "172.24.4.0/24", "gateway": "172.30.0.20"}
    assert cloud([{"dst": "default", "gateway": "10.0.0.1"}, own]) == []


def test_the_same_network_through_somebody_else_is_a_clash() -> None:
    (found,) = cloud([{"dst": "172.24.4.0/24", "gateway": "10.8.0.1"}])
    assert "overlaps the route 172.24.4.0/24 via 10.8.0.1" in found
    assert "`ip route del 172.24.4.0/24 via 10.8.0.1`" in found


def test_everything_that_a_machine_lacks_for_the_cloud_is_reported_with_its_remedy() -> None:
    found = cloud([{"dst": "172.16.0.0/12", "dev": "vpn0"}], disk=700, network=False, memtotal_mb=2000)
    assert len(found) == 4
    assert "2000 MB of memory, 8000 MB are needed: use a larger one" in found[1]
    assert "700 MB of disk left, 10000 MB are needed: `docker image prune`" in found[2]
    assert "smart-classroom does not exist" in found[3]


def devstack(expression: str = "__devstack_problems", **values: Any) -> Any:
    known: dict[str, Any] = {
        "ansible_facts": FACTS,
        "hostvars": {"h": {}},
        "inventory_hostname": "h",
        "__devstack_routes": {"stdout": json.dumps([{"dst": "default", "dev": "eth0"}])},
        "__devstack_disk": {"stdout_lines": ["Avail", " 90000"]},
        "__devstack_unit": {"stdout": "inactive"},
        "__devstack_stamp": {"msg": "file not found"},
        "__devstack_git": {"results": []},
        "__devstack_host": {"virtualization": "qemu", "cpu": "x86-64-v4"},
        "__devstack_git_knocked": {"skipped": True},
    }
    known |= {f"devstack_{name}_password": "a1" for name in ("admin", "database", "rabbit", "service")}
    return evaluate("devstack", expression, **(known | values))


def test_debian_12_under_systemd_is_accepted_and_nothing_else() -> None:
    assert devstack() == []
    # stack.sh writes /etc/devstack-version, from which the facts take 2026.1 for Debian's version.
    assert devstack(ansible_facts=FACTS | {"distribution_major_version": "2026"}) == []
    other = FACTS | {"distribution": "Ubuntu", "distribution_release": "noble", "service_mgr": "openrc"}
    found = devstack(ansible_facts=other)
    assert len(found) == 2
    assert "Ubuntu noble" in found[0]
    assert "systemd" in found[1]


@pytest.mark.parametrize(
    ("virtualization", "cpu", "image", "refused"),
    [
        ("kvm", "x86-64-v4", "x86-64-v3", False),
        ("kvm", "x86-64-v2", "x86-64-v3", True),
        # Emulated, the host's own processor does not count.
        ("qemu", "x86-64-v4", "x86-64-v3", True),
        ("qemu", "x86-64-v4", "x86-64-v2", False),
    ],
)
def test_an_image_that_needs_more_than_guests_get_is_refused_before_anything_is_made(
    virtualization: str, cpu: str, image: str, refused: bool
) -> None:
    found = devstack(
        __devstack_host={"virtualization": virtualization, "cpu": cpu},
        devstack_guest_cpu=image,
    )
    assert len(found) == refused
    if refused:
        assert (
            f"the image of the servers needs a processor of the level {image}, and guests get x86-64-v2 here"
            in found[0]
        )
        assert "choose a smart_classroom_image whose cpu is lower, debian-13 for one" in found[0]
        assert ("or a host with KVM" in found[0]) is (virtualization == "qemu")


@pytest.mark.parametrize(("virtualization", "mode"), [("kvm", "host-passthrough"), ("qemu", "custom")])
def test_local_conf_says_which_processor_guests_get(virtualization: str, mode: str) -> None:
    text = devstack("__devstack_local_conf", __devstack_host={"virtualization": virtualization, "cpu": "x86-64-v3"})
    assert f"\nLIBVIRT_TYPE={virtualization}\nLIBVIRT_CPU_MODE={mode}\n" in text
    assert ("LIBVIRT_CPU_MODEL=Nehalem\n" in text) is (virtualization == "qemu")


def test_the_local_cloud_refuses_an_image_for_a_processor_that_it_does_not_emulate() -> None:
    assert cloud([], guest_cpu="x86-64") == []
    (found,) = cloud([], guest_cpu="x86-64-v2")
    assert "needs a processor of the level x86-64-v2, and guests get x86-64 here" in found


def test_addresses_that_cannot_work_are_refused() -> None:
    assert "set devstack_host_address" in devstack(ansible_facts=FACTS | {"default_ipv4": {}})[0]
    assert (
        "203.0.113.5 is none of the host's (10.0.0.5, 172.17.0.1)" in devstack(devstack_host_address="203.0.113.5")[0]
    )
    overlap = devstack(__devstack_routes={"stdout": json.dumps([{"dst": "172.24.0.0/16", "dev": "eth1"}])})
    assert "overlaps the host's route to 172.24.0.0/16 dev eth1: choose another" in overlap[0]
    own = {"dst": "172.24.4.0/24", "dev": "br-ex"}
    assert devstack(__devstack_routes={"stdout": json.dumps([own])}) == []
    several = {
        "dst": "default",
        "nexthops": [{"gateway": "10.0.0.1", "dev": "eth0"}, {"gateway": "10.0.1.1", "dev": "eth1"}],
    }
    assert devstack(__devstack_routes={"stdout": json.dumps([several])}) == []
    nowhere = {"type": "blackhole", "dst": "172.24.4.0/26"}
    (found,) = devstack(__devstack_routes={"stdout": json.dumps([nowhere])})
    assert "overlaps the host's route to 172.24.4.0/26 blackhole: choose another" in found


def test_what_a_fresh_host_needs_is_not_asked_of_one_that_has_it() -> None:
    little: dict[str, Any] = {
        "ansible_facts": FACTS | {"memtotal_mb": 900},
        "__devstack_disk": {"stdout_lines": ["Avail", " 20"]},
    }
    assert len(devstack(**little)) == 2
    assert devstack(**little, __devstack_unit={"stdout": "active"}) == []
    stamp = {"content": base64.b64encode(json.dumps({"conf": "abc"}).encode()).decode()}
    assert devstack(**little, __devstack_stamp=stamp) == []
    assert devstack("__devstack_conf", __devstack_stamp=stamp) == "abc"


@pytest.mark.parametrize(
    ("paths", "half"),
    [
        ([], False),
        (["", "/.git/index", "/stack.sh"], False),
        (["", "/stack.sh"], True),
        (["", "/.git/index"], True),
        (["", "/.git/index", "/stack.sh", "/.git/shallow.lock"], True),
    ],
)
def test_a_clone_that_was_cut_off_is_told_from_a_whole_one(paths: list[str], half: bool) -> None:
    files = [{"path": f"/opt/stack/devstack{path}"} for path in paths]
    assert devstack("__devstack_half_clone", __devstack_clone={"files": files}) is half


def answer(status: int, content: str = "", name: str = "nova", msg: str = "") -> dict[str, Any]:
    url = f"https://opendev.org/openstack/{name}.git/info/refs"
    return {"status": status, "content": content, "item": name, "msg": msg, "url": url}


def test_a_missing_branch_and_a_missing_repository_are_both_reported() -> None:
    good = answer(200, "0123 refs/heads/stable/2026.1\n")
    assert devstack(__devstack_git={"results": [good]}) == []
    found = devstack(
        __devstack_git={"results": [good, answer(200, "refs/heads/main", "glance"), answer(404, name="neutron")]}
    )
    assert len(found) == 2
    assert "glance.git" in found[0]
    assert "has no branch stable/2026.1" in found[0]
    assert "neutron.git" in found[1]
    assert "HTTP 404" in found[1]


def test_a_server_of_gits_own_protocol_is_asked_for_the_branch_of_each_repository() -> None:
    def listed(rc: int, name: str, *stderr: str) -> dict[str, Any]:
        return {"rc": rc, "item": name, "stderr_lines": stderr}

    base: dict[str, Any] = {"devstack_git_base": "git://mirror", "__devstack_git_knocked": {"state": "started"}}
    assert devstack(**base) == []
    assert devstack(**base, __devstack_git_listed={"results": [listed(0, "nova")]}) == []
    answers = [
        listed(0, "nova"),
        listed(2, "glance"),
        listed(128, "neutron", "fatal: remote error: access denied or repository not exported", "more"),
        listed(124, "horizon"),
    ]
    found = devstack(**base, __devstack_git_listed={"results": answers})
    assert found == [
        "git://mirror/openstack/glance.git has no branch stable/2026.1: set devstack_branch to one that it has "
        "(git ls-remote git://mirror/openstack/glance.git)",
        "git://mirror/openstack/neutron.git cannot be fetched (fatal: remote error: access denied or repository not "
        "exported): mirror it, or set devstack_git_base",
        "git://mirror/openstack/horizon.git cannot be fetched (no answer within 20 s): mirror it, or set "
        "devstack_git_base",
    ]


def test_a_git_server_that_is_not_there_is_reported_once() -> None:
    gone = [answer(-1, msg="Connection refused", name=name) for name in ("nova", "glance")]
    (found,) = devstack(__devstack_git={"results": gone})
    assert "cannot be reached from the host (Connection refused)" in found
    (found,) = devstack(
        devstack_git_base="git://127.0.0.1:9", __devstack_git_knocked={"failed": True, "msg": "Timeout when waiting"}
    )
    assert "git://127.0.0.1:9) cannot be reached from the host" in found
    (found,) = devstack(devstack_git_base="ftp://mirror")
    assert "must begin with https://" in found


def poller(lines: list[str]) -> list[str]:
    found: list[str] = evaluate("poller", "__poller_problems", __poller_looked={"stdout_lines": lines})
    return found


def test_a_machine_that_can_run_the_poller_has_no_problem() -> None:
    assert poller(["python 3 11 cpython-311", "systemd"]) == []
    assert poller(["python 3 13 cpython-313", "systemd\r"]) == []


def test_everything_that_keeps_the_poller_from_running_is_said_at_once() -> None:
    found = poller(["python 3 9 cpython-39", "queues at 192.0.2.1:80 cannot be reached from this machine (timed out)"])
    assert len(found) == 3
    assert "3.11 is the oldest that works" in found[0]
    assert "systemd does not run here" in found[1]
    assert found[2].startswith("the queues at 192.0.2.1:80 cannot be reached from this machine (timed out); is AWS")
