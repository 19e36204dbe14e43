"""The passphrase of an archive: from a file or the environment, never from a command line, which others can see."""

from __future__ import annotations

import os
from pathlib import Path

from classroom_ops.errors import UsageError

VARIABLE = "BACKUP_PASSPHRASE"
_LEAST = 8  # letters; what is shorter is tried out in hours, however long a try takes


def passphrase(file: str) -> str:
    """The passphrase in `file`, else in the environment, else empty. Raises UsageError for one that is none."""
    if file:
        try:
            found = Path(file).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the passphrase's file {file} cannot be read: {error}") from error
    else:
        found = os.environ.get(VARIABLE, "")
    if (file or found) and len(found) < _LEAST:
        raise UsageError(f"the passphrase has {len(found)} letters: take one of {_LEAST} or more")
    return found
