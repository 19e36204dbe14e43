"""Finds the photos in a directory and makes each one an upright JPEG of bounded size, as the function's image reads it.

What a file holds decides, not the ending of its name. Of a photo that is one already the bytes are taken as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import pillow_heif
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 200_000_000
# Faces are searched in copies of at most 2600 pixels; what is larger only takes time.
_LONGEST_SIDE = 4096
_QUALITY = 95
_BACKGROUND = (224, 224, 224)  # under what is transparent: a plain wall
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF")  # JPEG includes the MPO of some phones
_TAKEN_AS_THEY_ARE = frozenset({("JPEG", "RGB"), ("MPO", "RGB")})
_BYTES_A_PIXEL = 4 * 2  # as Pillow keeps them, while one form is made of another
# Endings by which somebody means a photo; other files may lie beside them (a list, notes).
_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        *(
            "jpg",
            "jpeg",
            "jpe",
            "jfif",
            "png",
            "webp",
            "heic",
            "heif",
            "hif",
            "avif",
            "tif",
            "tiff",
            "gif",
            "bmp",
            "svg",
        ),
        *("psd", "pdf", "cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "rw2"),
    )
)
_HIDDEN_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_HIDDEN_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin"})
_SHOWN = 3  # names of skipped files that are told

pillow_heif.register_heif_opener()
# Pillow's own limit is a process's; it refuses what has twice as many.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2


class PhotoError(ValueError):
    """A photo cannot be used; the text says why, and what to do."""


@dataclass(frozen=True)
class Found:
    """Files below a directory, by their paths below it: photos, and what was skipped (`notes`, one line each)."""

    photos: tuple[PurePath, ...]
    notes: tuple[str, ...]


def find(directory: Path) -> Found:
    """Everything below `directory` that is, or is meant as, a photo. Raises OSError."""
    photos: list[PurePath] = []
    hidden: list[str] = []
    others: list[str] = []
    for path in sorted(_files(directory)):
        relative = path.relative_to(directory)
        if _is_hidden(relative):
            hidden.append(str(relative))
        elif path.suffix.lower() in _ENDINGS or _is_picture(path):
            photos.append(relative)
        else:
            others.append(str(relative))
    notes = []
    if hidden:
        notes.append(f"{_files_of(len(hidden))} of the operating system skipped: {_some(hidden)}")
    if others:
        notes.append(
            f"{_files_of(len(others))} that {'is no picture' if len(others) == 1 else 'are no pictures'} "
            f"skipped: {_some(others)}"
        )
    return Found(tuple(photos), tuple(notes))


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory, onerror=_raise):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(relative: PurePath) -> bool:
    folders = (part.casefold() for part in relative.parts[:-1])
    name = relative.name.casefold()
    return (
        name.startswith(".")
        or name in _HIDDEN_FILES
        or any(folder.startswith(".") or folder in _HIDDEN_FOLDERS for folder in folders)
    )


def _is_picture(path: Path) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # whatever it is, the reading of it says so by name
        return True


def _files_of(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def prepare(source: Path, target: Path) -> None:
    """Write the photo `source` as an upright JPEG to `target`.

    Raises:
        PhotoError: it is no picture in a form that is read, is damaged, or too large.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=_FORMATS) as photo:
            _check_size(photo)
            if _is_as_wanted(photo):
                shutil.copyfile(source, target)
                return
            _upright(photo).save(target, "JPEG", quality=_QUALITY, subsampling=0)
    except UnidentifiedImageError as error:
        raise PhotoError(_no_picture(source)) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"has more than {MAX_PIXELS // 1_000_000} megapixels: save it smaller") from error
    except MemoryError as error:
        raise PhotoError("is too large for the memory of this machine: save it smaller") from error
    except PhotoError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise PhotoError(f"cannot be read: {error.strerror}") from error
        raise PhotoError(_damaged(error)) from error
    except Exception as error:  # decoders raise what they like about damaged files
        raise PhotoError(_damaged(error)) from error


def _damaged(error: Exception) -> str:
    return f"is damaged ({str(error)[:120] or type(error).__name__}): copy it again, or save it as a JPEG"


def _no_picture(source: Path) -> str:
    with source.open("rb") as file:
        start = file.read(16)
    kinds = {b"GIF8": "a GIF", b"BM": "a BMP", b"%PDF": "a PDF", b"8BPS": "a Photoshop file", b"<svg": "an SVG"}
    kind = next((name for mark, name in kinds.items() if start.startswith(mark)), "")
    if not start:
        return "is empty: copy it again; of a photo in a cloud's folder only a placeholder may be on this machine"
    if kind:
        return f"is {kind}: save it as JPEG or PNG"
    return "is not a picture that can be read: save it as JPEG or PNG"


def _check_size(photo: Image.Image) -> None:
    pixels = photo.width * photo.height
    if pixels > MAX_PIXELS:
        raise Image.DecompressionBombError
    # A JPEG is made smaller while it is unpacked, others have to be unpacked as a whole.
    needed = pixels * _BYTES_A_PIXEL
    available = _available_memory()
    if photo.format not in ("JPEG", "MPO") and available is not None and needed > available:
        raise PhotoError(
            f"needs {needed >> 20} MB of memory, and {available >> 20} MB are free: save it smaller, or as JPEG"
        )


def _available_memory() -> int | None:
    """Bytes that this machine can give without swapping; None where that cannot be found out."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _is_as_wanted(photo: Image.Image) -> bool:
    if (photo.format, photo.mode) not in _TAKEN_AS_THEY_ARE or max(photo.size) > _LONGEST_SIDE:
        return False
    if photo.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return False
    photo.load()  # raises OSError where the file is damaged
    return True


def _upright(photo: Image.Image) -> Image.Image:
    if max(photo.size) > _LONGEST_SIDE:
        if photo.mode in ("P", "1"):  # of places in a palette there is no mean
            photo = photo.convert("RGBA" if photo.has_transparency_data else "RGB")
        means = Image.Resampling.NEAREST if photo.mode.startswith("I;") else Image.Resampling.BICUBIC
        # Of a JPEG a half, a quarter or an eighth is unpacked; of others this is the first that needs no whole copy.
        photo.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), means, reducing_gap=2.0)
    return ImageOps.exif_transpose(_in_colour(photo))


def _in_colour(photo: Image.Image) -> Image.Image:
    """In eight bits of red, green and blue; what is transparent on a plain background."""
    if photo.mode in ("I", "F") or photo.mode.startswith("I;"):
        return _in_eight_bits(photo).convert("RGB")
    if not photo.has_transparency_data:
        return photo.convert("RGB")
    cut_out = photo.convert("RGBA")
    plain = Image.new("RGBA", cut_out.size, (*_BACKGROUND, 255))
    plain.alpha_composite(cut_out)
    return plain.convert("RGB")


def _in_eight_bits(photo: Image.Image) -> Image.Image:
    """Grey of more than eight bits; `convert` would cut off what is above 255."""
    if photo.mode.startswith("I;"):
        photo = photo.convert("I")
    low, high = (float(end) for end in photo.getextrema() if not isinstance(end, tuple))
    if photo.mode == "F":  # any range is usual
        scale = 255 / ((high - low) or 1)
        return photo.point(lambda value: value * scale - low * scale).convert("L")
    return photo.point(lambda value: value * (1 / 256)).convert("L") if high > 255 else photo.convert("L")
