"""In which encoding a text file was written: most say it or can be checked, the rest is judged by its letters."""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass

from charset_normalizer import from_bytes

# Longest first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What spreadsheets of western Europe and the Americas save when they do not save UTF-8.
_WESTERN = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman"}
_IMPLAUSIBLE = 0.5  # mean penalty of a letter beyond ASCII from which on a text is not western European


class TextError(ValueError):
    """It is not a text in any encoding that is known here."""


@dataclass(frozen=True)
class Text:
    """A decoded text; `guessed` names the encoding where the file does not tell which one it is, else it is empty."""

    content: str
    guessed: str = ""


def decode(data: bytes) -> Text:
    """The text of a file.

    Raises:
        TextError: it holds zero bytes as programs and pictures do, or no known encoding fits.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return Text(_decode(data, encoding))
    if b"\0" in data:
        return Text(_decode(data, _utf_16_without_mark(data)))
    try:
        return Text(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _guess(data)


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"is damaged: it is not the {encoding.upper()} that its first bytes announce") from error


def _utf_16_without_mark(data: bytes) -> str:
    """In western text every other byte of UTF-16 is zero: the second of each pair if the small end comes first."""
    pairs = max(1, len(data) // 2)
    first, second = data[::2].count(0) / pairs, data[1::2].count(0) / pairs
    if max(first, second) < 0.5 or min(first, second) > 0.1:
        raise TextError("is not a text")
    return "utf-16-le" if second > first else "utf-16-be"


def _guess(data: bytes) -> Text:
    judged: list[tuple[float, int, str, str]] = []
    for encoding, name in _WESTERN.items():
        try:
            content = data.decode(encoding)
        except UnicodeDecodeError:  # five bytes mean nothing in Windows-1252
            continue
        judged.append((_penalty(content), len(judged), content, name))
    if judged and min(judged)[0] < _IMPLAUSIBLE:
        _, _, content, name = min(judged)
        return Text(content, name)
    # Its judgement needs more text than a class's list has, and it confuses the two above; for others it is the best.
    best = from_bytes(data).best()
    if best is None:
        raise TextError("is in an encoding that is not known here")
    return Text(str(best), best.encoding)


def _penalty(content: str) -> float:
    """How unlike a name in a western language the letters beyond ASCII look, on average: from 0, as usual."""
    penalties = [
        _strangeness(before, letter, after)
        for before, letter, after in zip(" " + content, content, content[1:] + " ", strict=False)
        if letter > "\x7f"
    ]
    return sum(penalties) / len(penalties)


def _strangeness(before: str, letter: str, after: str) -> float:
    # Whole words of letters beyond ASCII are of another alphabet.
    others = sum(neighbour > "\x7f" and neighbour.isalpha() for neighbour in (before, after))
    return (0.0, 0.3, 0.8)[others] + _of_one(before, letter, after)


def _of_one(before: str, letter: str, after: str) -> float:
    if letter in "’–“”„«» ":  # noqa: RUF001 typographic signs are what is looked for
        inside = before.isalpha() and after.isalpha()
        return 0.0 if inside == (letter == "’") else 0.6  # noqa: RUF001
    if not letter.isalpha() or unicodedata.category(letter) == "Lm":
        return 1.0
    common = 0.0 if "À" <= letter <= "þ" else 0.4
    if letter.isupper():
        # In the middle of a word only among capitals.
        if not before.isalpha():
            return common
        return common + 0.1 if before.isupper() and not after.islower() else 1.0
    return common if letter.islower() and not (before.isupper() and after.isupper()) else common + 0.3
