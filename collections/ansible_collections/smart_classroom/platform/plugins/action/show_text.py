"""Action plugin ``show_text``: text for a person, without the frame that ``debug`` puts around it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Print ``text`` as it is."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={"text": {"type": "str", "required": True}})
        Display().display("\n" + arguments["text"])
        return {**result, "changed": False}
