"""Steps that are larger than a transaction: done or not done, whoever dies, looks or writes meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore, table, writing
from functions._adapters.dynamodb.client import RequestRefused
from functions._adapters.stores import Stores
from functions._core.errors import Conflict
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._engine.clock import SystemClock
from tests.conformance.dynamodb_clients import WRITES, Ahead, Answer, Arguments, Between, Call, Died
from tests.support.builders import T0, later, make_event, make_flow, make_history, make_plan, make_step, seconds

SIZE = 24
LEASE = seconds(10)

Opened = Callable[..., Stores]


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fewer items than `SIZE` be a transaction and a batch; `test_dynamodb.py` goes beyond the real limits."""
    monkeypatch.setattr(writing, "ITEMS", 20)
    monkeypatch.setattr(table, "GET_BATCH", 20)


@pytest.fixture
def clock() -> Ahead:
    return Ahead(SystemClock().now())


@pytest.fixture
def opened(dynamodb_client: Client, dynamodb_table: str, clock: Ahead) -> Opened:
    """Give `opened(act)`: the ports of a process with `act` between it and the table."""

    def stores(act: Callable[..., object] | None = None) -> Stores:
        client = dynamodb_client if act is None else Between(dynamodb_client, act)  # type: ignore[arg-type]
        return DynamoStore(client, dynamodb_table, None, clock, settle=0).stores

    return stores


def dying(operation: str, after: int) -> Callable[[Call, str, Arguments], object]:
    """Let a process make `after` calls of a kind and die at the next one; it does nothing after that."""
    made = 0

    async def act(call: Call, name: str, arguments: Arguments) -> Answer:
        nonlocal made
        made += name == operation
        if made > after:
            raise Died
        return await call(name, arguments)

    return act


async def planned(stores: Stores) -> tuple[Flow, tuple[Ticket, ...]]:
    """Store a flow with a large plan."""
    flow = make_flow()
    plan = make_plan(flow, SIZE, next_wakeup_at=T0)
    await stores.store.commit(make_step(flow, *plan))
    return flow, plan


def cancelling(flow: Flow, plan: tuple[Ticket, ...]) -> ChangeSet:
    """Return the step that cancels everything."""
    ended = later(flow, status=FlowStatus.CANCELLED, next_wakeup_at=None)
    changed = [later(ticket, status=TicketStatus.CANCELLED, next_wakeup_at=None) for ticket in plan]
    history = tuple(make_history(flow, number, ticket_id=ticket.ticket_id) for number, ticket in enumerate(plan))
    return make_step(ended, *changed, history=history, events=(make_event(1),))


async def state(stores: Stores, flow: Flow) -> tuple[str, int, int, int, int, int]:
    """Return what can be seen of a flow, by every way there is."""
    row = await stores.store.flow(flow.flow_id)
    tickets = await stores.store.tickets_of(flow.flow_id)
    named = await stores.store.tickets([ticket.ticket_id for ticket in make_plan(flow, SIZE)])
    return (
        row.status.value if row else "",
        len(tickets),
        sum(ticket.live for ticket in named.values()),
        await stores.ticket_counts.live(flow.flow_id, 1000),
        (await stores.ticket_counts.by_status(flow.flow_id))["CANCELLED"],
        len(await stores.views.history(flow.flow_id, 0, 1000)),
    )


NOTHING = ("", 0, 0, 0, 0, 0)
PLANNED = ("VALIDATING", SIZE, SIZE, SIZE, 0, 0)
CANCELLED = ("CANCELLED", SIZE, 0, 0, SIZE, SIZE)


@pytest.mark.parametrize("drafts", [0, 1, SIZE - 1])
async def test_who_dies_before_the_head_has_done_nothing(opened: Opened, clock: Ahead, drafts: int) -> None:
    flow, plan = await planned(opened())
    with pytest.raises(Died):
        await opened(dying("update_item", drafts)).store.commit(cancelling(flow, plan))
    assert await state(opened(), flow) == PLANNED
    clock.ahead = seconds(31)
    await opened().store.commit(cancelling(flow, plan))
    assert await state(opened(), flow) == CANCELLED


