"""The file of known encodings: ``{"schema":1,"model":...,"version":...,"students":[{"name","encodings"}]}``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
        return cls(model, ordered, _version(ordered))

    def render(self) -> str:
        """The file's text; `parse` reads it."""
        document = {"schema": SCHEMA, "model": self.model, "version": self.version, "students": _members(self.students)}
        return json.dumps(document, ensure_ascii=False, allow_nan=False)

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
        return cls(made_for, students, optional_text(document, "version") or _version(students))


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


def _members(students: Sequence[tuple[str, Encodings]]) -> list[dict[str, Any]]:
    return [{"name": name, "encodings": encodings} for name, encodings in students]


def _version(students: Sequence[tuple[str, Encodings]]) -> str:
    canonical = json.dumps(_members(students), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
