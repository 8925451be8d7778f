"""The deadline budget: when tickets and flows come at risk, each once, and which attempts still fit."""

from datetime import timedelta
from typing import Any

import pytest

from functions._core.events.reports import Report
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Delivered, WorkerLost
from functions._core.machine.closing import AtRisk
from functions._core.machine.context import Context
from functions._core.machine.ending import Reported, may_retry
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.placement.breaker import verdicts_of
from functions._core.planning.slack import fits, wakeup_of, worsened
from functions._core.records.audits import IncidentRecord, IncidentType
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Phase, Ticket
from functions._core.records.policies import RetryPolicy, Sla
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting
from functions._core.records.worker import Answer
from functions._core.rules import Rules, retry_after
from tests.support.builders import T0, make_flow, make_ticket, seconds

RULES = Rules()
FLOW = make_flow(
    status=FlowStatus.EXECUTING,
    phases=(Phase(status=FlowStatus.EXECUTING, entered_at=T0),),
    tickets_generated=2,
    sla_deadline=T0 + seconds(1000),
    next_wakeup_at=T0 + seconds(800),
)


def waiting(**changes: Any) -> Ticket:
    """Build a ticket that waits for a slot: 100 s of work, 200 s of work after it."""
    values: dict[str, Any] = {
        "waiting": Waiting.SLOT,
        "estimated_duration_ms": 100_000,
        "tail_ms": 200_000,
        "latest_start": T0 + seconds(500),
        "sla": Sla(deadline=T0 + seconds(600), timeout_ms=300_000, max_retries=2),
        "until": T0 + seconds(1000),
        "next_wakeup_at": T0 + seconds(500),
    }
    return make_ticket(FLOW, **values | changes)


def woken(ticket: Ticket, at: float, flow: Flow = FLOW) -> ChangeSet:
    """Let a ticket's wake-up come at `at` seconds."""
    context = Context(
        flow=flow, tickets={ticket.ticket_id: ticket}, now=T0 + seconds(at), rules=RULES, function="test", cause="clock"
    )
    return advance(context, TicketOverdue(ticket.ticket_id))


def flow_woken(flow: Flow, at: float) -> ChangeSet:
    """Let the wake-up of a flow at work come at `at` seconds."""
    context = Context(flow=flow, now=T0 + seconds(at), rules=RULES, function="test", cause="clock")
    return advance(context, AtRisk())


def kinds(step: ChangeSet) -> list[str]:
    """Return the types of a step's transitions."""
    return [entry.type for entry in step.history]


def test_a_ticket_that_has_not_started_by_its_latest_start_is_at_risk_once() -> None:
    step = woken(waiting(), 500)
    assert kinds(step) == ["sla.at_risk"]
    assert step.tickets[0].announced is SlackState.AT_RISK
    assert step.tickets[0].next_wakeup_at == T0 + seconds(600)
    assert step.flow is None
    assert kinds(woken(step.tickets[0].but(next_wakeup_at=T0 + seconds(550)), 550)) == []


def test_a_ticket_past_its_share_is_breached_and_nothing_is_ended_by_that() -> None:
    step = woken(waiting(announced=SlackState.AT_RISK, next_wakeup_at=T0 + seconds(600)), 600)
    assert kinds(step) == ["sla.violated"]
    assert step.tickets[0].status is TicketStatus.PENDING
    assert step.tickets[0].next_wakeup_at == T0 + seconds(700), "when it becomes late"


def test_a_ticket_that_cannot_be_done_in_time_any_more_waits_behind_what_can() -> None:
    ticket = waiting(announced=SlackState.BREACHED, next_wakeup_at=T0 + seconds(700))
    late = woken(ticket, 700).tickets[0]
    assert late.late
    assert late.urgency > waiting(latest_start=T0 + seconds(999_999)).urgency
    assert late.urgency < waiting(late=True, latest_start=T0 + seconds(999_999)).urgency
    assert late.next_wakeup_at == T0 + seconds(1000), "it is not woken for that again"


