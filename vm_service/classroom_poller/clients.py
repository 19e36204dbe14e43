"""AWS clients with time limits, and credentials from one file only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from botocore.config import Config as ClientConfig
from botocore.credentials import CredentialResolver, SharedCredentialProvider
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from .config import Config, ConfigError

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_sqs.client import SQSClient

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 10
# Time for a cold start (the image is fetched, the function imports its libraries) beyond the function's own limit.
_COLD_START_SECONDS = 30


@dataclass(frozen=True)
class Clients:
    """`receiver` waits as long as a long poll may take, `sqs` does everything else."""

    receiver: SQSClient
    sqs: SQSClient
    function: LambdaClient


def open_session(credentials: Path) -> Session:
    """A session with the credentials of one file, an AWS shared credentials file with a profile ``default``.

    Nothing else is asked: not the environment, not the metadata service.

    Raises:
        ConfigError: the file gives no credentials.
    """
    session = Session()
    provider = SharedCredentialProvider(creds_filename=str(credentials), profile_name="default")
    try:
        found = provider.load()
    except BotoCoreError as error:
        raise ConfigError(f"the credentials {credentials} cannot be read: {error}") from error
    if found is None:
        raise ConfigError(f"the credentials {credentials} are missing or have no profile [default]")
    session.register_component("credential_provider", CredentialResolver([provider]))
    return session


def open_clients(config: Config, credentials: Path) -> Clients:
    """Make the clients with the `credentials` of `open_session`; no call is made yet.

    Raises:
        ConfigError: the file gives no credentials.
    """
    session = open_session(credentials)

    def client(service: str, read_seconds: int, attempts: int) -> object:
        return session.create_client(
            service,
            region_name=config.region,
            endpoint_url=config.endpoint_url or None,
            config=ClientConfig(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=read_seconds,
                tcp_keepalive=True,
                max_pool_connections=config.concurrency + 4,
                retries={"mode": "standard", "total_max_attempts": attempts},
            ),
        )

    return Clients(
        # The loop around a long poll tries again by itself.
        receiver=cast("SQSClient", client("sqs", config.wait_seconds + _ANSWER_SECONDS, 1)),
        sqs=cast("SQSClient", client("sqs", _ANSWER_SECONDS, 3)),
        # A second attempt would run the function twice for one fault; the queue brings the message back instead.
        function=cast("LambdaClient", client("lambda", config.function_timeout_seconds + _COLD_START_SECONDS, 1)),
    )
