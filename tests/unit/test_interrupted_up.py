"""Runs that are killed in each play; a stand-in for ansible-playbook shows plays, waits and writes a log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.system.stack import interrupted_up
from tests.system.stack.interrupted_up import InterruptedUpError, bring_up, playbooks, plays

# Each play has its duration as the value of `seconds`; `once` is a file that the play leaves behind if it is killed,
# and whose presence makes it fail.
STAND_IN = """
import pathlib, sys, time, yaml
def play(path):
    for one in yaml.safe_load(path.read_text()):
        if imported := one.get("ansible.builtin.import_playbook"):
            play(path.parent / imported)
        elif one["hosts"] == "controller":
            print(f"PLAY [{one['name']}] ****", flush=True)
            half = pathlib.Path(one["once"]) if "once" in one else None
            if half and half.exists():
                sys.exit(5)
            with open("log", "a") as log:
                print("begin", one["name"], file=log, flush=True)
                if half:
                    half.touch()
                time.sleep(one["seconds"])
                print("end", one["name"], file=log)
            if half:
                half.unlink()
            if one.get("fails"):
                sys.exit(3)
for name in sys.argv[1:]:
    play(pathlib.Path(name))
print("PLAY RECAP ****", flush=True)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two playbooks, three plays and one without hosts."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(interrupted_up, "COMMAND", (sys.executable, "stand_in.py"))
    monkeypatch.setattr(interrupted_up, "LONGEST_DELAY_SECONDS", 0.3)
    monkeypatch.setattr(interrupted_up, "FROM_THE_BEGINNING", 1)
    monkeypatch.setattr(interrupted_up, "local_patterns", lambda _root: {"controller"})
    (tmp_path / "one.yml").write_text(
        "- {name: first, hosts: controller, seconds: 0.6}\n- {name: empty, hosts: nobody, seconds: 0}\n"
    )
    (tmp_path / "two.yml").write_text(
        "- {name: second, hosts: controller, seconds: 0.6}\n"
        "- {name: more, ansible.builtin.import_playbook: three.yml}\n"
    )
    (tmp_path / "three.yml").write_text("- {name: third, hosts: controller, seconds: 0.6}\n")
    site = "".join(f"- {{name: {name}, ansible.builtin.import_playbook: {name}.yml}}\n" for name in ("one", "two"))
    (tmp_path / "site.yml").write_text(site)
    return tmp_path


def test_plays_of_imported_playbooks_belong_to_the_one_that_imports_them(project: Path) -> None:
    assert playbooks(project) == ["one.yml", "two.yml"]
    assert plays(project, "one.yml", {"controller"}) == ["first"]
    assert plays(project, "two.yml", {"controller"}) == ["second", "third"]


def test_a_run_is_killed_in_each_play_and_each_playbook_resumes_by_itself(project: Path) -> None:
    killed = bring_up(project, seed=1)
    assert [one.play for one in killed] == ["first", "second", "third"]
    log = (project / "log").read_text().splitlines()
    # Begun and not ended by the run that was killed; ended by the one that resumed and by the run from the beginning.
    for name in ("first", "second", "third"):
        assert log.count(f"begin {name}") - log.count(f"end {name}") == 1
    # The first playbook is never repeated for the second one, but where the run from the beginning is tried.
    assert log[:3] == ["begin first", "begin first", "end first"]
    assert log[-6:] == [f"{step} {name}" for name in ("first", "second", "third") for step in ("begin", "end")]


def test_a_play_that_is_over_too_soon_is_killed_as_it_begins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupted_up, "LONGEST_DELAY_SECONDS", 60.0)
    (project / "site.yml").write_text("- {name: one, ansible.builtin.import_playbook: one.yml}\n")
    (one,) = bring_up(project, seed=1)
    assert (one.play, one.delay) == ("first", 0)


def test_a_run_that_fails_by_itself_is_told(project: Path) -> None:
    (project / "one.yml").write_text("- {name: first, hosts: controller, seconds: 0, fails: true}\n")
    with pytest.raises(InterruptedUpError, match=r"one.yml failed by itself"):
        bring_up(project, seed=1)


def test_a_playbook_that_does_not_resume_is_told(project: Path) -> None:
    (project / "one.yml").write_text("- {name: first, hosts: controller, seconds: 0.6, once: half}\n")
    with pytest.raises(InterruptedUpError, match="after it had been killed"):
        bring_up(project, seed=1)