def test_a_flow_is_at_risk_when_a_ticket_and_what_follows_it_no_longer_fit() -> None:
    step = woken(waiting(latest_start=T0 + seconds(701), next_wakeup_at=T0 + seconds(701)), 701)
    assert kinds(step) == ["sla.violated", "sla.at_risk"]
    assert step.flow is not None
    assert step.flow.announced is SlackState.AT_RISK
    assert step.history[1].ticket_id is None
    assert "task-1" in step.history[1].detail["reason"]["message"]


def test_a_flow_that_was_announced_is_not_announced_again() -> None:
    known = FLOW.but(announced=SlackState.AT_RISK)
    assert woken(waiting(next_wakeup_at=T0 + seconds(701)), 701, known).flow is None


def test_a_flow_is_at_risk_when_most_of_its_time_is_used_up() -> None:
    step = flow_woken(FLOW, 800)
    assert kinds(step) == ["sla.at_risk"]
    assert step.flow is not None
    assert step.flow.next_wakeup_at == FLOW.sla_deadline


def test_a_flow_that_is_known_to_be_at_risk_is_not_woken_again_before_its_deadline() -> None:
    step = flow_woken(FLOW.but(announced=SlackState.AT_RISK), 800)
    assert kinds(step) == []
    assert step.flow is not None
    assert step.flow.next_wakeup_at == FLOW.sla_deadline


def test_a_ticket_at_work_is_looked_at_for_its_share_of_the_sla_alone() -> None:
    running = waiting(status=TicketStatus.RUNNING, acknowledged_at=T0, until=T0 + seconds(900), waiting=None)
    assert wakeup_of(running, FLOW) == T0 + seconds(600)
    assert worsened(running, T0 + seconds(550)) is None
    assert wakeup_of(running.but(announced=SlackState.BREACHED), FLOW) == T0 + seconds(900)


def test_a_share_that_is_gone_does_not_end_the_attempt() -> None:
    running = waiting(
        status=TicketStatus.RUNNING,
        attempt=1,
        worker_id="w1",
        acknowledged_at=T0,
        waiting=None,
        until=T0 + seconds(900),
        next_wakeup_at=T0 + seconds(600),
    )
    step = woken(running, 600)
    assert kinds(step) == ["sla.violated"]
    assert (step.tickets[0].status, step.tickets[0].attempt) == (TicketStatus.RUNNING, 1)
    assert step.tickets[0].next_wakeup_at == T0 + seconds(900)


@pytest.mark.parametrize(("start", "expected"), [(700, True), (700.001, False)])
def test_an_attempt_fits_when_it_and_the_longest_path_after_it_end_in_time(start: float, expected: bool) -> None:
    assert fits(waiting(), FLOW, T0 + seconds(start), RULES) is expected


def test_while_people_are_waited_for_everything_fits_unless_the_deadline_is_a_moment() -> None:
    paused = FLOW.but(status=FlowStatus.PAUSED)
    late = T0 + seconds(5000)
    assert fits(waiting(), paused, late, RULES)
    assert not fits(waiting(), paused.but(sla_limit=FLOW.sla_deadline), late, RULES)


def test_undoing_has_a_time_of_its_own() -> None:
    phase = Phase(status=FlowStatus.COMPENSATING, entered_at=T0 + seconds(2000))
    undoing = FLOW.but(status=FlowStatus.COMPENSATING, phases=(phase,))
    assert fits(waiting(), undoing, T0 + seconds(2000), RULES)
    assert not fits(waiting(), undoing, T0 + seconds(2000) + RULES.compensation, RULES)


def test_a_retry_is_made_only_while_it_fits() -> None:
    policy = RetryPolicy(initial_ms=10_000, jitter=0)
    ticket = waiting(status=TicketStatus.RUNNING, attempt=1, worker_id="w1", retry=policy)
    assert may_retry(ticket, FLOW, T0 + seconds(690), RULES)
    assert not may_retry(ticket, FLOW, T0 + seconds(691), RULES)


