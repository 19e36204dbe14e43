"""Photos of many kinds become upright JPEGs of bounded size; what is none is named, and bombs are not unpacked."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path, PurePath
from typing import Any

import pillow_heif
import pytest
from PIL import Image, ImageChops, ImageStat

from classroom_ops.enrolment import photos
from classroom_ops.enrolment.photos import PhotoError

from .conftest import MEDIA, ROOT

SOURCE = MEDIA / "students" / "Joe Biden.jpg"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def source() -> Image.Image:
    """A photo that shows which way is up."""
    return Image.open(SOURCE).convert("RGB").resize((320, 363))


def prepared(path: Path) -> Image.Image:
    """What is made of a photo."""
    target = path.parent / "prepared.jpg"
    photos.prepare(path, target)
    made = Image.open(target)
    assert (made.format, made.mode) in (("JPEG", "RGB"), ("MPO", "RGB"))
    assert made.getexif().get(0x0112, 1) == 1
    return made


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures in levels of 255."""
    assert one.size == other.size
    return float(ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean[0])


def save(picture: Image.Image, path: Path, kind: str) -> Path:
    """Save a picture in a form, whatever the ending."""
    if kind == "HEIF":
        pillow_heif.from_pillow(picture).save(path, quality=90)
    else:
        picture.save(path, kind, quality=90)
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("ending", ["JFIF", "HEIC", "photo"])
def test_what_a_file_holds_decides(tmp_path: Path, source: Image.Image, kind: str, ending: str) -> None:
    path = save(source, tmp_path / f"Joe Biden.{ending}", kind)
    assert photos.find(tmp_path).photos == (PurePath(path.name),)
    assert difference(prepared(path), source) < 3


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_are_turned_upright(tmp_path: Path, source: Image.Image, turned: int, kind: str) -> None:
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(turned, TURNS[turned])
    exif = Image.Exif()
    exif[0x0112] = turned
    source.transpose(back).save(tmp_path / "photo", kind, exif=exif, quality=90)
    assert difference(prepared(tmp_path / "photo"), source) < 3


def grey_16(picture: Image.Image) -> Image.Image:
    """The picture in 16 bits of grey."""
    grey = picture.convert("L").convert("I").point(lambda value: value * 257)
    return Image.frombytes("I;16", grey.size, struct.pack(f"<{grey.width * grey.height}H", *grey.get_flattened_data()))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda picture: picture.convert("CMYK"), "JPEG"),
        (lambda picture: picture.convert("CMYK"), "TIFF"),
        (lambda picture: picture.convert("L"), "JPEG"),
        (lambda picture: picture.quantize(256), "PNG"),
        (lambda picture: picture.convert("LAB"), "TIFF"),
        (lambda picture: picture.convert("LA"), "PNG"),
        (lambda picture: picture.convert("F").point(lambda value: value * (1 / 255)), "TIFF"),
        (grey_16, "PNG"),
        (grey_16, "TIFF"),
    ],
    ids=["cmyk-jpeg", "cmyk-tiff", "grey", "palette", "lab", "grey-alpha", "float", "16-bit-png", "16-bit-tiff"],
)
def test_every_colour_becomes_red_green_blue(tmp_path: Path, source: Image.Image, change: Any, kind: str) -> None:
    small = source.resize((160, 182))
    change(small).save(tmp_path / "photo", kind)
    assert difference(prepared(tmp_path / "photo"), small) < 4


def test_what_is_transparent_is_a_plain_wall(tmp_path: Path, source: Image.Image) -> None:
    cut_out = source.convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 320, 50))
    cut_out.save(tmp_path / "photo.png")
    made = prepared(tmp_path / "photo.png")
    low: Any = made.crop((5, 5, 300, 40)).convert("L").getextrema()[0]
    assert low > 200
    assert difference(made.crop((0, 60, 320, 363)), source.crop((0, 60, 320, 363))) < 3


def test_a_jpeg_that_is_upright_is_taken_as_it_is(tmp_path: Path) -> None:
    photos.prepare(SOURCE, tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == SOURCE.read_bytes()


def test_large_photos_are_made_smaller(tmp_path: Path, source: Image.Image) -> None:
    save(source.resize((4480, 5082)), tmp_path / "large.png", "TIFF")
    made = prepared(tmp_path / "large.png")
    assert max(made.size) == 4096
    assert difference(made.resize(source.size), source) < 3


MEASURE = """
import resource, sys
from pathlib import Path
from classroom_ops.enrolment import photos
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photos.prepare(Path(sys.argv[1]), Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_jpeg_of_200_megapixels_needs_little_memory(tmp_path: Path) -> None:
    Image.new("L", (20_000, 10_000), 99).save(tmp_path / "large.jpg")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large.jpg"), str(tmp_path / "small.jpg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert Image.open(tmp_path / "small.jpg").size == (4096, 2048)
    assert int(done.stdout) < 200, "MB"
    assert resource.RUSAGE_SELF == 0


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def refused(tmp_path: Path, content: bytes) -> str:
    """What is said about a photo of this content."""
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(PhotoError) as error:
        photos.prepare(tmp_path / "photo.jpg", tmp_path / "prepared.jpg")
    return str(error.value)


def test_a_decompression_bomb_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(tmp_path, png(40_000, 40_000)) == "has more than 200 megapixels: save it smaller"
    assert refused(tmp_path, png(20_000, 10_001)) == "has more than 200 megapixels: save it smaller"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_photo_that_the_machine_has_no_memory_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_available_memory", lambda: 100 << 20)
    assert refused(tmp_path, png(10_000, 10_000)) == (
        "needs 762 MB of memory, and 100 MB are free: save it smaller, or as JPEG"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: copy it again; of a photo in a cloud's folder only a placeholder may be on this machine"),
        (b"GIF89a" + bytes(20), "is a GIF: save it as JPEG or PNG"),
        (b"%PDF-1.7", "is a PDF: save it as JPEG or PNG"),
        (b"hello", "is not a picture that can be read: save it as JPEG or PNG"),
        (SOURCE.read_bytes()[:3000], "is damaged (image file is truncated"),
        (b"\xff\xd8\xff", "is not a picture that can be read"),
        (b"\0\0\0\x1cftypheic" + bytes(50), "is "),
    ],
)
def test_what_is_no_photo_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refused(tmp_path, content)


def test_what_systems_leave_beside_photos_is_skipped_and_told_in_one_line(tmp_path: Path) -> None:
    hidden = [".DS_Store", "._Joe Biden.jpg", "Thumbs.db", "desktop.ini", "__MACOSX/._Joe Biden.jpg", ".thumbs/Joe.jpg"]
    for name in [*hidden, "students.csv", "Joe Biden.jpg", "Joe.mov"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = photos.find(tmp_path)
    assert found.photos == (PurePath("Joe Biden.jpg"),), "what is called a photo is told if it is none"
    assert found.notes == (
        "6 files of the operating system skipped: .DS_Store, ._Joe Biden.jpg, .thumbs/Joe.jpg …",
        "2 files that are no pictures skipped: Joe.mov, students.csv",
    )


def test_a_directory_that_is_none_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        photos.find(tmp_path / "nowhere")
    with pytest.raises(OSError, match="Not a directory"):
        photos.find(SOURCE)
