"""Secrets are generated once, encrypted, readable by their owner only, and never printed."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.support.programs import load

SCRIPT = Path(__file__).resolve().parents[2] / "bin/vault-init"


@pytest.fixture(scope="module")
def vault_init() -> Any:
    return load("bin/vault-init")


def decrypt(vault: Path, password: Path) -> dict[str, str]:
    library = VaultLib([("default", VaultSecret(password.read_bytes().strip()))])
    content: dict[str, str] = yaml.safe_load(library.decrypt(vault.read_bytes()))
    return content


def test_generated_once_and_kept(vault_init: Any, tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "config/password"
    assert vault_init.initialise(vault, password) == list(vault_init.NAMES)
    first = decrypt(vault, password)
    assert vault_init.initialise(vault, password) == []
    assert decrypt(vault, password) == first
    assert set(first) == set(vault_init.NAMES)
    assert len(set(first.values())) == len(first)
    for value in first.values():
        assert len(value) == 20
        assert value.isalnum()


def test_only_the_owner_reads_them_and_nothing_is_in_clear(vault_init: Any, tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "config/password"
    vault_init.initialise(vault, password)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (vault, password)} == {0o600}
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert "vault_devstack" not in vault.read_text()


def test_a_new_secret_joins_the_old_ones(vault_init: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "password"
    vault_init.initialise(vault, password)
    first = decrypt(vault, password)
    monkeypatch.setattr(vault_init, "NAMES", (*vault_init.NAMES, "vault_new"))
    assert vault_init.initialise(vault, password) == ["vault_new"]
    assert first.items() <= decrypt(vault, password).items()


def test_a_lost_password_is_said_and_the_vault_stays(vault_init: Any, tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "password"
    vault_init.initialise(vault, password)
    password.unlink()
    with pytest.raises(vault_init.VaultError, match="cannot be recovered"):
        vault_init.initialise(vault, password)
    assert vault.exists()


def test_another_password_is_refused(vault_init: Any, tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "password"
    vault_init.initialise(vault, password)
    password.write_text("another\n")
    with pytest.raises(vault_init.VaultError, match="--password-file"):
        vault_init.initialise(vault, password)


def test_a_password_that_others_can_read_is_refused(vault_init: Any, tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", tmp_path / "password"
    vault_init.initialise(vault, password)
    password.chmod(0o644)
    with pytest.raises(vault_init.VaultError, match="chmod 600"):
        vault_init.initialise(vault, password)


def test_local_needs_none() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "local"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "needs no vault" in done.stderr
