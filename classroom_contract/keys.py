"""Names of objects: the answer to a video, and the known encodings that it is compared with."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

# Endings for which an upload makes an event. S3 compares them letter by letter, so both cases are listed.
VIDEO_SUFFIXES = (".mp4", ".MP4", ".mov", ".MOV", ".m4v", ".M4V")
# Known encodings of all students; those of a class are in ``<class>.json`` beside it.
EVERYONE = "everyone"

_PLAIN_SUFFIX = ".mp4"
_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


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


def result_keys(video_key: str, etag: str) -> ResultKeys:
    """Keys of the answer to the video `video_key` with the content `etag`.

    ``a/b.mp4`` is answered by ``a/b.csv``, ``a/b.json`` and ``a/b.<8 digits of the ETag>.jpg``. Table and account have
    one name for a video, whatever was uploaded as it. The frame's follows the content, so that a frame of an earlier
    upload never passes for the present one's; the account names it.
    """
    stem = result_stem(video_key)
    return ResultKeys(f"{stem}.csv", f"{stem}.json", f"{stem}.{short_etag(etag)}.jpg")


def short_etag(etag: str) -> str:
    """Eight hexadecimal digits that stand for an ETag, with or without its quotes."""
    plain = etag.strip('"').lower()
    # Of what is no digest (another store than S3) one is made.
    return plain[:8] if _ETAG.fullmatch(plain) else hashlib.sha256(plain.encode()).hexdigest()[:8]


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