HELD = waiting(status=TicketStatus.ASSIGNED, waiting=None, attempt=1, worker_id="w1", assigned_at=T0)
AROUND = {HELD.ticket_id: RelatedTickets(tally={"ASSIGNED": 1})}


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Delivered({HELD.ticket_id: (1, Answer(503, "restarting"))}, AROUND), "worker_unreachable"),
        (WorkerLost("w1", "is silent", {}, AROUND), "worker_lost"),
    ],
)
def test_what_was_begun_and_fits_no_other_worker_fails_for_what_became_of_its_worker(
    outcome: AnyOutcome, code: str
) -> None:
    context = Context(
        flow=FLOW, tickets={HELD.ticket_id: HELD}, now=T0 + seconds(701), rules=RULES, function="test", cause="event"
    )
    step = advance(context, outcome)
    [failed] = step.tickets
    assert failed.status is TicketStatus.FAILED
    assert failed.reason is not None
    assert failed.reason.code == code
    assert failed.reason.message.endswith("; another worker would need 300 s, which do not fit")
    assert [record.incident_type for record in step.audit if isinstance(record, IncidentRecord)] == [
        IncidentType.WORKER_FAILURE
    ]
    # An answer to a delivery is judged when it comes (`verdict_of`), silence by the heartbeats.
    assert [verdict.succeeded for verdict in verdicts_of(step)] == [None]


def test_what_was_not_begun_goes_to_another_worker_whether_it_fits_or_not() -> None:
    refused = Delivered({HELD.ticket_id: (1, Answer(0, "connection refused", reached=False))}, AROUND)
    context = Context(
        flow=FLOW, tickets={HELD.ticket_id: HELD}, now=T0 + seconds(701), rules=RULES, function="test", cause="event"
    )
    step = advance(context, refused)
    assert (step.tickets[0].status, kinds(step)) == (TicketStatus.PENDING, ["ticket.reassigned"])


def test_a_ticket_has_its_own_retry_policy() -> None:
    policy = RetryPolicy(initial_ms=100, coefficient=3, max_ms=1000, jitter=0)
    waits = [retry_after(policy, "t", retries) / timedelta(milliseconds=1) for retries in range(5)]
    assert waits == [100, 300, 900, 1000, 1000]


def test_the_jitter_spreads_around_the_backoff_and_is_the_same_for_the_same_retry() -> None:
    policy = RetryPolicy(initial_ms=1000, coefficient=1, jitter=0.5)
    waits = [retry_after(policy, f"ticket-{n}", 0) / timedelta(milliseconds=1) for n in range(200)]
    assert 500 <= min(waits) < 600
    assert 1400 < max(waits) <= 1500
    assert waits == [retry_after(policy, f"ticket-{n}", 0) / timedelta(milliseconds=1) for n in range(200)]


@pytest.mark.parametrize(("kind", "status"), [("wrong_input", TicketStatus.FAILED), ("flaky", TicketStatus.PENDING)])
def test_an_error_that_the_task_calls_hopeless_is_not_tried_again(kind: str, status: TicketStatus) -> None:
    policy = RetryPolicy(non_retryable=("wrong_input",))
    ticket = waiting(status=TicketStatus.RUNNING, attempt=1, worker_id="w1", retry=policy)
    report = Report.model_validate(
        {"ticket_id": ticket.ticket_id, "attempt": 1, "status": "FAILED", "error": {"type": kind, "message": "no"}}
    )
    context = Context(
        flow=FLOW, tickets={ticket.ticket_id: ticket}, now=T0 + seconds(1), rules=RULES, function="test", cause="event"
    )
    assert advance(context, Reported((report,), RelatedTickets())).tickets[0].status is status


def test_undoing_goes_on_as_long_as_it_has_time_whatever_the_estimates() -> None:
    phase = Phase(status=FlowStatus.COMPENSATING, entered_at=T0)
    undoing = FLOW.but(status=FlowStatus.COMPENSATING, phases=(phase,))
    long = waiting(estimated_duration_ms=7_200_000, status=TicketStatus.RUNNING, attempt=1, worker_id="w1")
    end = T0 + RULES.compensation
    assert fits(long, undoing, end - seconds(1), RULES)
    assert not fits(long, undoing, end, RULES)
    assert may_retry(long, undoing, T0, RULES)
