"""Through the emulator's door to the container engine goes what a function needs, and nothing else."""

from __future__ import annotations

import json
import runpy
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import docker
import pytest

ROOT = Path(__file__).resolve().parents[2]
door = runpy.run_path(str(ROOT / "roles/aws_emulator/files/engine_door.py"))
RULES = door["Rules"]("smart-classroom-aws:4566", "smart-classroom", "127.0.0.1:4566/")
IMAGE = f"127.0.0.1:4566/smart-classroom@sha256:{'ab' * 32}"
OWN, OTHER = "a" * 64, "b" * 64
LABELS = {"ministack": "lambda", "ministack.instance": RULES.instance, "ministack.boot": "x"}


@dataclass
class Engine:
    """Stands in for the container engine: answers anything, and keeps what it was asked."""

    asked: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on ``engine.sock`` and the door to it on ``door.sock``."""
    kept = Engine()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            kept.asked.append((self.command, self.path, body))
            labels = LABELS if OWN in self.path else {"smart-classroom.environment": "local"}
            answer = {"Id": OWN, "ApiVersion": "1.41", "Config": {"Labels": labels, "Tty": True}, "State": {}}
            text = json.dumps([] if "/containers/json" in self.path else answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815 as the base class calls them

        def address_string(self) -> str:
            return ""

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Not wanted."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    servers = [
        Server(str(tmp_path / "engine.sock"), Handler),
        door["serve"](str(tmp_path / "door.sock"), str(tmp_path / "engine.sock"), RULES),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield kept
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> docker.DockerClient:
    """The library that the emulator uses, at the door."""
    return docker.DockerClient(base_url=f"unix://{tmp_path / 'door.sock'}", version="1.41")


def asked_raw(directory: Path, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
    """The status of a request that no library has made tidy."""
    connection = door["EngineConnection"](str(directory / "door.sock"))
    connection.request(method, path, body, headers or {})
    status: int = connection.getresponse().status
    connection.close()
    return status


def test_a_function_is_made_started_asked_and_removed(client: docker.DockerClient, engine: Engine) -> None:
    """As the emulator does it."""
    client.ping()
    client.images.get(IMAGE)
    client.images.pull(IMAGE)
    container = client.containers.run(
        image=IMAGE, environment={"A": "b"}, detach=True, stdin_open=False, labels=LABELS, network=RULES.network
    )
    container.reload()
    container.logs(stdout=True, stderr=True, tail=5)
    client.containers.list(all=True, sparse=True, filters={"label": [f"ministack.instance={RULES.instance}"]})
    container.stop(timeout=2)
    container.remove(force=True, v=True)
    (made,) = [body for _, path, body in engine.asked if "/containers/create" in path]
    assert made == {
        "Image": IMAGE,
        "Env": ["A=b"],
        "Labels": LABELS,
        "HostConfig": {
            "NetworkMode": "smart-classroom",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 512,
        },
    }
    assert [method for method, path, _ in engine.asked if path.endswith("/start")] == ["POST"]


ESCAPES: list[dict[str, Any]] = [
    {"volumes": ["/:/host"]},
    {"volumes": {"/": {"bind": "/host", "mode": "rw"}}},
    {"mounts": [docker.types.Mount("/host", "/", type="bind")]},
    {"mounts": [docker.types.Mount("/host", "disk", type="volume")]},
    {"volumes_from": ["smart-classroom-cloud"]},
    {"privileged": True},
    {"cap_add": ["SYS_ADMIN"]},
    {"devices": ["/dev/sda:/dev/sda"]},
    {"device_cgroup_rules": ["a *:* rwm"]},
    {"security_opt": ["seccomp=unconfined"]},
    {"pid_mode": "host"},
    {"ipc_mode": "host"},
    {"userns_mode": "host"},
    {"uts_mode": "host"},
    {"cgroup_parent": "/"},
    {"network_mode": "host", "network": None},
    {"network": "bridge"},
    {"network": "container:smart-classroom-engine-door"},
    {"ports": {"8080/tcp": 80}},
    {"extra_hosts": {"a": "host-gateway"}},
    {"sysctls": {"net.ipv4.ip_forward": "1"}},
    {"tmpfs": {"/x": ""}},
    {"runtime": "other"},
    {"restart_policy": {"Name": "always"}},
    {"user": "0"},
    {"labels": {"ministack.instance": "somebody:1"}},
    {"labels": LABELS | {"smart-classroom.environment": "local"}},
    {"image": "debian"},
    {"image": "127.0.0.1:4566/smart-classroom:latest"},
    {"image": f"127.0.0.1:4566/../debian@sha256:{'ab' * 32}"},
    {"image": f"evil.example/127.0.0.1:4566/smart-classroom@sha256:{'ab' * 32}"},
]


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: "-".join(escape) if isinstance(escape, dict) else None)
def test_nothing_else_is_made(client: docker.DockerClient, engine: Engine, escape: dict[str, Any]) -> None:
    wanted = {"image": IMAGE, "labels": LABELS, "network": RULES.network} | escape
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.create(**{name: value for name, value in wanted.items() if value is not None})
    assert refused.value.status_code == 403
    assert "refuses" in str(refused.value.explanation)
    assert not [path for _, path, _ in engine.asked if "create" in path]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.41/build?remote=http://x"),
        ("POST", "/build"),
        ("POST", f"/v1.41/containers/{OWN}/exec"),
        ("POST", "/v1.41/exec/1/start"),
        ("PUT", f"/v1.41/containers/{OWN}/archive?path=/"),
        ("GET", f"/v1.41/containers/{OWN}/archive?path=/"),
        ("POST", f"/v1.41/containers/{OWN}/update"),
        ("POST", f"/v1.41/containers/{OWN}/rename?name=x"),
        ("POST", f"/v1.41/containers/{OWN}/attach"),
        ("GET", f"/v1.41/containers/{OTHER}/json"),
        ("GET", f"/v1.41/containers/{OTHER}/logs?stdout=1"),
        ("POST", f"/v1.41/containers/{OTHER}/stop"),
        ("DELETE", f"/v1.41/containers/{OTHER}?force=1"),
        ("DELETE", "/v1.41/containers/smart-classroom-cloud"),
        ("POST", "/v1.41/containers/create?name=smart-classroom-cloud"),
        ("POST", "/v1.41/images/create?fromImage=debian&tag=12"),
        ("POST", "/v1.41/images/create?fromSrc=http://x"),
        ("POST", "/v1.41/images/load"),
        ("GET", "/v1.41/images/json"),
        ("GET", "/v1.41/images/debian/json"),
        ("DELETE", f"/v1.41/images/{IMAGE}"),
        ("POST", "/v1.41/volumes/create"),
        ("POST", "/v1.41/networks/create"),
        ("POST", "/v1.41/networks/smart-classroom/connect"),
        ("GET", "/v1.41/info"),
        ("GET", "/v1.41/events"),
        ("POST", "/v1.41/swarm/init"),
        ("POST", "/v1.41/plugins/pull"),
        ("GET", "/v1.41/_ping/../containers/json"),
        ("GET", f"/v1.41/containers/{OWN}/../{OTHER}/json"),
        ("POST", "/session"),
    ],
)
def test_no_other_question_reaches_the_engine(tmp_path: Path, engine: Engine, method: str, path: str) -> None:
    assert asked_raw(tmp_path, method, path, b"{}" if method != "GET" else None) == 403
    # Whose container it is, is asked; nothing more.
    assert all(asked == ("GET", f"/v1.41/containers/{OTHER}/json", None) for asked in engine.asked)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"HostConfig": 3}', b'{"HostConfig": {"Binds": ["/:/x"]}, "HostConfig": {}}']
)
def test_a_body_that_is_no_container_is_refused(body: bytes) -> None:
    with pytest.raises(door["RefusedError"]):
        door["judged"]("POST", "/v1.41/containers/create", body, RULES)


def test_streams_and_long_bodies_are_refused(tmp_path: Path, engine: Engine) -> None:
    path = "/v1.41/containers/create"
    assert asked_raw(tmp_path, "POST", path, iter([b"{}"])) == 403
    assert asked_raw(tmp_path, "POST", path, b"", {"Content-Length": "2000000000"}) == 403
    assert asked_raw(tmp_path, "POST", path, b"", {"Content-Length": "-1"}) == 403
    assert engine.asked == []
