"""How right the answers are: faces and clips of enrolled people and of strangers, under good and bad conditions.

Usage: python benchmarks/evaluate.py [--output DIRECTORY]          (make evaluate, which runs faces.py, too)

Writes benchmarks/results/evaluation.json and docs/images/evaluation.png. The exit code is 1 when a stranger or a
student was given a wrong name, when more than 2 % of the students with faces of 80 pixels or more were not named, or a
clip of two was not right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import people
from people import CONDITIONS, ENROLLED, GALLERIES, LOOKS, ROOT, Condition, Look
from recognition import engine
from recognition.config import Config
from recognition.engine import Encoding
from recognition.matching import Gallery
from recognition.pipeline import analyse
from recognition.rule import Rule

mpl.use("Agg")
from matplotlib import pyplot as plt

CONFIG = Config("table", "bucket", "queue", "gallery", time_budget_seconds=120.0)
MAX_FALSE_REJECT = 0.02
_NOBODY = "(unknown)"


@dataclass(frozen=True)
class Case:
    """A clip: who is shown how; `behind` is how all but the first are shown, if not like the first."""

    name: str
    looks: tuple[Look, ...]
    condition: Condition
    turned: bool = False
    behind: Condition | None = None

    def heads(self) -> list[people.Image]:
        """Returns everybody as they are shown."""
        conditions = [self.condition] + (len(self.looks) - 1) * [self.behind or self.condition]
        return [people.shown(look, condition) for look, condition in zip(self.looks, conditions, strict=False)]


def cases() -> Iterator[Case]:
    """Yields every clip."""
    plain = CONDITIONS[0]
    for look in LOOKS:
        for condition in CONDITIONS:
            yield Case(f"{look.person}, {condition.name}", (look,), condition)
    for condition in (plain, *(each for each in CONDITIONS if each.name in ("120 px", "dim", "tilted 8"))):
        for one, other in ((0, 2), (1, 3), (2, 3), (3, 4)):
            yield Case(f"two, {condition.name}", (LOOKS[one], LOOKS[other]), condition)
    yield Case("crowded", (LOOKS[0], LOOKS[2], LOOKS[3], LOOKS[5]), Condition("crowded", 120))
    yield Case("crowded", (LOOKS[3], LOOKS[1], LOOKS[4], LOOKS[2]), Condition("crowded", 100))
    for one, other in ((0, 2), (2, 1), (3, 0), (1, 4)):
        near, far = Condition("near and far", 300), Condition("near and far", 90)
        yield Case("one near, one far", (LOOKS[one], LOOKS[other]), near, behind=far)
    yield Case("no face", (), plain)
    for look in LOOKS[:4]:
        yield Case("turned telephone", (look,), plain, turned=True)


def gallery_of(names: Sequence[str]) -> Gallery:
    """Returns the gallery of these people, each by the one photo that is enrolled."""
    return Gallery([(name, np.stack([_encoding(people.photo(ENROLLED[name]))])) for name in names])


def _encoding(picture: people.Image) -> Encoding:
    (box,) = engine.find_faces(picture)
    return engine.encode(picture, [box])[0]


def faces(known: dict[str, Encoding]) -> dict[str, list[float]]:
    """Returns the distances of all faces found under all conditions: to their own person and to others."""
    distances: dict[str, list[float]] = {"same": [], "same_hard": [], "different": []}
    for look in LOOKS:
        for condition in CONDITIONS:
            picture = people.frame([people.shown(look, condition)])
            for encoding in engine.encode(picture, engine.find_faces(picture)):
                for name, enrolled in known.items():
                    distance = float(np.linalg.norm(enrolled - encoding))
                    if name == look.person:
                        distances["same_hard" if condition.hard else "same"].append(distance)
                    elif name not in look.relatives:
                        distances["different"].append(distance)
    return distances


@dataclass
class Tally:
    """What became of the people shown; `wrong` counts students given another's name, `accepted` strangers named."""

    students: int = 0
    named: int = 0
    wrong: int = 0
    strangers: int = 0
    accepted: int = 0


