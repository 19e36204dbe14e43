"""What is asked of S3 to read parts of an object, and what happens when it goes or changes meanwhile."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError
from function_cloud import MEDIA
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from mypy_boto3_s3 import S3Client
from recognition.objects import KEPT_BLOCKS, ObjectChangedError, ObjectGoneError, RangedObject
from recognition.video import UnreadableError, Video
from test_video import clip

BUCKET, KEY = "input-bucket-video", "math/lesson 1.mp4"
BLOCK = 1000


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """S3 in process, with an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


class FakeS3:
    """An S3 that has a large object which is nowhere: each byte follows from its place. It can be made to fail."""

    def __init__(self, size: int, content: bytes | None = None) -> None:
        """Takes the size, and the content if that matters."""
        self.size, self.content = size, content
        self.asked: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.etag = '"v1"'

    def get_object(self, **parameters: Any) -> dict[str, Any]:
        """Answers a ranged request as S3 does."""
        self.asked.append(parameters)
        if self.failures and not isinstance(self.failures[0], ReadTimeoutError | ResponseStreamingError):
            raise self.failures.pop(0)
        if parameters.get("IfMatch", self.etag) != self.etag:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject")
        start, end = (int(number) for number in parameters["Range"].removeprefix("bytes=").split("-"))
        end = min(end, self.size - 1)
        body: Any = io.BytesIO(self.bytes(start, end + 1))
        if self.failures:
            body = Failing(self.failures.pop(0))
        return {
            "Body": body,
            "ETag": self.etag,
            "ContentLength": end + 1 - start,
            "ContentRange": f"bytes {start}-{end}/{self.size}",
        }

    def bytes(self, start: int, end: int) -> bytes:
        """Returns what stands between two places."""
        if self.content is not None:
            return self.content[start:end]
        return bytes((place * 31 + place // 256) % 251 for place in range(start, end))


class Failing(io.BytesIO):
    """A body that fails while it is read."""

    def __init__(self, error: Exception) -> None:
        """Takes what to raise."""
        super().__init__()
        self._error = error

    def read(self, _size: int | None = -1, /) -> bytes:
        """Fails."""
        raise self._error


def opened(fake: FakeS3, **options: Any) -> RangedObject:
    """Opens the fake's object with small blocks."""
    return RangedObject(
        cast("S3Client", fake), BUCKET, KEY, **{"block_bytes": BLOCK, "whole_bytes": 3 * BLOCK} | options
    )


def test_what_is_small_is_read_at_once(s3: S3Client) -> None:
    content = os.urandom(700_000)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=content)
    file = RangedObject(s3, BUCKET, KEY)
    assert file.read() == content
    assert (file.requests, file.bytes_read, file.size_bytes) == (1, len(content), len(content))
    assert file.etag == s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"].strip('"')
    assert file.last_modified is not None
    content = os.urandom(5_000_000)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=content)
    for expected, requests in ((None, 2), (len(content), 1)):
        file = RangedObject(s3, BUCKET, KEY, expected_bytes=expected)
        assert file.read() == content
        assert (file.requests, file.bytes_read) == (requests, len(content))


def test_of_what_is_large_a_part_is_read(s3: S3Client) -> None:
    content = os.urandom(9_000_000)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=content)
    file = RangedObject(s3, BUCKET, KEY, expected_bytes=len(content))
    assert file.seek(-1000, os.SEEK_END) == len(content) - 1000
    assert file.read(2000) == content[-1000:]
    assert file.seek(5_000_000) == 5_000_000
    assert file.read(100) == content[5_000_000:5_000_100]
    assert file.seek(10, os.SEEK_CUR) == 5_000_110
    assert file.read(0) == b""
    assert file.requests == 3
    assert file.bytes_read < 2_500_000
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)


@given(st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 5000)), max_size=20))
def test_it_reads_as_a_file_does(places: list[tuple[int, int]]) -> None:
    fake = FakeS3(10_500)
    file, plain = opened(fake), io.BytesIO(fake.bytes(0, 10_500))
    for place, size in places:
        assert file.seek(place) == plain.seek(place)
        assert file.read(size) == plain.read(size)


def test_an_empty_object_is_empty(s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"")
    file = RangedObject(s3, BUCKET, KEY)
    assert (file.size_bytes, file.read(), file.etag) == (0, b"", "d41d8cd98f00b204e9800998ecf8427e")
    with pytest.raises(UnreadableError, match="the file is empty"):
        Video(file)


def test_an_object_that_is_gone_is_named(s3: S3Client) -> None:
    with pytest.raises(ObjectGoneError):
        RangedObject(s3, BUCKET, KEY)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=os.urandom(9_000_000))
    file = RangedObject(s3, BUCKET, KEY)
    s3.delete_object(Bucket=BUCKET, Key=KEY)
    file.seek(5_000_000)
    with pytest.raises(ObjectGoneError):
        file.read(10)


def test_an_object_that_changed_is_named(s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=os.urandom(9_000_000))
    file = RangedObject(s3, BUCKET, KEY)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=os.urandom(9_000_000))
    file.seek(5_000_000)
    with pytest.raises(ObjectChangedError):
        file.read(10)


def test_a_service_that_does_not_know_conditions_is_noticed_too() -> None:
    fake = FakeS3(100 * BLOCK)
    file = opened(fake)
    fake.etag = '"v2"'
    get = fake.get_object
    fake.get_object = lambda **parameters: get(**{**parameters, "IfMatch": fake.etag})  # type: ignore[method-assign]
    file.seek(50 * BLOCK)
    with pytest.raises(ObjectChangedError):
        file.read(10)


