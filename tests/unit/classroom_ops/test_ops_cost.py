"""What an environment has cost, and the list of environments."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from classroom_ops import cost, environments
from classroom_ops.aws import Aws
from classroom_ops.console import plain_text
from classroom_ops.status import Part, State


class Explorer:
    """Answers as the Cost Explorer does."""

    def __init__(self, *groups: tuple[str, str], refuses: bool = False) -> None:
        self.groups, self.refuses, self.asked = groups, refuses, {}  # type: tuple[tuple[str, str], ...], bool, dict[str, Any]

    def get_cost_and_usage(self, **request: Any) -> Any:
        self.asked = request
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetCostAndUsage")
        rows = [{"Keys": [name], "Metrics": {"UnblendedCost": {"Amount": amount}}} for name, amount in self.groups]
        return {"ResultsByTime": [{"Groups": rows}]}


def billed(aws: Aws, explorer: Explorer) -> tuple[str, Explorer]:
    aws._clients = {**aws._clients, "ce": explorer}
    said, table = cost.actual(aws, "smart-classroom")
    return "\n".join(said) + ("" if table is None else plain_text(table)), explorer


def test_the_bill_is_asked_by_both_tags_and_summed(aws: Aws) -> None:
    text, explorer = billed(aws, Explorer(("AWS Lambda", "0.031"), ("Amazon EC2", "12.5")))
    assert "together    12.53" in text
    assert text.index("Amazon EC2") < text.index("AWS Lambda")
    assert explorer.asked["Filter"] == {
        "And": [
            {"Tags": {"Key": "project", "Values": ["smart-classroom"]}},
            {"Tags": {"Key": "environment", "Values": ["local"]}},
        ]
    }


def test_tags_that_nobody_activated_and_a_refusal_are_explained(aws: Aws) -> None:
    assert "activate project and environment" in billed(aws, Explorer())[0]
    assert "could not be asked: AWS call failed" in billed(aws, Explorer(refuses=True))[0]


def test_an_emulator_bills_nothing(aws: Aws) -> None:
    aws.endpoints = dataclasses.replace(aws.endpoints, endpoint_url="http://127.0.0.1:4566")
    assert "billed by nobody" in billed(aws, Explorer(refuses=True))[0]


@pytest.mark.parametrize(
    ("today", "asked"),
    [
        (date(2026, 11, 26), (date(2026, 11, 1), date(2026, 11, 26))),
        (date(2026, 12, 1), (date(2026, 11, 1), date(2026, 12, 1))),
        (date(2027, 1, 1), (date(2026, 12, 1), date(2027, 1, 1))),
    ],
)
def test_the_month_so_far(today: date, asked: tuple[date, date]) -> None:
    assert cost.month(today) == asked


def inventories(root: Path, *names: str) -> None:
    for name in names:
        (root / "inventory" / name).mkdir(parents=True)
        (root / "inventory" / name / "hosts.yml").touch()


@pytest.mark.parametrize(
    ("parts", "health"),
    [
        ([Part("AWS", State.OK, ""), Part("queues", State.OK, "")], "healthy, 2 parts"),
        ([Part("AWS", State.OK, ""), Part("machine", State.WARN, "")], "warns: machine"),
        ([Part("poller", State.WARN, "", data={"paused_since": "2026-11-26"})], "paused since 2026-11-26, 1 pollers"),
        ([Part("AWS", State.DOWN, ""), Part("poller", State.WARN, "")], "DOWN: AWS"),
    ],
)
def test_environments_are_listed_deployed_or_not(root: Path, parts: list[Part], health: str) -> None:
    inventories(root, "local", "dev", "broken")
    (root / "inventory" / "common").mkdir()
    (root / ".state" / "broken").mkdir()
    (root / ".state" / "broken" / "endpoints.json").write_text("{}")
    lines = plain_text(environments.table(root, lambda _: parts)).splitlines()
    assert [line.split()[0] for line in lines] == ["environment", "broken", "dev", "local"]
    assert "damaged" in lines[1]
    assert "not deployed from this machine" in lines[2]
    assert "AWS us-east-1" in lines[3]
    assert health in lines[3]
