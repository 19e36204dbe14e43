"""How fast this function answers, against what course projects do, on the same clips in the same run.

Usage: python benchmarks/bench.py [--rounds 5] [--image NAME] [--output DIRECTORY]          (make bench)

Three ways take turns, so that whatever else the machine does touches all alike; medians and ratios are told:
  all     `ffmpeg -r 1` writes a JPEG for each second, face_recognition looks at every one of them
  first   the same, stopping at the first student
  ours    this function
Writes bench.json and images/bench.png.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
from recognition.pipeline import analyse

mpl.use("Agg")
from matplotlib import pyplot as plt

CONFIG = Config("table", "bucket", "queue", "gallery")
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
SECONDS = 10
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


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Returns what the work returned, and its milliseconds by the clock and by the processor."""
    clock, processor = time.perf_counter(), _processor_seconds()
    result = work()
    return result, (time.perf_counter() - clock) * 1000, (_processor_seconds() - processor) * 1000


def _processor_seconds() -> float:
    """Returns what this process and the programs that it started have used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def median(values: Sequence[float]) -> float:
    """Returns the median, to a tenth."""
    return round(float(np.median(values)), 1)


def compare_clips(rounds: int, directory: Path) -> list[dict[str, Any]]:
    """Times the three ways on a student's clip at each size, and on a stranger's."""
    gallery = Gallery([(name, np.stack([_encoding(name)])) for name in ("Barack Obama", "Joe Biden")])
    names, encodings = gallery.names, [rows[0] for _, rows in gallery.students]
    clips: list[tuple[str, tuple[int, int], Look, set[str]]] = [
        (f"student, {label}", size, LOOKS[1], {"Barack Obama"}) for label, size in SIZES.items()
    ]
    clips.append(("stranger, 720p", SIZES["720p"], LOOKS[3], set()))
    rows = []
    for label, size, look, expected in clips:
        width = min(round(size[1] * 0.45), 600)
        head = people.shown(look, Condition("", width))
        path = people.write(directory / "clip.mp4", [head], size, frames=people.RATE * SECONDS)
        clock: dict[str, list[float]] = {"all": [], "first": [], "ours": []}
        processor: dict[str, list[float]] = {"all": [], "first": [], "ours": []}
        answers: dict[str, set[str]] = {}
        stages: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for way in clock:
                with tempfile.TemporaryDirectory(dir=directory) as work:
                    if way == "ours":
                        (answer, took), wall, cpu = timed(lambda path=path: ours(path, gallery))  # type: ignore[misc]
                    else:
                        first = way == "first"
                        answer, wall, cpu = timed(
                            lambda path=path, work=work, first=first: theirs(  # type: ignore[misc]
                                path, names, encodings, Path(work), first=first
                            )
                        )
                        took = {}
                answers[way] = answer
                if number:  # the first round only warms up
                    clock[way].append(wall)
                    processor[way].append(cpu)
                    for stage, value in took.items():
                        stages.setdefault(stage, []).append(value)
        if answers["ours"] != expected:
            raise SystemExit(f"bench: {label} was answered {answers['ours']}, not {expected}")
        times = {way: median(values) for way, values in clock.items()}
        cpu_times = {way: median(values) for way, values in processor.items()}
        ratio = {way: round(times[way] / times["ours"], 1) for way in ("all", "first")}
        cpu_ratio = {way: round(cpu_times[way] / cpu_times["ours"], 1) for way in ("all", "first")}
        rows.append(
            {
                "clip": label,
                "ms": times,
                "processor_ms": cpu_times,
                "ratio": ratio,
                "processor_ratio": cpu_ratio,
                "stages_ms": {stage: median(values) for stage, values in stages.items()},
                "answers": {way: sorted(answer) for way, answer in answers.items()},
            }
        )
        sys.stdout.write(
            f"{label:16} all {times['all']:8.1f}  first {times['first']:8.1f}  ours {times['ours']:7.1f} ms   "
            f"{ratio['all']:5.1f} and {ratio['first']:5.1f} times as fast "
            f"(by the processor {cpu_ratio['all']} and {cpu_ratio['first']})\n"
        )
        sys.stdout.flush()
    return rows


def _encoding(name: str) -> engine.Encoding:
    picture = people.photo(people.ENROLLED[name])
    (box,) = engine.find_faces(picture)
    return engine.encode(picture, [box])[0]


def single_steps(rounds: int) -> dict[str, float]:
    """Times one encoding by both, and matching among 10,000 students."""
    picture = people.photo(people.ENROLLED["Barack Obama"])
    (box,) = engine.find_faces(picture)
    rgb = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    place = [(box.top, box.right, box.bottom, box.left)]
    generator = np.random.default_rng(people.SEED)
    rows = generator.normal(scale=0.05, size=(10_000, 1, 128))
    gallery = Gallery([(f"Student {number}", row) for number, row in enumerate(rows)])
    times: dict[str, list[float]] = {"encoding": [], "encoding_face_recognition": [], "match_10000_students": []}
    for _ in range(rounds * 3 + 1):
        times["encoding"].append(timed(lambda: engine.encode(picture, [box]))[2])
        times["encoding_face_recognition"].append(timed(lambda: face_recognition.face_encodings(rgb, place))[2])
        probe = generator.normal(scale=0.05, size=128)
        times["match_10000_students"].append(timed(lambda probe=probe: gallery.nearest(probe))[2])  # type: ignore[misc]
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
    """Draws the three ways side by side, and where our time goes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    places = np.arange(len(rows))
    for number, (way, label) in enumerate(
        (("all", "every frame"), ("first", "until the first student"), ("ours", "this function"))
    ):
        left.bar(places + 0.27 * (number - 1), [row["processor_ms"][way] for row in rows], 0.27, label=label)
    left.set(yscale="log", ylabel="ms of the processor for one clip, warm", title="Three ways, the same clips")
    bottom = np.zeros(len(rows))
    for stage in ("decode", "detect", "encode"):
        values = np.array([row["stages_ms"].get(stage, 0.0) for row in rows])
        right.bar(places, values, 0.6, bottom=bottom, label=stage)
        bottom += values
    right.set(ylabel="ms of each stage (they overlap)", title="Where this function's time goes")
    for axes in (left, right):
        axes.set_xticks(places, [row["clip"].replace(", ", "\n") for row in rows], fontsize=8)
        axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Times the recognition.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed (default: 5)")
    parser.add_argument("--image", help="the function's image, to time its start too")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="directory of the results (default: docs)")
    options = parser.parse_args(arguments)
    engine.load()
    steps = single_steps(options.rounds)
    for name, value in steps.items():
        sys.stdout.write(f"{name:28} {value:8.2f} ms of the processor\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as name:
        rows = compare_clips(options.rounds, Path(name))
    facts = image_facts(options.image, options.rounds) if options.image else {}
    for fact, value in facts.items():
        sys.stdout.write(f"{fact:28} {value:8.2f}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"processor_ms": steps, "clips": rows, "image": facts}
    (options.output / "bench.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(options.output / "images" / "bench.png", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
