"""A whole platform on DynamoDB."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.stores import Stores
from functions._engine.clock import SystemClock
from tests.support.world import PATIENCE_S, LocalWorld, decision, running_world, task

PLAN = (task("a"), task("b", "a"), task("c", "a"), task("d", "a"), task("e", "b", "c", "d"))


@pytest.fixture
async def stores(dynamodb_client: Client, dynamodb_table: str) -> AsyncIterator[Stores]:
    store = DynamoStore(dynamodb_client, dynamodb_table, "process-1", SystemClock(), settle=0.05)
    await store.queue.enter()
    yield store.stores
    await store.close()


@pytest.fixture
async def world(stores: Stores, tmp_path: Path) -> AsyncIterator[LocalWorld]:
    async with running_world(tmp_path, stores) as world:
        await world.register()
        yield world


async def test_a_flow_runs_to_its_end_with_all_of_its_history(world: LocalWorld) -> None:
    flow = await world.run(*PLAN)
    assert flow.status == "COMPLETED"
    assert {ticket.status for ticket in (await world.tickets(flow.flow_id)).values()} == {"COMPLETED"}
    history = await world.transitions(flow.flow_id)
    assert [kind for kind, _ in history if not kind.startswith("ticket.")] == [
        "decision.consolidated",
        "plan.validated",
        "tickets.generated",
        "flow.consolidated",
        "flow.completed",
    ]
    for name in "abcde":
        assert [kind for kind, task_id in history if task_id == name] == ["ticket.assigned", "ticket.completed"]


async def test_flows_side_by_side_all_end_and_leave_nothing_queued(world: LocalWorld, stores: Stores) -> None:
    flows = await asyncio.gather(*(world.run(*PLAN) for _ in range(4)))
    assert [flow.status for flow in flows] == ["COMPLETED"] * 4
    async with asyncio.timeout(PATIENCE_S):
        while await stores.queue.depth():
            await asyncio.sleep(0.05)
    assert await world.ports.ticket_counts.active() == {}


async def test_a_table_restored_to_a_point_in_time_is_gone_on_with(
    world: LocalWorld, dynamodb_client: Client, dynamodb_table: str, tmp_path: Path
) -> None:
    waits = task("b", "a", required_capabilities=["later"])
    flow_id = await world.submit(decision(task("a"), waits))
    await world.ticket(flow_id, lambda ticket: ticket.status == "COMPLETED", "is done")
    restored = f"{dynamodb_table}-restored"
    names = {"SourceTableName": dynamodb_table, "TargetTableName": restored, "UseLatestRestorableTime": True}
    await dynamodb_client.call("restore_table_to_point_in_time", names)
    store = DynamoStore(dynamodb_client, restored, "process-2", SystemClock(), settle=0.05)
    await store.queue.enter()
    async with running_world(tmp_path / "restored", store.stores) as second:
        await second.register("w2", "python", "later")
        flow = await second.ended(flow_id)
        done = await second.tickets(flow_id)
    assert flow.status == "COMPLETED"
    assert [(ticket.worker_id, ticket.attempt) for ticket in done.values()] == [("w1", 1), ("w2", 1)]
    await dynamodb_client.call("delete_table", {"TableName": restored})
