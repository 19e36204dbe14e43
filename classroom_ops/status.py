"""``status``: is every part of the environment healthy? Read only, all parts asked at once, one screen."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from classroom_contract import ContractError
from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key
from classroom_ops.aws import Aws, AwsFailure, is_missing, reason
from classroom_ops.commands import POLLER_STATUS, run, ssh
from classroom_ops.console import size
from classroom_ops.environment import Endpoints
from classroom_ops.errors import OpsError

PROBE_SECONDS = 8.5  # the screen is promised within ten
_CALL_SECONDS = 4.0
_LOW_DISK_SHARE = 0.05
_LOW_MEMORY_SHARE = 0.05
_COUNTERS = ("answered", "stored", "failures", "in_flight", "rejected", "results")
PAUSE_FILE = "/etc/smart-classroom/paused"  # written by `make pause`; holds since when
LAMBDA_LABEL = "ministack=lambda"


class State(StrEnum):
    """How a part is. Only ``down`` makes the command fail; ``warn`` is something to look at."""

    OK = "ok"
    WARN = "warn"
    DOWN = "down"


@dataclass(frozen=True)
class Part:
    """One line of the screen: `facts` for people, `data` for programs, `fix` what to type when it is not healthy."""

    name: str
    state: State
    facts: str
    fix: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Probe = tuple[str, str, Callable[[], Part | list[Part]]]  # name, what to type when it is down, question


_STYLES = {State.OK: "green", State.WARN: "yellow", State.DOWN: "red"}


class PartDownError(Exception):
    """A probe found its part down; the text says why."""


# -- AWS ---------------------------------------------------------------------------------------------------------------


def identity(aws: Aws) -> Part:
    """Whether AWS answers at all, and as whom."""
    caller = aws.client("sts").get_caller_identity()["Arn"].rpartition(":")[2]
    return Part("AWS", State.OK, f"answers as {caller}", data={"caller": caller})


def buckets(aws: Aws) -> Part:
    """Both buckets and how many objects they hold, counted up to a thousand."""
    counts: dict[str, str] = {}
    for bucket in (aws.endpoints.input_bucket, aws.endpoints.output_bucket):
        page = aws.s3.list_objects_v2(Bucket=bucket, MaxKeys=1000)
        counts[bucket] = f"{page.get('KeyCount', 0)}{'+' if page.get('IsTruncated') else ''}"
    facts = ", ".join(f"{bucket} {count} objects" for bucket, count in counts.items())
    return Part("buckets", State.OK, facts, data=counts)


def queues(aws: Aws) -> Part:
    """Depth of the two queues of the flow, and on AWS the age of the oldest message."""
    data: dict[str, Any] = {}
    facts: list[str] = []
    for name in (aws.endpoints.input_queue, aws.endpoints.output_queue):
        depth = aws.depth(name)
        age = _age(aws, name) if depth.total and aws.endpoints.endpoint_url is None else None
        data[name] = {"waiting": depth.visible, "in_flight": depth.in_flight, "oldest_seconds": age}
        facts.append(
            f"{name} {depth.visible} waiting, {depth.in_flight} in flight" + (f", oldest {age:.0f} s" if age else "")
        )
    return Part("queues", State.OK, "; ".join(facts), data=data)


def dead_letters(aws: Aws) -> Part:
    """Messages that were given up."""
    counts = {name: aws.depth(name).total for name in aws.endpoints.dead_letter_queues}
    facts = ", ".join(f"{name} {count}" for name, count in counts.items())
    if any(counts.values()):
        return Part(
            "dead letters",
            State.DOWN,
            facts,
            "make redrive shows why and moves them back; DRY_RUN=true shows only",
            counts,
        )
    return Part("dead letters", State.OK, facts, data=counts)


def function(aws: Aws) -> Part:
    """The function's state, the image it runs, and when it was last changed."""
    answer = aws.function.get_function(FunctionName=aws.endpoints.function)
    settings = answer["Configuration"]
    image = answer.get("Code", {}).get("ImageUri", "")
    digest = image.rpartition("@sha256:")[2][:12] if "@sha256:" in image else image or "none"
    state = settings.get("State", "Active")
    changed = settings.get("LastModified", "")
    facts = f"{state}, image {digest}, changed {changed[:16].replace('T', ' ')}"
    data = {"state": state, "image": image, "last_modified": changed}
    good = state in {"Active", "Inactive", "Pending"}
    return Part("function", State.OK if good else State.DOWN, facts, None if good else "make up", data)


