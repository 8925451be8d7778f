"""Waits that stop the clock of the SLA: the deadline moves by the time of the wait, and back by what was not used.

The deadline is a moment at all times, so whatever compares it with the clock is right also during such a wait. Waits at
the same time count once. A deadline that the decision gave as a moment never moves.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._core.machine.closing import executing_wakeup
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, TicketStatus, add_time

WAITS_KEPT = 100
"""Waits at the same time for which the deadline moves: a bound on the flow's row."""


def stop_clock(builder: StepBuilder, ticket: Ticket, until: datetime, live: Sequence[Ticket]) -> None:
    """Move the deadline of the flow, and of its `live` tickets, by a wait that lasts up to `until`."""
    waits = builder.flow.clock_waits
    if len(waits) >= WAITS_KEPT:
        return
    covered = max((builder.now, *waits.values()))
    builder.change_flow(clock_waits={**waits, ticket.ticket_id: until})
    _shift(builder, max(timedelta(), until - covered), live)


def start_clock(builder: StepBuilder, ticket: Ticket, live: Sequence[Ticket]) -> None:
    """Move the deadline back by the part of a wait that was not used."""
    waits = dict(builder.flow.clock_waits)
    until = waits.pop(ticket.ticket_id, None)
    if until is None:
        return
    builder.change_flow(clock_waits=waits)
    before, after = max((until, *waits.values())), max((builder.now, *waits.values()))
    _shift(builder, -max(timedelta(), before - after), live)


def _shift(builder: StepBuilder, shift: timedelta, live: Sequence[Ticket]) -> None:
    flow = builder.flow
    deadline = add_time(flow.sla_deadline, shift)
    deadline = min(deadline, flow.sla_limit or deadline)
    shift = deadline - flow.sla_deadline
    if not shift:
        return
    builder.change_flow(sla_deadline=deadline)
    if builder.flow.status is FlowStatus.EXECUTING:
        builder.change_flow(next_wakeup_at=executing_wakeup(builder))
    for ticket in map(builder.latest, live):
        if ticket.live:
            builder.change_ticket(
                ticket,
                sla=ticket.sla.but(deadline=add_time(ticket.sla.deadline, shift)),
                latest_start=add_time(ticket.latest_start, shift),
                until=deadline if ticket.status is TicketStatus.PENDING and ticket.open_dependencies else ticket.until,
            )
