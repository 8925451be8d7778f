"""What every `FlowStore` must do."""

import asyncio
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Unavailable
from functions._core.records.change_set import ChangeSet, joined
from functions._core.records.values import FlowStatus, Priority, TicketStatus
from tests.conformance.suite import StoresSuite
from tests.support.builders import (
    T0,
    later,
    make_audit,
    make_event,
    make_flow,
    make_history,
    make_plan,
    make_step,
    make_ticket,
    seconds,
)

PAYLOADS: dict[str, Any] = {
    "empty": {},
    "unicode": {"größe": "北京 🚀 \u202eabc", "nul\u0000": "\u0000", "quote'\"": "line\nbreak\u2028", "": ""},
    "numbers": {"large": 2**63, "negative": -(2**53), "small": 5e-324, "fraction": 0.1, "zero": 0, "no": False},
    "nested": {"a": [{"b": [[], {}, None, [1, [2, [3]]]]}]},
    "maximal": {"text": "x" * 1_000_000, "many": list(range(10_000))},
}


class SharedFlowStoreSuite(StoresSuite):
    """What a store must do whose records a process may remember while others write them."""

    async def test_a_record_that_was_decided_on_as_it_was_is_a_conflict(self, stores: Stores) -> None:
        flow = make_flow()
        ticket, other = make_plan(flow, 2)
        await stores.store.commit(make_step(flow, ticket, other))
        moved = (later(ticket, attempt=1),)
        for seen in ({flow.flow_id: 2}, {other.ticket_id: 2}, {flow.flow_id: 1, other.ticket_id: 2}, {"nobody": 1}):
            with pytest.raises(Conflict):
                await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=moved, seen=seen))
        assert await stores.store.tickets_of(flow.flow_id) == [ticket, other]
        seen = {flow.flow_id: 1, other.ticket_id: 1}
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, seen=seen, handled="an event"))
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=moved, seen=seen))
        assert await stores.store.tickets_of(flow.flow_id) == [*moved, other]


