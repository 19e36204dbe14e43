"""What docs/privacy.md promises is what the inventories set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/privacy.md").read_text(encoding="utf-8")
ENVIRONMENTS = ("local", "dev", "prod")
# Whatever decides how long something about a person is kept has a row in the table.
RETENTION = re.compile(
    r"^(s3_buckets|poller|lambda_function|sqs_queues|monitoring)_\w*(expiration|retention|noncurrent)_?\w*(days|seconds)$"
)


def rows() -> dict[str, list[str]]:
    """Cells of the table of places, by the setting in them."""
    table = PAGE.partition("## Where it is")[2].partition("\n## ")[0]
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and (setting := re.fullmatch(r"`(\w+)`", cells[2])):
            found[setting[1]] = cells[3:6]
    return found


def settings(environment: str) -> dict[str, Any]:
    """Values of an environment: a role's default, then what is common, then its own."""
    paths = [*sorted(ROOT.glob("roles/*/defaults/main.yml"))]
    for part in ("common", environment):
        paths += sorted((ROOT / "inventory" / part / "group_vars/all").glob("*.yml"))
    values: dict[str, Any] = {}
    for path in paths:
        content = path.read_text(encoding="utf-8")
        if not content.startswith("$ANSIBLE_VAULT"):
            values |= yaml.safe_load(content) or {}
    return values


def in_words(name: str, value: int) -> str:
    days = value / 86400 if name.endswith("_seconds") else value
    return f"{days:g}" if days else "kept"


def test_the_table_is_found() -> None:
    assert len(rows()) >= 8


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_days_are_those_of_the_settings(environment: str) -> None:
    values = settings(environment)
    said = {name: cells[ENVIRONMENTS.index(environment)] for name, cells in rows().items()}
    assert said == {name: in_words(name, values[name]) for name in said}


def test_every_setting_that_keeps_something_is_in_the_table() -> None:
    assert {name for name in settings("prod") if RETENTION.match(name)} == set(rows())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_point_in_time_recovery_and_memory_are_as_said(environment: str) -> None:
    values = settings(environment)
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| records that were removed")]
    said = [cell.strip() for cell in line.split("|")][4 + ENVIRONMENTS.index(environment)]
    assert said == ("35" if values["dynamodb_table_point_in_time_recovery"] else "none")
    assert f"{values['lambda_function_environment']['GALLERY_TTL_SECONDS']} seconds" in PAGE


def test_the_readme_says_it_before_anything_is_typed() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert "Only with adults who agreed" in first
    assert "unlawful or banned" in first
    assert "docs/privacy.md" in first
