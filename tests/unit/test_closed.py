"""What stands in a shell decides nothing about a run, and a run of `local` asks nobody but the environment itself."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.parsers import ResponseParserError

from classroom_ops import meeting
from classroom_ops.aws import Aws, AwsFailure
from classroom_ops.closed import KEEP, closed, environment_of, own_networks, without_proxy
from classroom_ops.environment import parse
from tests.support.hostile import groups, settings
from tests.support.trap import Trap, trap

ROOT = Path(__file__).resolve().parents[2]
SHELL = {"PATH": os.environ["PATH"], "HOME": "/root", "TERM": "xterm", "USER": "ann"}
# What a person may well set for a run: where things are, and how they are shown.
PROXIES = {f"{name}_proxy" for name in ("http", "https", "all")}
PASSED = {"HOME", "TZ", "TMPDIR", KEEP, *PROXIES, *(name.upper() for name in PROXIES)}
# What must not reach a task, a recipe or a program.
FOREIGN = "OS_(?!CLIENT_SECURE)|PYTHON|DOCKER_(?!HOST)|BASH_ENV|GIT_(?!BASE)"
PROBE = """\
- name: Show what a task sees
  hosts: controller
  gather_facts: false
  tasks:
    - name: Ask
      ansible.builtin.shell: (env; umask) >"{{ playbook_dir }}/seen"; sleep {{ seconds | default(0) }}
