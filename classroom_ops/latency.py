"""Latencies as figures and as a PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of `values` do not exceed: the nearest rank, so always one that was measured.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def distribution(values: Sequence[float], rows: int = 10) -> list[tuple[str, int]]:
    """How many of `values` (seconds) lie in each of `rows` equal ranges between the smallest and the largest."""
    if not values:
        return []
    low, high = min(values), max(values)
    step = (high - low) / rows
    if step <= 0:
        return [(f"{low:.2f} s", len(values))]
    counts = [0] * rows
    for value in values:
        counts[min(rows - 1, int((value - low) / step))] += 1
    return [(f"{low + row * step:.2f} - {low + (row + 1) * step:.2f} s", count) for row, count in enumerate(counts)]


def write_png(path: Path, latencies: Sequence[float], title: str) -> None:
    """Draw latency by order of upload, and its distribution, both in seconds."""
    import matplotlib as mpl  # takes a second to import: only who draws pays

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    left.plot(range(1, len(latencies) + 1), latencies, ".", color="#1f77b4")
    left.set(xlabel="clip, in order of upload", ylabel="upload to CSV (s)", title=title, ylim=(0, None))
    ordered = sorted(latencies)
    right.plot(ordered, [100 * (rank + 1) / len(ordered) for rank in range(len(ordered))], color="#1f77b4")
    for share, colour in ((0.5, "#2ca02c"), (0.95, "#d62728")):
        value = percentile(latencies, share)
        right.axvline(value, color=colour, linestyle="--", label=f"p{share * 100:.0f} {value:.2f} s")
    right.set(xlabel="upload to CSV (s)", ylabel="clips answered (%)", ylim=(0, 100), xlim=(0, None))
    right.legend()
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
