"""Where everything of a deployed environment is: read once from what the deployment wrote down."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classroom_ops.errors import NotDeployedError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Endpoints:
    """Names and addresses of one environment. Paths are absolute; ``None`` means the environment has no such thing."""

    environment: str
    state_dir: Path
    region: str
    endpoint_url: str | None
    access_key_id: str | None
    secret_access_key: str | None
    input_bucket: str
    output_bucket: str
    input_queue: str
    output_queue: str
    dead_letter_suffix: str
    function: str
    table: str
    repository: str
    gallery_bucket: str
    pollers: tuple[str, ...]
    ssh_config: Path
    ssh_control_path: str
    cloud_container: str | None
    aws_container: str | None
    results_dir: str
    cloud: str
    clouds_yaml: Path

    @property
    def queues(self) -> tuple[str, str, str, str]:
        """All queue names: the two of the flow, then their dead-letter queues."""
        return (self.input_queue, self.output_queue, *self.dead_letter_queues)

    @property
    def dead_letter_queues(self) -> tuple[str, str]:
        """The dead-letter queues of the input queue and of the output queue."""
        return (f"{self.input_queue}{self.dead_letter_suffix}", f"{self.output_queue}{self.dead_letter_suffix}")


def state_dir_of(environment: str, root: Path = PROJECT_ROOT) -> Path:
    """The directory that the inventories call ``smart_classroom_state_dir``."""
    return root / ".state" / environment


def load(environment: str, root: Path = PROJECT_ROOT) -> Endpoints:
    """Read ``.state/<environment>/endpoints.json`` below `root`.

    Raises:
        NotDeployedError: the file is missing, is not JSON, or lacks a name.
    """
    up = "make up" if environment == "local" else f"make up ENVIRONMENT={environment}"
    state_dir = state_dir_of(environment, root)
    path = state_dir / "endpoints.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotDeployedError(f"nothing is deployed as {environment!r} ({path} does not exist): run {up}") from None
    except OSError as error:
        raise NotDeployedError(f"cannot read {path}: {error.strerror}: run as the user who ran {up}") from error
    try:
        return parse(json.loads(text), state_dir, root)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotDeployedError(
            f"{path} is damaged ({type(error).__name__}: {error}): run {up} to write it again"
        ) from error


def parse(document: Mapping[str, Any], state_dir: Path, root: Path) -> Endpoints:
    """Turn the document's JSON into `Endpoints`; relative paths are relative to `root`."""
    credentials = document.get("credentials") or {}
    pollers = document["pollers"]
    if isinstance(pollers, str):
        raise TypeError("pollers must be a list")
    return Endpoints(
        environment=document["environment"],
        state_dir=state_dir,
        region=document["region"],
        endpoint_url=document.get("endpoint_url") or None,
        access_key_id=credentials.get("access_key_id"),
        secret_access_key=credentials.get("secret_access_key"),
        input_bucket=document["input_bucket"],
        output_bucket=document["output_bucket"],
        input_queue=document["input_queue"],
        output_queue=document["output_queue"],
        dead_letter_suffix=document["dead_letter_suffix"],
        function=document["function"],
        table=document["table"],
        repository=document["repository"],
        gallery_bucket=document["gallery"]["bucket"],
        pollers=tuple(pollers),
        ssh_config=_path(document["ssh_config"], root),
        ssh_control_path=document.get("ssh_control_path") or "",
        cloud_container=document.get("cloud_container") or None,
        aws_container=document.get("aws_container") or None,
        results_dir=document["results_dir"],
        cloud=document["cloud"],
        clouds_yaml=_path(document["clouds_yaml"], root),
    )


def _path(text: str, root: Path) -> Path:
    return Path(os.path.normpath(root / text))
