"""An SSH server of this machine that lets one key in and lets every command succeed without running it.

Usage: ssh_server.py --port 4579 --host-key FILE --authorized-key FILE.pub
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import asyncssh


class OneKey(asyncssh.SSHServer):
    """Lets in whoever has the key in the file, which is read at each login."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin_auth(self, _username: str) -> bool:
        """Ask everybody for a key."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Take keys."""
        return True

    def validate_public_key(self, _username: str, key: asyncssh.SSHKey) -> bool:
        """Whether it is the key in the file."""
        return self.path.is_file() and key == asyncssh.read_public_key(self.path)


async def serve(port: int, host_key: Path, authorized_key: Path) -> None:
    """Serve until killed."""
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: OneKey(authorized_key),
        server_host_keys=[str(host_key)],
        process_factory=lambda process: process.exit(0),
    )
    await server.wait_closed()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host-key", type=Path, required=True)
    parser.add_argument("--authorized-key", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.host_key, arguments.authorized_key))


if __name__ == "__main__":
    main()
