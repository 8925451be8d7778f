"""What the passing of time does to flows and tickets: each rule by itself, at fixed times."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from functions._core.events.reports import Report
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Delivered, Discovered, WorkerLost
from functions._core.machine.closing import DeadlinePassed
from functions._core.machine.context import CLOCK, Context
from functions._core.machine.ending import Reported
from functions._core.machine.flow import Broke, NothingHappened, TelemetryKept, WokenEarly
from functions._core.machine.outcomes import AnyOutcome, Duplicate
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.placement.limits import OVER_LIMIT
from functions._core.records.change_set import ChangeSet
from functions._core.records.control import Control
from functions._core.records.models import Flow, Phase, Reason, Ticket
from functions._core.records.values import FlowStatus, Outcome, ReportStatus, TicketStatus, Waiting
from functions._core.records.worker import Answer, Candidate
from functions._core.rules import Rules
from functions._observability.step_metrics import limit_run_out
from tests.support.builders import T0, make_flow, make_ticket, seconds

RULES = Rules()


def executing(**changes: Any) -> Flow:
    """Build a flow that waits for its tickets."""
    phases = (Phase(status=FlowStatus.VALIDATING, entered_at=T0), Phase(status=FlowStatus.EXECUTING, entered_at=T0))
    return make_flow(status=FlowStatus.EXECUTING, phases=phases, tickets_generated=2, **changes)


def candidate(worker_id: str) -> Candidate:
    """Build a candidate with a free slot."""
    return Candidate(
        worker_id=worker_id,
        score=0.7,
        health_score=1,
        pheromone_score=0.5,
        telemetry_score=0.5,
        active=0,
        slots=5,
    )


def assigned(flow: Flow, **changes: Any) -> Ticket:
    """Build a ticket that was given to worker w1 at T0 and is due at T0 + 5 s."""
    defaults: dict[str, Any] = {
        "status": TicketStatus.ASSIGNED,
        "attempt": 1,
        "worker_id": "w1",
        "assigned_at": T0,
        "next_wakeup_at": T0 + seconds(5),
    }
    return make_ticket(flow, **defaults | changes)


def apply(flow: Flow, ticket: Ticket, now: datetime, outcome: AnyOutcome) -> ChangeSet:
    """Let `outcome` happen to a flow with one ticket loaded."""
    context = Context(
        flow=flow, tickets={ticket.ticket_id: ticket}, now=now, rules=RULES, function="test", cause="cause"
    )
    return advance(context, outcome)


def overdue(ticket: Ticket, **around: Any) -> TicketOverdue:
    """Build the outcome of a ticket's wake-up."""
    return TicketOverdue(ticket.ticket_id, RelatedTickets(**around))


def test_an_unacknowledged_assignment_is_delivered_again_to_the_same_worker_as_the_same_attempt() -> None:
    flow = executing()
    ticket = assigned(flow)
    step = apply(flow, ticket, T0 + seconds(5), overdue(ticket))
    assert [(d.worker_id, d.attempt, d.cancelled) for d in step.deliveries] == [("w1", 1, False)]
    assert step.tickets[0].next_wakeup_at == T0 + seconds(10)
    assert step.tickets[0].attempt == 1


def test_after_thirty_seconds_without_acknowledgement_the_next_candidate_gets_the_ticket() -> None:
    flow = executing()
    ticket = assigned(flow, next_wakeup_at=T0 + seconds(30), candidates=(candidate("w1"), candidate("w2")))
    asked_again = apply(flow, ticket, T0 + seconds(30), overdue(ticket))
    assert [(d.worker_id, d.attempt) for d in asked_again.deliveries] == [("w1", 1)]
    step = apply(flow, ticket, T0 + seconds(30), Delivered({ticket.ticket_id: (1, Answer(0, "no route"))}))
    moved = step.tickets[0]
    assert (moved.status, moved.worker_id, moved.attempt) == (TicketStatus.PENDING, None, 1)
    assert moved.excluded_workers == ("w1",)
    assert moved.waiting is Waiting.DISCOVERY
    assert [event.event_type for event in step.events] == ["tickets.ready"]
    assert step.history[0].worker_id == "w1"


def test_without_another_candidate_the_ticket_pauses_before_it_is_discovered_again() -> None:
    flow = executing()
    ticket = assigned(flow, candidates=(candidate("w1"),))
    answers = {ticket.ticket_id: (1, Answer(429, "full"))}
    step = apply(flow, ticket, T0 + seconds(1), Delivered(answers))
    moved = step.tickets[0]
    assert (moved.waiting, step.events) == (Waiting.RETRY, ())
    assert moved.next_wakeup_at is not None
    assert timedelta(milliseconds=800) <= moved.next_wakeup_at - (T0 + seconds(1)) <= timedelta(milliseconds=1200)
    woken = apply(flow, moved, moved.next_wakeup_at, overdue(moved))
    assert [event.event_type for event in woken.events] == ["tickets.ready"]


