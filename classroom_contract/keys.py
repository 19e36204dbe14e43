"""Names of objects: the answer to a video, and the known encodings that it is compared with."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

# Endings for which an upload makes an event. S3 compares them letter by letter, so both cases are listed.
VIDEO_SUFFIXES = (".mp4", ".MP4", ".mov", ".MOV", ".m4v", ".M4V")
# Known encodings of all students; those of a class are in ``<class>.json`` beside it.
EVERYONE = "everyone"

_PLAIN_SUFFIX = ".mp4"
# Signs that S3's documentation advises against in keys (object-keys.html, "Characters to avoid"), and the slash.
_NOT_IN_A_CLASS = frozenset('/\\{}^%`[]"<>~#|')
_LONGEST_CLASS = 100


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


def class_problem(name: str) -> str:
    """What is wrong with `name` as that of a class, so that it is a folder's and part of a key; empty if nothing is."""
    if not name:
        return "a class is named like a folder, and this name is empty"
    if len(name) > _LONGEST_CLASS:
        return f"a class is named like a folder, with {_LONGEST_CLASS} letters at most"
    if odd := next((sign for sign in name if sign in _NOT_IN_A_CLASS or not sign.isprintable()), ""):
        return f"a class is named like a folder, and {odd!r} cannot be in its name"
    if name.startswith(".") or name != name.strip():
        return "a class is named like a folder: without a dot at its begin and without blanks around it"
    if name.casefold() == EVERYONE:
        return f"{name!r} stands for all students and cannot be a class"
    return ""


def class_of(video_key: str) -> str | None:
    """The class that a video would belong to: the first folder of its key. None where that cannot be a class."""
    folder, slash, _ = video_key.partition("/")
    name = unicodedata.normalize("NFC", folder)
    return name if slash and not class_problem(name) else None


def gallery_key(class_name: str | None = None) -> str:
    """Key of the known encodings of a class, or of everyone's.

    Raises:
        ValueError: no class can have this name.
    """
    if class_name is None:
        return f"{EVERYONE}.json"
    name = unicodedata.normalize("NFC", class_name)
    if problem := class_problem(name):
        raise ValueError(problem)
    return f"{name}.json"
