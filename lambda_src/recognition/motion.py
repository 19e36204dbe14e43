"""Where something moved between two frames: people move, and the room behind them does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from recognition.engine import Box, Image

_SIDE: Final = 320  # pixels of the longer side of what is compared; the smallest face that is found has 20 of them
_LEVELS: Final = 16  # of 256: what noise and compression change between two frames stays below
_MARGIN: Final = 1 / 16  # of the longer side: the detector needs something of what is around a face


def thumbnail(frame: Image) -> Image:
    """Returns the frame in gray, as small as it is compared."""
    scale = _SIDE / max(frame.shape[:2])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def moved(before: Image, now: Image, frame: Image, faces: Sequence[Box]) -> Box | None:
    """Returns the part of the frame in which something moved that does not belong to these faces; None without any.

    `before` and `now` are thumbnails, `now` that of the frame. Where nothing at all moves, the faces neither, a picture
    was filmed and standing still says nothing: that is the whole frame.
    """
    height, width = frame.shape[:2]
    changed = (cv2.absdiff(before, now) > _LEVELS).astype(np.uint8)
    changed = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.uint8)
    if not changed.any():
        return Box(0, 0, width, height)
    scale = _SIDE / max(height, width)
    for face in faces:
        # Hair above it, shoulders beside it, the body below.
        across, up = face.right - face.left, face.bottom - face.top
        left, right = max(0.0, face.left - across), face.right + across
        top = max(0.0, face.top - up)
        changed[round(top * scale) :, round(left * scale) : round(right * scale)] = 0
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not rows.size:
        return None
    margin = _MARGIN * max(height, width)
    return Box(
        left=max(0, round(columns[0] / scale - margin)),
        top=max(0, round(rows[0] / scale - margin)),
        right=min(width, round((columns[-1] + 1) / scale + margin)),
        bottom=min(height, round((rows[-1] + 1) / scale + margin)),
    )
