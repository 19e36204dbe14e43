"""Enrolling: photos, roster and pickle become the gallery and the records, or a list of what has to be mended."""

from __future__ import annotations

import json
import pickle
import shutil
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from function_cloud import LAMBDA_SRC, MEDIA
from recognition import engine, enroll, matching, pickles
from recognition.matching import Gallery
from recognition.results import Student

ROSTER = "name,id,major,year\nBarack Obama,1,Law,Senior\nJoe Biden,2,History,Junior\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A directory with a good photo of each student."""
    directory = tmp_path / "photos"
    shutil.copytree(MEDIA / "students", directory)
    (tmp_path / "roster.csv").write_text(ROSTER)
    return directory


def command(photos: Path, *more: str) -> list[str]:
    """Returns the arguments for these photos and the roster beside them."""
    return ["--photos", str(photos), "--roster", str(photos.parent / "roster.csv"), *more]


def test_gallery_and_records(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll.main(command(photos)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["records"] == [
        {"name": "Barack Obama", "id": "1", "major": "Law", "year": "Senior"},
        {"name": "Joe Biden", "id": "2", "major": "History", "year": "Junior"},
    ]
    assert printed["gallery"]["model"] == "dlib_face_recognition_resnet_model_v1"
    gallery = Gallery.from_json(json.dumps(printed["gallery"]))
    assert gallery.names == ["Barack Obama", "Joe Biden"]
    assert gallery.version == printed["gallery"]["version"]


def test_names_of_files_and_folders(photos: Path) -> None:
    (photos / "Joe Biden.jpg").rename(photos / "joe_biden-2.jpg")
    (photos / "Barack Obama").mkdir()
    (photos / "Barack Obama.jpg").rename(photos / "Barack Obama" / "summer.JPG")
    shutil.copy(MEDIA / "sources" / "obama3.jpg", photos / "Barack Obama" / "office.jpg")
    (photos / "notes.txt").write_text("not a photo")
    gallery = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    assert {name: len(rows) for name, rows in gallery.students} == {"Barack Obama": 2, "Joe Biden": 1}


def test_the_longest_name_wins(photos: Path) -> None:
    (photos.parent / "roster.csv").write_text(ROSTER + "Joe Biden Junior,3,Art,Freshman\n")
    shutil.copy(MEDIA / "sources" / "astronaut.jpg", photos / "Joe Biden Junior 1.jpg")
    gallery = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    assert gallery.names == ["Barack Obama", "Joe Biden", "Joe Biden Junior"]


def test_everything_wrong_is_reported_at_once_by_name(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos.parent / "roster.csv").write_text(ROSTER + "Ada Lovelace,3,Mathematics,Senior\nJoe Biden,4,Law,Senior\n")
    two = np.hstack(
        [cv2.resize(np.asarray(cv2.imread(str(path))), (640, 640)) for path in sorted(photos.glob("*.jpg"))]
    )
    cv2.imwrite(str(photos / "Barack Obama 2.jpg"), two)
    cv2.imwrite(str(photos / "Joe Biden 2.png"), np.full((300, 300, 3), 128, np.uint8))
    (photos / "Joe Biden 3.jpg").write_bytes(b"not a picture")
    shutil.copy(photos / "Joe Biden.jpg", photos / "Somebody.jpg")
    assert enroll.main(command(photos)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert sorted(line.split(": ")[1] for line in output.err.splitlines() if line.startswith("enroll: ")) == [
        "Ada Lovelace",
        "Barack Obama 2.jpg",
        "Joe Biden 2.png",
        "Joe Biden 3.jpg",
        "Somebody.jpg",
        "roster.csv, line 5",
    ]
    assert "2 faces were found" in output.err
    assert "no face was found" in output.err


def altered(photos: Path, photo: np.ndarray[Any, Any]) -> str:
    """Enrolls with this as Joe Biden's only photo; returns what is said about it."""
    cv2.imwrite(str(photos / "Joe Biden.png"), photo)
    (photos / "Joe Biden.jpg").unlink()
    with pytest.raises(enroll.EnrollError) as refused:
        enroll.enroll(photos, photos.parent / "roster.csv")
    (problem,) = refused.value.problems
    return problem


def test_a_small_face_is_refused(photos: Path) -> None:
    photo = np.asarray(cv2.imread(str(photos / "Joe Biden.jpg")))
    assert "pixels wide: take one in which it has 80 or more" in altered(
        photos, cv2.resize(photo, None, fx=0.25, fy=0.25)
    )


def test_a_blurred_face_is_refused(photos: Path) -> None:
    photo = np.asarray(cv2.imread(str(photos / "Joe Biden.jpg")))
    assert "the face is blurred: take one in more light" in altered(photos, cv2.GaussianBlur(photo, (0, 0), 4))


def test_a_face_that_is_turned_away_is_refused(photos: Path) -> None:
    photo = np.asarray(cv2.imread(str(photos / "Joe Biden.jpg")), np.uint8)
    # One half of the face narrower than the other: the nose is no longer between the eyes.
    (box,) = engine.find_faces(photo)
    middle = (box.left + box.right) // 2
    half = photo[:, middle:]
    turned = np.hstack([photo[:, :middle], cv2.resize(half, (round(half.shape[1] * 0.4), half.shape[0]))])
    assert "the face is turned away: take one in which it looks at the camera" in altered(photos, turned)


def test_one_face_under_two_names_is_refused(photos: Path) -> None:
    shutil.copy(MEDIA / "sources" / "obama3.jpg", photos / "Joe Biden 2.jpg")
    with pytest.raises(enroll.EnrollError) as refused:
        enroll.enroll(photos, photos.parent / "roster.csv")
    assert refused.value.problems == [
        "Joe Biden 2.jpg: shows the same face as Barack Obama.jpg, which is Barack Obama's: take the wrong one away",
        "Joe Biden 2.jpg: shows somebody else than Joe Biden's other photos: take the wrong one away",
        "Joe Biden.jpg: shows somebody else than Joe Biden's other photos: take the wrong one away",
    ]


def test_a_face_enrolled_before_under_another_name_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    known = photos.parent / "known.json"
    known.write_text(json.dumps(Gallery([("Barry", gallery.students[0][1])]).to_json()))
    assert enroll.main(command(photos, "--known", str(known))) == 1
    assert "Barack Obama.jpg: shows the face of Barry, who is enrolled already" in capsys.readouterr().err
    known.write_text(json.dumps(gallery.to_json()))  # the same students again are no strangers
    assert enroll.main(command(photos, "--known", str(known))) == 0
    known.write_text("{")
    assert enroll.main(command(photos, "--known", str(known))) == 1


def at(distance: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns an encoding so far from zero."""
    encoding = np.zeros(128)
    encoding[0] = distance
    return encoding


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance that is usual is 0.7, whatever the faces."""
    monkeypatch.setattr(matching.Neighbourhood, "usual", lambda self, _: np.full(len(self.near), 0.7))


@pytest.mark.usefixtures("even")
@pytest.mark.parametrize(
    ("relative", "said"), [(-0.151, "problem"), (-0.149, "warning"), (-0.051, "warning"), (-0.049, None)]
)
def test_only_what_is_beyond_doubt_one_face_is_refused(relative: float, said: str | None) -> None:
    other = at(0.7 + relative)
    within = enroll.compare({"Ada": [("ada.jpg", at(0.0))], "Grace": [("grace.jpg", other)]}, None)
    before = enroll.compare({"Ada": [("ada.jpg", at(0.0))]}, Gallery([("Grace", other[None])]))
    for found in (within, before):
        assert (len(found.problems), len(found.warnings)) == {"problem": (1, 0), "warning": (0, 1), None: (0, 0)}[said]
    same = "grace.jpg: shows the same face as ada.jpg, which is Ada's"
    assert all(same in text for text in within.problems + within.warnings)
    assert all("the face of Grace, who is enrolled already" in text for text in before.problems + before.warnings)


@pytest.mark.usefixtures("even")
@pytest.mark.parametrize(
    ("distance", "said"), [(0.661, "problem"), (0.659, "warning"), (0.601, "warning"), (0.599, None)]
)
def test_only_what_is_beyond_doubt_another_face_is_refused(distance: float, said: str | None) -> None:
    photos = [("1.jpg", at(0.0)), ("2.jpg", at(0.1)), ("3.jpg", at(0.1 + distance))]
    found = enroll.compare({"Ada": photos}, None)
    assert (len(found.problems), len(found.warnings)) == {"problem": (1, 0), "warning": (0, 1), None: (0, 0)}[said]
    assert all("3.jpg: shows somebody else than Ada's other photos" in text for text in found.problems + found.warnings)


def test_what_is_suspicious_is_enrolled_with_a_warning(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Two photos of one man that are not alike beyond doubt.
    shutil.copy(MEDIA / "sources" / "obama2.jpg", photos / "Barry.jpg")
    known = Gallery([("Somebody", engine.encode(*_only_face(MEDIA / "sources" / "obama3.jpg"))[0][None])])
    (photos.parent / "known.json").write_text(json.dumps(known.to_json()))
    (photos / "Barack Obama.jpg").unlink()
    (photos.parent / "roster.csv").write_text("name,id,major,year\nBarry,3,Art,Senior\nJoe Biden,2,History,Junior\n")
    assert enroll.main(command(photos, "--known", str(photos.parent / "known.json"))) == 0
    output = capsys.readouterr()
    (warning,) = json.loads(output.out)["warnings"]
    assert warning.startswith("Barry.jpg: shows the face of Somebody, who is enrolled already, perhaps: look at it")
    said = [line for line in output.err.splitlines() if not line.startswith("progress: ")]
    assert said == [f"warning: {warning}"]


def _only_face(path: Path) -> tuple[engine.Image, list[engine.Box]]:
    photo = np.asarray(cv2.imread(str(path)), np.uint8)
    return photo, engine.find_faces(photo)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x1cftypavif", b"GIF89a"])
def test_what_is_no_photo_is_refused(photos: Path, content: bytes) -> None:
    (photos / "Joe Biden.jpg").write_bytes(content)
    with pytest.raises(enroll.EnrollError, match="not a picture that can be read: save it as JPEG or PNG"):
        enroll.enroll(photos, photos.parent / "roster.csv")


def test_a_decompression_bomb_is_refused_without_unpacking_it(photos: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 40_000  # 1.6 gigapixels in 2 kB
    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(2_000_000))) + chunk(b"IEND", b"")
    (photos / "Joe Biden.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(enroll.EnrollError, match="with at most 100 megapixels"):
        enroll.enroll(photos, photos.parent / "roster.csv")


@pytest.mark.parametrize("text", ["", "name,id\nA,1\n", "\xff\xfe"])
def test_a_roster_that_is_none(photos: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (photos.parent / "roster.csv").write_bytes(text.encode("latin1"))
    assert enroll.main(command(photos)) == 1
    assert "roster.csv" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_the_course_projects_pickle(protocol: int, kind: Any) -> None:
    encodings = [np.random.default_rng(seed).normal(size=128).astype(kind) for seed in (1, 2)]
    data = pickle.dumps({"name": ["Ada", "Grace"], "encoding": encodings}, protocol=protocol)
    pairs = pickles.read_encodings(data)
    assert [name for name, _ in pairs] == ["Ada", "Grace"]
    assert all(np.array_equal(ours, theirs) for (_, ours), theirs in zip(pairs, encodings, strict=True))


def test_a_pickle_written_by_an_older_numpy() -> None:
    data = pickle.dumps({"name": ["Ada"], "encoding": [np.ones(128)]}, protocol=2)
    assert b"numpy._core" in data
    assert pickles.read_encodings(data.replace(b"numpy._core", b"numpy.core"))[0][1].sum() == 128


def test_the_pickle_is_enrolled(photos: Path) -> None:
    (photos / "Joe Biden.jpg").unlink()
    file = photos.parent / "encoding"
    file.write_bytes(pickle.dumps({"name": ["Joe Biden"], "encoding": [np.ones(128)]}))
    gallery = enroll.enroll(photos, photos.parent / "roster.csv", file).gallery
    assert gallery.names == ["Barack Obama", "Joe Biden"]


def test_people_of_the_pickle_who_are_no_students_are_skipped_and_named(photos: Path) -> None:
    file = photos.parent / "encoding"
    file.write_bytes(pickle.dumps({"name": ["bush", "bush", "denzel"], "encoding": [np.ones(128)] * 3}))
    done = enroll.enroll(photos, photos.parent / "roster.csv", file)
    assert done.skipped == ["bush", "denzel"]
    assert done.gallery.names == ["Barack Obama", "Joe Biden"]


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        ("Maria Garcia.jpg", "Maria Garcia"),
        ("maria_garcia-2.jpg", "Maria Garcia"),
        ("Maria Garcia (1).jpg", "Maria Garcia"),
        ("Maria Garcia - Copy.jpg", "Maria Garcia"),
        ("Maria Garcia Lopez.jpg", None),
        ("Maria Garcia2b.jpg", None),
        ("Maria.jpg", None),
        ("Maria Garcia/Lopez.jpg", "Maria Garcia"),
    ],
)
def test_a_photo_is_only_the_students_whose_whole_name_it_bears(file: str, whose: str | None) -> None:
    found = enroll.owner(Path(file), [Student("Maria Garcia", "1", "", ""), Student("Ana", "2", "", "")])
    assert (found and found.name) == whose


def test_whose_a_photo_is_may_be_given(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "Joe Biden.jpg").rename(photos / "0001.jpg")
    (photos / "Barack Obama.jpg").rename(photos / "0002.jpg")
    owners = photos.parent / "owners.json"
    labels = {"0001.jpg": ("Joe Biden", "Biden, Joe.HEIC"), "0002.jpg": ("Joe Biden", "1002.webp")}
    given = {file: {"student": name, "label": label} for file, (name, label) in labels.items()}
    owners.write_text(json.dumps(given))
    assert enroll.main(command(photos, "--owners", str(owners), "--partial")) == 1
    assert "Biden, Joe.HEIC: shows somebody else than Joe Biden's other photos" in capsys.readouterr().err
    owners.write_text(json.dumps({"0001.jpg": given["0001.jpg"]}))
    assert enroll.main(command(photos, "--owners", str(owners), "--partial")) == 0
    output = capsys.readouterr()
    assert [student["name"] for student in json.loads(output.out)["gallery"]["students"]] == ["Joe Biden"]
    assert "progress: 1 of 1" in output.err


def test_who_is_known_needs_no_photo(photos: Path) -> None:
    known = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    (photos / "Joe Biden.jpg").unlink()
    assert enroll.enroll(photos, photos.parent / "roster.csv", None, known).gallery.names == ["Barack Obama"]


def test_another_student_of_the_same_name_does_not_replace_the_first(photos: Path) -> None:
    gallery = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    obama, biden = (encodings for _, encodings in gallery.students)
    known = Gallery([("Joe Biden", obama), ("Somebody", biden + 2)])
    with pytest.raises(enroll.EnrollError) as refused:
        enroll.enroll(photos, photos.parent / "roster.csv", None, known, partial=True)
    assert [problem[:84] for problem in refused.value.problems] == [
        "Joe Biden.jpg: shows somebody else than the Joe Biden who is enrolled already (dista"
    ]
    assert "a middle name" in refused.value.problems[0]


def test_a_sample_gives_way_whoever_came_first(photos: Path) -> None:
    gallery = enroll.enroll(photos, photos.parent / "roster.csv").gallery
    obama = gallery.students[0][1]
    roster = photos.parent / "roster.csv"
    known = Gallery([("Barry", obama), ("Joe Biden", obama)])
    # The known ones are samples: one has the face of a new student, the other one's name.
    done = enroll.enroll(photos, roster, None, known, giving_way=["Barry", "Joe Biden"])
    assert (done.gallery.names, done.gave_way) == (["Barack Obama", "Joe Biden"], {"Barry": "Barack Obama"})
    # The new ones are samples.
    done = enroll.enroll(photos, roster, None, Gallery([("Barry", obama)]), giving_way=["Barack Obama", "Joe Biden"])
    assert (done.gallery.names, done.gave_way) == (["Joe Biden"], {"Barack Obama": "Barry"})


class Malicious:
    """Writes a file when it is unpickled in the ordinary way."""

    def __init__(self, target: Path, call: str) -> None:
        self.target, self.call = target, call

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns the call that unpickling would make."""
        if self.call == "system":
            import os

            return os.system, (f"touch {self.target}",)
        if self.call == "eval":
            return eval, (f"open({str(self.target)!r}, 'w')",)
        return Path.touch, (self.target,)


@pytest.mark.parametrize("call", ["system", "eval", "method"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_a_malicious_pickle_is_executed(
    photos: Path, call: str, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = photos.parent / "trace"
    bad = pickle.dumps({"name": ["A"], "encoding": [Malicious(trace, call)]}, protocol=protocol)
    pickle.loads(bad)  # noqa: S301 - proves that it would run
    assert trace.exists(), "the pickle of this test is harmless"
    trace.unlink()
    (photos.parent / "encoding").write_bytes(bad)
    assert enroll.main(command(photos, "--pickle", str(photos.parent / "encoding"))) == 1
    assert not trace.exists()
    assert "wants to run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"name": ["A"]},
        {"name": ["A"], "encoding": []},
        {"name": ["A"], "encoding": [[1.0] * 128]},
        {"name": ["A"], "encoding": [np.ones(64)]},
        {"name": ["A"], "encoding": [np.ones(128, dtype=np.int64)]},
        {"name": ["A"], "encoding": [np.array([object()] * 128)]},
        {"name": ["A"], "encoding": [np.full(128, np.nan)]},
        {"name": [b"A"], "encoding": [np.ones(128)]},
    ],
)
def test_other_pickles_are_refused(content: object) -> None:
    with pytest.raises(pickles.PickleError):
        pickles.read_encodings(pickle.dumps(content))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x04.", pickle.dumps({"name": [], "encoding": []})[:-3]])
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(pickles.PickleError):
        pickles.read_encodings(data)


def test_a_verification_knows_the_people_of_the_samples_as_enrolling_does(
    enrolled: tuple[Gallery, list[Student]],
) -> None:
    """A new model, or new photos, want the file made again: `python -m recognition.enroll` prints it."""
    kept = json.loads((LAMBDA_SRC.parent / "samples" / "probe.json").read_text())
    made = enrolled[0].to_json()
    assert kept["model"] == made["model"]
    assert [one["name"] for one in kept["students"]] == [one["name"] for one in made["students"]]
    for one, other in zip(kept["students"], made["students"], strict=True):
        assert np.abs(np.array(one["encodings"]) - np.array(other["encodings"])).max() < 0.01
