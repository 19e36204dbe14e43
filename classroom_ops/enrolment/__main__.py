"""Enrol students, check them, remove them: what role `students` calls.

Endpoint, region and credentials of AWS come from the environment, as for AWS's own tools.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from classroom_contract.roster import RosterError
from classroom_ops.aws import AwsFailure
from classroom_ops.console import info
from classroom_ops.enrolment import enrol, moving, report
from classroom_ops.enrolment.computing import Engine
from classroom_ops.enrolment.enrol import Sources
from classroom_ops.enrolment.errors import EnrolmentError
from classroom_ops.enrolment.rosters import read_roster
from classroom_ops.enrolment.store import Store, repeated, wrong_between


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="classroom_ops.enrolment", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name, what in (
        ("enrol", "enrol the students of a list, of photos, of a file of encodings"),
        ("verify", "fail when a student of the list, or one who is known, lacks record or encodings"),
        ("remove", "remove the students of the list"),
        ("take-over", "copy known encodings from the bucket of results, where they were before"),
    ):
        one = commands.add_parser(name, help=what)
        one.add_argument("--table", required=True, help="table of records")
        one.add_argument("--bucket", required=True, help="bucket of the known encodings")
        if name == "take-over":
            one.add_argument("--from-bucket", required=True, help="bucket of results")
            one.add_argument("--delete", action="store_true", help="delete what was taken over before, instead")
            one.add_argument("--report", type=Path, help="write what came of it as JSON; the exit code is 0 then")
            continue
        one.add_argument("--roster", type=_path, help="CSV, XLSX or JSON")
        one.add_argument("--sample", action="store_true", help="they are this repository's sample students")
        one.add_argument("--report", type=Path, help="write what came of it as JSON; the exit code is 0 then")
        if name == "enrol":
            one.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
            one.add_argument(
                "--consent-required", action="store_true", help="refuse students without a date of consent"
            )
            one.add_argument("--photos", type=_path, help="directory of photos")
            one.add_argument("--encodings", type=_path, help="the course project's pickle; nothing in it is run")
            one.add_argument("--image", required=True, help="the function's image")
            one.add_argument("--engine", default="docker", help="the container engine's command (default: docker)")
            one.add_argument("--timeout", type=float, default=600, help="seconds, beside two for each photo")
            one.add_argument("--prune", action="store_true", help="remove everybody who is not in the list")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(argv)
    store = Store(_client("dynamodb"), _client("s3"), options.table, options.bucket)
    try:
        done = _COMMANDS[options.command](store, options)
    except (EnrolmentError, RosterError) as error:
        done = {"changed": False, "problems": error.problems, "text": error.problems}
    except AwsFailure as error:
        problem = f"the students' table or bucket cannot be used: {error}. Are both there? make up"
        done = {"changed": False, "problems": [problem], "text": [problem]}
    if options.report:
        options.report.write_text(json.dumps(done, ensure_ascii=False), encoding="utf-8")
        return 0
    for line in done["text"]:
        info(line)
    return 1 if done["problems"] else 0


def _enrol(store: Store, options: argparse.Namespace) -> dict[str, Any]:
    sources = Sources(
        options.roster,
        options.photos,
        options.encodings,
        options.image,
        sample=options.sample,
        prune=options.prune,
        consent_required=options.consent_required,
    )
    engine = Engine(options.engine, options.image, options.timeout)

    def enrolled() -> enrol.Outcome:
        outcome = enrol.enrol(store, sources, engine, lambda text: print(f"phase: {text}", flush=True))  # noqa: T201 a job's phase
        if not options.dry_run:
            outcome.classes = store.apply(outcome.changes)
        return outcome

    outcome = repeated(enrolled)
    return {
        "changed": bool(outcome.changes or outcome.classes) and not options.dry_run,
        "problems": [],
        "text": report.lines(outcome, dry_run=options.dry_run),
        **outcome.names(),
    }


def _verify(store: Store, options: argparse.Namespace) -> dict[str, Any]:
    wanted = read_roster(options.roster).students if options.roster else ()
    excused = store.samples().enrolled if options.sample else ()
    wrong = wrong_between(store.records(), store.known(), wanted, excused)
    wrong += [f"s3://{store.bucket}/{key} is not what the records say of that class" for key in store.wrong_classes()]
    if wrong:
        wrong.append("enroll them again: make enroll ROSTER=<list> PHOTOS=<directory>")
    return {"changed": False, "problems": wrong, "text": wrong}


def _remove(store: Store, options: argparse.Namespace) -> dict[str, Any]:
    names = {student.name for student in read_roster(options.roster).students} if options.roster else set()
    changes = store.forget(names)
    return {"changed": bool(changes), "problems": [], "text": [f"removed  {', '.join(changes.remove) or 'nobody'}"]}


def _take_over(store: Store, options: argparse.Namespace) -> dict[str, Any]:
    bucket = options.from_bucket
    if options.delete:
        deleted = moving.remove(store, _client("s3"), bucket)
        return {"changed": deleted, "problems": [], "text": []}
    came = moving.take_over(store, bucket)
    if came is None:
        return {"changed": False, "problems": [], "text": []}
    text = [f"known encodings of {len(came)} students were copied from s3://{bucket} to s3://{store.bucket}"]
    return {"changed": True, "problems": [], "text": text}


_COMMANDS = {"enrol": _enrol, "verify": _verify, "remove": _remove, "take-over": _take_over}


def _client(service: str) -> Any:
    create: Any = boto3.client  # its stubs want the name as a literal
    config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
    return create(service, config=config)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    sys.exit(main())
