"""Redrive: a flow that did not succeed continues where it failed, with the tickets to do again and a new deadline."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._core.events.commands import RedriveRequest, given_by, refusal
from functions._core.machine.closing import Settled, executing_wakeup
from functions._core.machine.compensation import NOT_COMPENSATED
from functions._core.machine.ending import readied, taken_back
from functions._core.machine.flow import emit_again
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import ENDED_FLOWS, FLOW_TRANSITIONS, FlowTrigger, TicketTrigger
from functions._core.planning.graph import Work, schedule
from functions._core.planning.slack import time_given
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting, add_time, format_time

TO_DO_AGAIN = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED, TicketStatus.COMPENSATED})
"""Statuses of tickets whose work is not there: a redrive does them again."""


def new_deadline(flow: Flow, order: RedriveRequest, now: datetime) -> datetime:
    """Return the deadline of a redriven flow: the time that the command names, or as much as it had before."""
    return add_time(now, timedelta(seconds=order.sla_seconds) if order.sla_seconds else time_given(flow))


def to_redo(tickets: Sequence[Ticket], now: datetime, deadline: datetime) -> Sequence[Ticket]:
    """Return the tickets of the plan that have to be done again, with new shares of the time up to `deadline`."""
    again = {
        t.ticket_id: t for t in tickets if t.compensates is None and t.status in TO_DO_AGAIN and not work_stands(t)
    }
    tasks = [Work(i, tuple(d for d in t.dependencies if d in again), t.estimated_duration_ms) for i, t in again.items()]
    timings = schedule(tasks, now, deadline).timings if tasks else {}
    return [
        again[task.task_id].but(
            open_dependencies=len(task.dependencies),
            latest_start=timings[task.task_id].latest_start,
            tail_ms=timings[task.task_id].tail_ms,
            sla=again[task.task_id].sla.but(deadline=timings[task.task_id].latest_finish),
        )
        for task in tasks
    ]


def work_stands(ticket: Ticket) -> bool:
    """Whether the ticket FAILED only because its work could not be undone: it is done, and must not be done again."""
    failed = ticket.status is TicketStatus.FAILED and ticket.compensates is None
    return failed and ticket.reason is not None and ticket.reason.code == NOT_COMPENSATED


def redrive(
    builder: StepBuilder,
    command: RedriveRequest,
    again: Sequence[Ticket],
    not_compensatable: Sequence[Ticket],
    deadline: datetime,
) -> bool:
    """Begin the flow again with the tickets `again`, by a new `deadline`; False when it has been redriven already.

    The work of `not_compensatable` could not be compensated: those tickets count as done.
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
    redriven = [
        builder.move_ticket(ticket, TicketTrigger.REDRIVE, "ticket.redriven", **_blank(ticket, builder))
        for ticket in again
    ]
    builder.ready(ticket for ticket in redriven if not ticket.open_dependencies)
    if not redriven:
        Settled({TicketStatus.COMPLETED: builder.flow.tickets_generated}).apply(builder)
    return True


def _reopen(builder: StepBuilder, command: RedriveRequest, tickets: int, deadline: datetime) -> None:
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
    )


def _blank(ticket: Ticket, builder: StepBuilder) -> dict[str, Any]:
    """Return the changes of a ticket that is done again; its attempts count on, so that old reports stay old."""
    waits = {"waiting": Waiting.DEPENDENCIES, "waiting_since": builder.now, "until": builder.flow.sla_deadline}
    return {
        **taken_back(ticket),
        "excluded_workers": (),
        "refused_by": {},
        "retry_count": 0,
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
