"""boto3 clients for this project's AWS modules: endpoint, region and credentials come from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60

AWS_ERRORS = (BotoCoreError, ClientError)


def aws_client(service: str) -> Any:
    """A client of ``service`` (the name that boto3 uses) with timeouts on every call.

    Raises:
        BotoCoreError: no region or no such service.
    """
    import boto3

    return boto3.client(  # type: ignore[call-overload]  # its type stubs want the name as a literal
        service,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "max_attempts": 5},
        ),
    )


def pages(client: Any, operation: str, key: str, **options: Any) -> Iterator[Any]:
    """Everything that a call answers under ``key``, over all its pages."""
    if not client.can_paginate(operation):
        yield from getattr(client, operation)(**options)[key]
        return
    for page in client.get_paginator(operation).paginate(**options):
        yield from page.get(key, [])


def error_code(error: ClientError) -> str:
    """The code of an answer that is an error, such as ``ResourceNotFoundException``."""
    return str(error.response.get("Error", {}).get("Code", ""))
