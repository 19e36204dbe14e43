"""The status screen: dead parts are shown with what to type, in bounded time, and the others are not hidden."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openstack.exceptions
import pytest
from rich.console import Console

from classroom_ops import cli, status
from classroom_ops.aws import Aws
from classroom_ops.console import plain_text, show
from classroom_ops.environment import Endpoints
from classroom_ops.errors import CommandError
from classroom_ops.status import Part, State


def well(name: str = "a") -> Part:
    return Part(name, State.OK, "fine")


def after(seconds: float, name: str) -> Part:
    time.sleep(seconds)
    return well(name)


def test_part_that_hangs_is_down_and_the_others_are_shown(endpoints: Endpoints) -> None:
    start = time.monotonic()
    parts = status.gather(
        endpoints, [("slow", "make up", lambda: after(30, "slow")), ("quick", "x", lambda: well("quick"))], 0.3
    )
    assert time.monotonic() - start < 3
    assert [(part.name, part.state) for part in parts] == [("slow", State.DOWN), ("quick", State.OK)]
    assert parts[0].fix == "make up"
    assert "no answer within" in parts[0].facts


@pytest.mark.parametrize(
    "error", [CommandError("ssh is not there"), status.PartDownError("gone"), KeyError("nonsense"), OSError("broken")]
)
def test_part_that_fails_is_down_with_its_reason(endpoints: Endpoints, error: Exception) -> None:
    def probe() -> Part:
        raise error

    (part,) = status.gather(endpoints, [("part", "fix it", probe)], 5)
    assert part.state is State.DOWN
    assert part.fix == "fix it"
    assert str(error.args[0]) in part.facts


def test_parts_keep_their_order_and_may_be_several(endpoints: Endpoints) -> None:
    parts = status.gather(
        endpoints,
        [("1", "", lambda: after(0.2, "1")), ("2", "", lambda: [well("2a"), well("2b")])],
        5,
    )
    assert [part.name for part in parts] == ["1", "2a", "2b"]


def test_screen_says_what_next(endpoints: Endpoints) -> None:
    screen = plain_text(status.screen(endpoints, [well(), Part("b", State.DOWN, "gone", "make up")])).splitlines()
    assert screen[0] == "Smart Classroom local: AWS, region us-east-1"
    assert screen[-1].rstrip() == "what next: b: make up"
    assert any(line.split() == ["DOWN", "b", "gone"] for line in screen)
    healthy = plain_text(status.screen(endpoints, [well()])).splitlines()
    assert healthy[-1].rstrip().endswith("Next: make upload VIDEO=clip.mp4")


def test_a_terminal_gets_colours_and_lines_of_its_width(endpoints: Endpoints) -> None:
    parts = [Part("b", State.DOWN, "many words " * 20)]
    console = Console(width=60, force_terminal=True, color_system="standard", no_color=False, highlight=False)
    with console.capture() as captured:
        console.print(status.screen(endpoints, parts))
    assert "\x1b[31mDOWN" in captured.get()
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in captured.get().splitlines()) <= 60


def test_brackets_in_what_a_part_says_are_no_markup(endpoints: Endpoints, capsys: pytest.CaptureFixture[str]) -> None:
    show(status.screen(endpoints, [Part("b", State.DOWN, "[red]gone[/red] :smile:")]), stderr=False)
    assert "[red]gone[/red] :smile:" in capsys.readouterr().out


def test_queues_and_buckets_are_counted(aws: Aws) -> None:
    url = aws.queue_url("input-notification")
    for _ in range(3):
        aws.sqs.send_message(QueueUrl=url, MessageBody="x")
    aws.sqs.receive_message(QueueUrl=url, VisibilityTimeout=60)
    part = status.queues(aws)
    assert part.facts.startswith("input-notification 2 waiting, 1 in flight")
    assert part.data["input-notification"] == {"waiting": 2, "in_flight": 1, "oldest_seconds": None}
    aws.s3.put_object(Bucket="input-bucket-video", Key="a.mp4", Body=b"")
    assert status.buckets(aws).facts == "input-bucket-video 1 objects, output-bucket-vid 0 objects"
    aws.s3.delete_object(Bucket="input-bucket-video", Key="a.mp4")


def test_dead_letters_are_red(aws: Aws) -> None:
    assert status.dead_letters(aws).state is State.OK
    aws.sqs.send_message(QueueUrl=aws.queue_url("output-notification-dlq"), MessageBody="x")
    part = status.dead_letters(aws)
    assert part.state is State.DOWN
    assert "output-notification-dlq 1" in part.facts
    assert part.fix is not None


def test_students_and_gallery(aws: Aws) -> None:
    assert status.table(aws).state is State.WARN
    assert "make enroll" in str(status.table(aws).fix)
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Ada"}})
    assert status.table(aws).facts == "student_table 1 students"
    gallery = {
        "schema": 1,
        "model": "m",
        "version": "0123456789abcdef",
        "students": [{"name": "Ada", "encodings": [[0.0] * 128]}],
    }
    aws.s3.put_object(Bucket="known-encodings", Key="everyone.json", Body=json.dumps(gallery))
    assert status.gallery(aws).facts == "version 0123456789abcdef, 1 students, 1 encodings"
    for damaged in ("", "[]", '{"students": 3}'):
        aws.s3.put_object(Bucket="known-encodings", Key="everyone.json", Body=damaged)
        with pytest.raises(status.PartDownError, match="damaged"):
            status.gallery(aws)


def test_status_reads_only(aws: Aws, in_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    """No message is taken, no object written, whatever else is down."""
    url = aws.queue_url("input-notification")
    aws.sqs.send_message(QueueUrl=url, MessageBody="x")
    start = time.monotonic()
    assert cli.main(["status", "--json"]) == 1
    assert time.monotonic() - start < 10
    document = json.loads(capsys.readouterr().out)
    states = {part["name"]: part["state"] for part in document["parts"]}
    assert document["healthy"] is False
    assert states["AWS"] == states["queues"] == states["dead letters"] == "ok"
    assert states["function"] == states["gallery"] == states["OpenStack"] == "down"
    depth = aws.depth("input-notification")
    assert (depth.visible, depth.in_flight) == (1, 0)
    assert aws.s3.list_objects_v2(Bucket="output-bucket-vid")["KeyCount"] == 0


def test_everything_away_is_still_one_screen_in_time(
    root: Path, written: dict[str, Any], in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    written |= {"endpoint_url": "http://127.0.0.1:9", "aws_container": "no-such", "cloud_container": "no-such"}
    (root / ".state/local/endpoints.json").write_text(json.dumps(written))
    Path(os.environ["FAKE_VM"], "unreachable").touch()
    start = time.monotonic()
    assert cli.main(["status"]) == 1
    assert time.monotonic() - start < 10
    screen = capsys.readouterr().out
    assert "http://127.0.0.1:9 does not answer" in screen
    assert "No route to host" in screen
    assert len(screen.splitlines()) < 50


COUNTERS = {"state": "running", "answered": 7, "stored": 6, "last_activity": "2026-11-23T21:00:00Z", "problems": {}}
STATUS = json.dumps(COUNTERS)
SICK = json.dumps(COUNTERS | {"problems": {"disk": "the disk is full"}})
DISK, MEMORY = "900000000 1000000000", "MemAvailable:     200000 kB"


def test_poller_shows_counters_disk_and_memory() -> None:
    part = status.read_poller("vm", "active", STATUS, DISK, MEMORY)
    assert part.state is State.OK
    assert "7 answered, 6 stored, last activity 2026-11-23 21:00:00" in part.facts
    assert "disk 900.0 MB free, memory 204.8 MB free" in part.facts


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (("inactive", STATUS, DISK, MEMORY), State.DOWN),
        (("failed", "", "", ""), State.DOWN),
        (("", "", "", ""), State.DOWN),
        (("active", "not json", "nonsense", "nonsense"), State.OK),
        (("active", SICK, DISK, MEMORY), State.WARN),
        (("active", STATUS, "1000 1000000000", MEMORY), State.WARN),
    ],
)
def test_poller_in_other_states(lines: tuple[str, str, str, str], state: State) -> None:
    part = status.read_poller("vm", *lines)
    assert part.state is state
    assert (part.fix is None) == (state is State.OK)


class FakeCloud:
    """Answers what the SDK answers."""

    def __init__(self, server: Any, *, up: bool) -> None:
        self._server, self._up = server, up
        self.compute = self.network = self

    def services(self) -> list[Any]:
        return [_thing(binary="nova-compute", state="up" if self._up else "down")]

    def agents(self) -> list[Any]:
        return [_thing(binary="neutron-l3-agent", is_alive=True)]

    def servers(self) -> list[Any]:
        return [self._server] if self._server else []


def _thing(**attributes: Any) -> Any:
    return type("Thing", (), attributes)()


ADDRESSES = {"private": [{"addr": "10.0.0.5", "OS-EXT-IPS:type": "fixed"}, {"addr": "172.24.4.9", "OS-EXT-IPS:type": "floating"}]}  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    ("server", "up", "states"),
    [
        (_thing(name="classroom-poller-1", status="ACTIVE", addresses=ADDRESSES), True, [State.OK, State.OK]),
        (_thing(name="classroom-poller-1", status="ACTIVE", addresses={}), True, [State.OK, State.DOWN]),
        (_thing(name="classroom-poller-1", status="SHUTOFF", addresses=ADDRESSES), True, [State.OK, State.DOWN]),
        (None, True, [State.OK, State.DOWN]),
        (_thing(name="classroom-poller-1", status="ACTIVE", addresses=ADDRESSES), False, [State.DOWN, State.OK]),
    ],
)
def test_private_cloud(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, server: Any, up: bool, states: list[State]
) -> None:
    connect: Callable[[Endpoints], Any] = lambda _: FakeCloud(server, up=up)  # noqa: E731
    monkeypatch.setattr(status, "connect", connect)
    parts = status.private_cloud(endpoints)
    assert [part.state for part in parts] == states
    if states == [State.OK, State.OK]:
        assert parts[1].facts == "ACTIVE, floating address 172.24.4.9"
    if not up:
        assert "down: nova-compute" in parts[0].facts


def test_a_cloud_that_shows_its_services_to_administrators_only_is_healthy(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Campus(FakeCloud):
        def services(self) -> list[Any]:
            raise openstack.exceptions.ForbiddenException("Policy doesn't allow os_compute_api:os-services")

        def agents(self) -> list[Any]:
            raise openstack.exceptions.ForbiddenException("Policy doesn't allow get_agent")

    server = _thing(name="classroom-poller-1", status="ACTIVE", addresses=ADDRESSES)
    monkeypatch.setattr(status, "connect", lambda _: Campus(server, up=True))
    parts = status.private_cloud(endpoints)
    assert [part.state for part in parts] == [State.OK, State.OK]
    assert parts[0].facts == "API answers; its services are shown to administrators only"


def test_clouds_yaml_missing_or_damaged_is_told(endpoints: Endpoints) -> None:
    with pytest.raises(status.PartDownError, match="does not exist"):
        status.connect(endpoints)
    endpoints.clouds_yaml.write_text("clouds: {other: {}}")
    with pytest.raises(status.PartDownError, match="smart-classroom"):
        status.connect(endpoints)


def test_machine(tmp_path: Path) -> None:
    assert "of disk free" in status.machine(tmp_path).facts


def test_parts_of_the_local_environment_only_where_it_has_them(endpoints: Endpoints) -> None:
    def names(these: Endpoints) -> set[str]:
        return {name for name, _, _ in status.probes(these)}

    local = names(replace(endpoints, aws_container="a", cloud_container="c"))
    assert local - names(endpoints) == {"emulator", "warm", "cloud"}
    assert "poller classroom-poller-1" in local


def test_a_paused_poller_is_no_fault_and_names_the_way_on() -> None:
    part = status.read_poller("vm", "inactive", STATUS, DISK, MEMORY, "2026-11-26T17:40:00Z")
    assert (part.state, part.data["paused_since"]) == (State.WARN, "2026-11-26T17:40:00Z")
    assert part.facts.startswith("paused since 2026-11-26 17:40")
    assert part.fix is not None
    assert part.fix.startswith("make resume")
    # Half a resume: it works already.
    assert status.read_poller("vm", "active", STATUS, DISK, MEMORY, "2026-11-26T17:40:00Z").state is State.OK
