"""A backup brings back what was lost, byte by byte, somewhere else too; one that is not whole changes nothing."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classroom_contract.gallery import GalleryFile
from classroom_contract.keys import gallery_key
from classroom_ops import cli
from classroom_ops.aws import Aws
from classroom_ops.backup import archive, copying, sealed
from classroom_ops.backup.errors import BackupError
from classroom_ops.backup.passphrase import passphrase
from classroom_ops.errors import UsageError

PASSPHRASE = "correct horse battery staple"
ODD = ["Ada Lovelace", "Conan O'Brien", "-rf; $HOME", "Jürgen Müller 🎓", "名前"]
BINARY = bytes(range(256)) * 300


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header says what a key costs, so archives made here are read like others."""
    monkeypatch.setattr(sealed, "COST", 2**4)


def gallery(names: list[str]) -> str:
    return GalleryFile.of("model", [(name, [[number / 8] * 128]) for number, name in enumerate(names)]).render()


def fill(aws: Aws, names: list[str]) -> None:
    """Students with every attribute that a record may have, encodings, results of every kind."""
    place = aws.endpoints
    for name in names:
        item: Any = {"name": {"S": name}, "id": {"S": "1"}, "major": {"S": ""}, "sample": {"BOOL": True}}
        aws.dynamodb.put_item(TableName=place.table, Item=item)
    put(aws, place.gallery_bucket, gallery_key(), gallery(names).encode(), {"sources": "a,b"})
    put(aws, place.gallery_bucket, gallery_key("history 101"), gallery(names[:1]).encode(), {})
    put(aws, place.gallery_bucket, "account/samples.json", b"{}", {})
    for key, content in (("a/b.json", b"{}"), ("a/b.csv", b"name\r\n"), ("ü/🎓 '\".jpg", BINARY)):
        put(aws, place.output_bucket, key, content, {"answered": "x"} if key.endswith("csv") else {})


def put(aws: Aws, bucket: str, key: str, content: bytes, metadata: dict[str, str]) -> None:
    aws.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata, ContentType="text/x-test")


def state(aws: Aws) -> tuple[Any, ...]:
    """Everything that a backup is to bring back."""
    place = aws.endpoints
    items = sorted(json.dumps(item, sort_keys=True) for item in aws.dynamodb.scan(TableName=place.table)["Items"])
    objects = {}
    for bucket in {place.gallery_bucket, place.output_bucket}:
        for one in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            answer = aws.s3.get_object(Bucket=bucket, Key=one["Key"])
            objects[one["Key"]] = (answer["Body"].read(), answer["Metadata"], answer["ContentType"])
    return items, objects


