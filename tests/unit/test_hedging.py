"""Two attempts at one ticket: how the second one begins, what ends either of them, and that one result wins."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.errors import Rejected
from functions._core.events.commands import HedgeRequest
from functions._core.events.reports import Report, ReportError
from functions._core.explain.ticket import explain_ticket
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned, Delivered, WorkerLost
from functions._core.machine.commands import Commanded
from functions._core.machine.context import Context
from functions._core.machine.ending import Reported
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.placement.breaker import verdicts_of
from functions._core.placement.signals import SignalKind, signals_of
from functions._core.records.attempts import of_attempt, other_of, runs, work_key, work_keys
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.values import FlowStatus, ReportStatus, TicketStatus, Waiting
from functions._core.records.worker import Answer, AssignmentMode, Candidate
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, seconds

FLOW = make_flow(status=FlowStatus.EXECUTING, tickets_generated=1, sla_deadline=T0 + seconds(3_000))
RULES = Rules()
ACCEPTED = Answer(202)


def candidate(worker_id: str, delivery: AssignmentMode = AssignmentMode.PUSH) -> Candidate:
    scores = {"score": 1.0, "health_score": 1.0, "pheromone_score": 0.5, "telemetry_score": 0.5}
    return Candidate(worker_id=worker_id, active=0, slots=4, delivery=delivery, **scores)


def running(**changes: Any) -> Ticket:
    """Return a ticket that worker a is at: attempt 1."""
    held = {
        "status": TicketStatus.RUNNING,
        "attempt": 1,
        "worker_id": "a",
        "candidates": (candidate("a"),),
        "assigned_at": T0,
        "acknowledged_at": T0,
        "started_at": T0,
        "until": T0 + seconds(60),
        "next_wakeup_at": T0 + seconds(60),
        "waiting": None,
    }
    return make_ticket(FLOW, **{**held, **changes})


def after(ticket: Ticket, outcome: AnyOutcome, at: float = 10, flow: Flow = FLOW) -> ChangeSet:
    tickets = {ticket.ticket_id: ticket}
    context = Context(flow=flow, tickets=tickets, now=T0 + seconds(at), rules=RULES, function="monitor", cause="c")
    return advance(context, outcome)


def hedging(ticket: Ticket, found: Candidate | Reason | None = None, at: float = 10, flow: Flow = FLOW) -> ChangeSet:
    order = HedgeRequest(flow_id=FLOW.flow_id, ticket_id=ticket.ticket_id, requested_by="policy p", reason="late")
    return after(ticket, Commanded(order, "command", second=found), at, flow)


def hedged(delivery: AssignmentMode = AssignmentMode.PUSH, **changes: Any) -> Ticket:
    """Return a ticket at which attempt 2 of worker b runs beside attempt 1 of worker a, not accepted yet."""
    (ticket,) = hedging(running(**changes), candidate("b", delivery)).tickets
    return ticket


def both(**changes: Any) -> Ticket:
    """Return the same, accepted."""
    ticket = hedged(**changes)
    (accepted,) = after(ticket, Delivered({ticket.ticket_id: (2, ACCEPTED)}), 11).tickets
    return accepted


def report(ticket: Ticket, attempt: int, status: ReportStatus, **more: Any) -> AnyOutcome:
    told = Report(ticket_id=ticket.ticket_id, attempt=attempt, status=status, **more)
    return Reported([told], RelatedTickets(tally={"RUNNING": 1}))


def kinds(step: ChangeSet) -> Sequence[str]:
    return [entry.type for entry in step.history if entry.ticket_id]


def told(step: ChangeSet) -> Sequence[tuple[str, int, bool]]:
    return [(one.worker_id, one.attempt, one.cancelled) for one in step.deliveries]


def test_a_second_attempt_takes_the_next_number_and_another_worker() -> None:
    step = hedging(running(), candidate("b"))
    (ticket,) = step.tickets
    other = other_of(ticket)
    assert other is not None
    assert (ticket.attempt, ticket.worker_id, ticket.status) == (1, "a", TicketStatus.RUNNING)
    assert (other.attempt, other.worker_id, other.acknowledged_at) == (2, "b", None)
    assert (kinds(step), told(step)) == (["ticket.hedged"], [("b", 2, False)])
    assert (step.history[0].worker_id, step.history[0].attempt) == ("b", 2)
    assert ticket.next_wakeup_at == T0 + seconds(10) + RULES.redeliver  # the assignment may be lost
    assert [runs(ticket, n) for n in (1, 2, 3)] == [True, True, False]
    assert ticket.retry_count == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"idempotent": False}, "not idempotent"),
        ({"status": TicketStatus.PENDING, "worker_id": None, "acknowledged_at": None}, "is PENDING"),
        ({"status": TicketStatus.ASSIGNED, "acknowledged_at": None, "started_at": None}, "is ASSIGNED"),
        ({"status": TicketStatus.COMPLETED, "completed_at": T0}, "is COMPLETED"),
        ({"hedge": hedged().hedge}, "two attempts"),
    ],
)
def test_only_what_a_worker_is_at_and_may_be_repeated_is_hedged_once(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Rejected, match=why):
        hedging(running(**changes), candidate("b"))


def test_nothing_is_hedged_while_its_flow_is_paused() -> None:
    paused = make_flow(status=FlowStatus.PAUSED)
    with pytest.raises(Rejected, match="PAUSED"):
        hedging(running(), candidate("b"), flow=paused)


@pytest.mark.parametrize(
    ("found", "cause"), [(None, "no_worker"), (Reason(code="blocked_by_freeze", message="frozen"), "blocked_by_freeze")]
)
def test_without_a_worker_for_it_nothing_happens_and_the_history_says_so(found: Reason | None, cause: str) -> None:
    step = hedging(running(), found)
    assert (step.tickets, kinds(step), told(step)) == ((), ["ticket.not_hedged"], [])
    assert step.history[0].cause == cause


def test_an_accepted_second_attempt_has_a_timeout_of_its_own() -> None:
    ticket = both()
    other = other_of(ticket)
    assert other is not None
    assert (other.acknowledged_at, other.until) == (T0 + seconds(11), T0 + seconds(11) + ticket.timeout)
    assert ticket.acknowledged_at == T0


def test_a_ticket_that_its_worker_has_not_reported_as_begun_is_hedged_too() -> None:
    ticket = both(status=TicketStatus.ASSIGNED, started_at=None)
    step = after(ticket, report(ticket, 2, ReportStatus.RUNNING, progress=50), 12)
    (heard,) = step.tickets
    other = other_of(heard)
    assert other is not None
    assert (heard.status, heard.started_at, other.started_at, other.progress) == (
        TicketStatus.ASSIGNED,
        None,
        T0 + seconds(12),
        50,
    )
    gone = after(heard, report(heard, 1, ReportStatus.FAILED), 13)
    assert (gone.tickets[0].status, gone.tickets[0].worker_id) == (TicketStatus.RUNNING, "b")
    assert kinds(gone) == ["ticket.hedge_ended", "ticket.started"]


@pytest.mark.parametrize(("winner", "loser"), [((1, "a"), (2, "b")), ((2, "b"), (1, "a"))])
def test_the_first_result_wins_and_the_other_attempt_is_cancelled(
    winner: tuple[int, str], loser: tuple[int, str]
) -> None:
    ticket = both()
    step = after(ticket, report(ticket, winner[0], ReportStatus.COMPLETED, output=winner[1]), 20)
    (done,) = step.tickets
    assert (done.status, done.attempt, done.worker_id, done.output) == (TicketStatus.COMPLETED, *winner, winner[1])
    assert kinds(step) == ["ticket.hedge_ended", "ticket.completed"]
    assert told(step) == [(loser[1], loser[0], True)]
    ended = step.history[0]
    assert (ended.worker_id, ended.attempt, ended.cause, ended.detail["won_by"]) == (
        loser[1],
        loser[0],
        "lost the race",
        winner[0],
    )
    late = Report(ticket_id=ticket.ticket_id, attempt=loser[0], status=ReportStatus.COMPLETED)
    assert (late.counts_for(done), late.repeats(done)) == (False, False)  # `superseded`
    assert [(one.worker_id, one.succeeded) for one in verdicts_of(step)] == [(loser[1], None), (winner[1], True)]
    assert [(one.worker_id, one.kind) for one in signals_of(step)] == [(winner[1], SignalKind.SUCCESS)]
    took = done.actual_duration_ms
    assert took == (20_000 if winner[0] == 1 else 9_000)


@pytest.mark.parametrize(("lost", "left"), [((1, "a"), (2, "b")), ((2, "b"), (1, "a"))])
def test_a_failure_of_one_leaves_the_other_as_the_only_attempt(lost: tuple[int, str], left: tuple[int, str]) -> None:
    ticket = both()
    error = ReportError(type="boom", message="no luck", retryable=False)
    step = after(ticket, report(ticket, lost[0], ReportStatus.FAILED, error=error), 20)
    (now,) = step.tickets
    assert (now.attempt, now.worker_id, now.retry_count, other_of(now)) == (*left, 0, None)
    assert now.status is (TicketStatus.ASSIGNED if left[0] == 2 else TicketStatus.RUNNING)
    assert (kinds(step), told(step)) == (["ticket.hedge_ended"], [])
    assert (step.history[0].worker_id, step.history[0].cause) == (lost[1], "boom")
    assert [(one.worker_id, one.kind) for one in signals_of(step)] == [(lost[1], SignalKind.WARNING)]
    assert not runs(now, lost[0])
    with pytest.raises(Rejected, match="hedged before"):
        hedging(now, candidate("c"))
    again = after(now, report(now, left[0], ReportStatus.FAILED), 30)
    (retried,) = again.tickets
    assert (retried.status, retried.attempt, retried.retry_count) == (TicketStatus.PENDING, 2, 1)
    assert again.history[0].attempt == left[0]
    ready = retried.but(waiting=Waiting.DISCOVERY, next_wakeup_at=T0 + seconds(99))
    given = after(ready, Assigned({ready.ticket_id: "a"}, {ready.ticket_id: (candidate("a"),)}, {}), 60)
    assert (given.tickets[0].attempt, given.tickets[0].hedge) == (3, None)


def test_the_timeout_of_the_first_attempt_leaves_the_second() -> None:
    ticket = both(sla=make_ticket(FLOW).sla.but(timeout_ms=60_000))
    step = after(ticket, TicketOverdue(ticket.ticket_id), 61)
    assert (step.tickets[0].worker_id, step.tickets[0].status) == ("b", TicketStatus.ASSIGNED)
    assert told(step) == [("a", 1, True)]
    assert step.history[0].cause == "timed_out"
    assert [(one.worker_id, one.succeeded) for one in verdicts_of(step)] == [("a", False)]


def test_the_second_attempt_loses_its_lease_without_the_first() -> None:
    ticket = both(heartbeat_timeout_ms=5_000)
    step = after(ticket.but(until=T0 + seconds(60)), TicketOverdue(ticket.ticket_id), 17)
    assert (step.tickets[0].worker_id, other_of(step.tickets[0])) == ("a", None)
    assert (told(step), step.history[0].cause) == ([("b", 2, True)], "heartbeat_lost")


def test_an_assignment_that_was_lost_is_sent_again_until_the_worker_is_given_up() -> None:
    ticket = hedged(sla=make_ticket(FLOW).sla.but(timeout_ms=600_000), until=T0 + seconds(600))
    again = after(ticket, TicketOverdue(ticket.ticket_id), 10 + RULES.redeliver.total_seconds())
    assert told(again) == [("b", 2, False)]
    over = after(again.tickets[0], TicketOverdue(ticket.ticket_id), 10 + RULES.unreachable.total_seconds())
    assert (told(over), kinds(over)) == ([("b", 2, True)], ["ticket.hedge_ended"])
    assert over.history[0].cause == "worker_unreachable"


def test_a_worker_that_asks_for_its_tickets_gets_the_second_attempt_when_it_asks() -> None:
    step = hedging(running(until=T0 + seconds(600)), candidate("b", AssignmentMode.PULL))
    (ticket,) = step.tickets
    assert told(step) == []
    seen = of_attempt(ticket, 2)
    assert (seen.status, seen.acknowledged_at, seen.worker_id) == (TicketStatus.ASSIGNED, None, "b")
    over = after(ticket, TicketOverdue(ticket.ticket_id), 10 + RULES.unreachable.total_seconds())
    assert (kinds(over), over.history[0].cause) == (["ticket.hedge_ended"], "not_asked_for")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(429, "full"), "worker_busy"),
        (Answer(400, "no"), "worker_refused"),
        (Answer(0, "open", reached=False, suspended=True), "worker_suspended"),
    ],
)
def test_a_second_worker_that_will_not_have_it_ends_the_second_attempt(answer: Answer, cause: str) -> None:
    ticket = hedged()
    step = after(ticket, Delivered({ticket.ticket_id: (2, answer)}), 11)
    (now,) = step.tickets
    assert (now.attempt, now.worker_id, now.status, other_of(now)) == (1, "a", TicketStatus.RUNNING, None)
    assert (step.history[0].type, step.history[0].cause) == ("ticket.hedge_ended", cause)
    assert list(signals_of(step)) == []


@pytest.mark.parametrize(("lost", "left"), [((1, "a"), (2, "b")), ((2, "b"), (1, "a"))])
def test_a_lost_worker_takes_its_own_attempt_with_it(lost: tuple[int, str], left: tuple[int, str]) -> None:
    ticket = both()
    step = after(ticket, WorkerLost(lost[1], "is gone", {ticket.ticket_id: lost[0]}), 20)
    assert (step.tickets[0].attempt, step.tickets[0].worker_id) == left
    assert step.history[0].cause == "worker_lost"
    stale = WorkerLost(lost[1], "is gone", {ticket.ticket_id: 7})
    assert after(ticket, stale, 20).tickets == ()


def test_the_deadline_of_the_flow_cancels_both() -> None:
    from functions._core.events.commands import CancelRequest

    ticket = both()
    step = after(ticket, Commanded(CancelRequest(flow_id=FLOW.flow_id), "x", live=(ticket,), tally={"RUNNING": 1}), 20)
    assert sorted(told(step)) == [("a", 1, True), ("b", 2, True)]
    assert step.tickets[0].status is TicketStatus.CANCELLED
    assert kinds(step) == ["ticket.hedge_ended", "ticket.cancelled"]


def test_why_says_what_runs_and_what_comes_next() -> None:
    ticket = both()
    now = T0 + seconds(20)
    said = explain_ticket(ticket, FLOW, now, RULES)
    assert any(
        "Two attempts at it run: 1 on worker a, and beside it attempt 2 on worker b" in one for one in said.details
    )
    assert said.then is not None
    assert "attempt 1" in said.then
    (done,) = after(ticket, report(ticket, 2, ReportStatus.COMPLETED), 20).tickets
    ended = " ".join(explain_ticket(done, FLOW, now, RULES).details)
    assert "It was hedged: attempt 1 on worker a ran beside 2" in ended


MOVES = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from(list(ReportStatus)), st.floats(0, 5)), max_size=8
)


@given(MOVES, st.booleans())
def test_whatever_the_order_of_reports_one_result_wins(
    moves: list[tuple[int, ReportStatus, float]], asks: bool
) -> None:
    ticket, at, results = both(), 12.0, list[int]()
    if asks:
        ticket = hedged(AssignmentMode.PULL)
    for attempt, status, later in moves:
        at += later
        was, told_to = ticket, Report(ticket_id=ticket.ticket_id, attempt=attempt, status=status, output=attempt)
        counts = told_to.counts_for(ticket)
        step = after(ticket, report(ticket, attempt, status, output=attempt), at)
        ticket = next(iter(step.tickets), ticket)
        assert counts == (ticket != was)
        if status is ReportStatus.COMPLETED and counts:
            results.append(attempt)
        numbers = {ticket.attempt, *([other.attempt] if (other := other_of(ticket)) else [])}
        assert len(numbers) <= 2
        assert numbers <= {1, 2}
        cancelled = [one for one in step.deliveries if one.cancelled]
        assert len(cancelled) <= 1
    assert len(results) <= 1
    assert (ticket.status is TicketStatus.COMPLETED) == bool(results)
    if results:
        assert (ticket.output, ticket.attempt) == (results[0], results[0])


def test_each_of_two_attempts_has_a_job_of_its_own_and_keeps_it() -> None:
    ticket = both()
    first, second = (work_key(of_attempt(ticket, attempt), attempt) for attempt in (1, 2))
    assert (first, work_key(ticket, 1), work_key(ticket, 2)) == (f"{ticket.ticket_id}-0", first, second)
    assert first != second
    assert work_keys(ticket) == {first, second}
    (alone,) = after(ticket, WorkerLost("a", "is gone", {ticket.ticket_id: 1}), 20).tickets
    assert (alone.attempt, other_of(alone)) == (2, None)
    assert work_keys(alone) == {second}
    assert work_keys(running()) == {first}
