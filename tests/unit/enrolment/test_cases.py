"""Lists and photos as people have them, with real faces: our own of each kind, others' where they are at hand.

SMART_CLASSROOM_CASES names a directory with ``enroll/<case>/{photos,students.csv,EXPECT}``, SMART_CLASSROOM_COURSE one
with the course project's own list and pickle.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from classroom_contract.tables import Row, render_csv
from classroom_ops.enrolment.enrol import Outcome, Sources
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.store import Record

from .conftest import MEDIA, Place, Really

JOE = MEDIA / "students" / "Joe Biden.jpg"
LIST = "name,id,major,year\nJoe Biden,1002,History,Junior\n"
ENROLLED = Record("Joe Biden", "1002", "History", "Junior")
CASES = Path(os.environ.get("SMART_CLASSROOM_CASES", "/nowhere")) / "enroll"
COURSE = Path(os.environ.get("SMART_CLASSROOM_COURSE", "/nowhere"))


def try_to_enrol(place: Place, roster: Path, photos: Path | None, encodings: Path | None = None) -> Outcome | str:
    """What an enrolment does, or what is told."""
    place.computing = Really()
    try:
        return place.enrol(Sources(roster, photos, encodings, "image:1"))
    except EnrolmentError as error:
        return str(error)


def save(path: Path, kind: str, change: Callable[[Image.Image], Image.Image]) -> None:
    """A photo of Joe in another form; without one, what a Mac's archive has beside each file."""
    photo = change(Image.open(JOE).convert("RGB"))
    if not kind:
        path.write_bytes(bytes(200))
    elif kind == "HEIF":
        pillow_heif.from_pillow(photo).save(path)
    else:
        photo.save(path, kind)


def turned(photo: Image.Image) -> Image.Image:
    """Lying on its side, with the word to turn it."""
    lying = photo.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    lying.info["exif"] = lying.getexif().tobytes()
    return lying


def cut_out(photo: Image.Image) -> Image.Image:
    """Without a background, as after a service that removes it."""
    picture = photo.convert("RGBA")
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (80, 0, photo.width - 80, photo.height))
    plain = Image.new("RGBA", photo.size, (0, 0, 0, 0))
    plain.paste(picture, (0, 0), mask)
    return plain


def same(photo: Image.Image) -> Image.Image:
    """As it is."""
    return photo


def cmyk(photo: Image.Image) -> Image.Image:
    """For a press."""
    return photo.convert("CMYK")


PHOTOS: dict[str, list[tuple[str, str, Callable[[Image.Image], Image.Image]]]] = {
    "heic": [("Joe Biden.HEIC", "HEIF", same)],
    "webp": [("Joe Biden.webp", "WEBP", same)],
    "tiff": [("Joe Biden.tif", "TIFF", same)],
    "jfif": [("Joe Biden.jfif", "JPEG", same)],
    "wrong ending": [("Joe Biden.jpg", "WEBP", same)],
    "on its side": [("Joe Biden.png", "PNG", turned)],
    "cut out": [("Joe Biden.png", "PNG", cut_out)],
    "cmyk": [("Joe Biden.jpg", "JPEG", cmyk)],
    "by id": [("1002.jpg", "JPEG", same)],
    "last name first": [("Biden, Joe.jpg", "JPEG", same)],
    "in a folder": [("1002/IMG_1.jpg", "JPEG", same)],
    "copies": [("Joe Biden (1).jpg", "JPEG", same), ("Joe Biden - Copy.jpg", "JPEG", same)],
    "a Mac's archive": [
        ("Joe Biden.jpg", "JPEG", same),
        ("._Joe Biden.jpg", "", same),
        ("__MACOSX/._Joe Biden.jpg", "", same),
    ],
}


@pytest.mark.parametrize("kind", PHOTOS)
def test_our_own_photos_of_each_kind(place: Place, kind: str) -> None:
    photos = place.directory / "photos"
    for name, form, change in PHOTOS[kind]:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        save(photos / name, form, change)
    (place.directory / "students.csv").write_text(LIST)
    outcome = try_to_enrol(place, place.directory / "students.csv", photos)
    assert isinstance(outcome, Outcome), outcome
    assert place.records() == {"Joe Biden": ENROLLED}
    assert set(place.known()) == {"Joe Biden"}


