"""When two pictures of a face are taken for one person looking the same way."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from function_cloud import MEDIA
from recognition import engine
from recognition.engine import Image
from recognition.portraits import SIDE, alike, portrait


def face(name: str, *, shift: int = 0, scale: float = 1.0) -> Image:
    """Returns the aligned face of a photo that was moved and resized first."""
    photo = cv2.imread(str(MEDIA / "students" / name))
    assert photo is not None
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo = cv2.copyMakeBorder(photo, shift, 0, shift, 0, cv2.BORDER_REPLICATE)
    picture = np.asarray(photo, np.uint8)
    (box,) = engine.find_faces(picture)
    return np.asarray(engine.aligned(picture, [box])[0], np.uint8)


NAMES = sorted(path.name for path in (MEDIA / "students").glob("*.jpg"))


def test_different_people_are_never_alike() -> None:
    pairs = list(itertools.combinations(NAMES, 2))
    assert pairs
    for one, other in pairs:
        assert not alike(portrait(face(one)), portrait(face(other))), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_one_person_is_alike_elsewhere_in_the_frame_and_in_other_light(name: str) -> None:
    first = portrait(face(name))
    assert alike(first, portrait(face(name, shift=37)))
    assert alike(first, portrait(np.asarray(cv2.convertScaleAbs(face(name), alpha=0.6, beta=30), np.uint8)))


def before_a_window(picture: Image) -> Image:
    """Returns an aligned face as it is seen before a bright window: dark, and bright all around."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    away = ((columns - width / 2) / (0.36 * width)) ** 2 + ((rows - 0.52 * height) / (0.46 * height)) ** 2
    head = cv2.GaussianBlur((away < 1).astype(np.float32), (0, 0), 3)[..., None]
    return np.asarray((245 * (1 - head) + 0.5 * picture * head).clip(0, 255), np.uint8)


def test_a_window_behind_them_makes_nobody_alike() -> None:
    portraits = [portrait(before_a_window(face(name))) for name in NAMES]
    for one, other in itertools.combinations(portraits, 2):
        assert not alike(one, other)


def test_a_face_turned_away_is_not_alike() -> None:
    once = face(NAMES[0])
    assert not alike(portrait(once), portrait(np.ascontiguousarray(once[:, ::-1])))


def test_a_picture_without_anything_in_it_is_like_nothing() -> None:
    plain = portrait(np.full((150, 150, 3), 90, np.uint8))
    assert plain.shape == (SIDE, SIDE)
    assert not alike(plain, plain)
