"""W1's load: workers that answer at once, a telemetry sink, and a driver that keeps a number of flows in flight.

One flow is a decision with ten tasks: t1, then t2 … t9 side by side, then t10, each for one of four workers. A flow's
time runs from its POST to the moment its telemetry frame arrives here, so that nobody is charged for polling.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

from tests.benchmarks.measure import usage
from tests.support.processes import platform_process, processes

TYPE = "io.neuralhive."
CALLBACK_TRIES = 240


def w1_decision(flow: str) -> dict[str, Any]:
    """Return the decision of one flow."""
    middle = [f"t{n}" for n in range(2, 10)]
    edges = {"t1": [], **{name: ["t1"] for name in middle}, "t10": middle}
    tasks = [
        {
            "task_id": name,
            "task_type": "EXECUTE",
            "description": f"improve module {name}",
            "dependencies": after,
            "estimated_duration_ms": 60_000,
            "required_capabilities": ["python"],
            "parameters": {"repo": "example/repo", "ref": "main", "path": f"src/{name}.py", "budget": 12.5},
        }
        for name, after in edges.items()
    ]
    plan = {"plan_id": flow, "version": "1.0.0", "risk_band": "medium", "tasks": tasks}
    return {
        "decision_id": f"d-{flow}",
        "plan_id": flow,
        "intent_id": f"i-{flow}",
        "final_decision": "approve",
        "cognitive_plan": plan,
    }


@dataclass
class Seen:
    """What the workers and the sink were sent."""

    assignments: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    frame_ids: dict[str, set[str]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    refused_callbacks: int = 0


class Stub:
    """Workers and telemetry sink in one small server."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.seen = Seen()
        self.url = ""
        self._arrived: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve for as long as the context is open."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/w/{n}", self._assigned)
        app.router.add_post("/telemetry", self._telemetry)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await self._client.close()
            await runner.cleanup()

    def expect(self, plan_id: str) -> asyncio.Event:
        """Return what is set when the frame of a plan has arrived."""
        return self._arrived.setdefault(plan_id, asyncio.Event())

    async def _assigned(self, request: web.Request) -> web.Response:
        if request.headers["ce-type"] == TYPE + "ticket.assigned.v1":
            assignment = await request.json()
            self.seen.assignments[assignment["ticket_id"]] += 1
            task = asyncio.create_task(self._report(assignment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.Response(status=202)

    def end_of(self, _assignment: dict[str, Any]) -> dict[str, Any]:
        """Return the end that is reported of a task; a subclass may do its work here."""
        return {"status": "COMPLETED"}

    async def _report(self, assignment: dict[str, Any]) -> None:
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid4()),
            "ce-source": "/bench",
            "ce-type": TYPE + "ticket.reported.v1",
            "content-type": "application/json",
            "authorization": f"Bearer {assignment['token']}",
        }
        report = {"ticket_id": assignment["ticket_id"], "attempt": assignment["attempt"], **self.end_of(assignment)}
        body = json.dumps(report).encode()
        assert self._client is not None
        for _ in range(CALLBACK_TRIES):
            with suppress(aiohttp.ClientError):
                async with self._client.post(assignment["callback_url"], data=body, headers=headers) as answer:
                    if answer.status < 500:
                        self.seen.refused_callbacks += answer.status >= 400
                        return
            await asyncio.sleep(0.5)  # the platform was killed: a worker repeats its report

    async def _telemetry(self, request: web.Request) -> web.Response:
        for event in await request.json():
            if event["type"] == TYPE + "telemetry.frame.v1":
                plan_id = event["data"]["plan_id"]
                self.seen.frames[plan_id] += 1
                self.seen.frame_ids.setdefault(plan_id, set()).add(event["id"])
                self.seen.outcomes[event["data"]["outcome"]] += 1
                self.expect(plan_id).set()
        return web.Response(status=202)


@dataclass(frozen=True)
class Result:
    """What one level of load gave."""

    flows: int
    seconds: float
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        """Flows per second."""
        return self.flows / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies by nearest rank, in ms."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def drive(url: str, stub: Stub, *, flows: int, in_flight: int, limit_s: float = 60) -> Result:
    """Start flows, at most so many at once, and wait for the frame of each."""
    latencies: list[float] = []
    turns = asyncio.Semaphore(in_flight)
    prefix = uuid4().hex[:8]

    async def one(client: aiohttp.ClientSession, number: int) -> None:
        async with turns:
            plan_id = f"{prefix}-{number}"
            arrived = stub.expect(plan_id)
            begun = time.perf_counter()
            await post_decision(client, url, w1_decision(plan_id))
            await asyncio.wait_for(arrived.wait(), limit_s)
            latencies.append((time.perf_counter() - begun) * 1000)

    async with aiohttp.ClientSession() as client:
        begun = time.perf_counter()
        await asyncio.gather(*(one(client, number) for number in range(flows)))
        # A flow that fails early is cheap: its speed says nothing.
        assert set(stub.seen.outcomes) == {"COMPLETED"}, stub.seen.outcomes
        return Result(flows, time.perf_counter() - begun, latencies)


async def post_decision(client: aiohttp.ClientSession, url: str, decision: dict[str, Any]) -> str:
    """POST a decision in structured mode and return its flow id."""
    event = {
        "specversion": "1.0",
        "id": decision["decision_id"],
        "source": "/bench",
        "type": TYPE + "decision.consolidated.v1",
        "data": decision,
    }
    headers = {"content-type": "application/cloudevents+json"}
    async with client.post(url + "/", data=BytesIO(json.dumps(event).encode()), headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["flow_id"])


async def cost_of_one(
    folder: Path, decision: dict[str, Any], tickets: int, stub: Stub | None = None
) -> tuple[float, int]:
    """Run one decision on a new platform; return CPU ms for each ticket that workers get, and peak memory in kB."""
    stub, name = stub or Stub(), decision["plan_id"]
    async with stub.serving():
        with processes() as started:
            platform = platform_process(
                folder, telemetry_url=f"{stub.url}/telemetry", log_level="warning", heartbeat_seconds=600
            )
            started.append(platform)
            platform.start()
            await platform.ready()
            await platform.staff(stub.url, count=4, slots=1000)
            assert platform.running is not None
            before = usage(platform.running.pid)
            await platform.submit(decision)
            await asyncio.wait_for(stub.expect(name).wait(), 600)
            after = usage(platform.running.pid)
    assert len(stub.seen.assignments) == tickets
    assert set(stub.seen.assignments.values()) == {1}
    assert set(stub.seen.outcomes) == {"COMPLETED"}
    return (after.cpu_ms - before.cpu_ms) / tickets, after.peak_kb
