#!/usr/bin/env python3
"""Runs DevStack's stack.sh on the host of the cloud, once, and says how the cloud is; with Debian 12's Python alone.

    devstack_run.py follow SECONDS     start stack.sh unless it runs or is done; show its phases; end with its status
    devstack_run.py run SECONDS        what the transient unit executes; not for people
    devstack_run.py wait SECONDS       wait until nothing is wrong any more, showing what is
    devstack_run.py check              print what is wrong, one sentence a line; exit status 1 when there is anything
    devstack_run.py packages           finish installing the packages that an interrupted run left half installed
    devstack_run.py close              close the files with passwords to others; print those that were open
    devstack_run.py exposed            print the files with passwords that any user can read; exit status 1 if any
    devstack_run.py teardown           stop and remove everything that stack.sh made but the packages
    devstack_run.py recover SECONDS    after a reboot: start what failed to start, then wait

SECONDS is how long to wait for the cloud's services to answer, once stack.sh is through with its work.

stack.sh rebuilds every database, so it must never run on a cloud that works. DevStack itself leaves no mark of its
completion; here ``stamp.json`` is written when stack.sh ended with 0 **and** every API answered after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNIT = "devstack-stack"
NETWORK_UNIT = "devstack-network"
USER = "stack"
DEST = Path("/opt/stack")
DEVSTACK = DEST / "devstack"
LOGS = DEST / "logs"
ASYNC_LOGS = DEST / "async"
SUMMARY = LOGS / "stack.sh.log.summary"
ERRORS = LOGS / "error.log"
STATE = Path("/var/lib/smart-classroom/devstack")
STAMP = STATE / "stamp.json"
ATTEMPT = STATE / "attempt.json"
PHASES = STATE / "phases"
CONSOLE = STATE / "console.log"

UNITS = Path("/etc/systemd/system")
APACHE = Path("/etc/apache2")
DATABASES = ("keystone", "glance", "placement", "nova_api", "nova_cell0", "nova_cell1", "neutron")
OWN_DIRECTORIES = (
    "/etc/openstack",
    "/etc/keystone",
    "/etc/glance",
    "/etc/placement",
    "/etc/nova",
    "/etc/neutron",
    "/var/lib/smart-classroom/devstack",
    "/opt/stack",
)

# Files that DevStack writes with passwords in clear, readable by everybody.
SECRET_FILES = (
    "/etc/openstack/clouds.yaml",
    "/opt/stack/devstack/.stackenv",
    "/opt/stack/devstack/.localrc.auto",
    "/opt/stack/devstack/.localrc.password",
    "/opt/stack/devstack/local.conf",
    "/opt/stack/devstack/userrc_early",
    "/opt/stack/devstack/accrc",
    "/opt/stack/logs",
    "/opt/stack/async",
    "/etc/nova",
    "/etc/neutron",
    "/etc/keystone",
    "/etc/glance",
    "/etc/placement",
)

POLL_SECONDS = 1.0
HTTP_TIMEOUT_SECONDS = 20.0
UNSTACK_TIMEOUT_SECONDS = 1200.0
DECISIVE_LINES = 12
LINES_BEFORE_THE_END = 30

TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \| ?")
TRACE = re.compile(r"^\++ ")


@dataclass(frozen=True)
class Cause:
    """What a line of the log gives away: the first of ``CAUSES`` that matches names the failure."""

    pattern: re.Pattern[str]
    meaning: str
    remedy: str


def cause(pattern: str, meaning: str, remedy: str) -> Cause:
    return Cause(re.compile(pattern), meaning, remedy)


# In this order: a full disk makes everything else fail too.
CAUSES = (
    cause(
        r"No space left on device|You don't have enough free space",
        "the disk is full",
        "Make room (`df -h /opt /var`), or give the host a larger disk.",
    ),
    cause(
        r"(?:^|\s)Killed(?:\s|$)|Out of memory|Cannot allocate memory",
        "a process was killed, most likely for lack of memory",
        "Look at `journalctl -k | grep -i 'out of memory'`; give the host 8 GB or more.",
    ),
    cause(
        r"this script has not been tested on (?P<what>\S+)",
        "DevStack does not know the distribution {what}",
        "Use Debian 12, or another devstack_branch.",
    ),
    cause(
        r"DevStack should be run as a user with sudo permissions",
        "stack.sh was started as root",
        "Run it through the playbook, which starts it as the user stack.",
    ),
    cause(
        r"git call failed: \[git (?P<what>[^\]]*)\]|Maximum of 3 git retries reached",
        "git could not fetch: {what}",
        "Check from the host that devstack_git_base has this repository and branch: `git ls-remote URL`.",
    ),
    cause(
        r"Enter a password now:",
        "a password is missing, and stack.sh asked for it",
        "Set the four devstack_*_password: letters and digits, at most 20.",
    ),
    cause(
        r"Could not determine host ip address",
        "stack.sh does not know the address of the host",
        "Set devstack_host_address to an address that `ip address` shows on the host.",
    ),
    cause(
        r"Could not get lock (?P<what>\S+)",
        "another program holds the lock of apt, {what}",
        "Wait until it has ended (`lslocks`), or stop unattended-upgrades.",
    ),
    cause(
        r"Failed to update apt repos|E: Failed to fetch (?P<what>\S+)|E: Unable to (?:locate|fetch)",
        "apt could not fetch packages {what}",
        "Check the host's way to its package mirror: `apt-get update`.",
    ),
    cause(
        r"No matching distribution found for (?P<what>\S+)|ReadTimeoutError|Could not find a version that satisfies",
        "pip could not fetch a package {what}",
        "Check the host's way to its Python index: `pip download --no-deps -d /tmp NAME`.",
    ),
    cause(
        r"(?:\[ERROR\].* )?(?P<what>\S+) did not start",
        "the service {what} did not start",
        "Its journal says why: `journalctl --unit 'devstack@*' -n 50`.",
    ),
)


@dataclass(frozen=True)
class Diagnosis:
    """Why stack.sh ended, for a person."""

    meaning: str
    remedy: str
    lines: list[str]

    def text(self) -> str:
        """The diagnosis as printed."""
        shown = "".join(f"  {line}\n" for line in self.lines)
        return f"stack.sh failed: {self.meaning}.\nThe lines that decide:\n{shown}{self.remedy}"


def plain(line: str) -> str:
    """A line of a log without DevStack's time stamp."""
    return TIMESTAMP.sub("", line.rstrip("\n"))


