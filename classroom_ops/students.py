"""``students``: who is enrolled, as a table for people or as JSON for programs. Read only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from classroom_contract.roster import stored_text
from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.enrolment.store import Record, Store
from classroom_ops.errors import OpsError, UsageError

_UNKNOWN = "-"


@dataclass(frozen=True)
class Enrolled:
    """A student's record, and how many photos there are known encodings of; without photos nobody is recognised."""

    record: Record
    photos: int


def listed(aws: Aws, class_name: str | None = None) -> list[Enrolled]:
    """Everybody who has a record or known encodings, or those of a class, by class and name.

    Raises:
        UsageError: nobody is in that class.
        OpsError: table or bucket cannot be read.
    """
    place = aws.endpoints
    store = Store(aws.dynamodb, aws.s3, place.table, place.gallery_bucket)
    try:
        records, known = store.records(), store.known().students
    except AwsFailure as error:
        raise OpsError(explain(error, place)) from error
    records = {name: Record(name, "", "", "") for name in known} | records
    students = [Enrolled(record, len(known.get(name, ()))) for name, record in records.items()]
    students.sort(key=lambda one: (one.record.class_name.casefold(), one.record.name.casefold()))
    if class_name is None:
        return students
    wanted = stored_text(class_name)
    found = [one for one in students if one.record.class_name == wanted]
    if not found:
        classes = sorted({one.record.class_name for one in students} - {""})
        near = difflib.get_close_matches(wanted, classes, 3, 0.4) or classes[:3]
        raise UsageError(f"nobody is in the class {wanted!r}; there {_are(classes, near)}")
    return found


def _are(classes: Sequence[str], some: Sequence[str]) -> str:
    if not classes:
        return "are no classes: lists with a column class make them"
    if len(classes) == 1:
        return f"is one class: {classes[0]}"
    return f"are {len(classes)} classes{', as' if len(some) < len(classes) else ':'} {', '.join(some)}"


def screen(students: Sequence[Enrolled]) -> Table:
    """The students as a person reads them."""
    columns = ("name", "id", "major", "year", "class", "photos", "enrolled", "consent", "")
    table = Table(*columns, box=None, pad_edge=False, caption_justify="left")
    for column in table.columns:
        column.overflow = "fold"  # rather than an ellipsis: a name may be needed as it is
    table.columns[columns.index("photos")].justify = "right"
    for one in students:
        record = one.record
        values = [record.name, record.id, record.major, record.year, record.class_name, str(one.photos)]
        values += [record.enrolled, record.consent, "sample" if record.sample else ""]
        table.add_row(*(value or (_UNKNOWN if column else "") for column, value in zip(columns, values, strict=True)))
    table.caption = f"{len(students)} students" if len(students) != 1 else "1 student"
    return table


def document(environment: str, class_name: str | None, students: Sequence[Enrolled]) -> dict[str, Any]:
    """The same for programs; what is not known is null."""
    return {
        "schema": 1,
        "environment": environment,
        "class": class_name,
        "students": [
            {
                "name": one.record.name,
                "id": one.record.id,
                "major": one.record.major,
                "year": one.record.year,
                "class": one.record.class_name or None,
                "photos": one.photos,
                "enrolled": one.record.enrolled or None,
                "consent": one.record.consent or None,
                "sample": one.record.sample,
            }
            for one in students
        ],
    }
