"""How a second attempt at a ticket begins while the first one runs, and how either of the two comes to nothing.

The row of a ticket names one of its attempts, `Ticket.hedge` the other one. The end of both, by the first result or
because the ticket is taken from its workers, is `StepBuilder.move_ticket`'s.
"""

from datetime import datetime

from functions._core.events.commands import HedgeRequest, given_by, refusal
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.records.attempts import attempt_limit, of_attempt, other_of, turned
from functions._core.records.hedge import Hedge
from functions._core.records.models import HELD_TICKETS, Flow, Reason, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, add_time, format_time, milliseconds
from functions._core.records.worker import NOT_ASKED_FOR, Answer, AssignmentMode, Candidate

EXCLUDED_KEPT = 16
"""Workers remembered as tried; a bound on the row, and on the pause that grows with it."""


def why_not_hedged(ticket: Ticket, flow: Flow) -> str | None:
    """Return why no second attempt at a ticket may begin, None when one may."""
    name = f"ticket {ticket.task_id}"
    if ticket.status not in HELD_TICKETS or ticket.acknowledged_at is None:
        return f"{name} is {ticket.status}: only one that a worker has accepted is hedged"
    if not ticket.idempotent:
        return f"task {ticket.task_id} is not idempotent, so it is not begun twice"
    if ticket.hedge is not None:
        both = "two attempts at it run" if ticket.hedge.ended_at is None else "its attempt was hedged before"
        return f"{name} gets no other second attempt: {both}"
    if flow.status is FlowStatus.PAUSED:
        return f"flow {flow.flow_id} is PAUSED: nothing is begun"
    return None


def hedge(builder: StepBuilder, ticket: Ticket, command: HedgeRequest, found: Candidate | Reason | None) -> bool:
    """Begin a second attempt on the worker that was found; without one nothing happens, which the history says.

    Raises `Rejected`, status 409, when the ticket cannot have one at all.
    """
    why = why_not_hedged(ticket, builder.flow)
    if why is not None:
        raise refusal(why)
    if not isinstance(found, Candidate):
        reason = found or Reason(code="no_worker", message="no other worker that could do it has a free slot")
        detail = {**given_by(command), "reason": reason.told}
        builder.note("ticket.not_hedged", ticket=ticket, worker_id=ticket.worker_id, cause=reason.code, detail=detail)
        return True
    pulled, rules = found.delivery is AssignmentMode.PULL, builder.context.rules
    second = Hedge(
        attempt=ticket.attempt + 1,
        worker_id=found.worker_id,
        assigned_at=builder.now,
        until=builder.now + (rules.unreachable if pulled else rules.redeliver),
    )
    known = [one for one in ticket.candidates if one.worker_id != found.worker_id]
    both = ticket.but(hedge=second, candidates=(*known, found))
    moved = builder.move_ticket(both, TicketTrigger.HEDGE, until=both.until)
    seen = of_attempt(moved, second.attempt)
    detail = {**given_by(command), "beside": {"attempt": ticket.attempt, "worker_id": ticket.worker_id}}
    builder.note("ticket.hedged", ticket=seen, worker_id=found.worker_id, cause=command.verb, detail=detail)
    if not pulled:
        builder.deliver(moved, second.worker_id, second.attempt)
    return True


def give_up(builder: StepBuilder, ticket: Ticket, reason: Reason) -> bool:
    """End the attempt that the row of a ticket names, for that reason, if another one runs; that one goes on alone.

    False, with nothing changed, when none does. Retries are not used up by it.
    """
    if other_of(ticket) is None:
        return False
    left = turned(ticket)
    over = left.hedge.but(ended_at=builder.now) if left.hedge is not None else None
    not_begun = ticket.status is TicketStatus.RUNNING and left.started_at is None
    moved = builder.move_ticket(
        left.but(hedge=over, reason=reason),
        TicketTrigger.TAKE_OVER if not_begun else TicketTrigger.HEDGE_OVER,
        excluded_workers=(*ticket.excluded_workers, ticket.worker_id or "")[-EXCLUDED_KEPT:],
        perhaps_begun=ticket.perhaps_begun or ticket.acknowledged_at is not None,
        error_message=reason.message,
        until=left.until,
    )
    builder.note(
        "ticket.hedge_ended",
        ticket=ticket,
        worker_id=ticket.worker_id,
        from_status=ticket.status,
        to_status=moved.status,
        cause=reason.code,
        detail={"reason": reason.told, "goes_on": {"attempt": left.attempt, "worker_id": left.worker_id}},
    )
    if moved.started_at is not None and moved.status is TicketStatus.ASSIGNED:
        builder.move_ticket(moved, TicketTrigger.START, "ticket.started")
    return True


