"""Where small faces are searched for: where something moved that does not belong to somebody already seen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from function_cloud import MEDIA
from recognition import engine
from recognition.engine import Box, Image
from recognition.motion import Changes, thumbnail

FACE = Box(400, 200, 600, 400)


def room(*squares: tuple[int, int, int]) -> Image:
    """Returns a frame of 1280 x 720 with bright squares, each by its left, top and side."""
    picture = np.full((720, 1280, 3), 60, np.uint8)
    for left, top, side in squares:
        picture[top : top + side, left : left + side] = 200
    return picture


def changes(before: Image, now: Image) -> Changes:
    height, width = now.shape[:2]
    return Changes.between(thumbnail(before), thumbnail(now), width, height)


def moved(before: Image, now: Image, *faces: Box) -> Box | None:
    return changes(before, now).besides(faces)


def test_a_filmed_picture_may_hold_a_small_face_anywhere() -> None:
    assert moved(room((400, 200, 200)), room((400, 200, 200)), FACE) == Box(0, 0, 1280, 720)


def test_who_is_already_seen_is_not_searched_for() -> None:
    assert moved(room((400, 200, 200)), room((420, 210, 200)), FACE) is None


def test_something_else_that_moves_is_looked_at() -> None:
    area = moved(room((400, 200, 200), (1000, 300, 60)), room((420, 200, 200), (1008, 300, 60)), FACE)
    assert area is not None
    edges = (area.left, area.top, area.right, area.bottom)
    assert edges == pytest.approx((1000 - 80, 300 - 80, 1068 + 80, 360 + 80), abs=8)


def test_it_stays_in_the_frame() -> None:
    assert moved(room(), room((0, 0, 40), (1240, 680, 40))) == Box(0, 0, 1280, 720)


def test_in_a_picture_of_another_size_everything_changed() -> None:
    upright = np.ascontiguousarray(room((400, 200, 200)).transpose(1, 0, 2))
    assert moved(room((400, 200, 200)), upright) == Box(0, 0, 720, 1280)


def test_noise_is_no_motion() -> None:
    noise = np.random.default_rng(1).integers(-12, 13, (720, 1280, 3))
    noisy = np.clip(room().astype(int) + noise, 0, 255).astype(np.uint8)
    assert moved(room((400, 200, 200)), np.maximum(noisy, room((420, 200, 200))), FACE) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (4320, 7680)])
def test_any_size_of_frame(size: tuple[int, int]) -> None:
    black, white = np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8)
    area = moved(black, white)
    assert area == Box(0, 0, size[1], size[0])
    assert engine.find_faces(white[:720, :1280], fine=True, within=Box(0, 0, 1, 1)) == []


def test_a_face_has_its_place_in_the_frame_whatever_part_is_searched() -> None:
    photo = np.asarray(cv2.imread(str(MEDIA / "students" / "Joe Biden.jpg")), np.uint8)
    frame = np.full((720, 1280, 3), 90, np.uint8)
    small = cv2.resize(photo, (200, round(200 * photo.shape[0] / photo.shape[1])))
    frame[400 : 400 + small.shape[0], 900:1100] = small[:320]
    everywhere, part = (
        engine.find_faces(frame, fine=True, within=within) for within in (None, Box(870, 380, 1130, 720))
    )
    assert len(everywhere) == len(part) == 1
    edges = [(box.left, box.top, box.right, box.bottom) for box in (*everywhere, *part)]
    assert edges[0] == pytest.approx(edges[1], abs=10)
    assert everywhere[0].left > 900
    assert everywhere[0].top > 400


def test_boxes_overlap_when_the_middle_of_one_lies_in_the_other() -> None:
    assert FACE.overlaps(Box(450, 250, 1000, 1000))
    assert Box(450, 250, 1000, 1000).overlaps(FACE)
    assert not FACE.overlaps(Box(590, 390, 1000, 1000))
