"""The closing proof: one video, every station's trace compared, and nothing left of it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from classroom_contract.tables import Row
from classroom_ops import verify
from classroom_ops.aws import Aws
from classroom_ops.environment import PROJECT_ROOT
from classroom_ops.errors import OpsError


@pytest.fixture
def media(tmp_path: Path) -> Path:
    directory = tmp_path / "media"
    directory.mkdir()
    (directory / "ada.mp4").write_bytes(b"ada")
    (directory / "answers.json").write_text('{"ada.mp4": {"status": "recognized", "students": ["Ada"]}}')
    return directory


def record(aws: Aws, major: str = "Physics") -> None:
    aws.dynamodb.put_item(
        TableName="student_table", Item={"name": {"S": "Ada"}, "major": {"S": major}, "year": {"S": "Senior"}}
    )


def objects(aws: Aws) -> list[str]:
    buckets = (aws.endpoints.input_bucket, aws.endpoints.output_bucket)
    return [one["Key"] for name in buckets for one in aws.s3.list_objects_v2(Bucket=name).get("Contents", [])]


def test_proves_one_video_and_leaves_nothing(aws: Aws, classroom: Any, media: Path) -> None:
    record(aws)
    proof = verify.prove(aws, media)
    assert proof.clip == "ada.mp4"
    assert proof.rows == (("Ada", "Physics", "Senior"),)
    assert objects(aws) == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []


def test_wrong_answer_is_told(aws: Aws, classroom: Any, media: Path) -> None:
    record(aws)
    classroom.reply = lambda _: ("unknown", [])
    with pytest.raises(OpsError, match=r"shows Ada \(recognized\), but the answer is nobody \(unknown\)"):
        verify.prove(aws, media)


def test_it_works_where_nobody_is_enrolled(aws: Aws, classroom: Any, media: Path) -> None:
    classroom.reply = lambda _: ("unknown", [])
    proof = verify.prove(aws, media)
    assert proof.rows == ()
    here = dataclasses.replace(aws.endpoints, state_dir=PROJECT_ROOT / ".state" / "local")
    assert "s: somebody who is not enrolled" in str(verify.lines(here, proof, 0))
    classroom.reply = lambda _: ("no_face", [])
    with pytest.raises(OpsError, match=r"shows nobody \(unknown\), but the answer is nobody \(no_face\)"):
        verify.prove(aws, media)


def test_record_that_differs_is_told(aws: Aws, classroom: Any, media: Path) -> None:
    record(aws, major="Chemistry")
    with pytest.raises(OpsError, match=r"the CSV says .*Physics.*, the table .*Chemistry"):
        verify.prove(aws, media)


def test_a_record_is_read_by_its_types(aws: Aws) -> None:
    """The table may hold numbers, and a student without a major."""
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Ada"}, "year": {"N": "3"}})
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Bo"}, "major": {"NULL": True}})
    assert verify.records(aws, ["Bo", "Ada"]) == (Row("Bo"), Row("Ada", "", "3"))


def test_student_without_record_is_told(aws: Aws, classroom: Any, media: Path) -> None:
    with pytest.raises(OpsError, match="Ada is in the CSV but not in the table"):
        verify.prove(aws, media)


def test_result_that_does_not_reach_the_vm_is_told(
    aws: Aws, classroom: Any, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(aws)
    classroom.store = False
    monkeypatch.setattr(verify.on_vm, "__defaults__", (0.5,))
    with pytest.raises(OpsError, match="no VM stored it"):
        verify.prove(aws, media)


def test_result_on_the_vm_that_differs_is_told(aws: Aws, classroom: Any, media: Path) -> None:
    record(aws)
    classroom.on_vm = "name,major,year\r\n"
    with pytest.raises(OpsError, match="the bucket"):
        verify.prove(aws, media)


def test_every_proof_has_a_key_of_its_own(aws: Aws, classroom: Any, media: Path) -> None:
    record(aws)
    first, second = verify.prove(aws, media), verify.prove(aws, media)
    assert first.path != second.path
    assert first.rows == second.rows


class Functions:
    """Plays Lambda: answers the video of an event with what a test wants, under an alias."""

    def __init__(self, aws: Aws, write: Any, status: str, students: list[str], *, fails: bool = False) -> None:
        self.aws, self.write, self.reply, self.fails = aws, write, (status, students), fails

    def invoke(self, **request: Any) -> dict[str, Any]:
        assert (request["FunctionName"], request["Qualifier"]) == ("smart-classroom", "candidate")
        if self.fails:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "ImportError"}')}
        (record,) = json.loads(request["Payload"])["Records"]
        thing = record["s3"]["object"]
        key, etag = unquote_plus(thing["key"]), thing["eTag"]
        self.write(self.aws, key, etag, *self.reply)
        (Path(self.aws.endpoints.results_dir) / "proof.json").write_text(json.dumps({"video": {"key": key}}))
        return {"Payload": io.BytesIO(b"{}"), "ExecutedVersion": "7"}


def prove_candidate(aws: Aws, media: Path, *reply: Any, **options: Any) -> str:
    aws._clients = {**aws._clients, "lambda": Functions(aws, *reply, **options)}
    return verify.prove_function(aws, media, "candidate")


def test_a_version_is_proved_before_callers_meet_it(aws: Aws, media: Path, answer_written: Any) -> None:
    record(aws)
    said = prove_candidate(aws, media, answer_written, "recognized", ["Ada"])
    assert said == "version 7 answers ada.mp4 rightly"
    assert objects(aws) == []
    assert list(Path(aws.endpoints.results_dir).iterdir()) == []
    assert aws.depth("input-notification").total == 0


def test_a_version_that_answers_wrongly_or_fails_is_told_and_leaves_nothing(
    aws: Aws, media: Path, answer_written: Any
) -> None:
    record(aws)
    with pytest.raises(OpsError, match="the answer is nobody"):
        prove_candidate(aws, media, answer_written, "unknown", [])
    with pytest.raises(OpsError, match=r"the function fails: .*ImportError"):
        prove_candidate(aws, media, answer_written, "recognized", ["Ada"], fails=True)
    assert objects(aws) == []
