"""Answers sample clips with the real handler and prints the answers; runs inside the image as well as outside.

Usage: python3 answer_clips.py CLIP...        (in the function's environment)
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass


@dataclass
class Context:
    """What the runtime passes."""

    aws_request_id: str = "arm64-test"
    function_version: str = "1"

    def get_remaining_time_in_millis(self) -> int:
        """Returns more than any processor needs."""
        return 900_000


def event(clip: str) -> dict[str, object]:
    """The event of a queue with one upload."""
    upload = {"bucket": {"name": "input-bucket-video"}, "object": {"key": clip, "eTag": "0" * 32}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": upload}
    body = json.dumps({"Records": [record]})
    return {"Records": [{"messageId": clip, "body": body, "eventSource": "aws:sqs", "receiptHandle": "r"}]}


def main() -> None:
    """Answer every clip of the command line."""
    from handler import face_recognition_handler  # type: ignore[import-not-found]

    for clip in sys.argv[1:]:
        answer = face_recognition_handler(event(clip), Context())
        sys.stdout.write(f"ANSWER {json.dumps({'machine': platform.machine(), **answer})}\n")


if __name__ == "__main__":
    main()
