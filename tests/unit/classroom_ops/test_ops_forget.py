"""Whoever is forgotten is found nowhere but where the report says; everybody else's results stay."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key, result_keys
from classroom_contract.notification import Notification
from classroom_contract.results import Result
from classroom_contract.tables import parse_csv
from classroom_ops import cli
from classroom_ops.aws import Aws
from classroom_ops.commands import ssh
from classroom_ops.privacy import access, forget, machines, objects
from classroom_ops.privacy.person import Person, without, without_rows

GONE = "Zoë O'Hara-Ünal"
STAYS = "Ada Lovelace"
ODD = [GONE, "-rf; $HOME `id` {{ 6 * 7 }}", 'the "best" 名前 🎓', "Ann"]
JOURNAL = """#!/bin/sh
cat "$FAKE_VM/journal"
"""
# As sudo does: what is on its command line is in the machine's log.
SUDO = """#!/bin/sh
echo "COMMAND=$*" >> "$FAKE_VM/journal"
[ "$1" = "-n" ] && shift
exec "$@"
"""

AnswerWritten = Callable[..., None]
AnswerAccount = Callable[..., Result]


def encoding(name: str) -> list[float]:
    """A face that no other name has: it is searched for by its numbers."""
    return [round(sum(name.encode()) / 9973 + number / 1e6, 8) for number in range(128)]


def gallery(*names: str) -> bytes:
    return GalleryFile.of("model", [(name, [encoding(name)]) for name in names]).render().encode()


class World:
    """An environment with one student to be forgotten among others, in every place and in every version."""

    def __init__(self, aws: Aws, directory: Path, answer: AnswerWritten, account: AnswerAccount) -> None:
        self.aws, self.directory, self.place = aws, directory, aws.endpoints
        self._answer, self._account = answer, account
        self.results = Path(self.place.results_dir)
        self.buckets = (self.place.output_bucket, self.place.input_bucket, self.place.gallery_bucket)
        self.aws.s3.put_bucket_versioning(Bucket=self.buckets[2], VersioningConfiguration={"Status": "Enabled"})

    def versioned(self) -> None:
        for bucket in self.buckets[:2]:
            self.aws.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def enrol(self, *names: str) -> None:
        for name in names:
            self.aws.dynamodb.put_item(TableName=self.place.table, Item={"name": {"S": name}, "id": {"S": "7"}})
        bucket, metadata = self.place.gallery_bucket, {"sources": "a", "other": "b"}
        self.aws.s3.put_object(Bucket=bucket, Key=gallery_key(), Body=gallery(*names), Metadata=metadata)
        for name, members in (("both", names[:2]), ("alone", names[:1]), ("others", names[1:])):
            self.aws.s3.put_object(Bucket=bucket, Key=gallery_key(name), Body=gallery(*members))
        samples = {"schema": 1, "enrolled": ["Joe"], "replaced": {"Joe": names[0]}}
        self.aws.s3.put_object(Bucket=bucket, Key="account/samples.json", Body=json.dumps(samples).encode())

    def video(self, key: str, *names: str, stored: bool = True, content: bytes = b"video") -> None:
        """An upload and its answer, in the bucket and on the VM."""
        put: Any = self.aws.s3.put_object(Bucket=self.place.input_bucket, Key=key, Body=content + key.encode())
        etag = put["ETag"].strip('"')
        self._answer(self.aws, key, etag, "recognized", list(names))
        if stored:
            result = self._account(key, etag, "recognized", list(names))
            message = Notification.about(result, self.place.output_bucket, result_keys(key))
            name = f"{key.replace('/', '%2F')}-{etag}"
            (self.results / f"{name}.json").write_text(message.render())
            (self.results / f"{name}.csv").write_text(message.csv())

    def forget(self, name: str = GONE, **options: Any) -> forget.Forgotten:
        options = {"videos": True, "wait": lambda *_: None, **options}
        return forget.forget(self.aws, name, **options)

    def everything(self) -> Iterator[tuple[str, str]]:
        """Every place and what it holds, found without the code under test."""
        for item in self.aws.dynamodb.scan(TableName=self.place.table)["Items"]:
            yield "table", json.dumps(item, ensure_ascii=False)
        for bucket in self.buckets:
            for version in self.aws.s3.list_object_versions(Bucket=bucket).get("Versions", []):
                more: Any = {} if version["VersionId"] == "null" else {"VersionId": version["VersionId"]}
                body = self.aws.s3.get_object(Bucket=bucket, Key=version["Key"], **more)["Body"].read()
                yield f"s3://{bucket}/{version['Key']}", f"{version['Key']} {body.decode(errors='replace')}"
        for path in [*self.directory.rglob("*")]:
            if path.is_file() and path.parent != self.directory / "bin":
                yield str(path), f"{path.name} {path.read_text(errors='replace')}"

    def holding(self, name: str) -> list[str]:
        """Places that hold the name, however it is written, or the numbers of the face."""
        spellings = [name, json.dumps(name)[1:-1], name.replace('"', '""'), str(encoding(name)[0])]
        return [place for place, text in self.everything() if any(one in text for one in spellings)]


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    aws: Aws,
    tmp_path: Path,
    answer_written: AnswerWritten,
    answer_account: AnswerAccount,
) -> World:
    for name, text in (("journalctl", JOURNAL), ("sudo", SUDO)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "journal").write_text("nothing to tell\n")
    made = World(aws, tmp_path, answer_written, answer_account)
    if getattr(request, "param", True):  # whether videos and answers have versions, as in prod
        made.versioned()
    return made


def fill(world: World, gone: str = GONE) -> None:
    world.enrol(gone, STAYS)
    world.enrol(gone, STAYS, "Kurt")
    world.video("history/alone.mp4", gone)
    world.video("history/alone.mp4", gone, content=b"uploaded again")
    world.video("both.MOV", gone, STAYS)
    world.video("replaced.mp4", gone)
    world.video("replaced.mp4", STAYS, content=b"another lesson")
    world.video("others.mp4", STAYS, "Kurt")
    rejected = world.results.parent / "rejected"
    rejected.mkdir()
    (rejected / "m1.txt").write_text(f"no result, but of {gone}")
    (rejected / "m2.txt").write_text(f"no result, but of {STAYS}")


def of_others(world: World) -> list[Any]:
    """What others have, which has to be the same afterwards."""
    kept: list[Any] = []
    for key in ("replaced.mp4", "others.mp4"):
        for one in (result_keys(key).csv, result_keys(key).json, result_keys(key).frame):
            kept.append(world.aws.s3.get_object(Bucket=world.place.output_bucket, Key=one)["Body"].read())
    kept += [path.read_text() for path in sorted(world.results.iterdir()) if path.name.startswith("others")]
    kept.append((world.results.parent / "rejected/m2.txt").read_text())
    return [*kept, world.aws.dynamodb.get_item(TableName=world.place.table, Key={"name": {"S": STAYS}})["Item"]]


@pytest.mark.parametrize(("world", "gone"), [*((True, name) for name in ODD), (False, GONE)], indirect=["world"])
def test_nothing_of_the_person_is_found_anywhere_and_everything_of_others(world: World, gone: str) -> None:
    fill(world, gone)
    before = of_others(world)
    assert len(world.holding(gone)) >= 10
    done = world.forget(gone)
    assert world.holding(gone) == []
    assert of_others(world) == before
    assert [left.place for left in done.left] == ["backups elsewhere"]
    bucket = world.place.gallery_bucket
    body = world.aws.s3.get_object(Bucket=bucket, Key=gallery_key())
    assert body["Body"].read() == gallery(STAYS, "Kurt")
    assert body["Metadata"] == {"other": "b"}  # so the next enrolment of the same list writes everything again
    assert world.aws.s3.get_object(Bucket=bucket, Key=gallery_key("both"))["Body"].read() == gallery(STAYS)
    keys = {one["Key"] for one in world.aws.s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert keys == {"everyone.json", "both.json", "others.json", "account/samples.json"}


def test_the_last_student_leaves_an_empty_file(world: World) -> None:
    """Without one, known encodings in the function's image would serve."""
    world.enrol(GONE)
    world.forget()
    body = world.aws.s3.get_object(Bucket=world.place.gallery_bucket, Key=gallery_key())["Body"].read()
    assert body == gallery()
    assert world.holding(GONE) == []