def diagnose(console: Sequence[str], errors: Sequence[str]) -> Diagnosis:
    """Find the reason in the output of stack.sh and in its error.log.

    What follows "Error on exit" is DevStack's dump of the whole host, and lines that begin with ``+`` trace commands.
    """
    lines = [plain(line) for line in console]
    end = next((index for index, line in enumerate(lines) if line == "Error on exit"), len(lines))
    told = [line for line in lines[:end] if line.strip() and not TRACE.match(line)]
    reported = [line for line in map(plain, errors) if line.strip()]
    near = reported + told[-LINES_BEFORE_THE_END:]
    for candidate in CAUSES:
        for line in near:
            match = candidate.pattern.search(line)
            if match:
                what = next((group for group in match.groups() if group), "") if candidate.pattern.groups else ""
                rest = [other for other in near if other != line][-DECISIVE_LINES + 1 :]
                return Diagnosis(candidate.meaning.format(what=what).strip(), candidate.remedy, [line, *rest])
    return Diagnosis(
        "no cause that is known here",
        f"The whole output is {CONSOLE}.",
        near[-DECISIVE_LINES:] or ["(stack.sh said nothing)"],
    )


def conf_hash() -> str:
    """Hash of the settings that stack.sh runs with."""
    return hashlib.sha256((DEVSTACK / "local.conf").read_bytes()).hexdigest()


def setting(name: str) -> str:
    """The last value of a variable in local.conf; "" when it is not set."""
    found = re.findall(rf"^{name}=(.*)$", (DEVSTACK / "local.conf").read_text(encoding="utf-8"), re.MULTILINE)
    return found[-1].strip() if found else ""