@pytest.mark.parametrize("drafts", [1, SIZE - 1])
async def test_a_plan_that_was_not_stored_to_its_end_is_stored_anew(opened: Opened, clock: Ahead, drafts: int) -> None:
    flow = make_flow()
    plan = make_plan(flow, SIZE, waiting=Waiting.WORKER)  # what an index has to find is not on a page
    with pytest.raises(Died):
        await opened(dying("update_item", drafts)).store.commit(make_step(flow, *plan))
    assert await state(opened(), flow) == NOTHING
    assert await opened().wakeups.next_due() is None
    clock.ahead = seconds(31)
    await opened().store.commit(make_step(flow, *plan))
    assert await state(opened(), flow) == PLANNED


@pytest.mark.parametrize("first", ["flow", "tickets_of", "tickets", "live", "by_status", "history"])
async def test_who_dies_behind_the_head_has_done_everything(opened: Opened, first: str) -> None:
    flow, plan = await planned(opened())
    with pytest.raises(Died):
        await opened(dying("update_item", SIZE + 7)).store.commit(cancelling(flow, plan))
    stores = opened()
    looks: dict[str, Callable[[], Any]] = {
        "flow": lambda: stores.store.flow(flow.flow_id),
        "tickets_of": lambda: stores.store.tickets_of(flow.flow_id),
        "tickets": lambda: stores.store.tickets([plan[-1].ticket_id]),
        "live": lambda: stores.ticket_counts.live(flow.flow_id, 1),
        "by_status": lambda: stores.ticket_counts.by_status(flow.flow_id),
        "history": lambda: stores.views.history(flow.flow_id, 0, 10),
    }
    found = await looks[first]()
    if first == "tickets_of":
        assert {ticket.status for ticket in found} == {"CANCELLED"}
    if first == "live":
        assert found == 0
    assert await state(opened(), flow) == CANCELLED
    assert [queued.event.id for queued in await stores.queue.pending(0, 9)] == ["event-1"]


async def test_the_sweep_brings_a_step_to_its_end_when_nobody_else_looks(opened: Opened, clock: Ahead) -> None:
    flow = make_flow(next_wakeup_at=None)
    plan = make_plan(flow, SIZE, next_wakeup_at=T0, waiting=Waiting.WORKER)
    with pytest.raises(Died):
        await opened(dying("update_item", SIZE)).store.commit(make_step(flow, *plan))
    claimed = await opened().wakeups.claim_due(clock.now() + seconds(60), 500, LEASE)
    assert sorted(due.record_id for due in claimed) == sorted(ticket.ticket_id for ticket in plan)
    assert await opened().wakeups.next_due() == clock.now() + seconds(70)


async def test_a_step_that_is_being_written_is_seen_as_it_was_and_writers_wait(opened: Opened) -> None:
    flow, plan = await planned(opened())
    seen = []

    async def look(call: Call, name: str, arguments: Arguments) -> Answer:
        if name == "transact_write_items":  # the head, once all drafts are there
            seen.append(await state(opened(), flow))
            with pytest.raises(Conflict):
                await opened().store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(later(plan[3], attempt=1),)))
            await opened().wakeups.claim_due(T0, 10, LEASE)
        return await call(name, arguments)

    await opened(look).store.commit(cancelling(flow, plan))
    assert seen == [PLANNED]
    assert await state(opened(), flow) == CANCELLED


async def test_of_two_large_steps_one_at_most_is_done_and_wholly(opened: Opened) -> None:
    flow, plan = await planned(opened())
    running = [later(ticket, status=TicketStatus.RUNNING) for ticket in plan]
    rivals = [cancelling(flow, plan), make_step(later(flow, status=FlowStatus.EXECUTING), *running)]
    answers = await asyncio.gather(*(opened().store.commit(step) for step in rivals), return_exceptions=True)
    done = [answer for answer in answers if answer is None]
    assert len(done) <= 1
    assert {type(answer) for answer in answers if answer is not None} <= {Conflict}
    statuses = {ticket.status for ticket in await opened().store.tickets_of(flow.flow_id)}
    expected = {None: "PENDING", 0: "CANCELLED", 1: "RUNNING"}[answers.index(None) if done else None]
    assert statuses == {expected}


