"""The glossary of tools/lint-prose: slips are found where people read, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lint(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text, encoding="utf-8")
    command = [str(ROOT / "tools/lint-prose"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A command that mends it.\n", "mends"),
        ("Make it anew.\n", "anew"),
        ("The part is sick.\n", "sick"),
        ("The container engine runs.\n", "container engine"),
    ],
)
def test_a_slip_in_markdown_is_found_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    done = lint(tmp_path / "page.md", "# Title\n\n" + text)
    assert done.returncode == 1
    assert f"page.md:3: '{words}'" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "- name: Have the network\n",
        "    - name: See whether it runs\n",
        "- name: Forget the host keys\n",
        "# What mends it.\n",
        "  msg: Log in anew.\n",
    ],
)
def test_a_slip_in_yaml_is_found(tmp_path: Path, text: str) -> None:
    assert lint(tmp_path / "tasks.yml", f"---\n{text}").returncode == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "`mend` is a command.\n\n```console\nmake anew\n```\n[link](mend.md)\n"),
        ("tasks.yml", "---\n- name: Ensure the network exists\n  command: forget  # again\n- name: '{{ mend }}'\n"),
        ("page.md", "Recommend amendments; the students have the records as well.\n"),
    ],
)
def test_plain_sentences_and_code_are_left_alone(tmp_path: Path, name: str, text: str) -> None:
    done = lint(tmp_path / name, text)
    assert (done.returncode, done.stdout) == (0, "")
