"""What an environment holds on the controller, from what the engine and the kernel answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

BRIDGES = Path("/sys/class/net")


def held_on_machine(answers: Mapping[str, Any], state_dir: str, bridge: str) -> list[str]:
    """One `kind name` for each thing, in the order in which a person would look for them.

    Args:
        answers: ``docker``, a list of what ``docker_host_info`` returned, without what the engine did not answer;
            ``routes``, the output of ``ip -json route``; ``mounts``, paths; ``processes`` as ``pgrep --list-name``
            shows them, and ``working``, the ``PID/cwd`` of those that work in the state directory.
        state_dir: the environment's directory, an absolute path.
        bridge: the interface of the containers' network.
    """

    def names(kind: str, key: str) -> list[str]:
        values = [thing[key] for answer in answers["docker"] for thing in answer.get(kind) or []]
        # The engine lists the names of a container, each after a slash.
        each = [name for value in values for name in ([value] if isinstance(value, str) else value)]
        return sorted({name.removeprefix("/") for name in each})

    found: dict[str, Iterable[str]] = {
        "container": names("containers", "Names"),
        "network": names("networks", "Name"),
        "volume": names("volumes", "Name"),
        "route": [route["dst"] for route in json.loads(answers["routes"] or "[]")],
        "interface": [bridge] if (BRIDGES / bridge).exists() else [],
        "mount": [path for path in answers["mounts"] if Path(path).is_relative_to(state_dir)],
        "process": answers["processes"] + [f"{one.removesuffix('/cwd')} works there" for one in answers["working"]],
        "directory": [state_dir] if Path(state_dir).exists() else [],
    }
    return [f"{kind} {name}" for kind, things in found.items() for name in things]


def cached_images(images: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each tag of the engine's ``images`` with its size."""
    return sorted(f"{tag} ({image['Size'] // 1_000_000} MB)" for image in images for tag in image["RepoTags"] or [])


class FilterModule:
    """Filters of the role control_node."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"cached_images": cached_images, "held_on_machine": held_on_machine}
