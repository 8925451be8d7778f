"""A world in the shape of a Knative cluster: every function as its own process, a broker, PostgreSQL, workers.

It is test equipment. The Triggers and the clock are read from `infra/knative`; the ticks come faster than a
PingSource's, so that a test need not wait for the minute.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from functions._hosts.entry import NAMES
from tests.benchmarks.load import Stub
from tests.cluster.broker import Broker, Chaos, read_triggers
from tests.conftest import ROOT
from tests.support.http_world import ClientWorld
from tests.support.processes import Process, free_port, processes
from tests.support.world import PATIENCE_S, until

TICK_S = 1.0
SPEED = 20.0
"""How many times shorter the pauses between deliveries are than the Triggers say."""

START_S = 180
KEY = "k" * 40


@dataclass
class Cluster(ClientWorld):
    """A running cluster."""

    broker: Broker
    functions: Mapping[str, Process]
    workers: Stub
    database_url: str

    async def restarted(self, name: str) -> None:
        """Kill a function with -9, as a node that dies would, and start it again."""
        self.functions[name].kill()
        self.functions[name].start()
        await _ready(self.client, self.broker.services[name.replace("_", "-")])


@asynccontextmanager
async def cluster(
    folder: Path, database_url: str, *, chaos: Chaos | None = None, workers: Stub | None = None, **settings: Any
) -> AsyncIterator[Cluster]:
    """Run a cluster for as long as the context is open."""
    ports = {name: free_port() for name in NAMES}
    services = {name.replace("_", "-"): f"http://127.0.0.1:{port}/" for name, port in ports.items()}
    url = services["api"].rstrip("/")
    triggers = read_triggers(ROOT / "infra" / "knative" / "base")
    broker = Broker(triggers, services, folder / "broker.sqlite", speed=SPEED, chaos=chaos)
    workers = workers or Stub()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workers.serving())
        sink = await stack.enter_async_context(broker.serving())
        headers = {"x-api-key": KEY}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE_S)
        )
        told = {
            "K_SINK": sink,
            "FLOWC_DATABASE_URL": database_url,
            "FLOWC_PUBLIC_URL": url,
            "FLOWC_WORKER_KEY": KEY,
            "FLOWC_API_KEY": KEY,
            "FLOWC_WORKER_NETWORKS": "loopback",
            "FLOWC_RATE_LIMITS": "off",
            "FLOWC_LOG_LEVEL": "warning",
            "FLOWC_HEARTBEAT_SECONDS": "600",
            "FLOWC_EXECUTORS": "http",
            "FLOWC_EXECUTOR_LOOK_SECONDS": "0.2",
            "WORKER_NETWORKS": "loopback",
            **{f"FLOWC_{name.upper()}": str(value) for name, value in settings.items()},
        }
        functions = {
            name: Process([name], folder / f"{name}.log", {**told, "PORT": str(port)}) for name, port in ports.items()
        }
        started = stack.enter_context(processes())
        for function in functions.values():
            started.append(function)
            function.start()
        running = Cluster(client, broker, functions, workers, database_url)
        await asyncio.gather(*(_ready(client, address) for address in services.values()))
        ticking = asyncio.create_task(_tick(client, sink))
        stack.callback(ticking.cancel)
        await running.staff(workers.url)
        yield running


async def _ready(client: httpx.AsyncClient, address: str) -> None:
    async def answers() -> bool | None:
        with suppress(httpx.TransportError):
            return (await client.get(f"{address}health/readiness")).status_code == 200 or None
        return None

    await until(answers, f"the function at {address}", START_S)


async def _tick(client: httpx.AsyncClient, sink: str) -> None:
    """Tick as the PingSource does, but more often."""
    while True:
        headers = {
            "ce-id": str(uuid4()),
            "ce-source": "/apis/v1/namespaces/flow-c/pingsources/clock",
            "ce-specversion": "1.0",
            "ce-type": "dev.knative.sources.ping",
            "ce-time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        with suppress(httpx.TransportError):
            await client.post(sink, content=b"{}", headers=headers)
        await asyncio.sleep(TICK_S)
