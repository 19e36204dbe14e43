"""The gallery in its bucket: read when it changed, kept between invocations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from recognition import logs
from recognition.matching import Gallery, GalleryError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class GalleryStore:
    """Known encodings from S3, asked for again after `ttl_seconds` and then only sent when they changed."""

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        key: str,
        ttl_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        baked: Path | None = None,
    ) -> None:
        """Takes the client and where the gallery is; reads nothing yet. `baked` serves while the bucket has none."""
        self._s3, self._bucket, self._key, self._ttl, self._clock = s3, bucket, key, ttl_seconds, clock
        self._baked = baked
        self._gallery = Gallery([])
        self._etag: str | None = None
        self._read_at: float | None = None

    def current(self, *, fresh: bool = False) -> Gallery:
        """Returns the gallery; `fresh` asks S3 whether there is a newer one although the time is not up.

        Raises ClientError and BotoCoreError when S3 does not answer. Without a gallery the one in the image serves, if
        there is one; a damaged one is logged and the last good one stays.
        """
        now = self._clock()
        if not fresh and self._read_at is not None and now - self._read_at < self._ttl:
            return self._gallery
        condition: dict[str, Any] = {"IfNoneMatch": self._etag} if self._etag else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 304:
                self._read_at = now
                return self._gallery
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            self._gallery, self._etag = self._from_image(), None
            logs.event(
                logging.WARNING,
                "gallery_missing",
                bucket=self._bucket,
                key=self._key,
                students_in_the_image=len(self._gallery.names),
            )
        else:
            try:
                self._gallery = Gallery.from_json(answer["Body"].read())
            except GalleryError as error:
                logs.event(logging.ERROR, "gallery_damaged", bucket=self._bucket, key=self._key, reason=str(error))
            self._etag = answer["ETag"]
            logs.event(
                logging.INFO, "gallery_loaded", gallery_version=self._gallery.version, students=len(self._gallery.names)
            )
        self._read_at = now
        return self._gallery

    def _from_image(self) -> Gallery:
        if self._baked is None or not self._baked.is_file():
            return Gallery([])
        try:
            return Gallery.from_json(self._baked.read_bytes())
        except GalleryError as error:
            logs.event(logging.ERROR, "gallery_damaged", file=str(self._baked), reason=str(error))
            return Gallery([])
