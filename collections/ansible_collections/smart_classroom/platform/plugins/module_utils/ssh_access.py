"""SSH to machines whose host keys a cloud's API has shown: reading them, writing the files, logging in."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from pathlib import Path

KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"\b(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})")
LOGIN_TIMEOUT_SECONDS = 60
KEPT_SECONDS = 60  # as long as Ansible keeps its own connections


def is_key(kind: str, encoded: str) -> bool:
    """Whether ``encoded`` is a public key of that kind; a line of a console may be cut or mixed with another."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    return blob[4 : 4 + len(kind)] == kind.encode() and blob[:4] == len(kind).to_bytes(4, "big") and len(blob) > 48


def public_keys(text: str) -> list[str]:
    """Every complete public key in a text, as ``<kind> <base64>``."""
    return sorted({f"{kind} {encoded}" for kind, encoded in KEY.findall(text) if is_key(kind, encoded)})


def console_keys(console: str) -> list[str]:
    """Host keys, ``<kind> <base64>``, from the last complete block in a console log; [] without one."""
    blocks = KEYS.findall(console)
    return public_keys(blocks[-1]) if blocks else []


def known_hosts_lines(name: str, server_id: str, keys: list[str]) -> list[str]:
    """Lines of a known_hosts file. The server's id as comment says whose keys these are."""
    return [f"{name} {key} {server_id}" for key in keys]


def host_block(
    name: str, address: str, user: str, identity: Path, known_hosts: Path, port: int = 22, proxy_jump: str = ""
) -> str:
    """The part of an ssh_config(5) for one host, which is known by its own name whatever its address."""
    lines = [
        f"Host {name}",
        f"  HostName {address}",
        *([f"  Port {port}"] if port != 22 else []),
        f"  HostKeyAlias {name}",
        f"  User {user}",
        f'  IdentityFile "{identity}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{known_hosts}"',
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  CheckHostIP no",
        "  PasswordAuthentication no",
        "  ConnectTimeout 10",
        "  ServerAliveInterval 15",
        "  ServerAliveCountMax 4",
        *([f"  ProxyJump {proxy_jump}"] if proxy_jump else []),
    ]
    return "\n".join(lines)


def write(path: Path, text: str, check_mode: bool) -> bool:
    """Write a file that only its owner reads, at once; says whether that changes it."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    if not check_mode:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return True


def login(config: Path, name: str, control_path: str = "") -> str | None:
    """Log in once, over a connection of its own; None when it worked, else what ssh said.

    ``control_path`` is where the connection is kept for those that follow, and one that was kept there is given up.
    """
    command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    if control_path:
        Path(control_path).expanduser().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command += ["-o", f"ControlPath={control_path}"]
    try:
        if control_path:
            _run([*command, "-O", "stop", name])
            command += ["-o", "ControlMaster=auto", "-o", f"ControlPersist={KEPT_SECONDS}"]
        done = _run([*command, name, "true"])
    except subprocess.TimeoutExpired:
        return f"no answer within {LOGIN_TIMEOUT_SECONDS} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"ssh ended with {done.returncode}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LOGIN_TIMEOUT_SECONDS
    )
