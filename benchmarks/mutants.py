"""How many planted mistakes do the tests notice? Mutation testing of the modules that decide.

Usage: mutants.py [--minutes N] [--jobs N] [PART ...]

A part is a table ``[tool.smart-classroom.mutants.<part>]`` of pyproject.toml; without one, all are run. mutmut makes
the mistakes; each is tried in a process of its own, forked from one that has imported everything, with the tests that
reach the function, the quickest first, until one fails. mutmut's own runner is not used: it ends a test run by the
clock and counts it as noticed, so a busy machine looks like a good test. Here the limit is processor time, and what
ends so is counted apart.

The order is random (seed 1): what is tried in `--minutes` for each module is a sample, published with its interval.
mutmut mutates bodies of functions. It leaves out module constants, annotations, docstrings, and whatever has a
decorator (data classes, properties, class methods). Texts of logs and messages are included.

Figures go to benchmarks/results/mutants.json; those of parts that are not run stay. The exit code is 1 when a module
notices fewer than `WANTED` of the mistakes.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libcst
import mutmut
import pytest
from mutmut.__main__ import read_mutant_function, read_original_function
from mutmut.file_mutation import mutate_file_contents

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
WANTED = 0.9
_SEED = 1
_PROCESSOR_SECONDS = 60  # all tests of a part take less than ten
_WALL_SECONDS = 600  # for a mistake that makes a test wait for ever
_PYTEST = """\
[tool.pytest.ini_options]
addopts = "-x -q -p no:cacheprovider -p no:xdist --strict-markers"
pythonpath = ["."]
"""


def plant(part: dict[str, Any], directory: Path) -> dict[str, list[str]]:
    """Fill `directory` with the part's packages, mistakes in them, and tests; returns the mistakes of each module."""
    shutil.rmtree(directory, ignore_errors=True)
    tests = directory / "tests"
    tests.mkdir(parents=True)
    (directory / "tmp").mkdir()
    skipped = shutil.ignore_patterns("__pycache__")
    for package in part["packages"]:
        shutil.copytree(ROOT / package, directory / Path(package).name, ignore=skipped)
    for name in part["tests"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tests / Path(name).name)
    for name in part.get("data", []):
        place = directory.parent / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=skipped, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, place)
    shutil.copy(ROOT / "conftest.py", directory)
    (directory / "pyproject.toml").write_text(_PYTEST)
    planted: dict[str, list[str]] = {}
    for module in sorted(
        str(path.relative_to(directory)) for name in part["mutate"] for path in _modules(directory / name)
    ):
        code, names = mutate_file_contents(module, (directory / module).read_text())
        if names:
            (directory / module).write_text(code)
            planted[module] = [f"{module.removesuffix('.py').replace('/', '.')}.{name}" for name in names]
    return planted