class FlowStoreSuite(StoresSuite):
    large = 2000
    """Tickets of a large plan: more than any store writes at once."""

    async def test_a_ticket_that_is_written_whole_changes_in_what_otherwise_never_changes(self, stores: Stores) -> None:
        flow = make_flow()
        ticket, other = make_plan(flow, 2)
        await stores.store.commit(make_step(flow, ticket, other))
        task = {"description": "Do it another way.", "parameters": {"a": [1]}, "dependants": (), "hash": "e" * 64}
        changed = later(ticket, priority=Priority.CRITICAL, **task)
        step = ChangeSet(flow_id=flow.flow_id, tickets=(changed,), rewritten=frozenset({ticket.ticket_id}))
        await stores.store.commit(step)
        assert await stores.store.tickets_of(flow.flow_id) == [changed, other]
        moved = later(changed, attempt=1)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(moved,)))
        assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: moved}
        with pytest.raises(Conflict):
            await stores.store.commit(step)

    async def test_a_flow_that_was_never_committed_is_none(self, stores: Stores) -> None:
        assert await stores.store.flow(make_flow().flow_id) is None

    async def test_a_flow_is_read_back_as_it_was_committed(self, stores: Stores) -> None:
        likely = {"probability": 0.87, "p50_ms": 60_000, "p90_ms": 120_000, "model": "duration:7"}
        warnings = [{"code": "late", "message": "ü"}]
        flow = make_flow(warnings=warnings, tally={"PENDING": 2}, ended_at=T0, prediction=likely)
        await stores.store.commit(make_step(flow))
        assert await stores.store.flow(flow.flow_id) == flow

    @pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
    async def test_a_ticket_is_read_back_as_it_was_committed(self, stores: Stores, payload: dict[str, Any]) -> None:
        flow = make_flow()
        log = {"attempt": 1, "text": "größe\u2028\t\x1b[0m\n"}
        predicted = {"p50_ms": 1_000, "p90_ms": 2_000, "model": "duration:7", "acts": True, "timeout_ms": 240_000}
        ticket = make_ticket(flow, parameters=payload, metadata=payload, output=payload, log=log, prediction=predicted)
        await stores.store.commit(make_step(flow, ticket))
        assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: ticket}

    async def test_the_next_version_replaces_the_one_before(self, stores: Stores) -> None:
        flow = make_flow()
        ticket = make_ticket(flow)
        await stores.store.commit(make_step(flow, ticket))
        flow = later(flow, status=FlowStatus.GENERATING)
        ticket = later(ticket, status=TicketStatus.ASSIGNED, worker_id="worker-1", attempt=1)
        await stores.store.commit(make_step(flow, ticket))
        assert await stores.store.flow(flow.flow_id) == flow
        assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: ticket}

    @pytest.mark.parametrize("version", [1, 3, 4])
    async def test_any_other_version_than_the_next_is_a_conflict(self, stores: Stores, version: int) -> None:
        flow = make_flow()
        ticket = make_ticket(flow)
        await stores.store.commit(make_step(flow, ticket))
        with pytest.raises(Conflict):
            await stores.store.commit(make_step(flow.but(version=version)))
        with pytest.raises(Conflict):
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket.but(version=version),)))
        assert await stores.store.flow(flow.flow_id) == flow

    async def test_a_record_that_is_absent_counts_as_version_zero(self, stores: Stores) -> None:
        flow = make_flow()
        with pytest.raises(Conflict):
            await stores.store.commit(make_step(flow.but(version=2)))
        with pytest.raises(Conflict):
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(make_ticket(flow, version=2),)))
        assert await stores.store.flow(flow.flow_id) is None

    async def test_a_conflict_on_the_second_ticket_leaves_everything_as_it_was(self, stores: Stores) -> None:
        flow = make_flow()
        first, second = make_plan(flow, 2)
        await stores.queue.enqueue([make_event(1)])
        await stores.store.commit(make_step(flow, first, second))
        step = make_step(
            later(flow, status=FlowStatus.EXECUTING),
            later(first, status=TicketStatus.RUNNING, next_wakeup_at=T0),
            second.but(version=3),
            make_ticket(flow, 3),
            decision=b"{}",
            history=(make_history(flow),),
            audit=(make_audit(flow),),
            events=(make_event(2),),
            telemetry=(make_event(3),),
            handled="event-1",
        )
        with pytest.raises(Conflict):
            await stores.store.commit(step)
        assert await stores.store.flow(flow.flow_id) == flow
        assert await stores.store.tickets_of(flow.flow_id) == [first, second]
        with pytest.raises(Unavailable):
            await stores.store.decision(flow.flow_id)
        assert await stores.views.history(None, 0, 10) == []
        assert await stores.views.audits(None, 10) == []
        assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-1"]
        assert await stores.telemetry_buffer.size() == 0
        assert await stores.wakeups.claim_due(T0, 10, seconds(1)) == []

    async def test_of_concurrent_commits_of_one_version_exactly_one_wins(self, stores: Stores) -> None:
        flow = make_flow()
        await stores.store.commit(make_step(flow))
        rivals = [later(flow, intent_id=f"intent of rival {number}") for number in range(16)]
        answers = await asyncio.gather(
            *(stores.store.commit(make_step(rival)) for rival in rivals), return_exceptions=True
        )
        winners = [rival for rival, answer in zip(rivals, answers, strict=True) if answer is None]
        assert [type(answer) for answer in answers if answer is not None] == [Conflict] * 15
        assert await stores.store.flow(flow.flow_id) == winners[0]

    async def test_of_concurrent_first_commits_exactly_one_wins(self, stores: Stores) -> None:
        flow = make_flow()
        answers = await asyncio.gather(
            *(stores.store.commit(make_step(flow)) for _ in range(8)), return_exceptions=True
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 7 + ["NoneType"]

    async def test_concurrent_commits_of_different_tickets_do_not_fight(self, stores: Stores) -> None:
        flow = make_flow()
        plan = make_plan(flow, 8)
        await stores.store.commit(make_step(flow, *plan))
        ended = [later(ticket, status=TicketStatus.COMPLETED, next_wakeup_at=None) for ticket in plan]
        await asyncio.gather(
            *(stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,))) for ticket in ended)
        )
        assert await stores.store.tickets_of(flow.flow_id) == ended

    async def test_an_acknowledged_commit_is_seen_by_the_next_read(self, stores: Stores) -> None:
        async def advance(number: int) -> None:
            flow = make_flow(number)
            for _ in range(5):
                await stores.store.commit(make_step(flow))
                assert await stores.store.flow(flow.flow_id) == flow
                flow = later(flow)

        await asyncio.gather(*(advance(number) for number in range(16)))

    async def test_the_decision_is_returned_byte_for_byte(self, stores: Stores) -> None:
        decision = '{"decision_id": "é", "n": 1.0, "cognitive_plan":"{}"}'.encode()
        flow = make_flow()
        await stores.store.commit(make_step(flow, decision=decision))
        assert await stores.store.decision(flow.flow_id) == decision

    async def test_the_first_decision_of_a_flow_stays(self, stores: Stores) -> None:
        flow = make_flow()
        await stores.store.commit(make_step(flow, decision=b'"first"'))
        await stores.store.commit(make_step(later(flow), decision=b'"second"'))
        assert await stores.store.decision(flow.flow_id) == b'"first"'

    async def test_the_decision_of_a_flow_that_is_not_visible_is_unavailable(self, stores: Stores) -> None:
        with pytest.raises(Unavailable):
            await stores.store.decision(make_flow().flow_id)

    async def test_only_the_named_tickets_that_exist_are_returned(self, stores: Stores) -> None:
        flow = make_flow()
        first, second, third = make_plan(flow, 3)
        await stores.store.commit(make_step(flow, first, second, third))
        named = [third.ticket_id, first.ticket_id, make_ticket(flow, 4).ticket_id]
        assert await stores.store.tickets(named) == {first.ticket_id: first, third.ticket_id: third}
        assert await stores.store.tickets([]) == {}

    async def test_the_tickets_of_a_flow_come_in_the_order_of_the_plan(self, stores: Stores) -> None:
        flow, other = make_flow(1), make_flow(2)
        plan = [make_ticket(flow, number) for number in (3, 1, 2)]
        await stores.store.commit(make_step(other, *make_plan(other, 2)))
        await stores.store.commit(make_step(flow, *plan))
        changed = later(plan[0], status=TicketStatus.RUNNING)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(changed,)))
        assert await stores.store.tickets_of(flow.flow_id) == [changed, *plan[1:]]
        assert await stores.store.tickets_of(make_flow(3).flow_id) == []

    async def test_live_tickets_leave_out_the_ended_ones(self, stores: Stores) -> None:
        flow = make_flow()
        plan = [make_ticket(flow, number, status=status) for number, status in enumerate(TicketStatus)]
        await stores.store.commit(make_step(flow, *plan))
        live = await stores.store.tickets_of(flow.flow_id, live_only=True)
        assert [ticket.status for ticket in live] == ["PENDING", "ASSIGNED", "RUNNING", "WAITING"]

    async def test_no_value_that_the_machine_may_produce_is_refused(self, stores: Stores) -> None:
        """Clocks of two machines differ, texts are anybody's, and numbers are only bounded where a rule says so."""
        flow = make_flow()
        ticket = make_ticket(
            flow,
            status=TicketStatus.FAILED,
            started_at=T0 + seconds(5),
            completed_at=T0,
            actual_duration_ms=2**70,
            description="a\u0000b" * 10_000,
            error_message="\u0000",
            required_capabilities=("c\u0000d", "long" * 10_000),
            waiting=None,
            next_wakeup_at=None,
        )
        await stores.store.commit(make_step(flow, ticket))
        changed = later(ticket, error_message="é\u0000" * 10_000, completed_at=T0 - seconds(1))
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(changed,)))
        assert await stores.store.tickets_of(flow.flow_id) == [changed]

    async def test_a_step_that_is_delivered_twice_counts_once(self, stores: Stores) -> None:
        flow = make_flow()
        await stores.queue.enqueue([make_event(1)])
        step = make_step(
            flow,
            *make_plan(flow, 3),
            history=(make_history(flow),),
            audit=(make_audit(flow),),
            events=(make_event(2),),
            telemetry=(make_event(3),),
            handled="event-1",
        )
        answers = await asyncio.gather(*(stores.store.commit(step) for _ in range(2)), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType"]
        assert len(await stores.store.tickets_of(flow.flow_id)) == 3
        assert len(await stores.views.history(None, 0, 10)) == 1
        assert len(await stores.views.audits(None, 10)) == 1
        assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-2"]
        assert await stores.telemetry_buffer.size() == 1

    async def test_joined_steps_are_one_commit(self, stores: Stores) -> None:
        flow = make_flow()
        plan = make_plan(flow, 3)
        moved, given = later(flow, status=FlowStatus.EXECUTING), later(plan[1], status=TicketStatus.ASSIGNED, attempt=1)
        first = make_step(flow, decision=b"{}", history=(make_history(flow),), events=(make_event(1),))
        second = ChangeSet(
            flow_id=flow.flow_id, flow=moved, tickets=tuple(plan), history=(make_history(flow, type="b"),)
        )
        third = ChangeSet(flow_id=flow.flow_id, tickets=(given,), history=(make_history(flow, type="c"),))
        await stores.store.commit(joined([first, second, third]))
        assert await stores.store.flow(flow.flow_id) == moved
        assert await stores.store.tickets_of(flow.flow_id) == [plan[0], given, plan[2]]
        assert await stores.store.decision(flow.flow_id) == b"{}"
        told = await stores.views.history(flow.flow_id, 0, 10)
        assert [entry.type for entry in told] == [make_history(flow).type, "b", "c"]
        assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-1"]
        taken = later(given, status=TicketStatus.RUNNING)
        done = later(taken, status=TicketStatus.COMPLETED)
        await stores.store.commit(joined([ChangeSet(flow_id=flow.flow_id, tickets=(one,)) for one in (taken, done)]))
        assert await stores.store.tickets([given.ticket_id]) == {given.ticket_id: done}

    async def test_joined_steps_that_were_decided_on_an_old_version_are_a_conflict(self, stores: Stores) -> None:
        flow = make_flow()
        ticket, other = make_plan(flow, 2)
        await stores.store.commit(make_step(flow, ticket, other))
        moved = [later(ticket, attempt=1), later(later(ticket, attempt=1), attempt=2)]
        steps = joined([ChangeSet(flow_id=flow.flow_id, tickets=(one,)) for one in moved])
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(moved[0],)))
        with pytest.raises(Conflict):
            await stores.store.commit(steps)
        again = [ChangeSet(flow_id=flow.flow_id, flow=one) for one in (flow, later(flow))]
        with pytest.raises(Conflict):
            await stores.store.commit(joined(again))
        assert await stores.store.tickets_of(flow.flow_id) == [moved[0], other]
        assert await stores.store.flow(flow.flow_id) == flow

    async def test_a_large_plan_is_one_commit(self, stores: Stores) -> None:
        flow = make_flow()
        plan = make_plan(flow, self.large)
        await stores.store.commit(make_step(flow, *plan))
        assert await stores.store.tickets_of(flow.flow_id) == list(plan)
        changed = [later(ticket, next_wakeup_at=None) for ticket in plan[:-1]]
        with pytest.raises(Conflict):
            await stores.store.commit(make_step(later(flow), *changed, plan[-1]))
        assert await stores.store.tickets_of(flow.flow_id, live_only=True) == list(plan)

    async def test_events_are_queued_in_their_order(self, stores: Stores) -> None:
        flow = make_flow()
        events = (make_event(3), make_event(1), make_event(2))
        await stores.store.commit(make_step(flow, events=events))
        assert [queued.event for queued in await stores.queue.pending(0, 10)] == list(events)

    async def test_an_event_that_is_queued_already_is_not_queued_again(self, stores: Stores) -> None:
        flow = make_flow()
        await stores.store.commit(make_step(flow, events=(make_event(1), make_event(1))))
        await stores.store.commit(make_step(later(flow), events=(make_event(2), make_event(1))))
        assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-1", "event-2"]

    async def test_the_handled_event_leaves_the_queue_in_the_same_write(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1), make_event(2)])
        flow = make_flow()
        await stores.store.commit(make_step(flow, events=(make_event(3),), handled="event-1"))
        assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-2", "event-3"]

    async def test_a_step_may_queue_an_event_with_the_id_of_the_one_it_handled(self, stores: Stores) -> None:
        await stores.queue.enqueue([make_event(1)])
        again = make_event(1, data="again")
        await stores.store.commit(make_step(make_flow(), events=(again,), handled="event-1"))
        assert [queued.event for queued in await stores.queue.pending(0, 10)] == [again]

    async def test_a_handled_event_that_is_not_queued_is_no_error(self, stores: Stores) -> None:
        await stores.store.commit(ChangeSet(flow_id=make_flow().flow_id, handled="event-1"))
        assert await stores.queue.depth() == 0

    async def test_telemetry_is_buffered_in_the_order_of_the_commits(self, stores: Stores) -> None:
        flow = make_flow()
        await stores.store.commit(make_step(flow, telemetry=(make_event(2), make_event(1))))
        await stores.store.commit(make_step(later(flow), telemetry=(make_event(3),)))
        buffered = [event.id for _, _, event in await stores.telemetry_buffer.oldest(10)]
        assert buffered == ["event-2", "event-1", "event-3"]
