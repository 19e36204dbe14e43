"""A door to the container engine that lets through what the emulator's Lambda needs, and nothing else.

The emulator's API asks nobody for a password and is reached from the virtual machine. With the engine's own socket
behind it, whoever owns the machine could have a container made with the host's disk in it. This program has the
engine's socket, in a container of its own without a network, and gives the emulator another one: requests are taken
apart and written anew from what is listed here, so a field or path that is not listed does not reach the engine.

Usage: engine_door.py LISTEN ENGINE SETTINGS, two paths of sockets and the JSON of `Rules`.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import socketserver
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

LONGEST_BODY = 1 << 20
ENGINE_SECONDS = 300  # a first pull of the function's image
INSTANCE_LABEL = "ministack.instance"

_VERSION = r"(?P<version>/v1\.[0-9]{1,2})?"
_CONTAINER = r"/containers/(?P<container>[0-9a-f]{12,64})"
# Method, path, parameters that pass. With a container in the path, it must be one of the emulator's own.
ALLOWED: tuple[tuple[str, re.Pattern[str], frozenset[str]], ...] = tuple(
    (method, re.compile(_VERSION + path), frozenset(parameters.split()))
    for method, path, parameters in (
        ("GET", r"/_ping", ""),
        ("GET", r"/version", ""),
        ("GET", r"/containers/json", "all limit size filters since before trunc_cmd"),
        ("GET", r"/images/(?P<image>[^?]+)/json", ""),
        ("POST", r"/images/create", "fromImage tag platform"),
        ("POST", r"/containers/create", "platform"),
        ("GET", _CONTAINER + r"/json", ""),
        ("GET", _CONTAINER + r"/logs", "stdout stderr since until timestamps tail follow"),
        ("POST", _CONTAINER + r"/start", ""),
        ("POST", _CONTAINER + r"/stop", "t"),
        ("POST", _CONTAINER + r"/kill", "signal"),
        ("POST", _CONTAINER + r"/wait", "condition"),
        ("DELETE", _CONTAINER, "force v link"),
    )
)
# Of a container to be made. Everything else must be empty.
_FIELDS = frozenset({"Image", "Env", "Cmd", "Entrypoint", "WorkingDir", "Labels", "HostConfig", "NetworkingConfig"})
_STREAMS = frozenset({"AttachStdout", "AttachStderr"})
_HOST_FIELDS = frozenset({"NetworkMode", "Memory", "MemorySwap"})


class RefusedError(Exception):
    """A request that does not pass; the text says why."""


@dataclass(frozen=True)
class Rules:
    """What is the emulator's own: its instance's label, its network, and where images of the function begin."""

    instance: str
    network: str
    images: str


@dataclass(frozen=True)
class Request:
    """A request as it is written to the engine. ``container`` is the one whose owner has to be asked first."""

    method: str
    target: str
    body: bytes
    container: str | None
    version: str


def judged(method: str, target: str, body: bytes, rules: Rules) -> Request:
    """The request that reaches the engine for the one that came.

    Raises:
        RefusedError: it is none of those that the emulator's Lambda needs.
    """
    path, _, query = target.partition("?")
    for wanted, pattern, parameters in ALLOWED:
        match = pattern.fullmatch(path) if wanted == method else None
        if match is None:
            continue
        named = match.groupdict()
        given = parse_qs(query, keep_blank_values=True)
        for name in given:
            if name not in parameters:
                raise RefusedError(f"the parameter {name} of {method} {path}")
        if named.get("image"):
            _require_own_image(unquote(named["image"]), rules)
            path = f"{named['version'] or ''}/images/{quote(unquote(named['image']), safe='@:/')}/json"
        if path.endswith("/images/create"):
            _require_own_image(_reference(given), rules)
        passed = b""
        if path.endswith("/containers/create"):
            passed = json.dumps(container_of(body, rules)).encode()
        asked = urlencode([(name, values[-1]) for name, values in given.items()])
        return Request(
            method, f"{path}?{asked}" if asked else path, passed, named.get("container"), named["version"] or ""
        )
    raise RefusedError(f"{method} {path}")


def _reference(given: Mapping[str, list[str]]) -> str:
    """The image that a pull names in two parameters."""
    image, tag = given.get("fromImage", [""])[-1], given.get("tag", [""])[-1]
    return image + (("@" if tag.startswith("sha256:") else ":") + tag if tag else "")


def _require_own_image(image: str, rules: Rules) -> None:
    if not re.fullmatch(re.escape(rules.images) + r"[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}", image) or ".." in image:
        raise RefusedError(f"the image {image!r}, which is no digest of {rules.images}")


def container_of(body: bytes, rules: Rules) -> dict[str, Any]:
    """The container that may be made of what was asked for.

    Raises:
        RefusedError: it asks for a mount, a right, a network or an image that a function does not need.
    """
    try:
        asked = json.loads(body)
        host, labels = dict(asked.get("HostConfig") or {}), dict(asked.get("Labels") or {})
        networking = dict((asked.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
    except (ValueError, TypeError, AttributeError):
        raise RefusedError("a container that is not described in JSON") from None
    for name, value in asked.items():
        if value and name not in _FIELDS and name not in _STREAMS:
            raise RefusedError(f"a container with {name}")
    for name, value in host.items():
        if value and name not in _HOST_FIELDS and not (name == "LogConfig" and value == {"Type": "", "Config": {}}):
            raise RefusedError(f"a container with HostConfig.{name}")
    _require_own_image(str(asked.get("Image")), rules)
    if host.get("NetworkMode") != rules.network:
        raise RefusedError(f"a container in the network {host.get('NetworkMode')!r}")
    if set(networking) - {rules.network} or any(networking.values()):
        raise RefusedError("a container with settings of its network")
    if labels.get(INSTANCE_LABEL) != rules.instance or any(not name.startswith("ministack") for name in labels):
        raise RefusedError("a container with labels of somebody else")
    made: dict[str, Any] = {
        name: asked[name] for name in _FIELDS - {"HostConfig", "NetworkingConfig"} if asked.get(name)
    }
    limits = {name: host[name] for name in _HOST_FIELDS if isinstance(host.get(name), int | str) and host[name]}
    rights = {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "PidsLimit": 512}
    return {**made, "HostConfig": {**limits, **rights}}


class EngineConnection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ENGINE_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def is_own(engine: str, request: Request, rules: Rules) -> bool:
    """Whether the engine says that the container of the request is the emulator's."""
    connection = EngineConnection(engine)
    try:
        connection.request("GET", f"{request.version}/containers/{request.container}/json")
        answer = connection.getresponse()
        if answer.status == http.client.NOT_FOUND:
            return True  # the engine says so once more, to the emulator
        found = json.loads(answer.read())
        return bool(found["Config"]["Labels"].get(INSTANCE_LABEL) == rules.instance)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    finally:
        connection.close()


