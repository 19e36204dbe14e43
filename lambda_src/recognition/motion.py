"""What changed between two frames: people move, and the room behind them does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from recognition.engine import Box, Image

_SIDE: Final = 320  # pixels of the longer side of what is compared; the smallest face that is found has 20 of them
_LEVELS: Final = 16  # of 256: what noise and compression change between two frames stays below
_MARGIN: Final = 1 / 16  # of the longer side: the detector needs something of what is around a face


def thumbnail(frame: Image) -> Image:
    """Returns the frame, or a smaller copy of it, in gray and as small as it is compared."""
    scale = _SIDE / max(frame.shape[:2])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


@dataclass(frozen=True)
class Changes:
    """Which pixels of a thumbnail changed, in a frame of `width` x `height`.

    Where nothing at all did, a picture was filmed and standing still says nothing: then everything counts as changed.
    """

    pixels: Image
    width: int
    height: int

    @classmethod
    def between(cls, before: Image, now: Image, width: int, height: int) -> Changes:
        """Compares the thumbnail of a frame of that size with the one before; in another size everything changed."""
        if before.shape != now.shape:
            return cls(np.ones_like(now), width, height)
        changed = (cv2.absdiff(before, now) > _LEVELS).astype(np.uint8)
        changed = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.uint8)
        return cls(changed, width, height)

    def besides(self, faces: Sequence[Box]) -> Box | None:
        """Returns the part of the frame in which something changed that does not belong to these faces, if any did."""
        if not self.pixels.any():
            return Box(0, 0, self.width, self.height)
        scale = _SIDE / max(self.height, self.width)
        others = self.pixels.copy()
        for face in faces:
            # Hair above it, shoulders beside it, the body below.
            across, up = face.right - face.left, face.bottom - face.top
            left, right = max(0.0, face.left - across), face.right + across
            top = max(0.0, face.top - up)
            others[round(top * scale) :, round(left * scale) : round(right * scale)] = 0
        return self._around(others)

    def _around(self, pixels: Image) -> Box | None:
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not rows.size:
            return None
        scale = _SIDE / max(self.height, self.width)
        margin = _MARGIN * max(self.height, self.width)
        return Box(
            left=max(0, round(columns[0] / scale - margin)),
            top=max(0, round(rows[0] / scale - margin)),
            right=min(self.width, round((columns[-1] + 1) / scale + margin)),
            bottom=min(self.height, round((rows[-1] + 1) / scale + margin)),
        )
