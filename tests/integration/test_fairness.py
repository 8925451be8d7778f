"""Free slots among flows: a huge flow and small ones share them, whichever was there first."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._core.records.values import FlowStatus
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, Task, decision, report_event, running_world, task, until

SLOTS = 10
LONG, SHORT = 14_400, 600

Behaviour = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


async def crowded(world: LocalWorld, *tasks: Task, slots: int = SLOTS) -> str:
    """Submit a flow whose first tickets fill all slots and stay there, and return its id when the others wait."""
    world.workers.behave = lambda _assignment: None
    await world.register("w1", slots=slots)
    flow_id = await world.submit(decision(*tasks, sla_deadline_seconds=LONG))
    free = sum(1 for one in tasks if not one["dependencies"])
    await waiting(world, flow_id, free - slots)
    await until(lambda: _given(world, slots), "the slots to be taken")
    return flow_id


async def _given(world: LocalWorld, number: int) -> bool | None:
    return len(world.workers.assignments) == number or None


async def waiting(world: LocalWorld, flow_id: str, number: int) -> None:
    """Wait until so many tickets of the flow wait for a slot."""

    async def probe() -> bool | None:
        tickets = await world.ports.store.tickets_of(flow_id)
        return sum(ticket.turn is not None for ticket in tickets) == number or None

    await until(probe, f"{number} waiting tickets of {flow_id}")


async def go_on(world: LocalWorld, behave: Behaviour = lambda _assignment: {"status": "COMPLETED"}) -> None:
    """Let the workers complete what they hold and, at once, whatever they get."""
    held = tuple(world.workers.assignments)
    world.workers.behave = behave
    await asyncio.gather(*(world.platform.report(report_event(one, status="COMPLETED")) for one in held))


async def test_a_huge_flow_that_came_first_does_not_keep_a_small_one_waiting(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        huge = await crowded(world, *(task(f"t{number}") for number in range(500)))
        small = await world.submit(decision(*(task(f"t{number}") for number in range(5)), sla_deadline_seconds=LONG))
        await waiting(world, small, 5)
        await go_on(world)
        ended = await world.ended(small)
        before = [one["flow_id"] for one in world.workers.assignments].count(huge)
    assert ended.status is FlowStatus.COMPLETED
    assert before < 200


@pytest.mark.parametrize("slots", [1, SLOTS])
async def test_a_flow_of_chains_does_not_keep_the_slots_that_it_has(tmp_path: Path, slots: int) -> None:
    chains = [
        task(f"c{chain}-{n}", *((f"c{chain}-{n - 1}",) if n else ())) for chain in range(slots) for n in range(100)
    ]
    async with running_world(tmp_path) as world:
        huge = await crowded(world, *chains, slots=slots)
        small = await world.submit(decision(*(task(f"t{number}") for number in range(5)), sla_deadline_seconds=LONG))
        await waiting(world, small, 5)
        await go_on(world)
        await world.ended(small)
        before = [one["flow_id"] for one in world.workers.assignments].count(huge)
    assert before < 50 * slots


@pytest.mark.parametrize("sla", [LONG, SHORT], ids=["as urgent", "more urgent"])
async def test_small_flows_that_keep_coming_do_not_keep_a_huge_one_from_progress(tmp_path: Path, sla: int) -> None:
    seen: Counter[str] = Counter()
    wanted: asyncio.Queue[None] = asyncio.Queue()

    async with running_world(tmp_path) as world:
        huge = await crowded(world, *(task(f"t{number}") for number in range(150)))

        async def another() -> None:
            await world.submit(decision(*(task(f"t{number}") for number in range(5)), sla_deadline_seconds=sla))

        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
            seen[assignment["flow_id"]] += 1
            if assignment["flow_id"] != huge and seen[assignment["flow_id"]] == 5:
                wanted.put_nowait(None)
            return {"status": "COMPLETED"}

        async def stream() -> None:
            while True:
                await wanted.get()
                await another()

        # Always so many small flows that they could use every slot.
        for _ in range(20):
            await another()
        keep_coming = asyncio.create_task(stream())
        await go_on(world, behave)

        async def enough() -> bool | None:
            return seen.total() >= 250 or None

        await until(enough, "250 assignments")
        keep_coming.cancel()
    assert seen[huge] >= 30


async def test_tenants_share_the_slots_by_their_weights_and_why_tells_it(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "store")
    async with running_api(tmp_path, stores=store.stores, tenant_weights="heavy=3") as api:
        world = api.world
        await crowded(world, *(task(f"t{number}") for number in range(SLOTS)))
        flows: dict[str, str] = {}
        for tenant in ("light", "heavy"):
            plan = [task(f"t{number}") for number in range(120)]
            flow_id = await world.submit(decision(*plan, sla_deadline_seconds=LONG, tenant_id=tenant))
            await waiting(world, flow_id, 120)
            flows[flow_id] = tenant
        ticket = await world.ticket(
            next(iter(flows)), lambda one: one.turn is not None and one.turn > 1, "waits for a later turn"
        )
        why = " ".join((await api.get(f"/api/v1/why/{ticket.ticket_id}"))["text"])
        assert f"Its tenant 'light' has the weight 1, the heaviest 3; it waits in turn {ticket.turn}, and" in why
        before = len(world.workers.assignments)
        await go_on(world)

        async def enough() -> bool | None:
            return len(world.workers.assignments) - before >= 140 or None

        await until(enough, "140 assignments")
        got = Counter(flows[one["flow_id"]] for one in world.workers.assignments[before : before + 132])
    await store.close()
    assert abs(got["heavy"] - 99) <= 25, got