def test_an_acknowledgement_starts_the_timeout() -> None:
    flow = executing()
    ticket = assigned(flow)
    step = apply(flow, ticket, T0 + seconds(2), Delivered({ticket.ticket_id: (1, Answer(202))}))
    assert step.tickets[0].acknowledged_at == T0 + seconds(2)
    assert step.tickets[0].next_wakeup_at == T0 + seconds(2) + timedelta(milliseconds=ticket.sla.timeout_ms)


@pytest.mark.parametrize("attempt", [1, 3])
def test_an_answer_to_another_attempt_changes_nothing(attempt: int) -> None:
    flow = executing()
    ticket = assigned(flow, attempt=2)
    assert not apply(flow, ticket, T0, Delivered({ticket.ticket_id: (attempt, Answer(202))})).changes


def test_a_worker_that_was_not_reached_keeps_the_ticket_until_its_wakeup() -> None:
    flow = executing()
    ticket = assigned(flow)
    assert not apply(flow, ticket, T0 + seconds(4), Delivered({ticket.ticket_id: (1, Answer(0, "refused"))})).changes


def test_a_ticket_past_its_timeout_is_tried_again_and_its_worker_told_to_stop() -> None:
    flow = executing()
    ticket = assigned(flow, acknowledged_at=T0, next_wakeup_at=T0 + seconds(180))
    step = apply(flow, ticket, T0 + seconds(180), overdue(ticket))
    moved = step.tickets[0]
    assert (moved.status, moved.retry_count, moved.waiting) == (TicketStatus.PENDING, 1, Waiting.RETRY)
    assert moved.reason is not None
    assert moved.reason.code == "timed_out"
    assert [(d.worker_id, d.cancelled) for d in step.deliveries] == [("w1", True)]


def test_a_timeout_with_no_retry_left_fails_the_ticket_and_cancels_its_descendants() -> None:
    flow = executing()
    last = make_ticket(flow, 3)
    middle = make_ticket(flow, 2, dependants=(last.ticket_id,))
    ticket = assigned(
        flow, acknowledged_at=T0, retry_count=2, next_wakeup_at=T0 + seconds(180), dependants=(middle.ticket_id,)
    )
    tally = {"ASSIGNED": 1, "PENDING": 2}
    step = apply(flow, ticket, T0 + seconds(180), overdue(ticket, live=(ticket, middle, last), tally=tally))
    statuses = {t.task_id: t.status for t in step.tickets}
    assert statuses == {
        "task-1": TicketStatus.FAILED,
        "task-2": TicketStatus.CANCELLED,
        "task-3": TicketStatus.CANCELLED,
    }
    assert step.flow is not None
    assert (step.flow.status, step.flow.outcome) == (FlowStatus.PUBLISHING, Outcome.FAILED)
    assert step.flow.tally == {"FAILED": 1, "CANCELLED": 2}


def test_a_retry_that_would_start_after_the_deadline_is_not_made() -> None:
    flow = executing(sla_deadline=T0 + seconds(180.5))
    ticket = assigned(flow, acknowledged_at=T0, next_wakeup_at=T0 + seconds(180))
    step = apply(flow, ticket, T0 + seconds(180), overdue(ticket, live=(ticket,), tally={"ASSIGNED": 1}))
    assert step.tickets[0].status is TicketStatus.FAILED


def test_a_wakeup_that_fires_early_is_only_set_again() -> None:
    flow = executing()
    ticket = assigned(flow, next_wakeup_at=T0 + seconds(60))
    step = apply(flow, ticket, T0 + seconds(5), overdue(ticket))
    assert step.tickets == (ticket.but(version=2),)
    assert (step.events, step.history, step.deliveries) == ((), (), ())


def test_a_lost_tickets_ready_is_sent_again_with_a_new_id_each_time_and_doubling_pauses() -> None:
    flow = executing()
    ticket = make_ticket(flow, waiting=Waiting.DISCOVERY)
    ids, pauses = set(), []
    for _ in range(3):
        assert ticket.next_wakeup_at is not None
        now = ticket.next_wakeup_at
        step = apply(flow, ticket, now, overdue(ticket))
        ticket = step.tickets[0]
        ids.add(step.events[0].id)
        assert ticket.next_wakeup_at is not None
        pauses.append((ticket.next_wakeup_at - now).total_seconds())
    assert len(ids) == 3
    assert pauses == [60, 120, 240]


