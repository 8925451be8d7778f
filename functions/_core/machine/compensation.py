"""The compensation of a flow: compensations are made, and the end of each is an end of the ticket that it undoes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from functions._core.machine.closing import cancel_all, recount, undone
from functions._core.machine.incidents import raise_incident
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import FlowTrigger, TicketTrigger
from functions._core.planning.slack import wakeup_of
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import FlowStatus, add_time

NOT_COMPENSATED = "not_compensated"
"""The reason of a ticket whose work should have been undone and stands."""


@dataclass(frozen=True, slots=True)
class CompensationPlanned:
    """C5: the compensations, and the tickets whose work they undo."""

    compensations: Sequence[Ticket]
    originals: Sequence[Ticket]
    parents: Sequence[Ticket] = ()
    """Tickets with children among the originals: they are not whole any more, so that a redrive does them again."""

    def apply(self, builder: StepBuilder) -> None:
        """C5: the compensations exist; those without dependencies are ready."""
        if builder.flow.status is not FlowStatus.COMPENSATING or builder.flow.compensations is not None:
            return
        if not self.compensations:
            undone(builder, FlowTrigger.COMPENSATED, builder.flow.tally)
            return
        limit = add_time(builder.flow.phase.entered_at, builder.context.rules.compensation)
        soon = builder.now + builder.context.rules.reemit_after(0)
        made = [t.but(until=limit if t.open_dependencies else soon) for t in self.compensations]
        builder.add_tickets(t.but(next_wakeup_at=wakeup_of(t, builder.flow)) for t in made)
        by_original = {t.compensates: t.ticket_id for t in made}
        for original in self.originals:
            builder.move_ticket(
                original,
                TicketTrigger.COMPENSATE,
                "ticket.compensation_planned",
                compensation_ticket_id=by_original[original.ticket_id],
            )
        for parent in self.parents:
            moved = builder.move_ticket(parent, TicketTrigger.COMPENSATE, "ticket.compensation_planned")
            builder.move_ticket(moved, TicketTrigger.UNDONE, "ticket.compensated")
        builder.change_flow(compensations=len(made) + len(self.parents), next_wakeup_at=limit)
        builder.note("compensation.planned", cause=TicketTrigger.COMPENSATE, detail={"tickets": len(made)})
        builder.ready(t for t in made if t.open_dependencies == 0)


def compensated(builder: StepBuilder, compensation: Ticket, around: RelatedTickets) -> None:
    """Record that the work which a compensation undoes is undone."""
    original = around.undone.get(compensation.compensates or "")
    if original is not None:
        builder.move_ticket(builder.latest(original), TicketTrigger.UNDONE, "ticket.compensated")


def not_compensated(builder: StepBuilder, compensation: Ticket, around: RelatedTickets, why: Reason) -> None:
    """Record that the work which a compensation should have undone stands."""
    original = around.undone.get(compensation.compensates or "")
    if original is None:
        return
    reason = Reason(code=NOT_COMPENSATED, message=f"its work stands: {why.message}")
    builder.move_ticket(
        builder.latest(original),
        TicketTrigger.NOT_UNDONE,
        "ticket.failed",
        cause=reason.code,
        reason=reason,
        error_message=reason.message,
    )


@dataclass(frozen=True, slots=True)
class CompensationOverdue:
    """SLA: undoing has taken as long as it may; `undone` are the tickets that live compensations undo."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]
    undone: Mapping[str, Ticket]

    def apply(self, builder: StepBuilder) -> None:
        """SLA: undoing has taken as long as it may; work that is not undone stands, and an incident says so."""
        if builder.flow.status is not FlowStatus.COMPENSATING:
            return
        hours = builder.context.rules.compensation.total_seconds() / 3600
        why = Reason(code="compensation_timeout", message=f"undoing was given up after {hours:g} hours")
        cancel_all(builder, self.live, why, late=True)
        around = RelatedTickets(undone=self.undone)
        for compensation in self.live:
            not_compensated(builder, compensation, around, why)
        stands = [t.ticket_id for t in self.undone.values()]
        raise_incident(builder, IncidentType.SLA_VIOLATION, [why.message], stands, severity=Severity.CRITICAL)
        undone(builder, FlowTrigger.GIVEN_UP, recount(builder, self.tally))
