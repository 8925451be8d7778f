"""What every `TicketCounts` must do."""

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Rejected
from functions._core.records.change_set import ChangeSet
from functions._core.records.hedge import Hedge
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_flow, make_plan, make_ticket, seconds

FLOW = make_flow(1)
NO_FLOW = make_flow(99).flow_id


async def put(stores: Stores, *tickets: Ticket) -> None:
    await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=tickets))


def held(number: int, worker_id: str, since: float, status: TicketStatus = TicketStatus.ASSIGNED) -> Ticket:
    return make_ticket(FLOW, number, status=status, worker_id=worker_id, assigned_at=T0 + seconds(since))


class TicketCountsSuite(StoresSuite):
    async def test_every_status_is_counted_and_absent_ones_are_zero(self, stores: Stores) -> None:
        zeros = {status.value: 0 for status in TicketStatus}
        first, second, third = make_plan(FLOW, 3)
        other = make_flow(2)
        await stores.store.commit(ChangeSet(flow_id=other.flow_id, tickets=make_plan(other, 5)))
        await put(stores, first, second, third)
        await put(stores, later(third, status=TicketStatus.FAILED))
        assert await stores.ticket_counts.by_status(FLOW.flow_id) == zeros | {"PENDING": 2, "FAILED": 1}
        assert await stores.ticket_counts.by_status(NO_FLOW) == zeros

    async def test_live_tickets_are_counted_no_further_than_asked(self, stores: Stores) -> None:
        seen = []
        plan = make_plan(FLOW, 3, status=TicketStatus.RUNNING)
        await put(stores, *plan)
        for ticket in plan:
            seen.append(await stores.ticket_counts.live(FLOW.flow_id, 2))
            await put(stores, later(ticket, status=TicketStatus.CANCELLED, next_wakeup_at=None))
        assert [*seen, await stores.ticket_counts.live(FLOW.flow_id, 9)] == [2, 2, 1, 0]
        assert await stores.ticket_counts.live(NO_FLOW, 9) == 0

    async def test_pending_assigned_and_running_tickets_are_live(self, stores: Stores) -> None:
        for number, status in enumerate(TicketStatus):
            flow = make_flow(number)
            ticket = make_ticket(flow, status=status)
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,)))
            assert await stores.ticket_counts.live(flow.flow_id, 2) == int(ticket.live)

    async def test_assigned_and_running_tickets_are_active_at_their_worker(self, stores: Stores) -> None:
        running = held(2, "worker-1", 0, TicketStatus.RUNNING)
        await put(stores, held(1, "worker-1", 0), running, held(3, "worker-2", 0))
        await put(stores, held(4, "worker-3", 0, TicketStatus.COMPLETED), make_ticket(FLOW, 5))
        assert await stores.ticket_counts.active() == {"worker-1": 2, "worker-2": 1}
        await put(stores, later(running, status=TicketStatus.COMPLETED))
        assert await stores.ticket_counts.active() == {"worker-1": 1, "worker-2": 1}

    async def test_what_a_worker_holds_comes_with_the_oldest_assignment_first(self, stores: Stores) -> None:
        newest, oldest, middle = held(1, "worker-1", 9), held(2, "worker-1", 1), held(3, "worker-1", 5)
        await put(stores, newest, oldest, middle, held(4, "worker-2", 0))
        assert await stores.ticket_counts.held_by("worker-1", 10) == [oldest, middle, newest]
        assert await stores.ticket_counts.held_by("worker-1", 2) == [oldest, middle]
        assert await stores.ticket_counts.held_by("worker-3", 10) == []

    async def test_a_ticket_that_was_given_back_is_held_no_more(self, stores: Stores) -> None:
        ticket = held(1, "worker-1", 0)
        await put(stores, ticket)
        await put(stores, later(ticket, status=TicketStatus.PENDING))
        assert await stores.ticket_counts.held_by("worker-1", 10) == []
        assert await stores.ticket_counts.active() == {}

    async def test_tickets_that_fit_are_counted_no_further_than_asked(self, stores: Stores) -> None:
        first, second, third = make_plan(FLOW, 3)
        other = make_flow(2)
        await stores.store.commit(ChangeSet(flow_id=other.flow_id, flow=other, tickets=make_plan(other, 2)))
        await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, flow=FLOW, tickets=(first, second, third)))
        await put(stores, later(third, status=TicketStatus.COMPLETED))
        counts: list[tuple[dict[str, str], int]] = [
            ({}, 5),
            ({"flow_id": FLOW.flow_id}, 3),
            ({"flow_id": FLOW.flow_id, "status": "pending"}, 2),
            ({"status": "COMPLETED"}, 1),
            ({"flow_id": NO_FLOW}, 0),
            ({"plan_id": FLOW.plan_id or "", "status": "FAILED"}, 0),
        ]
        for filters, count in counts:
            assert await stores.ticket_counts.fitting(filters, 10) == count, filters
        assert await stores.ticket_counts.fitting({}, 4) == 4
        with pytest.raises(Rejected, match="Unknown filter"):
            await stores.ticket_counts.fitting({"colour": "red"}, 4)

    async def test_both_attempts_at_a_ticket_are_held_each_as_its_worker_sees_it(self, stores: Stores) -> None:
        ticket = held(1, "worker-1", 0, TicketStatus.RUNNING).but(attempt=1, acknowledged_at=T0, started_at=T0)
        await put(stores, ticket, held(2, "worker-2", 9))
        second = Hedge(attempt=2, worker_id="worker-2", assigned_at=T0 + seconds(5))
        hedged = later(ticket, hedge=second)
        await put(stores, hedged)
        assert await stores.ticket_counts.active() == {"worker-1": 1, "worker-2": 2}
        assert await stores.ticket_counts.held_by("worker-1", 9) == [hedged]
        seen, other = await stores.ticket_counts.held_by("worker-2", 9)
        assert [seen] == await stores.ticket_counts.held_by("worker-2", 1)
        assert (seen.attempt, seen.worker_id, seen.status, seen.acknowledged_at) == (
            2,
            "worker-2",
            TicketStatus.ASSIGNED,
            None,
        )
        assert (seen.ticket_id, other.attempt) == (ticket.ticket_id, 0)
        await put(stores, over := later(hedged, hedge=second.but(ended_at=T0 + seconds(6))))
        assert await stores.ticket_counts.active() == {"worker-1": 1, "worker-2": 1}
        assert await stores.ticket_counts.held_by("worker-2", 9) == [other]
        await put(stores, later(over, status=TicketStatus.COMPLETED))
        assert await stores.ticket_counts.active() == {"worker-2": 1}
