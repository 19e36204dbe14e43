"""What tests of the service and scenarios of its role share."""

from __future__ import annotations

import sys
from pathlib import Path

# In a checkout the contract lies at the project's root; on a machine it lies beside the service.
sys.path.append(str(Path(__file__).resolve().parents[2]))
