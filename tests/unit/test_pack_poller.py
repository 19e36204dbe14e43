"""The archive that the role poller ships: what goes in, what it is called, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.programs import ROOT, load

SCRIPT = "roles/poller/files/pack_poller.py"
pack_poller = load(SCRIPT)


def checkout(directory: Path) -> dict[str, Path]:
    contract = directory / "classroom_contract"
    contract.mkdir()
    (contract / "__init__.py").write_text("")
    directory = directory / "vm_service"
    package = directory / "classroom_poller"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text("def main():\n    return 0\n")
    (directory / "pyproject.toml").write_text("[dependency-groups]\npoller = []\n")
    (directory / "lock").write_text("")
    return {"source_dir": directory, "pyproject": directory / "pyproject.toml", "lock": directory / "lock"}


def test_the_name_of_a_bundle_follows_everything_that_goes_in(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    names = {pack_poller.content_hash(**sources, python_version="3.11")}
    assert names == {pack_poller.content_hash(**sources, python_version="3.11")}
    names.add(pack_poller.content_hash(**sources, python_version="3.12"))
    contract = tmp_path / "classroom_contract" / "__init__.py"
    for path in (
        sources["source_dir"] / "classroom_poller" / "cli.py",
        contract,
        sources["pyproject"],
        sources["lock"],
    ):
        path.write_text(path.read_text() + "# changed\n")
        names.add(pack_poller.content_hash(**sources, python_version="3.11"))
    (sources["source_dir"] / "classroom_poller" / "new.py").write_text("")
    names.add(pack_poller.content_hash(**sources, python_version="3.11"))
    assert len(names) == 7


def test_a_checkout_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pack_poller.BundleError, match="holds no package"):
        pack_poller.package_files(tmp_path)


def data_tree(lib: Path) -> None:
    for name in (*pack_poller.KEPT_DATA, "ec2/2016-11-15/service-2.json.gz", "sqs/2012-11-05/examples-1.json"):
        path = lib / "botocore" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    for name in ("boto3", "boto3-1.0.dist-info", "botocore-1.0.dist-info", "bin"):
        (lib / name).mkdir()


def test_only_what_the_service_opens_is_kept(tmp_path: Path) -> None:
    data_tree(tmp_path)
    pack_poller.trim(tmp_path)
    data = tmp_path / "botocore" / "data"
    assert {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()} == set(pack_poller.KEPT_DATA)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["botocore", "botocore-1.0.dist-info"]
    assert not (data / "ec2").exists()


def test_a_botocore_with_other_files_is_refused(tmp_path: Path) -> None:
    data_tree(tmp_path)
    (tmp_path / "botocore" / "data" / "endpoints.json").unlink()
    with pytest.raises(pack_poller.BundleError, match=r"moved its files endpoints\.json"):
        pack_poller.trim(tmp_path)


def test_the_installed_botocore_has_the_files() -> None:
    import botocore

    data = Path(botocore.__file__).parent / "data"
    assert [name for name in pack_poller.KEPT_DATA if not (data / name).exists()] == []


def test_an_archive_depends_on_its_content_only(tmp_path: Path) -> None:
    archives = []
    for number in (1, 2):
        tree = tmp_path / str(number) / "abc"
        (tree / "lib").mkdir(parents=True)
        (tree / "lib" / "module.py").write_text("x = 1\n")
        (tree / "classroom-poller").write_text(pack_poller.LAUNCHER)
        (tree / ".complete").write_text("abc\n")
        (tree / "lib").chmod(0o700 + number)
        archives.append(tmp_path / f"{number}.tar.gz")
        pack_poller.pack(tree, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        entries = tar.getmembers()
    # An unpacking that was interrupted must not look complete.
    assert entries[-1].name == "abc/.complete"
    modes = {entry.name: entry.mode for entry in entries}
    assert modes == {
        "abc/classroom-poller": 0o755,
        "abc/lib": 0o755,
        "abc/lib/module.py": 0o644,
        "abc/.complete": 0o644,
    }
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 0)}


def test_a_failing_download_is_explained(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    with pytest.raises(pack_poller.BundleError, match="could not fetch the wheels"):
        pack_poller.stage(tmp_path / "lib", **sources, uv=Path("/bin/false"), python_version="3.11")
    with pytest.raises(pack_poller.BundleError, match="could not fetch the wheels"):
        pack_poller.stage(tmp_path / "lib", **sources, uv=tmp_path / "missing", python_version="3.11")


def test_compiled_packages_are_refused(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\nmkdir -p "$5"\ntouch "$5/fast.so"\n')
    uv.chmod(0o755)
    with pytest.raises(pack_poller.BundleError, match=r"one architecture only: fast\.so"):
        pack_poller.stage(tmp_path / "lib", **sources, uv=uv, python_version="3.11")


def pack_as_the_role_does(sources: dict[str, Path], cache: Path) -> subprocess.CompletedProcess[str]:
    options = [f"--{name.replace('_', '-')}={path}" for name, path in sources.items()]
    argv = [sys.executable, str(ROOT / SCRIPT), *options, f"--cache-dir={cache}", "--uv=/bin/false"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_what_is_packed_is_named_and_not_packed_again(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    version = pack_poller.content_hash(**sources, python_version="3.11")
    archive = tmp_path / f"classroom-poller-{version}.tar.gz"
    archive.touch()
    done = pack_as_the_role_does(sources, tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"version": version, "path": str(archive)})


def test_a_failure_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = pack_as_the_role_does(checkout(tmp_path), tmp_path / "cache")
    assert done.returncode == 1
    assert done.stderr.startswith("The poller could not be packed: uv could not fetch the wheels")
    assert not list((tmp_path / "cache").iterdir())
