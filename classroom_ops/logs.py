"""``logs``: everything that tells why something went wrong, in one archive, without secrets and students' names."""

from __future__ import annotations

import contextlib
import io
import json
import platform
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from classroom_contract import ContractError
from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key
from classroom_ops import status
from classroom_ops.aws import Aws, AwsFailure, is_missing
from classroom_ops.commands import run, ssh
from classroom_ops.environment import PROJECT_ROOT, Endpoints
from classroom_ops.errors import OpsError, UsageError
from classroom_ops.redaction import Redactor, known_secrets

SOURCE_SECONDS = 45.0
_LINES = 20_000
_HOURS = 24
_MAX_BYTES = 20_000_000
_RUN_SUFFIXES = {".log", ".out", ".err"}
_RUN_NAMES = {"log", "log.previous", "workload.json"}  # a long task's log has no suffix
_NO_RUNS = {"ssh", "secrets", "aws", "openstack"}
_UNITS = (
    "nova-*", "neutron-*", "glance-*", "placement-*", "keystone*", "apache2*", "rabbitmq-server*", "mariadb*",
    "mysql*", "libvirtd*", "virtqemud*", "openvswitch*", "ovs-*", "ovn-*", "memcached*",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One file of the archive and how its text is got."""

    name: str
    read: Callable[[], str]


def _docker_logs(name: str) -> str:
    output = run(["docker", "logs", "--timestamps", "--tail", str(_LINES), name], SOURCE_SECONDS)
    return output.stdout + output.stderr


def _function_containers() -> str:
    listed = run(["docker", "ps", "--all", "--quiet", "--filter", f"label={status.LAMBDA_LABEL}"], SOURCE_SECONDS)
    names = listed.stdout.split()
    return "\n".join(f"== container {name}\n{_docker_logs(name)}" for name in names) or "no container of the function\n"


def _function_events(aws: Aws) -> str:
    start = datetime.now(UTC) - timedelta(hours=_HOURS)
    pages = (
        aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=f"/aws/lambda/{aws.endpoints.function}",
            startTime=int(start.timestamp() * 1000),
            PaginationConfig={"MaxItems": _LINES},
        )
    )
    written = [
        f"{datetime.fromtimestamp(event['timestamp'] / 1000, UTC).isoformat()} {event['logStreamName']} "
        f"{event['message'].rstrip()}"
        for page in pages
        for event in page["events"]
    ]
    return "\n".join(written) + "\n"


def _cloud_journal(container: str) -> str:
    units = [argument for unit in _UNITS for argument in ("--unit", unit)]
    command = ["docker", "exec", container, "journalctl", "--no-pager", "--output", "short-iso", "--lines", str(_LINES)]
    return run([*command, *units], SOURCE_SECONDS).stdout


def _cloud_files(container: str) -> str:
    """The services' own log files, which hold what the journal does not."""
    script = (
        "for file in /var/log/{nova,neutron,glance,keystone,placement,apache2}/*.log; do "
        '[ -s "$file" ] || continue; echo "== $file"; tail -n 2000 "$file"; done'
    )
    return run(["docker", "exec", container, "bash", "-c", script], SOURCE_SECONDS).stdout


def _cloud_units(container: str) -> str:
    return run(["docker", "exec", container, "systemctl", "--no-pager", "--all", "list-units"], SOURCE_SECONDS).stdout


def _poller_journal(endpoints: Endpoints, host: str) -> str:
    argv = ["sudo", "-n", "journalctl", "--no-pager", "--output", "short-iso", "--lines", str(_LINES)]
    return ssh(endpoints, host, [*argv, "--unit", "classroom-poller"], SOURCE_SECONDS).stdout


def _poller_system(endpoints: Endpoints, host: str) -> str:
    script = (
        "uname -a; uptime; df -h; free -m; systemctl --no-pager --failed; systemctl --no-pager status classroom-poller"
    )
    return ssh(endpoints, host, ["sh", "-c", script], SOURCE_SECONDS, ok=tuple(range(255))).stdout


def _console(endpoints: Endpoints, host: str) -> str:
    cloud = status.connect(endpoints, SOURCE_SECONDS / 2)
    server = cloud.compute.find_server(host, ignore_missing=True)
    if server is None:
        raise status.PartDownError(f"there is no VM {host}")
    output = cloud.compute.get_server_console_output(server, length=2000)
    return str(output.get("output") if isinstance(output, dict) else output)


def _versions() -> str:
    commands = (
        ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"],
        ["git", "-C", str(PROJECT_ROOT), "status", "--short"],
        ["docker", "version"],
        ["docker", "ps", "--all"],
        ["docker", "images"],
        ["ip", "-brief", "address"],
        ["ip", "route"],
        [str(PROJECT_ROOT / ".venv" / "bin" / "ansible"), "--version"],
    )
    written = [f"{platform.platform()}, Python {platform.python_version()}\n"]
    for command in commands:
        try:
            said = run(command, 15).stdout
        except OpsError as error:
            said = f"{error}\n"
        written.append(f"$ {' '.join(command)}\n{said}")
    return "\n".join(written)


def _status(endpoints: Endpoints) -> str:
    parts = status.gather(endpoints, status.probes(endpoints))
    return json.dumps(status.document(endpoints, parts), indent=2) + "\n"


def _file(path: Path) -> str:
    """The last part of a file, whole lines."""
    with path.open("rb") as stream:
        length = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, length - _MAX_BYTES))
        if length > _MAX_BYTES:
            stream.readline()
        return stream.read().decode(errors="replace")


