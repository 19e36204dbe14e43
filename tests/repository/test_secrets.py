"""Secrets are found before they are committed: planted ones of every kind, and none in what is committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Put together here, so that they are none where they stand.
PLANTED = {
    "access-key.yml": "key: AKIA" + "QYLPMN5HHHFPZAM2\n",
    "secret-key.ini": "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYzzzzzzzKEY\n",
    "private-key.pem": "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n",
    "password.yml": "vault_password: '" + "c0rrect-horse-battery'\n",
    "address.py": 'URL = "https://admin:' + 'hunter2hunter2@db.example/"\n',
    "token.env": "GITHUB_TOKEN=ghp_" + "0123456789abcdefghijklmnopqrstuvwxyzAB\n",
}


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "bin/lint-secrets"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_secret_is_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(PLANTED[name])
    found = lint(file)
    assert found.returncode == 1
    assert name in found.stdout


def test_what_is_committed_holds_none() -> None:
    found = lint()
    assert found.returncode == 0, found.stdout
