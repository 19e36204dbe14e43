"""Evaluates a variable of a role as Ansible does, with facts and registered results that a test gives."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def _load_plugins() -> None:
    """Has Ansible find the collection's filters, also after a test has imported them as plain Python."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
        del sys.modules[name]
    init_plugin_loader([str(ROOT / "collections")])


def evaluate(role: str, expression: str, **variables: Any) -> Any:
    """The value of a Jinja expression among the role's defaults, its variables and ``variables``, which win."""
    _load_plugins()
    directory = ROOT / "roles" / role
    loader = DataLoader()
    known: dict[str, Any] = {
        "ansible_check_mode": False,
        "ansible_search_path": [str(directory)],
        "role_path": str(directory),
    }
    for name in ("defaults", "vars"):
        known |= loader.load_from_file(str(directory / name / "main.yml"), trusted_as_template=True) or {}
    return Templar(loader=loader, variables=known | variables).template(trust_as_template("{{ " + expression + " }}"))
