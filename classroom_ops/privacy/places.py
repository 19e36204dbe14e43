"""Everything that an environment holds about a person, and until when: each place is asked itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key
from classroom_ops.aws import Aws, AwsFailure, is_missing
from classroom_ops.errors import CommandError
from classroom_ops.privacy import machines, objects
from classroom_ops.privacy.objects import Version
from classroom_ops.privacy.person import Person, Without, without, without_rows

Progress = Callable[[str], None]
_EACH = 1000  # files of results between two words of progress
_NEVER = "until somebody removes it"


@dataclass(frozen=True)
class Stored:
    """A version of an object that names the person, and what it becomes without them."""

    version: Version
    content: bytes
    after: Without


@dataclass
class Holdings:
    """What is held about a person. `problems` are places that could not be looked into, each with the reason."""

    person: Person
    items: list[dict[str, Any]] = field(default_factory=list)
    encodings: list[Stored] = field(default_factory=list)
    results: list[Stored] = field(default_factory=list)
    pictures: list[Version] = field(default_factory=list)
    markers: list[Version] = field(default_factory=list)
    videos: list[Version] = field(default_factory=list)
    named_videos: list[Version] = field(default_factory=list)
    machines: list[machines.Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen_in: set[tuple[str, str]] = field(default_factory=set)


def items(aws: Aws) -> list[dict[str, Any]]:
    """All records, none where there is no table. Raises AwsFailure."""
    found: list[dict[str, Any]] = []
    try:
        for page in aws.dynamodb.get_paginator("scan").paginate(TableName=aws.endpoints.table, ConsistentRead=True):
            found += page["Items"]
    except ClientError as error:
        if not is_missing(error):
            raise
    return found


def look(
    aws: Aws, person: Person, seen_in: Iterable[tuple[str, str]] = (), progress: Progress = lambda _: None
) -> Holdings:
    """Everything that is held about a person now. `seen_in` adds videos (key, ETag) that are known from before.

    Raises:
        AwsFailure: table or buckets cannot be read. A VM that cannot be reached is among the `problems`.
    """
    place = aws.endpoints
    found = Holdings(person)
    found.seen_in |= set(seen_in)
    found.items = [item for item in items(aws) if person.is_meant(item["name"].get("S"))]
    for bucket in dict.fromkeys((place.gallery_bucket, place.output_bucket)):
        _look_into(aws, bucket, found, progress)
    for host in place.pollers:
        try:
            one = machines.look(place, host, person)
        except CommandError as error:
            found.problems.append(f"{host}: {error}")
            continue
        found.machines.append(one)
        found.seen_in |= {file.after.video for file in one.files if file.after.video}
    videos, _ = objects.versions(aws.s3, place.input_bucket)
    for video in videos:
        if (video.key, video.etag) in found.seen_in:
            found.videos.append(video)
        elif person.is_named_in(video.key):
            found.named_videos.append(video)
    return found


def _look_into(aws: Aws, bucket: str, found: Holdings, progress: Progress) -> None:
    versions, markers = objects.versions(aws.s3, bucket)
    readable = [one for one in versions if one.key.endswith((".json", ".csv"))]
    stems: set[str] = set()

    def told(number: int) -> None:
        if number % _EACH == 0:
            progress(f"{number} of {len(readable)} files of results")

    for version, content in objects.read_all(aws.s3, readable, told):
        whole = without_rows if version.key.endswith(".csv") else without
        after = whole(found.person, content)
        if after is None:
            continue
        if after.kind == "encodings" and after.content is None and version.key == gallery_key():
            # Without the file, known encodings in the function's image would serve.
            empty = GalleryFile.of(GalleryFile.parse(content).model, []).render().encode()
            after = Without("encodings", empty)
        if after.kind in ("encodings", "samples"):
            found.encodings.append(Stored(version, content, after))
            continue
        found.results.append(Stored(version, content, after))
        if after.kind in ("result", "table"):
            stems.add(version.key.rpartition(".")[0])
        if after.video:
            found.seen_in.add(after.video)
    current = {one.version.key.rpartition(".")[0] for one in found.results if one.version.latest}
    for version in versions:
        stem, _, ending = version.key.rpartition(".")
        # The picture of a newer answer, which does not name the person, stays.
        if ending == "jpg" and stem in stems and (stem in current or not version.latest):
            found.pictures.append(version)
    # A marker stands where an object was removed; one without any version behind it says only that there was one.
    gone = {one.version.key for one in (*found.results, *found.encodings)} | {one.key for one in found.pictures}
    found.markers += [one for one in markers if one.key in gone]


@dataclass(frozen=True)
class Left:
    """What a place keeps, and until when."""

    place: str
    what: str
    until: str


def recovery(aws: Aws) -> list[Left]:
    """From what the record of somebody removed now could be restored."""
    table, left = aws.endpoints.table, []
    try:
        answer: Any = aws.dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        recoverable = answer.get("PointInTimeRecoveryDescription", {})
        if recoverable.get("PointInTimeRecoveryStatus") == "ENABLED":
            days = int(recoverable.get("RecoveryPeriodInDays", 35))
            left.append(
                Left(
                    f"table {table}",
                    "point-in-time recovery can bring the record back",
                    f"{_date(datetime.now(UTC) + timedelta(days=days))} ({days} days)",
                )
            )
        for backup in aws.dynamodb.list_backups(TableName=table).get("BackupSummaries", []):
            left.append(
                Left(
                    f"table {table}",
                    f"backup {backup['BackupName']} of {_date(backup['BackupCreationDateTime'])}",
                    _NEVER,
                )
            )
    except AwsFailure as error:
        if not is_missing(error):
            left.append(_unanswered(f"table {table}", "its backups and its point-in-time recovery", error))
    return left


def function_logs(aws: Aws, person: Person) -> list[Left]:
    """Lines of the function's log that name the person; it is made to name nobody."""
    group = f"/aws/lambda/{aws.endpoints.function}"
    client = aws.client("logs")
    try:
        groups = client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        kept = next((one.get("retentionInDays") for one in groups if one["logGroupName"] == group), None)
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
        times = [
            event["timestamp"] for page in pages for event in page["events"] if person.is_named_in(event["message"])
        ]
    except AwsFailure as error:
        return [] if is_missing(error) else [_unanswered(f"log {group}", "lines", error)]
    if not times:
        return []
    last = datetime.fromtimestamp(max(times) / 1000, UTC)
    until = f"{_date(last + timedelta(days=kept))} ({kept} days)" if kept else _NEVER
    return [Left(f"log {group}", f"{len(times)} lines name the student", until)]


