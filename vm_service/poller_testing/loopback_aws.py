"""The AWS APIs on a loopback port: moto behind plain HTTP, and a function that answers uploads like the real one.

moto's own server needs a web framework; a service in a process of its own needs no more than this. Run as a program it
serves until it is stopped: ``python -m poller_testing.loopback_aws --port 4566 --queues``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

Json = dict[str, Any]
REGION = "us-east-1"


class LoopbackAws:
    """moto on ``url``. ``function`` takes an event and returns the answer, or raises FunctionFault or InvokeRefused."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, function: Callable[[Json], Any] | None = None) -> None:
        from moto import mock_aws
        from moto.core.botocore_stubber import BotocoreStubber

        os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
        self.function: Callable[[Json], Any] = function or self.answer_uploads
        self.invocations: list[Json] = []
        # While set, connections end without an answer, as when the network is cut.
        self.cut = threading.Event()
        self._mock = mock_aws()
        self._mock.start()
        self._stubber = BotocoreStubber()
        self._server = _Server((host, port), _Handler)
        self._server.aws = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Endpoint of every service."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop serving and forget everything."""
        self._server.shutdown()
        self._server.server_close()
        self._mock.stop()

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer one request: an invocation here, everything else by moto."""
        invocation = re.fullmatch(r"/2015-03-31/functions/[^/]+/invocations", path)
        if invocation and method == "POST":
            return self._invoke(json.loads(body))
        scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", headers.get("Authorization", ""))
        service = scope.group(1) if scope else "s3"
        host = f"{service}.{REGION}.amazonaws.com" if service != "s3" else "s3.amazonaws.com"
        from botocore.awsrequest import AWSPreparedRequest
        from botocore.compat import HTTPHeaders

        kept = HTTPHeaders()
        for name, value in headers.items():
            kept[name] = host if name.lower() == "host" else value
        answer = self._stubber.process_request(AWSPreparedRequest(method, f"https://{host}{path}", kept, body, False))
        if answer is None:
            return 404, {}, b""
        status, answer_headers, content = answer
        return (
            int(status),
            {str(name): str(value) for name, value in answer_headers.items()},
            content.encode() if isinstance(content, str) else content,
        )

    def _invoke(self, event: Json) -> tuple[int, dict[str, str], bytes]:
        self.invocations.append(event)
        try:
            return 200, {}, json.dumps(self.function(event)).encode()
        except FunctionFault as fault:
            payload = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": str(fault)}).encode()
            return 200, {"X-Amz-Function-Error": "Unhandled"}, payload
        except InvokeRefused as refused:
            error = json.dumps({"Type": "User", "message": str(refused)}).encode()
            return refused.http_status, {"x-amzn-ErrorType": refused.code}, error

    def answer_uploads(self, event: Json) -> Json:
        """What the real function does with an SQS event, without looking at a video: sends one result an upload."""
        import boto3

        sqs = boto3.client("sqs", region_name=REGION)
        url = sqs.get_queue_url(QueueName="output-notification")["QueueUrl"]
        for record in event["Records"]:
            for upload in json.loads(record["body"]).get("Records", []):
                message = result_message(unquote_plus(upload["s3"]["object"]["key"]), upload["s3"]["object"]["eTag"])
                sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
        return {"batchItemFailures": []}


class FunctionFault(Exception):  # noqa: N818 named as Lambda names it
    """The function ended with an error."""


class InvokeRefused(Exception):  # noqa: N818 no error of this program
    """Lambda does not run the function."""

    def __init__(self, code: str, http_status: int) -> None:
        super().__init__(f"planted: {code}")
        self.code = code
        self.http_status = http_status


def upload_event(key: str, etag: str | None = None) -> Json:
    """The part of an S3 event that matters, with the key encoded as S3 encodes it."""
    from urllib.parse import quote_plus

    etag = etag or hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": "input-bucket-video"},
                    "object": {"key": quote_plus(key, safe="/"), "eTag": etag},
                },
            }
        ]
    }


def result_message(key: str, etag: str = "e" * 32, **changes: Any) -> Json:
    """A message as the function sends it."""
    from classroom_contract.keys import result_keys

    keys = result_keys(key)
    return {
        "schema": 2,
        "video": {"bucket": "input-bucket-video", "key": key, "version_id": None, "etag": etag},
        "status": "recognized",
        "students": [
            {
                "name": "Ada Lovelace",
                "major": "mathematics",
                "year": "1833",
                "confidence": "sure",
                "distance": 0.31,
            }
        ],
        "result": {"bucket": "output-bucket-vid", "csv": keys.csv, "json": keys.json, "frame": keys.frame},
        "request_id": "0" * 8,
        "processed_at": datetime.now(UTC).isoformat(),
        **changes,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    aws: LoopbackAws

    def handle_error(self, *_: object) -> None:
        """A client that was killed is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.aws.cut.is_set():
            self.close_connection = True
            return
        if self.path == "/health":
            answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
        else:
            answer = self.server.aws.handle(self.command, self.path, dict(self.headers.items()), body)
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 names of http.server

    def log_message(self, *_: object) -> None:
        """Quiet."""


def make_queues(max_receives: int = 3) -> dict[str, str]:
    """Both queues with their dead-letter queues; returns URLs by name."""
    import boto3

    sqs: Any = boto3.client("sqs", region_name=REGION)
    urls: dict[str, str] = {}
    for name in ("input-notification", "output-notification"):
        urls[f"{name}-dlq"] = sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:123456789012:{name}-dlq",
            "maxReceiveCount": str(max_receives),
        }
        attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "360"}
        urls[name] = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return urls


def make_students(
    table: str = "student_table", buckets: Sequence[str] = ("output-bucket-vid", "known-encodings")
) -> None:
    """The table of academic records, and the buckets of answers and of known encodings."""
    import boto3

    dynamodb: Any = boto3.client("dynamodb", region_name=REGION)
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    s3: Any = boto3.client("s3", region_name=REGION)
    for bucket in buckets:
        s3.create_bucket(Bucket=bucket)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--queues", action="store_true", help="make the queues")
    parser.add_argument("--students", action="store_true", help="make the table and the buckets")
    parser.add_argument("--seconds", type=float, default=0, help="time that the function takes for a video")
    options = parser.parse_args()
    aws = LoopbackAws(options.host, options.port)

    def slow(event: Json) -> Json:
        time.sleep(options.seconds * len(event["Records"]))
        return aws.answer_uploads(event)

    aws.function = slow
    if options.queues:
        make_queues()
    if options.students:
        make_students()
    sys.stdout.write(f"{aws.url}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
