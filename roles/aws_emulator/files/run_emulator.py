"""Runs the AWS emulator in its container, with two of its habits mended.

After each invocation of a function the emulator asks the container engine for the memory that the function's container
used. Docker 20.10, which is Debian 12's, answers that question on a tick of one second, and the invocation waits for
it: 1.0 s instead of 0.1 s. So the question is refused here; the emulator then writes a figure of its own into the log.

The emulator saves its state when it is told to stop, so a power cut or a SIGKILL would take all queues, tables and
functions along. Here each service's state is also saved a few seconds after it changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from docker.errors import InvalidVersion
from docker.models.containers import Container
from ministack import app
from ministack.core.persistence import save_state
from ministack.core.responses import AccountRegionScopedDict, AccountScopedDict

SAVE_SECONDS = 5.0


def refuse(_container: Container, **_options: Any) -> NoReturn:
    """Stand in for ``Container.stats``, as an engine does that cannot answer at once.

    Raises:
        InvalidVersion: always.
    """
    raise InvalidVersion("statistics of a container take a second here")


def same_content(one: Any, other: Any) -> bool:
    """Equality of the emulator's dictionaries, which have none of their own."""
    return type(one) is type(other) and bool(one._data == other._data)


class Saver:
    """Saves what changed, until the emulator saves everything because it stops."""

    def __init__(self, save_all: Callable[[dict[str, Callable[[], Any]]], None]) -> None:
        self._save_all = save_all
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._saved: dict[str, Any] = {}

    def run(self) -> None:
        """Save every ``SAVE_SECONDS`` until :meth:`save_last` is called."""
        while not self._stopped.wait(SAVE_SECONDS):
            with self._lock:
                if not self._stopped.is_set():
                    self.save_changed()

    def save_changed(self) -> None:
        """Save the services whose state is not the one that was saved last."""
        for service, get_state in app._build_persistence_save_dict().items():
            try:
                state = get_state()
            except RuntimeError:  # it changed while it was copied; the next turn comes soon
                continue
            if state is not None and state != self._saved.get(service):
                save_state(service, state)
                self._saved[service] = state

    def save_last(self, services: dict[str, Callable[[], Any]]) -> None:
        """Stand in for the emulator's ``save_all``: nothing older is written after it."""
        self._stopped.set()
        with self._lock:
            self._save_all(services)


def main() -> None:
    """Run the emulator until it is told to stop."""
    Container.stats = refuse
    if os.environ.get("PERSIST_STATE") == "1":
        for kind in (AccountScopedDict, AccountRegionScopedDict):
            kind.__eq__ = same_content
        saver = Saver(app.save_all)
        app.save_all = saver.save_last
        threading.Thread(target=saver.run, name="saver", daemon=True).start()
    app.main()


if __name__ == "__main__":
    main()
