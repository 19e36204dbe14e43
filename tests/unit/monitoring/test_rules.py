"""The rules as Prometheus itself understands them: each alert fires within its time, and says what to type."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "roles/monitoring/files/rules.yml"
TESTS = Path(__file__).with_name("rules_test.yml")
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program of Debian's package prometheus, as the role fetches it."""
    cache = ROOT / ".cache/monitoring"
    packed = subprocess.run(
        [ROOT / "roles/monitoring/files/debian-binaries", cache],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert packed.returncode == 0, packed.stderr
    version = Path(packed.stdout.strip()).name.removeprefix("monitoring-").removesuffix(".tar.gz")
    return cache / version / "promtool"


def run(promtool: Path, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_each_alert_fires_in_its_time_and_none_on_a_good_day(promtool: Path) -> None:
    done = run(promtool, "test", "rules", TESTS.name, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_that_never_fires_is_noticed(promtool: Path, tmp_path: Path, alert: str) -> None:
    """Otherwise the tests of promtool would prove nothing of it."""
    text = yaml.safe_load(RULES.read_text())
    for group in text["groups"]:
        for rule in group["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = "vector(0) > 1"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(text))
    tests = yaml.safe_load(TESTS.read_text())
    tests["rule_files"] = ["rules.yml"]
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    done = run(promtool, "test", "rules", "tests.yml", cwd=tmp_path)
    assert done.returncode != 0
    assert f"alertname: {alert}," in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_a_command_that_there_is(alert: str) -> None:
    commands = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.fullmatch(r"make ([a-z-]+)(?: [A-Z]+=\S+)*", ALERTS[alert]["annotations"]["command"])
    assert named
    assert named[1] in commands
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning"}


def test_the_documentation_says_what_to_do_about_each() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    told = {row[0].strip("`"): row for row in rows if row[0].strip("`") in ALERTS}
    assert list(told) == list(ALERTS)
    for name, row in told.items():
        assert f"`{ALERTS[name]['annotations']['command']}`" in row[3], name


def test_what_poller_and_exporter_write_is_what_prometheus_reads(
    promtool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    monkeypatch.syspath_prepend(str(ROOT / "vm_service"))
    metrics, exporter = (importlib.import_module(f"classroom_poller.{name}") for name in ("metrics", "exporter"))
    settings = exporter.Settings(
        "us-east-1", "f", ("http://q/1/in", "http://q/1/out"), ("http://q/1/in-dlq",), "", ("a:1",)
    )
    text = metrics.Metrics(metrics.FAMILIES).text() + metrics.Metrics(exporter.families(settings)).text()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert "error" not in done.stderr
    assert done.returncode in (0, 3), done.stderr
    # 3: advice about names. A metric without a unit has none, and a time is a time.
    assert {line.split()[0] for line in done.stderr.splitlines()} <= set(), done.stderr


def test_no_alert_and_no_panel_asks_for_a_metric_that_nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.syspath_prepend(str(ROOT / "vm_service"))
    metrics, exporter = (importlib.import_module(f"classroom_poller.{name}") for name in ("metrics", "exporter"))
    settings = exporter.Settings("", "f", ("q",), ("d",), "", ("s:1",))
    written = {
        re.split(r"[{ ]", sample)[0]
        for family, labels in (*metrics.FAMILIES, *exporter.families(settings))
        for label in labels or ("",)
        for sample in family.samples(label)
    }
    panels = (ROOT / "roles/monitoring/files/panels.yml").read_text()
    asked = set(re.findall(r"\b(?:classroom_poller|smart_classroom)_\w+", panels + RULES.read_text()))
    assert asked <= written
