"""A whole platform on DynamoDB."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.stores import Stores
from functions._core.events.commands import ReplanRequest
from functions._engine.clock import SystemClock
from tests.integration.test_in_flight import Watched
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


async def test_a_flow_of_more_tickets_than_a_transaction_holds_gets_another_plan(
    stores: Stores, tmp_path: Path
) -> None:
    async with running_world(tmp_path, stores) as world:
        tasks = [task(f"t{n}", *([f"t{n - 1}"] if n else []), required_capabilities=["later"]) for n in range(60)]
        flow_id = await world.submit(decision(*tasks))
        await world.reached(flow_id, "EXECUTING")
        other = [*tasks[:10], *(task(f"n{n}", f"t{n % 10}", required_capabilities=["later"]) for n in range(60))]
        plan = {"plan_id": "any", "tasks": other}
        await world.platform.order(ReplanRequest(flow_id=flow_id, cognitive_plan=plan))
        tickets = await world.tickets(flow_id)
        assert sorted(ticket.status for ticket in tickets.values()) == ["CANCELLED"] * 50 + ["PENDING"] * 70
        await world.register("w1", "python", "later", slots=200)
        flow = await world.ended(flow_id)
    assert (flow.status, flow.tickets_generated, flow.dropped) == ("COMPLETED", 120, 50)


async def test_two_processes_over_one_table_give_out_no_more_places_than_there_are(
    stores: Stores, dynamodb_client: Client, dynamodb_table: str, tmp_path: Path
) -> None:
    store = DynamoStore(dynamodb_client, dynamodb_table, "process-2", SystemClock(), settle=0.05)
    await store.queue.enter()
    async with (
        running_world(tmp_path / "1", stores, max_flows=2, max_tickets=2) as one,
        running_world(tmp_path / "2", store.stores, max_flows=2, max_tickets=2) as two,
    ):
        both = Watched(one), Watched(two)
        both[1].now, both[1].most, both[1].flows = both[0].now, both[0].most, both[0].flows
        await one.register(slots=50)
        flows = [await (one, two)[n % 2].submit(decision(*(task(f"t-{i}") for i in range(3)))) for n in range(6)]
        assert {(await one.ended(flow_id)).status for flow_id in flows} == {"COMPLETED"}
        assert both[0].most["all"] <= 2
        assert both[0].most["flows"] <= 2
    await store.close()
