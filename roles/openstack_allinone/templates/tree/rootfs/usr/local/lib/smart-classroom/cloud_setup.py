"""Sets up and starts every service of an all-in-one OpenStack, in the container that carries it.

``run`` is what systemd starts at every boot. The first boot creates databases, schemas, accounts and the catalog; each
step leaves a stamp, so that a run that was killed anywhere goes on where it was. Every boot then starts the services in
the order of what they ask of each other, and ends when all APIs answer and all services report in.

``follow`` prints the progress of the running or finished setup and exits 0 when the cloud is ready, 1 when the setup
failed, with the tail of the log of the service that was waited for.

``check`` prints every fault of the running cloud as one line and exits 1 when there is one.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/smart-classroom/settings.json")
STAMPS = Path("/var/lib/smart-classroom/stamps")
STATUS = Path("/run/smart-classroom/status")
SCHEMAS = Path("/var/cache/smart-classroom/schemas.sql")

COMMAND_TIMEOUT_SECONDS = 300.0
# The first login on a busy machine was seen to take more than 20 s, as Keystone loads its modules then.
REQUEST_TIMEOUT_SECONDS = 120.0
READY_TIMEOUT_SECONDS = 300.0
POLL_SECONDS = 0.5

READY = "ready"
FAILED = "failed"

# database: (its user, the command that fills it). nova_cell0 has the tables of nova_cell1 and is copied from it.
DATABASES: Mapping[str, str] = {
    "keystone": "keystone",
    "glance": "glance",
    "placement": "placement",
    "nova_api": "nova",
    "nova_cell1": "nova",
    "nova_cell0": "nova",
    "neutron": "neutron",
}
SYNCS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("keystone", "keystone", ("keystone-manage", "db_sync")),
    (
        "neutron",
        "neutron",
        (
            "neutron-db-manage",
            "--config-file=/etc/neutron/neutron.conf",
            "--config-file=/etc/neutron/plugins/ml2/ml2_conf.ini",
            "upgrade",
            "heads",
        ),
    ),
    ("nova_cell1", "nova", ("nova-manage", "db", "sync", "--local_cell")),
    ("nova_api", "nova", ("nova-manage", "api_db", "sync")),
    ("glance", "glance", ("glance-manage", "db_sync")),
    ("placement", "placement", ("placement-manage", "db", "sync")),
)
# The words in braces are Nova's: it fills them from its own configuration.
CELLS = """
DELETE FROM nova_api.cell_mappings;
INSERT INTO nova_api.cell_mappings (created_at, uuid, name, transport_url, database_connection, disabled) VALUES
  (NOW(), '00000000-0000-0000-0000-000000000000', 'cell0', 'none:///',
   'mysql+pymysql://{username}:{password}@{hostname}/nova_cell0', 0),
  (NOW(), '00000000-0000-0000-0000-000000000001', 'cell1', '{scheme}://{username}:{password}@{hostname}:{port}/',
   'mysql+pymysql://{username}:{password}@{hostname}/nova_cell1', 0);
"""
HOST = """
DELETE FROM nova_api.host_mappings;
INSERT INTO nova_api.host_mappings (created_at, cell_id, host)
  SELECT NOW(), id, @host FROM nova_api.cell_mappings WHERE name = 'cell1';
"""
NOVA_SERVICES = ("nova-conductor", "nova-scheduler", "nova-compute")
NEUTRON_AGENTS = (
    "neutron-linuxbridge-agent",
    "neutron-l3-agent",
    "neutron-dhcp-agent",
    "neutron-metadata-agent",
)


class SetupError(Exception):
    """The cloud cannot be set up. ``unit`` is the systemd unit whose log says why, when one is known."""

    def __init__(self, message: str, unit: str | None = None) -> None:
        super().__init__(message)
        self.unit = unit


class RequestError(SetupError):
    """An API answered with an error or not at all. ``status`` is the HTTP status, 0 for no answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Settings:
    """What the controller decides about this cloud; passwords are plain text."""

    api_address: str
    hostname: str
    region: str
    admin_password: str
    database_password: str
    service_password: str

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the settings file, a flat JSON object with exactly these keys."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def url(self, port: int, path: str = "") -> str:
        """Address of an API of this cloud."""
        return f"http://{self.api_address}:{port}{path}"


