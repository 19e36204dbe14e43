"""Latencies as figures, as a plot for the terminal and as a PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of `values` do not exceed: the nearest rank, so always one that was measured.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def bar(length: float, width: int) -> str:
    """A bar of `length` (0 to 1) of `width` characters, exact to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, length)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def histogram(values: Sequence[float], rows: int = 10, width: int = 50) -> list[str]:
    """Lines of a histogram of `values` in seconds: range, bar, count. Empty for no values."""
    if not values:
        return []
    low, high = min(values), max(values)
    step = (high - low) / rows
    if step <= 0:
        return [f"{low:7.2f} s        │{bar(1, width)} {len(values)}"]
    counts = [0] * rows
    for value in values:
        counts[min(rows - 1, int((value - low) / step))] += 1
    most = max(counts)
    return [
        f"{low + row * step:7.2f} - {low + (row + 1) * step:6.2f} s │{bar(count / most, width)} {count}"
        for row, count in enumerate(counts)
    ]


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
