"""The file of known encodings: one version for one content, and nothing damaged is taken."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from classroom_contract import ContractError
from classroom_contract.gallery import DIMENSIONS, GalleryFile

MODEL = "network"


def encoding(start: float = 0.0) -> list[float]:
    return [start + index / 1000 for index in range(DIMENSIONS)]


def gallery() -> GalleryFile:
    return GalleryFile.of(MODEL, [("Özil", [encoding()]), ("Ada", [encoding(0.1), encoding(0.2)])])


def test_a_file_is_read_as_it_was_written() -> None:
    read = GalleryFile.parse(gallery().render().encode(), MODEL)
    assert (read.version, read.model) == (gallery().version, MODEL)
    assert GalleryFile.parse(gallery().render()).model == MODEL
    assert [name for name, _ in read.students] == ["Ada", "Özil"]
    assert [list(one) for _, encodings in read.students for one in encodings] == [
        pytest.approx(encoding(start)) for start in (0.1, 0.2, 0.0)
    ]


def test_the_version_follows_the_content_alone() -> None:
    other = GalleryFile.of(MODEL, reversed([("Özil", [encoding()]), ("Ada", [encoding(0.1), encoding(0.2)])]))
    assert other.version == gallery().version
    assert GalleryFile.of(MODEL, [("Ada", [encoding()])]).version != gallery().version
    noise = [("Özil", [[value + 1e-12 for value in encoding()]]), ("Ada", [encoding(0.1), encoding(0.2)])]
    assert GalleryFile.of(MODEL, noise).version == gallery().version


def test_the_version_is_that_of_files_written_before() -> None:
    students = [{"encodings": [[0.5] * DIMENSIONS], "name": "Özil"}]
    text = json.dumps(students, separators=(",", ":"), ensure_ascii=False)
    assert (
        GalleryFile.of(MODEL, [("Özil", [[0.5] * DIMENSIONS])]).version
        == hashlib.sha256(text.encode()).hexdigest()[:16]
    )


def test_a_version_that_is_stated_is_believed_and_one_that_is_not_computed() -> None:
    document = json.loads(gallery().render())
    assert GalleryFile.parse(json.dumps(document | {"version": "stated"}), MODEL).version == "stated"
    del document["version"]
    assert GalleryFile.parse(json.dumps(document), MODEL).version == gallery().version


def test_a_classs_file_is_the_part_of_everyones_and_has_a_version_of_its_own() -> None:
    ada = GalleryFile.of(MODEL, [("Ada", [encoding(0.1), encoding(0.2)])])
    for everyone in (gallery(), GalleryFile.parse(gallery().render())):
        part = everyone.only({"Ada", "Nobody"})
        assert (part.render(), part.version) == (ada.render(), ada.version)


def test_students_without_an_encoding_are_left_out() -> None:
    assert GalleryFile.of(MODEL, [("Ada", []), ("Bo", [encoding()])]).students[0][0] == "Bo"
    assert GalleryFile.parse(GalleryFile.of(MODEL, []).render(), MODEL).students == ()


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(gallery().render()) | changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        (changed(schema=2), "schema is 2, known are 1"),
        (changed(model="other"), "made for the model 'other', not for 'network'"),
        (changed(model=None), "model is missing"),
        (changed(students=None), "students is not a list"),
        (changed(students=[1]), "no object"),
        (changed(students=[{"name": "A"}]), "no list of encodings"),
        (changed(students=[{"name": "", "encodings": []}]), "name is missing"),
        (changed(students=[{"name": "A", "encodings": [[0.0] * 127]}]), "128 finite numbers"),
        (changed(students=[{"name": "A", "encodings": [3]}]), "no number"),
        (changed(students=[{"name": "A", "encodings": [["x"] * 128]}]), "no number"),
        (changed(students=[{"name": "A", "encodings": [[10**400, 0.5] * 64]}]), "no number"),
        (changed(students=[{"name": "A", "encodings": [[1e999] * 128]}]).replace("Infinity", "1e999"), "finite"),
        (changed(students=[{"name": "A", "encodings": []}, {"name": "A", "encodings": []}]), "twice"),
        (changed(version=3), "version is not a text"),
    ],
)
def test_what_is_damaged_or_foreign_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        GalleryFile.parse(text, MODEL)


def test_nobody_is_enrolled_twice_or_with_half_an_encoding() -> None:
    with pytest.raises(ContractError, match="twice"):
        GalleryFile.of(MODEL, [("Ada", [encoding()]), ("Ada", [encoding()])])
    with pytest.raises(ContractError, match="finite"):
        GalleryFile.of(MODEL, [("Ada", [[float("nan")] * DIMENSIONS])])