def table(aws: Aws) -> Part:
    """Students in the table."""
    pages = aws.dynamodb.get_paginator("scan").paginate(TableName=aws.endpoints.table, Select="COUNT")
    count = sum(page["Count"] for page in pages)
    facts = f"{aws.endpoints.table} {count} students"
    if not count:
        return Part("table", State.WARN, facts, "make enroll PHOTOS=dir ROSTER=students.csv", {"students": 0})
    return Part("table", State.OK, facts, data={"students": count})


def gallery(aws: Aws) -> Part:
    """The known encodings: version and students."""
    place = aws.endpoints
    try:
        body = aws.s3.get_object(Bucket=place.gallery_bucket, Key=gallery_key())["Body"].read()
    except AwsFailure as error:
        if is_missing(error):
            text = f"s3://{place.gallery_bucket}/{gallery_key()} does not exist: nobody is enrolled"
            raise PartDownError(text) from error
        raise
    try:
        known = GalleryFile.parse(body)
    except ContractError as error:
        raise PartDownError(f"damaged: {error}") from error
    encodings = sum(len(one) for _, one in known.students)
    data = {"version": known.version, "students": len(known.students), "encodings": encodings}
    facts = f"version {data['version']}, {data['students']} students, {data['encodings']} encodings"
    if not known.students:
        return Part("gallery", State.WARN, facts, "make enroll PHOTOS=dir ROSTER=students.csv", data)
    return Part("gallery", State.OK, facts, data=data)


def _age(aws: Aws, queue: str) -> float | None:
    """Age in seconds of the oldest message, which only CloudWatch knows, and only after some minutes."""
    now = datetime.now(UTC)
    try:
        points = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": queue}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    except AwsFailure:  # an operator without this right still gets the rest
        return None
    newest = max(points, key=lambda point: point["Timestamp"], default=None)
    return float(newest["Maximum"]) if newest else None


# -- containers of this machine ----------------------------------------------------------------------------------------


def container(name: str, what: str) -> Part:
    """A container of this machine that must run."""
    output = run(["docker", "inspect", "--format", "{{json .State}}", name], _CALL_SECONDS, ok=(0, 1))
    if output.code:
        raise PartDownError(f"there is no container {name}")
    state = json.loads(output.stdout)
    status = str(state.get("Status"))
    if status != "running":
        raise PartDownError(f"the container {name} is {status}")
    since = str(state.get("StartedAt", ""))[:16].replace("T", " ")
    return Part(what, State.OK, f"{name} running since {since}", data={"container": name, "status": status})


def warm_functions() -> Part:
    """Containers that hold a warm function."""
    output = run(
        ["docker", "ps", "--filter", f"label={LAMBDA_LABEL}", "--format", "{{.Names}} {{.Status}}"], _CALL_SECONDS
    )
    names = output.stdout.splitlines()
    facts = f"{len(names)} warm containers" if names else "no warm container: the next upload starts one"
    return Part("warm", State.OK, facts, data={"containers": len(names)})


# -- private cloud and VMs ---------------------------------------------------------------------------------------------


def connect(endpoints: Endpoints, seconds: float = _CALL_SECONDS) -> Any:
    """A connection to the private cloud; `seconds` bound each call.

    Raises:
        PartDownError: there is no usable clouds.yaml.
    """
    from openstack.config import OpenStackConfig  # takes a second to import: in the probe's own thread
    from openstack.connection import Connection
    from openstack.exceptions import ConfigException

    # It warns on standard error about a cloud that is away; that is what the caller is about to say.
    logging.getLogger("keystoneauth").addHandler(logging.NullHandler())
    if not endpoints.clouds_yaml.is_file():
        raise PartDownError(f"{endpoints.clouds_yaml} does not exist")
    try:
        config = OpenStackConfig(config_files=[str(endpoints.clouds_yaml)], load_envvars=False)
        region = config.get_one(cloud=endpoints.cloud, api_timeout=seconds)
    except ConfigException as error:
        raise PartDownError(f"{endpoints.clouds_yaml}: {error}") from error
    return Connection(config=region)


