#!/usr/bin/python
"""Builds the archive that the role ``poller`` ships to machines without internet."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: poller_bundle
short_description: Build the poller with all it imports as one archive
description:
  - Puts the package C(classroom_poller), the package C(classroom_contract) that lies beside O(source_dir), and its
    dependencies, at the versions of the lock, into one archive C(classroom-poller-<hash>.tar.gz), whose only directory
    is C(<hash>).
  - The hash is that of everything that goes in, so the same content is built once and has one name.
  - The archive is a cached product and no state, it is built in check mode too.
options:
  source_dir:
    description: Directory that holds the package.
    type: path
    required: true
  pyproject:
    description: File whose dependency group C(poller) names what the package imports.
    type: path
    required: true
  lock:
    description: Exact versions of all packages.
    type: path
    required: true
  cache_dir:
    description: Directory for built archives.
    type: path
    required: true
  uv:
    description: The program C(uv).
    type: path
    required: true
  python_version:
    description: Oldest Python that must run it.
    type: str
    default: "3.11"
notes:
  - >-
    Nearest: M(community.general.archive), and the programs C(pex) and C(shiv). Those compile byte code on the
    virtual machine and keep botocore's 27 MB of descriptions; none names the archive by its content.
  - >-
    Can go: not foreseen.
author: Smart Classroom (@smart-classroom)
"""

RETURN = r"""
version:
  description: Hash of the content, and name of the directory in the archive.
  type: str
  returned: always
path:
  description: The archive.
  type: str
  returned: always
size_bytes:
  description: Size of the archive.
  type: int
  returned: always
"""

EXAMPLES = r"""
- name: Build the poller
  smart_classroom.platform.poller_bundle:
    source_dir: vm_service
    pyproject: pyproject.toml
    lock: requirements.lock
    cache_dir: .cache/poller
    uv: .venv/bin/uv
  delegate_to: localhost
"""

import compileall
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

from ansible.module_utils.basic import AnsibleModule

PACKAGE = "classroom_poller"
# What the service shares with the function; it lies beside source_dir.
CONTRACT = "classroom_contract"
# botocore describes 400 services in 27 MB. Poller and exporter call three; the rest would only slow down the copy.
KEPT_DATA = (
    "_retry.json",
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    "cloudwatch/2010-08-01/endpoint-rule-set-1.json.gz",
    "cloudwatch/2010-08-01/service-2.json.gz",
    "lambda/2015-03-31/endpoint-rule-set-1.json.gz",
    "lambda/2015-03-31/service-2.json.gz",
    "sqs/2012-11-05/endpoint-rule-set-1.json.gz",
    "sqs/2012-11-05/service-2.json.gz",
)
# The group names boto3, whose clients are botocore's; the service imports botocore alone, which starts faster.
UNUSED = ("bin", "boto3", "s3transfer")
LAUNCHER = """\
#!/usr/bin/python3 -IBS
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
from classroom_poller.cli import main

sys.exit(main())
"""
# To be raised when the code below packs the same content in another way.
FORMAT = 1
PIP_SECONDS = 300


class BundleError(Exception):
    """The archive could not be built; the text says why."""


def package_files(source_dir: Path) -> list[Path]:
    """Source files of both packages, in a fixed order.

    Raises BundleError when there are none.
    """
    files: list[Path] = []
    for package in packages(source_dir):
        found = sorted(package.rglob("*.py"))
        if not found:
            raise BundleError(f"{package} holds no package; is the checkout complete? git status")
        files += found
    return files


def packages(source_dir: Path) -> tuple[Path, Path]:
    """Directories of the project's own packages."""
    return source_dir / PACKAGE, source_dir.parent / CONTRACT


