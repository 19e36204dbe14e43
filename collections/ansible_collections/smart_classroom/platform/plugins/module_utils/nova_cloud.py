"""What this project's OpenStack modules share: the connection, its errors, and waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

API_TIMEOUT_SECONDS = 60
CLOUD_ARGUMENTS: dict[str, dict[str, Any]] = {
    "clouds_file": {"type": "path", "required": True},
    "cloud": {"type": "str", "required": True},
}

# What brings a server from a settled state back to ACTIVE, as methods of the SDK's compute proxy.
_REVIVAL = {
    "SHUTOFF": "start_server",
    "PAUSED": "unpause_server",
    "SUSPENDED": "resume_server",
    "SHELVED": "unshelve_server",
    "SHELVED_OFFLOADED": "unshelve_server",
    "RESCUE": "unrescue_server",
}


class CloudError(Exception):
    """The cloud cannot be reached, or something in it is not what it should be. The text is for the operator."""


def connect(clouds_file: str, cloud: str) -> Any:
    """An ``openstack.connection.Connection`` to ``cloud`` of ``clouds_file``, with a timeout on every call.

    Raises:
        CloudError: the file or the cloud's name is not there.
    """
    import openstack.config
    import openstack.connection
    import openstack.exceptions

    try:
        region = openstack.config.OpenStackConfig(config_files=[clouds_file]).get_one(
            cloud, api_timeout=API_TIMEOUT_SECONDS
        )
    except openstack.exceptions.ConfigException as error:
        raise CloudError(
            f"{clouds_file} does not describe a cloud '{cloud}' ({error}). Make the private cloud first: "
            "ansible-playbook playbooks/deploy-private-cloud.yml"
        ) from error
    return openstack.connection.Connection(config=region)


def cloud_errors() -> tuple[type[Exception], ...]:
    """The exceptions that an OpenStack call may end with."""
    import keystoneauth1.exceptions
    import openstack.exceptions

    return (CloudError, openstack.exceptions.SDKException, keystoneauth1.exceptions.ClientException)


def wait_for(what: str, probe: Callable[[], T | None], timeout_seconds: float, interval_seconds: float = 0.5) -> T:
    """The first answer of ``probe`` that is not None.

    Raises:
        CloudError: there was none in ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            raise CloudError(f"{what} did not come about within {timeout_seconds:.0f} s")
        time.sleep(interval_seconds)
    return answer


def is_off(server: Any) -> bool:
    """Whether a server is in a state that ``start`` brings it out of."""
    return server.status in _REVIVAL


def start(compute: Any, server: Any) -> None:
    """Ask for a server that ``is_off`` to be started; it is not waited for."""
    getattr(compute, _REVIVAL[server.status])(server)


def fault_of(server: Any) -> str:
    """Why a server is in state ERROR, in one line."""
    fault = server.fault or {}
    return str(fault.get("message") or "no reason given; nova-compute's log has it") + (
        f" (code {fault['code']})" if fault.get("code") else ""
    )
