"""The closing proof: one video, every station's trace compared, and nothing left of it."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import class_of, gallery_key
from classroom_contract.tables import Row
from classroom_ops import probe_class, verify
from classroom_ops.aws import Aws
from classroom_ops.enrolment.store import Store
from classroom_ops.environment import PROJECT_ROOT
from classroom_ops.errors import OpsError


@pytest.fixture
def media(tmp_path: Path) -> Path:
    directory = tmp_path / "media"
    directory.mkdir()
    shown = {
        "ada.mp4": ("recognized", ["Ada"]),
        "both.mp4": ("recognized", ["Ada", "Bo"]),
        "stranger.mp4": ("unknown", []),
        "empty.mp4": ("no_face", []),
    }
    for name in shown:
        (directory / name).write_bytes(name.encode())
    known = {name: {"status": status, "students": names} for name, (status, names) in shown.items()}
    (directory / "answers.json").write_text(json.dumps(known))
    faces = [("Ada", [[0.1] * 128]), ("Bo", [[0.2] * 128])]
    (directory / "probe.json").write_text(GalleryFile.of("a-model", faces).render())
    return directory


@pytest.fixture
def looking(classroom: Any) -> Any:
    """A classroom that recognises those whom the class of the video's folder knows, as the clips show them."""
    classroom.record = ("Verification", f"{datetime.now(UTC):%Y}")

    def reply(key: str) -> tuple[str, list[str]]:
        people = class_names(classroom.aws, key)
        name = key.rpartition("/")[2]
        return {
            "ada.mp4": ("recognized", people[:1]),
            "both.mp4": ("recognized", people),
            "stranger.mp4": ("unknown", []),
            "empty.mp4": ("no_face", []),
            "damaged-ada.mp4": ("unreadable", []),
        }[name]

    classroom.reply = reply
    return classroom


def class_names(aws: Aws, key: str) -> list[str]:
    body = aws.s3.get_object(Bucket=aws.endpoints.gallery_bucket, Key=gallery_key(class_of(key)))["Body"].read()
    return [name for name, _ in GalleryFile.parse(body).students]


def students(aws: Aws) -> list[str]:
    return [item["name"]["S"] for item in aws.dynamodb.scan(TableName="student_table")["Items"]]


def objects(aws: Aws) -> list[str]:
    buckets = (aws.endpoints.input_bucket, aws.endpoints.output_bucket, aws.endpoints.gallery_bucket)
    return [one["Key"] for name in buckets for one in aws.s3.list_objects_v2(Bucket=name).get("Contents", [])]


def test_proves_one_video_and_leaves_nothing(aws: Aws, looking: Any, media: Path) -> None:
    (proof,) = verify.prove(aws, media)
    assert proof.clip == "ada.mp4"
    ((name, major, _),) = proof.rows
    assert name.startswith("Verification probe ")
    assert major == "Verification"
    assert objects(aws) == []
    assert students(aws) == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []


def test_students_who_are_enrolled_change_nothing_and_stay(aws: Aws, looking: Any, media: Path) -> None:
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Ada"}})
    assert verify.prove(aws, media)[0].rows[0].name != "Ada"
    assert students(aws) == ["Ada"]


