"""Deadline budget against plain timeouts: the same flows, fleet and arrivals, in virtual time; who misses the deadline?

The real platform runs over the memory adapters on the simulator's loop. 500 flows in the shapes of recorded workflows
arrive at a fleet that is almost fully used and of which a quarter is slow. Plain timeouts is the same platform without
what slack decides: free slots go to whoever has waited longest, and another attempt is made whether it fits or not.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._adapters.memory.wakeups import MemoryWakeups
from functions._adapters.worker_claims import waits_for_a_worker
from functions._core.events.envelope import CloudEvent
from functions._core.machine import assignment, ending
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.planning.graph import schedule
from functions._core.ports import Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Outcome, flow_id_of
from functions._core.records.worker import Answer, Worker
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens
from functions._simulator.clock import SimulatedClock
from functions._simulator.loop import VirtualLoop
from functions._simulator.silent_log import listening
from tests.conftest import ROOT
from tests.support.plans import SHAPES
from tests.support.world import decision, decision_event, report_event, task

FLOWS = 500
WORKERS, SLOTS, SLOW, SLOWNESS = 12, 4, 3, 2.5
USE = 0.9
"""The part of the fleet's time that the flows need in all."""
TIGHTNESS = (2.5, 4.0, 8.0, 16.0)
"""How many times its longest path a flow may take; drawn for each."""
MEAN_S = 20.0
BEAT_S = 1000.0


