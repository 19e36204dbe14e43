"""One call of the function with a batch of messages, and what its answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
)

from .messages import function_event

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef


class NotStartedError(Exception):
    """The function did not run: throttled, missing, forbidden or out of reach. No message is to blame."""


class InvocationFailedError(Exception):
    """The function ran and failed, or nobody knows whether it ran."""


# Refusals that the messages themselves cause; waiting does not mend them.
_MESSAGE_FAULTS = ("RequestTooLargeException", "RequestEntityTooLargeException", "InvalidRequestContentException")


class Function:
    """The recognition function, called with messages as an SQS event source mapping would call it."""

    def __init__(self, client: LambdaClient, name: str, queue_arn: str, region: str) -> None:
        self._client = client
        self._name = name
        self._queue_arn = queue_arn
        self._region = region

    def invoke(self, messages: Sequence[MessageTypeDef]) -> set[str]:
        """Call and wait; returns the ids of messages that failed.

        Raises:
            NotStartedError: the function did not run.
            InvocationFailedError: the call failed as a whole.
        """
        payload = json.dumps(function_event(messages, self._queue_arn, self._region)).encode()
        try:
            answer = self._client.invoke(FunctionName=self._name, InvocationType="RequestResponse", Payload=payload)
            body = answer["Payload"].read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            http_status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if http_status >= 500 or code in _MESSAGE_FAULTS:
                raise InvocationFailedError(str(error)) from error
            raise NotStartedError(str(error)) from error
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            raise NotStartedError(str(error)) from error
        except (HTTPClientError, OSError) as error:
            raise InvocationFailedError(f"the connection broke during the call: {error}") from error
        except BotoCoreError as error:
            raise NotStartedError(str(error)) from error
        if answer.get("FunctionError"):
            raise InvocationFailedError(f"the function failed: {fault(body)}")
        return failed_ids(body, {message["MessageId"] for message in messages})


def fault(body: bytes) -> str:
    """What a log may say of a failed invocation: the runtime's own words, of other exceptions the type alone."""
    try:
        error = json.loads(body)
        kind, text = str(error.get("errorType", "")), str(error.get("errorMessage", ""))
    except (ValueError, AttributeError, RecursionError):
        return "for a reason that cannot be read"
    # Lambda's own types are Runtime.ExitError, Sandbox.Timedout and the like; a time-out may have none.
    return f"{kind}: {text[:300]}".removeprefix(": ") if "." in kind or not kind else kind[:100]


def failed_ids(body: bytes, sent: set[str]) -> set[str]:
    """Messages that the function reports in ``batchItemFailures``, by the rules of an event source mapping.

    No list, or an empty one, is a success of all.

    Raises:
        InvocationFailedError: the answer cannot be understood, or names a message that was not sent. All have failed.
    """
    try:
        answer = json.loads(body) if body.strip() else None
    except (ValueError, RecursionError) as error:
        raise InvocationFailedError("the function's answer is not JSON") from error
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return set()
    try:
        named = {failure["itemIdentifier"] for failure in failures}
    except (TypeError, KeyError) as error:
        raise InvocationFailedError("batchItemFailures is no list of messages") from error
    if not named <= sent:
        raise InvocationFailedError(f"batchItemFailures names {len(named - sent)} messages that were not sent")
    return named
