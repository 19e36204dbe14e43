"""How many planted mistakes do the tests notice? Mutation testing of the modules that decide, with mutmut.

Usage: mutants.py [PART ...]

A part is a table ``[tool.smart-classroom.mutants.<part>]`` of pyproject.toml; without one, all are run. Figures go to
benchmarks/results/mutants.json; those of parts that are not run stay. The exit code is 1 when a part notices fewer than
`WANTED` of its mistakes. `mutmut results` and `mutmut show NAME`, in the directory that is printed, show what survived.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
WANTED = 0.9
# mutmut's exit codes of a mutant: 0 no test failed; 33 no test reaches it; a test failed, or the time was up.
_SURVIVED, _UNTESTED = 0, 33

_CONFIGURATION = """\
[tool.mutmut]
paths_to_mutate = {changed}
do_not_mutate = {spared}
tests_dir = ["tests"]
also_copy = {copied}

[tool.pytest.ini_options]
addopts = "-q -p no:cacheprovider -p no:xdist --strict-markers"
pythonpath = ["."]
"""


# This mutmut reads an attribute that pytest has renamed.
_NODE_IDS = """

def pytest_collection_modifyitems(items):
    for item in items:
        item._nodeid = item.nodeid
"""


def lay_out(part: dict[str, Any], directory: Path) -> None:
    """Fill `directory` with the part's packages and tests, and mutmut's settings."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    skipped = shutil.ignore_patterns("__pycache__")
    for package in part["packages"]:
        source = ROOT / package
        shutil.copytree(source, directory / source.name, ignore=skipped)
    # A package with mistakes is copied by mutmut as a whole, and must not be copied over them.
    names = {Path(package).name for package in part["packages"]}
    changed = {Path(name).parts[0] for name in part["mutate"]}
    files = {str(path.relative_to(directory)) for name in changed for path in (directory / name).rglob("*.py")}
    spared = [name for name in files if not any(Path(name).is_relative_to(one) for one in part["mutate"])]
    tests = directory / "tests"
    tests.mkdir()
    for name in part["tests"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tests / source.name, ignore=skipped)
        else:
            shutil.copy(source, tests / source.name)
    for name in part.get("data", []):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    (directory / "conftest.py").write_text((ROOT / "conftest.py").read_text() + _NODE_IDS)
    text = _CONFIGURATION.format(
        changed=json.dumps(sorted(changed)),
        spared=json.dumps(sorted(spared)),
        copied=json.dumps([*sorted(names - changed), "conftest.py", "tests"]),
    )
    (directory / "pyproject.toml").write_text(text)


def run(directory: Path, jobs: int) -> None:
    """Plant every mistake, `jobs` at a time. Raises SystemExit when mutmut itself fails."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(jobs)]
    with (directory / "log").open("w") as log:
        code = subprocess.run(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SystemExit(f"mutmut failed, see {directory / 'log'}")


def figures(directory: Path) -> dict[str, dict[str, Any]]:
    """For each module: mistakes planted, noticed, and the share of those that were not."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((directory / "mutants").rglob("*.meta")):
        codes = Counter(json.loads(path.read_text())["exit_code_by_key"].values())
        total = sum(codes.values())
        if not total:
            continue
        survived = codes[_SURVIVED] + codes[_UNTESTED]
        name = str(path.relative_to(directory / "mutants")).removesuffix(".meta")
        found[name] = {"planted": total, "noticed": total - survived, "surviving_rate": round(survived / total, 4)}
    return found


def main() -> int:
    """Run the parts; returns the exit code."""
    parts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["smart-classroom"]["mutants"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts)}")
    parser.add_argument("--jobs", type=int, default=1, help="mistakes tried at the same time (1)")
    arguments = parser.parse_args()
    chosen = arguments.parts or list(parts)
    if unknown := set(chosen) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    too_few = False
    for name in chosen:
        directory = ROOT / ".cache" / "mutants" / name
        lay_out(parts[name], directory)
        sys.stdout.write(f"{name}: {directory}\n")
        run(directory, arguments.jobs)
        results[name] = figures(directory)
        planted = sum(one["planted"] for one in results[name].values())
        noticed = sum(one["noticed"] for one in results[name].values())
        too_few = too_few or noticed < WANTED * planted
        for module, one in results[name].items():
            sys.stdout.write(f"  {module:<40} {one['noticed']:>4} of {one['planted']:>4} noticed\n")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=2) + "\n")
    return int(too_few)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
