"""From an environment into an archive, and from an archive into an environment, which may be another one.

Afterwards records and known encodings are those of the archive, byte by byte: who was enrolled since is removed, and
told before. Results of the archive are written, other results stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from classroom_ops.aws import Aws, is_missing
from classroom_ops.backup import archive, sealed
from classroom_ops.backup.errors import BackupError
from classroom_ops.environment import Endpoints
from classroom_ops.errors import UsageError

RECORDS, ENCODINGS, RESULTS = "records.json", "encodings/", "results/"
_SHOWN = 12  # names in one line

Item = dict[str, Any]
Progress = Callable[[str], None]


def target_of(endpoints: Endpoints, directory: str, *, encrypted: bool) -> Path:
    """A new archive's path, in `directory` or below the environment's state. Raises UsageError."""
    place = Path(directory).expanduser() if directory else endpoints.state_dir / "backups"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{place} cannot hold a backup: {error.strerror}") from error
    name = f"smart-classroom-{endpoints.environment}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
    return place / (f"{name}.sealed" if encrypted else name)


def back_up(aws: Aws, path: Path, passphrase: str, *, results: bool, progress: Progress = lambda _: None) -> list[str]:
    """Write an archive of the environment; returns what is in it, a line each.

    Raises:
        BackupError: it cannot be written.
        AwsFailure: table or buckets cannot be read.
    """
    facts: dict[str, Any] = {}
    with archive.writing(path, passphrase, aws.endpoints.environment, facts) as add:
        # Records are read last: who is known then has one, also if somebody is enrolled meanwhile.
        about: dict[str, Any] = {}  # what S3 keeps beside the bytes: the function reads its own marks there
        encodings = _gallery_keys(aws)
        for key in encodings:
            answer = aws.s3.get_object(Bucket=aws.endpoints.gallery_bucket, Key=key)
            about[f"{ENCODINGS}{key}"] = _about(answer)
            add(f"{ENCODINGS}{key}", answer["Body"].read())
        count = 0
        for key in _result_keys(aws) if results else ():
            try:
                answer = aws.s3.get_object(Bucket=aws.endpoints.output_bucket, Key=key)
            except Exception as error:
                if is_missing(error):  # expired since the listing
                    continue
                raise
            about[f"{RESULTS}{key}"] = _about(answer)
            add(f"{RESULTS}{key}", answer["Body"].read())
            count += 1
            if count % 1000 == 0:
                progress(f"{count} results' files")
        items = sorted(_items(aws), key=lambda item: str(item["name"]["S"]))
        add(RECORDS, json.dumps(items, ensure_ascii=False, indent=1).encode())
        facts |= {"about": about, "results": results}
    return [
        f"Records            {len(items)}",
        f"Known encodings    {len(encodings)} object{'' if len(encodings) == 1 else 's'}",
        f"Results            {f'{count} files' if results else 'none; RESULTS=true adds them'}",
        f"Encrypted          {'yes' if passphrase else 'no: whoever has the file has the faces; PASSPHRASE_FILE=file'}",
    ]


@dataclass
class Part:
    """What a restore does to one kind of thing: names of what it adds, overwrites and removes, how many stay equal."""

    added: list[str] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    same: int = 0

    def compare(self, name: str, *, there: bool, equal: bool) -> None:
        """Count one thing of the archive."""
        if equal:
            self.same += 1
        else:
            (self.overwritten if there else self.added).append(name)

    def line(self) -> str:
        """For the reader."""
        told = [
            f"{len(names)} {what} ({_listed(names)})"
            for what, names in (("new", self.added), ("overwritten", self.overwritten), ("removed", self.removed))
            if names
        ]
        return ", ".join([*told, f"{self.same} the same"])


@dataclass
class Plan:
    """What a restore would do."""

    manifest: archive.Manifest
    records: Part
    encodings: Part
    results: Part
    items: list[Item]
    objects: dict[str, bytes]

    @property
    def destroys(self) -> bool:
        """Whether something that is there would be lost."""
        return any(part.overwritten or part.removed for part in (self.records, self.encodings, self.results))

    def lines(self) -> list[str]:
        """For the reader."""
        return [
            f"Backup             of {self.manifest.environment}, {self.manifest.created:%Y-%m-%d %H:%M} UTC",
            f"Records            {self.records.line()}",
            f"Known encodings    {self.encodings.line()}",
            f"Results            {self.results.line()}",
        ]


def plan(aws: Aws, path: Path, passphrase: str) -> Plan:
    """Check all of an archive and compare it with the environment; nothing is changed.

    Raises:
        BackupError: the archive cannot be used.
        AwsFailure: table or buckets cannot be read.
    """
    found: dict[str, bytes] = {}
    etags: dict[str, str] = {}

    def visit(name: str, content: bytes) -> None:
        if name.startswith(RESULTS):
            etags[name.removeprefix(RESULTS)] = hashlib.md5(content, usedforsecurity=False).hexdigest()  # as S3's ETag
        else:
            found[name] = content

    manifest = archive.checked(path, passphrase, visit)
    items = _archived_items(found.pop(RECORDS, b"[]"), path)
    objects = {name.removeprefix(ENCODINGS): content for name, content in found.items() if name.startswith(ENCODINGS)}
    records, encodings, results = Part(), Part(), Part()
    there = {str(item["name"]["S"]): item for item in _items(aws)}
    for item in items:
        name = str(item["name"]["S"])
        records.compare(name, there=name in there, equal=there.get(name) == item)
    records.removed = sorted(there.keys() - {str(item["name"]["S"]) for item in items})
    present = {key: _read(aws, key) for key in _gallery_keys(aws)}
    for key, content in objects.items():
        encodings.compare(key, there=key in present, equal=present.get(key) == content)
    encodings.removed = sorted(present.keys() - objects.keys())
    lying = _result_keys(aws) if etags else {}
    for key, etag in etags.items():
        results.compare(key, there=key in lying, equal=lying.get(key) == etag)
    return Plan(manifest, records, encodings, results, items, objects)


def restore(aws: Aws, path: Path, passphrase: str, planned: Plan, progress: Progress = lambda _: None) -> None:
    """Do what `plan` said. Stopped in the middle, it may be run again.

    Raises:
        AwsFailure: something cannot be written.
    """
    place, about = aws.endpoints, planned.manifest.facts.get("about", {})
    # Records first: whoever is recognised has one. Those that go, go last.
    for item in planned.items:
        aws.dynamodb.put_item(TableName=place.table, Item=item)
    for key, content in planned.objects.items():
        _write(aws, place.gallery_bucket, key, content, about.get(f"{ENCODINGS}{key}", {}))
    for key in planned.encodings.removed:
        aws.s3.delete_object(Bucket=place.gallery_bucket, Key=key)
    for name in planned.records.removed:
        aws.dynamodb.delete_item(TableName=place.table, Key={"name": {"S": name}})
    wanted = {*planned.results.added, *planned.results.overwritten}
    if wanted:
        count = 0
        for name, content in archive.members(path, passphrase):
            key = name.removeprefix(RESULTS)
            if name.startswith(RESULTS) and key in wanted:
                _write(aws, place.output_bucket, key, content, about.get(name, {}))
                count += 1
                if count % 1000 == 0:
                    progress(f"{count} of {len(wanted)} results' files")


def _archived_items(content: bytes, path: Path) -> list[Item]:
    try:
        items = json.loads(content)
        for item in items:
            str(item["name"]["S"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} {sealed.DAMAGED}") from error
    return list(items)


def _items(aws: Aws) -> Iterator[Item]:
    for page in aws.dynamodb.get_paginator("scan").paginate(TableName=aws.endpoints.table, ConsistentRead=True):
        yield from page["Items"]


def _gallery_keys(aws: Aws) -> list[str]:
    return sorted(_listing(aws, aws.endpoints.gallery_bucket))


def _result_keys(aws: Aws) -> dict[str, str]:
    """Keys and ETags of everything in the bucket of results."""
    return _listing(aws, aws.endpoints.output_bucket)


def _listing(aws: Aws, bucket: str) -> dict[str, str]:
    return {
        item["Key"]: item["ETag"].strip('"')
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    }


def _read(aws: Aws, key: str) -> bytes:
    return aws.s3.get_object(Bucket=aws.endpoints.gallery_bucket, Key=key)["Body"].read()


def _about(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": answer.get("Metadata", {}), "content_type": answer.get("ContentType", "")}


def _write(aws: Aws, bucket: str, key: str, content: bytes, about: Mapping[str, Any]) -> None:
    kind = about.get("content_type") or "application/octet-stream"
    aws.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=about.get("metadata", {}), ContentType=kind)


def _listed(names: Collection[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return f"{', '.join(ordered[:_SHOWN])}{more}"