def clips(galleries: dict[tuple[str, ...], Gallery], directory: Path) -> dict[str, Any]:
    """Shows every clip to every gallery; returns the counts."""
    total, large = Tally(), Tally()
    by_condition: defaultdict[str, Tally] = defaultdict(Tally)
    confusion: defaultdict[str, Counter[str]] = defaultdict(Counter)
    two = {"clips": 0, "right": 0}
    mistakes: list[str] = []
    statuses: Counter[str] = Counter()
    for number, case in enumerate(cases()):
        path = people.write(directory / f"{number}.mp4", case.heads(), turned=case.turned)
        for names, gallery in galleries.items():
            # A blend of somebody enrolled is neither that person nor a stranger; the galleries of one are for blends.
            blends = [look for look in case.looks if look.morphed]
            if any(look.relatives & set(names) for look in blends) or (len(names) == 1) != bool(blends):
                continue
            analysis = analyse(path, gallery, lambda gallery=gallery: gallery, CONFIG)  # type: ignore[misc]
            statuses[analysis.status.value] += 1
            answered = {decision.match.name for decision in analysis.decisions}
            students = {look.person for look in case.looks if look.person in names}
            excess = answered - students
            for tally in (total, by_condition[case.condition.name], *([] if case.condition.hard else [large])):
                tally.students += len(students)
                tally.named += len(students & answered)
                tally.strangers += len({look.person for look in case.looks} - students)
                tally.accepted += len(excess) if not students else 0
                tally.wrong += len(excess) if students else 0
            for look in case.looks:
                single = len(case.looks) == 1
                given = next(iter(answered), _NOBODY) if single else look.person if look.person in answered else _NOBODY
                confusion[look.person if look.person in names else "(stranger)"][given] += 1
            if len(case.looks) == 2:
                two["clips"] += 1
                two["right"] += answered == students
            if excess or (students - answered and not case.condition.hard):
                mistakes.append(f"{case.name}, enrolled {', '.join(names)}: answered {sorted(answered) or 'nobody'}")
        path.unlink()
    return {
        "total": asdict(total),
        "faces_of_80_px_and_more": asdict(large),
        "false_reject": _part(large.students - large.named, large.students),
        "false_reject_hard": _part(
            (total.students - total.named) - (large.students - large.named), total.students - large.students
        ),
        "false_accept": _part(total.accepted + total.wrong, total.students + total.strangers),
        "unknown_rate": _part(statuses["unknown"], statuses.total()),
        "two_students": two,
        "statuses": dict(statuses),
        "by_condition": {name: asdict(tally) for name, tally in by_condition.items()},
        "confusion": {name: dict(counts) for name, counts in confusion.items()},
        "mistakes": mistakes,
    }


def _part(count: int, of: int) -> float:
    return round(count / of, 4) if of else 0.0


def curve(distances: dict[str, list[float]]) -> list[dict[str, float]]:
    """Returns the parts of faces accepted falsely and rejected falsely, by the distance up to which one is accepted."""
    same, different = np.array(distances["same"]), np.array(distances["different"])
    return [
        {
            "distance": round(float(limit), 2),
            "false_accept": round(float((different <= limit).mean()), 4),
            "false_reject": round(float((same > limit).mean()), 4),
        }
        for limit in np.arange(0.2, 0.81, 0.02)
    ]


def plot(path: Path, distances: dict[str, list[float]], points: list[dict[str, float]], rule: Rule) -> None:
    """Draws the distances and the curve."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    bins = [float(edge) for edge in np.arange(0.0, 1.05, 0.025)]
    labels = {"same": "same person", "same_hard": "same person, hard conditions", "different": "different people"}
    for kind, label in labels.items():
        left.hist(distances[kind], bins=bins, alpha=0.6, label=label)
    left.set(xlabel="distance of two encodings", ylabel="faces", title="Distances")
    x = [point["distance"] for point in points]
    right.plot(x, [100 * point["false_reject"] for point in points], label="false reject, 80 px and more")
    right.plot(x, [100 * point["false_accept"] for point in points], label="false accept")
    right.set(xlabel="accepted up to this distance", ylabel="% of faces", title="One face, one threshold")
    for axes in (left, right):
        for value, text in ((rule.sure.distance, "sure"), (rule.probable.distance, "probable, and library's default")):
            axes.axvline(value, color="grey", linestyle="--", linewidth=0.8)
            axes.text(value, axes.get_ylim()[1], text, rotation=90, va="top", ha="right", fontsize=7, color="grey")
        axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Evaluates the recognition.")
    parser.add_argument("--output", type=Path, default=ROOT, help="where benchmarks/results and docs/images are")
    output = parser.parse_args(arguments).output
    known = {name: _encoding(people.photo(portrait)) for name, portrait in ENROLLED.items()}
    distances = faces(known)
    points = curve(distances)
    with tempfile.TemporaryDirectory() as name:
        result = clips({tuple(names): gallery_of(names) for names in GALLERIES}, Path(name))
    document = {
        "rule": asdict(Rule()),
        "faces": {kind: len(values) for kind, values in distances.items()},
        "farthest_same_person": round(max(distances["same"]), 4),
        "nearest_other_person": round(min(distances["different"]), 4),
        "clips": result,
        "curve": points,
    }
    results = output / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "evaluation.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(output / "docs" / "images" / "evaluation.png", distances, points, Rule())
    two = result["two_students"]
    sys.stdout.write(
        f"clips             {sum(result['statuses'].values())}: {result['statuses']}\n"
        f"false accept      {100 * result['false_accept']:.1f} % (a stranger named, or a student by another's name)\n"
        f"false reject      {100 * result['false_reject']:.1f} % of students with faces of 80 px and more, "
        f"{100 * result['false_reject_hard']:.1f} % under hard conditions\n"
        f"unknown           {100 * result['unknown_rate']:.1f} % of the clips\n"
        f"two in a clip     {two['right']} of {two['clips']} right\n"
        f"same person       up to {document['farthest_same_person']}; others from {document['nearest_other_person']}\n"
        + "".join(f"mistake           {mistake}\n" for mistake in result["mistakes"])
    )
    for person, counts in result["confusion"].items():
        sys.stdout.write(f"  {person:16} " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "\n")
    bad = result["false_accept"] > 0 or result["false_reject"] > MAX_FALSE_REJECT or two["right"] != two["clips"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
