"""Tasks that must not be repeated: what is known, and not known, of whether a worker has begun."""

from typing import Any

import pytest

from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned, Delivered
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, TicketStatus
from functions._core.records.worker import Answer, Candidate
from tests.support.builders import T0, make_flow, make_ticket, seconds

FLOW = make_flow(status=FlowStatus.EXECUTING, tickets_generated=3)
AFTER = make_ticket(FLOW, 2, open_dependencies=1)
BEGUN = make_ticket(
    FLOW,
    1,
    idempotent=False,
    perhaps_begun=True,
    status=TicketStatus.ASSIGNED,
    attempt=1,
    worker_id="worker-1",
    assigned_at=T0,
    dependants=(AFTER.ticket_id,),
)


@pytest.mark.parametrize("status", [429, 422])
def test_what_depends_on_it_is_cancelled_with_it(status: int) -> None:
    context = Context(
        flow=FLOW, tickets={BEGUN.ticket_id: BEGUN}, now=T0 + seconds(6), function="assign", cause="clock"
    )
    around = {BEGUN.ticket_id: RelatedTickets(live=(AFTER,))}
    step = advance(context, Delivered({BEGUN.ticket_id: (1, Answer(status))}, around))
    ends = {ticket.task_id: ticket.status for ticket in step.tickets}
    assert ends == {"task-1": TicketStatus.FAILED, "task-2": TicketStatus.CANCELLED}


NOT_REACHED = Answer(0, "connection refused", reached=False)
NEW = make_ticket(FLOW, 3, idempotent=False)


def apply(ticket: Ticket, at: int, outcome: AnyOutcome) -> Ticket:
    """Return what an outcome makes of a ticket, `at` seconds after T0."""
    now = T0 + seconds(at)
    context = Context(flow=FLOW, tickets={ticket.ticket_id: ticket}, now=now, function="assign", cause="clock")
    return next(iter(advance(context, outcome).tickets))


def given() -> Ticket:
    """Return the ticket just given to worker-1."""
    named = (candidate("worker-1"), candidate("worker-2"))
    return apply(NEW, 0, Assigned({NEW.ticket_id: "worker-1"}, {NEW.ticket_id: named}, {}))


def candidate(worker_id: str) -> Candidate:
    """Return a worker as ranked."""
    scores: dict[str, Any] = {
        "score": 1,
        "health_score": 1,
        "pheromone_score": 1,
        "telemetry_score": 1,
        "active": 0,
        "slots": 1,
    }
    return Candidate(worker_id=worker_id, **scores)


def unreached(ticket: Ticket, at: int) -> Ticket:
    """Return the ticket after a delivery that certainly did not reach the worker."""
    return apply(ticket, at, Delivered({ticket.ticket_id: (1, NOT_REACHED)}, {}))


def test_a_worker_whose_first_answer_died_with_the_platform_may_have_begun() -> None:
    redelivered = apply(given(), 5, TicketOverdue(NEW.ticket_id))
    assert redelivered.perhaps_begun
    assert unreached(redelivered, 30).status is TicketStatus.FAILED


def test_a_worker_that_was_never_reached_has_not_begun() -> None:
    redelivered = apply(unreached(given(), 1), 6, TicketOverdue(NEW.ticket_id))
    assert not redelivered.perhaps_begun
    assert unreached(redelivered, 30).status is TicketStatus.PENDING
