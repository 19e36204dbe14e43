"""What `make lint` looks for: planted secrets of every kind are found, and ordinary text is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
    command = [str(ROOT / "tools/lint-secrets"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_planted_secrets_are_found_and_ordinary_text_is_not(tmp_path: Path) -> None:
    for name, text in PLANTED.items():
        (tmp_path / name).write_text(text)
    ordinary = tmp_path / "ordinary.yml"
    ordinary.write_text("password_file: /run/secret\nkey: '{{ vault_key }}'\naws_secret_access_key: testing\n")
    found = lint(*(tmp_path / name for name in PLANTED), ordinary)
    assert found.returncode == 1
    assert {name for name in PLANTED if name in found.stdout} == set(PLANTED)
    assert "ordinary.yml" not in found.stdout
    assert lint(ordinary).returncode == 0
