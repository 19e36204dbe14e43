"""Recognition of enrolled students in an uploaded video."""

from __future__ import annotations

import os
import sys

# The decoders write every oddity of a damaged file to stderr unless told not to before cv2 is loaded.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Libraries' functions are looked up when they are first called: what is never called may be missing, as in the image.
sys.setdlopenflags(os.RTLD_LAZY)
# A picture that unpacks to more than 100 megapixels is refused.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")
