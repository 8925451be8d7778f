"""Tickets that share pages until something happens to them: on the wire, and from several processes at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.dynamodb.changes import address
from functions._adapters.dynamodb.values import binary, deflate, inflate
from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Unreadable
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._engine.clock import SystemClock
from tests.conformance.dynamodb_clients import Answer, Arguments, Between, Call, Counting, Died
from tests.support.builders import T0, later, make_flow, make_history, make_plan, make_step, make_ticket, seconds

SIZE = 120
LEASE = seconds(10)

Opened = Callable[..., Stores]


@pytest.fixture
def opened(dynamodb_client: Client, dynamodb_table: str) -> Opened:
    """Give `opened()`: the ports of another process on the same table."""

    def stores(client: Client = dynamodb_client) -> Stores:
        return DynamoStore(client, dynamodb_table, None, SystemClock(), settle=0).stores

    return stores


async def items(client: Client, table: str, kind: str) -> list[Any]:
    """Return the items of flows whose sort keys begin with `kind`."""
    found = (await client.call("scan", {"TableName": table, "ConsistentRead": True}))["Items"]
    return [item for item in found if item["pk"]["S"].startswith("F#") and item["sk"]["S"].startswith(kind)]


async def planned(stores: Stores, size: int = 5, **changes: object) -> tuple[Flow, tuple[Ticket, ...]]:
    flow = make_flow(status=FlowStatus.EXECUTING, next_wakeup_at=None)
    plan = make_plan(flow, size, **changes)
    await stores.store.commit(make_step(flow, *plan))
    return flow, plan


async def test_a_plan_of_any_size_is_stored_by_one_conditional_write(
    opened: Opened, dynamodb_client: Client, dynamodb_table: str
) -> None:
    counting = Counting(dynamodb_client)
    flow, plan = await planned(opened(counting), SIZE)
    assert counting.calls["update_item"] == 1
    assert counting.calls["transact_write_items"] == 0
    assert await items(dynamodb_client, dynamodb_table, "T#") == []
    assert len(await items(dynamodb_client, dynamodb_table, "P#")) == 3
    stores = opened()
    assert await stores.store.tickets_of(flow.flow_id) == list(plan)
    assert await stores.store.tickets([plan[7].ticket_id, "none"]) == {plan[7].ticket_id: plan[7]}
    assert await stores.ticket_counts.by_status(flow.flow_id) == {s: SIZE * (s == "PENDING") for s in TicketStatus}
    assert await stores.ticket_counts.live(flow.flow_id, SIZE + 1) == SIZE
    assert (await stores.views.counts())["tickets"] == {"PENDING": SIZE}


async def test_a_ticket_has_an_item_from_its_first_change_on(
    opened: Opened, dynamodb_client: Client, dynamodb_table: str
) -> None:
    flow, plan = await planned(opened())
    ended = later(plan[2], status=TicketStatus.COMPLETED, next_wakeup_at=None)
    line = make_history(flow, 1, ticket_id=ended.ticket_id)
    await opened().store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ended,), history=(line,)))
    assert len(await items(dynamodb_client, dynamodb_table, "T#")) == 1
    stores = opened()
    assert await stores.store.tickets_of(flow.flow_id) == [*plan[:2], ended, *plan[3:]]
    assert await stores.store.tickets_of(flow.flow_id, live_only=True) == [*plan[:2], *plan[3:]]
    assert await stores.ticket_counts.live(flow.flow_id, 10) == 4
    assert (await stores.views.counts())["tickets"] == {"PENDING": 4, "COMPLETED": 1}


async def test_of_two_first_changes_one_counts(opened: Opened) -> None:
    flow, plan = await planned(opened())
    rivals = [later(plan[0], attempt=number) for number in (1, 2)]
    answers = await asyncio.gather(
        *(opened().store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(one,))) for one in rivals),
        return_exceptions=True,
    )
    assert sorted(map(type, answers), key=str) == sorted([Conflict, type(None)], key=str)
    won = rivals[answers.index(None)]
    assert await opened().store.tickets([won.ticket_id], flow.flow_id) == {won.ticket_id: won}


async def test_a_ticket_on_a_page_cannot_be_made_again(opened: Opened) -> None:
    flow, plan = await planned(opened())
    for step in (ChangeSet(flow_id=flow.flow_id, tickets=(plan[0],)), make_step(later(flow), *plan)):
        with pytest.raises(Conflict):
            await opened().store.commit(step)
    more = make_ticket(flow, 99)
    await opened().store.commit(make_step(later(flow), more))
    assert await opened().store.tickets_of(flow.flow_id) == [*plan, more]


async def test_pages_without_the_row_that_leads_to_them_are_nothing(opened: Opened, dynamodb_client: Client) -> None:
    flow = make_flow(status=FlowStatus.GENERATING)
    await opened().store.commit(make_step(flow))

    async def dies(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation == "update_item":
            raise Died
        return await call(operation, arguments)

    cut = later(flow, status=FlowStatus.EXECUTING)
    with pytest.raises(Died):
        await opened(Between(dynamodb_client, dies)).store.commit(make_step(cut, *make_plan(flow, 3)))
    assert await opened().store.tickets_of(flow.flow_id) == []
    plan = make_plan(flow, 5)
    await opened().store.commit(make_step(cut, *plan))
    assert await opened().store.tickets_of(flow.flow_id) == list(plan)


async def test_a_wake_up_of_a_ticket_without_an_item_is_claimed_once(opened: Opened) -> None:
    flow, plan = await planned(opened(), SIZE, next_wakeup_at=T0)
    assert await opened().wakeups.next_due() == T0
    pages = await asyncio.gather(*(opened().wakeups.claim_due(T0, SIZE, LEASE) for _ in range(3)))
    claimed = [due.record_id for page in pages for due in page]
    claimed += [due.record_id for due in await opened().wakeups.claim_due(T0, SIZE, LEASE)]
    assert sorted(claimed) == sorted(ticket.ticket_id for ticket in plan)
    assert await opened().wakeups.next_due() == T0 + LEASE
    assert await opened().store.tickets_of(flow.flow_id) == list(plan)


async def test_no_more_wake_ups_are_claimed_than_were_asked_for(opened: Opened) -> None:
    _, plan = await planned(opened(), 30, next_wakeup_at=T0)
    claimed: list[str] = []
    while page := await opened().wakeups.claim_due(T0, 7, LEASE):
        assert len(page) <= 7
        claimed += [due.record_id for due in page]
    assert sorted(claimed) == sorted(ticket.ticket_id for ticket in plan)


async def test_a_wake_up_is_not_late_when_the_row_of_the_flow_wakes_later_or_never(opened: Opened) -> None:
    flow = make_flow(status=FlowStatus.EXECUTING, next_wakeup_at=T0 + seconds(5))
    ticket = make_ticket(flow, next_wakeup_at=T0 + seconds(60))
    await opened().store.commit(make_step(flow, ticket))
    assert [due.kind for due in await opened().wakeups.claim_due(T0 + seconds(5), 10, LEASE)] == ["flow"]
    for at in (T0 + seconds(500), None):
        flow = later(flow, next_wakeup_at=at)
        stores = opened()
        assert await stores.store.flow(flow.flow_id) is not None
        await stores.store.commit(make_step(flow))
        assert await opened().wakeups.next_due() == T0 + seconds(60)
    assert await opened().wakeups.claim_due(T0 + seconds(59), 10, LEASE) == []
    [due] = await opened().wakeups.claim_due(T0 + seconds(60), 10, LEASE)
    assert (due.kind, due.record_id, due.at) == ("ticket", ticket.ticket_id, T0 + seconds(60))


async def test_what_an_index_has_to_find_has_an_item_at_once(opened: Opened) -> None:
    flow = make_flow(status=FlowStatus.EXECUTING)
    waiting, other = make_ticket(flow, 1, waiting=Waiting.WORKER), make_ticket(flow, 2)
    await opened().store.commit(make_step(flow, waiting, other))
    assert await opened().wakeups.claim_waiting(None, T0, 10, LEASE) == [waiting]
    assert await opened().store.tickets_of(flow.flow_id) == [waiting, other]


async def broken(client: Client, table: str, old: bytes, new: bytes) -> None:
    """Change the text of the only page."""
    [page] = await items(client, table, "P#")
    key = page["pk"]["S"], page["sk"]["S"]
    await client.call(
        "update_item",
        {
            "TableName": table,
            "Key": address(key),
            "UpdateExpression": "SET d = :d",
            "ExpressionAttributeValues": {":d": binary(deflate(inflate(bytes(page["d"]["B"])).replace(old, new)))},
        },
    )


async def test_a_ticket_that_cannot_be_read_is_set_aside_and_comes_due(
    opened: Opened, dynamodb_client: Client, dynamodb_table: str
) -> None:
    flow, plan = await planned(opened(), next_wakeup_at=T0 + seconds(60))
    task = f'"task_id":"{plan[1].task_id}"'.encode()
    await broken(dynamodb_client, dynamodb_table, task, b'"task_id":')
    stores = opened()
    assert await stores.store.tickets_of(flow.flow_id) == [plan[0], *plan[2:]]
    assert [one.record_id for one in stores.set_aside.records(RecordKind.TICKET)] == [plan[1].ticket_id]
    with pytest.raises(Unreadable):
        await stores.store.tickets([plan[1].ticket_id], flow.flow_id)
    assert [due.record_id for due in await opened().wakeups.claim_due(T0, 10, LEASE)] == []
    due = await opened().wakeups.claim_due(T0 + seconds(60), 10, LEASE)
    assert sorted(one.record_id for one in due) == sorted(ticket.ticket_id for ticket in plan)


async def test_a_page_that_cannot_be_read_keeps_no_other_flow_from_being_read(
    opened: Opened, dynamodb_client: Client, dynamodb_table: str
) -> None:
    flow, plan = await planned(opened())
    await broken(dynamodb_client, dynamodb_table, b"[", b"")
    stores = opened()
    assert await stores.store.tickets_of(flow.flow_id) == []
    assert len(stores.set_aside.records(RecordKind.TICKET)) == 1
    with pytest.raises(Unreadable):
        await stores.store.tickets([plan[0].ticket_id], flow.flow_id)
    assert await opened().wakeups.claim_due(T0 + seconds(3600), 10, LEASE) is not None


async def test_a_flow_with_untouched_tickets_is_forgotten_bit_by_bit(
    opened: Opened, dynamodb_client: Client, dynamodb_table: str
) -> None:
    flow, plan = await planned(opened())
    ended = later(flow, status=FlowStatus.FAILED, ended_at=T0, next_wakeup_at=None)
    stores = opened()
    assert await stores.store.tickets_of(flow.flow_id) == list(plan)
    await stores.store.commit(make_step(ended))
    removed = []
    while count := await opened().retention.forget_ended(T0 + seconds(1), 2):
        removed.append(count)
        await stores.store.flow(flow.flow_id)
        assert len(await stores.store.tickets_of(flow.flow_id)) <= max(0, len(plan) - sum(removed))
    assert sum(removed) == len(plan) + 1
    assert await items(dynamodb_client, dynamodb_table, "") == []
