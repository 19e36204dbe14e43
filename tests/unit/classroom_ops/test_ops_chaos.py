"""Faults on purpose: refused where they must be, undone by the machine that has them, and watched to their end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from classroom_ops import chaos, cli
from classroom_ops.environment import Endpoints
from classroom_ops.errors import OpsError, UsageError

WELL = {"state": "running", "fresh": True, "problems": {}}
# Write down what they were told, in one file, in order.
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> "$FAKE_VM/told"
[ "$1" = is-active ] && echo active
exit 0
"""
POLLER = """#!/bin/sh
cat "$FAKE_VM/status"
"""


@pytest.fixture
def vm(endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VM with a poller that is well, and programs that only write down what they are told."""
    for name, text in (
        ("systemctl", PROGRAM),
        ("systemd-run", PROGRAM),
        ("bash", PROGRAM),
        ("classroom-poller", POLLER),
    ):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "status").write_text(json.dumps(WELL))
    monkeypatch.setattr(chaos, "TICK_SECONDS", 0.01)
    return tmp_path


def told(vm: Path) -> list[str]:
    lines = (vm / "told").read_text().splitlines()
    return [line for line in lines if " is-active" not in line]


def test_the_undoing_is_set_before_the_fault(endpoints: Endpoints, vm: Path) -> None:
    chaos.strike(endpoints, "network", "", None, seconds=0)
    undo, fault = told(vm)
    assert undo.startswith("systemd-run ")
    assert undo.endswith("--on-active=0 systemctl set-property --runtime classroom-poller.service IPAddressDeny=")
    assert fault == "systemctl set-property --runtime classroom-poller.service IPAddressDeny=any"


def test_a_full_disk_is_emptied_by_the_vm(endpoints: Endpoints, vm: Path) -> None:
    chaos.strike(endpoints, "disk", "", None, seconds=0)
    undo, *fault = told(vm)
    assert undo.startswith("systemd-run ")
    assert "rm -f" in undo
    assert fault[0].startswith("bash -c")


def test_it_waits_until_the_poller_is_well(endpoints: Endpoints, vm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, False, True])
    monkeypatch.setattr(chaos, "is_well", lambda *_: next(answers))
    assert chaos.strike(endpoints, "poller", "", None) > 0
    assert told(vm) == ["systemctl kill --signal=KILL classroom-poller"]
    assert next(answers, None) is None


def test_what_does_not_get_well_is_told(endpoints: Endpoints, vm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "RECOVERY_SECONDS", 0.05)
    answers = iter([True])
    monkeypatch.setattr(chaos, "is_well", lambda *_: next(answers, False))
    with pytest.raises(OpsError, match="is not well 0 s after the fault"):
        chaos.strike(endpoints, "poller", "", None)


def test_a_sick_system_is_left_alone(endpoints: Endpoints, vm: Path) -> None:
    (vm / "status").write_text(json.dumps({**WELL, "problems": {"disk": "full"}}))
    with pytest.raises(OpsError, match="is not well as it is"):
        chaos.strike(endpoints, "poller", "", None)
    assert told(vm) == []


@pytest.mark.parametrize(
    ("kind", "confirmed", "host", "said"),
    [
        ("fire", "dev", None, "there is no KIND=fire: poller, function"),
        ("poller", "", None, "type CONFIRM=dev"),
        ("poller", "prod", None, "type CONFIRM=dev"),
        ("function", "dev", None, "is for an environment on this machine"),
        ("hypervisor", "dev", None, "is for an environment on this machine"),
        ("poller", "dev", "vm-9", "there is no poller vm-9"),
    ],
)
def test_what_cannot_be_is_refused(
    endpoints: Endpoints, kind: str, confirmed: str, host: str | None, said: str
) -> None:
    dev = dataclasses.replace(endpoints, environment="dev", endpoint_url=None)
    with pytest.raises(UsageError, match=said):
        chaos.check(dev, kind, confirmed, host)
    assert chaos.check(dev, "disk", "dev", "classroom-poller-1").what


def test_typed_wrongly_is_code_two(vm: Path, in_root: None) -> None:
    assert cli.main(["chaos", "--", "fire"]) == 2
