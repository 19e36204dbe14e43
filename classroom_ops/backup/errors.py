"""What can be wrong with a backup."""

from __future__ import annotations

from classroom_ops.errors import OpsError


class BackupError(OpsError):
    """The archive cannot be written or cannot be used; nothing was changed in the environment."""
