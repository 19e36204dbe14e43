"""DevStack: what is refused before it begins, how a failure is explained, and how the host is reached."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType

import openstack.config
import pytest

from ansible_collections.smart_classroom.platform.plugins.filter.devstack import (
    devstack_password_problems,
    devstack_ssh,
    devstack_ssh_config,
)
from tests.support.programs import load
from tests.support.role_variables import evaluate


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("roles/devstack/files/devstack_run.py")
    state = tmp_path / "state"
    state.mkdir()
    for name, file in {
        "STAMP": "stamp.json",
        "ATTEMPT": "attempt.json",
        "PHASES": "phases",
        "CONSOLE": "console",
    }.items():
        monkeypatch.setattr(module, name, state / file)
    monkeypatch.setattr(module, "STATE", state)
    monkeypatch.setattr(module, "ERRORS", state / "error.log")
    monkeypatch.setattr(module, "SUMMARY", tmp_path / "summary")
    monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(module, "ASYNC_LOGS", tmp_path / "async")
    monkeypatch.setattr(module, "DEVSTACK", tmp_path)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    return module


# --- what is refused


@pytest.mark.parametrize(
    ("password", "reason"),
    [("", "is empty"), ("with space", "other characters"), ("p@ss", "other characters"), ("a" * 21, "longer than 20")],
)
def test_a_password_that_devstack_stumbles_over_is_named_and_not_shown(password: str, reason: str) -> None:
    (problem,) = devstack_password_problems(
        {"devstack_admin_password": password, "devstack_rabbit_password": "Ab3" * 6}
    )
    assert problem.startswith("devstack_admin_password")
    assert reason in problem
    assert not password or password not in problem


# --- the git server


# --- why stack.sh failed


@pytest.mark.parametrize(
    ("line", "meaning", "remedy"),
    [
        ("tar: write error: No space left on device", "the disk is full", "df -h"),
        ("./stack.sh: line 9:  4711 Killed                  python -m build", "memory", "8 GB"),
        (
            "WARNING: this script has not been tested on bullseye",
            "does not know the distribution bullseye",
            "Debian 12",
        ),
        ("DevStack should be run as a user with sudo permissions, ", "started as root", "playbook"),
        (
            "[ERROR] /opt/stack/devstack/functions-common:701 git call failed: [git clone --no-checkout "
            "https://192.0.2.1/openstack/nova.git /opt/stack/nova]",
            "git could not fetch: clone --no-checkout https://192.0.2.1/openstack/nova.git",
            "git ls-remote",
        ),
        ("Enter a password now:", "a password is missing", "devstack_*_password"),
        (
            "[ERROR] /opt/stack/devstack/stackrc:820 Could not determine host ip address.  See local.conf",
            "does not know the address",
            "devstack_host_address",
        ),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held", "the lock of apt, /var/lib/dpkg", "lslocks"),
        ("[ERROR] functions:1 Failed to update apt repos, we're dead now", "apt could not fetch", "apt-get update"),
        (
            "E: Failed to fetch http://192.0.2.1/pool/x.deb  404",
            "packages http://192.0.2.1/pool/x.deb",
            "apt-get update",
        ),
        ("ERROR: No matching distribution found for etcd3gw==2.4.2", "package etcd3gw==2.4.2", "Python index"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "pip could not fetch", "Python index"),
        (
            "[ERROR] /opt/stack/devstack/lib/nova:1 nova-api did not start",
            "the service nova-api did not start",
            "journal",
        ),
    ],
)
def test_each_known_failure_has_its_meaning_and_its_remedy(
    program: ModuleType, line: str, meaning: str, remedy: str
) -> None:
    console = ["2026-01-01 10:00:00.000 | + functions:x:1 :  something", f"2026-01-01 10:00:01.000 | {line}"]
    noise = ["2026-01-01 10:00:02.000 | Error on exit", "2026-01-01 10:00:03.000 | No space left on device in a dump"]
    found = program.diagnose([*console, *noise], [])
    assert meaning in found.meaning
    assert remedy in found.remedy
    assert line.strip() in found.lines[0].strip()
    assert not any("dump" in shown for shown in found.lines)


def test_a_full_disk_is_the_cause_of_what_fails_with_it(program: ModuleType) -> None:
    console = ["OSError: [Errno 28] No space left on device", "E: Failed to fetch http://192.0.2.1/x.deb"]
    assert program.diagnose(console, []).meaning == "the disk is full"


def test_what_devstack_itself_calls_the_error_comes_first(program: ModuleType) -> None:
    console = [f"line {number}" for number in range(100)]
    found = program.diagnose(console, ["[ERROR] lib/x:1 something new"])
    assert found.meaning == "no cause that is known here"
    assert "line 99" in found.lines
    assert len(found.lines) <= program.DECISIVE_LINES


def test_the_trace_of_commands_is_left_out(program: ModuleType) -> None:
    console = ["+ ./stack.sh:main:1 :  mysql -e x", "ERROR 1045: Access denied", *["++ lib/x:y:1 : echo"] * 40]
    assert program.diagnose(console, []).lines == ["ERROR 1045: Access denied"]


# --- a run is followed, and believed only when the cloud answered


def prepare_run(program: ModuleType, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (program.DEVSTACK / "local.conf").write_text("ADMIN_PASSWORD=a\nHOST_IP=192.0.2.1\n")
    monkeypatch.setattr(program, "as_stack", lambda _: ["/bin/bash", "-euc", script])
    monkeypatch.setattr(program, "put_back", lambda _: None)
    monkeypatch.setattr(program, "tighten", lambda: None)
    monkeypatch.setattr(program.os, "dup2", lambda *_: None)
    monkeypatch.setattr(program, "output_of", lambda *_: "0123abc\n")


def test_a_run_that_ended_well_is_stamped_when_the_cloud_answers(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = program.SUMMARY
    prepare_run(program, monkeypatch, f"echo '2026-01-01 10:00:00.0 | Starting Keystone' >{summary}")
    monkeypatch.setattr(program, "check", list)
    assert program.run(1.0) == 0
    assert json.loads(program.STAMP.read_text())["conf"] == program.conf_hash()
    assert [line.split(" (at")[0] for line in program.PHASES.read_text().splitlines()] == [
        "phase: stack.sh begins",
        "phase: Starting Keystone",
        "phase: asking every API",
        "phase: the cloud answers",
    ]
    assert program.follow(1.0) == 0
    assert "phase: the cloud is there" in capfd.readouterr().out


def test_a_directory_of_logs_that_stack_sh_opens_is_closed_while_it_runs(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, others = program.LOGS, program.ASYNC_LOGS
    closed = f"$(stat --format=%a {logs} {others} | tr '\\n' -) == 750-750-"
    script = f"mkdir --mode=0755 {logs} {others}; until [[ {closed} ]]; do read -rt 0.01 <> <(:) || true; done"
    prepare_run(program, monkeypatch, script)
    monkeypatch.setattr(program, "check", list)
    assert program.run(1.0) == 0
    assert [path.stat().st_mode & 0o777 for path in (logs, others)] == [0o750, 0o750]


def test_files_with_passwords_are_closed_once(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf = tmp_path / "etc/nova"
    conf.mkdir(parents=True, mode=0o755)
    (conf / "nova.conf").write_text("password")
    (conf / "nova.conf").chmod(0o644)
    (conf / "link").symlink_to(tmp_path)
    monkeypatch.setattr(program, "SECRET_FILES", (str(conf), str(tmp_path / "absent")))
    assert program.tighten() == [str(conf), str(conf / "nova.conf")]
    assert (conf / "nova.conf").stat().st_mode & 0o777 == 0o640
    assert program.tighten() == []


def test_exit_status_0_alone_is_not_believed(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_run(program, monkeypatch, "true")
    monkeypatch.setattr(program, "check", lambda: ["Nova does not answer: refused"])
    monkeypatch.setattr(program, "is_running", lambda: False)
    monkeypatch.setattr(program, "start", program.run)
    assert program.follow(0.05) == 1
    assert not program.STAMP.exists()
    assert "Nova does not answer: refused" in capsys.readouterr().out


def test_a_failed_run_is_explained_and_the_next_one_starts_anew(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_run(program, monkeypatch, "exit 1")
    started = []

    def start(seconds: float) -> None:
        started.append(program.run(seconds))
        program.CONSOLE.write_text("No space left on device\n")

    monkeypatch.setattr(program, "is_running", lambda: False)
    monkeypatch.setattr(program, "start", start)
    assert program.follow(1.0) == 1
    assert program.follow(1.0) == 1
    assert started == [1, 1]
    assert "stack.sh failed: the disk is full." in capsys.readouterr().out


def test_a_run_that_was_ended_from_outside_is_told_from_a_failure(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "is_running", lambda: False)
    monkeypatch.setattr(program, "start", lambda _: program.write(program.ATTEMPT, json.dumps({"rc": None})))
    assert program.follow(1.0) == 1
    assert "ended from outside" in capsys.readouterr().out


def test_the_summary_of_an_earlier_run_is_not_taken_for_this_one(program: ModuleType, tmp_path: Path) -> None:
    old = tmp_path / "summary.old"
    old.write_text("stack.sh completed in 1 seconds.\n")
    program.SUMMARY.symlink_to(old)
    lines = program.summary_lines(str(old))
    assert next(lines) == ""
    new = tmp_path / "summary.new"
    new.write_text("2026-01-01 10:00:00.0 | Installing package prerequisites\n")
    program.SUMMARY.unlink()
    program.SUMMARY.symlink_to(new)
    assert [next(lines), next(lines)] == ["Installing package prerequisites", ""]


def test_units_that_do_not_run_are_named(program: ModuleType) -> None:
    listing = "devstack@keystone.service loaded active running K\ndevstack@n-cpu.service loaded failed failed N\n"
    assert program.unit_problems(listing) == ["the unit devstack@n-cpu.service is failed (failed)"]
    assert program.unit_problems("") == ["no unit devstack@ is there"]


# --- how the host is reached


def test_ssh_goes_the_way_that_ansible_goes() -> None:
    command = devstack_ssh(
        {
            "host": "192.0.2.10",
            "user": "admin",
            "port": 2222,
            "key": "/keys/id",
            "arguments": "-o 'UserKnownHostsFile=/a b/known'",
        }
    )
    assert command[0] == "ssh"
    assert command[-1] == "admin@192.0.2.10"
    assert "UserKnownHostsFile=/a b/known" in command
    assert command[command.index("-p") + 1] == "2222"
    assert command[command.index("-i") + 1] == "/keys/id"
    assert "BatchMode=yes" in command
    bare = devstack_ssh({"host": "devstack", "user": "", "port": "", "key": "", "arguments": ""})
    assert bare[-1] == "devstack"
    assert "-i" not in bare


def test_ssh_itself_reads_the_same_way_from_the_file(tmp_path: Path) -> None:
    connection = {
        "host": "192.0.2.10",
        "user": "admin",
        "port": 2222,
        "key": "/keys/id",
        "arguments": "-o 'UserKnownHostsFile=/a b/known' -oStrictHostKeyChecking=yes",
    }
    file = tmp_path / "devstack.conf"
    file.write_text(devstack_ssh_config(connection, "cloud"))
    read = subprocess.run(["ssh", "-F", file, "-G", "cloud"], capture_output=True, text=True, check=True).stdout.lower()
    for line in (
        "hostname 192.0.2.10",
        "user admin",
        "port 2222",
        "identityfile /keys/id",
        "userknownhostsfile /a b/known",
        "stricthostkeychecking true",
    ):
        assert line in read.splitlines()
    with pytest.raises(ValueError, match="-J"):
        devstack_ssh_config({**connection, "arguments": "-J other"}, "cloud")


def test_a_host_that_only_its_own_configuration_knows_is_found_through_it(tmp_path: Path) -> None:
    """An instance on EC2: the role ec2_host has written where it is."""
    host = tmp_path / "host.conf"
    host.write_text("Host devstack-1\n  HostName 192.0.2.10\n  User admin\n")
    connection = {"host": "devstack-1", "user": "", "port": "", "key": "", "arguments": f"-F {host}"}
    file = tmp_path / "devstack.conf"
    file.write_text(devstack_ssh_config(connection, "devstack-1"))
    read = subprocess.run(["ssh", "-F", file, "-G", "devstack-1"], capture_output=True, text=True, check=True).stdout
    assert {"hostname 192.0.2.10", "user admin"} <= set(read.splitlines())


def test_the_cloud_is_spoken_to_in_the_newest_microversion_that_both_know(tmp_path: Path) -> None:
    """With a default of 2.1 Nova refuses the tags that openstack.cloud.server sends."""
    text = evaluate("devstack", "lookup('ansible.builtin.template', 'clouds.yaml.j2')", devstack_admin_password="a1")
    (tmp_path / "clouds.yaml").write_text(text)
    loader = openstack.config.OpenStackConfig(config_files=[str(tmp_path / "clouds.yaml")], load_envvars=False)
    cloud = loader.get_one("smart-classroom")
    services = ("compute", "image", "network", "placement")
    assert {name: cloud.get_default_microversion(name) for name in services} == dict.fromkeys(services)
    assert cloud.get_endpoint("compute") == "http://127.0.0.1:9800/compute/v2.1"