def test_a_lost_chain_event_is_sent_again_until_the_deadline() -> None:
    flow = make_flow(sla_deadline=T0 + seconds(100))
    step = apply(flow, make_ticket(flow), T0 + seconds(30), NothingHappened())
    assert step.flow is not None
    assert [event.event_type for event in step.events] == ["decision.consolidated"]
    assert step.flow.next_wakeup_at == T0 + seconds(90)
    again = apply(step.flow, make_ticket(flow), T0 + seconds(90), NothingHappened())
    assert again.flow is not None
    assert again.flow.next_wakeup_at == T0 + seconds(100)
    assert again.events[0].id != step.events[0].id


def test_a_flow_that_waits_for_a_place_is_looked_at_again_and_no_time_limit_has_run_out() -> None:
    flow = make_flow(reasons=(Reason(code=OVER_LIMIT, message="too many are in flight"),))
    for held, limit in ((flow, None), (flow.but(reasons=()), "function")):
        step = apply(held, make_ticket(held), T0 + seconds(30), NothingHappened())
        (entry,) = [entry for entry in step.history if entry.type == "flow.reemitted"]
        assert limit_run_out(entry.but(event_id=CLOCK)) == limit


def test_a_ticket_that_lacked_only_a_slot_at_the_deadline_has_failed_for_want_of_capacity() -> None:
    flow = executing(sla_deadline=T0 + seconds(10))
    starved = make_ticket(flow, 1, waiting=Waiting.SLOT)
    running = assigned(flow, acknowledged_at=T0).but(ticket_id="00000000-0000-4000-8000-000000000002")
    tally = {"PENDING": 1, "ASSIGNED": 1}
    step = apply(flow, starved, T0 + seconds(10), DeadlinePassed((starved, running), tally))
    assert [(t.status.value, t.reason.code) for t in step.tickets if t.reason] == [
        ("FAILED", "no_capacity"),
        ("CANCELLED", "sla_timeout"),
    ]
    assert step.flow is not None
    assert step.flow.tally == {"FAILED": 1, "CANCELLED": 1}


def test_a_failure_at_the_deadline_that_counts_as_done_is_tolerated() -> None:
    flow = executing(sla_deadline=T0 + seconds(10))
    starved = make_ticket(flow, 1, waiting=Waiting.SLOT, control=Control(allow_failure=True))
    step = apply(flow, starved, T0 + seconds(10), DeadlinePassed((starved,), {"PENDING": 1}))
    assert step.flow is not None
    assert step.flow.tolerated == {"FAILED": 1}


@pytest.mark.parametrize("status", [FlowStatus.COMPLETED, FlowStatus.FAILED, FlowStatus.TIMED_OUT])
def test_terminal_is_terminal(status: FlowStatus) -> None:
    flow = make_flow(status=status, outcome=Outcome(status), next_wakeup_at=None, ended_at=T0)
    ticket = make_ticket(flow, status=TicketStatus.COMPLETED, attempt=1, next_wakeup_at=None)
    report = Report(ticket_id=ticket.ticket_id, attempt=1, status=ReportStatus.FAILED)
    for outcome in (
        Reported([report]),
        DeadlinePassed((), {}),
        NothingHappened(),
        TelemetryKept(()),
        WorkerLost("w1", "is gone"),
        overdue(ticket),
        Discovered({ticket.ticket_id: (candidate("w1"),)}, {}, {}),
        Duplicate(),
    ):
        assert not apply(flow, ticket, T0 + seconds(99_999), outcome).changes, outcome


def test_a_step_that_broke_ends_the_flow_only_where_the_table_has_the_edge() -> None:
    reason = Reason(code="internal", message="ZeroDivisionError")
    early = make_flow()
    step = apply(early, make_ticket(early), T0, Broke(reason))
    assert step.flow is not None
    assert step.flow.outcome is Outcome.FAILED
    late = executing()
    assert not apply(late, make_ticket(late), T0, Broke(reason)).changes


def test_two_last_tickets_that_end_at_once_leave_a_wakeup_that_ends_the_flow() -> None:
    flow = executing()
    first = assigned(flow, acknowledged_at=T0)
    report = Report(ticket_id=first.ticket_id, attempt=1, status=ReportStatus.COMPLETED)
    # Each saw the other one live, so neither was given the counts.
    step = apply(flow, first, T0 + seconds(1), Reported([report]))
    ended = step.tickets[0]
    assert step.flow is None
    assert ended.next_wakeup_at == T0 + seconds(1) + RULES.settle
    woken = apply(flow, ended, ended.next_wakeup_at, overdue(ended, tally={"COMPLETED": 2}))
    assert woken.flow is not None
    assert woken.flow.outcome is Outcome.COMPLETED
    assert woken.tickets[0].next_wakeup_at is None


