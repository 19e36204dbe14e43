"""People, how they look, and clips of them: all from the public-domain photos of tests/media, with fixed seeds."""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lambda_src"), str(ROOT / "tests" / "media")]

from make_media import BIDEN, COLLINS, OBAMA_GESTURE, OBAMA_OFFICE, Portrait, classroom  # noqa: E402 - after the path
from recognition import engine  # noqa: E402
from recognition.engine import Box  # noqa: E402

Image = npt.NDArray[np.uint8]

RATE = 30  # frames per second of the clips
SEED = 20_240_101
_OBAMA = Portrait("students/Barack Obama.jpg", left=0.0, top=0.0, side=1.0)


@dataclass(frozen=True)
class Look:
    """A person on one photo. `morphed` names the two whose photos were blended into somebody who does not exist."""

    person: str
    portrait: Portrait
    blended: Portrait | None = None
    morphed: tuple[str, str] | None = None

    @property
    def relatives(self) -> set[str]:
        """Everybody whose enrolment makes this look no stranger's."""
        return {self.person, *(self.morphed or ())}


def _plain(portrait: Portrait) -> Portrait:
    return replace(portrait, mirrored=False, gain=1.0, lift=0.0)


# What is enrolled, and what is shown: other photos where there are some, else the same one mirrored and re-lit.
ENROLLED = {"Barack Obama": _OBAMA, "Joe Biden": _plain(BIDEN), "Eileen Collins": _plain(COLLINS)}
LOOKS = [
    Look("Barack Obama", OBAMA_GESTURE),
    Look("Barack Obama", OBAMA_OFFICE),
    Look("Joe Biden", BIDEN),
    Look("Eileen Collins", replace(COLLINS, mirrored=True, gain=1.12, lift=-10)),
    Look("Collins-Biden", COLLINS, BIDEN, ("Eileen Collins", "Joe Biden")),
    Look("Obama-Biden", OBAMA_OFFICE, BIDEN, ("Barack Obama", "Joe Biden")),
    Look("Obama-Collins", OBAMA_OFFICE, COLLINS, ("Barack Obama", "Eileen Collins")),
]
# Everybody is a stranger to some gallery.
GALLERIES = [
    ["Barack Obama", "Joe Biden"],
    ["Barack Obama", "Eileen Collins"],
    ["Joe Biden", "Eileen Collins"],
    ["Barack Obama"],
    ["Joe Biden"],
    ["Eileen Collins"],
]


@dataclass(frozen=True)
class Condition:
    """How a head is shown: `change` works on the picture, the face is `width` pixels wide.

    What is `hard` is asked only that nobody is named wrongly.
    """

    name: str
    width: int = 200
    hard: bool = False
    change: Callable[[Image], Image] = lambda head: head


def _level(gain: float, noise: float) -> Callable[[Image], Image]:
    def change(head: Image) -> Image:
        grain = np.random.default_rng(SEED).normal(scale=noise, size=head.shape) if noise else 0.0
        return np.asarray(np.clip(head * gain + grain, 0, 255), np.uint8)

    return change


def _gamma(power: float) -> Callable[[Image], Image]:
    return lambda head: np.asarray(255 * (head / 255.0) ** power, np.uint8)


def _blur(part: float) -> Callable[[Image], Image]:
    return lambda head: np.asarray(cv2.GaussianBlur(head, (0, 0), part * head.shape[0]), np.uint8)