class Door(BaseHTTPRequestHandler):
    """One connection of the emulator."""

    protocol_version = "HTTP/1.1"
    engine = ""
    rules = Rules("", "", "")

    def do_any(self) -> None:
        """Judge the request, and pass the engine's answer on."""
        self.close_connection = True
        try:
            request = self._judged()
        except RefusedError as refused:
            sys.stderr.write(f"refused: {refused}\n")
            text = json.dumps({"message": f"the engine's door refuses {refused}"}).encode()
            self.send_response(http.client.FORBIDDEN)
            self._end_headers("application/json", len(text))
            self.wfile.write(text)
            return
        connection = EngineConnection(self.engine)
        try:
            headers = {"Content-Type": "application/json"} if request.body else {}
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            length = answer.getheader("Content-Length")
            self._end_headers(answer.getheader("Content-Type") or "application/json", int(length) if length else None)
            while part := answer.read1(65536):
                self.wfile.write(part)
                self.wfile.flush()
        except OSError as error:
            sys.stderr.write(f"the engine does not answer {request.method} {request.target}: {error}\n")
        finally:
            connection.close()

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = do_PATCH = do_OPTIONS = do_any  # noqa: N815 as the base class calls them

    def _judged(self) -> Request:
        if self.headers.get("Transfer-Encoding") or self.headers.get("Upgrade"):
            raise RefusedError("a request that is a stream")
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > LONGEST_BODY:
            raise RefusedError(f"a request of {length} bytes")
        request = judged(self.command, self.path, self.rfile.read(int(length)), self.rules)
        if request.container and not is_own(self.engine, request, self.rules):
            raise RefusedError(f"the container {request.container[:12]}, which is somebody else's")
        return request

    def _end_headers(self, kind: str, length: int | None) -> None:
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def address_string(self) -> str:
        """A socket has no address."""
        return "emulator"

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Only what is refused is written down."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread for each connection."""

    daemon_threads = True


def serve(listen: str, engine: str, rules: Rules) -> Server:
    """The server on the socket ``listen``, which replaces the one of an earlier run."""
    Path(listen).unlink(missing_ok=True)
    return Server(listen, type("OwnDoor", (Door,), {"engine": engine, "rules": rules}))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Rules(**json.loads(sys.argv[3]))).serve_forever()