def private_cloud(endpoints: Endpoints) -> list[Part]:
    """The cloud's services and agents, and the VMs the pollers run on."""
    cloud = connect(endpoints)
    services = [(service.binary, service.state == "up") for service in _allowed(cloud.compute.services)]
    agents = [(agent.binary, bool(agent.is_alive)) for agent in _allowed(cloud.network.agents)]
    sick = sorted({name for name, up in services + agents if not up})
    facts = f"API answers, {len(services)} compute services, {len(agents)} network agents"
    if not services and not agents:
        facts = "API answers; its services are shown to administrators only"
    data = {"services": dict(services), "agents": dict(agents)}
    if sick:
        first = Part("OpenStack", State.DOWN, f"{facts}; down: {', '.join(sick)}", "make up", data)
    else:
        first = Part("OpenStack", State.OK, f"{facts}, all up" if services or agents else facts, data=data)
    servers = {server.name: server for server in cloud.compute.servers() if server.name in endpoints.pollers}
    return [first, *(_server(name, servers.get(name)) for name in endpoints.pollers)]


def _allowed(question: Callable[[], Any]) -> list[Any]:
    """What a cloud lists; nothing where these credentials may not ask."""
    from openstack.exceptions import ForbiddenException

    try:
        return list(question())
    except ForbiddenException:
        return []


def _server(name: str, server: Any) -> Part:
    title = f"VM {name}"
    if server is None:
        return Part(title, State.DOWN, "does not exist", "make up")
    floating = [
        address["addr"]
        for network in (server.addresses or {}).values()
        for address in network
        if address.get("OS-EXT-IPS:type") == "floating"
    ]
    facts = f"{server.status}, floating address {', '.join(floating) or 'none'}"
    data = {"status": server.status, "floating": floating}
    good = server.status == "ACTIVE" and floating
    return Part(title, State.OK if good else State.DOWN, facts, None if good else "make up", data)


def poller(endpoints: Endpoints, host: str) -> Part:
    """The polling service on one VM, asked over SSH in one go: unit, counters, disk and memory."""
    above = str(Path(endpoints.results_dir).parent)  # the results themselves are closed to the operator's user
    script = (
        "systemctl is-active classroom-poller || true; "
        f"sudo -n sh -c {shlex.quote(POLLER_STATUS)} 2>/dev/null | tr -d '\\n' || true; echo; "
        f"df -B1 --output=avail,size {shlex.quote(above)} 2>/dev/null | tail -n 1 || true; "
        "grep MemAvailable /proc/meminfo; "
        f"cat {PAUSE_FILE} 2>/dev/null || true"
    )
    lines = ssh(endpoints, host, ["sh", "-c", script], PROBE_SECONDS - 0.5).stdout.splitlines()
    lines += [""] * (5 - len(lines))
    return read_poller(host, *lines[:5])


def read_poller(host: str, active: str, status: str, disk: str, memory: str, paused: str = "") -> Part:
    """Turn the lines that a VM answers into a part; `paused` is since when, empty where nobody paused it."""
    title = f"poller {host}"
    data: dict[str, Any] = {"active": active == "active"}
    facts = [active or "unknown"]
    try:
        counters = json.loads(status)
    except ValueError:
        counters = None
    state, fix = State.OK, None
    if isinstance(counters, dict):
        data["status"] = counters
        facts += [f"{counters[key]} {key.replace('_', ' ')}" for key in _COUNTERS if counters.get(key) is not None]
        facts.append(f"last activity {str(counters.get('last_activity') or 'none')[:19].replace('T', ' ')}")
        problems = counters.get("problems")
        if isinstance(problems, dict) and problems:
            state, fix = State.WARN, "make logs; the poller goes on by itself when the cause is gone"
            facts += [str(problem) for problem in problems.values()]
    numbers = disk.split()
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        available, total = int(numbers[0]), int(numbers[1])
        data["disk_available_bytes"] = available
        facts.append(f"disk {size(available)} free")
        if available < total * _LOW_DISK_SHARE:
            state, fix = State.WARN, f"make room on {host}; the poller goes on by itself"
    kilobytes = memory.split()[1:2]
    if kilobytes and kilobytes[0].isdigit():
        data["memory_available_bytes"] = int(kilobytes[0]) * 1024
        facts.append(f"memory {size(int(kilobytes[0]) * 1024)} free")
    if not data["active"] and paused:
        data["paused_since"] = paused
        facts[0] = f"paused since {paused[:16].replace('T', ' ')}"
        state, fix = State.WARN, "make resume; until then videos wait in the queue"
    elif not data["active"]:
        state, fix = State.DOWN, "make up"
    return Part(title, state, ", ".join(facts), fix, data)