def test_a_version_is_read_after_it_was_overwritten(s3: S3Client) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    content = os.urandom(9_000_000)
    version = s3.put_object(Bucket=BUCKET, Key=KEY, Body=content)["VersionId"]
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"newer")
    file = RangedObject(s3, BUCKET, KEY, version)
    assert file.version_id == version
    file.seek(8_000_000)
    assert file.read(100) == content[8_000_000:8_000_100]
    with pytest.raises(ObjectGoneError):
        RangedObject(s3, BUCKET, "other", version)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown", "InternalError"])
def test_other_answers_come_through(code: str) -> None:
    fake = FakeS3(100 * BLOCK)
    file = opened(fake)
    fake.failures = [ClientError({"Error": {"Code": code}}, "GetObject")]
    file.seek(50 * BLOCK)
    with pytest.raises(ClientError, match=code):
        file.read(10)


def test_what_is_lost_on_the_way_is_asked_for_again() -> None:
    fake = FakeS3(100 * BLOCK)
    file = opened(fake)
    lost = ReadTimeoutError(endpoint_url="https://s3")
    fake.failures = [lost, lost]
    file.seek(50 * BLOCK)
    assert file.read(10) == fake.bytes(50 * BLOCK, 50 * BLOCK + 10)
    fake.failures = [lost, lost, lost]
    file.seek(70 * BLOCK)
    with pytest.raises(ReadTimeoutError):
        file.read(10)


def test_an_answer_that_ends_early_is_asked_for_again_and_never_taken_for_whole() -> None:
    class Short(FakeS3):
        """Gives a byte less than was asked for, so many times."""

        short = 2

        def get_object(self, **parameters: Any) -> dict[str, Any]:
            answer = super().get_object(**parameters)
            if self.asked[1:] and self.short:
                self.short -= 1
                answer["Body"] = io.BytesIO(answer["Body"].read()[:-1])
            return answer

    fake = Short(100 * BLOCK)
    file = opened(fake)
    file.seek(50 * BLOCK)
    assert file.read(BLOCK) == fake.bytes(50 * BLOCK, 51 * BLOCK)
    fake.short = 3
    file.seek(70 * BLOCK)
    with pytest.raises(OSError, match="999 of 1000 bytes at 70000"):
        file.read(BLOCK)


def test_five_gigabytes_are_read_where_they_are_asked_for() -> None:
    size = 5 * 1024**3
    fake = FakeS3(size)
    file = opened(fake, block_bytes=4096)
    for place in (size - 10, size // 2, 3 * 1024**3 + 5):
        file.seek(place)
        assert file.read(10) == fake.bytes(place, min(size, place + 10))
    assert file.requests == 4
    assert file.bytes_read <= 5 * 4096
    assert [parameters.get("IfMatch") for parameters in fake.asked] == [None, '"v1"', '"v1"', '"v1"']


def test_reading_on_takes_fewer_requests_and_bounded_memory() -> None:
    fake = FakeS3(500 * BLOCK)
    file = opened(fake)
    while file.read(700):
        pass
    assert file.requests < 80
    assert file.bytes_read == 500 * BLOCK
    assert len(file._blocks) == KEPT_BLOCKS
    # A frame across a border is nothing to read on from.
    before = file.bytes_read
    for place in (100, 200, 300):
        file.seek(place * BLOCK)
        file.read(BLOCK + 1)
    assert file.bytes_read - before == 6 * BLOCK


def test_a_video_is_read_in_parts(tmp_path: Path) -> None:
    """An hour in small: of a clip with many key frames, and its index at the end, a part is enough."""
    path = clip(tmp_path / "clip.mov", 1800, "mjpeg", step=0)
    fake = FakeS3(path.stat().st_size, path.read_bytes())
    file = opened(fake, block_bytes=4096)
    with Video(file, time.monotonic() + 60) as video:
        frames = [frame.seconds for frame in video.at([0, 30, 15, 45], time.monotonic() + 60)]
    assert frames == pytest.approx([0, 30, 15, 45], abs=0.1)
    assert file.bytes_read < fake.size / 2  # the index alone takes a tenth, and a request no less than 8 kB


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"),
        ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject"),
        OSError("connection reset by peer"),
    ],
)
def test_a_service_that_fails_is_no_fault_of_the_video(tmp_path: Path, error: Exception) -> None:
    content = clip(tmp_path / "clip.mp4", 900, key_frame_each=30).read_bytes()
    for working in range(1, 4):
        fake = FakeS3(len(content), content)
        file = opened(fake, block_bytes=512, whole_bytes=0)
        fake.failures = []
        expected = ObjectChangedError if "Precondition" in str(error) else type(error)
        get, left = fake.get_object, iter(range(working))

        def fails(left: Iterator[int] = left, get: Any = get, **parameters: Any) -> Any:
            if next(left, None) is None:
                raise error
            return get(**parameters)

        fake.get_object = fails  # type: ignore[method-assign]
        with pytest.raises(expected), Video(file) as video:
            list(video.looks(100, time.monotonic() + 60))


def test_a_clip_is_shown_from_the_service(s3: S3Client) -> None:
    name = "barack-obama-720p.mp4"
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=(MEDIA / name).read_bytes())
    with Video(RangedObject(s3, BUCKET, KEY)) as video, Video(MEDIA / name) as same:
        ours, theirs = (list(one.looks(9, time.monotonic() + 60)) for one in (video, same))
    assert [frame.seconds for frame in ours] == [frame.seconds for frame in theirs]
    assert all((one.image == other.image).all() for one, other in zip(ours, theirs, strict=True))
