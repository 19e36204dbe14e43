"""A person's names, and what a document says without them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from classroom_contract import ContractError
from classroom_contract.gallery import GalleryFile
from classroom_contract.roster import name_key, stored_text
from classroom_contract.tables import parse_csv, render_csv


@dataclass(frozen=True)
class Person:
    """Whom a command is about: `names` are the spellings under which they are stored."""

    names: frozenset[str]

    @classmethod
    def of(cls, given: str, stored: Collection[str] = ()) -> Person:
        """Whoever is stored under `given`; case, blanks and Unicode's form do not tell two students apart."""
        wanted = name_key(given)
        return cls(frozenset({stored_text(given), *(name for name in stored if name_key(name) == wanted)}))

    def is_meant(self, name: object) -> bool:
        """Whether `name`, of a document, is this person's."""
        return isinstance(name, str) and name_key(name) in self._keys

    def is_named_in(self, text: str | bytes) -> bool:
        """Whether a text holds the name as words of their own: written out, or escaped as in JSON or in a URL."""
        return bool(self._compiled.search(text if isinstance(text, str) else text.decode(errors="replace")))

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(name_key(name) for name in self.names)

    @cached_property
    def pattern(self) -> str:
        """A regular expression, of text or of bytes, for the name as words of their own.

        A name of one word is found only as it is written: "may" is no student.
        """
        spelt = set()
        for name in self.names:
            for form in ("NFC", "NFD"):
                written = unicodedata.normalize(form, name)
                escapes = (written, json.dumps(written)[1:-1], json.dumps(written, ensure_ascii=False)[1:-1])
                spelt |= {*escapes, quote(written), quote(written, safe=""), written.replace('"', '""')}
                spelt.add(quote(written).replace("%20", "+"))
        ordered = sorted(spelt, key=len, reverse=True)
        whole = "|".join(re.escape(one) if name_key(one).isalpha() else f"(?i:{re.escape(one)})" for one in ordered)
        return rf"(?<!\w)(?:{whole})(?!\w)"

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


@dataclass(frozen=True)
class Without:
    """A document without a person: `content`, or None where nobody else is in it and it goes as a whole.

    `kind` is what it was: ``encodings``, ``result``, ``samples``, ``table``, or ``unknown`` where it names the person
    and is none of these; its content is then as it was. `video` is key and ETag of the one in which they were seen.
    """

    kind: str
    content: bytes | None
    video: tuple[str, str] | None = None


def without(person: Person, content: bytes) -> Without | None:
    """What a JSON document becomes when `person` is taken out of it; None where it does not hold them.

    Known encodings are as enrolling writes them.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return Without("unknown", content) if person.is_named_in(content) else None
    found = _of_object(person, document) if isinstance(document, dict) else None
    if found is None and person.is_named_in(content):
        # Such as a video's key with the name in it, in an answer that does not name them otherwise.
        return Without("unknown", content)
    return found


def _of_object(person: Person, document: dict[str, Any]) -> Without | None:
    students = document.get("students")
    if isinstance(students, list) and any(_means(person, one) for one in students):
        others = [one for one in students if not _means(person, one)]
        if any(isinstance(one, dict) and "encodings" in one for one in students):
            return Without("encodings", _gallery(document, others) if others else None)
        return _result(document, others)
    replaced = document.get("replaced")
    if isinstance(replaced, dict) and any(person.is_meant(student) for student in replaced.values()):
        kept = {sample: student for sample, student in replaced.items() if not person.is_meant(student)}
        return Without("samples", json.dumps({**document, "replaced": kept}).encode())
    return None


def _means(person: Person, entry: object) -> bool:
    return isinstance(entry, dict) and person.is_meant(entry.get("name"))


def _gallery(document: dict[str, Any], others: list[Any]) -> bytes:
    try:
        file = GalleryFile.of(str(document["model"]), [(one["name"], one["encodings"]) for one in others])
        return file.render().encode()
    except (ContractError, KeyError, TypeError, ValueError):  # one of an older form; what is left of it is its own
        return json.dumps({**document, "students": others}, ensure_ascii=False).encode()


def _result(document: dict[str, Any], others: list[Any]) -> Without:
    """An account or a message. Its picture shows the person with their name on it, so nothing may lead to it."""
    video = document.get("video")
    seen = None
    if isinstance(video, dict) and isinstance(video.get("key"), str):
        seen = (video["key"], str(video.get("etag", "")).strip('"'))
    if not others:
        return Without("result", None, seen)
    changed = {**document, "students": others}
    if "frame" in changed:
        changed["frame"] = None
    if isinstance(changed.get("result"), dict):
        changed["result"] = {**changed["result"], "frame": None}
    return Without("result", json.dumps(changed, ensure_ascii=False, indent=2).encode(), seen)


def without_rows(person: Person, content: bytes) -> Without | None:
    """What a result's table becomes without the person's row; None where it has none."""
    try:
        rows = parse_csv(content.decode())
    except (ContractError, UnicodeDecodeError):
        return Without("unknown", content) if person.is_named_in(content) else None
    others = [row for row in rows if not person.is_meant(row.name)]
    if len(others) == len(rows):
        return None
    return Without("table", render_csv(others).encode() if others else None)