def machine(state_dir: Path) -> Part:
    """Disk and memory of this machine."""
    disk = shutil.disk_usage(state_dir)
    meminfo = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        if line.startswith(("MemTotal", "MemAvailable"))
    }
    memory_low = meminfo["MemAvailable"] < meminfo["MemTotal"] * _LOW_MEMORY_SHARE
    disk_low = disk.free < disk.total * _LOW_DISK_SHARE
    facts = f"{size(disk.free)} of disk free, {size(meminfo['MemAvailable'])} of memory free"
    data = {"disk_free_bytes": disk.free, "memory_available_bytes": meminfo["MemAvailable"]}
    low = memory_low or disk_low
    return Part("machine", State.WARN if low else State.OK, facts, "free some of it" if low else None, data)


# -- all together ------------------------------------------------------------------------------------------------------


def probes(endpoints: Endpoints) -> list[Probe]:
    """Everything to ask: name, what to type when it is down, and the question."""
    aws = Aws(endpoints, read_seconds=_CALL_SECONDS, attempts=1)
    reach = "make up" if endpoints.endpoint_url else "check the credentials and the network of this machine"
    asked: list[Probe] = [("AWS", reach, lambda: identity(aws))]
    if endpoints.aws_container is not None:
        name = endpoints.aws_container
        asked.append(("emulator", "make up", lambda: container(name, "emulator")))
    asked += [
        ("buckets", "make up", lambda: buckets(aws)),
        ("queues", "make up", lambda: queues(aws)),
        ("dead letters", "make up", lambda: dead_letters(aws)),
        ("function", "make up", lambda: function(aws)),
    ]
    if endpoints.aws_container is not None:
        asked.append(("warm", "make up", warm_functions))
    asked += [
        ("table", "make up", lambda: table(aws)),
        ("gallery", "make enroll PHOTOS=dir ROSTER=students.csv", lambda: gallery(aws)),
    ]
    if endpoints.cloud_container is not None:
        cloud = endpoints.cloud_container
        asked.append(("cloud", "make up", lambda: container(cloud, "cloud")))
    asked.append(("OpenStack", "make up", lambda: private_cloud(endpoints)))
    for host in endpoints.pollers:
        asked.append((f"poller {host}", "make up", partial(poller, endpoints, host)))
    asked.append(("machine", "make up", lambda: machine(endpoints.state_dir)))
    return asked


def gather(
    endpoints: Endpoints,
    asked: Sequence[Probe],
    seconds: float = PROBE_SECONDS,
) -> list[Part]:
    """Ask everything at once; what has not answered after `seconds` is down."""
    answers: dict[int, list[Part]] = {}

    def work(number: int, name: str, fix: str, probe: Callable[[], Part | list[Part]]) -> None:
        try:
            found = probe()
        except (PartDownError, OpsError) as error:
            found = Part(name, State.DOWN, str(error), fix)
        except AwsFailure as error:
            found = Part(name, State.DOWN, reason(error, endpoints), fix)
        except Exception as error:  # one part that answers nonsense must not hide the others
            found = Part(name, State.DOWN, f"{type(error).__name__}: {error}".splitlines()[0][:160], fix)
        answers[number] = found if isinstance(found, list) else [found]

    threads = [
        threading.Thread(target=work, args=(number, *one), daemon=True, name=one[0]) for number, one in enumerate(asked)
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
    parts: list[Part] = []
    for number, (name, fix, _) in enumerate(asked):
        parts += answers.get(number) or [Part(name, State.DOWN, f"no answer within {seconds:.0f} s", fix)]
    return parts


def screen(endpoints: Endpoints, parts: Sequence[Part]) -> Group:
    """The screen: a line for each part, and what to type about those that are not healthy."""
    title = f"Smart Classroom {endpoints.environment}: {endpoints.endpoint_url or 'AWS'}, region {endpoints.region}"
    table = Table.grid(padding=(0, 2))
    for part in parts:
        table.add_row(Text(part.state.upper(), style=_STYLES[part.state]), part.name, part.facts)
    advice: list[RenderableType] = [f"what next: {part.name}: {part.fix}" for part in parts if part.fix]
    if not advice:
        advice.append(Text("All parts are healthy. Next: make upload VIDEO=clip.mp4", style="dim"))
    return Group(title, table, *advice)


def document(endpoints: Endpoints, parts: Sequence[Part]) -> dict[str, Any]:
    """The screen as JSON."""
    return {
        "schema": 1,
        "environment": endpoints.environment,
        "healthy": is_healthy(parts),
        "parts": [
            {"name": one.name, "state": one.state, "facts": one.facts, "fix": one.fix, "data": dict(one.data)}
            for one in parts
        ],
    }


def is_healthy(parts: Sequence[Part]) -> bool:
    """Whether no part is down."""
    return all(part.state is not State.DOWN for part in parts)
