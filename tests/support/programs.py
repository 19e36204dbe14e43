"""The repository's programs (of roles, `bin/`, `tools/`) as modules; no import statement can name their paths."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """A fresh module of the program at `path`, relative to the repository.

    As Python does for a program that is started, modules beside it can be imported.
    """
    file = ROOT / path
    name = file.stem.replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, str(file))
    specification = importlib.util.spec_from_loader(name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    if str(file.parent) not in sys.path and file.suffix == ".py":
        sys.path.insert(0, str(file.parent))
    sys.modules[name] = module
    loader.exec_module(module)
    return module