@dataclass(frozen=True)
class Service:
    """An API of the catalog: its account in Keystone (None for Keystone, which needs none), its port and unit."""

    name: str
    type: str
    port: int
    path: str
    unit: str


CATALOG = {
    "glance": Service("glance", "image", 9292, "", "glance-api"),
    "placement": Service("placement", "placement", 8778, "", "placement-api"),
    "nova": Service("nova", "compute", 8774, "/v2.1", "nova-api"),
    "neutron": Service("neutron", "network", 9696, "", "neutron-api"),
}
IDENTITY = Service("keystone", "identity", 5000, "/v3", "keystone")
UNITS = (
    IDENTITY.unit,
    *(service.unit for service in CATALOG.values()),
    *NOVA_SERVICES,
    *NEUTRON_AGENTS,
    "neutron-rpc-server",
)


def say(text: str) -> None:
    """Report a phase to the journal and to whoever follows."""
    print(f"phase: {text}", flush=True)  # noqa: T201  stdout is the journal
    STATUS.parent.mkdir(parents=True, exist_ok=True)
    with STATUS.open("a", encoding="utf-8") as file:
        file.write(f"phase: {text}\n")


def run(
    argv: Iterable[str], *, user: str | None = None, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command, as another user when asked, and return its output. Raises SetupError with what it said."""
    command = list(argv)
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{command[0]} did not end in {COMMAND_TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def sql(statements: str) -> str:
    """Run SQL as the database's root (by socket, no password) and return its rows, tab separated."""
    return run(["mariadb", "--batch", "--skip-column-names"], stdin=statements)


def start(*units: str, wait: bool = False) -> None:
    """Start systemd units, by default without waiting for them."""
    run(["systemctl", "start", *([] if wait else ["--no-block"]), *units])


def is_active(unit: str) -> bool:
    """Whether systemd says that a unit has started; Nova's units have when they are ready to work."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def once(name: str, step: Callable[[], None]) -> None:
    """Run a step unless its stamp says that it was done."""
    stamp = STAMPS / name
    if stamp.exists():
        return
    step()
    STAMPS.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def wait_for(what: str, unit: str, probe: Callable[[], str | None]) -> None:
    """Poll until the probe finds nothing to complain about; otherwise SetupError with its last complaint."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while complaint := probe():
        if time.monotonic() > deadline:
            raise SetupError(f"{what}: {complaint} after {READY_TIMEOUT_SECONDS:.0f} s", unit)
        time.sleep(POLL_SECONDS)


class Api:
    """The cloud's REST APIs, seen by its administrator."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.token = ""

    def request(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str]:
        """Send one request; returns the JSON answer and the token header. Raises RequestError."""
        request = urllib.request.Request(  # noqa: S310  http addresses of this file
            url,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": self.token},
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310
                text = answer.read()
                return (json.loads(text) if text else {}), answer.headers.get("X-Subject-Token") or ""
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:500]
            raise RequestError(f"{method} {url}: HTTP {error.code} {detail}", error.code) from error
        except (OSError, ValueError) as error:
            raise RequestError(f"{method} {url}: {error}", 0) from error

    def identity(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request to Keystone."""
        return self.request(method, self.settings.url(IDENTITY.port, f"{IDENTITY.path}{path}"), body)[0]

    def login(self) -> None:
        """Fetch an administrator's token."""
        self.token = ""
        user = {"name": "admin", "domain": {"id": "default"}, "password": self.settings.admin_password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self.token = self.request("POST", self.settings.url(IDENTITY.port, f"{IDENTITY.path}/auth/tokens"), body)[1]

    def ensure(self, collection: str, kind: str, query: str, body: Mapping[str, Any]) -> str:
        """Find one object of Keystone by a query, or create it; returns its id."""
        found = self.identity("GET", f"/{collection}?{query}")[collection]
        if found:
            return str(found[0]["id"])
        return str(self.identity("POST", f"/{collection}", {kind: body})[kind]["id"])

    def accounts(self) -> None:
        """Create the services' project, users, roles and endpoints, those that are missing."""
        project = self.ensure("projects", "project", "name=service", {"name": "service", "domain_id": "default"})
        roles = [self.ensure("roles", "role", f"name={name}", {"name": name}) for name in ("admin", "service")]
        for service in CATALOG.values():
            user = {"name": service.name, "domain_id": "default", "password": self.settings.service_password}
            user_id = self.ensure("users", "user", f"name={service.name}&domain_id=default", user)
            for role in roles:
                self.identity("PUT", f"/projects/{project}/users/{user_id}/roles/{role}")
            service_id = self.ensure(
                "services", "service", f"type={service.type}", {"name": service.name, "type": service.type}
            )
            endpoint = {
                "service_id": service_id,
                "region_id": self.settings.region,
                "url": self.settings.url(service.port, service.path),
            }
            for interface in ("public", "internal", "admin"):
                query = f"service_id={service_id}&interface={interface}"
                self.ensure("endpoints", "endpoint", query, {**endpoint, "interface": interface})

    def complaint(self, service: Service) -> str | None:
        """Complaint about an API that does not answer 2xx or 3xx on its root; None when it does."""
        try:
            self.request("GET", self.settings.url(service.port, service.path or "/"))
        except RequestError as error:
            if error.status == 300:  # glance lists its versions so
                return None
            return str(error)
        return None

    def services_complaint(self, since: datetime | None = None) -> str | None:
        """Complaint about services of Nova and agents of Neutron that are not up; None when all are.

        With ``since``, what reported in before that time does not count: right after a restart the databases still call
        everything alive that was alive before.
        """
        try:
            if not self.token:
                self.login()
            services = self.request("GET", self.settings.url(8774, "/v2.1/os-services"))[0]["services"]
            agents = self.request("GET", self.settings.url(9696, "/v2.0/agents"))[0]["agents"]
            # A host that the scheduler cannot see takes no guest though its service is up.
            hypervisors = self.request("GET", self.settings.url(8774, "/v2.1/os-hypervisors"))[0]["hypervisors"]
        except RequestError as error:
            if error.status == 401:
                self.token = ""
            return str(error)
        up = {service["binary"] for service in services if service["state"] == "up" and is_active(service["binary"])}
        for agent in agents:
            reported = datetime.fromisoformat(agent["heartbeat_timestamp"]).replace(tzinfo=UTC)
            if agent["alive"] and (since is None or reported >= since):
                up.add(agent["binary"])
        down = [name for name in (*NOVA_SERVICES, *NEUTRON_AGENTS) if name not in up]
        if not down and not hypervisors:
            return "Nova knows no hypervisor"
        return f"not up: {', '.join(down)}" if down else None


def create_databases(settings: Settings) -> None:
    """Create the services' database users; the databases themselves are made with their schema."""
    password = settings.database_password.replace("'", "''")
    statements = []
    for user in sorted(set(DATABASES.values())):
        statements.append(f"CREATE OR REPLACE USER '{user}'@'127.0.0.1' IDENTIFIED BY '{password}';")
    for database, user in DATABASES.items():
        statements.append(f"GRANT ALL PRIVILEGES ON `{database}`.* TO '{user}'@'127.0.0.1';")
    sql("\n".join(statements))


def sync_schema(database: str, user: str, command: tuple[str, ...]) -> None:
    """Fill a database from nothing: half a schema of a killed run cannot be continued."""
    sql(f"DROP DATABASE IF EXISTS `{database}`; CREATE DATABASE `{database}` CHARACTER SET utf8mb3;")
    run(command, user=user)


def map_cells() -> None:
    """Tell nova's API database where its two cells are: by template, so no password is in it."""
    sql(CELLS)


def copy_cell0() -> None:
    """Give cell0, the home of servers that never got a host, the tables of cell1."""
    dump = run(["mariadb-dump", "--single-transaction", "nova_cell1"])
    empty = "DROP DATABASE IF EXISTS nova_cell0; CREATE DATABASE nova_cell0 CHARACTER SET utf8mb3; USE nova_cell0;"
    sql(f"{empty}\n{dump}")


def restore_schemas() -> None:
    """Fill all databases from the copy that an earlier cloud of this image left."""
    databases = "".join(f"DROP DATABASE IF EXISTS `{database}`;" for database in DATABASES)
    sql(databases + SCHEMAS.read_text(encoding="utf-8"))


def save_schemas() -> None:
    """Leave the fresh schemas to the next cloud of this image, which reads them in seconds."""
    if not SCHEMAS.parent.is_dir():
        return
    text = run(["mariadb-dump", "--single-transaction", "--databases", *DATABASES])
    partial = SCHEMAS.with_suffix(f".{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(SCHEMAS)


def make_schemas() -> None:
    """Fill all databases, as much at a time as there are processors for."""
    if SCHEMAS.is_file():
        say("databases from the cache")
        try:
            restore_schemas()
        except SetupError as error:
            say(f"the cached databases are unusable, making them anew: {error}")
        else:
            return
    say("creating the databases' tables")
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        done = [
            pool.submit(once, f"schema-{database}", lambda d=database, u=user, c=command: sync_schema(d, u, c))  # type: ignore[misc]
            for database, user, command in SYNCS
        ]
        for future in done:
            future.result()
    copy_cell0()
    map_cells()
    save_schemas()


def map_host(settings: Settings) -> None:
    """Map the one host to its cell before it reports, which spares the discovery afterwards."""
    host = settings.hostname.replace("'", "''")
    sql(f"SET @host = '{host}';\n{HOST}")


def make_keys() -> None:
    """Create the keys that sign tokens and hide credentials."""
    for name in ("fernet-keys", "credential-keys"):
        directory = Path("/etc/keystone") / name
        directory.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(directory, "keystone", "keystone")
        for index in ("0", "1"):
            file = directory / index
            file.touch(mode=0o600)
            file.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            shutil.chown(file, "keystone", "keystone")


def bootstrap(settings: Settings) -> None:
    """Create the administrator and Keystone's own endpoints."""
    url = settings.url(IDENTITY.port, IDENTITY.path)
    argv = ["keystone-manage", "bootstrap", "--bootstrap-region-id", settings.region]
    for interface in ("public", "internal", "admin"):
        argv += [f"--bootstrap-{interface}-url", url]
    run(argv, user="keystone", env={"OS_BOOTSTRAP_PASSWORD": settings.admin_password})


def rpc_server_complaint() -> str | None:
    """Complaint while Neutron's server does not listen to its agents: an agent's first call would time out."""
    found = subprocess.run(["pgrep", "--full", "neutron-server: rpc worker"], capture_output=True, check=False)
    return None if found.returncode == 0 else "has no worker yet"


def set_up(settings: Settings) -> None:
    """Bring the cloud from whatever state it is in to ready. Raises SetupError."""
    api = Api(settings)
    began = datetime.now(UTC).replace(microsecond=0)
    say("waiting for the database")
    start("mariadb", "memcached", wait=True)
    once("database-users", lambda: create_databases(settings))
    once("schemas", make_schemas)
    once("host", lambda: map_host(settings))
    once("keys", make_keys)

    if not (STAMPS / "administrator").exists():
        say("creating the administrator")
    once("administrator", lambda: bootstrap(settings))
    # Every start costs seconds of processor time, so what others wait for goes first.
    say("starting Keystone and the broker")
    start("keystone")
    start("rabbitmq-server", wait=True)
    start("neutron-rpc-server", "nova-conductor", "libvirtd")
    wait_for("Keystone", "keystone", lambda: api.complaint(IDENTITY))
    say("starting the APIs")
    start("neutron-api", "placement-api")
    api.login()
    once("accounts", api.accounts)
    wait_for("Neutron's broker side", "neutron-rpc-server", rpc_server_complaint)
    start(*NEUTRON_AGENTS)
    start("glance-api", "nova-api", "nova-scheduler")
    start("nova-conductor", wait=True)
    wait_for("placement-api", "placement-api", lambda: api.complaint(CATALOG["placement"]))
    start("nova-compute", "nova-api-metadata")
    for service in CATALOG.values():
        say(f"waiting for {service.unit}")
        wait_for(service.unit, service.unit, lambda s=service: api.complaint(s))  # type: ignore[misc]
    say("waiting for Nova's services and Neutron's agents")
    wait_for("the services", "nova-compute", lambda: api.services_complaint(began))


def tail(unit: str, lines: int = 40) -> str:
    """Last lines of a unit's log."""
    return run(["journalctl", "--no-pager", "--output=cat", "--unit", unit, "--lines", str(lines)])


def command_run(settings: Settings) -> int:
    """Set up and start; the outcome is the last line of the status file."""
    STATUS.parent.mkdir(parents=True, exist_ok=True)
    STATUS.write_text("", encoding="utf-8")
    began = time.monotonic()
    try:
        set_up(settings)
    except SetupError as error:
        log = f"\n--- last lines of {error.unit} ---\n{tail(error.unit)}" if error.unit else ""
        print(f"{error}{log}", file=sys.stderr, flush=True)  # noqa: T201
        with STATUS.open("a", encoding="utf-8") as file:
            file.write(f"{error}{log}\n{FAILED}\n")
        return 1
    say(f"the cloud answers after {time.monotonic() - began:.0f} s")
    with STATUS.open("a", encoding="utf-8") as file:
        file.write(f"{READY}\n")
    return 0


def command_follow() -> int:
    """Print the progress as it comes; 0 when ready, 1 when failed."""
    shown = 0
    deadline = time.monotonic() + 4 * READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        text = STATUS.read_text(encoding="utf-8") if STATUS.exists() else ""
        if len(text) < shown:  # the setup was started again
            shown = 0
        for line in text[shown:].splitlines():
            if line in (READY, FAILED):
                return 0 if line == READY else 1
            print(line, flush=True)  # noqa: T201
        shown = len(text)
        time.sleep(POLL_SECONDS)
    print("The setup did not end. Its log: journalctl --unit smart-classroom-cloud-setup", file=sys.stderr)  # noqa: T201
    return 1


def command_check(settings: Settings) -> int:
    """Print what is wrong with the running cloud; 0 when nothing is."""
    api = Api(settings)
    complaints = [api.complaint(service) for service in (IDENTITY, *CATALOG.values())] + [api.services_complaint()]
    found = [complaint for complaint in complaints if complaint]
    found += [f"the unit {unit} is not active" for unit in UNITS if not is_active(unit)]
    for complaint in found:
        print(complaint)  # noqa: T201
    return 1 if found else 0


def main(argv: list[str]) -> int:
    """Entry point: run, follow or check."""
    match argv:
        case ["run"]:
            return command_run(Settings.load(SETTINGS))
        case ["follow"]:
            return command_follow()
        case ["check"]:
            return command_check(Settings.load(SETTINGS))
        case _:
            print("usage: cloud_setup.py run|follow|check", file=sys.stderr)  # noqa: T201
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
