"""An AWS account as a server of this machine: moto's, with Debian's images, host keys on consoles, ids of tables.

Usage: account_server.py --port 4577 --images images.json [--console FILE] [--record FILE]

moto answers every instance's console with the same lines of a machine of 2006. Here the console of every instance is
what the file of ``--console`` holds, so that a test says which host keys the instances show. ``--record`` writes down
every request, one JSON object a line: what the caller asked of AWS, in the order in which it asked.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Headers that say what is asked; the others say how.
TELLING = {"HTTP_X_AMZ_TARGET": "target", "HTTP_AUTHORIZATION": "authorization", "CONTENT_TYPE": "content_type"}


def console_from(path: Path) -> Any:
    """A stand-in for moto's ``get_console_output`` that answers with what is in the file now."""
    from moto.core.responses import ActionResult
    from moto.core.types import Base64EncodedString
    from moto.core.utils import utcnow

    def get_console_output(self: Any) -> Any:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        output = Base64EncodedString.from_raw_string(path.read_text(encoding="utf-8") if path.exists() else "")
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})

    return get_console_output


def with_table_id(describe: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """moto's description of a table with the ``TableId`` that AWS gives and ``community.aws.dynamodb_table`` reads."""

    def describe_with_id(self: Any, base_key: str = "TableDescription") -> dict[str, Any]:
        description = describe(self, base_key)
        description[base_key]["TableId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, self.table_arn))
        return description

    return describe_with_id


def with_policy_kept(set_attributes: Callable[..., None]) -> Callable[..., None]:
    """moto's change of a queue's attributes without the removal of a policy that the change says nothing about."""

    def set_attributes_with_policy(self: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        policy = getattr(self, "policy", None)
        set_attributes(self, {"Policy": policy, **attributes} if policy else attributes, now)

    return set_attributes_with_policy


def with_allowed_sources(attributes: property) -> property:
    """moto's attributes of a queue with the ``RedriveAllowPolicy`` that was set."""

    def attributes_with_sources(self: Any) -> dict[str, Any]:
        found: dict[str, Any] = attributes.__get__(self)
        allowed = getattr(self, "redrive_allow_policy", None)
        return {**found, "RedriveAllowPolicy": allowed} if allowed else found

    return property(attributes_with_sources)


def describe_subscribers(self: Any) -> str:
    """What moto lacks of AWS Budgets: who is told by a notification of a budget."""
    budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
    asked = self._get_param("Notification")
    told = [found.subscribers for found in budget.notifications if found.details == asked]
    return json.dumps({"Subscribers": told[0] if told else []})


def recording(application: Any, path: Path) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """The application, with every request appended to the file before it is answered."""

    def record(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        request = {name: environ.get(header, "") for header, name in TELLING.items()}
        request |= {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ.get("QUERY_STRING", ""),
            "body": base64.b64encode(body).decode(),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(request) + "\n")
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return record


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True, help="the images that are there, in moto's shape")
    parser.add_argument("--console", type=Path, help="what the console of every instance shows")
    parser.add_argument("--record", type=Path, help="where every request is written down")
    arguments = parser.parse_args()
    os.environ["MOTO_AMIS_PATH"] = str(arguments.images)  # read when moto is imported

    from moto.budgets.responses import BudgetsResponse
    from moto.dynamodb.models.table import Table
    from moto.ec2.responses.general import General
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.sqs.models import Queue
    from werkzeug.serving import run_simple

    setattr(BudgetsResponse, "describe_subscribers_for_notification", describe_subscribers)  # noqa: B010 it has none
    setattr(Queue, "_set_attributes", with_policy_kept(Queue._set_attributes))  # noqa: B010 mypy knows the method
    setattr(Queue, "attributes", with_allowed_sources(Queue.__dict__["attributes"]))  # noqa: B010 mypy knows it
    setattr(Table, "describe", with_table_id(Table.describe))  # noqa: B010 mypy knows the method
    if arguments.console:
        setattr(General, "get_console_output", console_from(arguments.console))  # noqa: B010 mypy knows the method
    application: Any = DomainDispatcherApplication(create_backend_app)
    if arguments.record:
        application = recording(application, arguments.record)
    run_simple("127.0.0.1", arguments.port, application, threaded=True)


if __name__ == "__main__":
    main()
