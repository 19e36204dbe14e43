"""Vars plugin ``closed_run``: runs see few of the shell's variables, and only one at a time changes an environment."""

from __future__ import annotations

DOCUMENTATION = r"""
name: closed_run
author: Smart Classroom (@smart-classroom)
short_description: Close the environment of a run, and take the environment's lock
description:
  - Before the first play of a playbook of this project, C(ansible-playbook) begins again with the variables that
    C(classroom_ops/closed.py) lets pass, so it does not matter whether C(make) or a person started it. Scenarios of
    molecule, which hands its settings over in variables, are closed in place.
  - It stands beside the playbooks, and for site.yml again in the root, because Ansible takes what stands there whatever
    its configuration says. A plugin that ansible.cfg names is not found where a variable names another ansible.cfg.
  - Takes the lock of the environment (C(.state/<environment>.lock)) unless the playbooks only look at it. The run that
    comes second ends before it does anything and says which process it met.
  - It provides no variables. Playbooks outside of the project are left alone.
options:
  stage:
    description: When it runs. Before the first play, while there is nothing that a second beginning could leave behind.
    type: str
    choices: [inventory]
    default: inventory
"""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleOptionsError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import load_extra_vars

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from classroom_ops import closed, meeting

# Playbooks that change nothing. verify-pipeline sends a clip of its own and removes it.
LOOKING = frozenset({"check-prerequisites", "verify-parts", "verify-pipeline", "show-costs"})
_OF_A_SCENARIO = ("ANSIBLE_", "MOLECULE_", "SCENARIO_", "PYTHON")


def playbooks_of(arguments: Any) -> list[str]:
    """The names of those of the command's arguments that are playbooks of the project."""
    paths = [Path(argument).resolve() for argument in arguments] if isinstance(arguments, list | tuple) else []
    return [path.stem for path in paths if path == ROOT / "site.yml" or path.parent == ROOT / "playbooks"]


def runs(options: Any) -> bool:
    """Whether any task will run."""
    return not any(options.get(name) for name in ("syntax", "listhosts", "listtasks", "listtags"))


def changes(playbooks: list[str], options: Any, given: dict[str, Any]) -> bool:
    """Whether a run may change something. A teardown without a confirmation only shows its plan."""
    return not options.get("check") and any(
        name not in LOOKING and (name != "teardown" or "confirm" in given) for name in playbooks
    )


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Does both once, before the first play."""

    _done = False
    _lock: TextIOWrapper | None = None

    def get_vars(self, loader: DataLoader, _path: str, _entities: Any) -> dict[str, Any]:
        """Provides nothing.

        Raises:
            AnsibleOptionsError: another run changes the environment.
        """
        if not VarsModule._done:
            VarsModule._done = True
            environment = closed.environment_of(context.CLIARGS.get("inventory") or constants.DEFAULT_HOST_LIST)
            playbooks = playbooks_of(context.CLIARGS.get("args"))
            if "MOLECULE_FILE" in os.environ:
                self._close_scenario()
            elif playbooks and runs(context.CLIARGS):
                closed.close(environment)
                given = load_extra_vars(loader)
                if changes(playbooks, context.CLIARGS, given):
                    self._take_lock(Path(given.get("smart_classroom_state_dir") or ROOT / ".state" / environment))
        return {}

    @staticmethod
    def _close_scenario() -> None:
        passed = {name: text for name, text in os.environ.items() if name.startswith(_OF_A_SCENARIO)}
        wanted = closed.closed(os.environ, closed.LOCAL) | passed
        os.environ.clear()
        os.environ.update(wanted)

    @staticmethod
    def _take_lock(state_dir: Path) -> None:
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        try:
            VarsModule._lock = meeting.take(state_dir, command)
        except meeting.AnotherRunError as error:
            raise AnsibleOptionsError(str(error)) from None
        except OSError as error:
            raise AnsibleOptionsError(
                f"{meeting.lock_file(state_dir)} cannot be written ({error.strerror}): did another user run this?"
            ) from error
