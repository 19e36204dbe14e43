"""How fast this function answers, against what course projects do, on the same clips in the same run.

Usage: python benchmarks/bench.py [--rounds 5] [--image NAME] [--output DIRECTORY]    (make bench)
       python benchmarks/bench.py --clips DIRECTORY --encodings FILE    (make bench CLIPS=... ENCODINGS=...)

The ways take turns, so that whatever else the machine does touches all alike; medians, ratios and answers are printed:
  all     `ffmpeg -r 1` writes a JPEG for each second, face_recognition looks at every one of them (own clips only)
  first   the same, stopping at the first face that is within 0.6 of a student
  ours    this function
For the project's own clips bench.json and a plot are written. Those are made as phones make clips (one key frame,
B-frames, sound first), as most clips that people have are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the image

import cv2
import face_recognition
import imageio_ffmpeg
import matplotlib as mpl
import numpy as np
import people
from people import LOOKS, ROOT, Condition, Look
from recognition import engine
from recognition.config import Config
from recognition.matching import Gallery
from recognition.pickles import read_encodings
from recognition.pipeline import analyse

mpl.use("Agg")
from matplotlib import pyplot as plt

CONFIG = Config("table", "bucket", "queue", "gallery")
SECONDS = 10.0
SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm"}
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
_TOLERANCE = 0.6  # face_recognition's own


def theirs(path: Path, names: Sequence[str], encodings: list[Any], directory: Path, *, first: bool) -> set[str]:
    """Answers a clip as course projects do; returns the names."""
    found: set[str] = set()
    command = [FFMPEG, "-loglevel", "error", "-i", str(path), "-r", "1", str(directory / "image-%03d.jpg")]
    subprocess.run(command, check=True, timeout=120)
    for file in sorted(directory.glob("image-*.jpg")):
        picture = face_recognition.load_image_file(file)
        for encoding in face_recognition.face_encodings(picture):
            matches = face_recognition.compare_faces(encodings, encoding, _TOLERANCE)
            if True in matches:
                found.add(names[matches.index(True)])
                if first:
                    return found
    return found


def ours(path: Path, gallery: Gallery) -> tuple[set[str], dict[str, float]]:
    """Answers a clip; returns the names and the time of each stage."""
    analysis = analyse(path, gallery, lambda: gallery, CONFIG)
    return {decision.match.name for decision in analysis.decisions}, analysis.timings_ms


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what the work returned, and its milliseconds."""
    clock = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - clock) * 1000


def median(values: Sequence[float]) -> float:
    """Returns the median, to a tenth."""
    return round(float(np.median(values)), 1)


@dataclass(frozen=True)
class Clip:
    """A clip to answer, and who is in it where that is known."""

    label: str
    path: Path
    expected: set[str] | None = None


def own_clips(directory: Path) -> tuple[list[Clip], Gallery]:
    """Makes clips of the sample students as phones make them, and one with a key frame each second."""
    gallery = Gallery([(name, np.stack([_encoding(name)])) for name in ("Barack Obama", "Joe Biden")])
    student, stranger = LOOKS[1], LOOKS[3]
    kinds: list[tuple[str, tuple[int, int], Look, dict[str, Any]]] = [
        ("720p", (1280, 720), student, {}),
        ("1080p", (1920, 1080), student, {}),
        ("1080p, 60 a second", (1920, 1080), student, {"rate": 60}),
        ("1080p, variable rate", (1920, 1080), student, {"variable": True}),
        ("4K", (3840, 2160), student, {}),
        ("stranger, 720p", (1280, 720), stranger, {}),
    ]
    clips: list[Clip] = []
    for label, size, look, options in kinds:
        path = directory / f"{len(clips)}.mp4"
        people.write_as_phones_do(path, [_head(look, size)], size, SECONDS, **options)
        clips.append(Clip(label, path, {look.person} & set(gallery.names)))
    path = people.write(
        directory / "key-frames.mp4", [_head(student, (1280, 720))], frames=round(people.RATE * SECONDS)
    )
    clips.append(Clip("720p, key frames", path, {student.person}))
    return clips, gallery