def test_where_known_encodings_were_before_they_had_a_bucket(world: World) -> None:
    bucket = world.place.output_bucket
    for _ in range(2):
        world.aws.s3.put_object(Bucket=bucket, Key=".gallery/known-encodings.json", Body=gallery(GONE, STAYS))
    world.forget()
    assert world.holding(GONE) == []


def test_of_a_result_of_several_only_their_part_goes(world: World) -> None:
    fill(world)
    times = {path: path.stat().st_mtime_ns for path in world.results.iterdir()}
    world.forget()
    keys = result_keys("both.MOV")
    table = world.aws.s3.get_object(Bucket=world.place.output_bucket, Key=keys.csv)["Body"].read().decode()
    assert [row.name for row in parse_csv(table)] == [STAYS]
    account = Result.parse(world.aws.s3.get_object(Bucket=world.place.output_bucket, Key=keys.json)["Body"].read())
    assert ([one.name for one in account.students], account.frame) == ([STAYS], None)
    names = {key["Key"] for key in world.aws.s3.list_objects_v2(Bucket=world.place.output_bucket)["Contents"]}
    assert keys.frame not in names  # their face and their name are on it
    assert not any(name.startswith("history/alone") for name in names)
    (stored,) = world.results.glob("both*.json")
    message = Notification.parse(stored.read_text())
    assert ([one.name for one in message.students], message.result.frame) == ([STAYS], None)
    assert stored.stat().st_mtime_ns == times[stored]  # a rewritten file expires when it would have
    assert not list(world.results.glob("*alone*"))
    assert not list(world.results.glob(".*.tmp"))


