"""The platform and workers as real processes, which a test may kill and start again."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.http_world import ClientWorld, HttpWorld
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
class Platform(Process, HttpWorld):
    """`flowc up` on a port and a data folder of its own."""

    url: str = ""
    hired: list[Process] = field(default_factory=list)

    def hire(self, name: str, *how: str, slots: int = 4) -> Process:
        """Start a worker that ends with `running_platform`; `how` is what it does with tickets, and what it offers."""
        worker = worker_process(self.log.parent, self.url, name, *how, slots=slots)
        self.hired.append(worker)
        worker.start()
        return worker

    @property
    def where(self) -> str:
        """See `LocalWorld.where`."""
        return str(self.log)

    async def ready(self) -> None:
        """Wait until it takes requests, or has ended."""
        await until(self._answers, f"the platform at {self.url} (see {self.log})")

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """See `HttpWorld.call`; no connection stays open, for the process may be killed at any time."""
        plain = httpx.AsyncHTTPTransport(verify=False)
        async with httpx.AsyncClient(base_url=self.url, transport=plain, timeout=PATIENCE_S) as client:
            return await ClientWorld(client).call(method, path, body, **headers)

    async def _answers(self) -> bool | None:
        ended = self.running is not None and self.running.poll() is not None
        assert not ended, f"the platform has ended: {self.log.read_text()[-3000:]}"
        return (await self.call("GET", "/ready"))[0] == 200 or None


@contextlib.contextmanager
def processes() -> Iterator[list[Process]]:
    """Give a list to put processes into; all of them are ended in the end."""
    started: list[Process] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()


@contextlib.asynccontextmanager
async def running_platform(folder: Path, **settings: object) -> AsyncIterator[Platform]:
    """Run a platform that takes requests, for as long as the context is open."""
    platform = platform_process(folder, **settings)
    try:
        platform.start()
        await platform.ready()
        yield platform
    finally:
        for process in (*platform.hired, platform):
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
