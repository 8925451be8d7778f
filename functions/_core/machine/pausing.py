"""How a pause ends: the flow has as much time left as before it, and so have its tickets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from functions._core.machine.closing import Settled, executing_wakeup
from functions._core.machine.flow import CHAIN, emit_again
from functions._core.machine.releasing import readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import FlowTrigger
from functions._core.planning.slack import deadline_at
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting, add_time, format_time


@dataclass(frozen=True, slots=True)
class PauseOver:
    """SLA: a pause has lasted as long as it may."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]

    def apply(self, builder: StepBuilder) -> None:
        """SLA: a pause has lasted as long as it may; the flow continues automatically."""
        if builder.flow.status is FlowStatus.PAUSED:
            go_on(builder, FlowTrigger.LAPSED, self.live, self.tally, {})


def go_on(
    builder: StepBuilder,
    trigger: FlowTrigger,
    live: Sequence[Ticket],
    tally: Mapping[str, int],
    detail: Mapping[str, Any],
) -> None:
    """End a pause: the flow has as much time left as before it; tickets that could not be assigned are ready."""
    deadline = deadline_at(builder.flow, builder.now)
    shift = deadline - builder.flow.sla_deadline
    told = {**detail, "sla_deadline": format_time(deadline)}
    builder.move_flow(trigger, "flow.resumed", detail=told, back=None, sla_deadline=deadline)
    if builder.flow.status in CHAIN:
        emit_again(builder)
        return
    builder.change_flow(next_wakeup_at=executing_wakeup(builder))
    shifted = [_later(builder, ticket, shift) for ticket in live]
    builder.ready(ticket for ticket in shifted if ticket.waiting is Waiting.DISCOVERY)
    if not live:
        Settled(tally).apply(builder)


def _later(builder: StepBuilder, ticket: Ticket, shift: timedelta) -> Ticket:
    """Move a ticket's share of the SLA by the time for which the flow stood."""
    changes: dict[str, Any] = {
        "sla": ticket.sla.but(deadline=add_time(ticket.sla.deadline, shift)),
        "latest_start": add_time(ticket.latest_start, shift),
        "late": False,
        "until": ticket.until,
    }
    if ticket.status is TicketStatus.PENDING:
        if ticket.open_dependencies or ticket.waiting is Waiting.TURN:
            changes["until"] = builder.flow.sla_deadline
        elif ticket.waiting is not Waiting.RETRY or (ticket.until or builder.now) <= builder.now:
            changes |= {"emissions": ticket.emissions + 1, "ready_at": builder.now, **readied(builder)}
    return builder.change_ticket(ticket, **changes)
