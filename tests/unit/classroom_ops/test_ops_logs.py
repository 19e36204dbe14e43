"""The archive of logs: complete as far as it can be, and without one secret."""

from __future__ import annotations

import json
import stat
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classroom_contract.gallery import GalleryFile
from classroom_ops import cli, logs
from classroom_ops.aws import Aws
from classroom_ops.environment import Endpoints
from classroom_ops.errors import UsageError
from classroom_ops.logs import Source
from classroom_ops.redaction import REDACTED, Redactor, known_secrets

# Taken apart, so that a search for keys in the repository finds none.
ACCESS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
KEY = f"""-----BEGIN OPENSSH {"PRIVATE"} KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmU
QyNTUxOQAAACB
-----END OPENSSH {"PRIVATE"} KEY-----"""
SECRET = "Xk29-vvQ!pass"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("admin_password = hunter2hunter2", "hunter2hunter2"),
        ("password: 'two words'", "two words"),
        ('{"secret_access_key": "abc/def+ghi"}', "abc/def+ghi"),
        ("export OS_PASSWORD=abc123xyz", "abc123xyz"),
        ("transport_url = rabbit://openstack:pw123@127.0.0.1:5672/", "pw123"),
        ("connection = mysql+pymysql://nova:geheim@localhost/nova", "geheim"),
        ("X-Auth-Token: gAAAAABkabcdefghijklmnopqrstuvwxyz", "gAAAAABkabcdefghijklmnopqrstuvwxyz"),
        ("token gAAAAABkabcdefghijklmnopqrstuvwxyz== seen", "gAAAAABkabcdefghijklmnopqrstuvwxyz"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=1234", "Signature=1234"),
        (f"id {ACCESS_KEY} used", ACCESS_KEY),
        ("GET /?X-Amz-Signature=0123456789abcdef&x=1", "0123456789abcdef"),
        (f"before\n{KEY}\nafter", "QyNTUxOQAAACB"),
        ("-----BEGIN RSA PRIVATE KEY-----\ncut off here", "cut off here"),
        ("openstack --os-password swordfish server list", "swordfish"),
        ("metadata_proxy_shared_secret=deadbeef", "deadbeef"),
        ("api_key => 'zzz'", "zzz"),
        ("default_pass = 0123abcd", "0123abcd"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, secret: str) -> None:
    redacted = Redactor()(text)
    assert secret not in redacted
    assert REDACTED in redacted


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23 21:00:00 INFO nova.compute.manager Started instance, took 3.2 s",
        "GET http://127.0.0.1:4566/input-bucket-video/clip.mp4?x=1 200",
        "password = true, secret: null, tokens=512",
        '{"message": "stored", "key": "räume/a b.mp4", "etag": "d41d8cd98f00b204e9800998ecf8427e"}',
        "key_name = classroom, keystone is up, tokenizer loaded",
        "http://user@host/path",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor(["local"])(text) == text


def test_known_values_are_taken_out_wherever_they_stand() -> None:
    redact = Redactor([SECRET, 'quote"inside-it'])
    assert SECRET not in redact(f"argv: ['--x', '{SECRET}']")
    assert "inside-it" not in redact('{"message": "quote\\"inside-it"}')


def test_longer_secret_that_holds_a_shorter_one_goes_whole() -> None:
    assert Redactor(["abcdefgh", "abcdefghijkl"])("x abcdefghijkl y") == f"x {REDACTED} y"


def test_redacting_twice_changes_nothing_more() -> None:
    redact = Redactor([SECRET])
    once = redact(f"password={SECRET} rabbit://a:b@c token: 'x y'")
    assert redact(once) == once


@settings(max_examples=50)
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=8), st.text(), st.text())
def test_no_known_secret_survives(secret: str, before: str, after: str) -> None:
    marker = "[redacted]"
    if secret in marker:
        return
    redacted = Redactor([secret])(before + secret + after)
    assert secret not in redacted.replace(marker, "\0")


def _plant(state: Path) -> list[str]:
    """Secrets where the environment keeps them; returns them."""
    (state / "ssh").mkdir()
    (state / "secrets").mkdir()
    (state / "ssh" / "id_ed25519").write_text(KEY)
    (state / "clouds.yaml").write_text(
        "clouds:\n  smart-classroom:\n    auth: {username: admin, password: cloud-pass-1}\n"
    )
    (state / "secrets" / "rabbitmq").write_text("rabbit-value-2\n")
    (state / "openstack-secrets.yml").write_text("nova: nova-value-3\nnested:\n  - four-value-4\n")
    (state / "broken-secrets.yml").write_text("a: [unclosed five-value-5\nPASS=six-value-6\n")
    (state / "run.json").write_text(json.dumps({"name": "smart-classroom", "db_password": "seven-value-7"}))
    (state / "secrets" / "binary").write_bytes(b"\xff\xfe\x00")
    return ["b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "cloud-pass-1", "rabbit-value-2", "nova-value-3", "four-value-4",
            "six-value-6", "seven-value-7"]  # fmt: skip


def test_secrets_of_the_environment_are_known(endpoints: Endpoints) -> None:
    planted = _plant(endpoints.state_dir)
    known = known_secrets(endpoints.state_dir)
    assert set(planted) <= known
    assert "smart-classroom" not in known
    assert "local" not in known


