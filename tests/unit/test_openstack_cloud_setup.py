"""The program that sets the cloud up: it resumes, reports progress and does not believe old heartbeats."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.programs import load

SCRIPT = "roles/openstack_allinone/templates/tree/rootfs/usr/local/lib/smart-classroom/cloud_setup.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load(SCRIPT)
    monkeypatch.setattr(module, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(module, "STATUS", tmp_path / "run/status")
    monkeypatch.setattr(module, "SCHEMAS", tmp_path / "schemas.sql")
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    return module


@pytest.fixture
def settings(setup: ModuleType) -> Any:
    return setup.Settings("172.24.4.1", "cloud", "RegionOne", "admin", "data'base", "service")


def test_a_step_is_done_once_and_again_when_it_was_interrupted(setup: ModuleType) -> None:
    calls: list[str] = []

    def interrupted() -> None:
        calls.append("begun")
        raise setup.SetupError("killed")

    with pytest.raises(setup.SetupError):
        setup.once("step", interrupted)
    setup.once("step", lambda: calls.append("done"))
    setup.once("step", lambda: calls.append("again"))
    assert calls == ["begun", "done"]


def test_waiting_ends_with_the_last_complaint(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints = iter(["not yet", None])
    setup.wait_for("it", "unit", lambda: next(complaints))
    monkeypatch.setattr(setup, "READY_TIMEOUT_SECONDS", 0.03)
    with pytest.raises(setup.SetupError, match="refused") as caught:
        setup.wait_for("it", "unit", lambda: "refused")
    assert caught.value.unit == "unit"


def test_follow_shows_phases_and_ends_as_the_setup_did(setup: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    setup.say("one")
    setup.say("two")
    with setup.STATUS.open("a") as file:
        file.write("ready\n")
    assert setup.command_follow() == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["phase: one", "phase: two"]
    setup.STATUS.write_text("phase: one\nNeutron: refused\nfailed\n")
    assert setup.command_follow() == 1
    assert "Neutron: refused" in capsys.readouterr().out


def test_a_failed_setup_reports_the_log_of_the_unit(
    setup: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_settings: Any) -> None:
        raise setup.SetupError("glance-api: HTTP 500", "glance-api")

    monkeypatch.setattr(setup, "set_up", fail)
    monkeypatch.setattr(setup, "tail", lambda unit: f"log of {unit}")
    assert setup.command_run(settings) == 1
    text = setup.STATUS.read_text()
    assert "HTTP 500" in text
    assert "log of glance-api" in text
    assert text.endswith("failed\n")


def test_schemas_from_the_cache_are_used_and_a_broken_cache_is_not_fatal(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(setup, "sync_schema", lambda database, _user, _command: made.append(database))
    for name in ("copy_cell0", "map_cells", "save_schemas"):
        monkeypatch.setattr(setup, name, lambda name=name: made.append(name))
    statements: list[str] = []
    monkeypatch.setattr(setup, "sql", statements.append)
    setup.SCHEMAS.write_text("CREATE TABLE x;", encoding="utf-8")
    setup.make_schemas()
    assert made == []
    assert statements[0].startswith("DROP DATABASE IF EXISTS")
    assert statements[0].endswith("CREATE TABLE x;")

    def broken(_text: str) -> str:
        raise setup.SetupError("syntax error")

    monkeypatch.setattr(setup, "sql", broken)
    setup.make_schemas()
    assert set(made) == {*(name for name, _, _ in setup.SYNCS), "copy_cell0", "map_cells", "save_schemas"}


def test_a_password_cannot_end_its_quotes(setup: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    monkeypatch.setattr(setup, "sql", statements.append)
    setup.create_databases(settings)
    assert "IDENTIFIED BY 'data''base'" in statements[0]


@pytest.fixture
def answering(setup: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Lists that the cloud's APIs answer with; tests change them."""
    lists: dict[str, Any] = {
        "services": [{"binary": name, "state": "up"} for name in setup.NOVA_SERVICES],
        "agents": [
            {"binary": name, "alive": True, "heartbeat_timestamp": "2026-01-01 12:00:05"}
            for name in setup.NEUTRON_AGENTS
        ],
        "hypervisors": [{"id": 1}],
    }

    def request(_self: Any, _method: str, url: str, _body: Any = None) -> tuple[dict[str, Any], str]:
        return lists, "token"

    monkeypatch.setattr(setup.Api, "request", request)
    monkeypatch.setattr(setup, "is_active", lambda _unit: True)
    return lists


def test_a_cloud_whose_services_all_report_in_is_complete(
    setup: ModuleType, settings: Any, answering: dict[str, Any]
) -> None:
    assert setup.Api(settings).services_complaint() is None
    answering["hypervisors"] = []
    assert setup.Api(settings).services_complaint() == "Nova knows no hypervisor"


def test_heartbeats_from_before_the_restart_do_not_count(
    setup: ModuleType, settings: Any, answering: dict[str, Any]
) -> None:
    before = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    after = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
    assert setup.Api(settings).services_complaint(before) is None
    assert "neutron-l3-agent" in setup.Api(settings).services_complaint(after)


def test_a_service_that_systemd_has_not_started_is_not_up(
    setup: ModuleType, settings: Any, answering: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "is_active", lambda unit: unit != "nova-compute")
    assert setup.Api(settings).services_complaint() == "not up: nova-compute"


def test_accounts_that_exist_are_not_made_again(
    setup: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def identity(_self: Any, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if method == "GET":
            collection = path.strip("/").split("?")[0]
            return {collection: [{"id": "7"}] if "name=nova" in path else []}
        if method == "POST":
            (kind,) = body
            made.append(f"{kind} {body[kind].get('name', body[kind].get('interface'))}")
            return {kind: {"id": "8"}}
        return {}

    monkeypatch.setattr(setup.Api, "identity", identity)
    setup.Api(settings).accounts()
    assert "user glance" in made
    assert "user nova" not in made
    assert len([item for item in made if item == "endpoint public"]) == len(setup.CATALOG)
