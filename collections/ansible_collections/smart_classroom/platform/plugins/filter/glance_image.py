"""The name under which a built image is kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def glance_image_content_key(directory: str) -> str:
    """Sixteen hex digits that change when a file below ``directory`` does: its name, mode or content.

    What Python compiles beside its sources does not count.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"no directory {directory}")
    digest = hashlib.sha256()
    for path in sorted(item for item in root.rglob("*") if item.is_file() and "__pycache__" not in item.parts):
        content = path.read_bytes()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(root)}\0{executable}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


class FilterModule:
    """Filters of the role glance_image."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"glance_image_content_key": glance_image_content_key}
