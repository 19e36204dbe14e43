"""``environments``: all of them, one line each: deployed or not, where, and how it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from classroom_ops import environment, status
from classroom_ops.environment import PROJECT_ROOT, Endpoints
from classroom_ops.errors import NotDeployedError
from classroom_ops.status import Part, State

Look = Callable[[Endpoints], Sequence[Part]]


@dataclass(frozen=True)
class Row:
    """One environment: `where` its AWS is, its `pollers`, and its `health` in words."""

    name: str
    where: str
    pollers: str
    health: str


def names(root: Path = PROJECT_ROOT) -> list[str]:
    """Every environment that `make` would take, in alphabetical order."""
    return sorted(path.parent.name for path in (root / "inventory").glob("*/hosts.yml"))


def ask(endpoints: Endpoints) -> list[Part]:
    """All parts of one environment, as ``status`` shows them."""
    return status.gather(endpoints, status.probes(endpoints))


def row(name: str, root: Path, look: Look) -> Row:
    """The line of one environment."""
    try:
        endpoints = environment.load(name, root)
    except NotDeployedError as error:
        if environment.state_dir_of(name, root).joinpath("endpoints.json").exists():
            return Row(name, "", "", str(error))
        return Row(name, "", "", "not deployed from this machine")
    parts = look(endpoints)
    where = endpoints.endpoint_url or f"AWS {endpoints.region}"
    return Row(name, where, str(len(endpoints.pollers)), health(parts))


def health(parts: Sequence[Part]) -> str:
    """How an environment is: paused, healthy, or which parts are not."""
    count = Counter(part.state for part in parts)
    paused = [part for part in parts if "paused_since" in part.data]
    if count[State.DOWN]:
        return f"DOWN: {', '.join(part.name for part in parts if part.state is State.DOWN)}"
    if paused:
        return f"paused since {min(part.data['paused_since'] for part in paused)}, {len(paused)} pollers"
    if count[State.WARN]:
        return f"warns: {', '.join(part.name for part in parts if part.state is State.WARN)}"
    return f"healthy, {len(parts)} parts"


def table(root: Path = PROJECT_ROOT, look: Look = ask) -> Table:
    """A line for each environment, all asked at once."""
    rows = Table("environment", "AWS", "pollers", "health", box=None, pad_edge=False)
    known = names(root)
    with ThreadPoolExecutor(max(1, len(known))) as pool:
        for one in pool.map(lambda name: row(name, root, look), known):
            rows.add_row(one.name, one.where, one.pollers, one.health)
    return rows
