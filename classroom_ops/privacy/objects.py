"""Every version of every object of a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from classroom_ops.aws import is_missing

_THREADS = 16
_UNVERSIONED = "null"  # S3's name for the version of an object that was written without versioning


@dataclass(frozen=True)
class Version:
    """One version of an object; `latest` is the one that a reader gets."""

    bucket: str
    key: str
    id: str
    latest: bool
    modified: datetime
    etag: str = ""
    size: int = 0


def versions(s3: Any, bucket: str, prefix: str = "") -> tuple[list[Version], list[Version]]:
    """All versions below a prefix, and all delete markers; both empty where there is no such bucket.

    Raises:
        AwsFailure: they cannot be listed.
    """
    found: list[Version] = []
    markers: list[Version] = []
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for kind, into in (("Versions", found), ("DeleteMarkers", markers)):
                into += [
                    Version(
                        bucket,
                        one["Key"],
                        one.get("VersionId") or _UNVERSIONED,
                        one["IsLatest"],
                        one["LastModified"],
                        str(one.get("ETag", "")).strip('"'),
                        int(one.get("Size", 0)),
                    )
                    for one in page.get(kind, [])
                ]
    except ClientError as error:
        if not is_missing(error):
            raise
    return found, markers


def read(s3: Any, version: Version) -> bytes | None:
    """A version's bytes, None where it is gone since. Raises AwsFailure."""
    more = {} if version.id == _UNVERSIONED else {"VersionId": version.id}
    try:
        return bytes(s3.get_object(Bucket=version.bucket, Key=version.key, **more)["Body"].read())
    except ClientError as error:
        if is_missing(error) or _code(error) == "NoSuchVersion":
            return None
        raise


def read_all(
    s3: Any, wanted: Iterable[Version], progress: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[Version, bytes]]:
    """Versions with their bytes, many at once; those that are gone since are left out. Raises AwsFailure."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, (version, content) in enumerate(pool.map(lambda one: (one, read(s3, one)), wanted), start=1):
            progress(number)
            if content is not None:
                yield version, content


def remove(s3: Any, version: Version) -> None:
    """Remove a version for good: nothing of it stays, not even a marker. Raises AwsFailure."""
    # Without the id of an object in a bucket that has never had versions: some of S3's kin know none there.
    try:
        s3.delete_object(Bucket=version.bucket, Key=version.key, VersionId=version.id)
    except ClientError as error:
        if _code(error) not in ("NoSuchVersion", "NoSuchKey", "NoSuchBucket"):
            raise


def replace(s3: Any, version: Version, content: bytes, *, drop: tuple[str, ...] = ()) -> bool:
    """Write `content` in the place of the latest version, and remove that for good.

    What S3 keeps beside the bytes stays, but for the metadata named in `drop`. False where somebody else wrote there
    meanwhile; nothing is changed then. Raises AwsFailure.
    """
    try:
        kept = s3.head_object(Bucket=version.bucket, Key=version.key, IfMatch=f'"{version.etag}"')
        metadata = {name: value for name, value in kept.get("Metadata", {}).items() if name not in drop}
        written = s3.put_object(
            Bucket=version.bucket,
            Key=version.key,
            Body=content,
            Metadata=metadata,
            ContentType=kept.get("ContentType", "application/octet-stream"),
            IfMatch=f'"{version.etag}"',
        )
    except ClientError as error:
        if is_missing(error) or _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
            return False
        raise
    if written.get("VersionId", version.id) != version.id:
        remove(s3, version)
    return True


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