def other_heard(builder: StepBuilder, ticket: Ticket, progress: float | None) -> None:
    """Note that the worker of the other attempt is at it: its lease is renewed."""
    other = other_of(ticket)
    if other is not None:
        acknowledged = other.acknowledged_at or builder.now
        heard = other.but(
            acknowledged_at=acknowledged,
            started_at=other.started_at or builder.now,
            progress=other.progress if progress is None else progress,
            until=attempt_limit(ticket, acknowledged, builder.now),
        )
        builder.change_ticket(ticket, hedge=heard)


def other_answered(builder: StepBuilder, ticket: Ticket, answer: Answer) -> None:
    """Note the answer of the worker of the other attempt to its assignment; one that will not have it ends that."""
    other = other_of(ticket)
    if other is None or other.acknowledged_at is not None:
        return
    said = f"worker {other.worker_id} answered {answer.status}: {answer.detail}"
    if answer.accepted:
        limit = attempt_limit(ticket, builder.now, builder.now)
        builder.change_ticket(ticket, hedge=other.but(acknowledged_at=builder.now, until=limit))
    elif answer.busy:
        give_up(builder, turned(ticket), Reason(code="worker_busy", message=said))
    elif answer.refused:
        refusing = {**ticket.refused_by, other.worker_id: answer.registration}
        kept = dict(list(refusing.items())[-EXCLUDED_KEPT:])
        give_up(builder, turned(ticket).but(refused_by=kept), Reason(code="worker_refused", message=said))
    elif answer.suspended:
        message = f"worker {other.worker_id} gets nothing now: {answer.detail}"
        give_up(builder, turned(ticket), Reason(code="worker_suspended", message=message))
    elif builder.now - other.assigned_at >= builder.context.rules.unreachable:
        _not_reached(builder, ticket, other, answer.detail or f"it answered {answer.status}")


def other_overdue(builder: StepBuilder, ticket: Ticket) -> Ticket:
    """Apply the rule for the other attempt of a ticket, if its time has come, and return the ticket."""
    other, rules = other_of(ticket), builder.context.rules
    if other is None or other.until is None or other.until > builder.now:
        return ticket
    if other.acknowledged_at is None and _asks(ticket, other):
        waited = rules.unreachable.total_seconds()
        message = f"worker {other.worker_id} has not asked for it within {waited:g} s"
        give_up(builder, turned(ticket), Reason(code=NOT_ASKED_FOR, message=message))
    elif other.acknowledged_at is None and builder.now - other.assigned_at >= rules.unreachable:
        _not_reached(builder, ticket, other, "it has not answered")
    elif other.acknowledged_at is None:
        again = builder.change_ticket(ticket, hedge=other.but(until=builder.now + rules.redeliver))
        builder.deliver(again, other.worker_id, other.attempt)
    elif (at := spared_until(builder)) is not None:
        builder.change_ticket(ticket, hedge=other.but(until=at))
    else:
        builder.deliver(ticket, other.worker_id, other.attempt, cancelled=True)
        its = turned(ticket)
        give_up(builder, its, silent_since(its, builder.now))
    return builder.latest(ticket)


def spared_until(builder: StepBuilder) -> datetime | None:
    """Return until when no attempt times out, as the platform was down and has heard of none; None when any may."""
    context = builder.context
    at = None if context.up_since is None else context.up_since + context.rules.grace
    return at if at is not None and builder.now < at else None


def silent_since(ticket: Ticket, now: datetime) -> Reason:
    """Return why the attempt that the row of a ticket names is over when its time is."""
    since = format_time(ticket.acknowledged_at or now)
    code, waited = "timed_out", f"within {milliseconds(ticket.timeout)} ms of {since}"
    if ticket.acknowledged_at is not None and now < add_time(ticket.acknowledged_at, ticket.timeout):
        code, waited = "heartbeat_lost", f"nor given a sign of life within {ticket.heartbeat_timeout_ms} ms"
    return Reason(code=code, message=f"worker {ticket.worker_id} has not reported the end {waited}")


def _not_reached(builder: StepBuilder, ticket: Ticket, other: Hedge, detail: str) -> None:
    """End an attempt whose worker may have got it all the same."""
    builder.deliver(ticket, other.worker_id, other.attempt, cancelled=True)
    message = f"worker {other.worker_id} could not be reached: {detail}"
    give_up(builder, turned(ticket), Reason(code="worker_unreachable", message=message))


def _asks(ticket: Ticket, other: Hedge) -> bool:
    pulling = [one for one in ticket.candidates if one.delivery is AssignmentMode.PULL]
    return other.worker_id in {one.worker_id for one in pulling}
