"""Configuration of the private cloud: rendered once, secrets made once, nothing left over."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ansible_collections.smart_classroom.platform.plugins.modules.openstack_configuration import (
    ConfigurationError,
    Plan,
    add_secrets,
    add_tree,
    fingerprint,
    render,
)

ROLE = Path(__file__).resolve().parents[2] / "roles/openstack_allinone"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/a.conf").write_text("address = @@address@@\nkeep @{this} and $that\n", encoding="utf-8")
    script = tree / "run"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o755)
    return tree


def apply(source: Path, dest: Path, values: dict[str, str]) -> list[Path]:
    plan = Plan()
    add_tree(plan, source, dest, values)
    plan.carry_out()
    return plan.changed


def test_renders_and_a_second_time_changes_nothing(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "deep/dest"
    assert len(apply(source, dest, {"address": "1.2.3.4"})) == 2
    assert (dest / "etc/a.conf").read_text() == "address = 1.2.3.4\nkeep @{this} and $that\n"
    assert mode(dest / "etc/a.conf") == 0o600
    assert mode(dest / "run") == 0o700
    (source / "__pycache__").mkdir()
    (source / "__pycache__/run.pyc").write_bytes(b"\xa7")
    assert apply(source, dest, {"address": "1.2.3.4"}) == []


def test_mends_content_mode_and_leftovers(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    apply(source, dest, {"address": "1.2.3.4"})
    (dest / "etc/a.conf").chmod(0o644)
    (dest / "run").write_text("something else", encoding="utf-8")
    (dest / "etc/old.conf").write_text("gone from the source", encoding="utf-8")
    assert apply(source, dest, {"address": "1.2.3.4"}) == [dest / "etc/a.conf", dest / "etc/old.conf", dest / "run"]
    assert mode(dest / "etc/a.conf") == 0o600
    assert not (dest / "etc/old.conf").exists()


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"a\.conf asks for @@nobody@@"):
        render("x = @@nobody@@", {}, "a.conf")


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = Plan()
    made = add_secrets(first, tmp_path, ["admin", "database"])
    first.carry_out()
    second = Plan()
    assert add_secrets(second, tmp_path, ["admin", "database"]) == made
    assert second.changed == []
    assert made["admin"] != made["database"]
    assert len(made["admin"]) == 32
    assert mode(tmp_path / "admin") == 0o600


def test_an_empty_secret_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("\n", encoding="utf-8")
    plan = Plan()
    assert add_secrets(plan, tmp_path, ["admin"])["admin"]
    assert plan.changed == [tmp_path / "admin"]


def test_a_plan_that_is_not_carried_out_writes_nothing(source: Path, tmp_path: Path) -> None:
    plan = Plan()
    add_secrets(plan, tmp_path / "secrets", ["admin"])
    add_tree(plan, source, tmp_path / "dest", {"address": "x"})
    assert not (tmp_path / "secrets").exists()
    assert not (tmp_path / "dest").exists()


def test_the_fingerprint_follows_the_secrets_and_hides_them() -> None:
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})
    assert "secret" not in fingerprint({"a": "secret"})


def test_the_roles_tree_asks_for_nothing_that_the_role_does_not_give(tmp_path: Path) -> None:
    names = (
        "cloud hostname region api_address identity_url floating_cidr floating_prefix virt_type cpu_mode "
        "admin_password database_password messaging_password metadata_password service_password"
    )
    values = {name: f"<{name}>" for name in names.split()}
    apply(ROLE / "files/tree", tmp_path / "tree", values)
    rendered = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "tree").rglob("*") if path.is_file())
    rendered += render((ROLE / "files/client/clouds.yaml").read_text(encoding="utf-8"), values, "clouds.yaml")
    assert "@@" not in rendered
    assert [name for name in values if f"<{name}>" not in rendered] == []
