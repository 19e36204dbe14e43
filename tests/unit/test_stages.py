"""The stages of bin/test: lanes, what is skipped, what is shown. The stages here are small commands."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.support import stages
from tests.support.programs import ROOT, load
from tests.support.stages import Run, Stage, UnknownStageError


def stage(name: str, *shell: str, lane: str = "a", **options: object) -> Stage:
    commands = tuple(("sh", "-c", text) for text in (shell or ("true",)))
    return Stage(name, f"title of {name}", lane, commands, **options)  # type: ignore[arg-type]


def run(directory: Path, *given: Stage) -> tuple[int, Run, str]:
    out = io.StringIO()
    runner = Run(given, directory, directory / "logs", out)
    return runner.run(), runner, out.getvalue()


def results(runner: Run) -> dict[str, str]:
    return {name: outcome.result.value for name, outcome in runner.outcomes.items()}


def test_lanes_run_beside_one_another_and_stages_of_a_lane_do_not(tmp_path: Path) -> None:
    # Each lane can only end when the other one runs at the same time.
    status, runner, _ = run(
        tmp_path,
        stage("one", "touch one; until [ -e two ]; do sleep 0.05; done"),
        stage("two", "until [ -e one ]; do sleep 0.05; done; touch two", lane="b"),
        stage("three", "[ ! -e open ]; touch open; sleep 0.2; rm open"),
        stage("four", "[ ! -e open ]"),
    )
    assert status == 0
    assert set(results(runner).values()) == {"passed"}


def test_what_needs_a_failed_stage_is_skipped_with_a_word_and_the_rest_runs(tmp_path: Path) -> None:
    status, runner, text = run(
        tmp_path,
        stage("up", "echo the cloud did not start; exit 3"),
        stage("faults", "touch faults-ran", needs=("up",)),
        stage("workload", needs=("faults",)),
        stage("down", "touch down-ran", after=("workload",)),
        stage("plan", lane="b"),
        stage("scenario", lane="b", needs=("up",)),
    )
    assert status == 1
    assert results(runner) == {
        "up": "FAILED",
        "faults": "skipped",
        "workload": "skipped",
        "down": "passed",
        "plan": "passed",
        "scenario": "skipped",
    }
    assert "faults skipped: up did not pass" in text
    assert "workload skipped: faults did not pass" in text
    assert "the cloud did not start" in text
    assert not (tmp_path / "faults-ran").exists()
    assert (tmp_path / "down-ran").exists()
    assert text.splitlines()[-1].startswith("2 passed, 1 failed, 3 skipped in ")


def test_a_stage_stops_at_its_first_command_that_fails(tmp_path: Path) -> None:
    status, _, _ = run(tmp_path, stage("one", "exit 1", "touch second"))
    assert status == 1
    assert not (tmp_path / "second").exists()


def test_a_failure_shows_the_end_of_its_log_and_success_shows_nothing_of_it(tmp_path: Path) -> None:
    many = "for i in $(seq 200); do echo line $i of $0; done"
    _, _, text = run(
        tmp_path, stage("good", many + "; echo hidden"), stage("bad", many + "; printf 'last \\377\\n'; exit 1")
    )
    assert "hidden" not in text
    assert "line 200 of" in text
    assert "line 100 of" not in text
    assert "last" in text
    assert "hidden" in (tmp_path / "logs/good.log").read_text()


def test_durations_are_a_table_and_a_file(tmp_path: Path) -> None:
    _, _, text = run(tmp_path, stage("long", "sleep 1.2"), stage("short", lane="b"))
    rows = [line.split("\t") for line in (tmp_path / "logs/stages.tsv").read_text().splitlines()]
    assert rows[0] == ["lane", "stage", "began", "seconds", "result"]
    assert [row[1] for row in rows[1:]] == ["long", "short"]
    assert rows[1][3] == "1"
    assert rows[2][4] == "passed"
    assert "title of long" in text


def test_needs_that_are_not_part_of_the_run_are_taken_as_given(tmp_path: Path) -> None:
    status, _, _ = run(tmp_path, stage("faults", needs=("up",), after=("prepare",)))
    assert status == 0


def test_names_select_stages_in_their_own_order() -> None:
    known = [stage("check"), stage("up"), stage("second", optional=True), stage("down")]
    assert [one.name for one in stages.selected(known, [])] == ["check", "up", "down"]
    assert [one.name for one in stages.selected(known, ["second", "check"])] == ["check", "second"]
    with pytest.raises(UnknownStageError, match="there is no stage uq; there are: check up second down"):
        stages.selected(known, ["uq"])


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from tests.support.stages import Run, Stage\n"
        f"Run([Stage('s', 't', 'a', (('sh', '-c', 'echo $$ > pid; exec sleep 60'),))], pathlib.Path({str(tmp_path)!r}),"
        f" pathlib.Path({str(tmp_path)!r}) / 'logs').run()"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def bin_test() -> ModuleType:
    return load("bin/test")


def test_what_the_stages_of_bin_test_wait_for_comes_before_them(bin_test: ModuleType) -> None:
    """So that no two lanes wait for one another, and every name is that of a stage."""
    names = [one.name for one in bin_test.STAGES]
    assert len(set(names)) == len(names)
    for number, one in enumerate(bin_test.STAGES):
        assert {*one.needs, *one.after} <= set(names[:number]), one.name


def test_every_role_has_its_scenario_in_a_stage(bin_test: ModuleType) -> None:
    roles = {path.parents[2].name for path in ROOT.glob("roles/*/molecule/default/molecule.yml")}
    together = set(bin_test.AWS_ROLES)
    alone = {one.name for one in bin_test.STAGES} & roles
    assert together | alone == roles
    assert not together & alone


def test_the_roles_that_share_an_emulator_are_those_of_the_shared_scenario(bin_test: ModuleType) -> None:
    scenario = yaml.safe_load((ROOT / "molecule/aws-roles/molecule.yml").read_text(encoding="utf-8"))
    assert [one["name"] for one in scenario["platforms"]] == list(bin_test.AWS_ROLES)
    for role in bin_test.AWS_ROLES:
        for playbook, own in (("prepare", "plant"), ("verify", "verify")):
            text = (ROOT / f"molecule/aws-roles/{playbook}.yml").read_text(encoding="utf-8")
            assert f"../../roles/{role}/molecule/default/{own}.yml" in text


def test_ports_are_handed_out_once_and_in_one_place() -> None:
    """A scenario that names a port of its own collides with another one as soon as both run at once."""
    shared = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
    ports = {name: value for name, value in shared["provisioner"]["env"].items() if name.startswith("SCENARIO_PORT_")}
    assert len(set(ports.values())) == len(ports) >= 6
    written = []
    used = set()
    for path in [*ROOT.glob("roles/*/molecule/**/*.yml"), *ROOT.glob("molecule/**/*.yml")]:
        text = path.read_text(encoding="utf-8")
        written += [
            f"{path.relative_to(ROOT)}: {port}" for port in re.findall(r"127\.0\.0\.1:\d{4,}|port[=:] ?\d{4,5}", text)
        ]
        used |= set(re.findall(r"SCENARIO_PORT_\w+", text))
    assert written == []
    assert used == set(ports)


def test_the_whole_run_covers_the_stack_and_everything_beside_it(bin_test: ModuleType) -> None:
    default = {one.name for one in stages.selected(bin_test.STAGES, [])}
    assert {"check", "iam", "figures", "plan", "aws-roles", "up", "unchanged", "stack", "down"} <= default
