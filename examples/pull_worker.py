"""A worker that asks for its tickets. Python 3.8 or newer, no packages; see docs/guides/workers.md."""

import json
import os
import signal
import sys
import time
from threading import Thread
from urllib.request import Request, urlopen

API, ME = os.environ.get("FLOWC_URL", "http://127.0.0.1:8080") + "/api/v1", f"pull-{os.getpid()}"
KEY = os.environ.get("FLOWC_API_KEY", "")
REPORTS = {}  # by ticket and attempt: what is given again, as an answer was lost, is not done again


def work(task):  # what this worker is for; an exception fails the attempt
    return {"done": task["description"], "parameters": task["parameters"]}


def call(method, url, body=None, bearer=KEY):
    headers = {"content-type": "application/json", "authorization": f"Bearer {bearer}"}
    with urlopen(Request(url, json.dumps(body).encode(), headers, method=method), timeout=60) as answer:
        return json.loads(answer.read() or b"{}")


def run(task):
    attempt = task["ticket_id"], task["attempt"]
    if attempt not in REPORTS:
        try:
            end = {"status": "COMPLETED", "output": work(task)}
        except Exception as error:
            end = {"status": "FAILED", "error": str(error)}
        REPORTS[attempt] = {"ticket_id": attempt[0], "attempt": attempt[1], **end}
    answer = call("POST", task["callback_url"], REPORTS[attempt], task["token"])
    print(REPORTS[attempt]["status"], task["task_id"], answer, flush=True)


def repeat(step, seconds):  # a platform that is away is asked again, one that has forgotten us is told again
    todo = register
    while True:
        try:
            todo()
            todo, pause = step, seconds
        except OSError as error:
            todo, pause = register if getattr(error, "code", 0) == 404 else todo, 1
        time.sleep(pause)


def register():
    call("POST", f"{API}/workers", {"worker_id": ME, "delivery": "pull", "capabilities": ["python"], "slots": 1})


def beat():
    call("POST", f"{API}/workers/{ME}/heartbeat", {})


def ask():
    asked = {"worker_id": ME, "wait_seconds": 20, "running": []}
    for event in call("POST", f"{API}/tasks/lease", asked)["assignments"]:
        run(event["data"])


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
Thread(target=repeat, args=(beat, 30), daemon=True).start()
try:
    repeat(ask, 0)
finally:
    call("DELETE", f"{API}/workers/{ME}")
