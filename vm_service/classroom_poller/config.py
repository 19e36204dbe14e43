"""Settings of the service, read once from a TOML file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class ConfigError(Exception):
    """The settings cannot be used; the text names every fault and the file."""


# Smallest and largest value that makes sense, SQS's and Lambda's own limits where they have one.
_RANGES: dict[str, tuple[int, int]] = {
    "concurrency": (1, 64),
    "batch_size": (1, 10),
    "wait_seconds": (0, 20),
    "visibility_seconds": (1, 43200),
    "function_timeout_seconds": (1, 900),
    "hold_seconds": (0, 43200),
    "backoff_base_seconds": (0, 900),
    "backoff_max_seconds": (0, 43200),
    "drain_seconds": (0, 900),
}
_PATHS = ("results_dir", "state_file", "metrics_file")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Config:
    """Everything the service can be told. Durations are whole seconds, paths absolute."""

    region: str
    function_name: str
    input_queue_url: str
    output_queue_url: str
    # Empty means AWS itself.
    endpoint_url: str = ""
    results_dir: Path = Path("/var/lib/smart-classroom/results")
    state_file: Path = Path("/run/smart-classroom/status.json")
    # Outlives the service and the machine's boot, so that counters go on.
    metrics_file: Path = Path("/var/cache/smart-classroom/poller.prom")
    # Invocations that run at once, and messages in one of them at most.
    concurrency: int = 2
    batch_size: int = 5
    wait_seconds: int = 20
    # A message whose poller died comes back after this long; a living poller extends it every third of it.
    visibility_seconds: int = 30
    function_timeout_seconds: int = 60
    # How long messages are kept while the function cannot be started at all, before the queue counts a failure.
    hold_seconds: int = 300
    backoff_base_seconds: int = 2
    backoff_max_seconds: int = 300
    drain_seconds: int = 60
    log_level: str = "INFO"


def queue_arn(queue_url: str, region: str) -> str:
    """ARN of a queue from its URL, whose path ends in ``/<account>/<name>``."""
    account, name = urlsplit(queue_url).path.rstrip("/").split("/")[-2:]
    return f"arn:aws:sqs:{region}:{account}:{name}"


def load_config(path: Path) -> Config:
    """Read and check the settings in `path`.

    Raises:
        ConfigError: with all faults at once, so that one look is enough.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings {path} are not TOML: {error}") from error
    faults = [*_faults(values)]
    if faults:
        raise ConfigError(f"the settings {path} cannot be used: " + "; ".join(faults))
    for name in _PATHS:
        if name in values:
            values[name] = Path(values[name])
    return Config(**values)


def _faults(values: dict[str, Any]) -> list[str]:
    known = {field.name: field for field in fields(Config)}
    faults = [f"{name} is no setting" for name in values if name not in known]
    for name, field in known.items():
        if name not in values:
            if field.default is MISSING:
                faults.append(f"{name} is missing")
            continue
        value = values[name]
        if name in _RANGES:
            low, high = _RANGES[name]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                faults.append(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        elif not isinstance(value, str):
            faults.append(f"{name} must be a text, not {value!r}")
        elif name in _PATHS:
            if not value.startswith("/"):
                faults.append(f"{name} must be an absolute path, not {value!r}")
        elif name.endswith("_queue_url"):
            if not re.fullmatch(r"https?://[^/]+(/[^/]+)*/[^/]+/[^/]+", value):
                faults.append(f"{name} must be a queue's URL, https://<host>/<account>/<name>, not {value!r}")
        elif name == "endpoint_url":
            if value and not re.fullmatch(r"https?://[^/\s]+/?", value):
                faults.append(f"endpoint_url must be empty or http(s)://<host>[:<port>], not {value!r}")
        elif name == "log_level":
            if value not in _LEVELS:
                faults.append(f"log_level must be one of {', '.join(_LEVELS)}, not {value!r}")
        elif not value:
            faults.append(f"{name} is empty")
    return faults
