"""Makes the sample clips and answers.json from the photos in students/ and sources/.

Usage: .venv/bin/python tests/media/make_media.py [--output DIRECTORY]

A clip shows a photo that is not the enrolled one where there is a second one (else mirrored and re-lit), panned and
zoomed before a drawn classroom. Everything is seeded: the same PyAV writes the same clips.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer

HERE = Path(__file__).parent
FRAMES_PER_SECOND = 25
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Portrait:
    """A photo and the square of it (left, top, side in parts of its width and height) that holds the head."""

    path: str
    left: float
    top: float
    side: float
    mirrored: bool = False
    gain: float = 1.0
    lift: float = 0.0

    def head(self) -> Image:
        """Returns the square with the head, BGR."""
        photo = cv2.imread(str(HERE / self.path))
        if photo is None:
            raise FileNotFoundError(self.path)
        height, width = photo.shape[:2]
        left, top, side = round(self.left * width), round(self.top * height), round(self.side * width)
        head = photo[top : top + side, left : left + side]
        if self.mirrored:
            head = cv2.flip(head, 1)
        return np.asarray(cv2.convertScaleAbs(head, alpha=self.gain, beta=self.lift), dtype=np.uint8)


OBAMA_GESTURE = Portrait("sources/obama2.jpg", left=0.0, top=0.14, side=1.0)
OBAMA_OFFICE = Portrait("sources/obama3.jpg", left=0.24, top=0.0, side=0.64, gain=0.92, lift=6)
BIDEN = Portrait("students/Joe Biden.jpg", left=0.08, top=0.02, side=0.9, mirrored=True, gain=1.1, lift=-8)
COLLINS = Portrait("sources/astronaut.jpg", left=0.22, top=0.0, side=0.46)

# clip: (width, height, people, frames)
CLIPS: dict[str, tuple[int, int, list[Portrait], int]] = {
    "barack-obama-360p.mp4": (640, 360, [OBAMA_GESTURE], 30),
    "barack-obama-720p.mp4": (1280, 720, [OBAMA_OFFICE], 30),
    "joe-biden-360p.mp4": (640, 360, [BIDEN], 30),
    "joe-biden-720p.mp4": (1280, 720, [BIDEN], 30),
    "two-students-720p.mp4": (1280, 720, [OBAMA_GESTURE, BIDEN], 30),
    "student-and-stranger-720p.mp4": (1280, 720, [COLLINS, OBAMA_OFFICE], 30),
    "stranger-720p.mp4": (1280, 720, [COLLINS], 30),
    "no-face-720p.mp4": (1280, 720, [], 30),
    "4k.mp4": (3840, 2160, [OBAMA_OFFICE], 6),
}


@dataclass(frozen=True)
class Phone:
    """A clip as telephones and screen recorders make them: one key frame, B-frames and sound, which may come first.

    `times` are those of the frames, in seconds.
    """

    width: int
    height: int
    people: list[Portrait]
    times: tuple[float, ...]
    sound_first: bool = False
    options: tuple[tuple[str, str], ...] = (("g", "1000"), ("bf", "2"), ("sc_threshold", "0"))


def _even(frames: int, rate: int) -> tuple[float, ...]:
    return tuple(number / rate for number in range(frames))


PHONES: dict[str, Phone] = {
    "phone-720p.mp4": Phone(1280, 720, [OBAMA_GESTURE], _even(60, 30), sound_first=True),
    "phone-1080p60.mp4": Phone(1920, 1080, [OBAMA_OFFICE, BIDEN], _even(130, 60), sound_first=True),
    "phone-4k.mp4": Phone(3840, 2160, [OBAMA_OFFICE], _even(60, 30)),
    "variable-rate-720p.mp4": Phone(1280, 720, [BIDEN], (0.0, 1.0, 3.0, *(3.5 + n / 25 for n in range(40)))),
}

ANSWERS: dict[str, dict[str, object]] = {
    "barack-obama-360p.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "barack-obama-720p.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "joe-biden-360p.mp4": {"status": "recognized", "students": ["Joe Biden"]},
    "joe-biden-720p.mp4": {"status": "recognized", "students": ["Joe Biden"]},
    "two-students-720p.mp4": {"status": "recognized", "students": ["Barack Obama", "Joe Biden"]},
    "student-and-stranger-720p.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "4k.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "phone-720p.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "phone-1080p60.mp4": {"status": "recognized", "students": ["Barack Obama", "Joe Biden"]},
    "phone-4k.mp4": {"status": "recognized", "students": ["Barack Obama"]},
    "variable-rate-720p.mp4": {"status": "recognized", "students": ["Joe Biden"]},
    "stranger-720p.mp4": {"status": "unknown", "students": []},
    "no-face-720p.mp4": {"status": "no_face", "students": []},
    "empty.mp4": {"status": "unreadable", "students": []},
    "text.mp4": {"status": "unreadable", "students": []},
    "truncated.mp4": {"status": "unreadable", "students": []},
    "audio-only.mp4": {"status": "unreadable", "students": []},
}


def classroom(width: int, height: int) -> Image:
    """Returns a drawn wall with a whiteboard."""
    shade = np.linspace(190, 120, height)[:, None, None] * np.array([0.92, 0.97, 1.0])
    wall = np.repeat(shade, width, axis=1).astype(np.uint8)
    top, bottom, left, right = (round(part) for part in (0.1 * height, 0.6 * height, 0.06 * width, 0.94 * width))
    cv2.rectangle(wall, (left, top), (right, bottom), (235, 238, 236), -1)
    cv2.rectangle(wall, (left, top), (right, bottom), (90, 90, 100), max(1, height // 120))
    cv2.line(wall, (0, round(0.85 * height)), (width, round(0.85 * height)), (70, 90, 110), height // 60)
    return wall


def scene(width: int, height: int, heads: list[Image], moment: float) -> Image:
    """Returns the frame at a moment of the clip (0..1): the heads side by side, moving and growing a little."""
    frame = classroom(width, height)
    for place, head in enumerate(heads):
        side = round(height * (0.86 + 0.08 * moment)) & ~1
        side = min(side, width // len(heads))
        resized = cv2.resize(
            head, (side, side), interpolation=cv2.INTER_AREA if side < head.shape[0] else cv2.INTER_CUBIC
        )
        slot = width // len(heads)
        left = place * slot + round((slot - side) * (0.35 + 0.3 * moment))
        top = height - side
        frame[top : top + side, left : left + side] = resized
    return frame


def write_clip(path: Path, width: int, height: int, people: list[Portrait], frames: int) -> None:
    """Writes an H.264 clip without sound."""
    heads = [person.head() for person in people]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": "25", "preset": "veryfast"}
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(scene(width, height, heads, number / frames), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_phone_clip(path: Path, phone: Phone) -> None:
    """Writes an H.264 clip with sound, whose frames are shown when its times say."""
    heads = [person.head() for person in phone.people]
    ticks = Fraction(1, 30_000)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono") if phone.sound_first else None
        stream = container.add_stream("libx264", rate=60)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = phone.width, phone.height, "yuv420p", 1
        stream.codec_context.time_base = ticks
        stream.options = {"crf": "28", "preset": "veryfast", **dict(phone.options)}
        sound = sound or container.add_stream("aac", rate=44100, layout="mono")
        _write_tone(container, sound, phone.times[-1])
        for number, seconds in enumerate(phone.times):
            image = scene(phone.width, phone.height, heads, number / len(phone.times))
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = round(seconds / ticks), ticks
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_tone(container: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate = 44100
    tone = (0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(tone[None, :], format="fltp", layout="mono")
    frame.sample_rate = rate
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_audio(path: Path) -> None:
    """Writes an MP4 with one second of a tone and no picture."""
    with av.open(str(path), "w") as container:
        _write_tone(container, container.add_stream("aac", rate=44100, layout="mono"), 1.0)


def make(output: Path) -> None:
    """Writes every clip and answers.json into the directory."""
    output.mkdir(parents=True, exist_ok=True)
    for name, (width, height, people, frames) in CLIPS.items():
        write_clip(output / name, width, height, people, frames)
    for name, phone in PHONES.items():
        write_phone_clip(output / name, phone)
    (output / "empty.mp4").write_bytes(b"")
    (output / "text.mp4").write_text("These are the minutes of the lesson, not a video of it.\n" * 40)
    whole = (output / "joe-biden-720p.mp4").read_bytes()
    (output / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    write_audio(output / "audio-only.mp4")
    (output / "answers.json").write_text(json.dumps(ANSWERS, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the sample clips.")
    parser.add_argument("--output", type=Path, default=HERE, help="directory for the clips (default: beside this file)")
    make(parser.parse_args().output)
