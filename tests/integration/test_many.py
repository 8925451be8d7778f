"""Many at once: flows, workers, and a huge flow beside a small one."""

import asyncio
from pathlib import Path

from functions._core.records.values import FlowStatus
from tests.support.world import decision, running_world, task


async def test_two_hundred_flows_at_once_all_complete(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        for number in range(4):
            await world.register(f"w{number}", slots=50)
        plans = [decision(task("a"), task("b", "a"), task("c", "a")) for _ in range(200)]
        ids = await asyncio.gather(*(world.submit(plan) for plan in plans))
        flows = [await world.ended(flow_id) for flow_id in ids]  # each has its own patience: others end meanwhile
    assert {flow.status for flow in flows} == {FlowStatus.COMPLETED}
    assert len(world.workers.assignments) == 600
    assert {assignment["attempt"] for assignment in world.workers.assignments} == {1}


async def test_a_fleet_of_two_hundred_workers_shares_the_work(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await asyncio.gather(*(world.register(f"w{number}", slots=2) for number in range(200)))
        flow = await world.run(*(task(f"t{number}") for number in range(400)))
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert len({ticket.worker_id for ticket in tickets.values()}) > 100


async def test_the_events_of_a_huge_flow_do_not_hold_up_a_small_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("many", slots=5000)
        huge = await world.submit(decision(*(task(f"t{number}") for number in range(1000))))
        small = await world.run(task("a"))
        under_way = await world.ports.store.flow(huge)
    assert small.status is FlowStatus.COMPLETED
    assert under_way is not None
    assert under_way.ended_at is None