@pytest.mark.parametrize("busy", [0, 3])
async def test_a_process_that_was_taken_for_dead_cannot_finish_what_was_undone(
    opened: Opened, clock: Ahead, busy: int
) -> None:
    flow, plan = await planned(opened())
    rival = later(plan[0], attempt=9)
    met = 0

    async def hindered(call: Call, name: str, arguments: Arguments) -> Answer:
        nonlocal met
        if name == "update_item" and arguments["Key"]["sk"]["S"].startswith("C#") and met < busy:
            met += 1
            raise RequestRefused({"CancellationReasons": [{"Code": "TransactionConflict"}]})
        return await call(name, arguments)

    async def slow(call: Call, name: str, arguments: Arguments) -> Answer:
        if name == "transact_write_items":
            clock.ahead = seconds(31)
            await opened(hindered).store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(rival,)))
        return await call(name, arguments)

    with pytest.raises(Conflict):
        await opened(slow).store.commit(cancelling(flow, plan))
    assert await state(opened(), flow) == PLANNED
    assert (await opened().store.tickets([rival.ticket_id]))[rival.ticket_id] == rival
    assert met == busy
    await opened().store.commit(cancelling(flow, (rival, *plan[1:])))
    assert await state(opened(), flow) == CANCELLED


async def test_who_meets_the_drafts_of_another_step_has_not_written_hundreds_in_vain(
    opened: Opened, clock: Ahead
) -> None:
    flow, plan = await planned(opened())
    with pytest.raises(Died):
        await opened(dying("update_item", SIZE // 2)).store.commit(cancelling(flow, plan))
    clock.ahead = seconds(1)
    writes = 0

    async def count(call: Call, name: str, arguments: Arguments) -> Answer:
        nonlocal writes
        writes += name in WRITES
        return await call(name, arguments)

    with pytest.raises(Conflict):
        await opened(count).store.commit(cancelling(flow, plan))
    assert writes <= 3


async def test_a_large_step_without_the_flow_is_whole_too(opened: Opened) -> None:
    flow, plan = await planned(opened())
    changed = tuple(later(ticket, open_dependencies=1) for ticket in plan)
    with pytest.raises(Died):
        await opened(dying("update_item", SIZE + 3)).store.commit(ChangeSet(flow_id=flow.flow_id, tickets=changed))
    assert await opened().store.tickets_of(flow.flow_id) == list(changed)
    assert await opened().store.flow(flow.flow_id) == flow


@pytest.mark.parametrize("operation", ["update_item", "transact_write_items"])
async def test_a_large_step_waits_for_items_that_are_busy_for_a_moment(opened: Opened, operation: str) -> None:
    flow, plan = await planned(opened())
    met: set[str] = set()

    async def act(call: Call, name: str, arguments: Arguments) -> Answer:
        what = str(arguments.get("Key"))
        if name == operation and what not in met:
            met.add(what)
            raise RequestRefused({"CancellationReasons": [{"Code": "TransactionConflict"}]})
        return await call(name, arguments)

    await opened(act).store.commit(cancelling(flow, plan))
    assert await state(opened(), flow) == CANCELLED
    assert len(met) >= (SIZE if operation == "update_item" else 1)


async def test_a_large_step_knows_its_own_drafts_when_their_answers_were_lost(opened: Opened) -> None:
    flow, plan = await planned(opened())

    async def act(call: Call, name: str, arguments: Arguments) -> Answer:
        if name == "update_item":
            await call(name, arguments)  # its answer is lost, so the SDK sends it again
        return await call(name, arguments)

    await opened(act).store.commit(cancelling(flow, plan))
    assert await state(opened(), flow) == CANCELLED
