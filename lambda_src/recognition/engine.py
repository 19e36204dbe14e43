"""Faces: where they are (dlib's detector), and their encodings, equal to those of face_recognition's default model.

dlib is called directly: importing face_recognition builds its detector (0.4 s) and loads models that are not used here.
"""

from __future__ import annotations

import functools
import importlib.util
import queue
import threading
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recognition.network import SIDE, FaceNetwork

MODEL_NAME = "dlib_face_recognition_resnet_model_v1"
Image = npt.NDArray[np.uint8]  # height x width x 3, BGR as OpenCV decodes it
Encoding = npt.NDArray[np.float64]  # 128 numbers

# Written by the image build next to this file; building the detector from its constants takes 0.4 s, loading it 1 ms.
SAVED_DETECTOR = Path(__file__).parent / "frontal_face_detector.svm"

SEARCHES_AT_ONCE = 2
_DETECTION_WIDTH = 640
_FINE_DETECTION_WIDTH = 1280
_SCORE_THRESHOLD = 0.1  # background that looks like a face scores below
_PADDING = 0.25  # part of the face that is shown around it, as face_recognition does

_lock = threading.Lock()


@dataclass(frozen=True)
class Box:
    """A face, or another part, in pixels of the full frame."""

    left: int
    top: int
    right: int
    bottom: int

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


@dataclass(frozen=True)
class _Models:
    detectors: queue.SimpleQueue[Any]  # one of them keeps what it works on, so a thread takes it while it searches
    landmarks: Any
    network: FaceNetwork


@functools.cache
def _load() -> _Models:
    import dlib

    detector = (
        dlib.fhog_object_detector(str(SAVED_DETECTOR)) if SAVED_DETECTOR.exists() else dlib.get_frontal_face_detector()
    )
    detectors: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for each in (detector, *(deepcopy(detector) for _ in range(1, SEARCHES_AT_ONCE))):
        detectors.put(each)
    return _Models(
        detectors=detectors,
        landmarks=dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat"))),
        network=FaceNetwork(model_file(f"{MODEL_NAME}.dat")),
    )


def model_file(name: str) -> Path:
    """Returns where a model of the package face_recognition_models is; importing that takes longer than reading it."""
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the package face_recognition_models is not installed: build the image again")
    return Path(next(iter(package.submodule_search_locations))) / "models" / name


def load() -> _Models:
    """Loads the models, once; several threads may ask."""
    with _lock:
        return _load()


def reduced(frame: Image) -> Image:
    """Returns the copy of a frame in which `find_faces` searches unless it searches finely."""
    scale = _DETECTION_WIDTH / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def find_faces(frame: Image, *, fine: bool = False, within: Box | None = None, copy: Image | None = None) -> list[Box]:
    """Finds faces on a scaled copy of the frame, or of a part of it, best first.

    They have to be an eighth of the frame's longer side or more. With `fine` a sixteenth is enough, and it takes four
    times as long; it may be kept `within` a part. `copy` is what `reduced` returns for the frame, if that is known.
    """
    height, width = frame.shape[:2]
    area = (within if fine else None) or Box(0, 0, width, height)
    if fine:
        scale = _FINE_DETECTION_WIDTH / max(height, width)
        part = frame[area.top : area.bottom, area.left : area.right]
        size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = part if scale == 1 else np.asarray(cv2.resize(part, size, interpolation=interpolation), np.uint8)
    else:
        small = reduced(frame) if copy is None else copy
        scale = max(small.shape[:2]) / max(height, width)
    left, top = area.left * scale, area.top * scale
    found = [
        Box(
            left=max(area.left, round((left + box.left()) / scale)),
            top=max(area.top, round((top + box.top()) / scale)),
            right=min(area.right, round((left + box.right()) / scale)),
            bottom=min(area.bottom, round((top + box.bottom()) / scale)),
        )
        for box in _detected(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    ]
    return [box for box in found if box.right > box.left and box.bottom > box.top]


def _detected(gray: Any) -> list[Any]:
    detectors = load().detectors
    detector = detectors.get()
    try:
        boxes, _scores, _kinds = detector.run(gray, 0, _SCORE_THRESHOLD)
    finally:
        detectors.put(detector)
    return list(boxes)


def encode(frame: Image, boxes: Sequence[Box]) -> list[Encoding]:
    """Returns the 128 numbers of each face in these boxes of a full frame."""
    return encode_aligned(aligned(frame, boxes))


def encode_aligned(faces: Image) -> list[Encoding]:
    """Returns the 128 numbers of each of the faces that `aligned` returned."""
    return list(load().network.encode(faces))


def aligned(frame: Image, boxes: Sequence[Box]) -> Image:
    """Returns each face turned upright and scaled to the same size: n x 150 x 150 x 3, RGB."""
    import dlib

    # The order of the colours makes no difference to the landmarks, so only the small pictures are turned to RGB.
    chips = [dlib.get_face_chip(frame, _landmarks(frame, box), SIDE, _PADDING)[..., ::-1] for box in boxes]
    return np.stack(chips) if chips else np.empty((0, SIDE, SIDE, 3), np.uint8)


def quality(photo: Image, box: Box) -> Quality:
    """Returns what makes the encoding of this face good or poor."""
    (chip,) = aligned(photo, [box])
    points = np.array([(point.x, point.y) for point in _landmarks(photo, box).parts()], dtype=np.float64)
    one, other, nose = points[0:2].mean(axis=0), points[2:4].mean(axis=0), points[4]
    apart = float(np.linalg.norm(other - one)) or 1.0
    return Quality(
        width=box.right - box.left,
        sharpness=float(cv2.Laplacian(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()),
        turned=abs(float(np.dot(nose - (one + other) / 2, other - one))) / apart**2,
    )


def _landmarks(frame: Image, box: Box) -> Any:
    import dlib

    return load().landmarks(frame, dlib.rectangle(box.left, box.top, box.right, box.bottom))
