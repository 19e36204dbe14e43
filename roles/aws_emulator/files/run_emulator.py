"""Runs the AWS emulator in its container.

After each invocation of a function the emulator asks the container engine for the memory that the function's container
used. Docker 20.10, which is Debian 12's, answers that question on a tick of one second, and the invocation waits for
it: 1.0 s instead of 0.1 s. So the question is refused here; the emulator then writes a figure of its own into the log.
"""

from __future__ import annotations

from typing import Any, NoReturn

from docker.errors import InvalidVersion
from docker.models.containers import Container
from ministack.app import main


def refuse(_container: Container, **_options: Any) -> NoReturn:
    """Stand in for ``Container.stats``, as an engine does that cannot answer at once.

    Raises:
        InvalidVersion: always.
    """
    raise InvalidVersion("statistics of a container take a second here")


if __name__ == "__main__":
    Container.stats = refuse
    main()
