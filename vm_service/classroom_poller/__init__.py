"""The service on the VM: hands uploaded videos to the function and keeps the answers."""

from __future__ import annotations

__version__ = "1.0.0"
