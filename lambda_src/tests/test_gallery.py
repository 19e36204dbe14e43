"""Known encodings in their bucket: when they are asked for, what is sent, and what serves where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from function_cloud import KNOWN, Cloud, Logged
from recognition.gallery import GalleryStore
from recognition.matching import Gallery, GalleryError


def of(*names: str) -> Gallery:
    return Gallery([(name, np.full((1, 128), number / 10)) for number, name in enumerate(names)])


class Bucket:
    """The bucket behind a store, a clock, and what was asked of both: key and status of the answer."""

    def __init__(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, baked: Path | None = None) -> None:
        self.cloud, self.now = cloud, 100.0
        self.asked: list[tuple[str, int]] = []
        self.store = GalleryStore(cloud.clients.s3, KNOWN, 30.0, lambda: self.now, baked)
        get = cloud.clients.s3.get_object

        def spied(**arguments: Any) -> Any:
            try:
                answer = get(**arguments)
            except ClientError as error:
                self.asked.append((arguments["Key"], error.response["ResponseMetadata"]["HTTPStatusCode"]))
                raise
            self.asked.append((arguments["Key"], 200))
            return answer

        monkeypatch.setattr(cloud.clients.s3, "get_object", spied)

    def names(self, class_name: str | None = None, *, fresh: bool = False) -> list[str]:
        return self.store.current(class_name, fresh=fresh).names


@pytest.fixture
def bucket(bare: Cloud, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bare.publish_gallery(of("Ada"))
    return Bucket(bare, monkeypatch)


def test_until_the_time_is_up_nothing_is_asked_then_only_what_changed_is_sent(bucket: Bucket) -> None:
    assert bucket.names() == ["Ada"]
    bucket.now += 29.9
    assert bucket.names() == ["Ada"]
    assert bucket.asked == [("everyone.json", 200)]
    bucket.now += 0.1
    assert bucket.names() == ["Ada"]
    assert bucket.asked[1:] == [("everyone.json", 304)]
    bucket.now += 29.9
    assert bucket.names() == ["Ada"]
    assert len(bucket.asked) == 2, "that it did not change is good for as long again"
    bucket.cloud.publish_gallery(of("Ada", "Grace"))
    assert bucket.names() == ["Ada"]
    bucket.now += 0.1
    assert bucket.names() == ["Ada", "Grace"]
    assert bucket.asked[2:] == [("everyone.json", 200)]


def test_fresh_asks_although_the_time_is_not_up(bucket: Bucket) -> None:
    bucket.names()
    bucket.cloud.publish_gallery(of("Grace"))
    assert bucket.names() == ["Ada"]
    assert bucket.names(fresh=True) == ["Grace"]
    assert bucket.names(fresh=True) == ["Grace"]
    assert [status for _, status in bucket.asked] == [200, 200, 304]


def test_a_gallery_that_was_removed_is_not_kept(bucket: Bucket, logged: Logged) -> None:
    bucket.names()
    bucket.cloud.remove_gallery()
    assert bucket.names() == ["Ada"]
    bucket.now += 30
    assert bucket.names() == []
    (line,) = [line for line in logged() if line["message"] == "gallery_missing"]
    assert (line["level"], line["key"], line["students_in_the_image"]) == ("WARNING", "everyone.json", 0)
    bucket.cloud.publish_gallery(of("Grace"))
    bucket.now += 30
    assert bucket.names() == ["Grace"]


def test_a_class_without_a_file_is_asked_for_once_in_its_time(bucket: Bucket) -> None:
    assert bucket.names("history") == ["Ada"]
    assert bucket.names("history") == ["Ada"]
    assert bucket.asked == [("history.json", 404), ("everyone.json", 200)]
    bucket.cloud.publish_gallery(of("Grace"), "history")
    assert bucket.names("history", fresh=True) == ["Grace"]
    assert bucket.names() == ["Ada"]


def test_of_many_classes_the_last_ones_are_kept(bucket: Bucket) -> None:
    for number in range(65):
        bucket.cloud.publish_gallery(of(f"Student {number}"), f"class {number}")
    for number in range(64):
        bucket.names(f"class {number}")
    bucket.names("class 0")
    bucket.names("class 64")
    bucket.asked.clear()
    assert bucket.names("class 0") == ["Student 0"]
    assert bucket.asked == [], "it was needed a moment ago"
    assert bucket.names("class 1") == ["Student 1"]
    assert bucket.asked == [("class 1.json", 200)], "it was needed last of all"


def test_one_that_is_not_understood_leaves_the_last_good_one(bucket: Bucket, logged: Logged) -> None:
    bucket.names()
    bucket.cloud.publish_gallery(b"{")
    bucket.now += 30
    assert bucket.names() == ["Ada"]
    (line,) = [line for line in logged() if line["message"] == "gallery_not_understood"]
    assert (line["level"], line["key"]) == ("ERROR", "everyone.json")
    assert "damaged" in line["reason"]
    bucket.now += 30
    assert bucket.names() == ["Ada"]
    assert [status for _, status in bucket.asked] == [200, 200, 304], "a damaged one is not read again and again"


def test_the_log_says_what_was_loaded(bucket: Bucket, logged: Logged) -> None:
    version = bucket.store.current().version
    (line,) = [line for line in logged() if line["message"] == "gallery_loaded"]
    assert line == line | {"level": "INFO", "key": "everyone.json", "gallery_version": version, "students": 1}


def test_what_is_in_the_image_serves_where_the_bucket_has_none_or_none_that_is_understood(
    bare: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logged: Logged
) -> None:
    baked = tmp_path / "known-encodings.json"
    baked.write_text(json.dumps(of("Lise").to_json()))
    bucket = Bucket(bare, monkeypatch, baked)
    bare.publish_gallery(b"{")
    assert bucket.names() == ["Lise"]
    bare.remove_gallery()
    assert bucket.names(fresh=True) == ["Lise"]
    assert [line["students_in_the_image"] for line in logged() if line["message"] == "gallery_missing"] == [1]
    baked.write_text("{")
    assert bucket.names(fresh=True) == ["Lise"], "an image does not change"
    damaged = Bucket(bare, monkeypatch, baked)
    assert damaged.names() == []
    assert [line["file"] for line in logged() if "file" in line] == [str(baked)]
    bare.publish_gallery(b"{")
    with pytest.raises(GalleryError):
        damaged.names(fresh=True)


def test_a_bucket_that_does_not_answer_is_no_empty_one(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    monkeypatch.setattr(bucket.cloud.clients.s3, "get_object", denied)
    with pytest.raises(ClientError):
        bucket.names()
