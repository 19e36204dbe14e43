"""Rules of the repository that no linter knows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = Path(metadata.distribution("ansible").locate_file("ansible_collections"))  # type: ignore[arg-type]


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    found = [ROOT / name for name in listing.stdout.split("\0") if name]
    # A link's content is looked at where it lies.
    return [path for path in found if path.is_file() and not path.is_symlink()]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def locked() -> dict[str, str]:
    versions = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ]+)", line):
            versions[match[1]] = match[2]
    return versions


@pytest.mark.parametrize(
    "collection", yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"], ids=lambda item: item["name"]
)
def test_requirements_name_the_versions_that_are_installed(collection: dict[str, str]) -> None:
    namespace, name = collection["name"].split(".")
    manifest = yaml.safe_load((COLLECTIONS / namespace / name / "MANIFEST.json").read_text(encoding="utf-8"))
    assert collection["version"] == manifest["collection_info"]["version"]


# A module or an action, a connection or an inventory plugin, a lookup, a filter, a callback of ansible.cfg.
CALLS = re.compile(
    r"^\s+(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_0-9]+:(?:$| )"
    r"|^(?:plugin|\s*ansible_connection|callbacks_enabled):?\s*=?\s*([a-z_]+\.[a-z_]+)\.[a-z_0-9]+"
    r"|(?:lookup|query|q)\(\s*['\"]([a-z_]+\.[a-z_]+)\.[a-z_0-9]+"
    r"|\|\s*([a-z_]+\.[a-z_]+)\.[a-z_0-9]+",
    re.MULTILINE,
)
OURS = {"ansible.builtin", "smart_classroom.platform"}


def test_requirements_name_every_collection_that_is_used_and_no_other() -> None:
    files = [path for path in tracked() if path.suffix in {".yml", ".j2", ".cfg"} and path.is_file()]
    used = {name for path in files for names in CALLS.findall(text_of(path)) for name in names if name} - OURS
    installed = {f"{path.parent.name}.{path.name}" for path in COLLECTIONS.glob("*/*")}
    listed = {item["name"] for item in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]}
    assert used & installed == listed
    # Nothing that looks like a collection is unknown to Ansible.
    modules = re.compile(r"^\s+(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_0-9]+:$", re.MULTILINE)
    tasks = [path for path in files if {"tasks", "playbooks", "molecule"} & set(path.parts)]
    assert {name for path in tasks for name in modules.findall(text_of(path))} - OURS <= installed


def test_the_installed_packages_are_the_locked_ones() -> None:
    # Only what lies in the environment itself: setuptools puts its vendored copies of wheel and others on sys.path.
    site_packages = sysconfig.get_paths()["purelib"]
    installed = {
        re.sub(r"[-_.]+", "-", item.name).lower(): item.version for item in metadata.distributions(path=[site_packages])
    }
    wanted = {name: version for name, version in locked().items() if name in installed}
    assert len(wanted) > 50
    assert {name: installed[name] for name in wanted} == wanted


def test_every_group_is_in_the_lock() -> None:
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    names = {re.split(r"[\[<>=]", item)[0].lower().replace("_", "-") for items in groups.values() for item in items}
    assert names <= {name.replace("_", "-").replace(".", "-") for name in locked()}


def test_site_is_imports_only_and_fits_one_screen() -> None:
    text = (ROOT / "site.yml").read_text(encoding="utf-8")
    assert all(set(play) == {"name", "ansible.builtin.import_playbook"} for play in yaml.safe_load(text))
    assert len(text.splitlines()) <= 45


@pytest.mark.parametrize("playbook", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.name)
def test_playbooks_begin_with_what_command_and_changes(playbook: Path) -> None:
    lines = playbook.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "---"
    assert lines[1].startswith("# ")
    header = [line for line in lines[1:8] if line.startswith("#")]
    assert any(line.startswith("# Usage: ansible-playbook") for line in header)
    assert any(line.startswith("# Changes: ") for line in header)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*\.yml", playbook.name)


def test_no_address_of_a_package_registry_and_no_account() -> None:
    forbidden = [
        r"(deb|security)\.debian\.org",
        r"(files\.)?pythonhosted\.org|pypi\.org",
        r"registry\.npmjs\.org",
        r"\b(docker\.io/|ghcr\.io|quay\.io|public\.ecr\.aws)",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"arn:aws:[a-z0-9-]+:[a-z0-9-]*:(?!000000000000|123456789012)[0-9]{12}:",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}",
    ]
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if path != Path(__file__)
        for pattern in forbidden
        if (match := re.search(pattern, text_of(path)))
    ]
    assert found == []


def reads_what_it_registers(path: Path, number: int) -> bool:
    """Whether the task with this line of a role registers a result that something of the role reads."""
    lines = text_of(path).splitlines()
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    around = "\n".join(lines[max(0, number - 15) : number + 4])
    names = re.findall(rf"^{indent}register: (\w+)$", around, re.MULTILINE)
    role = [other for other in path.parents[1].rglob("*") if other.suffix in {".yml", ".j2"}]
    return bool(names) and sum(len(re.findall(rf"\b{names[-1]}\b", text_of(other))) for other in role) > 1


def test_a_failure_that_is_passed_over_is_judged_later_or_explained() -> None:
    """`failed_when: false` registers what another task reads, or has its reason beside it."""
    bare = []
    for path in tracked():
        lines = text_of(path).splitlines() if path.suffix == ".yml" else []
        for number, line in enumerate(lines):
            explained = lines[number - 1].lstrip().startswith("#")
            if line.strip() == "failed_when: false" and not explained and not reads_what_it_registers(path, number):
                bare.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert bare == []


def test_scripts_can_be_executed() -> None:
    scripts = [path for path in tracked() if text_of(path).startswith("#!/usr/bin/env")]
    assert [str(path.relative_to(ROOT)) for path in scripts if not os.access(path, os.X_OK)] == []


def test_a_clone_is_small() -> None:
    assert sum(path.stat().st_size for path in tracked()) <= 20_000_000


def test_the_samples_answers_are_those_of_the_tests() -> None:
    """tests/media holds damaged and odd clips, and links to the samples, so that a test finds all in one directory."""
    samples = json.loads((ROOT / "samples/answers.json").read_text(encoding="utf-8"))
    everything = json.loads((ROOT / "tests/media/answers.json").read_text(encoding="utf-8"))
    clips = {path.name for path in (ROOT / "samples").glob("*.mp4")}
    assert set(samples) == clips
    assert {name: everything[name] for name in clips} == samples
    for name in (*clips, "students", "students.csv"):
        assert (ROOT / "tests/media" / name).resolve() == ROOT / "samples" / name
