"""Takes secrets and students' names out of text that leaves the machine: known ones, and what looks like one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

REDACTED = "[redacted]"
STUDENT = "[student]"
# Shorter values ("local", "demo") are words of ordinary text: taking them out would make a log unreadable and hide
# nothing. The project generates nothing shorter than this.
MIN_LENGTH = 8
_MAX_FILE_BYTES = 1_000_000
_NAME_PATTERN = (
    r"[\w.-]*(?:passw(?:or)?d|passwd|passphrase|_pass(?![a-z])|secret|token|"
    r"api_?key|access_key|private_key|credential)[\w.-]*"
)
_SECRET_NAME = re.compile(_NAME_PATTERN, re.IGNORECASE)
_SECRET_FILE = re.compile(r"secret|passw|token|vault|credential|id_ed25519$|id_rsa$|\.key$|\.pem$", re.IGNORECASE)

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_URL_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*):[^\s@/\"']+@", re.IGNORECASE)
# A name that speaks of a secret, then = or : with or without quotes, then its value; the value alone is replaced.
_ASSIGNED = re.compile(
    rf"""(?P<name>["']?\b{_NAME_PATTERN}["']?\s*(?:=>|[=:])\s*)(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"',;&)}}\]]+)""",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<name>\b(?:authorization|proxy-authorization|x-auth-token|x-subject-token|x-amz-security-token|cookie)"
    r"[\"']?\s*[:=]\s*)(?P<value>[^\r\n\"']+)",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"(--{_NAME_PATTERN}\s+)(?!-)[^\s\"']+", re.IGNORECASE)
_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\bgAAAAA[\w-]{20,}=*"),  # Fernet, as in Keystone's tokens
    re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),  # JSON web tokens
    re.compile(r"(?<=X-Amz-Signature=)[0-9a-f]+|(?<=Signature=)[0-9a-f]{64}"),
)
# Values that follow a secret's name and are none: switches, numbers, and words that say there is nothing.
_HARMLESS = re.compile(r"^[\"']?(?:true|false|null|none|yes|no|\d{1,6}|)[\"']?$", re.IGNORECASE)


# Members of a log's JSON that hold names: students, a student.
_STUDENTS = re.compile(r"""(?P<name>["']students?["']\s*:\s*)(?P<value>\[[^\]{}]*\]|"(?:[^"\\]|\\.)*"|'[^']*')""")
# What may stand between the words of a name in a file name, a URL or a key.
_BETWEEN = r"(?:[\s_.+-]|%20)+"


class Redactor:
    """Replaces `values`, the `students`' names, and everything that looks like either."""

    def __init__(self, values: Iterable[str] = (), students: Iterable[str] = ()) -> None:
        wanted = {value for value in values if len(value) >= MIN_LENGTH}
        wanted |= {json.dumps(value)[1:-1] for value in wanted}
        # The longest first, for one may be a part of another.
        ordered = sorted(wanted, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        names = sorted({form for name in students for form in _spellings(name)}, key=len, reverse=True)
        self._students = re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)") if names else None

    def __call__(self, text: str) -> str:
        """`text` without secrets and names."""
        text = _STUDENTS.sub(rf"\g<name>{json.dumps(STUDENT)}", text)
        if self._students:
            text = self._students.sub(STUDENT, text)
        text = _PRIVATE_KEY.sub(REDACTED, text)
        if self._values:
            text = self._values.sub(REDACTED, text)
        text = _URL_USER.sub(rf"\1:{REDACTED}@", text)
        text = _HEADER.sub(rf"\g<name>{REDACTED}", text)
        text = _ASSIGNED.sub(_hide, text)
        text = _OPTION.sub(rf"\1{REDACTED}", text)
        for shape in _SHAPES:
            text = shape.sub(REDACTED, text)
        return text


def _spellings(name: str) -> Iterator[str]:
    """Patterns for a name: as it is, in Unicode's other form, escaped in JSON or a URL.

    Several words are found in any case and with whatever a file name has between them. A single word is found only as
    it is written: "may" is no student.
    """
    words = name.split()
    if not words:
        return
    for form in ("NFC", "NFD"):
        spelt = [unicodedata.normalize(form, word) for word in words]
        for escape in (str, lambda word: json.dumps(word)[1:-1], quote):
            pattern = _BETWEEN.join(re.escape(escape(word)) for word in spelt)
            yield f"(?i:{pattern})" if len(words) > 1 else pattern


def _hide(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if _HARMLESS.match(value) or REDACTED in value or value.startswith("["):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{quote}{REDACTED}{quote}"


def known_secrets(state_dir: Path) -> set[str]:
    """Values of the secrets that this environment's files hold.

    Every value of a file whose name speaks of secrets, and in any other JSON or YAML file those under such a name.
    A file that cannot be read gives nothing: the patterns still apply.
    """
    found: set[str] = set()
    for path in sorted(state_dir.rglob("*")):
        relative = str(path.relative_to(state_dir))
        try:
            if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
                continue
            named = bool(_SECRET_FILE.search(relative))
            if named or path.suffix in {".json", ".yaml", ".yml"}:
                found |= _secrets_of(path.read_text(encoding="utf-8"), everything=named)
        except (OSError, UnicodeDecodeError):
            continue
    return {value for value in found if len(value) >= MIN_LENGTH}


def _secrets_of(text: str, *, everything: bool) -> set[str]:
    try:
        content = yaml.safe_load(text)  # JSON is YAML as well
    except (yaml.YAMLError, ValueError):
        content = text
    if isinstance(content, dict | list):
        return set(_scalars(content, secret=everything))
    if not everything:
        return set()
    values = {text.strip()}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("-----"):
            continue
        values.add(stripped)
        values.add(stripped.partition("=")[2].strip().strip("\"'"))
    return values


def _scalars(content: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _scalars(value, secret=secret or bool(_SECRET_NAME.fullmatch(str(key))))
    elif isinstance(content, list):
        for value in content:
            yield from _scalars(value, secret=secret)
    elif secret and isinstance(content, str | int) and not isinstance(content, bool):
        yield from {str(content), *str(content).splitlines()}
