"""What differs from the desired state, read from a real run of Ansible in check mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from classroom_ops import drift
from classroom_ops.errors import OpsError

PLAY = """
- name: Compare
  hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
  tasks:
{tasks}
"""
WRITE = """
    - name: Write the files
      ansible.builtin.copy: {content: "wanted", dest: "DIRECTORY/{{ item }}"}
      loop: [one, two]
"""
SECRET = """
    - name: Write the key
      ansible.builtin.copy: {content: "geheim-geheim", dest: "DIRECTORY/key"}
      no_log: true
"""
RESCUED = """
    - name: Look
      block:
        - name: It is not there
          ansible.builtin.fail: {msg: never mind}
      rescue:
        - name: Go on
          ansible.builtin.debug: {msg: well}
"""
FAILS = """
    - name: Refuse
      ansible.builtin.fail: {msg: the disk is away}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "local").write_text("localhost\n")
    (tmp_path / "one").write_text("wanted")
    return tmp_path


def site(project: Path, *tasks: str) -> Path:
    text = PLAY.format(tasks="".join(tasks)).replace("{{{{", "{{").replace("}}}}", "}}")
    (project / "site.yml").write_text(text.replace("DIRECTORY", str(project)))
    return project


def test_differences_are_listed_with_what_they_are(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drift.run("local", site(project, RESCUED, WRITE, SECRET)) == 2
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert first.startswith("localhost: Write the files: two (")
    assert "one" not in first.partition("two")[0].removeprefix("localhost: Write the files")
    assert second == "localhost: Write the key"
    assert "geheim" not in said.out + said.err
    assert "2 differences; nothing was changed. To put it right: make up" in said.err
    assert not (project / "two").exists()


def test_nothing_differs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drift.run("local", site(project, WRITE.replace(", two", ""), RESCUED)) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing differs from the desired state of local" in said.err


def test_a_comparison_that_ends_early_does_not_say_that_all_is_well(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OpsError, match="ended early, at localhost: Refuse: the disk is away"):
        drift.run("local", site(project, FAILS))
    assert drift.run("local", site(project, WRITE, FAILS)) == 2
    assert "ended early, at localhost: Refuse" in capsys.readouterr().err
    (project / "empty").mkdir()
    with pytest.raises(OpsError, match="ended before its summary"):
        drift.run("local", project / "empty")
