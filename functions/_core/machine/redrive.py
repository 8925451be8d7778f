"""Redrive: a flow that did not succeed continues where it failed, with the tickets to do again and a new deadline."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from functions._core.errors import Rejected
from functions._core.events.commands import Command, RetryRequest, given_by, refusal
from functions._core.machine.closing import Settled, executing_wakeup
from functions._core.machine.compensation import NOT_COMPENSATED
from functions._core.machine.ending import taken_back
from functions._core.machine.flow import emit_again
from functions._core.machine.releasing import may_fail, readied, skipped_with
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import ENDED_FLOWS, FLOW_TRANSITIONS, FlowTrigger, TicketTrigger
from functions._core.planning.graph import Work, schedule
from functions._core.planning.replan import DONE, failed_as_may_be, lacking_followers, left_out
from functions._core.planning.slack import time_given
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting, add_time, format_time

TO_DO_AGAIN = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED, TicketStatus.COMPENSATED})
"""Statuses of tickets whose work is not there: a redrive does them again."""


WAITED = frozenset({"dependency_failed", "dependency_cancelled"})
"""Reasons of a ticket that was cancelled because of another one."""


def new_deadline(flow: Flow, sla_seconds: float | None, now: datetime) -> datetime:
    """Return the deadline of a redriven flow: the time that the command names, or as much as it had before."""
    return add_time(now, timedelta(seconds=sla_seconds) if sla_seconds else time_given(flow))


def to_redo(tickets: Sequence[Ticket], now: datetime, deadline: datetime) -> Sequence[Ticket]:
    """Return the tickets of the plan that have to be done again, with new shares of the time up to `deadline`."""
    again = {
        t.ticket_id: t
        for t in tickets
        if t.compensates is None
        and t.status in TO_DO_AGAIN
        and not work_stands(t)
        and not left_out(t)
        # Children are done again with their parent; a failure that counts as done is not tried again.
        and t.parent is None
        and not failed_as_may_be(t)
    }
    skipped = {t.ticket_id for t in tickets if t.status is TicketStatus.SKIPPED and t.parent is None}
    for t in sorted(tickets, key=attrgetter("level")):  # a task that was skipped may be wanted now
        stays = skipped_with(t) and any(one in skipped and one not in again for one in t.dependencies)
        if t.ticket_id in skipped and not stays and any(one in again for one in t.dependencies):
            again[t.ticket_id] = t
    return _scheduled(again, {i: sum(d in again for d in t.dependencies) for i, t in again.items()}, now, deadline)


def to_retry(ticket: Ticket, tickets: Sequence[Ticket], now: datetime, deadline: datetime) -> Sequence[Ticket]:
    """Return a ticket that FAILED while its flow goes on, and the tickets that were cancelled for that alone.

    `tickets` are all of the flow, in the order of the plan.
    """
    by_id, again = {other.ticket_id: other for other in tickets}, {ticket.ticket_id: ticket}

    def comes(ticket_id: str) -> bool:
        ticket = by_id[ticket_id]
        return ticket_id in again or ticket.live or ticket.status in DONE or failed_as_may_be(ticket)

    for other in tickets:
        waited = other.status is TicketStatus.CANCELLED and other.reason is not None and other.reason.code in WAITED
        # Children are done again with their parent.
        if waited and other.parent is None and all(map(comes, other.dependencies)):
            again[other.ticket_id] = other

    def waited_for(ticket_id: str, by: Ticket) -> bool:
        return ticket_id in again or (by_id[ticket_id].live and by.ticket_id in by_id[ticket_id].dependants)

    waits_for = {i: sum(waited_for(d, t) for d in t.dependencies) for i, t in again.items()}
    return _scheduled(again, waits_for, now, deadline)


def _scheduled(
    again: Mapping[str, Ticket], waits_for: Mapping[str, int], now: datetime, deadline: datetime
) -> Sequence[Ticket]:
    """Return tickets with new shares of the time up to `deadline`; `waits_for` counts their open dependencies."""
    tasks = [Work(i, tuple(d for d in t.dependencies if d in again), t.estimated_duration_ms) for i, t in again.items()]
    timings = schedule(tasks, now, deadline).timings if tasks else {}
    return [
        ticket.but(
            open_dependencies=waits_for[ticket_id],
            latest_start=timings[ticket_id].latest_start,
            tail_ms=timings[ticket_id].tail_ms,
            sla=ticket.sla.but(deadline=timings[ticket_id].latest_finish),
        )
        for ticket_id, ticket in again.items()
    ]


def work_stands(ticket: Ticket) -> bool:
    """Whether the ticket FAILED only because its work could not be undone: it is done, and must not be done again."""
    failed = ticket.status is TicketStatus.FAILED and ticket.compensates is None
    return failed and ticket.reason is not None and ticket.reason.code == NOT_COMPENSATED


def redrive(
    builder: StepBuilder,
    command: Command,
    again: Sequence[Ticket],
    not_compensatable: Sequence[Ticket],
    deadline: datetime,
    *,
    retried: Ticket | None = None,
) -> bool:
    """Begin the flow again with the tickets `again`, by a new `deadline`; False when it has been redriven already.

    The work of `not_compensatable` could not be compensated: those tickets count as done. All retries are there again,
    but for a ticket that is `retried`: there this counts as one.
    """
    flow = builder.flow
    if flow.redrives and flow.outcome is None:
        return False
    if FlowTrigger.REDRIVEN not in FLOW_TRANSITIONS[flow.status]:
        allowed = ", ".join(status for status in sorted(ENDED_FLOWS) if FLOW_TRANSITIONS[status])
        raise refusal(f"flow {flow.flow_id} is {flow.status}; only flows that ended as {allowed} can be redriven")
    _reopen(builder, command, len(again), deadline)
    if builder.flow.status is FlowStatus.VALIDATING:
        emit_again(builder)
        return True
    builder.change_flow(next_wakeup_at=executing_wakeup(builder))
    for ticket in not_compensatable:
        builder.move_ticket(
            ticket,
            TicketTrigger.STANDS,
            "ticket.redriven",
            reason=None,
            error_message=None,
            compensation_ticket_id=None,
        )
    if not _do_again(builder, again, retried):
        Settled({TicketStatus.COMPLETED: builder.flow.tickets_generated}).apply(builder)
    return True


def redrive_ticket(
    builder: StepBuilder,
    ticket: Ticket,
    command: RetryRequest,
    again: Sequence[Ticket],
    not_compensatable: Sequence[Ticket],
    deadline: datetime,
    live: Sequence[Ticket] = (),
) -> bool:
    """Try a ticket that FAILED once more: its flow goes on with it, or is redriven if that has ended.

    `live` are the live tickets that those to be done `again` wait for: their ends must not pass unseen.
    Raises `Rejected`, status 409, code `no_retry_left`: the command has to say `force`.
    """
    if ticket.compensates is not None or work_stands(ticket):
        raise refusal(f"ticket {ticket.task_id} is about work that is done and was to be undone: look at it yourself")
    if ticket.parent is not None or may_fail(ticket):
        which = "belongs to a task with children" if ticket.parent is not None else "counts as done although it failed"
        raise refusal(f"ticket {ticket.task_id} {which}: redrive the flow, or that task, once it has ended")
    if not command.force and not (ticket.idempotent and ticket.retry_count < ticket.sla.max_retries):
        why = "has no retry left" if ticket.idempotent else "is not idempotent"
        raise Rejected(f"task {ticket.task_id} {why}: say force to try it again", code="no_retry_left", status=409)
    if builder.flow.outcome is not None:
        return redrive(builder, command, again, not_compensatable, deadline, retried=ticket)
    for other in live:
        builder.change_ticket(other)
    _do_again(builder, again, ticket)
    return True


def _do_again(builder: StepBuilder, again: Sequence[Ticket], retried: Ticket | None) -> bool:
    """Let tickets be PENDING again, and tell whether there are any."""
    retries = {} if retried is None else {retried.ticket_id: retried.retry_count + 1}
    again = _all_followers(builder, again)
    redriven = [
        builder.move_ticket(
            ticket,
            TicketTrigger.REDRIVE,
            "ticket.redriven",
            **blank(ticket, builder, retry_count=retries.get(ticket.ticket_id, 0)),
        )
        for ticket in again
    ]
    builder.ready(ticket for ticket in redriven if ticket.waiting is Waiting.DISCOVERY)
    return bool(redriven)


def _all_followers(builder: StepBuilder, again: Sequence[Ticket]) -> Sequence[Ticket]:
    """Return the tickets, each with all of them that depend on it."""
    lacking = lacking_followers(again)
    builder.rewrite(lacking)
    return [ticket.but(dependants=(*ticket.dependants, *lacking.get(ticket.ticket_id, ()))) for ticket in again]


def _reopen(builder: StepBuilder, command: Command, tickets: int, deadline: datetime) -> None:
    """Let the flow be as if it had not ended, with a new deadline."""
    flow = builder.flow
    builder.change_flow(
        back=FlowStatus.EXECUTING if flow.tickets_generated else FlowStatus.VALIDATING, redrives=flow.redrives + 1
    )
    builder.move_flow(
        FlowTrigger.REDRIVEN,
        "flow.redriven",
        detail={**given_by(command), "tickets": tickets, "sla_deadline": format_time(deadline)},
        back=None,
        outcome=None,
        reasons=(),
        tally={},
        announced=SlackState.ON_TRACK,
        compensations=None,
        telemetry_published=None,
        telemetry_waiting=(),
        telemetry_refused=(),
        ended_at=None,
        sla_deadline=deadline,
        sla_limit=None,
        clock_waits={},
    )


def blank(ticket: Ticket, builder: StepBuilder, *, retry_count: int) -> dict[str, Any]:
    """Return the changes of a ticket that is done again; its attempts count on, so that old reports stay old."""
    waits = {"waiting": Waiting.DEPENDENCIES, "waiting_since": builder.now, "until": builder.flow.sla_deadline}
    return {
        **taken_back(ticket),
        "excluded_workers": (),
        "refused_by": {},
        "retry_count": retry_count,
        "runs": ticket.runs + 1,
        "reason": None,
        "error_message": None,
        "completed_at": None,
        "actual_duration_ms": None,
        "output": None,
        "skipped": False,
        "perhaps_begun": False,
        "turn": None,
        "announced": SlackState.ON_TRACK,
        "late": False,
        "compensation_ticket_id": None,
        "emissions": ticket.emissions + 1,
        "ready_at": None if ticket.open_dependencies else builder.now,
        **(waits if ticket.open_dependencies else readied(builder)),
    }
