"""A worker of Flow C in one file, with nothing but Python: it registers, takes tickets, does `work` and reports.

Beside `flowc up`: `python examples/worker.py`, then `flowc submit examples/hello.json`. FLOWC_URL says where the
platform is, FLOWC_API_KEY its key if it asks for one. The protocol: docs/reference/worker-protocol.md.
"""

import json
import os
import signal
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest, digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

WORKERS = os.environ.get("FLOWC_URL", "http://127.0.0.1:8080") + "/api/v1/workers"
KEY, SLOTS = os.environ.get("FLOWC_API_KEY", ""), 4
POOL, STOP, SEEN, JOINING = ThreadPoolExecutor(SLOTS), Event(), set(), Lock()


def work(task):  # what this worker is for; an exception fails the attempt
    return {"done": task["description"], "parameters": task["parameters"]}


def call(method, url, body=None, bearer=KEY):
    headers = {"content-type": "application/json", "authorization": f"Bearer {bearer}"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers, method=method), timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def run(task):
    try:
        end = {"status": "COMPLETED", "output": work(task)}
    except Exception as error:
        end = {"status": "FAILED", "error": {"type": type(error).__name__, "message": str(error), "retryable": True}}
    report = {"ticket_id": task["ticket_id"], "attempt": task["attempt"], **end}
    while True:  # until the platform has heard it, or says that it will not
        try:
            print(end["status"], task["task_id"], call("POST", task["callback_url"], report, task["token"]), flush=True)
            return
        except OSError as error:
            if isinstance(error, HTTPError) and error.code < 500 and error.code not in {408, 409, 425, 429}:
                print("refused", error.read().decode(), flush=True)
                return
        time.sleep(1)


class Inbox(BaseHTTPRequestHandler):
    timeout = 10  # seconds for a request to arrive

    def do_POST(self):
        size = int(self.headers.get("content-length", 0))
        self.send_response(self.take(self.rfile.read(size)) if 0 <= size < 4_000_000 else 413)
        self.send_header("content-length", "0")
        self.end_headers()

    def take(self, body):
        message, sent, given = (self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        with JOINING:  # a message may come before the answer to the registration whose secret signs it
            key = b64decode(member["signing_secret"].removeprefix("whsec_"))
        ours = b"v1," + b64encode(digest(key, f"{message}.{sent}.".encode() + body, "sha256"))
        if not any(compare_digest(ours, one.encode()) for one in given.split()) or abs(time.time() - int(sent)) > 300:
            return 401
        task = json.loads(body)
        if "callback_url" not in task:  # ticket.cancelled: here, what runs may end, and its report is superseded
            return 202
        if not task["callback_url"].startswith(member["callback_base_url"] + "/"):
            return 403
        attempt = task["ticket_id"], task["attempt"]
        if attempt not in SEEN:  # the same assignment may come twice
            SEEN.add(attempt)
            POOL.submit(run, task)
        return 202


server = ThreadingHTTPServer(("127.0.0.1", 0), Inbox)  # it listens; what comes waits until it serves
about = {"worker_id": f"python-{os.getpid()}", "capabilities": ["python"], "slots": SLOTS}
about["endpoint"] = f"http://127.0.0.1:{server.server_port}/"
member = call("POST", WORKERS, about)
Thread(target=server.serve_forever, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: STOP.set())
print("registered as", about["worker_id"], flush=True)
while not STOP.wait(member["heartbeat_interval_seconds"]):
    try:
        call("POST", f"{WORKERS}/{about['worker_id']}/heartbeat", {})
    except OSError as error:  # a platform that is away is told the next time; one that has forgotten us, again
        if isinstance(error, HTTPError) and error.code == 404:
            with JOINING:
                member = call("POST", WORKERS, about)
server.shutdown()
POOL.shutdown()  # what runs ends and is reported
call("DELETE", f"{WORKERS}/{about['worker_id']}")
