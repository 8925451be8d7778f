"""Every line of the log is JSON and has the ids of what it is about, whoever writes it and whatever breaks."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT
from tests.support.processes import Platform, free_port
from tests.support.world import decision, task, until

BREAKING = """
import asyncio, logging, sys, threading, warnings
from functions._observability import logs
from functions._observability.metrics import Metrics
from functions._observability.http_metrics import MeasuredApp
from functions._hosts.serving import listen, serving
from functions._engine.settings import Settings

async def breaks(scope, receive, send):
    scope["path_params"] = {"flow_id": "f-1", "signal_name": "s"}
    if scope["path"] == "/answered":
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
    raise RuntimeError("broken\\ninside")

async def main():
    settings = Settings(port=0)
    with listen(settings) as listener:
        async with serving(MeasuredApp(breaks, Metrics()), settings, listener):
            for text in (b"GET /answered HTTP/1.0\\r\\nhost: x\\r\\n\\r\\n", b"\\x16\\x03 no HTTP\\r\\n\\r\\n"):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(text)
                await reader.read()
                writer.close()
    async def fails():
        raise ValueError("nobody waits")
    asyncio.create_task(fails())
    await asyncio.sleep(0.1)

logs.configure("info")
asyncio.run(main())
warnings.warn("old", DeprecationWarning, stacklevel=1)
logging.getLogger("a.library").error("%d is no number", "x")
logging.getLogger("a.library").info("not shown")
thread = threading.Thread(target=lambda: 1 / 0, name="t-1")
thread.start()
thread.join()

class Bad:
    def __del__(self):
        raise KeyError("gone")

Bad()
sys.stdout.write("done")
raise SystemError("the end")
"""


def test_whatever_breaks_is_one_line_of_json() -> None:
    command = [sys.executable, "-W", "always", "-c", BREAKING]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "done", run.stderr
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    told = [(line["event"], line.get("logger"), line["level"]) for line in lines]
    assert told == [
        ("request.failed", None, "error"),
        ("library.logged", "uvicorn.error", "warning"),
        ("library.logged", "asyncio", "error"),
        ("library.logged", "py.warnings", "warning"),
        ("library.logged", "a.library", "error"),
        ("thread.failed", None, "error"),
        ("cleanup.failed", None, "error"),
        ("process.failed", None, "critical"),
    ]
    request, _, forgotten, warning, odd, thread, _, crash = lines
    assert (request["flow_id"], request["method"], request["error"]) == (
        "f-1",
        "GET",
        "RuntimeError('broken\\ninside')",
    )
    assert request["exception"].startswith("Traceback")
    assert "signal_name" not in request
    assert "nobody waits" in forgotten["exception"]
    assert "DeprecationWarning: old" in warning["message"]
    assert odd["message"] == "%d is no number"
    assert (thread["thread"], "ZeroDivisionError" in thread["exception"]) == ("t-1", True)
    assert "SystemError: the end" in crash["exception"]


@contextmanager
def process(folder: Path, name: str, *arguments: str, **environment: str) -> Iterator[Path]:
    """Run `flowc` and give the file that gets what it writes to standard error; it has to end in good order."""
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", "functions", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **environment},
        )
        try:
            yield log
        finally:
            running.terminate()
            assert running.wait(60) == 0


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log; each of them has to be JSON."""
    text = log.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


async def nonsense(url: str) -> None:
    """Send what is no HTTP, and leave while a body is awaited."""
    where = httpx.URL(url)
    for text in (b"\x16\x03 no HTTP\r\n\r\n", b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"):
        _, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(text)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()


async def test_every_line_of_a_platform_and_a_worker_is_json(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "FLOWC_PORT": str(port),
        "FLOWC_DATA": str(tmp_path / "data"),
        "FLOWC_SUBSCRIBER_URL": f"http://127.0.0.1:{nobody}",  # so that events fail
        "FLOWC_LOG_LEVEL": "debug",
    }
    with process(tmp_path, "platform", "up", **settings) as log:
        platform = Platform([], log, url=url)
        await platform.ready()
        worker_port = free_port()
        options = ("--url", url, "--port", str(worker_port), "--capability", "python", "--simulate", "1000")
        with process(tmp_path, "worker", "worker", *options) as worker_log:

            async def registered() -> bool | None:
                return bool((await platform.get("/api/v1/workers"))["items"]) or None

            await until(registered, "the worker")
            await nonsense(url)
            await nonsense(f"http://127.0.0.1:{worker_port}")
            flow_id = await platform.submit(decision(task("a"), correlation_id="c-1"))

            async def failed() -> list[dict[str, Any]] | None:
                failures = [line for line in lines_of(log) if line["event"] == "event.failed"]
                assert all("agent_id" in line for line in failures if "flow_id" not in line)
                return [line for line in failures if "flow_id" in line] or None

            async def done() -> list[dict[str, Any]] | None:
                return [line for line in lines_of(worker_log) if line["event"] == "task.completed"] or None

            for line in [*await until(failed, "an event that fails", 60), *await until(done, "the task", 60)]:
                assert (line["flow_id"], line["correlation_id"]) == (flow_id, "c-1")
    for file in (log, worker_log):
        told = {line["event"] for line in lines_of(file)}
        assert "library.logged" in told, "what is no HTTP was told"
