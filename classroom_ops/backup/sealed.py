"""Encryption of a stream under a passphrase, so that a change, a cut or another order of its parts is noticed.

The key is made by scrypt (RFC 7914) with OWASP's parameters for passwords. The text is cut into chunks, each sealed
with AES-256-GCM; its nonce counts the chunks and marks the last one (the STREAM construction: Hoang, Reyhanitabar,
Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015). The header is
authenticated with every chunk.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import secrets
import struct
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from classroom_ops.backup.errors import BackupError

MAGIC = b"smart-classroom sealed backup\n"
# Not trusted: it only tells a file that lacks its end from one that was damaged.
END = b"\nend of the backup\n"
FORMAT = 1
# OWASP Password Storage Cheat Sheet: 128 MB of memory, about half a second.
COST, BLOCK, PARALLEL = 2**17, 8, 1
_MOST_COST = 2**20  # a header that asks for more than a gigabyte of memory was not written here
CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16
_PREFIX_BYTES = 7
_HEADER_BYTES = 1024  # more than any header has

DAMAGED = "is damaged: its checksum does not fit its content; use another copy of it"
CUT = "is cut off: its end is missing; copy it once more, or use another copy"


class Sealer(io.RawIOBase):
    """Writes what it is given, sealed, to `target`; `close` ends the stream and leaves `target` open."""

    def __init__(self, target: IO[bytes], passphrase: str) -> None:
        super().__init__()
        self._target, self._waiting, self._number = target, bytearray(), 0
        salt, self._prefix = secrets.token_bytes(16), secrets.token_bytes(_PREFIX_BYTES)
        key, check = _keys(passphrase, salt, COST)
        self._cipher = AESGCM(key)
        header = {
            "format": FORMAT,
            "kdf": "scrypt",
            "cost": COST,
            "salt": salt.hex(),
            "prefix": self._prefix.hex(),
            "check": check,
        }
        self._header = json.dumps(header).encode() + b"\n"
        target.write(MAGIC + self._header)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # any buffer will do
        """Takes all of `data`."""
        self._waiting += data
        while len(self._waiting) > CHUNK_BYTES:  # the last chunk is sealed by `close`, which knows that it is the last
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        """Seal what waits as the last chunk."""
        if not self.closed:
            self._seal(bytes(self._waiting), last=True)
            self._target.write(END)
        super().close()

    def _seal(self, text: bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, last=last)
        self._target.write(self._cipher.encrypt(nonce, text, self._header))
        self._number += 1


class Opener(io.RawIOBase):
    """Reads what a `Sealer` wrote. `name` is what messages call the archive.

    Raises:
        BackupError: wrong passphrase, newer format, damaged, or cut off; from its making and from `read`.
    """

    def __init__(self, source: IO[bytes], passphrase: str, name: str) -> None:
        super().__init__()
        self._source, self._name, self._number = source, name, 0
        self._left = source.seek(-len(END), io.SEEK_END) if _length(source) > len(END) else 0
        if source.read() != END:
            raise BackupError(f"{name} {CUT}")
        source.seek(len(MAGIC))
        self._header = source.readline(_HEADER_BYTES)
        self._left -= source.tell()
        try:
            header = json.loads(self._header)
            made_by = int(header["format"])
            if made_by > FORMAT:
                raise BackupError(newer(name, made_by, FORMAT))
            salt, cost = bytes.fromhex(header["salt"]), int(header["cost"])
            self._prefix, wanted = bytes.fromhex(header["prefix"]), str(header["check"])
            if not (0 < cost <= _MOST_COST and cost & (cost - 1) == 0 and len(self._prefix) == _PREFIX_BYTES):
                raise ValueError("no header that was written here")
            key, check = _keys(passphrase, salt, cost)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{name} {DAMAGED}") from error
        if not hmac.compare_digest(check.encode(), wanted.encode()):
            raise BackupError(f"{name} was encrypted with another passphrase than the one given")
        self._cipher = AESGCM(key)
        self._ready, self._next = b"", self._chunk()
        self._ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]  # any buffer will do
        """Fill `buffer` as far as there is something."""
        while not self._ready and not self._ended:
            self._open_next()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _open_next(self) -> None:
        sealed, self._next = self._next, self._chunk()
        last = not self._next
        try:
            self._ready = self._cipher.decrypt(_nonce(self._prefix, self._number, last=last), sealed, self._header)
        except InvalidTag as error:
            raise BackupError(f"{self._name} {DAMAGED}") from error
        self._number, self._ended = self._number + 1, last

    def _chunk(self) -> bytes:
        found = self._source.read(max(0, min(CHUNK_BYTES + _TAG_BYTES, self._left)))
        self._left -= len(found)
        return found


def _length(source: IO[bytes]) -> int:
    length = source.seek(0, io.SEEK_END)
    source.seek(0)
    return length


def is_sealed(beginning: bytes) -> bool:
    """Whether a file that begins like this is encrypted."""
    return beginning.startswith(MAGIC)


def newer(name: str, found: int, known: int) -> str:
    """What is said about an archive of a later format."""
    return (
        f"{name} was written by a newer version of this project (format {found}, this one reads up to {known}): update "
        "the project first"
    )


def _keys(passphrase: str, salt: bytes, cost: int) -> tuple[bytes, str]:
    """The key, and what tells a wrong passphrase from a damaged file without telling anything about the key."""
    both = Scrypt(salt=salt, length=64, n=cost, r=BLOCK, p=PARALLEL).derive(passphrase.encode())
    return both[:32], hashlib.sha256(both[32:]).hexdigest()[:32]


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + struct.pack(">I?", number, last)
