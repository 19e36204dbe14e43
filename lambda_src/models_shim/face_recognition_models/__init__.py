"""Stands in for the package of this name in the image: the same functions without pkg_resources and 100 MB of models.

The 68-point predictor is only asked for by `face_encodings(model="large")`; face_recognition loads it on import, so it
gets the 5-point file that its default model uses.
"""

from __future__ import annotations

from pathlib import Path

_MODELS = Path(__file__).parent / "models"


def pose_predictor_five_point_model_location() -> str:
    """Path of the predictor of five landmarks."""
    return str(_MODELS / "shape_predictor_5_face_landmarks.dat")


def pose_predictor_model_location() -> str:
    """Path of the predictor of five landmarks: the one of 68 is not in the image."""
    return pose_predictor_five_point_model_location()


def face_recognition_model_location() -> str:
    """Path of the network that encodes a face."""
    return str(_MODELS / "dlib_face_recognition_resnet_model_v1.dat")


def cnn_face_detector_model_location() -> str:
    """Path of the CNN detector; face_recognition opens it on import, nothing here runs it."""
    return str(_MODELS / "mmod_human_face_detector.dat")
