"""Settings of the function, read once from its environment."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recognition.rule import Confidence, Rule

_TIMEOUT_TOLERANCE_SECONDS = 2.0  # of an invocation's time when the function is entered, the runtime has used a little


class ConfigError(Exception):
    """A setting is missing or is not what it must be; the message names the variable."""


@dataclass(frozen=True)
class Config:
    """Where the function reads and writes, and its limits (seconds).

    A video of a minute or less may take `least_budget_seconds`, a longer one a second more for each further minute,
    none more than `time_budget_seconds`. `reserve_seconds` are kept for writing the answer. `least_looks` is in how
    many places a short clip is looked at before nobody in it, or somebody undecided, is the answer.
    """

    table_name: str
    output_bucket: str
    output_queue_url: str
    gallery_bucket: str
    gallery_ttl_seconds: float = 30.0
    gallery_file: Path = Path(__file__).parents[1] / "known-encodings.json"  # in the image, if one was baked in
    log_level: str = "INFO"
    least_budget_seconds: float = 8.0
    time_budget_seconds: float = 45.0
    reserve_seconds: float = 15.0
    least_looks: int = 4
    minimum_confidence: Confidence = Confidence.PROBABLE
    blur_unknown_faces: bool = True
    rule: Rule = field(default_factory=Rule)

    def budget_seconds(self, duration_seconds: float) -> float:
        """Returns how long a video of this length may take."""
        return min(self.time_budget_seconds, self.least_budget_seconds + max(0.0, duration_seconds / 60 - 1))

    def check_timeout(self, seconds: float) -> None:
        """Raises ConfigError when an invocation that has so many seconds left at its begin could not end any video."""
        needed = self.time_budget_seconds + self.reserve_seconds
        if seconds + _TIMEOUT_TOLERANCE_SECONDS < needed:
            raise ConfigError(
                f"an invocation has {seconds:.0f} s, and a video may take {self.time_budget_seconds:.0f} s and "
                f"{self.reserve_seconds:.0f} s for its answer: set lambda_function_timeout_seconds to {needed:.0f} or "
                "more, or TIME_BUDGET_SECONDS to less, and deploy the function again."
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """Reads the settings. Raises ConfigError naming every variable that is missing or malformed."""
        problems: list[str] = []

        def text(name: str, default: str | None = None) -> str:
            value = environment.get(name) or default
            if value is None:
                problems.append(f"{name} is not set")
                return ""
            return value

        def number(name: str, default: float, least: float = 0.0) -> float:
            raw = environment.get(name) or str(default)
            try:
                value = float(raw)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or value < least:
                problems.append(f"{name}={raw!r} is not a number from {least:g} on")
                return default
            return value

        def choice(name: str, default: str, among: Mapping[str, object]) -> str:
            value = text(name, default)
            if value not in among:
                problems.append(f"{name}={value!r} is none of {', '.join(among)}")
                return default
            return value

        switch = {"true": True, "false": False}
        config = cls(
            table_name=text("TABLE_NAME"),
            output_bucket=text("OUTPUT_BUCKET"),
            output_queue_url=text("OUTPUT_QUEUE_URL"),
            gallery_bucket=text("GALLERY_BUCKET"),
            gallery_ttl_seconds=number("GALLERY_TTL_SECONDS", cls.gallery_ttl_seconds),
            gallery_file=Path(text("GALLERY_FILE", str(cls.gallery_file))),
            log_level=choice("LOG_LEVEL", cls.log_level, logging.getLevelNamesMapping()),
            least_budget_seconds=number("LEAST_BUDGET_SECONDS", cls.least_budget_seconds, 1.0),
            time_budget_seconds=number("TIME_BUDGET_SECONDS", cls.time_budget_seconds, 1.0),
            reserve_seconds=number("RESERVE_SECONDS", cls.reserve_seconds),
            least_looks=int(number("LEAST_LOOKS", cls.least_looks, 1.0)),
            minimum_confidence=Confidence(
                choice("MINIMUM_CONFIDENCE", cls.minimum_confidence, {level.value: level for level in Confidence})
            ),
            blur_unknown_faces=switch[choice("BLUR_UNKNOWN_FACES", "true", switch)],
        )
        if problems:
            raise ConfigError(
                "the function's environment is incomplete: "
                + "; ".join(problems)
                + ". Deploy it again with role lambda_function."
            )
        return config
