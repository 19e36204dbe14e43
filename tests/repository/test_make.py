"""What a person types after `make` reaches the programs as it was typed, and nothing else decides."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Quotes, a separator, expansions of make, of the shell and of Jinja, an option, letters and signs beyond ASCII.
ODD_VALUES = [
    "Conan O'Brien",
    "my photos",
    "--help",
    "-rf; echo planted",
    '"quoted" $HOME ${HOME} `id` $(id) $(shell id) \\ %s * ~',
    "{{ 6 * 7 }} {% if true %}no{% endif %} {# no #}",
    "Jürgen Müller 🎓 #1",
]
# Stands in for ansible-playbook: shows what a play would see of the given variables.
SHOW = """#!/usr/bin/env bash
shift
exec ansible-playbook -i localhost, {playbook} "$@"
"""
SHOW_PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    smart_classroom_environment: "{{ lookup('env', 'SMART_CLASSROOM_SHOWN_ENVIRONMENT') }}"
  tasks:
    - ansible.builtin.copy:
        content: "{{ dict(names | zip(names | map('extract', vars))) | to_json }}"
        dest: "{{ lookup('env', 'SMART_CLASSROOM_SHOWN') }}"
      vars:
        names: "{{ lookup('env', 'SMART_CLASSROOM_SHOWN_NAMES').split(',') }}"
"""


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def playbooks_see(directory: Path, names: str, *arguments: str, environment: str = "local", **shell: str) -> object:
    """The values of the variables `names` in the playbook that `make arguments` runs."""
    (directory / "show.yml").write_text(SHOW_PLAY)
    program = directory / "ansible-playbook-that-shows"
    program.write_text(SHOW.format(playbook=directory / "show.yml"))
    program.chmod(0o755)
    shown = directory / "shown.json"
    done = make(
        *arguments,
        f"PLAYBOOK={program}",
        SMART_CLASSROOM_SHOWN=str(shown),
        SMART_CLASSROOM_SHOWN_NAMES=names,
        SMART_CLASSROOM_SHOWN_ENVIRONMENT=environment,
        **shell,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(shown.read_text())


@pytest.mark.parametrize("target", ["up", "down", "purge", "status"])
def test_the_environment_is_not_taken_from_the_shell(target: str) -> None:
    planned = make("-n", target, ENVIRONMENT="prod").stdout
    assert "local" in planned
    assert "prod" not in planned
    assert "prod" in make("-n", target, "ENVIRONMENT=prod").stdout
    overridden = make("-n", "-e", target, ENVIRONMENT="prod")
    assert overridden.returncode != 0
    assert "command line" in overridden.stderr


@pytest.mark.parametrize("name", ["porduction", "dev prod", "../local", "$(shell id)", ""])
def test_an_environment_that_does_not_exist_is_refused(name: str) -> None:
    refused = make("-n", "up", f"ENVIRONMENT={name}")
    assert refused.returncode != 0
    assert "there is no environment" in refused.stderr
    assert "uid=" not in refused.stderr


def operands(directory: Path, *given: str) -> list[str]:
    """What the operator's program is given by a make target."""
    program = directory / "program"
    program.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    shell = {"TIMEOUT": "1", "RESULTS": "true", "VIDEOS": "true", "FROM": "x", "TO": "x"}
    return make(*given, f"OPS={program}", **shell).stdout.splitlines()


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_name_reaches_the_program_as_it_was_typed(tmp_path: Path, value: str) -> None:
    seen = operands(tmp_path, "upload", f"VIDEO={value}", f"KEY={value}")
    assert seen == ["upload", f"--key={value}", "--", value]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_class_reaches_the_program_as_it_was_typed(tmp_path: Path, value: str) -> None:
    assert operands(tmp_path, "students", f"CLASS={value}", "JSON=true") == ["students", f"--class={value}", "--json"]


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (["forget", "STUDENT={}", "VIDEOS=true"], ["forget", "--videos=true", "--", "{}"]),
        (["forget", "STUDENT={}", "DRY_RUN={}"], ["forget", "--dry-run={}", "--", "{}"]),
        (["subject-access", "STUDENT={}", "TO={}"], ["subject-access", "--to={}", "--", "{}"]),
        (["backup", "TO={}", "PASSPHRASE_FILE={}"], ["backup", "--to={}", "--passphrase-file={}"]),
        (["restore", "FROM={}", "CONFIRM={}"], ["restore", "--confirm={}", "--", "{}"]),
    ],
)
def test_so_does_what_is_said_about_students_and_backups(tmp_path: Path, given: list[str], seen: list[str]) -> None:
    odd = " ".join(ODD_VALUES)
    assert operands(tmp_path, *(one.replace("{}", odd) for one in given)) == [one.replace("{}", odd) for one in seen]


def test_paths_of_photos_may_hold_anything(tmp_path: Path) -> None:
    odd = "".join(ODD_VALUES).replace("/", "")
    given = (f"PHOTOS={odd}/my photos", f"ROSTER={tmp_path}/{odd}.csv")
    names = "students_photos_dir,students_roster,students_encoding_pickle,students_dry_run"
    seen = playbooks_see(tmp_path, names, "enroll", *given)
    # The playbook that shows stands elsewhere; relative paths begin beside the directory of playbooks.
    beside = tmp_path.parent
    assert seen == {
        "students_photos_dir": f"{beside}/{odd}/my photos",
        "students_roster": f"{tmp_path}/{odd}.csv",
        "students_encoding_pickle": "",
        "students_dry_run": False,
    }
    seen = playbooks_see(
        tmp_path, names, "enroll", f"ENCODINGS={tmp_path}/{odd}", "DRY_RUN=true", ROSTER="from the shell"
    )
    assert seen == {
        "students_photos_dir": "",
        "students_roster": "",
        "students_encoding_pickle": f"{tmp_path}/{odd}",
        "students_dry_run": True,
    }


@pytest.mark.parametrize(
    ("environment", "given", "confirmed"),
    [
        ("local", [], "local"),
        ("dev", [], ""),
        ("prod", [], ""),
        ("prod", ["CONFIRM=prod"], "prod"),
        ("prod", ["CONFIRM=dev"], "dev"),
    ],
)
def test_only_local_is_removed_without_typing_its_name(
    tmp_path: Path, environment: str, given: list[str], confirmed: str
) -> None:
    shell = {"CONFIRM": environment, "CONFIRM_DATA": environment}
    seen = playbooks_see(tmp_path, "confirm,confirm_data", "down", *given, environment=environment, **shell)
    assert seen == {"confirm": confirmed, "confirm_data": ""}


def test_data_of_production_is_named_a_second_time(tmp_path: Path) -> None:
    given = ["ENVIRONMENT=prod", "CONFIRM=prod", "CONFIRM_DATA=prod"]
    seen = playbooks_see(tmp_path, "confirm,confirm_data", "purge", *given, environment="prod")
    assert seen == {"confirm": "prod", "confirm_data": "prod"}


@pytest.mark.parametrize(
    ("target", "missing"),
    [("upload", "VIDEO"), ("forget", "STUDENT"), ("subject-access", "STUDENT"), ("restore", "FROM")],
)
def test_a_missing_value_is_named(target: str, missing: str) -> None:
    refused = make(target, **{missing: "from the shell"})
    assert refused.returncode != 0
    assert f"{missing} is missing" in refused.stderr


def test_an_enrolment_of_nothing_says_what_may_be_named() -> None:
    refused = make("enroll", ROSTER="from the shell")
    assert refused.returncode != 0
    assert "nothing is named: make enroll ROSTER=" in refused.stderr