def test_two_faces_and_a_namesake_are_refused_by_the_photos_own_names(place: Place) -> None:
    (place.directory / "photos").mkdir()
    two = Image.new("RGB", (1280, 726))
    for place_in_it, name in enumerate(("Joe Biden", "Barack Obama")):
        two.paste(Image.open(MEDIA / "students" / f"{name}.jpg").resize((640, 726)), (640 * place_in_it, 0))
    two.save(place.directory / "photos" / "Biden, Joe.webp")
    (place.directory / "students.csv").write_text(LIST)
    told = try_to_enrol(place, place.directory / "students.csv", place.directory / "photos")
    assert told == "Biden, Joe.webp: 2 faces were found: cut it so that only the student is in it"

    (place.directory / "photos" / "Biden, Joe.webp").unlink()
    shutil.copy(JOE, place.directory / "photos")
    assert isinstance(try_to_enrol(place, place.directory / "students.csv", place.directory / "photos"), Outcome)
    shutil.copy(MEDIA / "students" / "Barack Obama.jpg", place.directory / "photos" / "Joe Biden.jpg")
    told = try_to_enrol(place, place.directory / "students.csv", place.directory / "photos")
    assert isinstance(told, str)
    assert told.startswith("Joe Biden.jpg: shows somebody else than the Joe Biden who is enrolled already (distance 0.")


# --- others' cases --------------------------------------------------------------------------------------------------

FORMULA = '=HYPERLINK("http://x","y")'
OTHERWISE = {
    "roster-cp1252": Record("Joe Biden", "1002", "Géographie", "Junior"),
    "roster-json": Record("Joe Biden", "1", "History", "Junior"),
    "roster-formula": Record("Joe Biden", "1002", FORMULA, "Junior"),
}


def test_a_formula_of_a_list_is_harmless_in_the_answer() -> None:
    row = next(csv.reader(render_csv([Row("Joe Biden", FORMULA, "Junior")]).splitlines()[1:]))
    assert row == ["Joe Biden", f"'{FORMULA}", "Junior"]


if CASES.is_dir():

    @pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
    def test_cases_of_others(place: Place, case: Path) -> None:
        expected = (case / "EXPECT").read_text().strip()
        outcome = try_to_enrol(place, case / "students.csv", case / "photos")
        if expected.startswith("refused"):
            assert isinstance(outcome, str)
            if "with the line" in expected:
                assert re.search(r"line \d", outcome)
            assert place.records() == {}
            return
        if isinstance(outcome, str):
            assert "or refused" in expected, outcome
            return
        assert outcome.encodings == ["Joe Biden"]
        assert place.records() == {"Joe Biden": OTHERWISE.get(case.name, ENROLLED)}


if COURSE.is_dir():

    def test_the_courses_own_data(place: Place) -> None:
        place.computing = Really()
        samples = Sources(MEDIA / "students.csv", MEDIA / "students", image="image:1", sample=True)
        place.enrol(samples)
        assert {name: record.sample for name, record in place.records().items()} == {
            "Barack Obama": True,
            "Joe Biden": True,
        }

        data = Sources(COURSE / "student_data.json", encodings=COURSE / "encoding", image="image:1")
        outcome = place.enrol(data)
        assert len(outcome.records) == len(outcome.encodings) == outcome.students == 8
        assert outcome.skipped == ["denzel_washington", "bush", "travis_ragnar"]
        assert outcome.gave_way == ["Barack Obama", "Joe Biden"]
        assert not outcome.warnings
        assert set(place.records()) == set(place.known())
        assert place.store.samples().replaced == {"Barack Obama": "president_obama", "Joe Biden": "president_biden"}
        assert place.records()["mr_bean"] == Record("mr_bean", "1", "lawyer", "freshmen")

        for again in (samples, data):
            assert not place.enrol(again).changes
