"""A store that reads a record once in an invocation."""

from collections import Counter
from collections.abc import Collection, Mapping

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import Conflict
from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet, singly
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus
from functions._hosts.aws.read_once_store import ReadOnceStore
from tests.support.builders import later, make_event, make_flow, make_history, make_plan, make_step, make_ticket


class Counting:
    """A store that counts what it is read for."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self.commit, self.decision, self.tickets_of = store.commit, store.decision, store.tickets_of
        self.reads = Counter[str]()

    async def flow(self, flow_id: str) -> Flow | None:
        self.reads[flow_id] += 1
        return await self._store.flow(flow_id)

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        self.reads.update(ticket_ids)
        return await self._store.tickets(ticket_ids, flow_id)


async def test_a_record_is_read_once_and_is_then_as_it_was_committed() -> None:
    behind = Counting(MemoryStore().stores.store)
    store = ReadOnceStore(behind)
    flow = make_flow()
    ticket = make_ticket(flow)
    await behind.commit(make_step(flow, ticket))
    store.remember()
    for _ in range(3):
        assert await store.flow(flow.flow_id) == flow
        assert await store.tickets([ticket.ticket_id], flow.flow_id) == {ticket.ticket_id: ticket}
    changed, moved = later(flow), later(ticket, attempt=1)
    await store.commit(make_step(changed, moved))
    assert await store.flow(flow.flow_id) == changed
    assert await store.tickets([ticket.ticket_id], flow.flow_id) == {ticket.ticket_id: moved}
    assert behind.reads == {flow.flow_id: 1, ticket.ticket_id: 1}


async def test_nothing_is_remembered_from_before_an_event_nor_after_the_invocation() -> None:
    behind = Counting(MemoryStore().stores.store)
    store = ReadOnceStore(behind)
    flow = make_flow()
    await behind.commit(make_step(flow))
    for event in (store.remember, store.remember, store.forget):
        event()
        assert await store.flow(flow.flow_id) == flow
    assert await store.flow(flow.flow_id) == flow
    assert behind.reads == {flow.flow_id: 4}


async def test_after_a_conflict_everything_is_read_again() -> None:
    behind = Counting(MemoryStore().stores.store)
    store = ReadOnceStore(behind)
    flow = make_flow()
    await behind.commit(make_step(flow))
    store.remember()
    assert await store.flow(flow.flow_id) == flow
    changed = later(flow)
    await behind.commit(make_step(changed))
    with pytest.raises(Conflict):
        await store.commit(make_step(later(flow)))
    assert await store.flow(flow.flow_id) == changed


async def test_what_is_not_there_is_asked_for_again() -> None:
    behind = Counting(MemoryStore().stores.store)
    store = ReadOnceStore(behind)
    flow = make_flow()
    store.remember()
    assert await store.flow(flow.flow_id) is None
    await behind.commit(make_step(flow))
    assert await store.flow(flow.flow_id) == flow


def test_assignments_of_a_wave_are_committed_singly_and_no_other_step_is() -> None:
    flow = make_flow()
    plan = make_plan(flow, 3)
    wave = [later(ticket, status=TicketStatus.ASSIGNED, attempt=1) for ticket in plan]
    told = tuple(make_history(flow, number, ticket_id=one.ticket_id) for number, one in enumerate(wave))
    step = ChangeSet(flow_id=flow.flow_id, tickets=tuple(wave), history=told)
    assert [(part.tickets, part.history) for part in singly(step)] == [
        ((ticket,), (line,)) for ticket, line in zip(wave, told, strict=True)
    ]
    ended = later(plan[0], status=TicketStatus.COMPLETED)
    for whole in (
        ChangeSet(flow_id=flow.flow_id, tickets=(ended, *wave[1:]), history=told),
        ChangeSet(flow_id=flow.flow_id, tickets=tuple(wave), history=told, events=(make_event(1),)),
        ChangeSet(flow_id=flow.flow_id, tickets=tuple(wave), history=(*told, make_history(flow, 9))),
        ChangeSet(flow_id=flow.flow_id, flow=later(flow), tickets=tuple(wave), history=told),
    ):
        assert singly(whole) == [whole]