def waiting(aws: Aws) -> list[Left]:
    """Queues whose messages may name students; a message cannot be looked at without taking it from its reader."""
    left = []
    for name in (aws.endpoints.output_queue, aws.endpoints.dead_letter_queues[1]):
        try:
            depth = aws.depth(name).total
            wanted: Any = ["MessageRetentionPeriod"]
            kept = aws.sqs.get_queue_attributes(QueueUrl=aws.queue_url(name), AttributeNames=wanted)["Attributes"]
        except AwsFailure as error:
            if not is_missing(error):
                left.append(_unanswered(f"queue {name}", "messages", error))
            continue
        if depth:
            days = int(kept["MessageRetentionPeriod"]) / 86400
            until = f"{_date(datetime.now(UTC) + timedelta(days=days))} ({days:.0f} days) at the latest"
            left.append(Left(f"queue {name}", f"{depth} messages wait, which may name the student", until))
    return left


def expiry(aws: Aws, bucket: str) -> Callable[[Version], str]:
    """Tells until when a bucket keeps a version, by its lifecycle rules."""
    current, noncurrent = 0, 0
    try:
        rules: Any = aws.s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except AwsFailure:
        rules = []
    for rule in rules:
        if rule.get("Status") == "Enabled":
            current = int(rule.get("Expiration", {}).get("Days", 0)) or current
            noncurrent = int(rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0)) or noncurrent

    def until(version: Version) -> str:
        days = current if version.latest else noncurrent
        return f"{_date(version.modified + timedelta(days=days))} ({days} days)" if days else _NEVER

    return until


def on_this_machine(aws: Aws, person: Person) -> list[Left]:
    """Files of the environment's own directory on this machine: backups, and whatever names the person."""
    left = []
    directory = aws.endpoints.state_dir
    for path in sorted(directory.rglob("*")) if directory.is_dir() else ():
        if not path.is_file() or path.is_symlink():
            continue
        shown = str(path.relative_to(directory.parent.parent))
        if re.fullmatch(r"smart-classroom-.*\.tar\.gz(\.sealed)?", path.name) and path.parent.name == "backups":
            left.append(Left(shown, "a backup, made before; it may hold the student", _NEVER))
            continue
        try:
            named = path.stat().st_size < 50_000_000 and person.is_named_in(path.read_bytes())
        except OSError:
            continue
        if named:
            left.append(Left(shown, "names the student", _NEVER))
    return left


def _unanswered(place: str, what: str, error: Exception) -> Left:
    return Left(place, f"{what}: could not be looked at ({error})", "unknown")


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()
