"""``cost``: what this month has cost so far, by the environment's tags, to be read beside an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from rich.table import Table

from classroom_ops.aws import Aws, AwsFailure, explain
from classroom_ops.environment import Endpoints

# The Cost Explorer has one address, in the region where bills are made; each question costs a cent.
BILLING_REGION = "us-east-1"
TAGS = ("project", "environment")


@dataclass(frozen=True)
class Bill:
    """Dollars by service from `begin` to `end`, the day that is not counted any more."""

    begin: date
    end: date
    services: Mapping[str, float]

    @property
    def total(self) -> float:
        """All services together."""
        return sum(self.services.values())


def month(today: date) -> tuple[date, date]:
    """The first day of the month and the day after the last that can be asked for; on the first, the month before."""
    begin = today.replace(day=1)
    return ((begin - timedelta(days=1)).replace(day=1), begin) if today == begin else (begin, today)


def ask(aws: Aws, project: str, today: date | None = None) -> Bill:
    """What AWS charges for the environment this month, unblended, without the days that are not billed yet.

    Raises:
        AwsFailure: the Cost Explorer does not answer, or the operator may not ask it.
    """
    begin, end = month(today or datetime.now(UTC).date())
    values = {"project": project, "environment": aws.endpoints.environment}
    answer = aws.client("ce", region=BILLING_REGION).get_cost_and_usage(
        TimePeriod={"Start": begin.isoformat(), "End": end.isoformat()},
        Granularity="MONTHLY",
        Metrics=["UnblendedCost"],
        Filter={"And": [{"Tags": {"Key": tag, "Values": [values[tag]]}} for tag in TAGS]},
        GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
    )
    services: dict[str, float] = {}
    for period in answer["ResultsByTime"]:
        for group in period.get("Groups", []):
            name = group["Keys"][0]
            services[name] = services.get(name, 0.0) + float(group["Metrics"]["UnblendedCost"]["Amount"])
    return Bill(begin, end, services)


def table(bill: Bill) -> Table:
    """A row for each service, the dearest first."""
    rows = Table("service", "USD", box=None, pad_edge=False)
    for name, amount in sorted(bill.services.items(), key=lambda one: -one[1]):
        rows.add_row(name, f"{amount:.2f}")
    rows.add_row("together", f"{bill.total:.2f}")
    return rows


def sentence(endpoints: Endpoints) -> str | None:
    """Why there is no bill to ask for; None where there is one."""
    if endpoints.endpoint_url is None:
        return None
    return (
        f"{endpoints.environment} runs on this machine and is billed by nobody: "
        "the estimate above is what the same would cost in AWS"
    )


def actual(aws: Aws, project: str) -> tuple[list[str], Table | None]:
    """What there is to say about the bill, and its table; a Cost Explorer that is away is said, not an error."""
    if said := sentence(aws.endpoints):
        return [said], None
    try:
        bill = ask(aws, project)
    except AwsFailure as error:
        return [f"what it really costs could not be asked: {explain(error, aws.endpoints)}"], None
    lines = [f"billed from {bill.begin} to {bill.end - timedelta(days=1)}, by the tags {' and '.join(TAGS)}:"]
    if not bill.services:
        lines.append(
            "nothing. The tags count from the day on which they are activated as cost allocation tags: "
            "Billing, Cost allocation tags, activate project and environment; a day later they are here"
        )
        return lines, None
    return lines, table(bill)