def elsewhere(aws: Aws) -> Aws:
    """Another environment, empty, whose things have other names."""
    place = aws.endpoints
    other = replace(place, table="another-table", output_bucket="another-output", gallery_bucket="another-gallery")
    there = Aws(other)
    for bucket in {other.output_bucket, other.gallery_bucket}:
        there.s3.create_bucket(Bucket=bucket)
    there.dynamodb.create_table(
        TableName=other.table,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return there


def destroy(aws: Aws) -> None:
    place = aws.endpoints
    aws.dynamodb.delete_table(TableName=place.table)
    for bucket in {place.gallery_bucket, place.output_bucket}:
        for one in aws.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            aws.s3.delete_object(Bucket=bucket, Key=one["Key"])
        aws.s3.delete_bucket(Bucket=bucket)


def restored(aws: Aws, path: Path, secret: str) -> copying.Plan:
    planned = copying.plan(aws, path, secret)
    copying.restore(aws, path, secret, planned)
    return planned


@pytest.mark.parametrize("secret", ["", PASSPHRASE])
def test_after_everything_is_destroyed_it_is_back_elsewhere(aws: Aws, tmp_path: Path, secret: str) -> None:
    fill(aws, ODD)
    before = state(aws)
    path = tmp_path / "archive"
    copying.back_up(aws, path, secret, results=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert secret or b"Lovelace" in gzip.decompress(content)
    assert b"Lovelace" not in content
    destroy(aws)
    there = elsewhere(aws)
    planned = restored(there, path, secret)
    assert not planned.destroys
    assert state(there) == before
    again = copying.plan(there, path, secret)
    assert not again.destroys
    assert again.records.same == len(ODD)
    assert (again.encodings.same, again.results.same) == (3, 3)


def test_results_are_in_it_only_when_asked_for(aws: Aws, tmp_path: Path) -> None:
    fill(aws, ["Ada"])
    copying.back_up(aws, tmp_path / "archive", "", results=False)
    names = [name for name, _ in archive.members(tmp_path / "archive", "")]
    encodings = ["encodings/account/samples.json", "encodings/everyone.json", "encodings/history 101.json"]
    assert names == [*encodings, "records.json", "manifest.json"]


def test_a_full_environment_becomes_what_it_was_and_is_told_before(aws: Aws, tmp_path: Path) -> None:
    fill(aws, ["Ada", "Grace"])
    before = state(aws)
    copying.back_up(aws, tmp_path / "archive", "", results=True)
    place = aws.endpoints
    aws.dynamodb.put_item(TableName=place.table, Item={"name": {"S": "Ada"}, "id": {"S": "changed"}})
    aws.dynamodb.put_item(TableName=place.table, Item={"name": {"S": "Kurt"}})
    put(aws, place.gallery_bucket, gallery_key(), gallery(["Ada", "Kurt"]).encode(), {})
    put(aws, place.output_bucket, "a/b.json", b"newer", {})
    put(aws, place.output_bucket, "later.json", b"stays", {})
    planned = copying.plan(aws, tmp_path / "archive", "")
    assert planned.destroys
    assert planned.records == copying.Part([], ["Ada"], ["Kurt"], 1)
    assert planned.encodings.overwritten == [gallery_key()]
    assert (planned.results.overwritten, planned.results.removed) == (["a/b.json"], [])
    text = "\n".join(planned.lines())
    assert "1 overwritten (Ada), 1 removed (Kurt), 1 the same" in text
    copying.restore(aws, tmp_path / "archive", "", planned)
    items, objects = state(aws)
    assert objects.pop("later.json")[0] == b"stays"
    assert (items, objects) == before


def test_the_command_wants_a_confirmation_before_it_overwrites(
    aws: Aws, in_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "Aws", lambda _: aws)
    monkeypatch.setenv("BACKUP_PASSPHRASE", PASSPHRASE)
    fill(aws, ["Ada"])
    assert cli.main(["backup", f"--to={tmp_path}/my backups", "--results=true"]) == 0
    path = capsys.readouterr().out.strip()
    assert path.endswith(".tar.gz.sealed")
    assert cli.main(["restore", "--", path]) == 0  # all of it is there, so nothing is lost
    aws.dynamodb.put_item(TableName=aws.endpoints.table, Item={"name": {"S": "Kurt"}})
    changed = state(aws)
    for more, code in (([], 2), (["--confirm=prod"], 2), (["--dry-run=true"], 0)):
        assert cli.main(["restore", *more, "--", path]) == code
        assert state(aws) == changed
        said = capsys.readouterr().err
        assert "1 removed (Kurt)" in said
        assert ("CONFIRM=local" in said) == (code == 2)
    assert cli.main(["restore", "--confirm=local", "--", path]) == 0
    assert "forget them once more" in capsys.readouterr().err
    assert "Kurt" not in str(state(aws))


def sealed_text(content: bytes, secret: str = PASSPHRASE) -> bytes:
    target = io.BytesIO()
    with sealed.Sealer(target, secret) as sealer:
        sealer.write(content)
    return target.getvalue()


def opened(content: bytes, secret: str = PASSPHRASE) -> bytes:
    return sealed.Opener(io.BytesIO(content), secret, "it").read()


@pytest.mark.parametrize("length", [0, 1, sealed.CHUNK_BYTES - 1, sealed.CHUNK_BYTES, sealed.CHUNK_BYTES + 1, 5 << 19])
def test_what_is_sealed_is_opened(length: int) -> None:
    content = (BINARY * (length // len(BINARY) + 1))[:length]
    assert opened(sealed_text(content)) == content


def test_chunks_cannot_be_left_out_repeated_or_exchanged() -> None:
    content = sealed_text(BINARY * 50)
    head = content.index(b"\n", len(sealed.MAGIC)) + 1
    size = sealed.CHUNK_BYTES + 16
    body = content[head : -len(sealed.END)]
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert len(chunks) == 4
    for order in ([0, 1, 2], [0, 1], [1, 0, 2, 3], [0, 2, 3], [0, 1, 2, 3, 3], [0, 1, 1, 2, 3], []):
        with pytest.raises(BackupError, match="is damaged"):
            opened(content[:head] + b"".join(chunks[number] for number in order) + sealed.END)
    for length in (0, 1, head, head + 1, head + size, len(content) - 1):
        with pytest.raises(BackupError, match="is cut off"):
            opened(content[:length])


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small archive, plain and encrypted."""
    directory = tmp_path_factory.mktemp("archives")
    found = {}
    for name, secret in (("plain", ""), ("sealed", PASSPHRASE)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sealed, "COST", 2**4)
            with archive.writing(directory / name, secret, "local", {}) as add:
                add("records.json", b'[{"name": {"S": "Ada"}}]')
                add("encodings/known.json", BINARY[:3000])
        found[name] = (directory / name).read_bytes()
    return found


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_or_cut_archive_is_refused_with_one_sentence(
    archives: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["plain", "sealed"]))
    content = bytearray(archives[kind])
    # The checksum at gzip's end, of what has checksums already, may be anything.
    place = data.draw(st.integers(10 if kind == "plain" else 0, len(content) - 9))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "archive"
    path.write_bytes(bytes(content))
    said = ""
    try:
        manifest = archive.checked(path, PASSPHRASE)
        # A bit that nothing depends on, such as one of compression: then all of it is as it was.
        assert kind == "plain"
        assert manifest.members.keys() == {"records.json", "encodings/known.json"}
    except BackupError as error:
        said = str(error)
    assert said == "" or (said.startswith(str(path)) and "\n" not in said)


@pytest.mark.parametrize(
    ("damage", "secret", "said"),
    [
        (lambda content: content, "another passphrase", "was encrypted with another passphrase than the one given"),
        (lambda content: content, "", "is encrypted: name the file that holds its passphrase, PASSPHRASE_FILE=file"),
        (lambda content: content[:-5], PASSPHRASE, "is cut off: its end is missing"),
        (lambda content: content[: len(sealed.MAGIC) + 9], PASSPHRASE, "is cut off: its end is missing"),
        (lambda content: content[:-80] + b"\0" + content[-79:], PASSPHRASE, "is damaged: its checksum does not fit"),
        (lambda content: content.replace(b'"format": 1', b'"format": 2'), PASSPHRASE, "newer version of this project"),
        (lambda content: content.replace(b'"cost": 16', b'"cost": 99'), PASSPHRASE, "is damaged"),
        (lambda _: b"PK\x03\x04", "", "is no backup that `make backup` wrote"),
    ],
)
def test_each_fault_of_an_encrypted_archive_has_its_sentence(
    archives: dict[str, bytes], tmp_path: Path, damage: Any, secret: str, said: str
) -> None:
    path = tmp_path / "archive"
    path.write_bytes(damage(archives["sealed"]))
    with pytest.raises(BackupError) as refused:
        archive.checked(path, secret)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "newer version of this project (format 2, this one reads up to 1)"),
        ({"members": {}}, "is damaged"),
        ({"members": {"records.json": "0" * 64}}, "is damaged"),
        ({"created": "yesterday"}, "is damaged"),
    ],
)
def test_the_manifest_is_believed_only_if_it_fits(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "archive"
    with archive.writing(path, "", "local", change) as add:
        add("records.json", b"[]")
    with pytest.raises(BackupError) as refused:
        archive.checked(path, "")
    assert said in str(refused.value)


@pytest.mark.parametrize("kept", [0, 30, 200])
def test_a_plain_archive_that_is_cut_off_is_refused(archives: dict[str, bytes], tmp_path: Path, kept: int) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archives["plain"][:kept])
    with pytest.raises(BackupError, match="is cut off" if kept else "is no backup"):
        archive.checked(path, "")


def test_links_and_directories_are_no_members(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo("records.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(BackupError, match="holds more than files"):
        archive.checked(path, "")


def test_nothing_is_left_of_an_archive_that_was_not_finished(tmp_path: Path) -> None:
    def killed() -> None:
        with archive.writing(tmp_path / "archive", PASSPHRASE, "local", {}) as add:
            add("records.json", b"[]")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert list(tmp_path.iterdir()) == []


def test_the_passphrase_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passphrase("") == ""
    monkeypatch.setenv("BACKUP_PASSPHRASE", PASSPHRASE)
    assert passphrase("") == PASSPHRASE
    (tmp_path / "file").write_text("  grüße aus der Datei \n")
    assert passphrase(str(tmp_path / "file")) == "  grüße aus der Datei "
    (tmp_path / "file").write_text("short\n")
    for file, said in ((str(tmp_path / "file"), "has 5 letters"), (str(tmp_path / "none"), "cannot be read")):
        with pytest.raises(UsageError, match=said):
            passphrase(file)