def test_videos_go_on_demand_and_are_named_else(world: World) -> None:
    fill(world)
    world.aws.s3.put_bucket_lifecycle_configuration(
        Bucket=world.place.input_bucket,
        LifecycleConfiguration={
            "Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}]
        },
    )
    done = world.forget(videos=False)
    told = [left for left in done.left if left.place.startswith("s3://")]
    latest = {left.place.rpartition("/")[2] for left in told if "(version" not in left.place}
    assert latest == {"alone.mp4", "both.MOV"}
    assert all("VIDEOS=true" in left.what for left in told)
    assert all(left.until.endswith("(30 days)") for left in told if "(version" not in left.place)
    held, _ = objects.versions(world.aws.s3, world.place.input_bucket)
    assert {one.key for one in held} >= {"history/alone.mp4", "both.MOV", "replaced.mp4", "others.mp4"}


def test_only_uploads_that_show_them_are_removed(world: World) -> None:
    fill(world)
    world.forget()
    held, _ = objects.versions(world.aws.s3, world.place.input_bucket)
    assert sorted(one.key for one in held) == ["others.mp4", "replaced.mp4"]
    kept = world.aws.s3.get_object(Bucket=world.place.input_bucket, Key="replaced.mp4")["Body"].read()
    assert kept.startswith(b"another lesson")


class Killed(BaseException):
    """The command ends here."""