def test_archive_holds_no_secret_and_only_its_owner_may_read_it(
    aws: Aws, endpoints: Endpoints, in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = _plant(endpoints.state_dir)
    (endpoints.state_dir / "jobs").mkdir()
    (endpoints.state_dir / "jobs" / "cloud.log").write_text("phase: one\n" + "\n".join(planted) + "\nphase: two\n")
    assert cli.main(["logs"]) == 0
    captured = capsys.readouterr()
    path = Path(captured.out.strip())
    assert path.parent == endpoints.state_dir / "logs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        texts = {member.name: archive.extractfile(member).read().decode() for member in members}  # type: ignore[union-attr]
    everything = "\n".join(texts.values())
    assert not [secret for secret in planted if secret in everything]
    top = path.name.removesuffix(".tar.gz")
    assert texts[f"{top}/runs/jobs/cloud.log"].startswith("phase: one\n[redacted]")
    assert texts[f"{top}/runs/jobs/cloud.log"].endswith("phase: two\n")
    assert "git" in texts[f"{top}/versions.txt"]
    assert "could not be collected: " in texts[f"{top}/classroom-poller-1/console.log"]
    assert "not collected: classroom-poller-1/console.log" in captured.err
    assert not any("id_ed25519" in name or "secrets" in name for name in texts)


def test_source_that_hangs_or_fails_does_not_stop_the_others() -> None:
    def fails() -> str:
        raise OSError("broken")

    def hangs() -> str:
        time.sleep(30)
        return "too late"

    start = time.monotonic()
    texts = logs.collect([Source("slow", hangs), Source("bad", fails), Source("good", lambda: "text")], 0.3)
    assert time.monotonic() - start < 3
    assert texts["good"] == "text"
    assert "no answer within" in texts["slow"]
    assert texts["bad"] == "could not be collected: OSError: broken\n"


def test_output_goes_where_it_is_asked_to(endpoints: Endpoints, tmp_path: Path) -> None:
    assert logs.target_of(endpoints, str(tmp_path / "x.tar.gz")) == tmp_path / "x.tar.gz"
    for bad in (tmp_path, tmp_path / "none" / "x.tar.gz"):
        with pytest.raises(UsageError):
            logs.target_of(endpoints, str(bad))


def test_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "x.tar.gz"
    target.mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        logs.write(target, {"a": "b"}, Redactor())
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


def test_only_the_tail_of_a_big_log_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 100)
    path = tmp_path / "big.log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    text = logs._file(path)
    assert text.endswith("line 999\n")
    assert text.startswith("line ")
    assert len(text) <= 100


def test_runs_logs_never_include_keys_archives_or_links(endpoints: Endpoints, tmp_path: Path) -> None:
    state = endpoints.state_dir
    for name in (
        "jobs/a.log",
        "jobs/image/log",
        "jobs/image/job.json",
        "ssh/debug.log",
        "secrets/s.log",
        "aws/x.log",
        "logs/old.tar.gz",
    ):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("x")
    (state / "jobs" / "link.log").symlink_to("/etc/shadow")
    assert [str(path.relative_to(state)) for path in logs.run_logs(state)] == ["jobs/a.log", "jobs/image/log"]


NAMES = ["Joe Biden", "Łukasz Öz", "李小龙", "May"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("recognized Joe Biden at 0.31", "recognized [student] at 0.31"),
        ("photo joe_biden-2.png", "photo [student]-2.png"),
        ("GET /photos/Joe%20Biden.jpg and JOE+BIDEN", "GET /photos/[student].jpg and [student]"),
        ('{"name": "\\u0141ukasz \\u00d6z"}', '{"name": "[student]"}'),
        ("Łukasz O\u0308z", "[student]"),
        ("video 李小龙.mp4", "video [student].mp4"),
        ("%E6%9D%8E%E5%B0%8F%E9%BE%99.mp4", "[student].mp4"),
        ("May was seen, which may be", "[student] was seen, which may be"),
        ("Mayor Bidens Joe Bidens", "Mayor Bidens Joe Bidens"),
        ('{"students": ["A B", "C"], "x": 1}', '{"students": "[student]", "x": 1}'),
        ('{"student": "Nobody Known", "students": 3}', '{"student": "[student]", "students": 3}'),
        ('{"students": [{"id": 1}]}', '{"students": [{"id": 1}]}'),
    ],
)
def test_names_of_students_are_taken_out(text: str, left: str) -> None:
    redact = Redactor([], NAMES)
    assert redact(text) == left
    assert redact(left) == left


def test_the_archive_names_no_student(
    aws: Aws, endpoints: Endpoints, in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.dynamodb.put_item(TableName="student_table", Item={"name": {"S": "Joe Biden"}})
    known = GalleryFile.of("model", [("Grace Hopper", [[0.5] * 128])]).render()
    aws.s3.put_object(Bucket=endpoints.gallery_bucket, Key="everyone.json", Body=known.encode())
    (endpoints.state_dir / "a.log").write_text("Joe Biden sat beside grace_hopper and somebody\n")
    assert cli.main(["logs"]) == 0
    captured = capsys.readouterr()
    assert "names of the students" not in captured.err
    with tarfile.open(captured.out.strip()) as archive:
        texts = [archive.extractfile(member).read().decode() for member in archive.getmembers()]  # type: ignore[union-attr]
    assert "[student] sat beside [student] and somebody\n" in texts
    assert not [text for text in texts if "Biden" in text or "hopper" in text]


def test_an_archive_whose_names_could_not_be_looked_up_says_so(
    aws: Aws, endpoints: Endpoints, in_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.dynamodb.delete_table(TableName="student_table")
    assert cli.main(["logs"]) == 0
    assert "not collected: names of the students, so look for some" in capsys.readouterr().err