def _head(look: Look, size: tuple[int, int]) -> people.Image:
    return people.shown(look, Condition("", min(round(size[1] * 0.45), 600)))


def folder_clips(directory: Path) -> list[Clip]:
    """Returns the clips of a folder, by name."""
    return [Clip(path.name, path) for path in sorted(directory.iterdir()) if path.suffix.lower() in SUFFIXES]


def known_encodings(path: Path) -> Gallery:
    """Reads known encodings: the course project's pickle, or the file that enrolment writes."""
    if path.suffix == ".json":
        return Gallery.from_json(path.read_bytes())
    rows: dict[str, list[Any]] = {}
    for name, encoding in read_encodings(path.read_bytes()):
        rows.setdefault(name, []).append(encoding)
    return Gallery([(name, np.stack(several)) for name, several in rows.items()])


def compare(clips: Sequence[Clip], gallery: Gallery, rounds: int, ways: Sequence[str]) -> list[dict[str, Any]]:
    """Times the ways on each clip, in turns, and prints medians, ratios and answers.

    Raises SystemExit where this function does not answer what is known to be right.
    """
    names = [name for name, rows in gallery.students for _ in rows]
    encodings = [row for _, rows in gallery.students for row in rows]
    results: list[dict[str, Any]] = []
    for clip in clips:
        clock: dict[str, list[float]] = {way: [] for way in ways}
        answers: dict[str, list[str]] = {}
        stages: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for way in ways:
                with tempfile.TemporaryDirectory() as work:
                    if way == "ours":
                        (answer, took), wall = timed(lambda clip=clip: ours(clip.path, gallery))  # type: ignore[misc]
                    else:
                        first = way == "first"
                        answer, wall = timed(
                            lambda clip=clip, work=work, first=first: theirs(  # type: ignore[misc]
                                clip.path, names, encodings, Path(work), first=first
                            )
                        )
                        took = {}
                answers[way] = sorted(answer)
                if number:  # the first round only warms up
                    clock[way].append(wall)
                    for stage, value in took.items():
                        stages.setdefault(stage, []).append(value)
        if clip.expected is not None and set(answers["ours"]) != clip.expected:
            raise SystemExit(f"bench: {clip.label} was answered {answers['ours']}, not {sorted(clip.expected)}")
        times = {way: median(values) for way, values in clock.items()}
        ratio = {way: round(times[way] / times["ours"], 1) for way in ways if way != "ours"}
        stages_ms = {stage: median(values) for stage, values in stages.items()}
        results.append({"clip": clip.label, "ms": times, "ratio": ratio, "stages_ms": stages_ms, "answers": answers})
        told = "  ".join(f"{way} {times[way]:8.1f} ms {', '.join(answers[way]) or '-'}" for way in ways)
        sys.stdout.write(f"{clip.label:30} {told}   {', '.join(f'{value} times' for value in ratio.values())}\n")
        sys.stdout.flush()
    for way in ways:
        if way != "ours":
            mean = float(np.exp(np.mean([np.log(row["ms"][way] / row["ms"]["ours"]) for row in results])))
            sys.stdout.write(f"geometric mean against '{way}': {mean:.2f} times as fast\n")
    return results


def _encoding(name: str) -> engine.Encoding:
    picture = people.photo(people.ENROLLED[name])
    box, *_ = engine.find_faces(picture)
    return engine.encode(picture, [box])[0]


def single_steps(rounds: int) -> dict[str, float]:
    """Times one encoding by both, and matching among 10,000 students."""
    picture = people.photo(people.ENROLLED["Barack Obama"])
    box, *_ = engine.find_faces(picture)
    rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    place = [(box.top, box.right, box.bottom, box.left)]
    generator = np.random.default_rng(people.SEED)
    rows = generator.normal(scale=0.05, size=(10_000, 1, 128))
    gallery = Gallery([(f"Student {number}", row) for number, row in enumerate(rows)])
    times: dict[str, list[float]] = {"encoding": [], "encoding_face_recognition": [], "match_10000_students": []}
    for _ in range(rounds * 3 + 1):
        times["encoding"].append(timed(lambda: engine.encode(picture, [box]))[1])
        times["encoding_face_recognition"].append(timed(lambda: face_recognition.face_encodings(rgb, place))[1])
        probe = generator.normal(scale=0.05, size=128)
        times["match_10000_students"].append(timed(lambda probe=probe: gallery.nearest(probe))[1])  # type: ignore[misc]
    return {name: round(float(np.median(values[1:])), 2) for name, values in times.items()}


