"""EC2 as a server of this machine: moto's, with Debian's images and with consoles that show host keys.

Usage: ec2_server.py --port 4577 --images images.json [--console FILE]

moto answers every instance's console with the same lines of a machine of 2006. Here the console of every instance is
what FILE holds, so that a test says which host keys the instances show.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any


def console_from(path: Path) -> Any:
    """A stand-in for moto's ``get_console_output`` that answers with what is in the file now."""
    from moto.core.responses import ActionResult
    from moto.core.types import Base64EncodedString
    from moto.core.utils import utcnow

    def get_console_output(self: Any) -> Any:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        output = Base64EncodedString.from_raw_string(path.read_text(encoding="utf-8") if path.exists() else "")
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})

    return get_console_output


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True, help="the images that are there, in moto's shape")
    parser.add_argument("--console", type=Path, help="what the console of every instance shows")
    arguments = parser.parse_args()
    os.environ["MOTO_AMIS_PATH"] = str(arguments.images)  # read when moto is imported

    from moto.ec2.responses.general import General
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    if arguments.console:
        setattr(General, "get_console_output", console_from(arguments.console))  # noqa: B010 mypy knows the method
    run_simple("127.0.0.1", arguments.port, DomainDispatcherApplication(create_backend_app), threaded=True)


if __name__ == "__main__":
    main()
