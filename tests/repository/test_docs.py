"""Links in the documentation lead somewhere, and what it says about files is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What a fragment may name, as GitHub makes it of a heading."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        waiting += [
            (page.parent / link.partition("#")[0]).resolve() for link in links if not re.match(r"[a-z]+:|#", link)
        ]
    assert set((ROOT / "docs").glob("*.md")) <= seen


def test_from_site_to_the_floating_ip_in_three_files() -> None:
    """The walk that docs/architecture.md describes."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## From site.yml to a task")[2]
    walk = [ROOT / "docs" / link for link in LINK.findall(text.partition("\n## ")[0])]
    assert len(walk) == 3
    site, playbook, tasks = (path.resolve() for path in walk)
    imported = [one["ansible.builtin.import_playbook"] for one in yaml.safe_load(site.read_text(encoding="utf-8"))]
    assert str(playbook.relative_to(ROOT)) in imported
    assert tasks.parents[1].name in playbook.read_text(encoding="utf-8")
    assert f"tasks_from: {tasks.stem}" in playbook.read_text(encoding="utf-8")
    assert "openstack.cloud.floating_ip:" in tasks.read_text(encoding="utf-8")


def commands() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    used = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert used <= commands()
    for name in re.findall(r"(?<![/\w])(?:bin|tools)/([a-z-]+)\b(?!/)", text):
        assert (ROOT / "bin" / name).exists() or (ROOT / "tools" / name).exists(), name


def test_every_result_that_is_kept_has_a_reader() -> None:
    text = (ROOT / "docs/development.md").read_text(encoding="utf-8").partition("## Measure")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    named = sorted(name for row in rows for name in re.findall(r"`(\w+\.json)`", row[1]))
    assert named == sorted(path.name for path in (ROOT / "benchmarks/results").iterdir())
    assert all(len(row) == 5 and row[3].strip() for row in rows)
