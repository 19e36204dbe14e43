"""Names of objects: no two videos share an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom_contract.keys import (
    VIDEO_SUFFIXES,
    class_of,
    class_problem,
    gallery_key,
    is_video,
    result_keys,
    result_stem,
)


@pytest.mark.parametrize(
    ("video", "stem"),
    [
        ("a/b.mp4", "a/b"),
        ("a/b.MP4", "a/b.MP4"),
        ("a/b.MOV", "a/b.MOV"),
        ("a/b.m4v", "a/b.m4v"),
        ("a/b.webm", "a/b.webm"),
        ("a/b", "a/b"),
        ("lesson 1.2.mp4", "lesson 1.2"),
        ("b.MOV.mp4", "b.MOV.mp4"),
        ("b.mp4.mp4", "b.mp4.mp4"),
    ],
)
def test_only_the_ending_mp4_goes(video: str, stem: str) -> None:
    assert result_stem(video) == stem
    assert result_keys(video).csv == f"{stem}.csv"
    assert result_keys(video).json == f"{stem}.json"
    assert result_keys(video).frame == f"{stem}.jpg"


ENDINGS = st.lists(st.sampled_from(VIDEO_SUFFIXES), min_size=1, max_size=3).map("".join)
VIDEOS = st.builds("{}{}".format, st.sampled_from(["a", "b", "a/b", "a.b"]), ENDINGS)


@given(VIDEOS, VIDEOS)
def test_two_videos_never_share_an_object(one: str, other: str) -> None:
    if one != other:
        ours, theirs = result_keys(one), result_keys(other)
        assert not {ours.csv, ours.json, ours.frame} & {theirs.csv, theirs.json, theirs.frame}


@pytest.mark.parametrize("key", ["a.mp4", "a/b.MOV", "a b.m4v", "ü.M4V", "a.mov", "a.MP4"])
def test_these_are_videos(key: str) -> None:
    assert is_video(key)


@pytest.mark.parametrize("key", ["", "a", ".mp4", "a/.mov", "a.avi", "a.mp4/", "a.Mp4"])
def test_these_are_none(key: str) -> None:
    assert not is_video(key)


def test_a_videos_folder_is_its_class() -> None:
    assert class_of("history-101/week 1/a.mp4") == "history-101"
    assert class_of("U\u0308bung/a.mp4") == "\u00dcbung"
    assert class_of("a.mp4") is None
    assert class_of("/a.mp4") is None


def test_each_class_has_its_known_encodings() -> None:
    assert gallery_key() == "everyone.json"
    assert gallery_key("history-101") == "history-101.json"
    assert gallery_key("U\u0308bung") == "\u00dcbung.json"
    for name in ("", "a/b", "everyone", "Everyone", ".hidden", " a", "a ", "a\nb", "a\\b", "50%", "x" * 101):
        with pytest.raises(ValueError, match=r"like a folder|stands for all"):
            gallery_key(name)
        assert class_of(f"{name}/a.mp4") in (None, "a"), "it is compared with everyone"
    assert class_problem("history 101 (Ü)") == ""
    assert class_problem("50%") == "a class is named like a folder, and '%' cannot be in its name"
