"""``classroom-poller run`` is the service, ``status`` shows how it is doing, ``export`` measures what it works with."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .config import ConfigError, load_config
from .logs import configure_logging
from .notify import Notifier
from .status import identity, read_status

DEFAULT_CONFIG = Path("/etc/smart-classroom/poller.toml")
# A change of these wants a restart too. The service itself reads a copy of the credentials that systemd makes.
CREDENTIALS = Path("/etc/smart-classroom/aws-credentials")
UNIT = Path("/etc/systemd/system/classroom-poller.service")
# sysexits.h EX_CONFIG: the unit does not restart the service after it.
EXIT_CONFIG = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 well, 1 not running or unfinished work, 78 settings that cannot be used."""
    parser = argparse.ArgumentParser(prog="classroom-poller", description=__doc__)
    parser.add_argument("command", choices=("run", "status", "export"))
    parser.add_argument("--config", type=Path)
    options = parser.parse_args(arguments)
    configure_logging("INFO")
    try:
        if options.command == "export":
            from .exporter import DEFAULT_SETTINGS, load_settings, run_exporter

            return run_exporter(load_settings(options.config or DEFAULT_SETTINGS), _credentials())
        options.config = options.config or DEFAULT_CONFIG
        config = load_config(options.config)
        if options.command == "status":
            installed = identity(options.config, CREDENTIALS, UNIT)
            values = read_status(config.state_file, config.results_dir, installed)
            sys.stdout.write(json.dumps(values, indent=2) + "\n")
            return 0 if values["fresh"] else 1
        configure_logging(config.log_level)
        # Imported here: the status command must not wait for the AWS library.
        from .service import run_service

        credentials = _credentials()
        runs_with = identity(options.config, credentials, UNIT)
        return 0 if run_service(config, credentials, Notifier(os.environ), runs_with) else 1
    except PermissionError as error:
        logging.getLogger(__name__).critical("%s cannot be read; be root: sudo", error.filename)
        return 1
    except ConfigError as error:
        logging.getLogger(__name__).critical("%s", error)
        return EXIT_CONFIG


def _credentials() -> Path:
    """The copy of the credentials that systemd makes for the unit.

    Raises:
        ConfigError: not started by a unit.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError("CREDENTIALS_DIRECTORY is not set: start the service by its unit, which has LoadCredential=")
    return Path(directory) / "aws"
