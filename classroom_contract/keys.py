"""Names of objects: the answer to a video, and the known encodings that it is compared with."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

# Endings for which an upload makes an event. S3 compares them letter by letter, so both cases are listed.
VIDEO_SUFFIXES = (".mp4", ".MP4", ".mov", ".MOV", ".m4v", ".M4V")
# Known encodings of all students; those of a class are in ``<class>.json`` beside it.
EVERYONE = "everyone"

_PLAIN_SUFFIX = ".mp4"


@dataclass(frozen=True)
class ResultKeys:
    """The objects of one answer in the output bucket: table, account, and the frame that decided."""

    csv: str
    json: str
    frame: str


def is_video(key: str) -> bool:
    """Whether an upload under `key` is answered: it has a name and one of the endings."""
    name = key.rpartition("/")[2]
    return name.endswith(VIDEO_SUFFIXES) and name not in VIDEO_SUFFIXES


def result_stem(video_key: str) -> str:
    """What the keys of an answer begin with: ``a/b.mp4`` gives ``a/b``, and any other ending stays (``a/b.MOV``).

    Two videos never share it: ``b.MOV.mp4`` keeps its ending too, or it would be taken for ``b.MOV``.
    """
    stem = video_key.removesuffix(_PLAIN_SUFFIX)
    return video_key if stem.endswith(VIDEO_SUFFIXES) else stem


def result_keys(video_key: str) -> ResultKeys:
    """Keys of the answer to a video: ``a/b.mp4`` is answered by ``a/b.csv``, ``a/b.json`` and ``a/b.jpg``.

    They are the same whatever was uploaded under the key: a later answer takes the place of an earlier one, and one
    without a frame removes the picture of the earlier one.
    """
    stem = result_stem(video_key)
    return ResultKeys(f"{stem}.csv", f"{stem}.json", f"{stem}.jpg")


def class_of(video_key: str) -> str | None:
    """The class that a video would belong to: the first folder of its key. None where it lies in no folder."""
    folder, slash, _ = video_key.partition("/")
    return unicodedata.normalize("NFC", folder) if slash and folder else None


def gallery_key(class_name: str = EVERYONE) -> str:
    """Key of the known encodings of a class, or of everyone's.

    Raises:
        ValueError: the name cannot be a folder's.
    """
    if not class_name or "/" in class_name:
        raise ValueError("a class is named like a folder: not empty, and without a slash")
    return f"{unicodedata.normalize('NFC', class_name)}.json"
