"""The project's own collection: documented for ansible-doc, and called by its full name only."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAME = "smart_classroom.platform"
COLLECTION = ROOT / "collections/ansible_collections/smart_classroom/platform"
MODULES = sorted(path.stem for path in (COLLECTION / "plugins/modules").glob("*.py"))
LOOKUPS = sorted(path.stem for path in (COLLECTION / "plugins/lookup").glob("*.py"))
# What a file of filters offers stands in its last dictionary.
FILTERS = sorted(
    name
    for path in (COLLECTION / "plugins/filter").glob("*.py")
    for name in re.findall(r'"(\w+)": \w+', path.read_text(encoding="utf-8").rpartition("def filters")[2])
)


def ansible_doc(kind: str, *names: str) -> dict[str, Any]:
    full = [f"{NAME}.{name}" for name in names]
    done = subprocess.run(
        ["ansible-doc", "--type", kind, "--json", *full],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("kind", "names"), [("module", MODULES), ("filter", FILTERS), ("lookup", LOOKUPS)])
def test_ansible_doc_knows_each_from_the_repositorys_root(kind: str, names: list[str]) -> None:
    assert names
    found = ansible_doc(kind, *names)
    assert set(found) == {f"{NAME}.{name}" for name in names}
    for name, documentation in found.items():
        assert documentation["doc"]["short_description"], name
        assert re.fullmatch(r"\w[\w ]+ \(@[\w-]+\)", "".join(documentation["doc"]["author"])), name
        assert f"{NAME}." in documentation["examples"], name


def yaml_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.yml", "*.yaml", "*.j2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_nothing_is_called_by_a_short_name() -> None:
    module = re.compile(rf"^\s+(?:- )?({'|'.join(MODULES)}):(?: .*)?$", re.MULTILINE)
    filters = re.compile(rf"\|\s*({'|'.join(FILTERS)})\b")
    lookups = re.compile(rf"(?:lookup|query|q)\(\s*['\"]({'|'.join(LOOKUPS)})['\"]")
    short = [
        f"{path.relative_to(ROOT)}: {match[1]}"
        for path in yaml_files()
        if COLLECTION not in path.parents
        for pattern in (module, filters, lookups)
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert short == []


def test_action_groups_hold_what_speaks_to_each_kind_of_cloud() -> None:
    groups = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    texts = {name: (COLLECTION / f"plugins/modules/{name}.py").read_text(encoding="utf-8") for name in MODULES}
    assert groups["aws"] == [name for name in MODULES if "module_utils.aws_clients" in texts[name]]
    assert groups["openstack"] == [name for name in MODULES if re.search(r"^  cloud:$", texts[name], re.MULTILINE)]


def test_each_module_is_justified_in_the_documentation() -> None:
    text = (ROOT / "docs/modules.md").read_text(encoding="utf-8").partition("## What replaced")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    assert [row[0].strip("`") for row in rows] == MODULES
    assert all(len(row) == 4 and all(row) for row in rows)


def test_the_collection_stays_small() -> None:
    """What a published module does is not written again; what is no module by nature is no plugin."""
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in (COLLECTION / "plugins").rglob("*.py")
    }
    assert len(MODULES) <= 20
    assert sum(lines.values()) <= 5250
    assert [path.name for path, count in lines.items() if count > 350] == []
