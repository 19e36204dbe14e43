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
        self._gallery: Gallery | None = None
        self._etag: str | None = None
        self._read_at: float | None = None

    def current(self, *, fresh: bool = False) -> Gallery:
        """Returns the gallery; `fresh` asks S3 whether there is a newer one although the time is not up.

        Where the bucket has none, the one in the image serves, and where there is none either, nobody is enrolled. One
        that cannot be understood is logged: the last good one stays, else the one in the image serves.

        Raises:
            ClientError, BotoCoreError: S3 does not answer.
            GalleryError: there is a gallery, none that was ever understood, and none in the image. To call everybody
                unknown would be a wrong answer.
        """
        now = self._clock()
        if not fresh and self._gallery is not None and self._read_at is not None and now - self._read_at < self._ttl:
            return self._gallery
        condition: dict[str, Any] = {"IfNoneMatch": self._etag} if self._etag else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 304 and self._gallery is not None:
                self._read_at = now
                return self._gallery
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            self._gallery, self._etag = self._from_image() or Gallery([]), None
            students = len(self._gallery.names)
            logs.event(logging.WARNING, "gallery_missing", key=self._key, students_in_the_image=students)
        else:
            self._gallery = self._understood(answer["Body"].read())
            self._etag = answer["ETag"]
        self._read_at = now
        return self._gallery

    def _understood(self, text: bytes) -> Gallery:
        try:
            gallery = Gallery.from_json(text)
        except GalleryError as error:
            logs.event(logging.ERROR, "gallery_not_understood", key=self._key, reason=str(error))
            instead = self._gallery if self._gallery is not None else self._from_image()
            if instead is None:
                raise
            return instead
        logs.event(logging.INFO, "gallery_loaded", gallery_version=gallery.version, students=len(gallery.names))
        return gallery

    def _from_image(self) -> Gallery | None:
        if self._baked is None or not self._baked.is_file():
            return None
        try:
            return Gallery.from_json(self._baked.read_bytes())
        except GalleryError as error:
            logs.event(logging.ERROR, "gallery_not_understood", file=str(self._baked), reason=str(error))
            return None