def write(path: Path, text: str) -> None:
    """Write a file of root's at once."""
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """A JSON file; {} when it is not there."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def lines_of(path: Path) -> list[str]:
    """Lines of a log; [] when it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def output_of(*command: str) -> str:
    """Standard output of a command, whatever its exit status."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def succeeds(*command: str) -> bool:
    """Whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def is_running() -> bool:
    """Whether stack.sh runs."""
    return output_of("systemctl", "show", "--property=ActiveState", "--value", UNIT).strip() in ("active", "activating")


def half_clones() -> list[Path]:
    """Repositories below /opt/stack whose clone was cut off: stack.sh would take them as they are."""
    found = []
    for git in sorted(DEST.glob("*/.git")):
        as_owner = ["runuser", "-u", USER, "--", "git", "-C", str(git.parent)]
        whole = succeeds(*as_owner, "rev-parse", "--quiet", "--verify", "HEAD^{commit}") and (git / "index").is_file()
        if not whole or any(git.glob("*.lock")):
            found.append(git.parent)
    return found


def as_stack(command: str) -> list[str]:
    """The command that runs a script of DevStack as it wants it: in its directory, with a clean environment."""
    home = pwd.getpwnam(USER).pw_dir
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = [f"HOME={home}", f"USER={USER}", f"LOGNAME={USER}", "SHELL=/bin/bash", f"PATH={path}"]
    return ["runuser", "-u", USER, "--", "env", "-i", f"--chdir={DEVSTACK}", *environment, command]


class Progress:
    """The phases so far, one a line, with the seconds since the start."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        write(PHASES, "")

    def phase(self, text: str) -> None:
        with PHASES.open("a", encoding="utf-8") as phases:
            phases.write(f"phase: {text} (at {time.monotonic() - self.begin:.0f} s)\n")


def summary_lines(before: str) -> Iterator[str]:
    """Lines of the summary of this run of stack.sh as they come; ``before`` is the file of the run before it."""
    shown = 0
    while True:
        lines = lines_of(SUMMARY) if str(SUMMARY.resolve()) != before else []
        yield from (plain(line) for line in lines[shown:] if line.strip())
        shown = len(lines)
        yield ""


def put_back(progress: Progress) -> None:
    """Undo what an attempt left that failed or was cut off; its clones and packages are kept."""
    for clone in half_clones():
        progress.phase(f"removing the half clone {clone.name}")
        shutil.rmtree(clone)
    if not list(UNITS.glob("devstack@*.service")):
        return
    progress.phase("unstack.sh, since an earlier attempt has started services")
    try:
        # Its exit status says nothing: it fails over whatever was not there yet.
        subprocess.run(as_stack("./unstack.sh"), stdin=subprocess.DEVNULL, timeout=UNSTACK_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        progress.phase("unstack.sh took too long and was ended")


def tighten() -> list[str]:
    """Take the rights of others away from the files with passwords; what had to be changed."""
    changed = []
    for top in map(Path, SECRET_FILES):
        for path in [top, *top.rglob("*")] if top.exists() else []:
            if not path.is_symlink() and path.stat().st_mode & 0o007:
                path.chmod(path.stat().st_mode & 0o7770)
                changed.append(str(path))
    return changed


def close_logs() -> None:
    """stack.sh opens the directories of its logs, which show every password, to everybody at its start."""
    for directory in (LOGS, ASYNC_LOGS):
        if directory.is_dir() and directory.stat().st_mode & 0o007:
            directory.chmod(0o750)


def run(probe_seconds: float) -> int:
    """Run stack.sh to its end, then ask the cloud for so long; what the transient unit executes."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    progress = Progress()
    attempt = {"conf": conf_hash(), "started": time.time(), "rc": None}
    write(ATTEMPT, json.dumps(attempt))
    before = str(SUMMARY.resolve()) if SUMMARY.exists() else ""
    CONSOLE.touch(mode=0o600)
    with CONSOLE.open("wb") as console:
        os.dup2(console.fileno(), 1)
        os.dup2(console.fileno(), 2)
        put_back(progress)
        ERRORS.unlink(missing_ok=True)
        progress.phase("stack.sh begins")
        process = subprocess.Popen(as_stack("./stack.sh"), stdin=subprocess.DEVNULL)
        summary = summary_lines(before)
        while process.poll() is None:
            close_logs()
            for line in iter(summary.__next__, ""):
                progress.phase(line)
            time.sleep(POLL_SECONDS)
    for line in iter(summary.__next__, ""):
        progress.phase(line)
    tighten()
    problems: list[str] = []
    if process.returncode == 0:
        progress.phase("asking every API")
        problems = until_well(probe_seconds, lambda _: None)
    commit = output_of("runuser", "-u", USER, "--", "git", "-C", str(DEVSTACK), "rev-parse", "HEAD").strip()
    attempt |= {"rc": process.returncode, "ended": time.time(), "commit": commit, "problems": problems}
    write(ATTEMPT, json.dumps(attempt))
    if process.returncode == 0 and not problems:
        write(STAMP, json.dumps(attempt))
        progress.phase("the cloud answers")
        return 0
    return 1