def image_facts(name: str, rounds: int) -> dict[str, Any]:
    """Returns the image's size, and the time until the models and clients are ready in a fresh container."""
    inspected = _docker("image", "inspect", "--format", "{{.Size}}", name)
    program = (
        "import time, os; a = time.time(); import handler; from recognition import engine; engine.load(); "
        "handler._service(); print(time.time() - a, time.process_time())"
    )
    environment = {"TABLE_NAME": "t", "OUTPUT_BUCKET": "b", "OUTPUT_QUEUE_URL": "http://127.0.0.1/q"}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    options = [option for key, value in environment.items() for option in ("--env", f"{key}={value}")]
    facts: dict[str, Any] = {"image_mb": round(int(inspected) / 1e6, 1)}
    for label, limit in (("cold", []), ("cold_at_512_mb", ["--cpus", "0.29"])):
        starts: list[tuple[float, float, float]] = []
        for _ in range(rounds):
            begun = time.perf_counter()
            arguments = ["run", "--rm", "--network", "none", *limit, *options, "--entrypoint", "python3", name]
            ready, processor = _docker(*arguments, "-c", program).split()
            starts.append((time.perf_counter() - begun, float(ready), float(processor)))
        for column, what in enumerate(("container_s", "init_s", "init_processor_s")):
            facts[f"{label}_{what}"] = round(float(np.median([start[column] for start in starts])), 2)
    return facts


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"bench: docker {arguments[0]} failed: {done.stderr.strip()}. Is the image built? make up")
    return done.stdout


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draws the ways side by side, and where this function's time goes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
    places = np.arange(len(rows))
    labels = {"all": "every second", "first": "until the first student", "ours": "this function"}
    ways = [way for way in labels if way in rows[0]["ms"]]
    for number, way in enumerate(ways):
        offset = 0.8 / len(ways)
        heights = [row["ms"][way] for row in rows]
        left.bar(places + offset * (number - (len(ways) - 1) / 2), heights, offset, label=labels[way])
    left.set(yscale="log", ylabel="ms for one clip, warm", title="The same clips in the same run")
    bottom = np.zeros(len(rows))
    for stage in ("decode", "detect", "encode"):
        values = np.array([row["stages_ms"].get(stage, 0.0) for row in rows])
        right.bar(places, values, 0.6, bottom=bottom, label=stage)
        bottom += values
    right.set(ylabel="ms of each stage (they overlap)", title="Where this function's time goes")
    for axes in (left, right):
        axes.set_xticks(places, [row["clip"].replace(", ", ",\n") for row in rows], fontsize=6)
        axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Times the recognition.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed (default: 5)")
    parser.add_argument("--clips", type=Path, help="folder of clips to answer instead of the project's own")
    parser.add_argument("--encodings", type=Path, help="known encodings for them: a pickle of the course, or JSON")
    parser.add_argument("--image", help="the function's image, to time its start too")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="directory of the results")
    options = parser.parse_args(arguments)
    if (options.clips is None) != (options.encodings is None):
        parser.error("--clips and --encodings go together")
    engine.load()
    if options.clips is not None:
        compare(folder_clips(options.clips), known_encodings(options.encodings), options.rounds, ("first", "ours"))
        return 0
    steps = single_steps(options.rounds)
    for name, value in steps.items():
        sys.stdout.write(f"{name:28} {value:8.2f} ms\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as name:
        clips, gallery = own_clips(Path(name))
        rows = compare(clips, gallery, options.rounds, ("all", "first", "ours"))
    facts = image_facts(options.image, options.rounds) if options.image else {}
    for fact, value in facts.items():
        sys.stdout.write(f"{fact:28} {value:8.2f}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"ms": steps, "clips": rows, "image": facts}
    (options.output / "bench.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(ROOT / "docs" / "images" / "bench.png", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
