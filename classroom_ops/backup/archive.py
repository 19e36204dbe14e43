"""The archive: a compressed tar of members, with a manifest at its end that has each member's checksum.

Without a passphrase it is an ordinary ``.tar.gz``. Nothing in it is written to a disk when it is read: its members are
handed on one by one, and whoever reads it twice can check all of it before believing any of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from classroom_ops.backup import sealed
from classroom_ops.backup.errors import BackupError

FORMAT = 1
MANIFEST = "manifest.json"
_MOST_BYTES = 1 << 30  # of one member; a result or a class's encodings have a thousandth of it


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself: when and from which environment it is, and its members' checksums (SHA-256)."""

    environment: str
    created: datetime
    members: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)


Add = Callable[[str, bytes], None]


@contextlib.contextmanager
def writing(path: Path, passphrase: str, environment: str, facts: dict[str, Any]) -> Iterator[Add]:
    """A new archive at `path`, readable by its owner alone, whole or not there; yields what adds a member.

    It is encrypted unless `passphrase` is empty. `facts` may be filled until the end.

    Raises:
        BackupError: it cannot be written there.
    """
    partly = path.with_name(f".{path.name}.part")
    members: dict[str, str] = {}
    try:
        partly.unlink(missing_ok=True)
        partly.touch(mode=0o600)
        try:
            with partly.open("wb") as file, contextlib.ExitStack() as stack:
                target: Any = stack.enter_context(sealed.Sealer(file, passphrase)) if passphrase else file
                tar = stack.enter_context(tarfile.open(fileobj=target, mode="w|gz"))

                def add(name: str, content: bytes) -> None:
                    members[name] = hashlib.sha256(content).hexdigest()
                    _add(tar, name, content)

                yield add
                document = {
                    "format": FORMAT,
                    "environment": environment,
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "members": members,
                    **facts,
                }
                _add(tar, MANIFEST, json.dumps(document, ensure_ascii=False, indent=1).encode())
            partly.replace(path)
        finally:
            partly.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    tar.addfile(entry, io.BytesIO(content))


def members(path: Path, passphrase: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's members, the manifest last.

    Raises:
        BackupError: it is none, encrypted and no passphrase is given, damaged, cut off, or of a newer format.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(len(sealed.MAGIC))
            file.seek(0)
            source: IO[bytes] = file
            if sealed.is_sealed(beginning):
                if not passphrase:
                    raise BackupError(
                        f"{path} is encrypted: name the file that holds its passphrase, PASSPHRASE_FILE=file, or put "
                        "the passphrase into the environment as BACKUP_PASSPHRASE"
                    )
                source = cast("IO[bytes]", io.BufferedReader(sealed.Opener(file, passphrase, str(path))))
            elif not beginning.startswith(b"\x1f\x8b"):
                raise BackupError(f"{path} is no backup that `make backup` wrote, or its beginning is damaged")
            yield from _members(source, path)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or sealed.DAMAGED}") from error


def _members(source: IO[bytes], path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=source, mode="r|gz") as tar:
            for entry in tar:
                if entry.size > _MOST_BYTES:
                    raise BackupError(f"{path} {sealed.DAMAGED}")
                reader = tar.extractfile(entry) if entry.isfile() else None
                if reader is None:
                    raise BackupError(f"{path} is no backup that `make backup` wrote: it holds more than files")
                yield entry.name, reader.read()
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise BackupError(f"{path} {sealed.CUT if _is_cut(path) else sealed.DAMAGED}") from error


def _is_cut(path: Path) -> bool:
    """Whether a compressed file can be read as far as it is there, and lacks its end."""
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        try:
            while part := file.read(1 << 16):
                unpacker.decompress(part)
        except zlib.error:
            return False
    return not unpacker.eof


def checked(path: Path, passphrase: str, visit: Add = lambda _name, _content: None) -> Manifest:
    """Read all of an archive and compare each member with its checksum; returns the manifest.

    `visit` is shown each member, before it is known that all is well.

    Raises:
        BackupError: as `members`, or a member is missing, is there unasked, or is not what was written.
    """
    found: dict[str, str] = {}
    document: Any = None
    for name, content in members(path, passphrase):
        if name == MANIFEST:
            try:
                document = json.loads(content)
            except ValueError as error:
                raise BackupError(f"{path} {sealed.DAMAGED}") from error
        elif name in found or document is not None:
            raise BackupError(f"{path} {sealed.DAMAGED}")
        else:
            found[name] = hashlib.sha256(content).hexdigest()
            visit(name, content)
    if document is None:
        raise BackupError(f"{path} {sealed.CUT}")
    try:
        if int(document["format"]) > FORMAT:
            raise BackupError(sealed.newer(str(path), int(document["format"]), FORMAT))
        created = datetime.fromisoformat(document["created"])
        wanted = {str(name): str(checksum) for name, checksum in document["members"].items()}
        manifest = Manifest(str(document["environment"]), created, wanted, document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupError(f"{path} {sealed.DAMAGED}") from error
    if found != wanted:
        raise BackupError(f"{path} {sealed.DAMAGED}")
    return manifest
