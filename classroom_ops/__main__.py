"""Entry point of ``python -m classroom_ops``."""

from __future__ import annotations

import sys

from classroom_ops.cli import main

sys.exit(main())
