"""Damaged clips, in every kind of container, and photos: each is answered in its time, in bounded memory.

Usage: python benchmarks/fuzz.py [--count 500] [--seed 1]

Each part of 25 files is answered in a process of its own, whose address space and processor time are limited. The exit
code is 1 when a process died, complained, or took longer than the budget for a file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / "tests" / "media"
BUDGET_SECONDS = 8.0
MEMORY_BYTES = 3 * 1024**3  # of addresses: the libraries alone take one
_AT_ONCE = 25
_CLIPS = ("barack-obama-360p.mp4", "two-students-720p.mp4", "audio-only.mp4")
_SOURCE = "joe-biden-360p.mp4"
# Containers made of its frames, or of its packets where no encoder is named: format, encoder, options.
_CONTAINERS: tuple[tuple[str, str | None, dict[str, str]], ...] = (
    ("mp4", None, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ("mp4", None, {"movflags": "frag_every_frame+empty_moov+dash"}),
    ("mp4", None, {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16}),
    ("mov", None, {}),
    ("mov", "prores_ks", {}),
    ("matroska", None, {}),
    ("mpegts", None, {}),
    ("mpegts", "mpeg2video", {}),
    ("avi", "mpeg4", {}),
    ("flv", None, {}),
    ("mp4", "libx265", {}),
    ("webm", "libvpx-vp9", {}),
    ("mp4", "libsvtav1", {}),
    ("mov", "mjpeg", {}),
)
_PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
_OPTIONS = {
    "libx265": {"x265-params": "log-level=none:pools=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "mpeg2video": {"flags": "+ildct+ilme"},
}
_PHOTOS = ("students/Joe Biden.jpg", "sources/astronaut.jpg")
# What libjpeg says of a photo that it can show all the same.
_LIBJPEG_REMARKS = ("Corrupt JPEG data", "Warning: unknown JFIF", "Premature end of JPEG", "Invalid SOS parameters")
os.environ.setdefault("SVT_LOG", "1")  # its encoder otherwise tells a page of settings
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_BOXES = (b"moov", b"trak", b"mdia", b"stsz", b"stco", b"stts", b"stsc", b"avcC", b"tkhd", b"mvhd", b"mdhd", b"stsd")
_MORE_BOXES = (
    b"moof",
    b"traf",
    b"trun",
    b"tfhd",
    b"elst",
    b"ctts",
    b"sidx",
    b"senc",
    b"hvcC",
    b"av1C",
    b"idx1",
    b"strf",
)
_ELEMENTS = (b"\x1aE\xdf\xa3", b"\x15I\xa9f", b"\x16T\xaek", b"\x1cS\xbbk", b"\x1fC\xb6u")  # Matroska: its parts
_NAMES = _BOXES + _MORE_BOXES + _ELEMENTS

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from recognition import engine, enroll
from recognition.video import UnreadableError, Video
LOOKS = 8
for path in sorted(Path(sys.argv[1]).iterdir()):
    begun, processor = time.monotonic(), time.process_time()
    if path.suffix == ".mp4":
        answer, deadline = "nothing", begun + float(sys.argv[2])
        try:
            with Video(path, deadline) as video:
                for frame in video.looks(LOOKS, deadline):
                    answer = "faces" if engine.find_faces(frame.image) or answer == "faces" else "no faces"
        except UnreadableError:
            answer = "unreadable"
    else:
        answer = "refused" if isinstance(enroll.encode_photo(path), str) else "enrolled"
    print(json.dumps([path.name, answer, time.monotonic() - begun, time.process_time() - processor,
                      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]), flush=True)
"""


def containers() -> list[bytes]:
    """Returns a clip in every kind of container and format that the function may get."""
    made = []
    with tempfile.TemporaryDirectory() as directory:
        for kind, codec, options in _CONTAINERS:
            path = Path(directory) / "clip"
            with av.open(str(MEDIA / _SOURCE)) as source, av.open(str(path), "w", format=kind, options=options) as clip:
                pictures = source.streams.video[0]
                if codec is None:
                    copied = clip.add_stream_from_template(pictures)
                    for packet in source.demux(pictures):
                        if packet.dts is not None:
                            packet.stream = copied
                            clip.mux(packet)
                else:
                    encoded: Any = clip.add_stream(codec, rate=25)
                    encoded.width, encoded.height = pictures.width, pictures.height
                    encoded.pix_fmt, encoded.thread_count = _PIXELS.get(codec, "yuv420p"), 1
                    encoded.options = {"g": "12", **_OPTIONS.get(codec, {})}
                    for number, frame in enumerate(source.decode(pictures)):
                        frame.pts, frame.time_base = number, Fraction(1, 25)
                        frame.pict_type = 0  # the encoder chooses
                        clip.mux(encoded.encode(frame))
                    clip.mux(encoded.encode(None))
            made.append(path.read_bytes())
    return made


