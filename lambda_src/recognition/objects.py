"""An object of S3 as a file that is read where it is asked for, so that an hour's video is not downloaded."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BLOCK_BYTES = 512 * 1024
KEPT_BLOCKS = 64
# A request takes as long as 2 MB of one that runs (25 ms, 80 MB/s), and two looks at a clip take four: below this,
# all of it is read at once.
WHOLE_BYTES = 8 * 1024 * 1024
_FIRST_BLOCKS = 2
_AHEAD_BLOCKS = 8  # at most, where reading goes on block after block
_ATTEMPTS = 3
_GONE = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "404", "405"}  # 405: the version is a delete marker
_CHANGED = {"PreconditionFailed", "412"}
_EMPTY = {"InvalidRange", "416"}


class ObjectGoneError(Exception):
    """There is no such object, or not any more."""


class ObjectChangedError(Exception):
    """The object was overwritten while it was read; its newer content has an event of its own."""


class RangedObject:
    """An object of S3, read by ranges: what `recognition.video.Video` asks of a file, and how much was read.

    `size_bytes`, `etag` (without quotes), `version_id` and `last_modified` are those of the first answer; all others
    have to be of the same ETag. `requests` and `bytes_read` count what was asked for. It belongs to one thread at a
    time. Reading raises ObjectChangedError, ObjectGoneError, and ClientError or BotoCoreError as they come.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        key: str,
        version_id: str | None = None,
        *,
        expected_bytes: int | None = None,
        block_bytes: int = BLOCK_BYTES,
        whole_bytes: int = WHOLE_BYTES,
    ) -> None:
        """Reads the beginning, or all of what is not larger than `whole_bytes`.

        `expected_bytes` is the size if the event told it: a small object then takes one request, not two. Raises
        ObjectGoneError when there is no such object.
        """
        self._client, self._block_bytes = client, block_bytes
        self._parameters: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            self._parameters["VersionId"] = version_id
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._next_block, self._run = 0, 0  # behind the last request, and how many went on where the one before ended
        self.requests = self.bytes_read = 0
        self.size_bytes, self.etag, self.version_id = 0, "", version_id
        self.last_modified: datetime | None = None
        is_small = expected_bytes is not None and expected_bytes <= whole_bytes
        whole_blocks = -(-whole_bytes // block_bytes)
        self._fetch(0, whole_blocks if is_small else _FIRST_BLOCKS)
        if len(self._blocks) * block_bytes < self.size_bytes <= whole_bytes:
            self._fetch(len(self._blocks), whole_blocks)

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes, as many as asked for unless the object ends."""
        end = self.size_bytes if size < 0 else min(self.size_bytes, self._position + size)
        parts = []
        while self._position < end:
            number, offset = divmod(self._position, self._block_bytes)
            part = self._block(number)[offset : offset + end - self._position]
            parts.append(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to a position, which costs nothing; returns it. Raises ValueError for one before the beginning."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._position = start + offset
        return self._position

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._run = self._run + 1 if number == self._next_block else 0
            # Two blocks after one another are a frame across their border, more of them are a file that is read on.
            ahead = min(_AHEAD_BLOCKS, max(1, 2 ** (self._run - 1)))
            self._fetch(number, ahead)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, first: int, count: int) -> None:
        """Reads blocks, whole ones but for the end, and forgets those that were not used for longest."""
        size = self._block_bytes
        data = self._get(first * size, count * size)
        for index, start in enumerate(range(0, len(data), size)):
            self._blocks[first + index] = data[start : start + size]
        self._next_block = first + -(-len(data) // size)
        while len(self._blocks) > max(KEPT_BLOCKS, self._next_block - first):
            self._blocks.popitem(last=False)

    def _get(self, start: int, size: int) -> bytes:
        first = not self.etag
        end = start + size if first else min(start + size, self.size_bytes)
        condition: dict[str, Any] = {} if first else {"IfMatch": f'"{self.etag}"'}
        for attempt in range(1, _ATTEMPTS + 1):
            self.requests += 1
            try:
                answer = self._client.get_object(**self._parameters, **condition, Range=f"bytes={start}-{end - 1}")
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code in _GONE:
                    raise ObjectGoneError(str(error)) from error
                if code in _CHANGED:
                    raise ObjectChangedError(str(error)) from error
                if first and code in _EMPTY:
                    self._describe(self._client.head_object(**self._parameters), 0)
                    return b""
                raise
            with closing(answer["Body"]) as body:
                if first:
                    # A service that knows no ranges answers with all of it.
                    told = answer.get("ContentRange", "")
                    self._describe(answer, int(told.rpartition("/")[2]) if told else answer["ContentLength"])
                    first, condition, end = False, {"IfMatch": answer["ETag"]}, min(end, self.size_bytes)
                elif answer["ETag"].strip('"') != self.etag:
                    raise ObjectChangedError(f"the ETag was {self.etag} and is {answer['ETag']}")
                try:
                    data = body.read(end - start)
                except BotoCoreError:
                    # botocore repeats requests, but not what is lost while the answer is read.
                    if attempt == _ATTEMPTS:
                        raise
                    continue
            self.bytes_read += len(data)
            if len(data) == end - start:
                return data
        raise OSError(f"the service gave {len(data)} of {end - start} bytes at {start}")

    def _describe(self, answer: Any, size_bytes: int) -> None:
        self.size_bytes, self.etag = size_bytes, answer["ETag"].strip('"')
        self.version_id = answer.get("VersionId", self.version_id)
        self.last_modified = answer.get("LastModified")
