"""Which student a photo belongs to: by its folder or by its own name, and by nothing that merely begins alike.

A photo is the student's whose name or id it bears, the words of the name in any order, written together or apart:
``Joe Biden.jpg``, ``Biden, Joe.jpg``, ``joe.biden.jpg``, ``JoeBiden.jpg``, ``1002.jpg``, ``Biden_Joe_1002.jpg``. What
programs add to copies may follow: ``Joe Biden (1).jpg``, ``Joe Biden - Copy.jpg``, ``joe_biden-2.jpg``.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from classroom_contract.roster import RosterStudent

# Quotes and brackets tell no names apart, as file systems do not take all of them.
_BETWEEN_WORDS = re.compile(r"[\s_\-‐‑–—.,'’`´\"“”„()\[\]{}+]+")  # noqa: RUF001 typographic signs are meant
_LETTERS_OR_FIGURES = re.compile(r"\d+|\D+")
_OF_COPIES = frozenset({"copy", "kopie", "copie", "copia", "cópia", "copiar", "edited", "bearbeitet"})
_LEAST_FIGURES_OF_AN_ID = 4  # a number behind a name that is as long, and somebody else's id, counts no copies
_LEAST_LIKENESS = 0.6  # of difflib's ratio, from which on a name is worth mentioning
_MOST_SUGGESTIONS = 50  # photos that get one: each is compared with every student

Words = tuple[str, ...]


def name_words(name: str) -> Words:
    """The words of a name; the same for spellings that differ by case, blanks, hyphens, quotes or Unicode's form.

    >>> name_words("O'Neil, Anna-Maria")
    ('o', 'neil', 'anna', 'maria')
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return tuple(word for word in _BETWEEN_WORDS.split(folded) if word)


def _joined(words: Iterable[str]) -> Words:
    """Words with nothing between their letters, but with the borders between letters and figures kept.

    So `JoeBiden2` is Joe Biden's second, and `student 7 2` never is student 72's.
    """
    parts: list[str] = []
    for word in words:
        for part in _LETTERS_OR_FIGURES.findall(word):
            if parts and not part[0].isdigit() and not parts[-1][0].isdigit():
                parts[-1] += part
            else:
                parts.append(part)
    return tuple(parts)


def _spellings(student: RosterStudent) -> Iterator[Words]:
    """What a photo of the student may be called."""
    name, number = name_words(student.name), name_words(student.id)
    turned = {name[start:] + name[:start] for start in range(len(name))}
    for words in turned:
        yield _joined(words)
        if number:
            yield _joined(words + number)
            yield _joined(number + words)
    # In any order, where the words stand apart.
    yield ("", *sorted(name))
    if number:
        yield ("", *sorted(name + number))
        yield _joined(number)


@dataclass(frozen=True)
class Unowned:
    """A photo that is nobody's; `reason` says why, and what to do."""

    reason: str


class Owners:
    """Tells whose a photo is among some students."""

    def __init__(self, students: Sequence[RosterStudent], where: str) -> None:
        """`where` is what the students' list is called in what is told about photos that are nobody's."""
        self._where = where
        self._suggested = 0
        self._by_spelling: defaultdict[Words, set[RosterStudent]] = defaultdict(set)
        self._by_letters: dict[str, RosterStudent] = {}
        for student in students:
            for spelling in _spellings(student):
                if any(spelling):
                    self._by_spelling[spelling].add(student)
            self._by_letters[" ".join(sorted(name_words(student.name)))] = student

    def of(self, photo: PurePath) -> RosterStudent | Unowned:
        """The student of a photo, given by its path below the directory of photos."""
        for folder in reversed(photo.parent.parts):
            owners = self._called(folder)
            if len(owners) == 1:
                (owner,) = owners
                others = self._called(photo.stem)
                if others and owner not in others:
                    named = " or ".join(sorted(other.name for other in others))
                    return Unowned(f"lies in the folder of {owner.name} and bears the name of {named}: move it")
                return owner
        owners = self._called(photo.stem)
        if len(owners) == 1:
            (owner,) = owners
            return owner
        if owners:
            both = " and ".join(f"{owner.name} (id {owner.id})" for owner in sorted(owners, key=lambda one: one.name))
            return Unowned(f"may be of {both}: put the id into its name, or put it into a folder named after the id")
        return Unowned(self._nobody(photo))

    def _called(self, name: str) -> set[RosterStudent]:
        words = name_words(name)
        taken: set[RosterStudent] = set()
        while words:
            found = self._by_spelling.get(_joined(words), set()) | self._by_spelling.get(("", *sorted(words)), set())
            if found:
                return found | taken
            *rest, last = words
            if len(last) >= _LEAST_FIGURES_OF_AN_ID:
                taken |= self._by_spelling.get((last,), set())
            words = _without_mark_of_a_copy(tuple(rest), last)
        return set()

    def _nobody(self, photo: PurePath) -> str:
        reason = f"no student in {self._where} has this name or id"
        words = " ".join(sorted(name_words(photo.stem)))
        self._suggested += 1
        alike = (
            difflib.get_close_matches(words, self._by_letters, n=1, cutoff=_LEAST_LIKENESS)
            if self._suggested <= _MOST_SUGGESTIONS
            else []
        )
        if not alike:
            return f"{reason}: rename it after its student, or take it away"
        nearest = self._by_letters[alike[0]]
        known_by = f" (id {nearest.id})" if nearest.id else ""
        return (
            f"{reason}; the nearest is {nearest.name}{known_by}: if it shows {nearest.name}, rename it to "
            f'"{nearest.name}{photo.suffix}", else take it away'
        )


def _without_mark_of_a_copy(rest: Words, last: str) -> Words:
    """The words without the last one if that is a copy's; none at all if it is not."""
    if last.isdigit() or last in _OF_COPIES:
        return rest
    lettered = re.fullmatch(r"(.*\D)\d+", last)
    return (*rest, lettered[1]) if lettered else ()
