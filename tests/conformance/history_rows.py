"""What reading history by increments must do over every store: each end once, in order, however it is cut."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.learning import history_reader
from functions._core.learning.history_reader import Batch, HistoryCursor, ended_between, read_cursor
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import TicketStatus
from tests.conformance.suite import StoresSuite
from tests.conformance.unreadable import FAULTS, Damage
from tests.support.builders import T0, later, make_flow, make_step, make_ticket, seconds
from tests.support.slo_history import ports_of

DONE = {
    "status": TicketStatus.COMPLETED,
    "attempt": 1,
    "worker_id": "worker-1",
    "ready_at": T0,
    "assigned_at": T0 + seconds(1),
    "completed_at": T0 + seconds(2),
    "actual_duration_ms": 900,
    "next_wakeup_at": None,
}
LATER = T0 + timedelta(days=1)


async def ended(stores: Stores, number: int, at: datetime, tickets: int = 1, **of_ticket: object) -> Flow:
    """Store a flow that has ended, with tickets that are done."""
    flow = make_flow(number, tickets_generated=tickets)
    plan = [make_ticket(flow, place, **{**DONE, **of_ticket}) for place in range(1, tickets + 1)]
    await stores.store.commit(make_step(flow, *plan))
    return await ends(stores, flow, at)


async def ends(stores: Stores, flow: Flow, at: datetime) -> Flow:
    """Let a flow end."""
    phases = (*flow.phases, {"status": "COMPLETED", "entered_at": at})
    end = {"status": "COMPLETED", "outcome": "COMPLETED", "ended_at": at, "next_wakeup_at": None, "phases": phases}
    over = later(flow, **end)
    await stores.store.commit(make_step(over))
    return over


async def read(
    stores: Stores, since: datetime | HistoryCursor, until: datetime = LATER, limit: int = 100, **more: Any
) -> Batch:
    """Read a batch as if it were a day later."""
    ports, _ = ports_of(stores)
    return await ended_between(ports, since, until, limit, now=LATER + timedelta(days=1), **more)


async def by_increments(stores: Stores, limit: int, since: datetime = T0) -> list[str]:
    """Read all in batches, each from the word of the cursor before; return the ids in the order in which they came."""
    place, found = HistoryCursor(at=since), list[str]()
    while True:
        batch = await read(stores, place, limit=limit)
        assert len(batch.flows) <= limit
        found += [row.flow_id for row, _ in batch.flows]
        place = read_cursor(batch.cursor.text)
        assert place == batch.cursor
        if batch.complete:
            return found


class HistorySuite(StoresSuite):
    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_each_end_comes_once_and_in_order_however_it_is_cut(self, stores: Stores, limit: int) -> None:
        moments = [0.001, 0.002, 0.002, 0.002, 7200, 7200.001, 7200.001, 50_000]
        flows = [await ended(stores, number, T0 + seconds(at)) for number, at in enumerate(moments, 1)]
        in_order = sorted(flows, key=lambda flow: (flow.ended_at, flow.flow_id))
        assert await by_increments(stores, limit) == [flow.flow_id for flow in in_order]

    async def test_more_than_a_page_in_one_millisecond(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history_reader, "LEAST_PAGE", 4)
        flows = [await ended(stores, number, T0 + seconds(60), tickets=0) for number in range(1, 8)]
        flows.append(await ended(stores, 8, T0 + seconds(86_000)))
        assert await by_increments(stores, 3) == [
            *sorted(flow.flow_id for flow in flows[:-1]),
            flows[-1].flow_id,
        ]

    async def test_what_is_not_settled_or_outside_of_the_span_is_not_read_yet(self, stores: Stores) -> None:
        for number, at in ((1, 10), (2, 20), (3, 30)):
            await ended(stores, number, T0 + seconds(at))
        ports, _ = ports_of(stores)
        batch = await ended_between(ports, T0 + seconds(11), LATER, 10, now=T0 + seconds(85))
        assert [row.ended_at for row, _ in batch.flows] == [T0 + seconds(20)]
        assert batch.complete
        # One that ended before, and is stored only now, is still in time.
        await ended(stores, 4, T0 + seconds(25))
        more = await ended_between(ports, batch.cursor, T0 + seconds(30), 10, now=T0 + seconds(1000))
        assert [row.ended_at for row, _ in more.flows] == [T0 + seconds(25)]
        again = await ended_between(ports, more.cursor, T0 + seconds(30), 10, now=T0 + seconds(1000))
        assert again.flows == ()
        assert [row.ended_at for row, _ in (await read(stores, again.cursor)).flows] == [T0 + seconds(30)]

    async def test_a_flow_that_ends_again_is_a_second_row(self, stores: Stores) -> None:
        flow = await ended(stores, 1, T0 + seconds(10), tickets=2)
        first = await read(stores, T0, T0 + seconds(60))
        again = later(flow, status="EXECUTING", outcome=None, ended_at=None, next_wakeup_at=T0, redrives=1)
        await stores.store.commit(make_step(again))
        assert (await read(stores, first.cursor)).flows == ()
        over = await ends(stores, again, T0 + seconds(500))
        second = await read(stores, first.cursor)
        assert [row.flow_id for row, _ in (*first.flows, *second.flows)] == [flow.flow_id] * 2
        assert [row.ended_at for row, _ in second.flows] == [over.ended_at]
        assert len(second.flows[0][1]) == 2

    async def test_flows_with_many_tickets_make_shorter_batches(self, stores: Stores) -> None:
        for number in range(1, 5):
            await ended(stores, number, T0 + seconds(number), tickets=6)
        batch = await read(stores, T0, most_tickets=10)
        assert [len(rows) for _, rows in batch.flows] == [6, 6]
        assert not batch.complete
        rest = await read(stores, batch.cursor, most_tickets=13)
        assert [len(rows) for _, rows in rest.flows] == [6, 6]
        assert rest.complete

    async def test_rows_say_what_the_records_say(self, stores: Stores) -> None:
        flow = await ended(stores, 1, T0 + seconds(10), tickets=1, parameters={"a": 1}, output=[1, 2])
        ((row, (ticket,)),) = (await read(stores, T0)).flows
        assert (row.decision_id, row.outcome, row.duration_ms, row.missed) == ("decision-1", "COMPLETED", 10_000, False)
        assert (ticket.flow_id, ticket.task_id, ticket.worker_id) == (flow.flow_id, "task-1", "worker-1")
        assert (ticket.actual_ms, ticket.waited_ms, ticket.estimate_ms) == (900, 1000, 60_000)
        assert (ticket.parameters_bytes, ticket.output_bytes) == (7, 5)


class UnreadableHistorySuite(StoresSuite):
    """Of stores that keep records as text."""

    @pytest.fixture(params=list(FAULTS))
    def fault(self, request: pytest.FixtureRequest) -> Any:
        return FAULTS[request.param]

    async def test_one_record_stops_no_other(self, stores: Stores, damage: Damage, fault: Any) -> None:
        flows = [await ended(stores, number, T0 + seconds(number), tickets=2) for number in (1, 2, 3)]
        await damage(RecordKind.FLOW, flows[0].flow_id, fault)
        tickets: Mapping[int, Ticket] = dict(enumerate(await stores.store.tickets_of(flows[1].flow_id)))
        await damage(RecordKind.TICKET, tickets[0].ticket_id, fault)
        batch = await read(stores, T0)
        assert [(row.flow_id, len(rows)) for row, rows in batch.flows] == [(flows[1].flow_id, 1), (flows[2].flow_id, 2)]
        assert batch.complete
