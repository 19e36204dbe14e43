"""Whose a photo is: exactly who it is named after, in any spelling, and never who merely begins alike."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom_contract.roster import RosterStudent
from classroom_ops.enrolment.owners import Owners, Unowned, name_words

CLASS = [
    ("Joe Biden", "1002"),
    ("Maria Garcia", "7"),
    ("student 7", "0017"),
    ("student 72", "A-18"),
    ("Conan O'Brien", "9"),
    ("Jürgen Müller 🎓", "10"),
    ("-rf; $HOME", "11"),
    ("李小龙", "12"),
    ("James Alexander", "13"),
    ("Alexander James", "14"),
    ("Cher", ""),
]
STUDENTS = [RosterStudent(name, number, "", "") for name, number in CLASS]


def owner(photo: str) -> str | None:
    """The name of the student whose a photo is."""
    found = Owners(STUDENTS, "students.csv").of(PurePath(photo))
    return found.name if isinstance(found, RosterStudent) else None


@pytest.mark.parametrize(
    ("photo", "name"),
    [
        *((f"{stem}.jpg", "Joe Biden") for stem in ("Joe Biden", "joe_biden", "Biden, Joe", "joe.biden", "JoeBiden")),
        *(
            (f"{stem}.jpg", "Joe Biden")
            for stem in ("BIDEN JOE", "BidenJoe", "Joe-Biden", "(Joe Biden)", "Joe  Biden ")
        ),
        *((f"{stem}.jpg", "Joe Biden") for stem in ("Joe Biden (1)", "Joe Biden - Copy", "Joe Biden-2", "joe_biden2")),
        *((f"{stem}.jpg", "Joe Biden") for stem in ("Joe Biden - Copy (2)", "Joe Biden Kopie", "JoeBiden_03")),
        *((f"{stem}.jpg", "Joe Biden") for stem in ("1002", "1002 (1)", "1002-2", "Biden_Joe_1002", "1002 Joe Biden")),
        ("Joe Biden/summer.jpg", "Joe Biden"),
        ("1002/IMG_0001.HEIC", "Joe Biden"),
        ("class 4b/Joe Biden.jpg", "Joe Biden"),
        ("Joe Biden/1.jpg", "Joe Biden"),
        ("Joe Biden/Joe Biden 2.jpg", "Joe Biden"),
        ("0017.jpg", "student 7"),
        ("17.jpg", None),
        ("7.jpg", "Maria Garcia"),
        ("a18.jpg", "student 72"),
        ("student 7 2.jpg", "student 7"),
        ("student 72.jpg", "student 72"),
        ("student72.jpg", "student 72"),
        ("Conan OBrien.jpg", "Conan O'Brien"),
        ("o\u2019brien conan.jpg", "Conan O'Brien"),
        ("Ju\u0308rgen Mu\u0308ller 🎓.jpg", "Jürgen Müller 🎓"),
        ("Jürgen Müller.jpg", None),
        ("-rf; $HOME.jpg", "-rf; $HOME"),
        ("李小龙.jpg", "李小龙"),
        ("cher.jpg", "Cher"),
        ("Maria Garcia Lopez.jpg", None),
        ("Lopez Maria Garcia.jpg", None),
        ("Maria.jpg", None),
        ("Joe Biden with his dog.jpg", None),
        ("Joe Biden Junior.jpg", None),
        ("JoeBidenx.jpg", None),
        ("Joe Biden 0017.jpg", None),
        ("IMG_7.jpg", None),
        ("James Alexander.jpg", None),
        ("James Alexander 13.jpg", "James Alexander"),
        ("13.jpg", "James Alexander"),
        ("Maria Garcia/Joe Biden.jpg", None),
        ("(1).jpg", None),
        ("---.jpg", None),
    ],
)
def test_whose_a_photo_is(photo: str, name: str | None) -> None:
    assert owner(photo) == name


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (
            "Maria Garcia Lopez.png",
            'the nearest is Maria Garcia (id 7): if it shows Maria Garcia, rename it to "Maria Garcia',
        ),
        ("Jo Biden.HEIC", 'the nearest is Joe Biden (id 1002): if it shows Joe Biden, rename it to "Joe Biden.HEIC"'),
        (
            "Zaphod Beeblebrox.jpg",
            "no student in students.csv has this name or id: rename it after its student, or take it",
        ),
        (
            "James Alexander.jpg",
            "may be of Alexander James (id 14) and James Alexander (id 13): put the id into its name",
        ),
        ("Maria Garcia/Joe Biden.jpg", "lies in the folder of Maria Garcia and bears the name of Joe Biden: move it"),
        ("Joe Biden 0017.jpg", "may be of Joe Biden (id 1002) and student 7 (id 0017)"),
    ],
)
def test_a_photo_that_is_nobodys_is_told_with_what_to_do(photo: str, words: str) -> None:
    found = Owners(STUDENTS, "students.csv").of(PurePath(photo))
    assert isinstance(found, Unowned)
    assert words in found.reason


LETTER_WORDS = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1, max_size=8).filter(name_words)


@given(
    st.lists(LETTER_WORDS, min_size=2, max_size=4),
    st.lists(LETTER_WORDS, min_size=1, max_size=3),
    st.sampled_from([" ", "_", "-", ".", ", "]),
    st.randoms(use_true_random=False),
)
def test_no_longer_or_shorter_name_takes_a_photo(
    words: list[str], more: list[str], between: str, random: object
) -> None:
    assert random
    student = RosterStudent(" ".join(words), "1", "", "")
    owners = Owners([student], "list")
    turned = words[1:] + words[:1]
    assert owners.of(PurePath(f"{between.join(words)}.jpg")) == student
    assert owners.of(PurePath(f"{between.join(turned)} (3).jpg")) == student
    if name_words(more[-1]) not in {("copy",), ("kopie",), ("copie",), ("copia",), ("edited",)}:
        assert isinstance(owners.of(PurePath(f"{between.join([*words, *more])}.jpg")), Unowned)
