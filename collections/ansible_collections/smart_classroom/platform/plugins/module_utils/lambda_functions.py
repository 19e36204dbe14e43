"""What is done to a Lambda function that runs an image: looked at, changed, waited for, published and pointed at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from ansible_collections.smart_classroom.platform.plugins.module_utils.aws_clients import error_code, pages

POLL_SECONDS = 1


class FunctionError(Exception):
    """The function cannot be deployed; the message says why and what mends it."""


@dataclass(frozen=True)
class Deployment:
    """What a function is made of, in Lambda's terms."""

    image_uri: str
    architecture: str
    configuration: Mapping[str, Any]
    concurrency: int | None
    tags: Mapping[str, str]
    alias: str = ""
    kept_versions: int = 5

    @property
    def architectures(self) -> dict[str, list[str]]:
        """What a request says of the architecture: nothing when it is left unsaid."""
        return {"Architectures": [self.architecture]} if self.architecture else {}


def find(function: Any, name: str, qualifier: str = "$LATEST") -> dict[str, Any] | None:
    """The answer of ``GetFunction`` about a version or an alias, None when there is no such thing."""
    try:
        found: dict[str, Any] = function.get_function(FunctionName=name, Qualifier=qualifier)
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise
    return found


def differences(current: dict[str, Any], wanted: Deployment) -> list[str]:
    """The parts in which the function differs: ``code``, ``configuration``, ``concurrency``, ``tags``."""
    configuration = current["Configuration"]
    same = {
        "code": current["Code"].get("ImageUri") == wanted.image_uri
        and wanted.architecture in ("", *configuration.get("Architectures", ["x86_64"])),
        "configuration": all(
            configuration.get(key) == value for key, value in wanted.configuration.items() if key != "Environment"
        )
        and configuration.get("Environment", {}).get("Variables", {})
        == wanted.configuration["Environment"]["Variables"],
        "concurrency": current.get("Concurrency", {}).get("ReservedConcurrentExecutions") == wanted.concurrency,
        "tags": wanted.tags.items() <= current.get("Tags", {}).items(),
    }
    return [part for part, is_same in same.items() if not is_same]


def alias_differs(function: Any, name: str, wanted: Deployment) -> bool:
    """Whether the alias points at anything but a version that is ``wanted``."""
    if not wanted.alias:
        return False
    live = find(function, name, wanted.alias)
    return live is None or not {"code", "configuration"}.isdisjoint(differences(live, wanted))


def move_alias(function: Any, name: str, alias: str, version: str) -> None:
    """Point the alias, which may be missing, at ``version``."""
    try:
        function.update_alias(FunctionName=name, Name=alias, FunctionVersion=version)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        function.create_alias(FunctionName=name, Name=alias, FunctionVersion=version)


def publish(function: Any, name: str, wanted: Deployment, wait_seconds: int) -> None:
    """Make a version of what is deployed, point the alias at it, and drop the oldest versions that no alias points at.

    Lambda answers with the newest version when that is already what is deployed, so an interrupted run goes on here.

    Raises:
        FunctionError: the version did not become ready.
        ClientError: Lambda refuses.
    """
    version = function.publish_version(FunctionName=name)["Version"]
    await_ready(function, name, wait_seconds, version)
    move_alias(function, name, wanted.alias, version)
    numbers = sorted(published_versions(function, name), reverse=True)
    aliases = pages(function, "list_aliases", "Aliases", FunctionName=name)
    used = {version, *(alias["FunctionVersion"] for alias in aliases)}
    for number in numbers[wanted.kept_versions :]:
        if str(number) not in used:
            function.delete_function(FunctionName=name, Qualifier=str(number))


def published_versions(function: Any, name: str) -> list[int]:
    """The numbers of the published versions."""
    found = pages(function, "list_versions_by_function", "Versions", FunctionName=name)
    return [int(version["Version"]) for version in found if version["Version"] != "$LATEST"]


def await_ready(function: Any, name: str, wait_seconds: int, version: str = "$LATEST") -> None:
    """Wait until the last change of the function, or a version of it, has taken effect.

    Raises:
        FunctionError: it failed or took too long.
    """
    for waiter in ("function_active_v2", "function_updated_v2"):
        try:
            function.get_waiter(waiter).wait(
                FunctionName=name,
                Qualifier=version,
                WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": max(1, wait_seconds // POLL_SECONDS)},
            )
        except WaiterError as error:
            reason = function.get_function_configuration(FunctionName=name)
            said = reason.get("StateReason") or reason.get("LastUpdateStatusReason") or str(error)
            raise FunctionError(
                f"The function {name} did not become ready within {wait_seconds} s: {said}. Run the same "
                "command again; if it stays so, the image is the likely cause: `make test` runs it."
            ) from error


def create(function: Any, name: str, wanted: Deployment, wait_seconds: int) -> None:
    """Create the function. A role that is a few seconds old is not known to Lambda at once, so that is tried again.

    Raises:
        ClientError: Lambda refuses.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            function.create_function(
                FunctionName=name,
                PackageType="Image",
                Code={"ImageUri": wanted.image_uri},
                **wanted.architectures,
                Tags=dict(wanted.tags),
                **wanted.configuration,
            )
            return
        except ClientError as error:
            is_new_role = error_code(error) == "InvalidParameterValueException" and "assume" in str(error)
            if not is_new_role or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def set_concurrency(function: Any, name: str, concurrency: int | None) -> None:
    """Reserve ``concurrency`` invocations, or none."""
    if concurrency is None:
        function.delete_function_concurrency(FunctionName=name)
    else:
        function.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=concurrency)
