"""Remove everything about one person, look again, and say what is left until when.

In a result with several students only this one's rows go; the picture, on which their face and their name can be seen,
goes as a whole. The record goes last: stopped anywhere, the same command does what is left to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from classroom_ops.aws import Aws, AwsFailure, is_missing
from classroom_ops.privacy import machines, objects, places
from classroom_ops.privacy.person import Person
from classroom_ops.privacy.places import Holdings, Left, Progress, Stored

_SOURCES = "sources"  # what an enrolment notes beside the encodings: without it, the next one writes everything again
_ROUNDS = 4
_TTL_SECONDS = 60.0  # where the function cannot be asked how long it keeps known encodings in its memory
_BUSY_SECONDS = 120.0  # a video that was begun with them is answered by then
_PAUSE = 2.0


@dataclass
class Forgotten:
    """What came of it: how much of each kind was removed, what is left, and places that could not be looked into."""

    names: frozenset[str]
    removed: dict[str, int] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    dry_run: bool = False

    def count(self, what: str, number: int = 1) -> None:
        """Add to what was removed."""
        if number:
            self.removed[what] = self.removed.get(what, 0) + number

    def lines(self) -> list[str]:
        """For the reader."""
        told = [f"{', '.join(sorted(self.names))}", "would be removed" if self.dry_run else "removed"]
        told += [f"  {number:>5}  {what}" for what, number in self.removed.items()] or ["         nothing"]
        told.append("then left" if self.dry_run else "left, as every place says itself")
        told += [f"  {one.place}: {one.what}; {one.until}" for one in self.left] or ["  nothing"]
        told += [f"  not looked into: {problem}" for problem in self.problems]
        return [*told, f"looked into: {', '.join(self.looked)}"]


def forget(
    aws: Aws,
    given: str,
    *,
    videos: bool,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
    wait: Callable[[Aws, Progress], None] | None = None,
) -> Forgotten:
    """Remove everything about the student stored under `given`; with `videos` the uploads too in which they were seen.

    `wait` returns when no answer can come any more that was begun with the old encodings (`settled`).

    Raises:
        AwsFailure: table or buckets cannot be read or written. What was removed before stays removed.
        CommandError: a VM was reached and then failed.
    """
    person = _person(aws, given)
    done = Forgotten(person.names, dry_run=dry_run)
    progress("looking into every place")
    found = places.look(aws, person, progress=progress)
    if dry_run:
        _would(done, found, videos=videos)
    else:
        found = _until_nothing_is_left(aws, found, done, progress, videos=videos, wait=wait or settled)
    done.problems = found.problems
    done.left = [*_left(aws, found, videos=videos, dry_run=dry_run), *_left_elsewhere(aws, person)]
    done.looked = _looked(aws)
    return done


def settled(aws: Aws, progress: Progress) -> None:
    """Wait until the function has read the known encodings again, and until every answer begun before is stored."""
    place = aws.endpoints
    versions, _ = objects.versions(aws.s3, place.gallery_bucket)
    newest = max((one.modified for one in versions if one.latest), default=datetime.min.replace(tzinfo=UTC))
    begun = time.monotonic()
    pause = _ttl(aws) - (datetime.now(UTC) - newest).total_seconds()
    if pause > 0:
        progress(f"the function keeps known encodings in its memory: waiting {pause:.0f} s, to look again after that")
        time.sleep(pause)
    while time.monotonic() - begun < max(pause, 0) + _BUSY_SECONDS:
        try:
            if not any(aws.depth(name).total for name in (place.input_queue, place.output_queue)):
                return
        except AwsFailure as error:
            if is_missing(error):
                return
            raise
        time.sleep(_PAUSE)


def _person(aws: Aws, given: str) -> Person:
    return Person.of(given, [str(item["name"].get("S", "")) for item in places.items(aws)])


def _until_nothing_is_left(
    aws: Aws,
    found: Holdings,
    done: Forgotten,
    progress: Progress,
    *,
    videos: bool,
    wait: Callable[[Aws, Progress], None],
) -> Holdings:
    """Remove and look, until a look finds nothing that can be removed; returns that look."""
    for attempt in range(_ROUNDS):
        if not _can_go(found, videos=videos):
            break
        _remove(aws, found, done, progress, videos=videos)
        if attempt == 0:
            wait(aws, progress)
        progress("looking into every place again")
        found = places.look(aws, found.person, found.seen_in, progress)
    return found


def _can_go(found: Holdings, *, videos: bool) -> bool:
    documents = [one.after for one in (*found.encodings, *found.results)]
    documents += [file.after for one in found.machines for file in one.files]
    known = any(one.kind != "unknown" for one in documents)
    return bool(found.items or known or found.pictures or (videos and found.videos))


def _remove(aws: Aws, found: Holdings, done: Forgotten, progress: Progress, *, videos: bool) -> None:
    progress("removing")
    # First of all nobody may be recognised any more. Videos are known by the results, which therefore go after them.
    for one in found.encodings:
        if _take_out(aws, one, drop=(_SOURCES,)):
            done.count(f"versions of known encodings, in s3://{one.version.bucket}")
    for video in found.videos if videos else ():
        objects.remove(aws.s3, video)
        done.count(f"versions of videos, in s3://{video.bucket}")
    for picture in found.pictures:
        objects.remove(aws.s3, picture)
        done.count(f"pictures, in s3://{picture.bucket}")
    for one in found.results:
        if one.after.kind != "unknown" and _take_out(aws, one):
            what = "removed" if one.after.content is None or not one.version.latest else "rewritten for the others"
            done.count(f"files of results {what}, in s3://{one.version.bucket}")
    for marker in found.markers:
        objects.remove(aws.s3, marker)
    for machine in found.machines:
        changes = {file.path: file.after.content for file in machine.files if file.after.kind != "unknown"}
        machines.change(aws.endpoints, machine.host, changes)
        done.count(f"files removed on {machine.host}", sum(content is None for content in changes.values()))
        done.count(
            f"files rewritten for the others on {machine.host}", sum(one is not None for one in changes.values())
        )
    for item in found.items:
        aws.dynamodb.delete_item(TableName=aws.endpoints.table, Key={"name": item["name"]})
        done.count(f"record, in the table {aws.endpoints.table}")


def _take_out(aws: Aws, one: Stored, drop: tuple[str, ...] = ()) -> bool:
    """Remove a version, or write the latest one anew without the person; False where somebody was faster."""
    if one.version.latest and one.after.content is not None:
        return objects.replace(aws.s3, one.version, one.after.content, drop=drop)
    objects.remove(aws.s3, one.version)
    return True


def _would(done: Forgotten, found: Holdings, *, videos: bool) -> None:
    done.count("record", len(found.items))
    done.count("versions of known encodings", len(found.encodings))
    done.count("versions of videos", len(found.videos) if videos else 0)
    done.count("pictures", len(found.pictures))
    for one in found.results:
        if one.after.kind != "unknown":
            whole = one.after.content is None or not one.version.latest
            done.count(f"files of results {'removed' if whole else 'rewritten for the others'}")
    for machine in found.machines:
        known = [file.after.content for file in machine.files if file.after.kind != "unknown"]
        done.count(f"files removed on {machine.host}", sum(content is None for content in known))
        done.count(f"files rewritten for the others on {machine.host}", sum(one is not None for one in known))


def _left(aws: Aws, found: Holdings, *, videos: bool, dry_run: bool) -> list[Left]:
    """What the last look still found in buckets and on VMs."""
    place = aws.endpoints
    until = {
        bucket: places.expiry(aws, bucket) for bucket in {place.gallery_bucket, place.output_bucket, place.input_bucket}
    }
    left = []
    for one in (*found.encodings, *found.results):
        if one.after.kind == "unknown" or not dry_run:
            left.append(Left(_address(one.version), _why(one), until[one.version.bucket](one.version)))
    for video in found.videos if dry_run <= (not videos) else ():
        what = "a video in which the student was seen; VIDEOS=true removes it"
        left.append(Left(_address(video), what, until[video.bucket](video)))
    for video in found.named_videos:
        left.append(Left(_address(video), "a video whose name is the student's", until[video.bucket](video)))
    for machine in found.machines:
        for file in machine.files:
            if file.after.kind == "unknown" or not dry_run:
                left.append(Left(f"{machine.host}:{file.path}", "names the student", "until the poller's files expire"))
        if machine.journal_lines > 0:
            what = f"{machine.journal_lines} lines name the student"
            left.append(Left(f"journal of {machine.host}", what, "until newer lines need the room"))
    return left


def _why(one: Stored) -> str:
    if one.after.kind != "unknown":
        return "came back while it was being removed; run the same command again"
    if one.version.key.endswith("samples.json"):
        return "the name of a sample student stays, so that the sample is not enrolled again"
    return "is no file that this command knows, or its video's name is the student's; remove it by hand if it has to go"


def _left_elsewhere(aws: Aws, person: Person) -> list[Left]:
    return [
        *places.recovery(aws),
        *places.function_logs(aws, person),
        *places.waiting(aws),
        *places.on_this_machine(aws, person),
        Left("backups elsewhere", "cannot be looked into: who restores one forgets again", "as long as you keep them"),
    ]


def _looked(aws: Aws) -> list[str]:
    place = aws.endpoints
    buckets = dict.fromkeys((place.gallery_bucket, place.output_bucket, place.input_bucket))
    return [
        f"table {place.table} and its recovery",
        *(f"every version in s3://{bucket}" for bucket in buckets),
        *(f"files and journal of {host}" for host in place.pollers),
        f"log and queues of {place.function}",
        str(place.state_dir),
    ]


def _address(version: objects.Version) -> str:
    return f"s3://{version.bucket}/{version.key}" + ("" if version.latest else f" (version {version.id})")


def _ttl(aws: Aws) -> float:
    try:
        told = aws.function.get_function_configuration(FunctionName=aws.endpoints.function)
        return float(told.get("Environment", {}).get("Variables", {})["GALLERY_TTL_SECONDS"])
    except (*AwsFailure, KeyError, ValueError):
        return _TTL_SECONDS
