"""Answers invocations as the runtime interface emulator does: the greeting and the event that came."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """One invocation; with the variable ``FAIL`` it is answered as an error of the function."""

    def do_POST(self) -> None:
        """Answer with ``{"greeting", "edition", "event"}``."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = {"greeting": os.environ.get("GREETING"), "edition": os.environ.get("EDITION"), "event": event}
        if os.environ.get("FAIL"):
            body = {"errorType": "Planted", "errorMessage": "the function fails"}
        answer = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Answer).serve_forever()
