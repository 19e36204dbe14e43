"""How right the decision is on the faces of thousands of people, and for whom (the second part of make evaluate).

Usage: python benchmarks/faces.py [--faces DIRECTORY] [--output DIRECTORY]

The directory, or the environment variable SMART_CLASSROOM_FACES, holds development.npz: `encodings` (n x 128),
`identity`, `good` (fit to be enrolled) and `group` (LFW: people with several photos; EA, EU, SA: people of East Asian,
European and South Asian origin with one photo each). Without one nothing is done. Classes are drawn at random from one
group; everybody else of the group is a stranger to them, and the other photos of the class are looked for, each alone:
a clip, where many looks are averaged, is easier.

Writes benchmarks/results/faces.json and docs/images/faces.png. The exit code is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lambda_src")]

from recognition.matching import Confidence, Gallery, Rule  # noqa: E402 - after the path

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the backend

GROUPS = {"LFW": "press photos (LFW)", "EA": "East Asian", "EU": "European", "SA": "South Asian"}
GALLERIES = {5: 160, 10: 100, 30: 60, 100: 24}  # how many are drawn, by the number of students
STRANGERS = 200  # of each gallery
PROBES = 2  # other photos of each student
RULES = ("sure", "probable", "nearest within 0.6")
# (group, rule, what, highest part) in a class of 30 with one photo each.
TARGETS = (
    ("LFW", "sure", "strangers_named", 0.001),
    ("LFW", "probable", "strangers_named", 0.01),
    ("EA", "sure", "strangers_named", 0.003),
    ("LFW", "probable", "missed", 0.12),
)
SEED = 2026
RESAMPLED = 500

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Faces:
    """Encodings of people whose names are not known."""

    encodings: npt.NDArray[np.float64]
    photos: dict[str, dict[int, Indices]]  # by group and person
    good: Flags

    @classmethod
    def read(cls, path: Path) -> Faces:
        """Reads the file."""
        with np.load(path) as file:
            identity, group = file["identity"], file["group"]
            photos = {
                name: {
                    int(one): np.flatnonzero((identity == one) & (group == name))
                    for one in np.unique(identity[group == name])
                }
                for name in GROUPS
            }
            return cls(file["encodings"].astype(np.float64), photos, file["good"])


@dataclass
class Trials:
    """Faces shown to galleries. `answers` (3 x n) has the index of the student each rule named, or -1."""

    gallery: Indices
    person: Indices
    student: Indices  # who it is in the gallery, -1 for a stranger
    answers: Indices


def run(faces: Faces, group: str, students: int, photos: int) -> Trials:
    """Draws galleries and shows faces to them."""
    generator = np.random.default_rng((SEED, list(GROUPS).index(group), students, photos))
    people = faces.photos[group]
    fit = [
        person
        for person, rows in people.items()
        if faces.good[rows].sum() >= photos and (group != "LFW" or len(rows) > photos)
    ]
    rule = Rule()
    rows: list[tuple[int, int, int, int, int, int]] = []
    for number in range(GALLERIES[students]):
        enrolled = [int(person) for person in generator.permutation(fit)[:students]]
        gallery, shown = _gallery(faces, people, enrolled, photos, generator)
        strangers = [person for person in people if person not in set(enrolled)]
        for person in generator.permutation(strangers)[:STRANGERS]:
            shown.append((int(person), -1, int(generator.choice(people[int(person)]))))
        for person, student, row in shown:
            match = gallery.nearest(faces.encodings[row])
            assert match is not None  # noqa: S101 - somebody is enrolled
            named = int(match.name)
            confidence = rule.confidence(match.distance, match.margin, match.relative)
            rows.append(
                (
                    number,
                    person,
                    student,
                    named if confidence is Confidence.SURE else -1,
                    named if confidence else -1,
                    named if match.distance <= 0.6 else -1,
                )
            )
    table = np.array(rows, dtype=np.int64)
    return Trials(table[:, 0], table[:, 1], table[:, 2], table[:, 3:].T)


def _gallery(
    faces: Faces, people: dict[int, Indices], enrolled: Sequence[int], photos: int, generator: np.random.Generator
) -> tuple[Gallery, list[tuple[int, int, int]]]:
    """Returns the gallery, and (person, student, row) of other photos of those who are in it."""
    students: list[tuple[str, npt.NDArray[np.float64]]] = []
    shown: list[tuple[int, int, int]] = []
    for student, person in enumerate(enrolled):
        rows = generator.permutation(people[person])
        rows = rows[np.argsort(~faces.good[rows], kind="stable")]  # the good ones first
        students.append((str(student), faces.encodings[rows[:photos]]))
        rest = generator.permutation(rows[photos:])[:PROBES]
        shown += [(person, student, int(row)) for row in rest]
    return Gallery(students), shown


def part(wrong: Flags, trials: Trials, among: Flags) -> dict[str, float] | None:
    """Returns the part that went wrong, with its 95 % interval: bootstrap over galleries and over people, the wider."""
    if not among.any():
        return None
    generator = np.random.default_rng(SEED)
    lows, highs = [], []
    for unit in (trials.gallery[among], trials.person[among]):
        _, unit = np.unique(unit, return_inverse=True)
        bad, of = np.bincount(unit, weights=wrong[among]), np.bincount(unit)
        weights = generator.multinomial(len(of), np.full(len(of), 1 / len(of)), size=RESAMPLED)
        rates = (weights @ bad) / (weights @ of)
        low, high = np.quantile(rates, (0.025, 0.975))
        lows.append(low)
        highs.append(high)
    return {
        "part": round(float(wrong[among].mean()), 6),
        "low": round(float(min(lows)), 6),
        "high": round(float(max(highs)), 6),
        "trials": int(among.sum()),
    }


def evaluate(faces: Faces) -> Iterator[dict[str, Any]]:
    """Yields a row for each group, class and rule."""
    for group in GROUPS:
        for photos in (1, 3) if group == "LFW" else (1,):
            for students in GALLERIES:
                trials = run(faces, group, students, photos)
                stranger = trials.student < 0
                for rule, answers in zip(RULES, trials.answers, strict=True):
                    yield {
                        "group": group,
                        "students": students,
                        "photos": photos,
                        "rule": rule,
                        "strangers_named": part(answers >= 0, trials, stranger),
                        "missed": part(answers != trials.student, trials, ~stranger),
                        "misnamed": part((answers >= 0) & (answers != trials.student), trials, ~stranger),
                    }


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draws the strangers named by group and rule, and the students missed."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4))
    colours = dict(zip(GROUPS, ("tab:blue", "tab:red", "tab:green", "tab:orange"), strict=True))
    for axis, rule in zip(axes[:2], ("sure", "probable"), strict=True):
        for group, label in GROUPS.items():
            for name, style in ((rule, "-"), ("nearest within 0.6", ":")):
                _line(
                    axis,
                    _pick(rows, group, 1, name),
                    "strangers_named",
                    colours[group],
                    style,
                    label if style == "-" else None,
                )
        axis.axhline({"sure": 0.1, "probable": 1.0}[rule], color="grey", linewidth=0.8)
        axis.set(
            title=f"Strangers named: {rule} (dotted: nearest within 0.6)",
            ylabel="% of strangers",
            yscale="log",
            ylim=(0.004, 110),
        )
    for photos, shade in ((1, "tab:blue"), (3, "tab:cyan")):
        for rule, style in (("sure", "--"), ("probable", "-"), ("nearest within 0.6", ":")):
            label = f"{rule}, {photos} photo{'s' if photos > 1 else ''}"
            _line(axes[2], _pick(rows, "LFW", photos, rule), "missed", shade, style, label)
    axes[2].set(title="Students missed in one look (LFW)", ylabel="% of photos", ylim=(0, 50))
    for axis in axes:
        axis.set(xlabel="students in the class", xscale="log", xlim=(4.5, 112))
        axis.set_xticks(list(GALLERIES), [str(number) for number in GALLERIES])
        axis.minorticks_off()
    axes[1].legend(fontsize=8, loc="lower left")
    axes[2].legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _pick(rows: Sequence[dict[str, Any]], group: str, photos: int, rule: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["group"], row["photos"], row["rule"]) == (group, photos, rule)]


def _line(axis: Any, rows: Sequence[dict[str, Any]], what: str, colour: str, style: str, label: str | None) -> None:
    x = [row["students"] for row in rows]
    y, low, high = ([100 * row[what][key] for row in rows] for key in ("part", "low", "high"))
    axis.plot(x, y, style, color=colour, label=label, marker="o", markersize=3)
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def missed_targets(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the targets that are not reached."""
    return [
        f"{GROUPS[group]}, {rule}, {what}: {100 * row[what]['part']:.2f} %, at most {100 * limit:.2f} % is wanted"
        for group, rule, what, limit in TARGETS
        for row in _pick(rows, group, 1, rule)
        if row["students"] == 30 and row[what]["part"] > limit
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Evaluates the decision on real faces.")
    parser.add_argument("--faces", type=Path, default=os.environ.get("SMART_CLASSROOM_FACES"))
    parser.add_argument("--output", type=Path, default=ROOT, help="where benchmarks/results and docs/images are")
    options = parser.parse_args(arguments)
    if not options.faces:
        sys.stdout.write("real faces        not evaluated: SMART_CLASSROOM_FACES names no directory with encodings\n")
        return 0
    rows: list[dict[str, Any]] = []
    for row in evaluate(Faces.read(options.faces / "development.npz")):
        rows.append(row)
        texts = [
            f"{what} {100 * row[what]['part']:.2f} %" for what in ("strangers_named", "missed", "misnamed") if row[what]
        ]
        sys.stdout.write(
            f"{row['group']:4} {row['students']:4} students, {row['photos']} photo(s), {row['rule']:19} "
            f"{', '.join(texts)}\n"
        )
    results = options.output / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "faces.json").write_text(json.dumps({"rule": asdict(Rule()), "results": rows}, indent=1) + "\n")
    plot(options.output / "docs" / "images" / "faces.png", rows)
    targets = missed_targets(rows)
    sys.stdout.write("".join(f"not reached       {target}\n" for target in targets))
    return 1 if targets else 0


if __name__ == "__main__":
    sys.exit(main())
