"""Queues and a function in memory, quick enough for thousands of messages, which moto is not."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from poller_testing.loopback_aws import FunctionFault, InvokeRefused

Json = dict[str, Any]


class MemoryQueues:
    """The part of SQS that the service uses, by URL: visibility, receive counts, and dead letters after `receives`."""

    def __init__(self, receives: int) -> None:
        self._receives = receives
        self._changed = threading.Condition()
        # Of each queue, by receipt: message, and when it is visible again.
        self._queues: dict[str, dict[str, tuple[Json, float]]] = {}
        self.dead: dict[str, list[Json]] = {}

    def send(self, url: str, body: str) -> None:
        """Put a message into a queue."""
        with self._changed:
            message = {"MessageId": str(uuid.uuid4()), "Body": body, "Attributes": {"ApproximateReceiveCount": "0"}}
            self._queues.setdefault(url, {})[str(uuid.uuid4())] = (message, 0.0)
            self._changed.notify_all()

    def depth(self, url: str) -> int:
        """Messages in a queue, those in flight included."""
        with self._changed:
            return len(self._queues.get(url, {}))

    def receive_message(self, **options: Any) -> Json:
        """As boto3's."""
        deadline = time.monotonic() + options["WaitTimeSeconds"]
        with self._changed:
            while not (found := self._take(options)) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, 0.1))
        return {"Messages": found} if found else {}

    def _take(self, options: Json) -> list[Json]:
        url, now = options["QueueUrl"], time.monotonic()
        queue = self._queues.setdefault(url, {})
        found: list[Json] = []
        for receipt, (message, visible_at) in list(queue.items()):
            if visible_at > now or len(found) == options["MaxNumberOfMessages"]:
                continue
            del queue[receipt]
            count = int(message["Attributes"]["ApproximateReceiveCount"]) + 1
            if count > self._receives:
                self.dead.setdefault(url, []).append(message)
                continue
            again = message | {
                "Attributes": {"ApproximateReceiveCount": str(count)},
                "ReceiptHandle": str(uuid.uuid4()),
            }
            queue[again["ReceiptHandle"]] = (again, now + options["VisibilityTimeout"])
            found.append(again)
        return found

    def change_message_visibility_batch(self, **options: Any) -> Json:
        """As boto3's."""
        return self._each(options, lambda queue, entry: queue.update(self._shown_again(queue, entry)))

    def delete_message_batch(self, **options: Any) -> Json:
        """As boto3's."""
        return self._each(options, lambda queue, entry: queue.pop(entry["ReceiptHandle"]))

    def _shown_again(self, queue: Json, entry: Json) -> Json:
        message, _ = queue[entry["ReceiptHandle"]]
        return {entry["ReceiptHandle"]: (message, time.monotonic() + entry["VisibilityTimeout"])}

    def _each(self, options: Json, change: Callable[[Json, Json], object]) -> Json:
        answer: Json = {"Successful": [], "Failed": []}
        with self._changed:
            queue = self._queues[options["QueueUrl"]]
            for entry in options["Entries"]:
                if entry["ReceiptHandle"] in queue:
                    change(queue, entry)
                    answer["Successful"].append({"Id": entry["Id"]})
                else:
                    answer["Failed"].append({"Id": entry["Id"], "SenderFault": True, "Code": "ReceiptHandleIsInvalid"})
            self._changed.notify_all()
        return answer


class MemoryFunction:
    """Lambda's call of a function of this process, which raises FunctionFault or InvokeRefused as it likes."""

    def __init__(self, function: Callable[[Json], Any]) -> None:
        self._function = function

    def invoke(self, **options: Any) -> Json:
        """As boto3's."""
        try:
            answer = json.dumps(self._function(json.loads(options["Payload"]))).encode()
        except FunctionFault as fault:
            body = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": str(fault)}).encode()
            return {"Payload": io.BytesIO(body), "FunctionError": "Unhandled"}
        except InvokeRefused as refused:
            response: Any = {
                "Error": {"Code": refused.code},
                "ResponseMetadata": {"HTTPStatusCode": refused.http_status},
            }
            raise ClientError(response, "Invoke") from refused
        return {"Payload": io.BytesIO(answer)}
