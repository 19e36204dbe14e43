"""One process checks the syntax of what ansible-lint would have checked by one process each."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.programs import load

SCRIPT = Path(__file__).resolve().parents[2] / "tools/lint-ansible"


@pytest.fixture(scope="module")
def lint() -> ModuleType:
    return load("tools/lint-ansible")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a role and two playbooks."""
    root = tmp_path / "project"
    (root / "roles/one/tasks").mkdir(parents=True)
    (root / "roles/one/tasks/main.yml").write_text("- name: Say\n  ansible.builtin.debug:\n    msg: hello\n")
    (root / "site.yml").write_text("- name: All\n  ansible.builtin.import_playbook: more.yml\n")
    (root / "more.yml").write_text("- name: More\n  hosts: localhost\n  tasks: []\n")
    (root / "broken.yml").write_text("a: [\n")
    (root / "ignored.yml").write_text("- hosts: [\n")
    (root / ".gitignore").write_text("ignored.yml\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("- hosts: all\n", True),
        ("- name: x\n  import_playbook: y.yml\n", True),
        ("- hosts: all\n  vars: {a: !vault x}\n", True),
        ("- name: A task\n  ansible.builtin.debug:\n", False),
        ("hosts: all\n", False),
        ("", False),
    ],
)
def test_what_a_playbook_is(lint: ModuleType, text: str, is_one: bool) -> None:
    assert lint.is_playbook(text) is is_one


def test_all_playbooks_and_roles_are_checked(lint: ModuleType, project: Path, tmp_path: Path) -> None:
    checked = lint.check_syntax(project, tmp_path)
    assert [str(path.relative_to(project)) for path in checked] == ["roles/one", "more.yml", "site.yml"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("roles/one/tasks/main.yml", "- name: Say\n  ansible.builtin.dbug:\n", "couldn't resolve module/action"),
        ("more.yml", "- name: More\n  hosts: localhost\n  taks: []\n", "'taks' is not a valid attribute"),
        ("site.yml", "- name: All\n  ansible.builtin.import_playbook: none.yml\n", "none.yml"),
    ],
)
def test_what_is_wrong_is_told(
    lint: ModuleType, project: Path, tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    (project / name).write_text(text)
    with pytest.raises(lint.SyntaxCheckError, match=complaint):
        lint.check_syntax(project, tmp_path)


def test_only_what_was_checked_is_answered_for(
    lint: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "ansible-playbook").write_text('#!/bin/sh\necho really "$@"\nexit 4\n')
    (real / "ansible-playbook").chmod(0o755)
    monkeypatch.setenv("PATH", str(real), prepend=":")
    program = lint.stand_in(tmp_path, [project / "site.yml", project / "roles/one"]) / "ansible-playbook"

    def asked(path: str) -> int:
        return subprocess.run([program, "--syntax-check", path], cwd=project, check=False).returncode

    of_role = tmp_path / "playabc.yml"
    text = "---\n- name: Temporary playbook for role syntax check\n  hosts: localhost\n  tasks:\n    - import_role:\n"
    of_role.write_text(f"{text}        name: roles/one\n")
    of_another = tmp_path / "playdef.yml"
    of_another.write_text(f"{text}        name: roles/two\n")
    assert asked("site.yml") == asked(f"{project}/roles/../site.yml") == asked(str(of_role)) == 0
    assert subprocess.run([program, "site.yml"], cwd=project, check=False).returncode == 4
    assert asked("more.yml") == asked("none.yml") == asked(str(of_another)) == 4
