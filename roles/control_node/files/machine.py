"""What this machine lacks, or has that stands in the way: a sentence with its remedy for each; nothing is changed.

Usage: machine.py CHECKOUT, and the JSON of what is wanted on standard input (`problems`); prints a list in JSON.
Without anything on standard input, as ``bin/setup`` runs it before it installs anything, it looks at the checkout and
at apt, and fails when something stands in the way. Standard library only.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MB = 1024 * 1024
_SECONDS = 15
_LISTENING = "0A"
# 127.0.0.1, every address, and the same of IPv6, as /proc/net/tcp writes them.
_LOOPBACK = {"0100007F", "0" * 8, "0" * 32, "0" * 24 + "01000000", "0000000000000000FFFF00000100007F"}
# Where a free range is looked for, in this order.
_POOLS = ("172.16.0.0/12", "10.64.0.0/10", "192.168.0.0/16")
# What runs on this machine: a script with another end of line is no program.
_SCRIPTS = ("bin/*", "tools/closed/bash", "roles/*/files/*")
_APT_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")


def asked(*argv: str) -> str:
    """What a program says; nothing when it is missing, fails or does not answer."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


# -- the checkout ------------------------------------------------------------------------------------------------------


def of_the_checkout(root: Path) -> list[str]:
    """A path that programs cannot take, rights that Ansible refuses, ends of line, git's doubt about the owner."""
    found = []
    if re.search(r"\s", str(root)):
        found.append(f"the path of the checkout has a blank in it ({root}), and not every program takes that: move it")
    open_to_all = [path for path in (root, root / "ansible.cfg") if path.exists() and path.stat().st_mode & 0o002]
    if open_to_all:
        found.append(
            f"every user of this machine can change {open_to_all[0]}, and root runs what is in it (Ansible ignores "
            f"ansible.cfg there): chmod -R o-w {root}; on a Windows drive, move it into the Linux file system"
        )
    with_cr = [
        path.relative_to(root)
        for pattern in _SCRIPTS
        for path in sorted(root.glob(pattern))
        if path.is_file() and path.open("rb").readline(200).endswith(b"\r\n")
    ]
    if with_cr:
        found.append(
            f"{len(with_cr)} programs of the checkout have Windows ends of line ({with_cr[0]}): clone it again with "
            "git clone -c core.autocrlf=false"
        )
    if (root / ".git").exists() and shutil.which("git"):
        said = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--git-dir"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        ).stderr
        if "dubious ownership" in said:
            owner = (root / ".git").stat().st_uid
            found.append(
                f"the checkout belongs to the user {owner}, so git refuses to read it: work as that user, or "
                f"git config --global --add safe.directory {root}"
            )
    return found


# -- memory and disk ---------------------------------------------------------------------------------------------------