def test_a_report_that_it_runs_starts_the_timeout_when_the_acknowledgement_was_lost() -> None:
    flow = executing()
    ticket = assigned(flow)
    report = Report(ticket_id=ticket.ticket_id, attempt=1, status=ReportStatus.RUNNING, progress=10)
    step = apply(flow, ticket, T0 + seconds(3), Reported([report]))
    moved = step.tickets[0]
    assert (moved.status, moved.acknowledged_at, moved.progress) == (TicketStatus.RUNNING, T0 + seconds(3), 10)
    assert moved.next_wakeup_at == T0 + seconds(3) + moved.timeout


def test_a_task_that_must_not_be_done_twice_stays_with_a_worker_that_may_have_begun() -> None:
    flow = executing()
    ticket = assigned(flow, idempotent=False, candidates=(candidate("w1"), candidate("w2")))
    unsure = apply(flow, ticket, T0 + seconds(5), Delivered({ticket.ticket_id: (1, Answer(0, "timed out"))}))
    assert unsure.tickets[0].perhaps_begun
    refused = Answer(0, "connection refused", reached=False)
    answers = {ticket.ticket_id: (1, refused)}
    around = {ticket.ticket_id: RelatedTickets(tally={"ASSIGNED": 1})}
    step = apply(flow, unsure.tickets[0], T0 + seconds(30), Delivered(answers, around))
    assert step.tickets[0].status is TicketStatus.FAILED
    assert step.tickets[0].reason is not None
    assert "not idempotent" in step.tickets[0].reason.message
    assert step.flow is not None
    assert step.flow.outcome is Outcome.FAILED
    assert [(d.worker_id, d.cancelled) for d in step.deliveries] == [("w1", True)]


def test_a_task_that_must_not_be_done_twice_leaves_a_worker_that_certainly_never_got_it() -> None:
    flow = executing()
    ticket = assigned(flow, idempotent=False, candidates=(candidate("w1"), candidate("w2")))
    refused = Answer(0, "connection refused", reached=False)
    assert not apply(flow, ticket, T0 + seconds(5), Delivered({ticket.ticket_id: (1, refused)})).changes
    step = apply(flow, ticket, T0 + seconds(30), Delivered({ticket.ticket_id: (1, refused)}))
    assert step.tickets[0].status is TicketStatus.PENDING
    assert [event.event_type for event in step.events] == ["tickets.ready"]


def test_in_a_fleet_that_refuses_a_ticket_pauses_after_so_many_workers() -> None:
    flow = executing()
    fleet = tuple(candidate(f"w{n}") for n in range(40))
    ticket = assigned(flow, candidates=fleet, excluded_workers=tuple(f"w{n}" for n in range(2, 18)))
    step = apply(flow, ticket, T0 + seconds(1), Delivered({ticket.ticket_id: (1, Answer(429))}))
    assert step.tickets[0].waiting is Waiting.RETRY
    assert step.tickets[0].next_wakeup_at is not None
    assert step.tickets[0].next_wakeup_at - (T0 + seconds(1)) > seconds(40)
    assert step.events == ()


def test_a_ticket_that_waited_for_a_worker_goes_to_discovery_when_one_is_there_by_now() -> None:
    flow = executing()
    ticket = make_ticket(flow, waiting=Waiting.WORKER, waiting_since=T0, next_wakeup_at=T0 + seconds(600))
    step = apply(flow, ticket, T0 + seconds(600), TicketOverdue(ticket.ticket_id, capable=True))
    assert step.tickets[0].waiting is Waiting.DISCOVERY
    assert [event.event_type for event in step.events] == ["tickets.ready"]
    failed = apply(flow, ticket, T0 + seconds(600), overdue(ticket, tally={"PENDING": 1}))
    assert failed.tickets[0].status is TicketStatus.FAILED


