"""Recognition of enrolled students in an uploaded video."""

from __future__ import annotations

import os

# The decoders write every oddity of a damaged file to stderr unless told not to before cv2 is loaded.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
