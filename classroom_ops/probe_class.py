"""The students of a verification: a class of its own, made for one run and removed after it, which no list shows.

A video in the folder of a class is compared with that class alone, so a verification needs nobody who is enrolled and
is disturbed by nobody: it works with no students and with thousands. Their records bear a mark that the store of
students knows, and their major says in every result what they are. What a run that was killed leaves is removed by a
later one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from classroom_contract import ContractError
from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key
from classroom_ops.aws import Aws
from classroom_ops.enrolment.store import VERIFICATION_KEY, VERIFICATION_MARK
from classroom_ops.errors import UsageError

FILE = "probe.json"  # beside the clips: known encodings of those who are seen in them
PREFIX = "verification-"
MAJOR = "Verification"
_LEFT_BEHIND = timedelta(hours=1)


@dataclass(frozen=True)
class ProbeClass:
    """Name of the class, and the names under which the people in the clips are known in it."""

    name: str
    people: Mapping[str, str]


@contextmanager
def enrolled(aws: Aws, media: Path) -> Iterator[ProbeClass]:
    """A class of the people in the clips of `media`, for as long as the block runs.

    Raises:
        UsageError: their encodings are not there.
        OpsError: there is no bucket for known encodings.
    """
    known = _known(media)
    run = secrets.token_hex(4)
    people = {name: f"{_name(run)}{number}" for number, (name, _) in enumerate(known.students, 1)}
    probe = ProbeClass(f"{PREFIX}{run}", people)
    gallery = GalleryFile.of(known.model, ((people[name], encodings) for name, encodings in known.students))
    place = aws.endpoints
    _sweep(aws)
    try:
        for name in people.values():
            item = {"name": name, "id": run, "major": MAJOR, "year": f"{datetime.now(UTC):%Y}"}
            aws.dynamodb.put_item(
                TableName=place.table,
                Item={**{key: {"S": value} for key, value in item.items()}, VERIFICATION_MARK: {"BOOL": True}},
            )
        aws.s3.put_object(Bucket=place.gallery_bucket, Key=gallery_key(probe.name), Body=gallery.render().encode())
        yield probe
    finally:
        _remove(aws, gallery_key(probe.name), list(people.values()))


def _known(media: Path) -> GalleryFile:
    path = media / FILE
    try:
        return GalleryFile.parse(path.read_bytes())
    except (OSError, ContractError) as error:
        raise UsageError(f"no encodings of the people in the clips: {path}: {error}") from error


def _remove(aws: Aws, key: str, names: list[str]) -> None:
    """Remove the class's file with all its versions, and the records of these names."""
    place = aws.endpoints
    for name in names:
        aws.dynamodb.delete_item(TableName=place.table, Key={"name": {"S": name}})
    for page in aws.s3.get_paginator("list_object_versions").paginate(Bucket=place.gallery_bucket, Prefix=key):
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            aws.s3.delete_object(Bucket=place.gallery_bucket, Key=one["Key"], VersionId=one["VersionId"])


def _sweep(aws: Aws) -> None:
    """Remove the classes of runs that ended an hour ago or longer without removing theirs."""
    bucket = aws.endpoints.gallery_bucket
    old = datetime.now(UTC) - _LEFT_BEHIND
    for one in aws.s3.list_objects_v2(Bucket=bucket, Prefix=PREFIX).get("Contents", []):
        if VERIFICATION_KEY.fullmatch(one["Key"]) and one["LastModified"] < old:
            run = one["Key"].removeprefix(PREFIX).removesuffix(".json")
            body = aws.s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            names = [name for name, _ in GalleryFile.parse(body).students if name.startswith(_name(run))]
            _remove(aws, one["Key"], names)


def _name(run: str) -> str:
    """What the names of a run's people begin with."""
    return f"Verification probe {run}-"
