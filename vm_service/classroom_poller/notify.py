"""The service manager's notification protocol (sd_notify), over its datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Notifier:
    """Tells systemd about readiness and life; silent when nobody listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._last = ""

    def ready(self) -> None:
        """The service does its work from now on."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service drains."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it changes."""
        if text != self._last:
            self._last = text
            self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1)
            try:
                sender.sendto(message.encode(errors="replace"), self._address)
            except OSError:
                # systemd restarts the service when signs of life stay out; nothing better can be done here.
                return