def _rotated(degrees: float) -> Callable[[Image], Image]:
    def change(head: Image) -> Image:
        side = head.shape[0]
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
        return np.asarray(cv2.warpAffine(head, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return change


def _profile(narrow: float) -> Callable[[Image], Image]:
    """One half of the head becomes narrower, as when it turns away."""

    def change(head: Image) -> Image:
        height, width = head.shape[:2]
        half = cv2.resize(head[:, width // 2 :], (round(width // 2 * narrow), height), interpolation=cv2.INTER_AREA)
        return np.asarray(np.hstack([head[:, : width // 2], half]), np.uint8)

    return change


def _covered(head: Image) -> Image:
    """A dark band over the mouth and the chin."""
    result = head.copy()
    box = _face(head)
    result[box.top + round(0.62 * (box.bottom - box.top)) : box.bottom + 20, box.left : box.right] = (60, 50, 45)
    return result


CONDITIONS = [
    Condition("plain"),
    Condition("400 px", 400),
    Condition("120 px", 120),
    Condition("80 px", 80),
    Condition("mirrored", change=lambda head: np.asarray(cv2.flip(head, 1), np.uint8)),
    Condition("bright", change=_gamma(0.6)),
    Condition("dim", change=_gamma(1.6)),
    Condition("noisy", change=_level(1.0, 14)),
    Condition("tilted 8", change=_rotated(8)),
    Condition("tilted -8", change=_rotated(-8)),
    Condition("slightly blurred", change=_blur(0.003)),
    Condition("60 px", 60, hard=True),
    Condition("40 px", 40, hard=True),
    Condition("dark", hard=True, change=_level(0.22, 6)),
    Condition("blurred", hard=True, change=_blur(0.012)),
    Condition("tilted 25", hard=True, change=_rotated(25)),
    Condition("profile", hard=True, change=_profile(0.45)),
    Condition("covered", hard=True, change=_covered),
]


def _face(head: Image) -> Box:
    found = engine.find_faces(head)
    if not found:
        raise ValueError("no face was found in the photo of a look: it cannot be scaled to a width")
    return max(found, key=lambda box: box.right - box.left)


@functools.cache
def photo(portrait: Portrait) -> Image:
    """Returns the head as it is on the photo, BGR."""
    return portrait.head()


@functools.cache
def head(look: Look) -> tuple[Image, int]:
    """Returns the head of a look and the width of its face in pixels."""
    picture = photo(look.portrait)
    if look.blended is not None:
        picture = _morph(picture, photo(look.blended))
    box = _face(picture)
    return picture, box.right - box.left


def _morph(one: Image, other: Image) -> Image:
    """Returns two heads in equal parts, the other moved so that the faces lie on one another."""
    here, there = _face(one), _face(other)
    scale = (here.right - here.left) / (there.right - there.left)
    matrix = np.array(
        [[scale, 0, here.left - scale * there.left], [0, scale, here.top - scale * there.top]], dtype=np.float64
    )
    moved = cv2.warpAffine(other, matrix, (one.shape[1], one.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.addWeighted(one, 0.5, moved, 0.5, 0), np.uint8)


def shown(look: Look, condition: Condition) -> Image:
    """Returns the head under a condition, its face as wide as that says."""
    picture, width = head(look)
    changed = condition.change(picture)
    scale = condition.width / width
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(changed, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)


def frame(heads: Sequence[Image], moment: float = 0.0, size: tuple[int, int] = (1280, 720)) -> Image:
    """Returns the heads side by side before a drawn classroom; `moment` (0..1) moves them a little."""
    width, height = size
    picture = classroom(width, height)
    slot = width // max(1, len(heads))
    for place, one in enumerate(heads):
        high, wide = min(one.shape[0], height), min(one.shape[1], slot)
        from_top, from_left = (one.shape[0] - high) // 4, (one.shape[1] - wide) // 2
        cut = one[from_top : from_top + high, from_left : from_left + wide]
        left = place * slot + round((slot - wide) * (0.35 + 0.3 * moment))
        picture[height - high :, left : left + wide] = cut
    return picture


def write(
    path: Path, heads: Sequence[Image], size: tuple[int, int] = (1280, 720), frames: int = 10, turned: bool = False
) -> Path:
    """Writes an H.264 clip that is cheap to make and to seek in: 30 frames and a key frame each second, no sound.

    `turned` lays the pictures on their side and says so in the file.
    """
    with av.open(str(path), "w") as container:
        stream = _video_stream(container, tuple(reversed(size)) if turned else size, RATE)
        stream.options = {"crf": "23", "preset": "ultrafast", "g": str(RATE)}
        for number in range(frames):
            picture = frame(heads, number / frames, size)
            if turned:
                picture = np.ascontiguousarray(np.rot90(picture))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    if turned:
        data = bytearray(path.read_bytes())
        start = data.index(b"tkhd") + 44
        data[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
        path.write_bytes(bytes(data))
    return path


def write_as_phones_do(
    path: Path, heads: Sequence[Image], size: tuple[int, int], seconds: float, rate: int = 30, variable: bool = False
) -> Path:
    """Writes an H.264 clip as phones and editing programs do: sound first, B-frames, one key frame for ten seconds.

    With a `variable` rate every third frame is left out, as phones do in the dark.
    """
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44_100)
        stream = _video_stream(container, size, rate)
        stream.options = {"crf": "23", "preset": "veryfast", "bf": "3", "g": str(rate * 10)}
        silence = np.zeros((1, 1024 * 2), np.float32)
        for number in range(round(seconds * 44_100 / 1024)):
            samples = av.AudioFrame.from_ndarray(silence, format="flt", layout="stereo")
            samples.sample_rate, samples.pts = 44_100, number * 1024
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
        frames = round(seconds * rate)
        for number in range(frames):
            if variable and number % 3 == 2:
                continue
            picture = av.VideoFrame.from_ndarray(frame(heads, number / frames, size), format="bgr24")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _video_stream(container: av.container.OutputContainer, size: tuple[int, ...], rate: int) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = size
    stream.pix_fmt, stream.thread_count = "yuv420p", 1
    return stream