@dataclass
class Fleet:
    """Workers in virtual time, behind the gateway's port."""

    draw: random.Random
    platform: Platform | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """Take an assignment, and report its end when it is done; a cancelled one is not missed."""
        (event,) = events
        if event.event_type == "ticket.assigned":
            slow = SLOWNESS if int(worker.worker_id.removeprefix("w")) < SLOW else 1.0
            seconds = event.data["estimated_duration_ms"] / 1000 * slow * self.draw.lognormvariate(0, 0.3)
            work = asyncio.create_task(self._work(event.data, seconds))
            self.tasks.add(work)
            work.add_done_callback(self.tasks.discard)
        return Answer(202)

    async def _work(self, assignment: Mapping[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        assert self.platform is not None
        await self.platform.report(report_event(assignment, status="COMPLETED"))


def shapes(recorded: Path | None) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Return the tasks of the recorded plans, or of seeded ones, with estimates of `MEAN_S` on average."""
    if recorded is None:
        draw = random.Random(1)
        plans = [
            [task(name, *after, estimated_duration_ms=draw.randrange(1000, 60_000)) for name, after in shape(draw)]
            for shape in SHAPES.values()
        ]
    else:
        plans = [_tasks(path) for path in sorted(recorded.glob("*.json"))]
    return [_scaled(tasks) for tasks in plans]


def _tasks(path: Path) -> list[dict[str, Any]]:
    data = json.loads(path.read_text())
    plan = data.get("data", data)["cognitive_plan"]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return [
        task(t["task_id"], *t.get("dependencies", ()), estimated_duration_ms=t.get("estimated_duration_ms") or 1000)
        for t in plan["tasks"]
    ]


def _scaled(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    factor = MEAN_S * 1000 * len(tasks) / sum(t["estimated_duration_ms"] for t in tasks)
    return [{**t, "estimated_duration_ms": max(1, round(t["estimated_duration_ms"] * factor))} for t in tasks]


@dataclass(frozen=True)
class Planned:
    """Planning's view of a task."""

    task_id: str
    dependencies: tuple[str, ...]
    estimate_ms: int


def arrivals(plans: Sequence[Sequence[Mapping[str, Any]]], seed: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield when each flow arrives, in seconds, and its decision."""
    draw = random.Random(f"{seed}/arrivals")
    mean_work = sum(sum(t["estimated_duration_ms"] for t in plan) for plan in plans) / len(plans) / 1000
    capacity = SLOTS * (SLOW / SLOWNESS + WORKERS - SLOW) * USE
    at = 0.0
    now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    for number in range(FLOWS):
        at += draw.expovariate(capacity / mean_work)
        tasks = draw.choice(plans)
        planned = [Planned(t["task_id"], tuple(t["dependencies"]), t["estimated_duration_ms"]) for t in tasks]
        path_s = schedule(planned, now, now + timedelta(hours=1)).critical_path_ms / 1000
        sla = max(30.0, path_s * draw.choice(TIGHTNESS))
        yield at, decision(*tasks, decision_id=f"{seed}-{number}", sla_deadline_seconds=sla)


class WaitingLongest(MemoryWakeups):
    """Gives free slots to whoever has waited longest."""

    async def claim_waiting(
        self,
        capabilities: Any,  # noqa: ARG002 every worker here can do everything
        now: datetime,
        limit: int,
        lease: timedelta,
    ) -> Sequence[Ticket]:
        """Return waiting tickets in the order in which they began to wait."""
        offered = self._state.offered_until
        waiting = [
            t for t in self._state.live_tickets() if waits_for_a_worker(t) and offered.get(t.ticket_id, now) <= now
        ]
        claimed = sorted(waiting, key=lambda t: (t.waiting_since or t.created_at, t.ticket_id))[:limit]
        offered.update((t.ticket_id, now + lease) for t in claimed)
        return claimed


@contextmanager
def plain_timeouts() -> Iterator[None]:
    """Take away what slack decides."""
    with (
        patch.object(MemoryWakeups, "claim_waiting", WaitingLongest.claim_waiting),
        patch.object(ending, "fits", lambda *_: True),
        patch.object(assignment, "fits", lambda *_: True),
    ):
        yield


def breaches(plans: Sequence[Sequence[Mapping[str, Any]]], seed: int, folder: Path) -> tuple[int, float]:
    """Run all flows; return how many missed their deadline, and the virtual hours it took."""
    loop = VirtualLoop(random.Random(f"{seed}/order"))
    with listening([]):
        flows = loop.run(_run(loop, plans, seed, folder))
    missed = [f for f in flows if f.outcome is not Outcome.COMPLETED or (f.ended_at and f.ended_at > f.sla_deadline)]
    return len(missed), loop.time() / 3600


async def _run(loop: VirtualLoop, plans: Sequence[Any], seed: int, folder: Path) -> list[Flow]:
    fleet = Fleet(random.Random(f"{seed}/fleet"))
    flows, _ = await flows_by(fleet, loop, arrivals(plans, seed), seed, folder)
    return flows


async def flows_by(
    fleet: Fleet,
    loop: VirtualLoop,
    coming: Iterable[tuple[float, Mapping[str, Any]]],
    seed: int,
    folder: Path,
    offered: Sequence[str] = ("python",),
    **more: Any,
) -> tuple[list[Flow], Ports]:
    """Let the workers of a fleet, who all offer the same, do the decisions that come; return their flows at their end.

    `more` are ports in place of the usual ones.
    """
    clock, stores = SimulatedClock(loop.time), MemoryStore().stores
    tokens = JwtTokens(b"k" * 32, clock)
    ports = replace(stores.ports(telemetry_sink=MemorySink(), gateway=fleet, clock=clock, tokens=tokens), **more)
    settings = Settings.from_mapping({}, data=folder, heartbeat_seconds=BEAT_S)
    platform = Platform(settings, ports, stores.queue, "http://127.0.0.1:1", chance=random.Random(seed))
    fleet.platform = platform
    await platform.start()
    clockwork = asyncio.create_task(platform.sweeper.run())
    names = [f"w{n}" for n in range(WORKERS)]
    for name in names:
        endpoint = f"http://127.0.0.1:1/{name}"
        await platform.register(
            Registration(worker_id=name, endpoint=endpoint, capabilities=tuple(offered), slots=SLOTS)
        )
    beating = asyncio.create_task(_beat(platform, names))
    ids = [await _submitted(platform, loop, at, data) for at, data in coming]
    flows = [await _ended(ports, flow_id) for flow_id in ids]
    clockwork.cancel()
    beating.cancel()
    await platform.close()
    return flows, ports


async def _submitted(platform: Platform, loop: VirtualLoop, at: float, data: Mapping[str, Any]) -> str:
    await asyncio.sleep(max(0.0, at - loop.time()))
    await platform.admit(decision_event(data))
    return flow_id_of(data["decision_id"])


async def _beat(platform: Platform, names: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        for name in names:
            await platform.heartbeat(name, Heartbeat(worker_id=name))


async def _ended(ports: Ports, flow_id: str) -> Flow:
    while True:
        flow = await ports.store.flow(flow_id)
        if flow is not None and flow.ended_at is not None:
            return flow
        await asyncio.sleep(5)


def test_deadline_budget_misses_fewer_deadlines_than_plain_timeouts(tmp_path: Path) -> None:
    folder = ROOT.parent / "shared" / "real-plans"
    plans = shapes(folder if folder.is_dir() else None)
    rows = []
    for seed in (1, 2, 3):
        with plain_timeouts():
            plain, hours = breaches(plans, seed, tmp_path)
        budget, _ = breaches(plans, seed, tmp_path)
        rows.append((seed, hours, plain, budget, 1 - budget / plain))
    print(f"\nflows of {FLOWS} that missed their deadline")
    print(f"{'seed':>4} {'virtual h':>9} {'plain timeouts':>14} {'deadline budget':>15} {'fewer':>6}")
    for seed, hours, plain, budget, fewer in rows:
        print(f"{seed:>4} {hours:>9.1f} {plain:>14} {budget:>15} {fewer:>6.0%}")
    assert sum(row[3] for row in rows) <= 0.8 * sum(row[2] for row in rows)
