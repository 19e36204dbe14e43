"""Entry point of ``python -m classroom_ops``: closes the environment before it imports what a shell could replace."""

from __future__ import annotations

import argparse
import sys

from classroom_ops import closed

beginning = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
beginning.add_argument("--environment", default=closed.LOCAL)
closed.close(beginning.parse_known_args()[0].environment)

from classroom_ops.cli import main  # noqa: E402

sys.exit(main())
