"""Writes a container image as an OCI layout: no daemon, no root, any architecture, the same bytes for the same content.

The container engine of Debian 12 labels whatever it builds with its own architecture. An image that is copied together
and runs nothing while it is built needs no engine: its Containerfile is read here, and skopeo pushes the result.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shlex
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
# Fast: most of an image is libraries that compress about as well at any level.
COMPRESSION = 6
EPOCH = "1970-01-01T00:00:00Z"


class ContainerfileError(Exception):
    """The Containerfile has an instruction that needs an engine."""


@dataclass
class Recipe:
    """What a Containerfile says: directories with their destination, and how the container starts."""

    copies: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def read_recipe(text: str) -> Recipe:
    """Read a Containerfile that begins from scratch and only copies.

    Raises:
        ContainerfileError: it does anything else.
    """
    recipe = Recipe()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if not name or (name, rest.strip()) == ("FROM", "scratch"):
            continue
        if name == "COPY":
            source, destination = shlex.split(rest)
            recipe.copies.append((source, destination))
        elif name == "ENV":
            recipe.environment |= dict(item.split("=", 1) for item in shlex.split(rest))
        elif name == "WORKDIR":
            recipe.workdir = rest.strip()
        elif name == "ENTRYPOINT":
            recipe.entrypoint = json.loads(rest)
        elif name == "CMD":
            recipe.command = json.loads(rest)
        else:
            raise ContainerfileError(f"{line.strip()}: only COPY from scratch can be done without a container engine")
    return recipe


class _Digesting:
    """A file that is written to and whose content is hashed on the way."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the owner and the time of this machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def write_layer(blobs: Path, source: Path, destination: str) -> tuple[dict[str, Any], str]:
    """Pack ``source`` as if copied to ``destination``; returns its descriptor and the digest of the unpacked layer."""
    partial = blobs / "partial"
    with partial.open("wb") as file:
        packed = _Digesting(file)
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=COMPRESSION, mtime=0, filename="") as zipped:
            plain = _Digesting(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                prefix = destination.strip("/")
                for parent in reversed(Path(prefix).parents if prefix else []):
                    if str(parent) != ".":
                        _add_directory(archive, str(parent))
                if prefix:
                    _add_directory(archive, prefix)
                for path in sorted(source.rglob("*")):
                    name = "/".join(part for part in (prefix, str(path.relative_to(source))) if part)
                    archive.add(path, name, recursive=False, filter=_plain)
    digest = packed.hash.hexdigest()
    partial.rename(blobs / digest)
    return {"mediaType": LAYER_TYPE, "digest": f"sha256:{digest}", "size": packed.size}, plain.hash.hexdigest()


def _add_directory(archive: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(_plain(member))


def write_json(blobs: Path, media_type: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write a document among the blobs; returns its descriptor."""
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def write_layout(context: Path, target: Path, architecture: str, labels: dict[str, str]) -> str:
    """Make the image that ``context`` with its Containerfile describes, as a layout in ``target``.

    ``architecture`` is Debian's name, which is also OCI's. Returns the digest of the image's manifest.

    Raises:
        ContainerfileError: the Containerfile needs an engine.
    """
    recipe = read_recipe((context / "Containerfile").read_text(encoding="utf-8"))
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = [write_layer(blobs, context / source, destination) for source, destination in recipe.copies]
    config = write_json(
        blobs,
        CONFIG_TYPE,
        {
            "architecture": architecture,
            "os": "linux",
            "created": EPOCH,
            "config": {
                "Env": [f"{name}={value}" for name, value in recipe.environment.items()],
                "WorkingDir": recipe.workdir,
                "Entrypoint": recipe.entrypoint,
                "Cmd": recipe.command,
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for _, digest in layers]},
            "history": [{"created": EPOCH, "created_by": f"COPY {source} {to}"} for source, to in recipe.copies],
        },
    )
    manifest = write_json(
        blobs,
        MANIFEST_TYPE,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config,
            "layers": [descriptor for descriptor, _ in layers],
        },
    )
    entry = manifest | {"platform": {"architecture": architecture, "os": "linux"}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    (target / "index.json").write_text(json.dumps(index))
    (target / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return str(manifest["digest"])