def test_a_success_whose_dependants_were_all_cancelled_looks_whether_the_flow_has_ended() -> None:
    flow = executing()
    join = make_ticket(flow, 2, status=TicketStatus.CANCELLED, next_wakeup_at=None)
    ticket = assigned(flow, acknowledged_at=T0, dependants=(join.ticket_id,))
    report = Report(ticket_id=ticket.ticket_id, attempt=1, status=ReportStatus.COMPLETED)
    dependants = {join.ticket_id: join}
    last = RelatedTickets(dependants=dependants, tally={"ASSIGNED": 1, "FAILED": 1, "CANCELLED": 1})
    ended = apply(flow, ticket, T0 + seconds(9), Reported([report], last))
    assert ended.flow is not None
    assert ended.flow.outcome is Outcome.FAILED
    unsure = apply(flow, ticket, T0 + seconds(9), Reported([report], RelatedTickets(dependants=dependants)))
    assert unsure.tickets[0].next_wakeup_at == T0 + seconds(9) + RULES.settle


def test_news_of_a_lost_attempt_does_not_touch_a_later_one() -> None:
    flow = executing()
    ticket = assigned(flow, attempt=2)
    assert not apply(flow, ticket, T0, WorkerLost("w1", "is gone", {ticket.ticket_id: 1})).changes
    assert apply(flow, ticket, T0, WorkerLost("w1", "is gone", {ticket.ticket_id: 2})).changes


def test_a_flow_woken_early_is_written_again_so_that_its_wakeup_is_set() -> None:
    flow = make_flow()
    step = apply(flow, make_ticket(flow), T0, WokenEarly())
    assert step.flow == flow.but(version=2)
    assert (step.events, step.history) == ((), ())


def test_what_ran_while_the_platform_was_down_has_a_grace_to_be_reported() -> None:
    flow = executing()
    ticket = assigned(flow, acknowledged_at=T0, next_wakeup_at=T0 + seconds(180))
    started = T0 + seconds(500)

    def woken(now: datetime) -> ChangeSet:
        context = Context(
            flow=flow,
            tickets={ticket.ticket_id: ticket},
            now=now,
            rules=RULES,
            function="test",
            cause="cause",
            up_since=started,
        )
        return advance(context, overdue(ticket))

    spared = woken(started + seconds(1)).tickets[0]
    assert (spared.status, spared.next_wakeup_at) == (TicketStatus.ASSIGNED, started + RULES.grace)
    assert woken(started + RULES.grace).tickets[0].status is TicketStatus.PENDING


@pytest.mark.parametrize("outcome", ["failed", "lost"])
def test_the_time_to_get_a_worker_begins_anew_after_a_worker_had_the_ticket(outcome: str) -> None:
    flow = executing()
    held = {"schedule_to_start_ms": 5000, "ready_at": T0, "acknowledged_at": T0 + seconds(1), "until": T0 + seconds(60)}
    ticket = assigned(flow, **held)
    failure = Report(ticket_id=ticket.ticket_id, attempt=1, status=ReportStatus.FAILED)
    said = Reported([failure]) if outcome == "failed" else WorkerLost("w1", "is silent")
    waiting = apply(flow, ticket, T0 + seconds(10), said).tickets[0]
    assert (waiting.waiting, waiting.ready_at) == (Waiting.RETRY, waiting.until)
    assert waiting.until is not None
    woken = apply(flow, waiting, waiting.until, overdue(waiting))
    assert [event.event_type for event in woken.events] == ["tickets.ready"]
    busy = Discovered({}, {ticket.ticket_id: Waiting.SLOT}, {})
    slot = apply(flow, woken.tickets[0], waiting.until + seconds(1), busy).tickets[0]
    assert slot.until == waiting.until + seconds(5)


def test_workers_that_refuse_a_ticket_do_not_give_it_more_time_to_get_one() -> None:
    flow = executing()
    ticket = assigned(flow, schedule_to_start_ms=5000, ready_at=T0)
    refused = apply(flow, ticket, T0 + seconds(4), Delivered({ticket.ticket_id: (1, Answer(429, "full"))})).tickets[0]
    assert (refused.status, refused.ready_at) == (TicketStatus.PENDING, T0)


@pytest.mark.parametrize("late", [0, 3])
def test_a_ticket_of_a_pause_that_is_over_is_not_woken_again_before_the_flow_had_its_turn(late: float) -> None:
    over = T0 + seconds(100)
    phases = (Phase(status=FlowStatus.EXECUTING, entered_at=T0), Phase(status=FlowStatus.PAUSED, entered_at=T0))
    flow = make_flow(status=FlowStatus.PAUSED, back=FlowStatus.EXECUTING, phases=phases, next_wakeup_at=over)
    ticket = make_ticket(flow, waiting=Waiting.RESUME, until=over, next_wakeup_at=over)
    now = over + seconds(late)
    assert apply(flow, ticket, now, overdue(ticket)).tickets[0].next_wakeup_at == now + RULES.reemit_after(0)
