"""What the commands write: data to standard output, everything for people to standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn
from rich.table import Table

_UNITS = ("B", "kB", "MB", "GB", "TB")
_LOG_WIDTH = 250  # columns where there is no terminal to ask
_BAR_WIDTH = 50


def print_data(text: str) -> None:
    """One line of data on standard output."""
    sys.stdout.write(f"{text}\n")


def info(text: str) -> None:
    """One line for the reader on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show(what: RenderableType, *, stderr: bool = True) -> None:
    """Print tables and coloured text, on a terminal as wide as it is, and without colours where NO_COLOR is set."""
    _console(stderr=stderr).print(what)


def plain_text(what: RenderableType) -> str:
    """What `show` prints where there is no terminal."""
    console = Console(width=_LOG_WIDTH, force_terminal=False, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _LOG_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def size(count: float) -> str:
    """A count of bytes for people: ``13.4 MB``."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of `total` bytes on a terminal, its last state as one line in a log; yields what counts more bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=_console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


def histogram(counts: list[tuple[str, int]]) -> Table:
    """A bar for each label, as long as its count says."""
    most = max((count for _, count in counts), default=0)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    table.add_column(width=_BAR_WIDTH)
    table.add_column()
    for label, count in counts:
        table.add_row(label, Bar(most or 1, 0, count, width=_BAR_WIDTH), str(count))
    return table