"""


@pytest.fixture
def hostile() -> Iterator[Trap]:
    with trap() as made:
        yield made


def test_each_setting_is_the_same_as_none(tmp_path: Path) -> None:
    sets = settings(tmp_path, "http://127.0.0.1:1")
    assert len(sets) >= 30
    usual = closed(SHELL, "local")
    for name, values in sets.items():
        found = closed(SHELL | values, "local")
        differing = {key for key in {*found, *usual} if found.get(key) != usual.get(key)}
        assert differing - PASSED - {"NO_PROXY", "no_proxy"} == set(), name


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    for environment in ("local", "dev"):
        for values in settings(tmp_path, "http://127.0.0.1:1").values():
            once = closed(SHELL | values, environment)
            assert closed(once, environment) == once


def test_in_aws_the_shell_says_who_calls_and_never_where_the_calls_go() -> None:
    given = SHELL | {
        "AWS_PROFILE": "school",
        "AWS_SESSION_TOKEN": "t",
        "AWS_ENDPOINT_URL": "http://x",
        "AWS_ENDPOINT_URL_S3": "http://x",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "OS_CLOUD": "x",
    }
    found = closed(given, "dev")
    assert {name for name in found if name.startswith(("AWS_", "OS_"))} == {"AWS_PROFILE", "AWS_SESSION_TOKEN"}
    assert "AWS_ENDPOINT_URL_S3" in closed(given | {KEEP: "AWS_ENDPOINT_URL_S3"}, "dev")
    assert "AWS_ENDPOINT_URL_S3" not in closed(given | {KEEP: "AWS_ENDPOINT_URL_S3"}, "local")


def test_every_address_of_the_environment_is_asked_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", without_proxy("example.org", "local"))
    for host in ("127.0.0.1", "172.30.0.1", "172.30.0.10", "172.30.0.20", "172.24.4.1", "172.24.4.250", "example.org"):
        assert urllib.request.proxy_bypass_environment(host), host  # type: ignore[attr-defined]  # unknown to the stubs
    for host in ("deb.debian.org", "pypi.org", "172.31.0.1"):
        assert not urllib.request.proxy_bypass_environment(host), host  # type: ignore[attr-defined]
    assert ipaddress.IPv4Network("172.30.0.0/24") in own_networks("local")


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        (None, "local"),
        ((str(ROOT / "inventory/dev"),), "dev"),
        ((str(ROOT / "inventory/local/"), "more.yml"), "local"),
        (("/elsewhere/hosts.yml",), "elsewhere"),
        (("localhost,",), "elsewhere"),
    ],
)
def test_the_inventory_says_which_environment_it_is(given: object, environment: str) -> None:
    assert environment_of(given) == environment


def endpoints_at(url: str, directory: Path, **changes: Any) -> dict[str, Any]:
    names = ("input_bucket", "output_bucket", "input_queue", "output_queue", "function", "table", "repository")
    document: dict[str, Any] = {name: name.replace("_", "-") for name in names}
    return {
        **document,
        "environment": "local",
        "region": "us-east-1",
        "endpoint_url": url,
        "credentials": {"access_key_id": "local", "secret_access_key": "unchecked"},
        "dead_letter_suffix": "-dlq",
        "gallery": {"bucket": "known-encodings", "key": "everyone.json"},
        "pollers": [],
        "ssh_config": str(directory / "ssh"),
        "results_dir": str(directory),
        "cloud": "smart-classroom",
        "clouds_yaml": str(directory / "clouds.yaml"),
        **changes,
    }


def test_clients_of_the_commands_ask_the_emulator_alone(
    tmp_path: Path, hostile: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing closed the environment, as in a program that imports them."""
    for name, values in settings(tmp_path, hostile.url).items():
        with trap() as emulator, monkeypatch.context() as patch:
            for key, value in values.items():
                patch.setenv(key, value)
            aws = Aws(parse(endpoints_at(emulator.url, tmp_path), tmp_path, ROOT), read_seconds=2, attempts=1)
            with pytest.raises((*AwsFailure, ResponseParserError)):
                aws.client("sts").get_caller_identity()
            assert len(emulator.visits) == 1, name
            assert b"us-east-1" in emulator.visits[0] or b"POST / " in emulator.visits[0], name
    assert hostile.visits == []
    assert not (tmp_path / "credential-process-ran").exists()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the parts of the project that close a run, with a playbook that shows what a task sees."""
    root = tmp_path_factory.mktemp("project")
    plugins = Path("collections/ansible_collections/smart_classroom/platform/plugins/vars")
    for part in ("classroom_ops", "classroom_contract", "inventory", str(plugins), "playbooks/vars_plugins"):
        shutil.copytree(ROOT / part, root / part, symlinks=True)
    (root / "bin").mkdir()
    for part in ("ansible.cfg", "bin/closed", str(plugins.parent.parent / "galaxy.yml")):
        shutil.copy(ROOT / part, root / part)
    (root / "playbooks/meta").mkdir(parents=True)
    (root / "playbooks/meta/arguments.yml").write_text("probe:\n  seconds: {description: how long, type: float}\n")
    (root / "roles").mkdir()
    (root / "playbooks/probe.yml").write_text(PROBE)
    return root


def run(project: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=project, env=SHELL | variables, capture_output=True, text=True, check=False, timeout=60
    )


def seen_by_a_task(project: Path) -> dict[str, str]:
    lines = (project / "playbooks/seen").read_text().splitlines()
    return {**dict(line.partition("=")[::2] for line in lines), "umask": lines[-1]}


# By hand Python or Ansible itself ends before anything of ours begins; `make` and `bin/closed` begin before them.
ENDS_BY_HAND = {"Python's home", "no locale", "a locale that is not there", "Ansible's inventory"}


@pytest.mark.parametrize("by", ["hand", "closed"])
def test_tasks_see_nothing_of_the_shell(project: Path, tmp_path: Path, hostile: Trap, by: str) -> None:
    sets = settings(tmp_path, hostile.url)
    sets["Ansible's plugins"] = {"ANSIBLE_VARS_ENABLED": "", "ANSIBLE_VARS_PLUGINS": "/nonexistent"}
    if by == "hand":
        for name in ENDS_BY_HAND:
            done = run(project, "ansible-playbook", "playbooks/probe.yml", **sets.pop(name))
            assert "TASK" not in done.stdout, name
    prefix = ["bin/closed"] if by == "closed" else []
    for values in groups(sets):
        mask = os.umask(0o077)
        try:
            done = run(project, *prefix, "ansible-playbook", "playbooks/probe.yml", **values)
        finally:
            os.umask(mask)
        assert done.returncode == 0, done.stdout + done.stderr
        seen = seen_by_a_task(project)
        assert seen["umask"] == "0022"
        assert not {name for name in seen if re.match(FOREIGN, name)}
        assert {seen[name] for name in seen if name.startswith("AWS_")} == {os.devnull, "true"}
        assert seen["DOCKER_HOST"] == "unix:///var/run/docker.sock"
        assert seen["SMART_CLASSROOM_ENVIRONMENT"] == "local"
        assert "172.30.0.10" in seen["no_proxy"].split(",")
    assert hostile.visits == []
    assert not (tmp_path / "bash-env-ran").exists()


def test_make_closes_its_recipes(tmp_path: Path, hostile: Trap) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nenv >{tmp_path}/seen\n")
    program.chmod(0o755)
    values: dict[str, str] = {}
    for one in settings(tmp_path, hostile.url).values():
        values |= one
    done = run(ROOT, "make", "status", f"OPS={program}", **{**values, "HOME": "/root"})
    assert done.returncode == 0, done.stderr
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "seen").read_text().splitlines())
    assert not {name for name in seen if re.match(FOREIGN, name)}
    assert {seen[name] for name in seen if name.startswith("AWS_")} == {os.devnull, "true"}
    assert seen["LC_ALL"] == "C.UTF-8"
    assert not (tmp_path / "bash-env-ran").exists()


@pytest.mark.parametrize("command", ["status", "upload", "workload", "verify", "logs"])
def test_commands_say_sentences_whatever_the_shell_holds(
    project: Path, tmp_path: Path, hostile: Trap, command: str
) -> None:
    """The environment is broken too: its emulator answers nonsense, its cloud is away."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes((ROOT / "tests/media/no-face-720p.mp4").read_bytes())
    state = project / ".state/local"
    state.mkdir(parents=True, exist_ok=True)
    media = ["--media", str(ROOT / "tests/media")]
    own = {"upload": [str(clip), "--timeout", "2"], "logs": ["--output", str(tmp_path / "logs.tar.gz")]}
    arguments = own | {"workload": media, "verify": media, "status": []}
    (tmp_path / "values").mkdir()
    values = groups(
        {name: one for name, one in settings(tmp_path / "values", hostile.url).items() if name not in {"Python's home"}}
    )[0]
    with trap() as emulator:
        (state / "endpoints.json").write_text(json.dumps(endpoints_at(emulator.url, tmp_path)))
        done = run(project, sys.executable, "-m", "classroom_ops", command, *arguments[command], **values)
        assert emulator.visits, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "does not know" not in done.stderr, done.stderr
    if command != "logs":  # it collects what there is
        assert done.returncode == 1, done.stderr
    assert hostile.visits == []