def request(url: str, token: str = "", body: dict[str, Any] | None = None) -> tuple[Any, dict[str, str]]:
    """Content and headers of an answer. Raises OSError (as urllib's errors are) or ValueError."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["X-Auth-Token"] = token
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 the address is the host's own
    with urllib.request.urlopen(asked, timeout=HTTP_TIMEOUT_SECONDS) as answer:  # noqa: S310
        return json.load(answer), {name.lower(): value for name, value in answer.headers.items()}


def login(host: str) -> str:
    """A token of the administrator."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": setting("ADMIN_PASSWORD")}
    project = {"name": "admin", "domain": {"id": "default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    _, headers = request(f"http://{host}/identity/v3/auth/tokens", body=body)
    return headers["x-subject-token"]


def api_problems(host: str) -> list[str]:
    """What the APIs say is wrong, one sentence each."""
    try:
        token = login(host)
    except (OSError, ValueError, KeyError) as error:
        return [f"Keystone gives no token: {error}"]

    def compute() -> list[str]:
        services = request(f"http://{host}/compute/v2.1/os-services", token)[0]["services"]
        up = {service["binary"] for service in services if service["state"] == "up"}
        return [
            f"the service {name} is not up"
            for name in ("nova-scheduler", "nova-conductor", "nova-compute")
            if name not in up
        ]

    def network() -> list[str]:
        agents = request(f"http://{host}/networking/v2.0/agents", token)[0]["agents"]
        return [f"the agent {agent['binary']} is not alive" for agent in agents if not agent["alive"]] or (
            [] if agents else ["no agent reports to Neutron"]
        )

    def image() -> list[str]:
        request(f"http://{host}/image/v2/images?limit=1", token)
        return []

    def placement() -> list[str]:
        providers = request(f"http://{host}/placement/resource_providers", token)[0]["resource_providers"]
        return [] if providers else ["Placement knows no host"]

    found: list[str] = []
    for name, ask in {"Nova": compute, "Neutron": network, "Glance": image, "Placement": placement}.items():
        try:
            found += ask()
        except (OSError, ValueError, KeyError) as error:
            found.append(f"{name} does not answer: {error}")
    return found


def dashboard_problems(host: str) -> list[str]:
    """Whether Horizon shows its login."""
    try:
        with urllib.request.urlopen(f"http://{host}/dashboard/auth/login/", timeout=HTTP_TIMEOUT_SECONDS) as answer:
            return [] if answer.status == 200 else [f"Horizon answers with {answer.status}"]
    except OSError as error:
        return [f"Horizon does not answer: {error}"]


def unit_problems(listing: str) -> list[str]:
    """Units of DevStack that do not run, from ``systemctl list-units --all --plain --no-legend 'devstack@*'``."""
    units = [line.split()[:4] for line in listing.splitlines() if line.strip()]
    found = [f"the unit {unit} is {active} ({sub})" for unit, _, active, sub in units if active != "active"]
    return found or ([] if units else ["no unit devstack@ is there"])


def network_problems() -> list[str]:
    """What a reboot takes away and the unit devstack-network restores."""
    found = []
    gateway = setting("PUBLIC_NETWORK_GATEWAY")
    floating = setting("FLOATING_RANGE")
    link = output_of("ip", "-4", "-oneline", "address", "show", "dev", "br-ex", "up")
    if f" {gateway}/" not in link:
        found.append(f"br-ex is down or has lost its address {gateway}: `systemctl restart {NETWORK_UNIT}`")
    rules = output_of("iptables", "--table", "nat", "--list-rules", "POSTROUTING").splitlines()
    if not any(f"-s {floating} " in rule and "MASQUERADE" in rule for rule in rules):
        found.append(f"guests have no way out, the masquerade is gone: `systemctl restart {NETWORK_UNIT}`")
    if Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii").strip() != "1":
        found.append(f"ip_forward is off: `systemctl restart {NETWORK_UNIT}`")
    return found


def check() -> list[str]:
    """Everything that is wrong with the cloud."""
    host = setting("HOST_IP")
    listing = output_of("systemctl", "list-units", "--all", "--plain", "--no-legend", "devstack@*")
    return unit_problems(listing) + network_problems() + api_problems(host) + dashboard_problems(host)


def until_well(timeout_seconds: float, show: Callable[[str], None]) -> list[str]:
    """Ask until nothing is wrong; what still is after that time. ``show`` gets what it waits for, when that changes."""
    deadline = time.monotonic() + timeout_seconds
    shown = ""
    while True:
        problems = check()
        if not problems or time.monotonic() > deadline:
            return problems
        waiting = f"waiting: {problems[0]}" + (f", and {len(problems) - 1} more" if len(problems) > 1 else "")
        if waiting != shown:
            show(waiting)
            shown = waiting
        time.sleep(POLL_SECONDS)


def start(probe_seconds: float) -> None:
    """Start ``run`` as a transient unit: it survives the SSH session that asked for it."""
    subprocess.run(
        [
            "systemd-run",
            f"--unit={UNIT}",
            "--collect",
            "--quiet",
            "--property=KillMode=control-group",
            sys.executable,
            str(Path(__file__).resolve()),
            "run",
            str(probe_seconds),
        ],
        check=True,
    )


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 standard output is what it is for


def follow(probe_seconds: float) -> int:
    """Show the phases of stack.sh to its end; start it unless it runs or the cloud is there."""
    if STAMP.exists():
        say("phase: the cloud is there")
        return 0
    if not is_running():
        PHASES.unlink(missing_ok=True)
        start(probe_seconds)
    shown = 0
    while True:
        running = is_running()
        lines = lines_of(PHASES)
        for line in lines[shown:]:
            say(line)
        shown = len(lines)
        if not running:
            break
        time.sleep(POLL_SECONDS)
    if STAMP.exists():
        return 0
    attempt = read(ATTEMPT)
    if attempt.get("rc") == 0:
        say("stack.sh ended well, but the cloud does not work:")
        for problem in attempt["problems"]:
            say(f"  {problem}")
    elif attempt.get("rc") is None:
        say("stack.sh was ended from outside before it was done (the host was rebooted, or somebody stopped it).")
    else:
        say(diagnose(lines_of(CONSOLE), lines_of(ERRORS)).text())
    return 1


def wait(timeout_seconds: float) -> int:
    """Wait until the cloud works."""
    problems = until_well(timeout_seconds, lambda text: say(f"phase: {text}"))
    for problem in problems:
        say(problem)
    return 1 if problems else 0


def recover(timeout_seconds: float) -> int:
    """After a reboot: put the network back, start the units that gave up, wait until the cloud works."""
    say("phase: restoring the network of the floating addresses")
    subprocess.run(["systemctl", "restart", NETWORK_UNIT], check=True)
    failed = [
        line.split()[0]
        for line in output_of(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "--state=failed,inactive", "devstack@*"
        ).splitlines()
    ]
    for unit in failed:
        say(f"phase: starting {unit}")
        subprocess.run(["systemctl", "reset-failed", unit], check=False)
        subprocess.run(["systemctl", "start", unit], check=False)
    return wait(timeout_seconds)


def packages() -> int:
    """Finish what apt was interrupted in. As stack.sh does, a configuration file that is there already is kept."""
    keep = ["--force-confdef", "--force-confold"]
    options = [f"--option=Dpkg::Options::={option}" for option in keep]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Ends with an error over a package that has to be unpacked again, which the second command does.
    subprocess.run(["dpkg", *keep, "--configure", "--pending"], env=environment, stdin=subprocess.DEVNULL, check=False)
    return subprocess.run(
        ["apt-get", "--assume-yes", *options, "--fix-broken", "install"],
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def exposed() -> list[str]:
    """Files in which a user without any rights finds a password of the cloud."""
    names = ("ADMIN_PASSWORD", "DATABASE_PASSWORD", "RABBIT_PASSWORD", "SERVICE_PASSWORD")
    passwords = "\n".join(filter(None, map(setting, names))) + "\n"
    places = ["/etc", str(DEST), "/var/log", "/var/lib", "/tmp"]  # noqa: S108 looked at, not written to
    skipped = ["--exclude-dir=.git", "--exclude-dir=venv"]
    search = ["grep", "--recursive", "--files-with-matches", "--no-messages", "--fixed-strings", *skipped, "--file=-"]
    done = subprocess.run(
        ["runuser", "-u", "nobody", "--", *search, *places],
        input=passwords,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return sorted(done.stdout.splitlines())


def teardown() -> int:
    """Stop and remove what stack.sh made. Packages stay: other programs of the host may use them by now."""
    if is_running():
        say("phase: ending stack.sh")
        subprocess.run(["systemctl", "stop", UNIT], check=True)
    if (DEVSTACK / "unstack.sh").is_file() and list(UNITS.glob("devstack@*.service")):
        say("phase: unstack.sh")
        try:
            with (STATE / "unstack.log").open("wb") as log:
                subprocess.run(
                    as_stack("./unstack.sh"),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=UNSTACK_TIMEOUT_SECONDS,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            say("phase: unstack.sh took too long and was ended")
    say("phase: removing units, databases and bridges")
    units = sorted(path.name for path in UNITS.glob("devstack@*.service"))
    if units:
        subprocess.run(["systemctl", "disable", "--now", *units], check=False)
    for path in [*UNITS.glob("devstack@*.service"), *APACHE.glob("*/horizon.conf"), *APACHE.glob("*/*-api*.conf")]:
        path.unlink()
    if shutil.which("mysql"):
        for database in DATABASES:
            subprocess.run(["mysql", "--execute", f"DROP DATABASE IF EXISTS {database}"], check=False)
    if shutil.which("rabbitmqctl"):
        subprocess.run(["rabbitmqctl", "delete_user", "stackrabbit"], check=False)
    if shutil.which("ovs-vsctl"):
        for bridge in ("br-ex", "br-int", "br-tun"):
            subprocess.run(["ovs-vsctl", "--timeout=60", "--if-exists", "del-br", bridge], check=False)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    if shutil.which("apache2ctl"):
        subprocess.run(["systemctl", "try-restart", "apache2"], check=False)
    say("phase: removing files")
    for name in OWN_DIRECTORIES:
        shutil.rmtree(name, ignore_errors=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands above."""
    match list(arguments):
        case ["packages"]:
            return packages()
        case ["close"]:
            for name in tighten():
                say(name)
            return 0
        case ["exposed"]:
            files = exposed()
            for file in files:
                say(file)
            return 1 if files else 0
        case ["teardown"]:
            return teardown()
        case ["follow", seconds]:
            return follow(float(seconds))
        case ["run", seconds]:
            return run(float(seconds))
        case ["check"]:
            problems = check()
            for problem in problems:
                say(problem)
            return 1 if problems else 0
        case ["wait", seconds]:
            return wait(float(seconds))
        case ["recover", seconds]:
            return recover(float(seconds))
    say(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
