"""The result's CSV: UTF-8, RFC 4180, header ``name,major,year``, and harmless in a spreadsheet.

A spreadsheet runs a field that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break as a formula (OWASP, "CSV
Injection"). Such a field gets an apostrophe before it, which spreadsheets show as the text behind it. A field that
begins with apostrophes and then such a sign gets one more, so reading takes exactly one away and gives back what was
written.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from .fields import ContractError

COLUMNS = ("name", "major", "year")
# OWASP's list, with the full-width signs that Japanese and Chinese spreadsheets take for the same.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 the full-width signs are meant


class Row(NamedTuple):
    """One student of the table."""

    name: str
    major: str = ""
    year: str = ""


def render_csv(rows: Iterable[Row]) -> str:
    """The table, lines ended by CR LF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(field) for field in row] for row in rows)
    return text.getvalue()


def parse_csv(text: str) -> tuple[Row, ...]:
    """Read a table that `render_csv` wrote, or an older one without apostrophes.

    Raises:
        ContractError: it does not begin with the header, or a row has not three fields.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ContractError(f"not a CSV: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ContractError(f"not a CSV with the header {','.join(COLUMNS)}")
    if any(len(row) != len(COLUMNS) for row in rows[1:]):
        raise ContractError(f"a row of the CSV has not {len(COLUMNS)} fields")
    return tuple(Row(*map(_original, row)) for row in rows[1:])


def _harmless(field: str) -> str:
    return f"'{field}" if _FORMULA.match(field) else field


def _original(field: str) -> str:
    return field[1:] if field.startswith("'") and _FORMULA.match(field) else field