def test_killed_anywhere_it_is_run_again_and_nothing_is_left(
    aws: Aws, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is killed after every second step of the removal, and run again."""
    fill(world)
    before = of_others(world)
    real: Any = {"remove": objects.remove, "replace": objects.replace, "change": machines.change}
    steps = 0

    def limited(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            if steps == 0:
                raise Killed
            steps -= 1
            return real[name](*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(objects, "remove", limited("remove"))
        patched.setattr(objects, "replace", limited("replace"))
        patched.setattr(machines, "change", limited("change"))
        kills = 0
        while True:
            steps = 2
            try:
                world.forget()
                break
            except Killed:
                kills += 1
    assert kills >= 4
    world.forget()
    assert world.holding(GONE) == []
    assert of_others(world) == before


def test_an_answer_that_comes_meanwhile_is_found_by_the_next_look(world: World) -> None:
    fill(world)

    def wait(*_: object) -> None:
        world.video("late.mp4", GONE, STAYS)

    done = world.forget(wait=wait)
    assert world.holding(GONE) == []
    assert [left.place for left in done.left] == ["backups elsewhere"]


def test_an_answer_that_was_written_meanwhile_is_not_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    head = world.aws.s3.head_object
    newer = iter([True])

    def head_object(**request: Any) -> Any:
        answer = head(**request)
        if request["Key"] == "both.MOV.csv" and next(newer, False):
            world.video("both.MOV", STAYS, "Kurt", content=b"newer", stored=False)
        return answer

    monkeypatch.setattr(world.aws.s3, "head_object", head_object)
    world.forget()
    table = world.aws.s3.get_object(Bucket=world.place.output_bucket, Key="both.MOV.csv")["Body"].read().decode()
    assert [row.name for row in parse_csv(table)] == [STAYS, "Kurt"]
    assert world.holding(GONE) == []


def test_a_dry_run_changes_nothing_and_says_the_same(world: World) -> None:
    fill(world)

    def but_the_journal() -> list[tuple[str, str]]:
        return [one for one in sorted(world.everything()) if not one[0].endswith("/journal")]

    before = but_the_journal()
    told = world.forget(dry_run=True)
    assert but_the_journal() == before
    done = world.forget()
    assert sum(told.removed.values()) == sum(done.removed.values())
    assert "would be removed" in told.lines()


def test_the_name_is_not_written_to_the_machines_log(world: World) -> None:
    fill(world)
    world.forget()
    journal = (world.directory / "journal").read_text()
    assert "COMMAND=" in journal
    assert "python3" in journal
    assert GONE not in journal
    ssh(world.place, "classroom-poller-1", ["sudo", "-n", "true", GONE], 10)  # how it would look
    assert GONE in (world.directory / "journal").read_text()


def test_what_cannot_be_removed_is_named_with_its_end(world: World) -> None:
    fill(world)
    place, aws = world.place, world.aws
    aws.dynamodb.update_continuous_backups(
        TableName=place.table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    aws.dynamodb.create_backup(TableName=place.table, BackupName="before-summer")
    group = f"/aws/lambda/{place.function}"
    logs = aws.client("logs")
    logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=14)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": f"key {GONE}.mp4"}, {"timestamp": now, "message": "nothing"}]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    aws.sqs.send_message(QueueUrl=aws.queue_url(place.dead_letter_queues[1]), MessageBody="?")
    aws.s3.put_object(Bucket=place.output_bucket, Key="by hand.json", Body=json.dumps({"note": GONE}).encode())
    aws.s3.put_object(Bucket=place.input_bucket, Key=f"{GONE}.mp4", Body=b"not recognised")
    (world.directory / "journal").write_text(f"{GONE}.mp4\nother\n")
    (world.results / "notes.txt").write_text(f"{GONE} was here")
    backups = place.state_dir / "backups"
    backups.mkdir()
    (backups / "smart-classroom-local-20261126T000000Z.tar.gz.sealed").write_bytes(b"?")
    (place.state_dir / "job.log").write_text(f"enrolled {GONE}")
    done = world.forget()
    text = "\n".join(done.lines())
    for part in (
        "point-in-time recovery can bring the record back",
        "backup before-summer",
        f"log {group}: 1 lines name the student",
        "(14 days)",
        f"queue {place.dead_letter_queues[1]}: 1 messages wait",
        f"s3://{place.output_bucket}/by hand.json",
        f"s3://{place.input_bucket}/{GONE}.mp4: a video whose name is the student's",
        "journal of classroom-poller-1: 1 lines",
        "notes.txt: names the student",
        "20261126T000000Z.tar.gz.sealed: a backup",
        "job.log: names the student",
        "backups elsewhere",
    ):
        assert part in text, part
    # Whatever still holds the name is named in the report.
    for found in world.holding(GONE):
        assert found.removeprefix(str(world.directory)).rpartition("/")[2] in text, found


def test_a_machine_that_is_away_is_not_silently_left_out(world: World) -> None:
    fill(world)
    (world.directory / "unreachable").touch()
    done = world.forget()
    assert any("cannot be reached" in problem for problem in done.problems)
    assert "not looked into: classroom-poller-1" in "\n".join(done.lines())
    (world.directory / "unreachable").unlink()
    world.forget()
    assert world.holding(GONE) == []


def test_somebody_nobody_knows_is_told(world: World) -> None:
    world.enrol(STAYS)
    done = world.forget("Nobody Here")
    assert done.removed == {}
    assert "nothing" in done.lines()[2]
    assert len(world.holding(STAYS)) >= 2


def test_case_and_blanks_do_not_matter_and_names_alike_do(world: World) -> None:
    world.enrol("Ann", "Ann Lee", "Anna")
    world.video("a.mp4", "Ann", "Ann Lee", "Anna")
    world.forget(" ann ")
    names = {item["name"]["S"] for item in world.aws.dynamodb.scan(TableName=world.place.table)["Items"]}
    assert names == {"Ann Lee", "Anna"}
    table = world.aws.s3.get_object(Bucket=world.place.output_bucket, Key="a.csv")["Body"].read().decode()
    assert [row.name for row in parse_csv(table)] == ["Ann Lee", "Anna"]


@pytest.mark.parametrize("name", ODD[1:3])
def test_the_commands_take_any_name(
    world: World, name: str, in_root: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "Aws", lambda _: world.aws)
    monkeypatch.setattr(forget, "settled", lambda *_: None)
    fill(world, name)
    target = world.directory / "to hand out"
    assert cli.main(["subject-access", f"--to={target}", "--", name]) == 0
    assert capsys.readouterr().out.startswith(str(target))
    assert cli.main(["forget", "--videos=true", "--", name]) == 0
    for path in [*target.rglob("*.*")]:
        path.unlink()
    assert world.holding(name) == []


def test_a_switch_that_is_neither_true_nor_false_stops_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--videos=yes", "--dry-run=1"):
        with pytest.raises(SystemExit):
            cli.main(["forget", option, "--", "Ada"])
        assert "true or false" in capsys.readouterr().err


def test_the_person_gets_everything_about_them_and_nothing_about_others(world: World) -> None:
    fill(world)
    world.aws.dynamodb.put_item(
        TableName=world.place.table,
        Item={"name": {"S": GONE}, "id": {"S": "7"}, "consent": {"S": "2026-09-01"}},
    )
    directory, index = access.collect(world.aws, GONE, str(world.directory / "out"))
    texts = {path.name: path.read_text() for path in directory.iterdir()}
    assert json.loads(texts["record.json"]) == [{"name": GONE, "id": "7", "consent": "2026-09-01"}]
    faces = json.loads(texts["encodings.json"])
    assert {tuple(one["encodings"][0]) for one in faces if one["encodings"]} == {tuple(encoding(GONE))}
    results = json.loads(texts["results.json"])
    assert {one["video"] for one in results if one["current"]} == {"history/alone.mp4", "both.MOV"}
    assert all(student["name"] == GONE for one in results for student in one["seen"])
    videos = {row["video"] for row in csv.DictReader(texts["videos.csv"].splitlines())}
    assert videos >= {"history/alone.mp4", "both.MOV"}
    assert "others.mp4" not in videos
    assert json.loads(texts["machines.json"])
    assert "1 encodings, one for each photo" in "\n".join(index)
    for text in texts.values():
        assert STAYS not in text
        assert "Kurt" not in text
    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())
    assert GONE not in str(directory)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=8)


@given(NAMES, st.lists(NAMES, max_size=4), st.booleans())
def test_taking_a_person_out_leaves_exactly_the_others(gone: str, others: list[str], escaped: bool) -> None:
    person = Person.of(gone)
    others = [name for name in dict.fromkeys(others) if not person.is_meant(name)]
    students = [{"name": name, "major": "m"} for name in [*others, gone]]
    content = json.dumps({"video": {"key": "k", "etag": "e"}, "students": students}, ensure_ascii=escaped).encode()
    after = without(person, content)
    assert after is not None
    assert after.video == ("k", "e")
    left = [] if after.content is None else json.loads(after.content)["students"]
    assert [one["name"] for one in left] == others
    assert after.content is None or without(person, after.content) is None or person.is_named_in(after.content)


@given(NAMES)
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    person = Person.of(name)
    for text in (f"({name})", json.dumps({"a": name}), json.dumps([name], ensure_ascii=False)):
        assert person.is_named_in(text)
        assert person.is_named_in(text.encode())


def test_a_table_without_anybody_else_goes() -> None:
    person = Person.of("Ada")
    assert without_rows(person, b"name,major,year\r\nAda,a,b\r\n").content is None  # type: ignore[union-attr]
    assert without_rows(person, b"name,major,year\r\nJoe,a,b\r\n") is None


def test_the_function_is_waited_for_as_long_as_it_remembers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.enrol(STAYS)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(forget, "_ttl", lambda _: 30.0)
    forget.settled(world.aws, lambda _: None)
    assert 25 < slept[0] <= 30
    assert len(slept) == 1
    url = world.aws.queue_url(world.place.output_queue)
    world.aws.sqs.send_message(QueueUrl=url, MessageBody="a late answer")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            world.aws.sqs.purge_queue(QueueUrl=url)

    monkeypatch.setattr(time, "sleep", sleep)
    forget.settled(world.aws, lambda _: None)
    assert len(slept) == 4