def _modules(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


class _Reach:
    """A plugin of pytest that finds out which test calls which function, and how long each takes."""

    def __init__(self) -> None:
        self.tests: defaultdict[str, dict[str, float]] = defaultdict(dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        mutmut._stats.clear()
        begin = time.monotonic()
        result = yield
        for function in mutmut._stats:
            self.tests[function][item.nodeid] = time.monotonic() - begin
        return result


def _child(mutant: str, arguments: list[str], directory: Path, plugins: list[Any]) -> int:
    """What a forked process does: run these tests with this mistake; returns pytest's exit code."""
    os.environ["MUTANT_UNDER_TEST"] = mutant
    return int(pytest.main([*arguments, "--basetemp", str(directory / "tmp" / str(os.getpid()))], plugins=plugins))


def _fork(mutant: str, arguments: list[str], directory: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        used = math.ceil(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + _PROCESSOR_SECONDS, used + _PROCESSOR_SECONDS + 5))
        code = _child(mutant, arguments, directory, [])
    finally:
        os._exit(code)


def reach(directory: Path) -> dict[str, list[str]]:
    """Run all tests without a mistake; returns for each function the tests that call it, the quickest first.

    Raises:
        SystemExit: they fail.
    """
    answer, sender = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        seen = _Reach()
        code = _child("stats", ["tests"], directory, [seen])
        sender.send((code, {name: sorted(tests, key=tests.__getitem__) for name, tests in seen.tests.items()}))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    sender.close()
    code, tests = answer.recv()
    process.join()
    if code:
        raise SystemExit(f"the tests fail without a mistake, in {directory}")
    found: dict[str, list[str]] = tests
    return found


def attempt(
    names: list[str], tests: dict[str, list[str]], directory: Path, jobs: int, minutes: float
) -> dict[str, str]:
    """Try mistakes in random order; returns what became of each: ``noticed``, ``time`` or ``survived``."""
    waiting = random.Random(_SEED).sample(names, len(names))  # noqa: S311 an order that can be repeated
    running: dict[int, tuple[str, float]] = {}
    became: dict[str, str] = {}
    end = time.monotonic() + 60 * minutes
    while running or (waiting and time.monotonic() < end):
        while waiting and len(running) < jobs and time.monotonic() < end:
            name = waiting.pop()
            reached = tests.get(name.partition("__mutmut_")[0])
            if reached:
                running[_fork(name, reached, directory)] = (name, time.monotonic() + _WALL_SECONDS)
            else:
                became[name] = "survived"
        for pid, (name, limit) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done and time.monotonic() > limit:
                os.kill(pid, 9)
                done, status = os.waitpid(pid, 0)
            if done:
                del running[pid]
                code = os.waitstatus_to_exitcode(status)
                became[name] = "time" if code < 0 else "noticed" if code else "survived"
                sys.stderr.write(f"{name} {became[name]}\n")
        time.sleep(0.02)
    return became


def figures(planted: int, became: dict[str, str]) -> dict[str, Any]:
    """Mistakes planted, tried, noticed (`by_time`: those among them by an endless loop), and the share that was not."""
    tried = len(became)
    survived = sum(one == "survived" for one in became.values())
    found: dict[str, Any] = {
        "planted": planted,
        "tried": tried,
        "noticed": tried - survived,
        "by_time": sum(one == "time" for one in became.values()),
        "surviving_rate": round(survived / tried, 4) if tried else None,
    }
    if 0 < tried < planted:
        # Wilson's interval, 95 %.
        z, rate = 1.96, survived / tried
        middle = (rate + z * z / (2 * tried)) / (1 + z * z / tried)
        half = z / (1 + z * z / tried) * math.sqrt(rate * (1 - rate) / tried + z * z / (4 * tried * tried))
        found["interval"] = [round(max(0.0, middle - half), 4), round(middle + half, 4)]
    return found


def difference(directory: Path, module: str, names: list[str]) -> list[str]:
    """The lines that each of these mistakes changes."""
    if not names:
        return []
    tree = libcst.parse_module((directory / module).read_text())
    found = []
    for name in sorted(names):
        before, after = (
            libcst.Module([read(tree, name)]).code.strip().splitlines()
            for read in (read_original_function, read_mutant_function)
        )
        changed = [line for line in unified_diff(before, after, n=0, lineterm="") if line[:2] not in ("--", "++", "@@")]
        found.append(f"{name.rpartition('.')[2]}: " + " ".join(" ".join(line.split()) for line in changed))
    return found


def run(name: str, part: dict[str, Any], jobs: int, minutes: float) -> None:
    """One part, in a process of its own: plants, tries, and writes its figures."""
    directory = ROOT / ".cache" / "mutants" / name / "code"
    planted = plant(part, directory)
    os.chdir(directory)
    os.environ["MUTANT_UNDER_TEST"] = ""
    mutmut.config = SimpleNamespace(max_stack_depth=-1)
    # Collecting imports everything that the forked processes then share, and starts no thread.
    if pytest.main(["--collect-only", "-qq", "tests"]):
        raise SystemExit(f"the tests cannot be collected in {directory}")
    tests = reach(directory)
    found: dict[str, Any] = {}
    for module, names in planted.items():
        became = attempt(names, tests, directory, jobs, minutes)
        survivors = [one for one, what in became.items() if what == "survived"]
        found[module] = {**figures(len(names), became), "survivors": difference(directory, module, survivors)}
        sys.stdout.write(f"  {module:<40} {found[module]['noticed']:>4} of {len(became):>4} noticed\n")
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = results.get(name, {}) | found
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=2, ensure_ascii=False) + "\n")


def main() -> int:
    """Run the parts; returns the exit code."""
    parts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["smart-classroom"]["mutants"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts)}")
    parser.add_argument("--jobs", type=int, default=1, help="mistakes tried at the same time (1)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each module (until all are tried)")
    arguments = parser.parse_args()
    chosen = arguments.parts or list(parts)
    if unknown := set(chosen) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    RESULTS.parent.mkdir(exist_ok=True)
    for name in chosen:
        process = multiprocessing.get_context("fork").Process(
            target=run, args=(name, parts[name], arguments.jobs, arguments.minutes)
        )
        process.start()
        process.join()
        if process.exitcode:
            return 1
    results = json.loads(RESULTS.read_text())
    rates = [one["surviving_rate"] for name in chosen for one in results[name].values()]
    return int(any(rate is None or rate > 1 - WANTED for rate in rates))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