def test_in_full_every_kind_of_answer_is_proved_and_a_second_delivery(aws: Aws, looking: Any, media: Path) -> None:
    url, events = aws.queue_url("input-notification"), aws.queue_url("events-of-the-test")
    send = aws.sqs.send_message

    def to_the_classroom(**request: Any) -> Any:
        return send(**{**request, "QueueUrl": events if request["QueueUrl"] == url else request["QueueUrl"]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws.sqs, "send_message", to_the_classroom)
        proofs = verify.prove(aws, media, full=True)
    assert [(one.case, one.status) for one in proofs] == [
        ("a student", "recognized"),
        ("two students", "recognized"),
        ("a stranger", "unknown"),
        ("no face", "no_face"),
        ("a damaged file", "unreadable"),
        ("delivered twice", "recognized"),
    ]
    assert len(proofs[1].rows) == 2
    assert objects(aws) == []
    assert students(aws) == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []
    here = dataclasses.replace(aws.endpoints, state_dir=PROJECT_ROOT / ".state" / "local")
    text = "\n".join(verify.lines(here, proofs, 0))
    assert "a stranger            stranger.mp4 in" in text
    assert ": unreadable" in text


def test_wrong_answer_is_told_and_no_list_shows_the_probe(aws: Aws, looking: Any, media: Path) -> None:
    looking.reply = lambda _: ("unknown", [])
    with pytest.raises(OpsError, match=r"shows Verification probe .* \(recognized\), but the answer is nobody"):
        verify.prove(aws, media)
    assert students(aws) == []
    assert not [key for key in objects(aws) if key.startswith("verification-") and "/" not in key]
    assert [key for key in objects(aws) if key.endswith(".mp4")], "the video stays to be looked at"


def test_what_a_killed_run_left_is_removed_by_a_later_one(
    aws: Aws, looking: Any, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(probe_class, "_remove", lambda *_: None)
        verify.prove(aws, media)
    assert len(students(aws)) == 2
    verify.prove(aws, media)
    assert len(students(aws)) == 2, "it may still be at work"
    monkeypatch.setattr(probe_class, "_LEFT_BEHIND", timedelta(seconds=-5))
    verify.prove(aws, media)
    assert students(aws) == []


def test_no_list_shows_the_people_of_a_verification_and_enrolling_leaves_them(aws: Aws, media: Path) -> None:
    place = aws.endpoints
    store = Store(aws.dynamodb, aws.s3, place.table, place.gallery_bucket)
    with probe_class.enrolled(aws, media) as known:
        assert len(students(aws)) == 2
        assert store.records() == {}
        assert store.known().students == {}
        assert store.mend_classes() == []
        assert class_names(aws, f"{known.name}/x.mp4") == sorted(known.people.values())
    assert students(aws) == []


def test_record_that_differs_is_told(aws: Aws, looking: Any, media: Path) -> None:
    looking.record = ("Chemistry", "Senior")
    with pytest.raises(OpsError, match=r"the CSV says .*Chemistry.*, the table .*Verification"):
        verify.prove(aws, media)


def test_a_record_is_read_by_its_types(aws: Aws) -> None:
    """The table may hold numbers, and a student without a major."""
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Ada"}, "year": {"N": "3"}})
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Bo"}, "major": {"NULL": True}})
    assert verify.records(aws, ["Bo", "Ada"]) == (Row("Bo"), Row("Ada", "", "3"))


def test_student_without_record_is_told(aws: Aws) -> None:
    with pytest.raises(OpsError, match="Ada is in the CSV but not in the table"):
        verify.records(aws, ["Ada"])


def test_result_that_does_not_reach_the_vm_is_told(
    aws: Aws, looking: Any, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.store = False
    monkeypatch.setattr(verify.on_vm, "__defaults__", (0.5,))
    with pytest.raises(OpsError, match="no VM stored it"):
        verify.prove(aws, media)


def test_result_on_the_vm_that_differs_is_told(aws: Aws, looking: Any, media: Path) -> None:
    looking.on_vm = "name,major,year\r\n"
    with pytest.raises(OpsError, match="the bucket"):
        verify.prove(aws, media)


def test_every_proof_has_a_key_of_its_own(aws: Aws, looking: Any, media: Path) -> None:
    (first,), (second,) = verify.prove(aws, media), verify.prove(aws, media)
    assert first.path != second.path


class Functions:
    """Plays Lambda: answers the video of an event with what a test wants, under an alias."""

    def __init__(self, aws: Aws, write: Any, status: str, students: list[str], *, fails: bool = False) -> None:
        self.aws, self.write, self.fails = aws, write, fails
        self.status, self.students = status, students

    def invoke(self, **request: Any) -> dict[str, Any]:
        assert (request["FunctionName"], request["Qualifier"]) == ("smart-classroom", "candidate")
        if self.fails:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "ImportError"}')}
        (record,) = json.loads(request["Payload"])["Records"]
        thing = record["s3"]["object"]
        key, etag = unquote_plus(thing["key"]), thing["eTag"]
        names = self.students and class_names(self.aws, key)[:1]
        self.write(self.aws, key, etag, self.status, names, record=("Verification", f"{datetime.now(UTC):%Y}"))
        (Path(self.aws.endpoints.results_dir) / "proof.json").write_text(json.dumps({"video": {"key": key}}))
        return {"Payload": io.BytesIO(b"{}"), "ExecutedVersion": "7"}


def prove_candidate(aws: Aws, media: Path, *reply: Any, **options: Any) -> str:
    aws._clients = {**aws._clients, "lambda": Functions(aws, *reply, **options)}
    return verify.prove_function(aws, media, "candidate")


def test_a_version_is_proved_before_callers_meet_it(aws: Aws, media: Path, answer_written: Any) -> None:
    said = prove_candidate(aws, media, answer_written, "recognized", ["Ada"])
    assert said == "version 7 answers ada.mp4 rightly"
    assert objects(aws) == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []
    assert aws.depth("input-notification").total == 0


def test_a_version_that_answers_wrongly_or_fails_is_told_and_leaves_nothing(
    aws: Aws, media: Path, answer_written: Any
) -> None:
    with pytest.raises(OpsError, match="the answer is nobody"):
        prove_candidate(aws, media, answer_written, "unknown", [])
    with pytest.raises(OpsError, match=r"the function fails: .*ImportError"):
        prove_candidate(aws, media, answer_written, "recognized", ["Ada"], fails=True)
    assert objects(aws) == []
