#!/usr/bin/env python3
"""Packs the poller with all that it imports as one archive, which the role ships to machines without internet.

Puts the package ``classroom_poller``, the package ``classroom_contract`` that lies beside the source directory, and
their dependencies, at the versions of the lock, into ``classroom-poller-<version>.tar.gz``, whose only directory is
``<version>``: the hash of everything that goes in. The same content is packed once and has one name. Prints
``{"version": …, "path": …}``. pex and shiv would keep botocore's 27 MB of descriptions, and compile on the virtual
machine.
"""

from __future__ import annotations

import argparse
import compileall
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

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
            f"botocore has moved its files {', '.join(missing)}; update KEPT_DATA of {Path(__file__).name}"
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


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source-dir", type=Path, required=True, help="directory that holds the package")
    parser.add_argument("--pyproject", type=Path, required=True, help="its dependency group poller names the imports")
    parser.add_argument("--lock", type=Path, required=True, help="exact versions of all packages")
    parser.add_argument("--cache-dir", type=Path, required=True, help="directory of the archives")
    parser.add_argument("--uv", type=Path, required=True, help="the program uv")
    parser.add_argument("--python-version", default="3.11", help="oldest Python that must run it")
    options = parser.parse_args()
    sources = {name: getattr(options, name) for name in ("source_dir", "pyproject", "lock", "python_version")}
    try:
        version = content_hash(**sources)
        archive = options.cache_dir / f"classroom-poller-{version}.tar.gz"
        if not archive.exists():
            build(**sources, uv=options.uv, archive=archive, version=version)
    except (BundleError, OSError) as error:
        print(f"The poller could not be packed: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps({"version": version, "path": str(archive)}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
