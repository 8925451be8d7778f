"""A worker that lies: it says that it is at work, never does anything, and claims to be done when nobody asks any more.

`python liar.py PLATFORM_URL CAPABILITY`. Prints what it says and what it is answered. For trying out, not for use.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PLATFORM, CAPABILITY = sys.argv[1:3]
REPORTED = "io.neuralhive.ticket.reported.v1"


def post(url: str, body: Mapping[str, Any], **headers: str) -> str:
    """POST JSON and return the status and what was answered in short."""
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})  # noqa: S310 - our own
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            return f"{answer.status} {answer.read().decode()}"
    except HTTPError as error:
        return f"{error.code} {json.loads(error.read())['code']}"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def lie(assignment: Mapping[str, Any]) -> None:
    """Say RUNNING for longer than the timeout, then claim the end of this attempt, and of one that never was."""
    attempt = assignment["attempt"]
    for second in range(assignment["timeout_ms"] // 1000 + 3):
        if second < assignment["timeout_ms"] // 1000:
            report(assignment, attempt, "RUNNING", quiet=second > 0)
        time.sleep(1)
    report(assignment, attempt, "COMPLETED")
    report(assignment, attempt + 1, "COMPLETED")


def report(assignment: Mapping[str, Any], attempt: int, status: str, *, quiet: bool = False) -> None:
    event = {"ce-specversion": "1.0", "ce-id": str(time.time()), "ce-source": "/liar", "ce-type": REPORTED}
    said = {"ticket_id": assignment["ticket_id"], "attempt": attempt, "status": status, "output": {"rows": 42}}
    answer = post(assignment["callback_url"], said, **event, authorization=f"Bearer {assignment['token']}")
    if not quiet:
        say(f"attempt {attempt} {status}: {answer}")


class Inbox(BaseHTTPRequestHandler):
    """Accepts whatever comes."""

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(202)
        self.end_headers()
        if self.headers["ce-type"].startswith("io.neuralhive.ticket.assigned"):
            threading.Thread(target=lie, args=(data,), daemon=True).start()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Inbox)
    endpoint = f"http://127.0.0.1:{server.server_port}/"
    registration = {"worker_id": "liar", "endpoint": endpoint, "capabilities": [CAPABILITY], "slots": 1}
    say(f"registered: {post(f'{PLATFORM}/api/v1/workers', registration)[:3]}")
    server.serve_forever()
