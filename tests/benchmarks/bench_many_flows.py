"""Pages and metrics with few and with many flows in the store: a hundred, and a hundred thousand that have ended."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from functions._core.records.change_set import ChangeSet
from functions._core.records.values import TicketStatus, name_uuid
from tests.benchmarks.load import Stub
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import task

FEW, MANY = 100, 100_000
TOGETHER = 1_000
"""Commits that are under way at once while the store is filled."""

ROUNDS = 21
SLOWER, NOISE_MS = 2, 2
"""How much more CPU a page may cost with many flows than with few, beside what is lost in the noise."""


@pytest.mark.timeout(3600)
async def test_pages_stay_as_fast_as_with_few_flows(tmp_path: Path) -> None:
    stub = Stub()
    async with stub.serving(), one_machine(tmp_path) as world:
        await world.staff(stub.url)
        flow_id = str((await world.run(task("a"), task("b", "a"), task("c", "a")))["flow_id"])
        await _copy(world, flow_id, 1, FEW)
        few = await _costs(world, flow_id)
        await _copy(world, flow_id, FEW, MANY)
        many = await _costs(world, flow_id)
    print()
    for what, cost in few.items():
        print(f"{what:30} {cost:6.2f} ms with {FEW} flows, {many[what]:6.2f} with {MANY:,}")
    assert not [what for what, cost in few.items() if many[what] > SLOWER * cost + NOISE_MS]


async def _copy(world: OneMachine, flow_id: str, start: int, end: int) -> None:
    """Store a flow that has ended, with its tickets and its history, again under other ids."""
    store, views = world.running.ports.store, world.running.ports.views
    flow, tickets = await store.flow(flow_id), await store.tickets_of(flow_id)
    history = await views.history(flow_id, 0, 500)
    assert flow is not None
    assert {ticket.status for ticket in tickets} == {TicketStatus.COMPLETED}

    def copied(number: int) -> ChangeSet:
        new = name_uuid(flow_id, f"flow {number}")
        ids = {ticket.ticket_id: name_uuid(new, ticket.ticket_id) for ticket in tickets}
        return ChangeSet(
            flow_id=new,
            flow=flow.but(flow_id=new, decision_id=f"d-{number}", version=1),
            tickets=tuple(
                ticket.but(ticket_id=ids[ticket.ticket_id], flow_id=new, version=1, next_wakeup_at=None)
                for ticket in tickets
            ),
            history=tuple(line.but(flow_id=new, ticket_id=ids.get(line.ticket_id or "")) for line in history),
        )

    for first in range(start, end, TOGETHER):
        await asyncio.gather(*(store.commit(copied(n)) for n in range(first, min(end, first + TOGETHER))))


async def _costs(world: OneMachine, flow_id: str) -> dict[str, float]:
    """Return the CPU in ms, of this process, of what people and the clock ask for; medians."""
    flow = f"/api/v1/flows/{flow_id}"
    pages = {
        "list of flows": "/api/v1/flows?limit=50",
        "list of flows that failed": "/api/v1/flows?status=FAILED&limit=50",
        "flow": flow,
        "why": f"/api/v1/why/{flow_id}",
        "history": f"{flow}/history",
        "tickets of a flow": f"/api/v1/tickets?flow_id={flow_id}",
        "metrics": "/metrics",
    }
    found = {}
    for what, path in pages.items():
        costs = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            assert (await world.client.get(path)).status_code == 200
            costs.append((time.process_time() - begun) * 1000)
        found[what] = statistics.median(costs)
    costs = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        await world.running.engine.sweeper.sweep()
        costs.append((time.process_time() - begun) * 1000)
    return {**found, "sweep": statistics.median(costs)}
