"""Accounts and messages to start from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from classroom_contract.results import Appearance, Box, Confidence, EndedBy, Looks, Result, SeenStudent, Status, Video

ETAG = "0123456789abcdef0123456789abcdef"
WHEN = datetime(2026, 3, 2, 9, 30, 15, 250_000, UTC)
FACE = Appearance(((1.0, 4.5), (9.0, 9.0)), Box(10, 20, 110, 140), 4.5)


def student(name: str = "Ada Lovelace", **changes: Any) -> SeenStudent:
    """A student as the function finds one."""
    values: dict[str, Any] = {
        "name": name,
        "confidence": Confidence.PROBABLE,
        "distance": 0.3123,
        "margin": 0.2,
        "appearance": FACE,
        "id": "7",
        "major": "mathematics",
        "year": "1833",
    }
    return SeenStudent(**values | changes)


def result(**changes: Any) -> Result:
    """An account with every field filled."""
    values: dict[str, Any] = {
        "video": Video("input", "week 1/lesson.mp4", ETAG, "v1"),
        "status": Status.RECOGNIZED,
        "processed_at": WHEN,
        "request_id": "request-1",
        "students": (student(),),
        "unknown_people": (FACE,),
        "looks": Looks(12, 60.0, EndedBy.SETTLED, 80),
        "frame": "week 1/lesson.jpg",
        "frame_seconds": 4.5,
        "size_bytes": 1000,
        "width": 1920,
        "height": 1080,
        "duration_seconds": 60.04,
        "timings_ms": {"total": 812.5},
        "model": "network",
        "gallery_version": "abc",
        "function_version": "3",
    }
    return Result(**values | changes)
