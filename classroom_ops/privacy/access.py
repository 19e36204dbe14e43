"""Everything that is held about one person, in a directory that a person can read, beginning with ``index.txt``.

Results are given with this student's part alone, and pictures not at all: both show others, whose rights stand against
a copy of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from classroom_contract.gallery import DIMENSIONS
from classroom_ops.aws import Aws
from classroom_ops.errors import UsageError
from classroom_ops.privacy import places
from classroom_ops.privacy.person import Person
from classroom_ops.privacy.places import Holdings, Progress


def collect(aws: Aws, given: str, directory: str, progress: Progress = lambda _: None) -> tuple[Path, list[str]]:
    """Write what is held about the student stored under `given`; returns the directory and its index.

    Raises:
        UsageError: it cannot be written there.
        AwsFailure: table or buckets cannot be read.
    """
    person = Person.of(given, [str(item["name"].get("S", "")) for item in places.items(aws)])
    found = places.look(aws, person, progress=progress)
    parent = Path(directory).expanduser() if directory else aws.endpoints.state_dir / "subject-access"
    # The person's name is in the files, not in the directory's: listings and logs of this machine shall not have it.
    target = parent / f"subject-access-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    files = _files(aws, found)
    index = _index(aws, found, files)
    try:
        target.mkdir(mode=0o700, parents=True)
        for name, text in {"index.txt": "\n".join(index) + "\n", **files}.items():
            (target / name).write_text(text, encoding="utf-8")
            (target / name).chmod(0o600)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    return target, index


def _files(aws: Aws, found: Holdings) -> dict[str, str]:
    until = places.expiry(aws, aws.endpoints.input_bucket)
    videos = [(one.key, _time(one.modified), str(one.size), until(one)) for one in found.videos]
    return {
        "record.json": _json(
            [{name: next(iter(value.values())) for name, value in item.items()} for item in found.items]
        ),
        "encodings.json": _json(
            [
                {
                    "where": f"s3://{one.version.bucket}/{one.version.key}",
                    "since": _time(one.version.modified),
                    "current": one.version.latest,
                    "encodings": _own(found.person, one.content, "encodings"),
                }
                for one in found.encodings
            ]
        ),
        "results.json": _json(
            [
                {
                    "where": f"s3://{one.version.bucket}/{one.version.key}",
                    "written": _time(one.version.modified),
                    "current": one.version.latest,
                    "video": one.after.video[0] if one.after.video else None,
                    "seen": _own(found.person, one.content),
                }
                for one in found.results
                if one.version.key.endswith(".json")
            ]
        ),
        "videos.csv": _csv(("video", "uploaded", "bytes", "kept until"), videos),
        "pictures.csv": _csv(
            ("picture", "written", "current"),
            [(one.key, _time(one.modified), "yes" if one.latest else "no") for one in found.pictures],
        ),
        "machines.json": _json(
            [
                {
                    "where": f"{file.host}:{file.path}",
                    "written": _time(file.modified),
                    "seen": _own(found.person, file.content),
                }
                for one in found.machines
                for file in one.files
            ]
        ),
    }


def _index(aws: Aws, found: Holdings, files: dict[str, str]) -> list[str]:
    current = [one for one in found.encodings if one.version.latest and one.after.kind == "encodings"]
    faces = max((len(_own(found.person, one.content, "encodings")) for one in current), default=0)
    results = json.loads(files["results.json"])
    logs = [*places.recovery(aws), *places.function_logs(aws, found.person), *places.waiting(aws)]
    logs += places.on_this_machine(aws, found.person)
    fetched = sum(len(one.files) for one in found.machines)
    return [
        "What Smart Classroom holds about one person",
        "",
        f"Person        {', '.join(sorted(found.person.names))}",
        f"Environment   {aws.endpoints.environment}, region {aws.endpoints.region}",
        f"Looked at     {_time(datetime.now(UTC))}",
        "",
        f"record.json     {len(found.items)} record: what the list of students said, and the date of the consent",
        f"encodings.json  {faces} encodings, one for each photo: {DIMENSIONS} numbers that describe a face. The photos",
        "                themselves are not kept. Earlier versions of the file are listed as not current",
        f"results.json    {len(results)} answers: in which videos the person was seen, when, and how sure that is",
        f"videos.csv      {len(found.videos)} videos in which they were seen, and until when each is kept",
        f"pictures.csv    {len(found.pictures)} pictures of a frame; they may show others, so they are only named",
        f"machines.json   {fetched} files with the same answers, on the machine that fetches them",
        "",
        "In the logs a video is named by its key and a student not at all, so a search by name finds a line only",
        "where a video's name is the person's. It found this; and these places keep what was removed for a while:",
        *(f"  {one.place}: {one.what}; {one.until}" for one in logs),
        *(
            f"  journal of {one.host}: {one.journal_lines} lines name the person"
            for one in found.machines
            if one.journal_lines > 0
        ),
        *(f"  {one.key}: a video whose name is the person's" for one in found.named_videos),
        *(f"  NOT LOOKED INTO: {problem}" for problem in found.problems),
        "",
        "How long each place keeps what, and who can read it: docs/privacy.md. To have all of it removed: make forget.",
    ]


def _own(person: Person, content: bytes, member: str = "") -> Any:
    """This person's entries of a document, or one member of the first of them; nothing of anybody else's."""
    try:
        document = json.loads(content)
    except ValueError:
        return []
    students = document.get("students") if isinstance(document, dict) else None
    entries = [one for one in students or () if isinstance(one, dict) and person.is_meant(one.get("name"))]
    if member:
        return entries[0].get(member, []) if entries else []
    return entries


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
