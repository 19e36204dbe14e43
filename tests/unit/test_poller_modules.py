"""Modules of the role poller: what goes into the archive, how queues are found."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
<<<<<<< HEAD
from moto import mock_aws

from ansible_collections.smart_classroom.platform.plugins.modules import poller_bundle, poller_queues
=======
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.smart_classroom.platform.plugins.action import poller_install as poller_install_action
from ansible_collections.smart_classroom.platform.plugins.modules import poller_bundle, poller_install
>>>>>>> collection

ROOT = Path(__file__).resolve().parents[2]


def checkout(directory: Path) -> dict[str, Path]:
    contract = directory / "classroom_contract"
    contract.mkdir()
    (contract / "__init__.py").write_text("")
    directory = directory / "vm_service"
    package = directory / "classroom_poller"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text("def main():\n    return 0\n")
    (directory / "pyproject.toml").write_text("[dependency-groups]\npoller = []\n")
    (directory / "lock").write_text("")
    return {"source_dir": directory, "pyproject": directory / "pyproject.toml", "lock": directory / "lock"}


def test_the_name_of_a_bundle_follows_everything_that_goes_in(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    names = {poller_bundle.content_hash(**sources, python_version="3.11")}
    assert names == {poller_bundle.content_hash(**sources, python_version="3.11")}
    names.add(poller_bundle.content_hash(**sources, python_version="3.12"))
    contract = tmp_path / "classroom_contract" / "__init__.py"
    for path in (
        sources["source_dir"] / "classroom_poller" / "cli.py",
        contract,
        sources["pyproject"],
        sources["lock"],
    ):
        path.write_text(path.read_text() + "# changed\n")
        names.add(poller_bundle.content_hash(**sources, python_version="3.11"))
    (sources["source_dir"] / "classroom_poller" / "new.py").write_text("")
    names.add(poller_bundle.content_hash(**sources, python_version="3.11"))
    assert len(names) == 7


def test_a_checkout_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(poller_bundle.BundleError, match="holds no package"):
        poller_bundle.package_files(tmp_path)


def data_tree(lib: Path) -> None:
    for name in (*poller_bundle.KEPT_DATA, "ec2/2016-11-15/service-2.json.gz", "sqs/2012-11-05/examples-1.json"):
        path = lib / "botocore" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    for name in ("boto3", "boto3-1.0.dist-info", "botocore-1.0.dist-info", "bin"):
        (lib / name).mkdir()


def test_only_what_the_service_opens_is_kept(tmp_path: Path) -> None:
    data_tree(tmp_path)
    poller_bundle.trim(tmp_path)
    data = tmp_path / "botocore" / "data"
    assert {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()} == set(poller_bundle.KEPT_DATA)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["botocore", "botocore-1.0.dist-info"]
    assert not (data / "ec2").exists()


def test_a_botocore_with_other_files_is_refused(tmp_path: Path) -> None:
    data_tree(tmp_path)
    (tmp_path / "botocore" / "data" / "endpoints.json").unlink()
    with pytest.raises(poller_bundle.BundleError, match=r"moved its files endpoints\.json"):
        poller_bundle.trim(tmp_path)


def test_the_installed_botocore_has_the_files() -> None:
    import botocore

    data = Path(botocore.__file__).parent / "data"
    assert [name for name in poller_bundle.KEPT_DATA if not (data / name).exists()] == []


def test_an_archive_depends_on_its_content_only(tmp_path: Path) -> None:
    archives = []
    for number in (1, 2):
        tree = tmp_path / str(number) / "abc"
        (tree / "lib").mkdir(parents=True)
        (tree / "lib" / "module.py").write_text("x = 1\n")
        (tree / "classroom-poller").write_text(poller_bundle.LAUNCHER)
        (tree / ".complete").write_text("abc\n")
        (tree / "lib").chmod(0o700 + number)
        archives.append(tmp_path / f"{number}.tar.gz")
        poller_bundle.pack(tree, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        entries = tar.getmembers()
    # An unpacking that was interrupted must not look complete.
    assert entries[-1].name == "abc/.complete"
    modes = {entry.name: entry.mode for entry in entries}
    assert modes == {
        "abc/classroom-poller": 0o755,
        "abc/lib": 0o755,
        "abc/lib/module.py": 0o644,
        "abc/.complete": 0o644,
    }
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 0)}


def test_a_failing_download_is_explained(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    with pytest.raises(poller_bundle.BundleError, match="could not fetch the wheels"):
        poller_bundle.stage(tmp_path / "lib", **sources, uv=Path("/bin/false"), python_version="3.11")
    with pytest.raises(poller_bundle.BundleError, match="could not fetch the wheels"):
        poller_bundle.stage(tmp_path / "lib", **sources, uv=tmp_path / "missing", python_version="3.11")


def test_compiled_packages_are_refused(tmp_path: Path) -> None:
    sources = checkout(tmp_path)
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\nmkdir -p "$5"\ntouch "$5/fast.so"\n')
    uv.chmod(0o755)
    with pytest.raises(poller_bundle.BundleError, match=r"one architecture only: fast\.so"):
        poller_bundle.stage(tmp_path / "lib", **sources, uv=uv, python_version="3.11")


<<<<<<< HEAD
@mock_aws
def test_queues_are_looked_up_and_probed() -> None:
    sqs: Any = boto3.client("sqs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    url = sqs.create_queue(QueueName="input")["QueueUrl"]
    assert poller_queues.queue_url(sqs, "input") == url
    identifier = poller_queues.send_probe(sqs, url)
    message = sqs.receive_message(QueueUrl=url)["Messages"][0]
    assert message["MessageId"] == identifier
    # The function ignores exactly this event, which S3 itself sends.
    assert json.loads(message["Body"])["Event"] == "s3:TestEvent"
    with pytest.raises(poller_queues.QueueMissingError, match=r"the queue other does not exist; .* make up"):
        poller_queues.queue_url(sqs, "other")
=======
@pytest.mark.parametrize(
    ("endpoint_url", "address"),
    [
        ("", ("sqs.eu-west-1.amazonaws.com", 443)),
        ("http://172.30.0.10:4566", ("172.30.0.10", 4566)),
        ("https://example.test", ("example.test", 443)),
        ("http://example.test", ("example.test", 80)),
    ],
)
def test_where_the_queues_are(endpoint_url: str, address: tuple[str, int]) -> None:
    assert poller_install.sqs_address(endpoint_url, "eu-west-1") == address


def refuse(*_: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    found = poller_install.problems((3, 9), tmp_path / "none", ("172.30.0.10", 4566), 1, refuse)
    assert len(found) == 3
    assert "Python 3.9" in found[0]
    assert "systemd does not run" in found[1]
    assert "172.30.0.10:4566 cannot be reached" in found[2]


def test_a_good_machine_has_no_problems(tmp_path: Path) -> None:
    assert poller_install.problems((3, 12), tmp_path, ("h", 1), 1, lambda *_: None) == []


VERSION = "0123456789abcdef"


def installer(directory: Path, version: str = VERSION, *, check_mode: bool = False) -> poller_install.Installer:
    """An installer of an archive that holds a package of one file."""
    tree = directory / "tree" / version
    (tree / "lib" / "classroom_poller").mkdir(parents=True, exist_ok=True)
    (tree / "lib" / "classroom_poller" / "cli.py").write_text("x = 1\n")
    (tree / ".complete").write_text(version)
    archive = directory / f"{version}.tar.gz"
    poller_bundle.pack(tree, archive)
    packed = archive.read_bytes()
    return poller_install.Installer(directory / "smart-classroom", version, packed, check_mode, os.getuid())


def install(found: poller_install.Installer, *files: poller_install.File) -> list[str]:
    found.changes.clear()
    found.ensure_release(sys.implementation.cache_tag, sys.executable)
    found.ensure_current()
    for file in files:
        found.ensure_file(file)
    found.remove_earlier()
    return found.changes


def test_files_are_installed_once(tmp_path: Path) -> None:
    found = installer(tmp_path)
    secret = poller_install.File(tmp_path / "etc" / "smart-classroom" / "aws-credentials", "secret", 0o600)
    assert install(found, secret) == [f"version {VERSION}", "link current", str(secret.path)]
    package = tmp_path / "smart-classroom" / "current" / "lib" / "classroom_poller"
    assert (package / "cli.py").read_text() == "x = 1\n"
    assert list((package / "__pycache__").iterdir())
    assert secret.path.read_text() == "secret"
    assert secret.path.stat().st_mode & 0o7777 == 0o600
    assert not found.archive_wanted
    assert install(found, secret) == []


@pytest.mark.parametrize("damage", ["content", "mode", "directory", "link"])
def test_what_somebody_changed_is_put_right(tmp_path: Path, damage: str) -> None:
    found = installer(tmp_path)
    settings = poller_install.File(tmp_path / "smart-classroom" / "poller.toml", "right", 0o644)
    install(found, settings)
    link = tmp_path / "smart-classroom" / "current"
    if damage == "content":
        settings.path.write_text("wrong")
    elif damage == "mode":
        settings.path.chmod(0o666)
    elif damage == "directory":
        settings.path.parent.chmod(0o777)
    else:
        link.unlink()
        link.symlink_to("elsewhere")
    assert len(install(found, settings)) == 1
    assert install(found, settings) == []
    assert settings.path.read_text() == "right"
    assert settings.path.stat().st_mode & 0o7777 == 0o644
    assert settings.path.parent.stat().st_mode & 0o7777 == 0o755
    assert link.readlink() == Path(VERSION)


def test_an_interrupted_unpacking_is_done_again(tmp_path: Path) -> None:
    found = installer(tmp_path)
    half = tmp_path / "smart-classroom" / VERSION
    half.mkdir(parents=True)
    (half / "half").write_text("")
    install(found)
    assert not (half / "half").exists()
    assert (half / ".complete").exists()


def test_a_new_version_replaces_the_old(tmp_path: Path) -> None:
    install(installer(tmp_path))
    other = "f" * 16
    assert install(installer(tmp_path, other)) == [f"version {other}", "link current", f"earlier version {VERSION}"]
    assert sorted(path.name for path in (tmp_path / "smart-classroom").iterdir()) == ["current", other]


def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    found = installer(tmp_path, check_mode=True)
    file = poller_install.File(tmp_path / "smart-classroom" / "poller.toml", "x", 0o644)
    assert install(found, file) == [f"version {VERSION}", "link current", str(file.path)]
    assert not (tmp_path / "smart-classroom").exists()


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    found = installer(tmp_path)
    found.archive = b"no archive"
    with pytest.raises(poller_install.InstallError, match=rf"archive of version {VERSION} cannot be unpacked"):
        install(found)


def test_a_user_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    found = installer(tmp_path)
    found.useradd = "/bin/false"
    found.ensure_user("root", tmp_path)
    assert found.changes == []
    with pytest.raises(poller_install.InstallError, match="/bin/false --system"):
        found.ensure_user("nobody-of-this-name", tmp_path)


@pytest.mark.parametrize(
    ("enabled", "answer", "runs"),
    [
        (True, '{"fresh": true, "outdated": false}', True),
        (False, '{"fresh": true, "outdated": false}', False),
        (True, '{"fresh": false, "outdated": false}', False),
        (True, '{"fresh": true, "outdated": true}', False),
        (True, "Traceback", False),
        (True, "[]", False),
    ],
)
def test_a_service_that_does_not_run_with_these_files_is_noticed(
    tmp_path: Path, enabled: bool, answer: str, runs: bool
) -> None:
    found = installer(tmp_path)
    install(found)
    wants = tmp_path / "wants"
    if enabled:
        wants.symlink_to("unit")
    (found.release / "classroom-poller").write_text(f"print({answer!r})\n")
    assert found.runs(wants, sys.executable) is runs


@pytest.mark.parametrize(("fresh", "asked"), [(True, []), (False, ["daemon-reload", "enable", "restart"])])
def test_the_service_is_started_unless_it_runs_with_these_files(tmp_path: Path, fresh: bool, asked: list[str]) -> None:
    found = installer(tmp_path)
    install(found)
    (tmp_path / "poller.service").symlink_to("unit")
    (found.release / "classroom-poller").write_text(f"print({json.dumps({'fresh': fresh, 'outdated': False})!r})\n")
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$1" >>{shlex.quote(str(tmp_path / "asked"))}\n')
    (tmp_path / "systemctl").chmod(0o755)
    found.systemctl = str(tmp_path / "systemctl")
    (tmp_path / "asked").write_text("")
    found.changes.clear()
    found.ensure_running("poller.service", tmp_path)
    assert (tmp_path / "asked").read_text().split() == asked
    assert found.changes == ([] if fresh else ["service poller.service"])


def test_a_service_that_does_not_start_is_explained(tmp_path: Path) -> None:
    found = installer(tmp_path)
    found.systemctl = "/bin/false"
    with pytest.raises(poller_install.InstallError, match="/bin/false daemon-reload failed"):
        found.ensure_running("poller.service", tmp_path)


REQUEST: dict[str, Any] = {
    "install_dir": "/nonexistent",
    "version": VERSION,
    "user": "nobody",
    "home": "/nonexistent",
    "service": "poller.service",
    "files": [],
    "endpoint_url": "http://127.0.0.1:9",
    "region": "us-east-1",
    "timeout_seconds": 1,
    "check_mode": False,
}


def test_the_program_reads_its_request_behind_itself() -> None:
    command = [sys.executable, "-IBc", poller_install_action.START]
    sent = poller_install_action.message(REQUEST, b"an archive")
    done = subprocess.run(command, input=sent, capture_output=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["changed"] is False
    assert "127.0.0.1:9 cannot be reached" in answer["problems"][-1]


@pytest.mark.parametrize("there", [True, False])
def test_the_archive_is_sent_only_to_a_machine_without_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    (tmp_path / "archive").write_bytes(b"packed")
    sent: list[bytes] = []

    class Action(poller_install_action.ActionModule):
        def __init__(self) -> None:
            self._task = type("Task", (), {"check_mode": False})

        def validate_argument_spec(self, argument_spec: Any) -> Any:
            assert argument_spec == poller_install.ARGUMENTS
            return None, {"archive": str(tmp_path / "archive")}

        def _low_level_execute_command(self, _command: str, in_data: bytes) -> dict[str, Any]:
            archive = in_data.rpartition(b"\n")[2]
            sent.append(archive)
            answer = {"changed": bool(archive), "problems": [], "archive_wanted": not there and not archive}
            return {"rc": 0, "stdout": "a greeting\n" + json.dumps(answer), "stderr": ""}

    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    assert Action().run() == {"changed": not there, "problems": []}
    assert sent == ([b""] if there else [b"", b"packed"])


def test_a_machine_that_does_not_run_the_program_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"rc": 1, "stdout": "", "stderr": "sudo: a password is required"}
    action = object.__new__(poller_install_action.ActionModule)
    monkeypatch.setattr(action, "_low_level_execute_command", lambda *_, **__: said)
    with pytest.raises(AnsibleActionFail, match="sudo: a password is required"):
        action._ask(REQUEST, b"")
>>>>>>> collection