def mutate(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns the file with some damage: bytes and lengths changed, parts cut out, doubled or exchanged."""
    result = bytearray(data)
    for _ in range(int(generator.integers(1, 6))):
        size = len(result)
        if size < 16:
            break
        place = int(generator.integers(0, size - 8))
        kind = int(generator.integers(0, 7))
        if kind == 0:  # some bytes anywhere
            for position in generator.integers(0, size, size=int(generator.integers(1, 40))):
                result[position] = int(generator.integers(0, 256))
        elif kind == 1:  # a length or a count within the index
            found = result.find(_NAMES[int(generator.integers(0, len(_NAMES)))])
            position = max(0, found) + int(generator.integers(-4, 24))
            position = min(max(0, position), size - 4)
            value = int(generator.choice(_INTERESTING))
            result[position : position + 4] = bytes([value] * 4)
        elif kind == 2:  # the end is missing
            del result[place:]
        elif kind == 3:  # a part is missing
            del result[place : place + int(generator.integers(1, 2000))]
        elif kind == 4:  # a part stands there twice
            part = result[place : place + int(generator.integers(1, 2000))]
            result[place:place] = part
        elif kind == 5:  # zeros
            length = min(int(generator.integers(1, 4000)), size - place)
            result[place : place + length] = bytes(length)
        else:  # one bit
            result[place] ^= 1 << int(generator.integers(0, 8))
    return bytes(result)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(directory: Path) -> tuple[list[tuple[str, str, float, float, int]], list[str]]:
    """Answers the files of a directory in one process.

    Returns (file, answer, seconds, seconds of the processor, MB so far) for each, and what went wrong.
    """
    files = sorted(path.name for path in directory.iterdir())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(directory), str(BUDGET_SECONDS)],
        capture_output=True,
        text=True,
        cwd=ROOT / "lambda_src",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=_limit,
        timeout=BUDGET_SECONDS * len(files) * 4,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    problems = [
        f"{name}: took {processor:.1f} s of the processor"
        for name, _, _, processor, _ in rows
        if processor > BUDGET_SECONDS
    ]
    if len(rows) < len(files):
        problems.append(f"{files[len(rows)]}: the process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    complaints = [line for line in done.stderr.splitlines() if not line.startswith(_LIBJPEG_REMARKS)]
    if len(rows) == len(files) and (complaints or done.returncode):
        problems.append(f"the process of {files[0]} to {files[-1]} said: {' '.join(complaints)[-300:]}")
    return [(str(n), str(a), float(w), float(p), int(m)) for n, a, w, p, m in rows], problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Answers damaged clips and photos.")
    parser.add_argument("--count", type=int, default=500, help="how many files (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the damage (default: 1)")
    parser.add_argument("--keep", type=Path, help="directory for the files that were answered wrongly")
    options = parser.parse_args(arguments)
    clips = [*((MEDIA / name).read_bytes() for name in _CLIPS), *containers()]
    sources = [*clips, *((MEDIA / name).read_bytes() for name in _PHOTOS)]
    answers: Counter[str] = Counter()
    problems: list[str] = []
    slowest, largest = 0.0, 0
    for start in range(0, options.count, _AT_ONCE):
        with tempfile.TemporaryDirectory() as name:
            for number in range(start, min(start + _AT_ONCE, options.count)):
                which = number % len(sources)
                suffix = ".mp4" if which < len(clips) else ".jpg"
                generator = np.random.default_rng([options.seed, number])
                (Path(name) / f"{number:05d}{suffix}").write_bytes(mutate(sources[which], generator))
            rows, wrong = answer(Path(name))
            problems += wrong
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                for problem in wrong:
                    file = Path(name) / problem.split(":")[0]
                    if file.is_file():
                        (options.keep / file.name).write_bytes(file.read_bytes())
        answers.update(row[1] for row in rows)
        slowest = max([slowest, *(row[3] for row in rows)])
        largest = max([largest, *(row[4] for row in rows)])
    sys.stdout.write(
        f"{answers.total()} of {options.count} damaged files answered: {dict(answers)}\n"
        f"slowest {slowest:.2f} s of the processor, largest process {largest} MB\n"
        + "".join(f"problem: {problem}\n" for problem in problems)
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
