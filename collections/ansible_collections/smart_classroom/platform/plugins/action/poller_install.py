"""Action plugin ``poller_install``: runs the program of that module on a machine, by one command of the connection."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PROGRAM = Path(__file__).parent.parent / "modules/poller_install.py"
# Standard input holds the program's length in bytes, the program, and what the program reads.
START = 'import sys; i = sys.stdin.buffer; exec(compile(i.read(int(i.readline())), "poller_install", "exec"))'
PYTHON = "/usr/bin/python3"


def message(request: dict[str, Any], archive: bytes) -> bytes:
    """Standard input of the program."""
    program = PROGRAM.read_bytes()
    return f"{len(program)}\n".encode() + program + json.dumps(request).encode() + b"\n" + archive


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Send the archive only to a machine that does not have the version yet."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Read from the file: Ansible finds plugins by their path, not by a package.
        specification = runpy.run_path(str(PROGRAM), run_name="poller_install_program")["ARGUMENTS"]
        _, arguments = self.validate_argument_spec(argument_spec=specification)
        request = {**arguments, "check_mode": self._task.check_mode}
        answer = self._ask(request, b"")
        if answer.get("archive_wanted"):
            answer = self._ask(request, Path(arguments["archive"]).read_bytes())
        answer.pop("archive_wanted", None)
        return {**result, **answer}

    def _ask(self, request: dict[str, Any], archive: bytes) -> dict[str, Any]:
        done = self._low_level_execute_command(f"{PYTHON} -IBc {shlex.quote(START)}", in_data=message(request, archive))
        try:
            found: dict[str, Any] = json.loads(done["stdout"].strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            said = done["stderr"].strip() or done["stdout"].strip() or "nothing"
            raise AnsibleActionFail(
                f"The program that installs the poller gave no answer (exit status {done['rc']}): {said[-2000:]}. "
                f"It needs {PYTHON} and, as another user, sudo without a password."
            ) from error
        return found