def memory_limit_mb(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The least memory limit of the control groups that this process is in, in MB; None when there is none."""
    limits = []
    for line in (proc / "self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, file = cgroup, "memory.max"
        elif "memory" in controllers.split(","):
            base, file = cgroup / "memory", "memory.limit_in_bytes"
        else:
            continue
        path = base / name.lstrip("/")
        for directory in (path, *path.parents):
            with suppress(OSError, ValueError):  # no such file, or "max"
                limits.append(int((directory / file).read_text(encoding="ascii")))
            if directory == base:
                break
    least = min(limits, default=None)
    return None if least is None or least > 1 << 50 else least // MB


def of_memory(minimum_mb: int, limit_mb: int | None) -> list[str]:
    """A limit that is below what is needed; how much the machine has is asked elsewhere."""
    if limit_mb is None or limit_mb >= minimum_mb:
        return []
    return [
        f"this container or session may use {limit_mb} MB of memory, {minimum_mb} MB are needed: raise its limit "
        "(docker run --memory, systemd's MemoryMax)"
    ]


def of_disk(directory: Path, minimum_mb: int) -> list[str]:
    """Too little room where Docker keeps images and containers."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    free_mb = shutil.disk_usage(there).free // MB
    if free_mb >= minimum_mb:
        return []
    return [
        f"{free_mb} MB of disk are free in Docker's directory {directory}, {minimum_mb} MB are needed: free some "
        "(docker system df shows what images take), or move data-root in /etc/docker/daemon.json to a larger disk"
    ]


# -- ports and locks ---------------------------------------------------------------------------------------------------


def listener(port: int, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """Process and command line of who listens on a port of the loopback address; (0, "") when nobody may know."""
    inodes = set()
    for name in ("net/tcp", "net/tcp6"):
        path = proc / name
        for line in path.read_text(encoding="ascii").splitlines()[1:] if path.exists() else ():
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == _LISTENING and address in _LOOPBACK and int(number, 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in proc.glob("[0-9]*"):
        try:
            if any(str(descriptor.readlink()) in inodes for descriptor in (process / "fd").iterdir()):
                return int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it has ended, or is another user's
            continue
    return 0, ""


def of_ports(ports: Iterable[Mapping[str, Any]], proc: Path = Path("/proc")) -> list[str]:
    """Ports that somebody else has. Each: ``port``, ``what``, ``setting``, and the ``address`` of its own container."""
    found = []
    for wanted in ports:
        port = int(wanted["port"])
        has = listener(port, proc)
        if has is None or ("docker-proxy" in has[1] and f"-container-ip {wanted['address']} " in f"{has[1]} "):
            continue
        process, command = has
        who = f"process {process} ({command[:80]})" if process else "a process of another user"
        remedy = f"end it, or set {wanted['setting']}"
        found.append(f"port {port}, which is for {wanted['what']}, is taken by {who}: {remedy}")
    return found


def of_apt(proc: Path = Path("/proc"), locks: Iterable[str] = _APT_LOCKS) -> list[str]:
    """Who holds apt's locks."""
    inodes = {}
    for name in locks:
        try:
            inodes[Path(name).stat().st_ino] = name
        except OSError:
            continue
    for line in (proc / "locks").read_text(encoding="ascii").splitlines():
        fields = [field for field in line.split() if field != "->"]
        inode = int(fields[5].rpartition(":")[2])
        if inode in inodes:
            process = int(fields[4])
            try:
                name = (proc / str(process) / "comm").read_text(encoding="utf-8").strip()
            except OSError:
                name = "a program"
            return [f"packages are being installed by {name} (process {process}, {inodes[inode]}): wait for its end"]
    return []


# -- Docker and address ranges -----------------------------------------------------------------------------------------


def of_docker(information: Mapping[str, Any], settings: Mapping[str, Any], command: str) -> list[str]:
    """Settings with which the containers cannot work: of ``docker info``, daemon.json, the daemon's command line."""
    found = []
    options = " ".join(str(option) for option in information.get("SecurityOptions") or [])
    remedy = "/etc/docker/daemon.json, and systemctl restart docker"
    if "name=userns" in options or settings.get("userns-remap"):
        found.append(
            "Docker maps its containers' users (userns-remap), so the private cloud cannot boot: take it out of "
            + remedy
        )
    if "name=rootless" in options:
        found.append("Docker runs without root, so it cannot carry the private cloud: start the system's daemon")
    if settings.get("iptables") is False or re.search(r"--iptables[= ]false", command):
        found.append(
            "Docker makes no firewall rules (iptables is off), so nothing reaches the containers: switch it on in "
            + remedy
        )
    if information.get("OSType", "linux") != "linux":
        found.append("Docker runs containers of another system: switch it to Linux containers")
    return found


def of_ranges(
    ranges: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]], networks: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Ranges that this machine uses already, each with a free one.

    Args:
        ranges: ``range``, the ``setting`` that holds it, ``bridge`` and ``via`` of its own routes, its own ``network``.
        routes: as ``ip -json route`` shows them.
        networks: Docker's, as ``docker network inspect`` shows them.
    """
    used: list[tuple[ipaddress.IPv4Network, str, Mapping[str, Any]]] = []
    for route in routes:
        if route.get("dst") not in (None, "default"):
            way = " ".join(str(route[key]) for key in ("gateway", "dev") if route.get(key))
            used.append((ipaddress.IPv4Network(route["dst"], strict=False), f"the route {route['dst']} {way}", route))
    for known in networks:
        for configured in (known.get("IPAM") or {}).get("Config") or []:
            if ":" not in configured.get("Subnet", ":"):
                subnet = ipaddress.IPv4Network(configured["Subnet"], strict=False)
                used.append((subnet, f"Docker's network {known['Name']}", known))
    pairs = [(one, ipaddress.IPv4Network(one["range"])) for one in ranges]
    taken = [other for other, _, _ in used] + [network for _, network in pairs]
    found = []
    for one, network in pairs:
        clashes = [
            what
            for other, what, thing in used
            if other.overlaps(network)
            and not (thing.get("dev", "-") == one.get("bridge") or thing.get("gateway", "-") == one.get("via"))
            and thing.get("Name", "-") != one.get("network")
        ]
        if clashes:
            free = free_range(network.prefixlen, taken)
            taken.append(free)
            found.append(
                f"the range {network} is used already, by {clashes[0]}: set {one['setting']} to a free one, such as "
                f"{free}, in inventory/local/group_vars/all/smart_classroom.yml"
            )
    return found


def free_range(prefix: int, used: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first private range of that size that overlaps none."""
    candidates = (one for pool in _POOLS for one in ipaddress.IPv4Network(pool).subnets(new_prefix=max(prefix, 12)))
    return next(one for one in candidates if not any(one.overlaps(other) for other in used))


def of_the_kernel(devices: Iterable[str]) -> list[str]:
    """Devices and switches that are not there, and which no module brings."""
    return [
        f"{path} is missing, and the kernel module {module} cannot be loaded: use a machine with a kernel of its own"
        for path, _, module in (device.partition("=") for device in devices)
        if not Path(path).exists() and not _loadable(module)
    ]


def _loadable(module: str) -> bool:
    program = shutil.which("modprobe") or "/sbin/modprobe"
    try:
        return subprocess.run([program, "-n", "-q", module], timeout=_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def problems(root: Path, wanted: Mapping[str, Any]) -> list[str]:
    """Everything about this machine.

    Args:
        root: the checkout.
        wanted: ``minimum_memory_mb``, ``minimum_disk_mb``; ``packages`` that will be installed where they are missing;
            ``kernel``, as `of_the_kernel` takes it; ``ports`` and ``ranges``, as `of_ports` and `of_ranges` do.
    """
    information = json.loads(asked("docker", "info", "--format", "{{json .}}") or "{}")
    try:
        settings = json.loads(Path("/etc/docker/daemon.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    names = asked("docker", "network", "ls", "--quiet").split()
    networks = json.loads(asked("docker", "network", "inspect", *names) or "[]") if names else []
    routes = json.loads(asked("ip", "-json", "-4", "route", "show") or "[]")
    directory = Path(information.get("DockerRootDir") or settings.get("data-root") or "/var/lib/docker")
    missing = wanted["packages"] and not asked("dpkg-query", "--show", *wanted["packages"])
    return [
        *of_the_checkout(root),
        *of_memory(wanted["minimum_memory_mb"], memory_limit_mb()),
        *of_disk(directory, wanted["minimum_disk_mb"]),
        *of_the_kernel(wanted["kernel"]),
        *of_ports(wanted["ports"]),
        *of_docker(information, settings, _command_of("dockerd")),
        *of_ranges(wanted["ranges"], routes, networks),
        *(of_apt() if missing else []),
    ]


def _command_of(program: str) -> str:
    """The command line of a running program."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8").strip() == program:
                return (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return ""


def main() -> int:
    """Run as a program."""
    root, given = Path(sys.argv[1]).resolve(), "" if sys.stdin.isatty() else sys.stdin.read()
    if given:
        sys.stdout.write(json.dumps(problems(root, json.loads(given))))
        return 0
    found = [*of_the_checkout(root), *of_apt()]
    sys.stderr.write("".join(f"setup: {problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
