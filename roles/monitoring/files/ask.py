"""Asks Prometheus on this machine whether figures come, and the machine what is open and how much memory is taken.

Usage: ask.py ADDRESS SLICE UNIT ... Prints JSON: ``problems``, a list of sentences, ``memory_bytes`` of the slice, and
the ``alerts`` that fire. The role monitoring sends it to the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

# Figures of each part that must be there, with the longest time in seconds since it was written.
FRESH = {
    "the poller": ("classroom_poller_written_timestamp_seconds", 90),
    "the exporter": ('smart_classroom_exporter_last_answer_timestamp_seconds{source="sqs"}', 300),
    "the exporter's questions about the function": (
        'smart_classroom_exporter_last_answer_timestamp_seconds{source="cloudwatch"}',
        300,
    ),
}


def api(address: str, path: str, **parameters: str) -> Any:
    """What Prometheus answers."""
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)["data"]


def figures(address: str) -> list[str]:
    """What is wrong with targets, rules and figures."""
    problems = [
        f"{target['scrapeUrl']} cannot be read: {target['lastError'] or 'not read yet'}"
        for target in api(address, "targets")["activeTargets"]
        if target["health"] != "up"
    ]
    rules = [rule for group in api(address, "rules")["groups"] for rule in group["rules"]]
    problems += [
        f"the rule {rule['name']} cannot be judged: {rule['lastError']}" for rule in rules if rule["health"] == "err"
    ]
    if not rules:
        problems.append("there are no rules")
    for part, (query, limit) in FRESH.items():
        found = api(address, "query", query=query)["result"]
        age = time.time() - float(found[0]["value"][1]) if found else None
        if age is None or age > limit:
            problems.append(f"{part} says nothing" + ("" if age is None else f" since {age:.0f} s"))
    if not api(address, "alertmanagers")["activeAlertmanagers"]:
        problems.append("Prometheus has no Alertmanager")
    return problems


def open_ports(units: list[str]) -> list[str]:
    """What the units listen on that is not loopback."""
    listing = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True, timeout=30, check=True).stdout
    processes = set()
    for unit in units:
        asked = ["systemctl", "show", "--property=MainPID", "--value", unit]
        processes.add(subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip())
    return [
        f"{line.split()[3]} is open to the network"
        for line in listing.splitlines()
        if any(f"pid={process}," in line for process in processes) and not line.split()[3].startswith("127.0.0.1:")
    ]


def main() -> int:
    """Entry point; returns the exit code."""
    address, slice_name, *units = sys.argv[1:]
    states = subprocess.run(["systemctl", "is-active", *units], capture_output=True, text=True, timeout=30, check=False)
    problems = [
        f"{unit} is {state}" for unit, state in zip(units, states.stdout.split(), strict=False) if state != "active"
    ]
    alerts: list[str] = []
    try:
        problems += figures(address)
        alerts = [one["labels"]["alertname"] for one in api(address, "alerts")["alerts"] if one["state"] == "firing"]
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"Prometheus does not answer: {error}")
    problems += open_ports(units)
    asked = ["systemctl", "show", "--property=MemoryCurrent", "--value", slice_name]
    memory = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    sys.stdout.write(
        json.dumps({"problems": problems, "memory_bytes": int(memory) if memory.isdigit() else 0, "alerts": alerts})
        + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
