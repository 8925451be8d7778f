"""A store that is spared chain events, and whose queue keeps all others."""

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import Conflict
from functions._core.records.change_set import ChangeSet
from functions._engine.outbox_skipping_store import SPARED, OutboxSkippingStore
from tests.support.builders import make_event, make_flow, make_step


async def test_chain_events_are_not_kept_and_those_for_subscribers_are_until_they_are_handled() -> None:
    stores = MemoryStore().stores
    store = OutboxSkippingStore(stores.store)
    flow = make_flow()
    chain, told = make_event(1, "plan.validated"), make_event(2, "plan.rejected")
    await store.commit(make_step(flow, events=(chain, told)))
    assert [queued.event for queued in await stores.queue.pending(0, 10)] == [told]
    await store.commit(ChangeSet(flow_id=flow.flow_id, handled=chain.id))
    await store.commit(ChangeSet(flow_id=flow.flow_id, handled=told.id))
    assert await stores.queue.pending(0, 10) == []
    assert await store.flow(flow.flow_id) == flow


async def test_a_chain_event_that_was_queued_by_itself_is_taken_out_when_it_is_handled() -> None:
    stores = MemoryStore().stores
    store = OutboxSkippingStore(stores.store)
    replayed = make_event(1, "plan.validated")
    await stores.queue.enqueue([replayed])
    await store.commit(ChangeSet(flow_id="f", handled=replayed.id))
    assert await stores.queue.pending(0, 10) == []


async def test_a_step_that_fails_spares_nothing() -> None:
    stores = MemoryStore().stores
    store = OutboxSkippingStore(stores.store)
    flow = make_flow()
    await store.commit(make_step(flow))
    with pytest.raises(Conflict):
        await store.commit(make_step(flow, events=(make_event(1, "plan.validated"),)))
    await stores.queue.enqueue([make_event(1, "plan.validated")])
    await store.commit(ChangeSet(flow_id="f", handled=make_event(1).id))
    assert await stores.queue.pending(0, 10) == []


def test_every_spared_event_belongs_to_a_record_with_a_wake_up() -> None:
    assert {
        "decision.consolidated",
        "plan.validated",
        "tickets.ready",
        "workers.discovered",
        "compensation.requested",
        "flow.consolidated",
    } == SPARED