def content_hash(source_dir: Path, pyproject: Path, lock: Path, python_version: str) -> str:
    """Name of the bundle: 16 hex digits that change when anything in it would."""
    digest = hashlib.sha256(repr((FORMAT, python_version, KEPT_DATA, UNUSED, LAUNCHER)).encode())
    for path in [*package_files(source_dir), pyproject, lock]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def stage(lib: Path, source_dir: Path, pyproject: Path, lock: Path, uv: Path, python_version: str) -> None:
    """Fill ``lib`` with the package and its dependencies. Raises BundleError."""
    command = [
        str(uv), "pip", "install", "--quiet", "--target", str(lib), "--constraint", str(lock),
        "--group", f"{pyproject}:poller", "--python-version", python_version, "--only-binary", ":all:", "--no-compile",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleError(f"uv could not fetch the wheels: {error}. Try again, or see: {' '.join(command)}") from error
    if done.returncode != 0:
        raise BundleError(f"uv could not fetch the wheels: {done.stderr.strip()}. See: {' '.join(command)}")
    compiled = [str(path.relative_to(lib)) for path in lib.rglob("*.so")]
    if compiled:
        raise BundleError(f"these run on one Python and one architecture only: {', '.join(compiled)}")
    for package in packages(source_dir):
        shutil.copytree(package, lib / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    trim(lib)
    # Byte code for this Python; the role adds it on machines that have another one.
    compileall.compile_dir(lib, quiet=2, stripdir=lib, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def trim(lib: Path) -> None:
    """Remove what the service never opens. Raises BundleError when a kept file is not there."""
    for name in UNUSED:
        shutil.rmtree(lib / name, ignore_errors=True)
        for info in lib.glob(f"{name}-*.dist-info"):
            shutil.rmtree(info)
    data = lib / "botocore" / "data"
    kept = {data / name for name in KEPT_DATA}
    missing = sorted(str(path.relative_to(data)) for path in kept if not path.exists())
    if missing:
        raise BundleError(
            f"botocore has moved its files {', '.join(missing)}; update KEPT_DATA of the module poller_bundle"
        )
    for path in sorted(data.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()


def members(tree: Path) -> Iterator[Path]:
    """All paths of a tree in a fixed order, the mark of completeness last."""
    yield from sorted(path for path in tree.rglob("*") if path.name != ".complete")
    yield tree / ".complete"


def pack(tree: Path, archive: Path) -> None:
    """Write ``tree`` as an archive that depends on nothing but its content."""
    temporary = archive.with_name(f".{archive.name}.tmp")
    with (
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=9) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in members(tree):
            entry = tar.gettarinfo(str(path), f"{tree.name}/{path.relative_to(tree)}")
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            entry.mode = 0o755 if path.is_dir() or path.name == "classroom-poller" else 0o644
            if path.is_file():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
    temporary.replace(archive)


def build(
    source_dir: Path, pyproject: Path, lock: Path, uv: Path, python_version: str, archive: Path, version: str
) -> None:
    """Make the archive. Raises BundleError."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as workdir:
        tree = Path(workdir) / version
        tree.mkdir()
        stage(tree / "lib", source_dir, pyproject, lock, uv, python_version)
        (tree / "classroom-poller").write_text(LAUNCHER)
        (tree / ".complete").write_text(f"{version}\n")
        pack(tree, archive)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "source_dir": {"type": "path", "required": True},
            "pyproject": {"type": "path", "required": True},
            "lock": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "uv": {"type": "path", "required": True},
            "python_version": {"type": "str", "default": "3.11"},
        },
        supports_check_mode=True,
    )
    source_dir, pyproject, lock, cache_dir, uv = (
        Path(module.params[name]) for name in ("source_dir", "pyproject", "lock", "cache_dir", "uv")
    )
    python_version = module.params["python_version"]
    try:
        version = content_hash(source_dir, pyproject, lock, python_version)
        archive = cache_dir / f"classroom-poller-{version}.tar.gz"
        if changed := not archive.exists():
            build(source_dir, pyproject, lock, uv, python_version, archive, version)
    except (BundleError, OSError) as error:
        module.fail_json(msg=f"The poller could not be packed: {error}")
    module.exit_json(changed=changed, version=version, path=str(archive), size_bytes=archive.stat().st_size)


if __name__ == "__main__":
    main()
