"""The platform and workers as real processes, which a test may kill and start again."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from tests.support.world import PATIENCE_S, until

PORTS = random.SystemRandom()
"""The seed of a test run must not decide: test processes beside each other would take the same ports."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on right now.

    It is below those that the system gives to outgoing connections, which would take it before it is used.
    """
    while True:
        port = PORTS.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Process:
    """One `flowc` process; what it writes goes to a file beside its data."""

    arguments: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "functions", *self.arguments],
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.running is not None:
            with contextlib.suppress(ProcessLookupError):
                self.running.send_signal(number)
            self.running.wait(PATIENCE_S)
            self.running = None


@dataclass
class Platform(Process):
    """`flowc up` on a port and a data folder of its own."""

    url: str = ""

    async def ready(self) -> None:
        """Wait until it takes requests."""
        await until(self._answers, f"the platform at {self.url} (see {self.log})")

    def get(self, path: str) -> Any:
        """Return the JSON at `path`."""
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:  # noqa: S310 always http
            return json.load(answer)

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        """POST JSON and return status and answer, whatever the status."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json", **headers})  # noqa: S310 always http
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 always http
                return answer.status, json.load(answer)
        except HTTPError as refusal:
            return refusal.code, json.loads(refusal.read() or b"null")

    def submit(self, decision: Mapping[str, Any]) -> str:
        """POST a decision in binary mode and return its flow id."""
        headers = {
            "ce-id": decision["decision_id"],
            "ce-source": "/tests",
            "ce-specversion": "1.0",
            "ce-type": "io.neuralhive.decision.consolidated.v1",
        }
        status, answer = self.post("/", decision, **headers)
        assert status == 202, answer
        return str(answer["flow_id"])

    def history(self, flow_id: str) -> list[dict[str, Any]]:
        """Return the whole history of a flow."""
        entries: list[dict[str, Any]] = []
        while page := self.get(f"/api/v1/flows/{flow_id}/history?after={entries[-1]['seq'] if entries else 0}")[
            "items"
        ]:
            entries += page
        return entries

    def tickets(self, flow_id: str) -> list[dict[str, Any]]:
        """Return all tickets of a flow."""
        found, cursor = [], ""
        while True:
            page = self.get(f"/api/v1/flows/{flow_id}/tickets?limit=500{cursor}")
            found += page["items"]
            if not page["cursor"]:
                return found
            cursor = f"&cursor={page['cursor']}"

    async def _answers(self) -> bool | None:
        assert self.running is not None
        assert self.running.poll() is None, f"the platform has ended: {self.log.read_text()[-3000:]}"
        try:
            await asyncio.to_thread(self.get, "/ready")
        except (URLError, ConnectionError, TimeoutError):
            return None
        return True


@contextlib.contextmanager
def processes() -> Iterator[list[Process]]:
    """Give a list to put processes into; all of them are ended in the end."""
    started: list[Process] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def platform_process(folder: Path, **settings: object) -> Platform:
    """Return a platform that is not started yet; `settings` are those of the environment."""
    port = free_port()
    environment = {f"FLOWC_{name.upper()}": str(value) for name, value in settings.items()}
    arguments = ["up", "--port", str(port), "--data", str(folder / "data")]
    return Platform(arguments, folder / "platform.log", environment, url=f"http://127.0.0.1:{port}")


def worker_process(folder: Path, url: str, name: str, *how: str, slots: int = 4) -> Process:
    """Return a worker that is not started yet; `how` is what it does with tickets, and what it offers."""
    arguments = ["worker", "--url", url, "--id", name, "--slots", str(slots), *how]
    return Process(arguments, folder / f"{name}.log")