def run_logs(state_dir: Path) -> list[Path]:
    """Logs and reports of this environment's own runs; never a key, a secret or an older archive."""
    return sorted(
        path
        for path in state_dir.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and (path.suffix in _RUN_SUFFIXES or path.name in _RUN_NAMES)
        and path.relative_to(state_dir).parts[0] not in _NO_RUNS
    )


def sources(endpoints: Endpoints) -> list[Source]:
    """What is collected from this environment."""
    aws = Aws(endpoints, read_seconds=20, attempts=1)
    listed = [
        Source("versions.txt", _versions),
        Source("status.json", partial(_status, endpoints)),
        Source("function/events.log", partial(_function_events, aws)),
    ]
    if endpoints.aws_container is not None:
        listed.append(Source("aws/emulator.log", partial(_docker_logs, endpoints.aws_container)))
        listed.append(Source("function/containers.log", _function_containers))
    if endpoints.cloud_container is not None:
        listed.append(Source("cloud/journal.log", partial(_cloud_journal, endpoints.cloud_container)))
        listed.append(Source("cloud/files.log", partial(_cloud_files, endpoints.cloud_container)))
        listed.append(Source("cloud/units.txt", partial(_cloud_units, endpoints.cloud_container)))
    for host in endpoints.pollers:
        listed.append(Source(f"{host}/poller.log", partial(_poller_journal, endpoints, host)))
        listed.append(Source(f"{host}/system.txt", partial(_poller_system, endpoints, host)))
        listed.append(Source(f"{host}/console.log", partial(_console, endpoints, host)))
    for path in run_logs(endpoints.state_dir):
        listed.append(Source(f"runs/{path.relative_to(endpoints.state_dir)}", partial(_file, path)))
    return listed


def collect(listed: Sequence[Source], seconds: float = SOURCE_SECONDS) -> dict[str, str]:
    """Read all sources at once, each for `seconds` at most; one that fails leaves its reason in its place."""
    texts: dict[str, str] = {}

    def work(source: Source) -> None:
        try:
            texts[source.name] = source.read()
        except Exception as error:  # a part that is down is what the archive is for
            texts[source.name] = f"could not be collected: {type(error).__name__}: {error}\n"

    threads = [threading.Thread(target=work, args=(source,), daemon=True) for source in listed]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
    late = f"could not be collected: no answer within {seconds:.0f} s\n"
    return {source.name: texts.get(source.name, late) for source in listed}


def write(target: Path, texts: dict[str, str], redact: Redactor) -> int:
    """Write the archive, readable by its owner alone, and return its size in bytes.

    Raises:
        UsageError: it cannot be written there.
    """
    top = target.name.removesuffix(".tar.gz")
    partly = target.with_name(f".{target.name}.part")
    try:
        partly.touch(mode=0o600)
        try:
            with tarfile.open(partly, "w:gz") as archive:
                for name, text in sorted(texts.items()):
                    content = redact(text[-_MAX_BYTES:]).encode()
                    entry = tarfile.TarInfo(f"{top}/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                    archive.addfile(entry, io.BytesIO(content))
            partly.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partly.unlink()
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    return target.stat().st_size


def target_of(endpoints: Endpoints, output: str | None) -> Path:
    """Where the archive goes: `output`, or a new name below the environment's state.

    Raises:
        UsageError: `output` cannot be a file.
    """
    if output is None:
        directory = endpoints.state_dir / "logs"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory / f"smart-classroom-{endpoints.environment}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
    path = Path(output).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} cannot be the archive: name a file in a directory that exists")
    return path


def student_names(aws: Aws) -> set[str]:
    """Names in the table of records, and of everybody whose encodings are known.

    Raises:
        AwsFailure: they cannot be read.
        ContractError: the file of known encodings is damaged.
    """
    place = aws.endpoints
    pages = aws.dynamodb.get_paginator("scan").paginate(
        TableName=place.table, ProjectionExpression="#name", ExpressionAttributeNames={"#name": "name"}
    )
    names = {item["name"]["S"] for page in pages for item in page["Items"]}
    try:
        body = aws.s3.get_object(Bucket=place.gallery_bucket, Key=gallery_key())["Body"].read()
    except AwsFailure as error:
        if is_missing(error):
            return names
        raise
    return names | {name for name, _ in GalleryFile.parse(body).students}


def make(endpoints: Endpoints, output: str | None) -> tuple[Path, int, list[str]]:
    """Make the archive; returns its path, its size in bytes and the sources that could not be collected.

    Raises:
        UsageError: it cannot be written where it was asked for.
    """
    target = target_of(endpoints, output)
    texts = collect(sources(endpoints))
    missing = [
        f"{name} (the archive says why)" for name, said in texts.items() if said.startswith("could not be collected")
    ]
    names: set[str] = set()
    try:
        names = student_names(Aws(endpoints, read_seconds=20, attempts=1))
    except (*AwsFailure, ContractError) as error:
        missing.append(f"names of the students, so look for some before you hand the archive on ({error})")
    return target, write(target, texts, Redactor(known_secrets(endpoints.state_dir), names)), missing
