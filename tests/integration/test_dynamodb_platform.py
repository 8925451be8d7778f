"""A whole platform on DynamoDB, and what a flow costs there."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.memory import MemoryStore
from functions._adapters.stores import Stores
from functions._core.ports import FlowStore
from functions._core.step import Step
from functions._runtime.clock import SystemClock
from tests.conformance.dynamodb_clients import WRITES, Counting
from tests.world import World, running_world, task

PLAN = (task("a"), task("b", "a"), task("c", "a"), task("d", "a"), task("e", "b", "c", "d"))

WRITE_UNIT = 0.625
"""Dollars for a million, on demand, in us-east-1."""


@pytest.fixture
def counting(dynamodb_client: Client) -> Counting:
    return Counting(dynamodb_client)


@pytest.fixture
async def stores(counting: Counting, dynamodb_table: str) -> AsyncIterator[Stores]:
    store = DynamoStore(counting, dynamodb_table, "process-1", SystemClock(), settle=0.05)
    await store.queue.enter()
    yield store.stores
    await store.close()


@pytest.fixture
async def world(stores: Stores, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, stores) as world:
        await world.register()
        yield world


async def test_a_flow_runs_to_its_end_with_all_of_its_history(world: World) -> None:
    flow = await world.run(*PLAN)
    assert flow.status == "COMPLETED"
    assert {ticket.status for ticket in (await world.tickets(flow.flow_id)).values()} == {"COMPLETED"}
    history = await world.history(flow.flow_id)
    assert [kind for kind, _ in history if not kind.startswith("ticket.")] == [
        "decision.consolidated",
        "plan.validated",
        "tickets.generated",
        "flow.consolidated",
        "flow.completed",
    ]
    for name in "abcde":
        assert [kind for kind, task_id in history if task_id == name] == ["ticket.assigned", "ticket.completed"]


async def test_flows_side_by_side_all_end_and_leave_nothing_queued(world: World, stores: Stores) -> None:
    flows = await asyncio.gather(*(world.run(*PLAN) for _ in range(4)))
    assert [flow.status for flow in flows] == ["COMPLETED"] * 4
    async with asyncio.timeout(5):
        while await stores.queue.depth():
            await asyncio.sleep(0.05)
    assert await world.ports.tally.active() == {}


class Recording:
    """A `FlowStore` that keeps what is committed."""

    def __init__(self, store: FlowStore) -> None:
        self.steps: list[Step] = []
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, step: Step) -> None:
        await self._store.commit(step)
        if step.changes:
            self.steps.append(step)


@pytest.fixture
async def steps(tmp_path: Path) -> list[Step]:
    """Give what is committed of a flow of five tasks."""
    stores = MemoryStore().stores
    recording = Recording(stores.store)
    async with running_world(tmp_path, replace(stores, store=recording)) as world:
        await world.register()
        assert (await world.run(*PLAN)).status == "COMPLETED"
    return [step for step in recording.steps if step.flow or step.tickets or step.history]


@pytest.mark.parametrize(("queue", "most"), [(False, 95), (True, 120)])
async def test_what_a_flow_of_five_tasks_writes(
    stores: Stores, counting: Counting, steps: list[Step], queue: bool, most: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls, bytes and capacity of the transitions of one flow; with `queue` the table carries all events, too."""
    for counter in (counting.calls, counting.bytes, counting.units):
        counter.clear()
    for step in steps:
        if queue and step.handled and step.handled not in {event.id for one in steps for event in one.events}:
            await stores.queue.enqueue([replace(steps[0].events[0], id=step.handled)])
        await stores.store.commit(step if queue else replace(step, events=(), handled=None))
    calls = {name: count for name, count in counting.calls.items() if name in WRITES}
    units = counting.units["write"]
    with capsys.disabled():
        print(f"\nA flow of 5 tasks on DynamoDB, {'with' if queue else 'without'} its events in the table:")  # noqa: T201
        print(f"  {len(steps)} steps, calls {json.dumps(calls)}, bytes {json.dumps(counting.bytes)}")  # noqa: T201
        print(f"  {units:.0f} write units: ${units * WRITE_UNIT:.0f} for a million flows")  # noqa: T201
    assert sum(calls.values()) <= (2 if queue else 1) * (len(steps) + 1)
    assert units * WRITE_UNIT <= most
