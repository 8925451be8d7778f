"""What every `Wakeups` must do."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from functions._adapters.stores import Stores
from functions._core.placement.fair_queue import QueuePosition
from functions._core.ports import Due
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Ticket
from functions._core.records.policies import Sla
from functions._core.records.prediction import Prediction
from functions._core.records.values import (
    CLEARANCES,
    EARLIEST,
    LATEST,
    FlowStatus,
    SecurityLevel,
    TicketStatus,
    Waiting,
)
from functions._core.rules import TICKETS_PER_TURN
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_flow, make_plan, make_ticket, make_worker, seconds

FLOW = make_flow(1, next_wakeup_at=None)
LEASE = seconds(10)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


async def put(stores: Stores, *tickets: Ticket) -> None:
    await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, tickets=tickets))


def waiting(number: int, *capabilities: str, **changes: object) -> Ticket:
    values = {"waiting": Waiting.WORKER, "required_capabilities": capabilities, **changes}
    return make_ticket(FLOW, number, **values)


def needs(*capabilities: str, level: SecurityLevel = SecurityLevel.INTERNAL) -> frozenset[str]:
    """Return what a ticket of this level requires, or what a worker of this clearance offers."""
    return CLEARANCES[level].union(capabilities)


def ids(records: Sequence[Due]) -> list[str]:
    return [record.record_id for record in records]


class WakeupsSuite(StoresSuite):
    @pytest.mark.parametrize("moment", [FIRST, EARLIEST, LATEST, LAST], ids=["first", "earliest", "latest", "last"])
    async def test_times_may_be_at_the_ends_of_the_calendar(self, stores: Stores, moment: datetime) -> None:
        flow = make_flow(
            status=FlowStatus.EXECUTING, sla_deadline=moment, sla_limit=moment, next_wakeup_at=moment, received_at=T0
        )
        ticket = make_ticket(flow, next_wakeup_at=moment, latest_start=moment, late=True, waiting=Waiting.WORKER)
        ended = make_flow(2, status=FlowStatus.COMPLETED, outcome="COMPLETED", ended_at=moment, next_wakeup_at=None)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=(ticket,)))
        await stores.store.commit(ChangeSet(flow_id=ended.flow_id, flow=ended))
        nearest = await stores.wakeups.next_due()
        assert nearest is not None
        assert abs(nearest - moment) <= seconds(0.001)
        claimed = await stores.wakeups.claim_due(T0, 10, LEASE)
        assert {due.kind for due in claimed} == ({"flow", "ticket"} if moment < T0 else set())
        assert [one.ticket_id for one in await stores.wakeups.claim_waiting(None, T0, 10, LEASE)] == [ticket.ticket_id]
        deadlines = await stores.statistics.deadlines()
        assert abs(deadlines[flow.risk_band] - moment) <= seconds(0.001)
        assert {one.flow_id for one in (await stores.views.flows(status=None, cursor=None, limit=9))[0]} == {
            flow.flow_id,
            ended.flow_id,
        }
        assert (await stores.statistics.flows(None)).ended in {0, 1}
        line = await stores.wakeups.line(flow.flow_id, ticket.required_capabilities)
        assert line.current >= 0

    async def test_flows_tickets_and_workers_come_due_the_oldest_first(self, stores: Stores) -> None:
        flow = make_flow(2, next_wakeup_at=T0 + seconds(2))
        ticket = make_ticket(flow, next_wakeup_at=T0 + seconds(1))
        worker = make_worker(next_wakeup_at=T0 + seconds(3))
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=(ticket,)))
        await stores.registry.put(worker)
        assert await stores.wakeups.claim_due(T0 + seconds(9), 10, LEASE) == [
            Due("ticket", ticket.ticket_id, flow.flow_id, T0 + seconds(1)),
            Due("flow", flow.flow_id, flow.flow_id, T0 + seconds(2)),
            Due("worker", worker.worker_id, None, T0 + seconds(3)),
        ]

    async def test_nothing_comes_due_before_its_time(self, stores: Stores) -> None:
        await put(stores, make_ticket(FLOW, next_wakeup_at=T0))
        assert await stores.wakeups.claim_due(T0 - seconds(1), 10, LEASE) == []

    @pytest.mark.parametrize("fraction", [0, 0.0001, 0.0005, 0.0009999])
    async def test_a_wakeup_is_never_late_however_fine_its_time(self, stores: Stores, fraction: float) -> None:
        moment = T0 + seconds(fraction)
        ticket = make_ticket(FLOW, next_wakeup_at=moment)
        await put(stores, ticket)
        earliest = await stores.wakeups.next_due()
        assert earliest is not None
        assert earliest <= moment
        assert ids(await stores.wakeups.claim_due(moment, 10, LEASE)) == [ticket.ticket_id]

    async def test_what_is_claimed_comes_due_again_after_the_lease_only(self, stores: Stores) -> None:
        ticket = make_ticket(FLOW, next_wakeup_at=T0)
        await put(stores, ticket)
        claims = [ids(await stores.wakeups.claim_due(T0 + seconds(after), 10, LEASE)) for after in (0, 1, 9, 10, 11)]
        assert claims == [[ticket.ticket_id], [], [], [ticket.ticket_id], []]

    async def test_a_claim_does_not_change_the_record(self, stores: Stores) -> None:
        ticket = make_ticket(FLOW, next_wakeup_at=T0)
        await put(stores, ticket)
        await stores.wakeups.claim_due(T0, 10, LEASE)
        assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: ticket}
        await put(stores, later(ticket))

    @pytest.mark.parametrize("after", [1, 60])
    async def test_the_next_commit_sets_the_wakeup_anew(self, stores: Stores, after: int) -> None:
        ticket = make_ticket(FLOW, next_wakeup_at=T0)
        await put(stores, ticket)
        await stores.wakeups.claim_due(T0, 10, LEASE)
        await put(stores, later(ticket, next_wakeup_at=T0 + seconds(after)))
        assert await stores.wakeups.next_due() == T0 + seconds(after)
        assert await stores.wakeups.claim_due(T0 + seconds(after - 0.1), 10, LEASE) == []
        assert ids(await stores.wakeups.claim_due(T0 + seconds(after), 10, LEASE)) == [ticket.ticket_id]

    @pytest.mark.parametrize("moves", [(30, 60, 50), (30, 20, 40), (1e4, 30, 31), (30, 1e4, 20), (-5, 60, -1)])
    @pytest.mark.parametrize("leased", [False, True])
    async def test_a_wakeup_that_moves_to_and_fro_comes_at_its_last_time(
        self, stores: Stores, moves: tuple[float, ...], leased: bool
    ) -> None:
        now = datetime.now(UTC)
        ticket = make_ticket(FLOW, next_wakeup_at=now + seconds(moves[0]))
        await put(stores, ticket)
        for after in moves[1:]:
            await stores.store.tickets([ticket.ticket_id], FLOW.flow_id)
            if leased:  # between the look and the commit
                await stores.wakeups.claim_due(now + seconds(2e4), 10, LEASE)
            await put(stores, ticket := later(ticket, next_wakeup_at=now + seconds(after)))
        assert await stores.wakeups.claim_due(now + seconds(moves[-1] - 0.01), 10, LEASE) == []
        assert ticket.next_wakeup_at is not None
        earliest = await stores.wakeups.next_due()
        assert earliest is not None
        assert abs((earliest - ticket.next_wakeup_at).total_seconds()) < 0.001
        (due,) = await stores.wakeups.claim_due(ticket.next_wakeup_at, 10, LEASE)
        assert abs((due.at - ticket.next_wakeup_at).total_seconds()) < 0.001
        assert await stores.wakeups.claim_due(ticket.next_wakeup_at + LEASE - seconds(0.01), 10, LEASE) == []

    async def test_an_ended_record_never_comes_due(self, stores: Stores) -> None:
        flow = make_flow(2)
        ticket, worker = make_ticket(flow), make_worker()
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow, tickets=(ticket,)))
        await stores.registry.put(worker)
        ended = ChangeSet(
            flow_id=flow.flow_id,
            flow=later(flow, next_wakeup_at=None),
            tickets=(later(ticket, status=TicketStatus.COMPLETED, next_wakeup_at=None),),
        )
        await stores.store.commit(ended)
        await stores.registry.remove(worker.worker_id, worker.version)
        assert await stores.wakeups.next_due() is None
        assert await stores.wakeups.claim_due(T0 + seconds(1e6), 10, LEASE) == []

    async def test_no_more_than_the_limit_is_claimed_and_nothing_is_skipped(self, stores: Stores) -> None:
        plan = [make_ticket(FLOW, number, next_wakeup_at=T0 - seconds(number)) for number in range(7)]
        await put(stores, *plan)
        claims = [ids(await stores.wakeups.claim_due(T0, 3, LEASE)) for _ in range(4)]
        assert [len(claim) for claim in claims] == [3, 3, 1, 0]
        assert [record_id for claim in claims for record_id in claim] == [ticket.ticket_id for ticket in reversed(plan)]

    async def test_two_sweepers_never_get_the_same_record(self, stores: Stores) -> None:
        plan = make_plan(FLOW, 40, next_wakeup_at=T0)
        await put(stores, *plan)
        claims = await asyncio.gather(*(stores.wakeups.claim_due(T0, 12, LEASE) for _ in range(6)))
        claimed = [record_id for claim in claims for record_id in ids(claim)]
        assert sorted(claimed) == sorted(ticket.ticket_id for ticket in plan)

    async def test_the_next_wakeup_is_the_earliest_of_all_records(self, stores: Stores) -> None:
        assert await stores.wakeups.next_due() is None
        for after, number in ((30, 1), (20, 2), (40, 3)):
            await put(stores, make_ticket(FLOW, number, next_wakeup_at=T0 + seconds(after)))
        assert await stores.wakeups.next_due() == T0 + seconds(20)
        await stores.registry.put(make_worker(next_wakeup_at=T0 + seconds(10)))
        assert await stores.wakeups.next_due() == T0 + seconds(10)
        await stores.wakeups.claim_due(T0 + seconds(35), 10, LEASE)
        assert await stores.wakeups.next_due() == T0 + seconds(40)

    async def test_tickets_waiting_for_a_worker_or_a_slot_are_offered_and_no_others(self, stores: Stores) -> None:
        plan = [waiting(number, waiting=reason) for number, reason in enumerate(Waiting)]
        gone = waiting(20, status=TicketStatus.ASSIGNED, worker_id="worker-1")
        await put(stores, *plan, gone, waiting(21, status=TicketStatus.CANCELLED), waiting(22, waiting=None))
        offered = await stores.wakeups.claim_waiting(None, T0, 10, LEASE)
        assert {ticket.waiting for ticket in offered} == {Waiting.WORKER, Waiting.SLOT}
        assert len(offered) == 2

    @pytest.mark.parametrize(
        ("capabilities", "offered"),
        [
            ([], ["task-1"]),
            (["build"], ["task-1", "task-2"]),
            (["fly", "test", "build"], ["task-1", "task-2", "task-3"]),
            (["build test"], ["task-1", "task-4"]),
            (None, ["task-1", "task-2", "task-3", "task-4"]),
        ],
    )
    async def test_a_ticket_is_offered_to_those_whose_capabilities_cover_what_it_requires(
        self, stores: Stores, capabilities: list[str] | None, offered: list[str]
    ) -> None:
        plan = [waiting(1), waiting(2, "build"), waiting(3, "test", "build"), waiting(4, "build test")]
        await put(stores, *plan)
        offers = None if capabilities is None else needs(*capabilities)
        claim = await stores.wakeups.claim_waiting(offers, T0, 10, LEASE)
        assert sorted(ticket.task_id for ticket in claim) == offered

    @pytest.mark.parametrize(
        ("clearance", "offered"),
        [
            (SecurityLevel.PUBLIC, ["task-0"]),
            (SecurityLevel.INTERNAL, ["task-0", "task-1"]),
            (SecurityLevel.CONFIDENTIAL, ["task-0", "task-1", "task-2"]),
            (SecurityLevel.RESTRICTED, ["task-0", "task-1", "task-2", "task-3"]),
        ],
    )
    async def test_a_ticket_is_offered_to_those_whose_clearance_covers_its_security_level(
        self, stores: Stores, clearance: SecurityLevel, offered: list[str]
    ) -> None:
        await put(
            stores, *(waiting(number, "build", security_level=level) for number, level in enumerate(SecurityLevel))
        )
        claim = await stores.wakeups.claim_waiting(needs("build", level=clearance), T0, 10, LEASE)
        assert sorted(ticket.task_id for ticket in claim) == offered

    async def test_a_ticket_that_nobody_is_cleared_for_does_not_hold_back_the_others(self, stores: Stores) -> None:
        secret = [waiting(n, security_level=SecurityLevel.RESTRICTED, latest_start=T0) for n in range(30)]
        plain = waiting(99, turn=1)
        await put(stores, *secret, plain)
        assert await stores.wakeups.claim_waiting(needs(), T0, 5, LEASE) == [plain]
        assert (await stores.wakeups.line("another", needs())).current == 1

    async def test_requirements_of_any_length_are_told_apart(self, stores: Stores) -> None:
        long = ("x" * 10_000, "nul\u0000")
        plan = [waiting(1, *long), waiting(2, *long, "more"), waiting(3, "x" * 10_001, "nul\u0000")]
        await put(stores, *plan)
        assert await stores.wakeups.line(FLOW.flow_id, needs(*long)) == QueuePosition(0, None, {0: 1})
        assert await stores.wakeups.claim_waiting(needs(*long), T0, 10, LEASE) == [plan[0]]

    async def test_what_cannot_be_done_in_time_comes_after_what_can(self, stores: Stores) -> None:
        starts = [(1, True), (50, False), (2, True), (40, False)]
        plan = [waiting(n, late=late, latest_start=T0 + seconds(at)) for n, (at, late) in enumerate(starts)]
        await put(stores, *plan)
        offered = await stores.wakeups.claim_waiting(None, T0, 10, LEASE)
        assert [ticket.task_id for ticket in offered] == ["task-3", "task-1", "task-0", "task-2"]

    async def test_the_least_slack_comes_first_whatever_is_required(self, stores: Stores) -> None:
        plan = [
            waiting(number, *required, latest_start=T0 + seconds(start))
            for number, (start, required) in enumerate([(50, ()), (10, ("b",)), (30, ()), (-5, ("a",)), (40, ("a",))])
        ]
        await put(stores, *plan)
        offered = await stores.wakeups.claim_waiting(needs("a", "b"), T0, 4, LEASE)
        assert offered == [plan[3], plan[1], plan[2], plan[4]]

    async def test_the_lowest_turn_comes_first_whatever_the_slack_and_none_counts_as_zero(self, stores: Stores) -> None:
        plan = [
            waiting(number, *required, turn=turn, latest_start=T0 + seconds(start))
            for number, (turn, start, required) in enumerate(
                [(1, 50, ("a",)), (2, 0, ()), (None, 30, ()), (0, 20, ("b",)), (1, 10, ())]
            )
        ]
        await put(stores, *plan)
        offered = await stores.wakeups.claim_waiting(needs("a", "b"), T0, 4, LEASE)
        assert offered == [plan[3], plan[2], plan[4], plan[0]]

    async def test_of_equal_slack_the_highest_score_comes_first_then_the_highest_priority(self, stores: Stores) -> None:
        ranks = [(0.49, "NORMAL"), (0.79, "LOW"), (0.3, "CRITICAL"), (0.79, "CRITICAL"), (0.79, "NORMAL"), (0.5, "LOW")]
        plan = [
            waiting(number, *("a",) * (number % 2), priority_score=score, priority=priority)
            for number, (score, priority) in enumerate(ranks)
        ]
        sooner = waiting(10, priority_score=0, latest_start=T0 + seconds(60))
        later_turn = waiting(11, priority_score=1, turn=1)
        await put(stores, *plan, sooner, later_turn)
        offered = await stores.wakeups.claim_waiting(needs("a"), T0, 10, LEASE)
        expected = [sooner, *(plan[number] for number in (3, 4, 1, 5, 0, 2)), later_turn]
        assert [ticket.task_id for ticket in offered] == [ticket.task_id for ticket in expected]

    async def test_of_equal_slack_a_predicted_overrun_counts_a_fifth_of_the_score_at_most(self, stores: Stores) -> None:
        share = Sla(deadline=T0 + seconds(3600 + 60), timeout_ms=180_000, max_retries=2)

        def predicted(number: int, score: float, p50_s: int, *, acts: bool = True) -> Ticket:
            prediction = Prediction(p50_ms=1000 * p50_s, p90_ms=2000 * p50_s, model="duration:7", acts=acts)
            return waiting(number, priority_score=score, sla=share, prediction=prediction)

        slow, right, shown, slowest = (
            predicted(1, 0.4, 90),
            predicted(2, 0.45, 60),
            predicted(3, 0.44, 900, acts=False),
            predicted(4, 0.28, 10_000),
        )
        await put(stores, slow, right, shown, slowest)
        assert await stores.wakeups.claim_waiting(None, T0, 10, LEASE) == [slow, slowest, right, shown]

    async def test_slack_is_compared_as_coarsely_as_the_time_that_was_given(self, stores: Stores) -> None:
        hours = T0 + seconds(4 * 3600)
        ordinary = waiting(1, priority_score=0.4, latest_start=hours + seconds(1))
        critical = waiting(2, priority_score=0.9, latest_start=hours + seconds(20))
        behind = waiting(3, priority_score=1.0, latest_start=hours + seconds(300))
        await put(stores, ordinary, critical, behind)
        assert await stores.wakeups.claim_waiting(None, T0, 10, LEASE) == [critical, ordinary, behind]

    async def test_a_ticket_that_moves_to_another_turn_is_offered_in_that_one(self, stores: Stores) -> None:
        first, second = waiting(1, turn=1), waiting(2, turn=2)
        await put(stores, first, second)
        await put(stores, moved := later(first, turn=3))
        assert await stores.wakeups.claim_waiting(None, T0, 2, LEASE) == [second, moved]

    async def test_the_line_is_empty_while_nobody_waits(self, stores: Stores) -> None:
        await put(stores, waiting(1, waiting=None, turn=4), waiting(2, status=TicketStatus.ASSIGNED, turn=4))
        assert await stores.wakeups.line(FLOW.flow_id, needs()) == QueuePosition()

    async def test_the_line_tells_the_current_turn_and_who_comes_first_behind_it(self, stores: Stores) -> None:
        await put(stores, *(waiting(n, turn=n, latest_start=T0 - seconds(n)) for n in (3, 7, 9)), waiting(8, turn=7))
        assert await stores.wakeups.line("another", needs()) == QueuePosition(3, T0 - seconds(7))

    async def test_the_line_tells_how_many_of_its_own_the_flow_has_in_three_turns(self, stores: Stores) -> None:
        other = make_flow(2)
        numbers = dict(enumerate([4] * 2 + [5] * 3 + [6] * 4 + [9] * 5))
        own = [waiting(number, "build", turn=turn) for number, turn in numbers.items()]
        others = [make_ticket(other, 1, waiting=Waiting.SLOT, turn=9, required_capabilities=("build",))]
        await put(stores, *own, *others, waiting(99, "build", "test", turn=4))
        assert (await stores.wakeups.line(FLOW.flow_id, needs("build"))).own == {4: 2, 5: 3, 9: 5}
        assert (await stores.wakeups.line(other.flow_id, needs("build"))).own == {9: 1}
        assert (await stores.wakeups.line(FLOW.flow_id, needs("test", "build"))).own == {4: 1}

    async def test_own_tickets_are_counted_up_to_what_a_turn_takes(self, stores: Stores) -> None:
        await put(stores, *(waiting(number, turn=2) for number in range(TICKETS_PER_TURN + 5)))
        assert await stores.wakeups.line(FLOW.flow_id, needs()) == QueuePosition(2, None, {2: TICKETS_PER_TURN})

    @pytest.mark.parametrize(
        ("capabilities", "line"),
        [
            (["build"], QueuePosition(5, T0 + seconds(8), {5: 1})),
            (["test", "build"], QueuePosition(5, T0 + seconds(8))),
            (["test"], QueuePosition(4, T0 + seconds(8))),
            (["fly"], QueuePosition(2, None, {2: 1})),
            (["swim"], QueuePosition()),
        ],
    )
    async def test_in_the_line_are_those_that_surely_compete_for_the_same_workers(
        self, stores: Stores, capabilities: list[str], line: QueuePosition
    ) -> None:
        own = waiting(5, "build", turn=5, latest_start=T0 + seconds(5))
        wider = [waiting(n, "test", "build", "run", turn=n, latest_start=T0 + seconds(n)) for n in (4, 8)]
        await put(stores, own, *wider, waiting(2, "fly", turn=2))
        assert await stores.wakeups.line(FLOW.flow_id, needs(*capabilities)) == line

    async def test_what_was_offered_still_stands_in_the_line(self, stores: Stores) -> None:
        await put(stores, waiting(1, turn=6))
        await stores.wakeups.claim_waiting(None, T0, 1, LEASE)
        assert await stores.wakeups.line(FLOW.flow_id, needs()) == QueuePosition(6, None, {6: 1})

    async def test_what_was_offered_is_not_offered_again_before_the_lease(self, stores: Stores) -> None:
        await put(stores, waiting(1))
        offers = [
            len(await stores.wakeups.claim_waiting(None, T0 + seconds(after), 10, LEASE)) for after in (0, 1, 9.999, 10)
        ]
        assert offers == [1, 0, 0, 1]

    async def test_a_ticket_that_waits_anew_may_be_offered_at_once(self, stores: Stores) -> None:
        ticket = waiting(1)
        await put(stores, ticket)
        assert await stores.wakeups.claim_waiting(None, T0, 10, LEASE) == [ticket]
        again = later(ticket, waiting=Waiting.SLOT)
        await put(stores, again)
        assert await stores.wakeups.claim_waiting(None, T0, 10, LEASE) == [again]

    async def test_two_workers_are_never_offered_the_same_ticket(self, stores: Stores) -> None:
        plan = [waiting(number, *("build",) * (number % 2)) for number in range(60)]
        await put(stores, *plan)
        claims = await asyncio.gather(*(stores.wakeups.claim_waiting(needs("build"), T0, 16, LEASE) for _ in range(8)))
        offered = [ticket.ticket_id for claim in claims for ticket in claim]
        assert sorted(offered) == sorted(ticket.ticket_id for ticket in plan)

    async def test_an_offer_leaves_the_wakeup_alone(self, stores: Stores) -> None:
        ticket = waiting(1, next_wakeup_at=T0)
        await put(stores, ticket)
        await stores.wakeups.claim_waiting(None, T0, 10, LEASE)
        assert ids(await stores.wakeups.claim_due(T0, 10, LEASE)) == [ticket.ticket_id]
