"""What an environment costs in AWS, as an estimate that a person reads before deploying."""

from __future__ import annotations

from collections.abc import Callable

PRICES_OF = "November 2026, us-east-1, list prices in US dollars without tax"
HOURS_A_MONTH = 730
# Dollars an hour for Linux on demand. A type that is not listed is shown without a price.
INSTANCE_HOUR = {
    "m8i.xlarge": 0.212,
    "m8i.2xlarge": 0.423,
    "c8i.xlarge": 0.187,
    "c8i.2xlarge": 0.375,
    "r8i.xlarge": 0.278,
    "m7i.xlarge": 0.202,
    "m6i.xlarge": 0.192,
    "t3.xlarge": 0.166,
}
VOLUME_GB_MONTH = 0.08
ADDRESS_HOUR = 0.005
FUNCTION_GB_SECOND = 0.0000133334  # arm64
FUNCTION_REQUEST = 0.0000002
OBJECT_GB_MONTH = 0.023
IMAGE_GB_MONTH = 0.10
IMAGE_GB = 0.4
SECONDS_A_VIDEO = 1.0
OTHER_A_THOUSAND_VIDEOS = 0.02  # queues, table, requests to S3, log lines


def cost_rows(
    instance_type: str, volume_gb: int, memory_mb: int, hours_a_month: int = HOURS_A_MONTH, videos_a_month: int = 1000
) -> list[tuple[str, float | None]]:
    """What each part costs in a month, None where the price is not known.

    Args:
        instance_type: type of the instance of the private cloud.
        volume_gb: its volume, in GB.
        memory_mb: memory of the function, in MB.
        hours_a_month: how long the instance runs; stopped it costs only its volume and its address.
        videos_a_month: how many videos are answered.
    """
    hour = INSTANCE_HOUR.get(instance_type)
    function = videos_a_month * (SECONDS_A_VIDEO * memory_mb / 1024 * FUNCTION_GB_SECOND + FUNCTION_REQUEST)
    return [
        (f"instance {instance_type}, {hours_a_month} h", None if hour is None else hour * hours_a_month),
        (f"its volume, {volume_gb} GB gp3", volume_gb * VOLUME_GB_MONTH),
        ("its Elastic IP", ADDRESS_HOUR * HOURS_A_MONTH),
        (f"function, {videos_a_month} videos", function),
        ("images of the function in the registry", 3 * IMAGE_GB * IMAGE_GB_MONTH),
        ("buckets, 10 GB", 10 * OBJECT_GB_MONTH),
        ("queues, table, requests, logs", videos_a_month / 1000 * OTHER_A_THOUSAND_VIDEOS),
    ]


def cost_table(instance_type: str, volume_gb: int, memory_mb: int) -> str:
    """The costs of a month as a table, with the instance always on and switched on for 40 hours.

    >>> print(cost_table("m8i.xlarge", 60, 2048).splitlines()[-1])
    Stopped (-e ec2_host_power=stopped) it costs volume and address only. Prices: November 2026, us-east-1, list \
prices in US dollars without tax; an estimate.
    """
    always = cost_rows(instance_type, volume_gb, memory_mb)
    sometimes = cost_rows(instance_type, volume_gb, memory_mb, hours_a_month=40)
    lines = [f"{'a month':42} {'always on':>10} {'40 h on':>10}"]
    for (name, full), (_, part) in zip(always, sometimes, strict=True):
        label = name.replace(f", {HOURS_A_MONTH} h", "")
        lines.append(f"{label:42} {amount(full):>10} {amount(part):>10}")
    lines.append(f"{'together':42} {amount(total(always)):>10} {amount(total(sometimes)):>10}")
    lines.append(
        f"Stopped (-e ec2_host_power=stopped) it costs volume and address only. Prices: {PRICES_OF}; an estimate."
    )
    return "\n".join(lines)


def total(rows: list[tuple[str, float | None]]) -> float | None:
    """The sum of all parts, None where one is not known."""
    known = [value for _, value in rows if value is not None]
    return sum(known) if len(known) == len(rows) else None


def amount(value: float | None) -> str:
    """Dollars with cents.

    >>> amount(None), amount(3.1)
    ('unknown', '3.10')
    """
    return "unknown" if value is None else f"{value:.2f}"


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """The filters of this file by name."""
        return {"aws_cost_table": cost_table}
