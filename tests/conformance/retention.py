"""What every `Retention` must do."""

from contextlib import suppress
from datetime import datetime

from functions._adapters.stores import Stores
from functions._core.errors import Unavailable
from functions._core.records.audits import AuditKind
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Outcome
from tests.conformance.suite import StoresSuite
from tests.support.builders import (
    T0,
    later,
    make_action,
    make_audit,
    make_flow,
    make_history,
    make_letter,
    make_plan,
    make_step,
    seconds,
)

RECORDS = 2 + 3 + 2 + 1 + 2
"""Of a flow as `put_ended` puts it: its row and decision, tickets, transitions, an audit, letters."""


async def put_ended(stores: Stores, number: int, ended_at: datetime | None) -> Flow:
    """Store a flow, ended or not, with everything that can belong to one."""
    flow = make_flow(number, labels={"team": "pay"})
    await stores.store.commit(
        make_step(
            flow,
            *make_plan(flow, 3, labels={"team": "pay", "kind": "build"}),
            decision=b"{}",
            history=(make_history(flow, 1), make_history(flow, 2)),
            audit=(make_audit(flow, number),),
        )
    )
    for letter in range(2):
        await stores.dead_letters.put(make_letter(10 * number + letter, flow_id=flow.flow_id))
    if ended_at is not None:
        ended = {"status": FlowStatus.COMPLETED, "outcome": Outcome.COMPLETED, "next_wakeup_at": None}
        await stores.store.commit(make_step(later(flow, ended_at=ended_at, **ended)))
    return flow


async def left_of(stores: Stores, flow: Flow) -> int:
    """Return how many records there are of a flow."""
    letters, _ = await stores.dead_letters.letters(None, 100)
    decisions = 0
    with suppress(Unavailable):
        decisions = len([await stores.store.decision(flow.flow_id)])
    return (
        (await stores.store.flow(flow.flow_id) is not None)
        + decisions
        + len(await stores.store.tickets_of(flow.flow_id))
        + len(await stores.views.history(flow.flow_id, 0, 100))
        + len(await stores.views.audits(flow.flow_id, 100))
        + sum(letter.flow_id == flow.flow_id for letter in letters)
    )


class RetentionSuite(StoresSuite):
    async def test_all_of_a_flow_goes_when_it_ended_long_ago_and_nothing_of_any_other(self, stores: Stores) -> None:
        old, young, open_one = [
            await put_ended(stores, number, at) for number, at in ((1, T0), (2, T0 + seconds(10)), (3, None))
        ]
        await stores.dead_letters.put(make_letter(99))
        assert await left_of(stores, old) == RECORDS
        assert await stores.retention.forget_ended(T0 + seconds(10), 1000) == RECORDS
        assert [await left_of(stores, flow) for flow in (old, young, open_one)] == [0, RECORDS, RECORDS]
        assert await stores.dead_letters.letter("letter-99") is not None
        assert (await stores.views.counts())["tickets"] == {"PENDING": 6}
        assert await stores.retention.forget_ended(T0 + seconds(10), 1000) == 0

    async def test_never_more_goes_at_once_than_was_asked_for_and_in_the_end_everything(self, stores: Stores) -> None:
        flows = [await put_ended(stores, number, T0 + seconds(number)) for number in (2, 1, 3)]
        removed = []
        while count := await stores.retention.forget_ended(T0 + seconds(60), 4):
            removed.append(count)
            left = [await left_of(stores, flow) for flow in flows]
            assert sum(left) == 3 * RECORDS - sum(removed)
            # The oldest first, and its own row last.
            assert left[1] == 0 or left[0] == RECORDS
            for flow, records in zip(flows, left, strict=True):
                assert (await stores.store.flow(flow.flow_id) is None) == (records == 0)
        assert max(removed) == 4
        assert sum(removed) == 3 * RECORDS

    async def test_actions_on_no_flow_go_when_they_are_old_enough_and_after_the_flows(self, stores: Stores) -> None:
        flow = await put_ended(stores, 1, T0)
        young = await put_ended(stores, 2, None)
        of_flow = make_action(10, flow_id=young.flow_id, at=T0)
        actions = [make_action(20 + number, at=T0 + seconds(number)) for number in range(5)]
        for action in (of_flow, *actions):
            await stores.store.commit(ChangeSet(flow_id=action.flow_id, audit=(action,)))
        before = T0 + seconds(3)
        assert await stores.retention.forget_ended(T0, 1000) == 0
        assert await stores.retention.forget_ended(before, RECORDS + 1) == RECORDS + 1
        assert await left_of(stores, flow) == 0
        assert await stores.views.audits(None, 100, kind=AuditKind.ACTION) == [*actions[:0:-1], of_flow]
        assert [await stores.retention.forget_ended(before, 1) for _ in range(3)] == [1, 1, 0]
        assert await stores.retention.forget_ended(before, 1000) == 0
        assert await stores.views.audits(None, 100, kind=AuditKind.ACTION) == [*actions[:2:-1], of_flow]
        assert await left_of(stores, young) == RECORDS + 1

    async def test_what_was_read_just_before_is_gone_too(self, stores: Stores) -> None:
        flow = await put_ended(stores, 1, T0)
        tickets = await stores.store.tickets_of(flow.flow_id)
        ids = [ticket.ticket_id for ticket in tickets]
        assert len(await stores.store.tickets(ids)) == 3
        await stores.retention.forget_ended(T0 + seconds(1), 1000)
        assert await stores.store.flow(flow.flow_id) is None
        assert await stores.store.tickets(ids) == {}
        assert await stores.wakeups.claim_due(T0 + seconds(3600), 10, seconds(1)) == []

    async def test_the_same_decision_may_come_anew_and_its_history_goes_on_counting(self, stores: Stores) -> None:
        before = await stores.views.history((await put_ended(stores, 1, T0)).flow_id, 0, 10)
        await stores.retention.forget_ended(T0 + seconds(1), 1000)
        flow = await put_ended(stores, 1, None)
        after = await stores.views.history(None, before[-1].seq, 10)
        assert [entry.seq > before[-1].seq for entry in after] == [True, True]
        assert await left_of(stores, flow) == RECORDS

    async def test_the_newest_letters_are_kept_and_the_oldest_dropped_some_at_a_time(self, stores: Stores) -> None:
        for number in range(10):
            await stores.dead_letters.put(make_letter(number))
        assert await stores.retention.drop_letters(10, 100) == 0
        assert await stores.retention.drop_letters(7, 2) == 2
        assert await stores.retention.drop_letters(7, 2) == 1
        assert await stores.retention.drop_letters(7, 2) == 0
        letters, _ = await stores.dead_letters.letters(None, 100)
        assert [letter.letter_id for letter in letters] == [f"letter-{number}" for number in range(9, 2, -1)]

    async def test_letters_that_people_dropped_do_not_count(self, stores: Stores) -> None:
        for number in range(10):
            await stores.dead_letters.put(make_letter(number))
        for number in range(1, 9):
            await stores.dead_letters.drop(f"letter-{number}")
        assert await stores.retention.drop_letters(2, 100) == 0
        assert await stores.retention.drop_letters(1, 100) == 1
        assert await stores.dead_letters.letter("letter-9") is not None

    async def test_where_there_is_nothing_nothing_is_removed(self, stores: Stores) -> None:
        assert await stores.retention.forget_ended(T0, 100) == 0
        assert await stores.retention.drop_letters(0, 100) == 0
