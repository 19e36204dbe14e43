"""What an environment holds on this machine is seen, whoever made it, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.smart_classroom.platform.plugins.filter.control_node import cached_images, held_on_machine
from tests.support.role_variables import evaluate

NOTHING: dict[str, Any] = {"docker": [], "routes": "", "mounts": [], "processes": [], "working": []}


def test_a_machine_without_the_environment_holds_nothing(tmp_path: Path) -> None:
    assert held_on_machine(NOTHING, str(tmp_path / "absent"), "absent0") == []
    # An engine that does not answer, and one that has nothing.
    silent = [{"failed": True, "msg": "no engine"}, {"containers": None, "networks": []}]
    assert held_on_machine(NOTHING | {"docker": silent}, str(tmp_path / "absent"), "absent0") == []


def test_everything_is_named_once(tmp_path: Path) -> None:
    labelled = {
        "containers": [{"Names": ["/cloud"]}],
        "networks": [{"Name": "classroom"}],
        "volumes": [{"Name": "data"}],
    }
    in_the_network = {"containers": [{"Names": ["/lambda", "/cloud"]}], "networks": [{"Name": "classroom"}]}
    beside = tmp_path.with_name(f"{tmp_path.name}-other")
    answers = {
        "docker": [labelled, in_the_network],
        "routes": '[{"dst": "172.24.4.0/24", "gateway": "172.30.0.20"}]',
        "mounts": ["/", str(tmp_path), f"{tmp_path}/cloud", str(beside)],
        "processes": ["71 qemu"],
        "working": ["72/cwd"],
    }
    assert held_on_machine(answers, str(tmp_path), "lo") == [
        "container cloud",
        "container lambda",
        "network classroom",
        "volume data",
        "route 172.24.4.0/24",
        "interface lo",
        f"mount {tmp_path}",
        f"mount {tmp_path}/cloud",
        "process 71 qemu",
        "process 72 works there",
        f"directory {tmp_path}",
    ]


def test_the_role_gives_it_what_it_has_read(tmp_path: Path) -> None:
    read: dict[str, Any] = {
        "control_node_state_dir": str(tmp_path),
        "control_node_network_bridge": "absent0",
        "__control_node_docker": {
            "containers": [],
            "networks": [],
            "volumes": [{"Name": "data"}],
            "images": [{"RepoTags": ["smart-classroom/b:2", "smart-classroom/a:1"], "Size": 1_900_000}],
        },
        "__control_node_docker_network": {"failed": True},
        "__control_node_routes": {"stdout": ""},
        "__control_node_mounts": {"stdout_lines": ["/"]},
        "__control_node_processes": {"stdout_lines": []},
        "__control_node_working": {"stdout_lines": []},
    }
    assert evaluate("control_node", "__control_node_held", **read) == ["volume data", f"directory {tmp_path}"]
    images = ["smart-classroom/a:1 (1 MB)", "smart-classroom/b:2 (1 MB)"]
    assert evaluate("control_node", "__control_node_cached_images", **read) == images
    assert cached_images([{"RepoTags": None, "Size": 1}]) == []
