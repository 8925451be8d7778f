"""Records that cannot be read: each fails by itself, and the clock goes on for all others."""

from collections.abc import Mapping

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore, keys
from functions._adapters.dynamodb.changes import address
from functions._adapters.dynamodb.values import Item, binary, deflate, text
from functions._adapters.stores import Stores
from functions._core.ports import Due
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Waiting
from functions._engine.clock import SystemClock
from tests.conformance.dynamodb_clients import Answer, Arguments, Between, Call, Died
from tests.support.builders import T0, later, make_flow, make_ticket, make_worker, seconds

LEASE = seconds(30)
Damage = Mapping[str, Item]
BROKEN: Mapping[str, Damage] = {
    "no deflated text": {"d": binary(b"broken")},
    "no record": {"d": binary(deflate('{"flow_id": 1}'))},
    "a part that is not there": {"dp": text("absent#1")},
}


@pytest.fixture
def stores(dynamodb_client: Client, dynamodb_table: str) -> Stores:
    return DynamoStore(dynamodb_client, dynamodb_table, "process-1", SystemClock(), settle=0).stores


@pytest.fixture(params=list(BROKEN))
def damage(request: pytest.FixtureRequest) -> Damage:
    return BROKEN[request.param]


async def breaks(client: Client, table: str, key: keys.Key, damage: Damage) -> None:
    """Make a document what nobody can read."""
    arguments = {"TableName": table, "Key": address(key)}
    await client.call("update_item", {**arguments, "UpdateExpression": "REMOVE d, dp"})
    ((name, value),) = damage.items()
    change = {"UpdateExpression": f"SET {name} = :v", "ExpressionAttributeValues": {":v": value}}
    await client.call("update_item", {**arguments, **change})


async def test_a_record_that_cannot_be_read_comes_due_like_any_other(
    stores: Stores, dynamodb_client: Client, dynamodb_table: str, damage: Damage
) -> None:
    flow = make_flow(2, next_wakeup_at=T0 + seconds(1))
    ticket, worker = make_ticket(flow, next_wakeup_at=T0 + seconds(2)), make_worker(next_wakeup_at=T0 + seconds(3))
    sound = make_flow(3, next_wakeup_at=T0 + seconds(4))
    await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=(ticket,)))
    await stores.store.commit(ChangeSet(flow_id=sound.flow_id, flow=sound))
    await stores.registry.put(worker)
    of_worker = keys.WORKERS, worker.worker_id
    for key in (keys.flow_key(flow.flow_id), keys.ticket_key(flow.flow_id, ticket.ticket_id), of_worker):
        await breaks(dynamodb_client, dynamodb_table, key, damage)
    assert await stores.wakeups.next_due() == T0 + seconds(1)
    assert await stores.wakeups.claim_due(T0 + seconds(9), 10, LEASE) == [
        Due("flow", flow.flow_id, flow.flow_id, T0 + seconds(1)),
        Due("ticket", ticket.ticket_id, flow.flow_id, T0 + seconds(2)),
        Due("worker", worker.worker_id, None, T0 + seconds(3)),
        Due("flow", sound.flow_id, sound.flow_id, T0 + seconds(4)),
    ]
    assert await stores.wakeups.claim_due(T0 + seconds(9), 10, LEASE) == []
    assert await stores.wakeups.next_due() == T0 + seconds(9) + LEASE


async def test_a_large_step_that_cannot_be_finished_comes_due_with_its_flow(
    stores: Stores, dynamodb_client: Client, dynamodb_table: str, damage: Damage
) -> None:
    flow, head = await _half_done(dynamodb_client, dynamodb_table)
    sound = make_flow(3, next_wakeup_at=T0)
    await stores.store.commit(ChangeSet(flow_id=sound.flow_id, flow=sound))
    await breaks(dynamodb_client, dynamodb_table, head, damage)
    now = SystemClock().now() + seconds(60)
    claimed = await stores.wakeups.claim_due(now, 10, LEASE)
    assert {due.flow_id for due in claimed} == {flow.flow_id, sound.flow_id}
    assert await stores.wakeups.claim_due(now, 10, LEASE) == []
    assert await stores.wakeups.next_due() == now + LEASE


async def test_a_ticket_that_cannot_be_read_is_not_offered_and_all_others_are(
    stores: Stores, dynamodb_client: Client, dynamodb_table: str, damage: Damage
) -> None:
    flow = make_flow()
    broken, sound = (make_ticket(flow, number, waiting=Waiting.WORKER) for number in (1, 2))
    await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(broken, sound)))
    await breaks(dynamodb_client, dynamodb_table, keys.ticket_key(flow.flow_id, broken.ticket_id), damage)
    assert await stores.wakeups.claim_waiting(None, T0, 10, LEASE) == [sound]


async def test_a_ticket_whose_step_cannot_be_finished_stops_nobody(
    stores: Stores, dynamodb_client: Client, dynamodb_table: str, damage: Damage
) -> None:
    ticket = make_ticket(make_flow(2), next_wakeup_at=T0)
    await stores.store.commit(ChangeSet(flow_id=ticket.flow_id, tickets=(ticket,)))
    flow, head = await _half_done(dynamodb_client, dynamodb_table, later(ticket))
    sound = make_flow(3, next_wakeup_at=T0)
    await stores.store.commit(ChangeSet(flow_id=sound.flow_id, flow=sound))
    await breaks(dynamodb_client, dynamodb_table, head, damage)
    claimed = await stores.wakeups.claim_due(SystemClock().now() + seconds(60), 10, LEASE)
    assert {due.flow_id for due in claimed} == {flow.flow_id, sound.flow_id}


async def _half_done(client: Client, table: str, *tickets: Ticket) -> tuple[Flow, keys.Key]:
    """Let a process die right after it has written the head of a large step; return the step's flow, and the head."""
    heads: list[keys.Key] = []

    async def dies(call: Call, operation: str, arguments: Arguments) -> Answer:
        if heads:
            raise Died
        answer = await call(operation, arguments)
        if operation == "transact_write_items":
            key = arguments["TransactItems"][0]["Update"]["Key"]
            heads.append((key["pk"]["S"], key["sk"]["S"]))
        return answer

    flow = make_flow(2, next_wakeup_at=None)
    stores = DynamoStore(Between(client, dies), table, "dying", SystemClock(), settle=0).stores
    plan = (
        *tickets,
        *(make_ticket(flow, number, next_wakeup_at=None, waiting=Waiting.WORKER) for number in range(1000, 1120)),
    )
    with pytest.raises(Died):
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=plan))
    return flow, heads[0]
