"""`bin/setup` in a checkout whose symbolic links became files."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_links_that_an_archive_made_files_become_links_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin/setup", tmp_path / "bin/setup")
    (tmp_path / "requirements.lock").write_bytes(b"")
    (tmp_path / ".venv").mkdir()
    (tmp_path / f".venv/.group-controller-{hashlib.sha256(b'').hexdigest()[:16]}").touch()
    common = tmp_path / "inventory/common/group_vars/all"
    common.mkdir(parents=True)
    links = [tmp_path / f"inventory/{name}/group_vars/all/00-common" for name in ("local", "prod")]
    for link in links:
        link.parent.mkdir(parents=True)
        link.write_text("../../../common/group_vars/all")
    said = [
        subprocess.run([tmp_path / "bin/setup"], capture_output=True, text=True, check=True, timeout=60).stderr
        for _ in range(2)
    ]
    assert [link.resolve() for link in links] == [common, common]
    assert said[0].count("symbolic link") == 2
    assert said[1] == ""
