"""The code of two functions with one role: the real handler, and a probe that makes whatever call it is told to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

# In the image the shared contract lies beside the function's own code.
sys.path[:0] = [os.environ["HANDLER_DIRECTORY"], str(Path(os.environ["HANDLER_DIRECTORY"]).parent)]


def recognise(event: object, context: Any) -> Any:
    """Hand the event to the real handler."""
    from handler import face_recognition_handler  # type: ignore[import-not-found]

    return face_recognition_handler(event, context)


def probe(event: dict[str, Any], _context: object) -> str:
    """Make the call ``{"service", "operation", "parameters"}``; returns the code of the refusal, empty without one."""
    service = boto3.client(event["service"])
    try:
        getattr(service, event["operation"])(**event["parameters"])
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""
