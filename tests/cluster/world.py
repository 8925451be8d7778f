"""A world in the shape of a Knative cluster: every function as its own process, a broker, PostgreSQL, workers.

It is test equipment. The Triggers and the clock are read from `infra/knative`; the ticks come faster than a
PingSource's, so that a test need not wait for the minute.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from functions._runtime.expose import NAMES
from tests.benchmarks.load import Stub
from tests.cluster.broker import Broker, Chaos, read_triggers
from tests.conftest import ROOT
from tests.processes import Process, free_port, processes
from tests.world import until

TICK_S = 1.0
SPEED = 20.0
"""How many times shorter the pauses between deliveries are than the Triggers say."""

START_S = 60
KEY = "k" * 40
SUPERSEDED = frozenset({"ticket.retried", "ticket.reassigned"})
NOT_COMPARED = frozenset({"ticket.started", "flow.reemitted", "sla.at_risk"})


@dataclass
class Cluster:
    """A running cluster; `url` is its api's."""

    broker: Broker
    functions: Mapping[str, Process]
    url: str
    workers: Stub
    client: aiohttp.ClientSession

    async def submit(self, decision: Mapping[str, Any]) -> str:
        """POST a decision and return its flow id."""
        headers = {
            "ce-id": str(uuid4()),
            "ce-source": "/tests",
            "ce-specversion": "1.0",
            "ce-type": "io.neuralhive.decision.consolidated.v1",
            "content-type": "application/json",
        }
        async with self.client.post(self.url + "/", data=json.dumps(decision), headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["flow_id"])

    async def get(self, path: str) -> Any:
        """Return the JSON at a path of the api, None while it does not answer."""
        try:
            async with self.client.get(self.url + path) as answer:
                return await answer.json() if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def ended(self, flow_id: str, seconds: float) -> Mapping[str, Any]:
        """Wait for the end of a flow."""

        async def end() -> Mapping[str, Any] | None:
            flow = await self.get(f"/api/v1/flows/{flow_id}")
            await asyncio.sleep(0.1)
            return flow if flow is not None and flow["ended_at"] else None

        return await until(end, f"the end of flow {flow_id}", seconds)

    async def history(self, flow_id: str) -> list[dict[str, Any]]:
        """Return the whole history of a flow."""
        entries: list[dict[str, Any]] = []
        while True:
            page = await self.get(f"/api/v1/flows/{flow_id}/history?after={entries[-1]['seq'] if entries else 0}")
            if not page["items"]:
                return entries
            entries += page["items"]

    async def restarted(self, name: str) -> None:
        """Kill a function with -9, as a node that dies would, and start it again."""
        self.functions[name].kill()
        self.functions[name].start()
        await _ready(self.client, self.broker.services[name.replace("_", "-")])


@asynccontextmanager
async def cluster(
    folder: Path, database_url: str, *, chaos: Chaos | None = None, **settings: Any
) -> AsyncIterator[Cluster]:
    """Run a cluster for as long as the context is open."""
    ports = {name: free_port() for name in NAMES}
    services = {name.replace("_", "-"): f"http://127.0.0.1:{port}/" for name, port in ports.items()}
    url = services["api"].rstrip("/")
    triggers = read_triggers(ROOT / "infra" / "knative" / "base")
    broker = Broker(triggers, services, folder / "broker.sqlite", speed=SPEED, chaos=chaos)
    workers = Stub()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workers.serving())
        sink = await stack.enter_async_context(broker.serving())
        client = await stack.enter_async_context(aiohttp.ClientSession())
        told = {
            "K_SINK": sink,
            "FLOWC_DATABASE_URL": database_url,
            "FLOWC_PUBLIC_URL": url,
            "FLOWC_WORKER_KEY": KEY,
            "FLOWC_API_KEY": KEY,
            "FLOWC_WORKER_NETWORKS": "loopback",
            "FLOWC_LOG_LEVEL": "warning",
            "FLOWC_HEARTBEAT_SECONDS": "600",
            **{f"FLOWC_{name.upper()}": str(value) for name, value in settings.items()},
        }
        functions = {
            name: Process([name], folder / f"{name}.log", {**told, "PORT": str(port)}) for name, port in ports.items()
        }
        started = stack.enter_context(processes())
        for function in functions.values():
            started.append(function)
            function.start()
        running = Cluster(broker, functions, url, workers, client)
        await asyncio.gather(*(_ready(client, address) for address in services.values()))
        ticking = asyncio.create_task(_tick(client, sink))
        stack.callback(ticking.cancel)
        await _register(running)
        yield running


async def _ready(client: aiohttp.ClientSession, address: str) -> None:
    async def answers() -> bool | None:
        try:
            async with client.get(f"{address}health/readiness") as answer:
                return True if answer.status == 200 else None
        except aiohttp.ClientError:
            return None
        finally:
            await asyncio.sleep(0.1)

    await until(answers, f"the function at {address}", START_S)


async def _tick(client: aiohttp.ClientSession, sink: str) -> None:
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
        try:
            async with client.post(sink, data=b"{}", headers=headers):
                pass
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(TICK_S)


async def _register(running: Cluster) -> None:
    for number in range(2):
        registration = {
            "worker_id": f"w{number}",
            "endpoint": f"{running.workers.url}/w/{number}",
            "capabilities": ["python", "execute"],
            "slots": 50,
        }
        async with running.client.post(f"{running.url}/api/v1/workers", json=registration) as answer:
            assert answer.status < 300, await answer.text()


def course(history: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, ...]], dict[str, list[tuple[str, ...]]]]:
    """Return what a history tells of the flow, and of each task: RUNNING and superseded attempts left out."""
    of_flow: list[tuple[str, ...]] = []
    of_tasks: dict[str, list[tuple[str, ...]]] = {}
    for entry in history:
        if entry["type"] in NOT_COMPARED:
            continue
        moved = entry["type"], entry.get("from_status") or "", entry.get("to_status") or ""
        task_id = entry.get("task_id")
        if task_id is None:
            of_flow.append(moved)
        elif entry["type"] in SUPERSEDED:
            of_tasks[task_id] = [one for one in of_tasks.get(task_id, []) if one[0] != "ticket.assigned"]
        else:
            of_tasks.setdefault(task_id, []).append(moved)
    ended = {"COMPLETED", "FAILED", "CANCELLED"}
    # A worker may end its attempt before it has said RUNNING, or after: where it ended from is not compared.
    plain: dict[str, list[tuple[str, ...]]] = {
        task: [(kind, "" if after in ended else before, after) for kind, before, after in lines]
        for task, lines in of_tasks.items()
    }
    return of_flow, plain