def test_a_mistake_of_the_program_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from classroom_ops import cli, environment

    def broken(_name: str) -> None:
        raise RuntimeError("planted\nin two lines")

    monkeypatch.setattr(environment, "load", broken)
    assert cli.main(["status"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: planted" in said
    assert "Traceback" not in said
    (file,) = re.findall(r"/\S+\.log", said)
    assert "in two lines" in Path(file).read_text()
    Path(file).unlink()


def test_a_second_run_says_which_run_it_met(project: Path) -> None:
    first = subprocess.Popen(
        ["ansible-playbook", "playbooks/probe.yml", "-e", "seconds=15"],
        cwd=project,
        env=SHELL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        lock = meeting.lock_file(project / ".state/local")
        (project / "playbooks/seen").unlink(missing_ok=True)
        deadline = time.monotonic() + 30
        while not (project / "playbooks/seen").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = run(project, "ansible-playbook", "playbooks/probe.yml")
        assert second.returncode != 0
        assert re.search(rf"since \d\d:\d\d: process {first.pid}, ansible-playbook playbooks/probe.yml", second.stderr)
        assert "TASK" not in second.stdout
        # Another environment, and a run that only looks, do not meet it.
        assert run(project, "ansible-playbook", "playbooks/probe.yml", "--check").returncode == 0
    finally:
        os.killpg(first.pid, 9)
        first.wait()
    # A dead process holds nothing.
    third = run(project, "ansible-playbook", "playbooks/probe.yml")
    assert third.returncode == 0, third.stderr
    assert lock.stat().st_mode & 0o022 == 0


def test_a_lock_that_says_nothing_is_still_a_lock(tmp_path: Path) -> None:
    held = meeting.take(tmp_path / ".state/dev", ["x"])
    held.truncate(0)
    with pytest.raises(meeting.AnotherRunError, match="changes the environment dev"):
        meeting.take(tmp_path / ".state/dev", ["x"], patience=0)
    held.close()
    meeting.take(tmp_path / ".state/dev", ["x"], patience=0).close()
