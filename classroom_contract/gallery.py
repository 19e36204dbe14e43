"""The file of known encodings: ``{"schema":1,"model":...,"version":...,"students":[{"name","encodings"}]}``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .fields import ContractError, load_object, objects, optional_text, schema, text

SCHEMA = 1
# Numbers of one encoding, as the model gives them; eight decimals are kept, a thousandth of what two photos differ by.
DIMENSIONS = 128
DECIMALS = 8

Encodings = Sequence[Sequence[float]]


@dataclass(frozen=True)
class GalleryFile:
    """Known encodings: name of the student and their encodings, `DIMENSIONS` numbers each, in the order of the names.

    `model` names the network that made them; encodings of two models cannot be compared. `version` is a hash of the
    students.
    """

    model: str
    students: tuple[tuple[str, Encodings], ...]
    version: str

    @classmethod
    def of(cls, model: str, students: Iterable[tuple[str, Encodings]]) -> GalleryFile:
        """A file with these students, its numbers rounded, students without an encoding left out.

        Raises:
            ContractError: a student stands there twice, or an encoding has not `DIMENSIONS` finite numbers.
        """
        rounded = [
            (name, tuple(tuple(round(float(value), DECIMALS) for value in one) for one in encodings))
            for name, encodings in students
            if len(encodings)
        ]
        ordered = tuple(sorted(rounded, key=lambda student: student[0]))
        _check(ordered)
        return cls._made(model, ordered, [_text(*student) for student in ordered])

    @classmethod
    def _made(cls, model: str, students: tuple[tuple[str, Encodings], ...], texts: list[str]) -> GalleryFile:
        """A file whose students' texts are known."""
        made = cls(model, students, _version(texts))
        vars(made)["_texts"] = texts  # where cached_property keeps it
        return made

    def only(self, names: Collection[str]) -> GalleryFile:
        """A file with those of the students who are in `names`: a class's, made of everyone's."""
        kept = [number for number, (name, _) in enumerate(self.students) if name in names]
        return self._made(
            self.model, tuple(self.students[number] for number in kept), [self._texts[number] for number in kept]
        )

    def render(self) -> str:
        """The file's text; `parse` reads it."""
        head = json.dumps({"schema": SCHEMA, "model": self.model, "version": self.version}, ensure_ascii=False)
        return f'{head[:-1]}, "students": [{",".join(self._texts)}]}}'

    @cached_property
    def _texts(self) -> list[str]:
        """Each student's part of the text: ten thousand of them take a second to write, so it is done once."""
        return [_text(*student) for student in self.students]

    @classmethod
    def parse(cls, content: str | bytes, model: str | None = None) -> GalleryFile:
        """Read a file made for `model`, or for any. The version it states is believed: computing it takes long.

        Raises:
            ContractError: it is damaged, of another schema, or made for another model.
        """
        document = load_object(content)
        schema(document, (SCHEMA,))
        made_for = text(document, "model")
        if model is not None and made_for != model:
            raise ContractError(f"made for the model {made_for[:60]!r}, not for {model!r}")
        students = tuple((text(one, "name"), _encodings(one)) for one in objects(document, "students"))
        _check(students)
        stated = optional_text(document, "version")
        return cls(made_for, students, stated or _version(_text(*student) for student in students))


def _encodings(student: Any) -> list[list[float]]:
    found = student.get("encodings")
    if not isinstance(found, list):
        raise ContractError("a student has no list of encodings")
    return found


def _check(students: Sequence[tuple[str, Encodings]]) -> None:
    if len({name for name, _ in students}) < len(students):
        raise ContractError("a student stands there twice")
    for _, encodings in students:
        for encoding in encodings:
            # The sum is finite only if every number is; to ask each one would take twenty times as long.
            try:
                fits = len(encoding) == DIMENSIONS and math.isfinite(sum(encoding))
            except (TypeError, OverflowError) as error:
                raise ContractError("an encoding holds something that is no number") from error
            if not fits:
                raise ContractError(f"an encoding has not {DIMENSIONS} finite numbers")


def _text(name: str, encodings: Encodings) -> str:
    student = {"encodings": encodings, "name": name}
    return json.dumps(student, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _version(texts: Iterable[str]) -> str:
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()[:16]
