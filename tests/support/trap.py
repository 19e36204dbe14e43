"""A trap on the network: it answers nothing, and counts who comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Trap:
    """Listens on a port of this machine; ``visits`` holds the first bytes of each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.visits: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def run(self) -> None:
        """Count connections until it is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                first = b""
                with suppress(OSError):
                    first = connection.recv(200)
                self.visits.append(first)
                with suppress(OSError):
                    connection.sendall(b"HTTP/1.1 418 trap\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def trap() -> Iterator[Trap]:
    """A trap that counts while the block runs."""
    made = Trap()
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(timeout=5)
