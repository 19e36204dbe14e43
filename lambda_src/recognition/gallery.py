"""Known encodings in their bucket, of everyone and of each class: read when they changed, kept between invocations."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from classroom_contract.keys import gallery_key
from recognition import logs
from recognition.matching import Gallery, GalleryError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEPT = 64  # galleries; that of a class of 30 takes 100 kB


@dataclass(frozen=True)
class _Read:
    """What an object was when it was looked at; no gallery where there was no such object."""

    gallery: Gallery | None
    etag: str | None
    at: float


class GalleryStore:
    """Known encodings from S3, asked for again after `ttl_seconds` and then only sent when they changed."""

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        ttl_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        baked: Path | None = None,
    ) -> None:
        """Takes the client and where the galleries are; reads nothing yet. `baked` serves while the bucket has none."""
        self._s3, self._bucket, self._ttl, self._clock = s3, bucket, ttl_seconds, clock
        self._baked = baked
        self._read: OrderedDict[str, _Read] = OrderedDict()  # by key, the one that was needed last at the end

    def current(self, class_name: str | None = None, *, fresh: bool = False) -> Gallery:
        """Returns the gallery of a class where there is one of this name, else everyone's.

        `fresh` asks S3 whether there is a newer one although the time is not up. Where the bucket has none of everyone,
        the one in the image serves, and where there is none either, nobody is enrolled. One that cannot be understood
        is logged: the last good one of the same students stays, else the one in the image serves.

        Raises:
            ClientError, BotoCoreError: S3 does not answer.
            GalleryError: there is a gallery, none that was ever understood, and none in the image. To call everybody
                unknown would be a wrong answer.
        """
        of_class = self._at(gallery_key(class_name), fresh=fresh) if class_name is not None else None
        if of_class is not None:
            return of_class
        return self._at(gallery_key(), fresh=fresh) or self._without_everyone()

    def _at(self, key: str, *, fresh: bool) -> Gallery | None:
        """Returns the gallery of an object; nothing when there is no such object."""
        now, before = self._clock(), self._read.get(key)
        if before is not None and not fresh and now - before.at < self._ttl:
            self._read.move_to_end(key)
            return before.gallery
        gallery, etag = self._asked(key, before)
        self._read[key] = _Read(gallery, etag, now)
        self._read.move_to_end(key)
        while len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return gallery

    def _without_everyone(self) -> Gallery:
        instead = self._from_image or Gallery([])
        students = len(instead.names)
        logs.event(logging.WARNING, "gallery_missing", key=gallery_key(), students_in_the_image=students)
        return instead

    def _asked(self, key: str, before: _Read | None) -> tuple[Gallery | None, str | None]:
        condition: dict[str, Any] = {"IfNoneMatch": before.etag} if before and before.etag else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, **condition)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 304 and before is not None:
                return before.gallery, before.etag
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            return None, None
        return self._understood(key, answer["Body"].read(), before), answer["ETag"]

    def _understood(self, key: str, text: bytes, before: _Read | None) -> Gallery:
        try:
            gallery = Gallery.from_json(text)
        except GalleryError as error:
            logs.event(logging.ERROR, "gallery_not_understood", key=key, reason=str(error))
            instead = before.gallery if before and before.gallery is not None else self._from_image
            if instead is None:
                raise
            return instead
        logs.event(
            logging.INFO, "gallery_loaded", key=key, gallery_version=gallery.version, students=len(gallery.names)
        )
        return gallery

    @cached_property
    def _from_image(self) -> Gallery | None:
        if self._baked is None or not self._baked.is_file():
            return None
        try:
            return Gallery.from_json(self._baked.read_bytes())
        except GalleryError as error:
            logs.event(logging.ERROR, "gallery_not_understood", file=str(self._baked), reason=str(error))
            return None
