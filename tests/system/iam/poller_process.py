"""The real poller as a process of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from tests.support.servers import running
from tests.system.iam.enforcing_account import ALIAS, FUNCTION, INPUT_QUEUE, OUTPUT_QUEUE, REGION, ROOT, Account


class Poller:
    """The real service as a process, which reads its access key when it starts."""

    def __init__(self, account: Account) -> None:
        directory = account.directory
        settings = {
            "region": REGION,
            "endpoint_url": account.endpoint,
            "function_name": f"{FUNCTION}:{ALIAS}",
            "input_queue_url": account.queue_url(INPUT_QUEUE),
            "output_queue_url": account.queue_url(OUTPUT_QUEUE),
            "results_dir": str(directory / "state" / "results"),
            "state_file": str(directory / "status.json"),
            "metrics_file": str(directory / "poller.prom"),
            "wait_seconds": 1,
            "visibility_seconds": 3,
            "backoff_base_seconds": 1,
            "backoff_max_seconds": 1,
        }
        config = directory / "poller.toml"
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        self._directory, self._credentials = directory, directory / "credentials"
        self._credentials.mkdir()
        self._command = [sys.executable, "-m", "classroom_poller", "run", "--config", str(config)]
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'vm_service'}:{ROOT}",
            "CREDENTIALS_DIRECTORY": str(self._credentials),
            "AWS_CA_BUNDLE": str(account.certificate),
        }
        self._process = contextlib.ExitStack()

    def start(self, key: Path) -> None:
        """Start with the access key of a file; one that runs ends its work first."""
        self.stop()
        (self._credentials / "aws").write_bytes(key.read_bytes())
        self._process.enter_context(running("poller", self._command, self._directory, self._environment))

    def stop(self) -> None:
        """Let it finish what it works on, and end."""
        self._process.close()
