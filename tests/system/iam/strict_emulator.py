"""Starts the AWS emulator with two rules of authorization that AWS documents and the emulator lacks.

- A batch call of SQS needs the permission of the single call; there is no action ``sqs:DeleteMessageBatch``.
- Whoever may not list a bucket is not told that an object is missing: the answer is a refusal of ``s3:ListBucket``.
"""

from __future__ import annotations

from typing import Any

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import s3

action_of_request = iam_actions.extract_iam_action
checks_of_request = iam_actions.s3_additional_checks


def single_action(*arguments: Any, **options: Any) -> str | None:
    """The action of a request, a batch counted as the single call."""
    action: str | None = action_of_request(*arguments, **options)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


def checks_with_listing(method: str, path: str, *arguments: Any) -> list[tuple[str, str]]:
    """The further checks of a request to S3, for a missing object that of listing its bucket."""
    checks: list[tuple[str, str]] = checks_of_request(method, path, *arguments)
    bucket, _, key = path.strip("/").partition("/")
    found = s3._buckets.get(bucket)
    if method in ("GET", "HEAD") and found and key and key not in found["objects"]:
        checks.append(("s3:ListBucket", f"arn:aws:s3:::{bucket}"))
    return checks


if __name__ == "__main__":
    iam_actions.extract_iam_action = single_action
    iam_actions.s3_additional_checks = checks_with_listing
    main()
