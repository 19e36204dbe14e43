"""What an enrolment tells its reader."""

from __future__ import annotations

from collections.abc import Sequence

from classroom_ops.enrolment.enrol import Outcome

_SHOWN = 12  # names in one line


def lines(outcome: Outcome, *, dry_run: bool) -> list[str]:
    """One line for each thing that happened, or would happen."""
    told = [
        ("would be enrolled" if dry_run else "enrolled", outcome.encodings),
        ("record would be written" if dry_run else "record written", outcome.records),
        ("would be removed" if dry_run else "removed", outcome.removed),
        ("sample that would give way" if dry_run else "sample that gave way", outcome.gave_way),
        ("sample that stays away", outcome.stay_away),
        ("skipped, has no record", outcome.skipped),
        ("class written", [key.removesuffix(".json") for key in outcome.classes]),
    ]
    found = [f"{label:<26} {_listed(names)}" for label, names in told if names]
    found += [f"{'look at this':<26} {warning}" for warning in outcome.warnings]
    found += [f"{'note':<26} {note}" for note in outcome.notes]
    if not (outcome.changes or outcome.classes):
        found.append("nothing changes" if dry_run else "nothing changed")
    return [*found, f"{'students' + (' then' if dry_run else ''):<26} {outcome.students}"]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN])}{more}"
