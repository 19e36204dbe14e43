"""Settings of the function, read once from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recognition.rule import Rule


class ConfigError(Exception):
    """A setting is missing or is not what it must be; the message names the variable."""


@dataclass(frozen=True)
class Config:
    """Where the function reads and writes, and its limits (bytes, seconds)."""

    table_name: str
    output_bucket: str
    output_queue_url: str
    gallery_bucket: str
    gallery_key: str = ".gallery/known-encodings.json"
    gallery_ttl_seconds: float = 30.0
    gallery_file: Path = Path(__file__).parents[1] / "known-encodings.json"  # in the image, if one was baked in
    log_level: str = "INFO"
    max_video_bytes: int = 500 * 1024 * 1024
    time_budget_seconds: float = 8.0
    max_frames: int = 8
    work_dir: Path = Path("/tmp")  # noqa: S108 - the only writable directory of a Lambda function
    rule: Rule = field(default_factory=Rule)

    @property
    def thresholds(self) -> Rule:
        """The rule, by the name that the pipeline uses."""
        return self.rule

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

        def number(name: str, default: float) -> float:
            raw = environment.get(name) or str(default)
            try:
                value = float(raw)
            except ValueError:
                problems.append(f"{name}={raw!r} is not a number")
                return default
            if value < 0:
                problems.append(f"{name}={raw!r} is negative")
            return value

        output_bucket = text("OUTPUT_BUCKET")
        config = cls(
            table_name=text("TABLE_NAME"),
            output_bucket=output_bucket,
            output_queue_url=text("OUTPUT_QUEUE_URL"),
            gallery_bucket=text("GALLERY_BUCKET", output_bucket),
            gallery_key=text("GALLERY_KEY", cls.gallery_key),
            gallery_ttl_seconds=number("GALLERY_TTL_SECONDS", cls.gallery_ttl_seconds),
            gallery_file=Path(text("GALLERY_FILE", str(cls.gallery_file))),
            log_level=text("LOG_LEVEL", cls.log_level).upper(),
            max_video_bytes=int(number("MAX_VIDEO_BYTES", cls.max_video_bytes)),
            time_budget_seconds=number("TIME_BUDGET_SECONDS", cls.time_budget_seconds),
            max_frames=int(number("MAX_FRAMES", cls.max_frames)),
            work_dir=Path(text("WORK_DIR", str(cls.work_dir))),
        )
        if problems:
            raise ConfigError(
                "the function's environment is incomplete: "
                + "; ".join(problems)
                + ". Deploy it again with role lambda_function."
            )
        return config
