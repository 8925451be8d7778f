"""How a flow undoes what it did: compensations are made, and each end of one is an end of what it undoes."""

from functions._core.machine.closing import cancel_all, recount, undone
from functions._core.machine.incidents import raise_incident
from functions._core.machine.outcomes import CompensationOverdue, CompensationPlanned, Surroundings
from functions._core.machine.step_builder import Draft
from functions._core.machine.tables import FlowTrigger, TicketTrigger
from functions._core.planning.slack import wakeup_of
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import FlowStatus, add_time

NOT_COMPENSATED = "not_compensated"
"""The reason of a ticket whose work should have been undone and stands."""


def compensation_planned(draft: Draft, outcome: CompensationPlanned) -> None:
    """C5: the compensations exist; those that nothing comes before are ready."""
    if draft.flow.status is not FlowStatus.COMPENSATING or draft.flow.compensations is not None:
        return
    if not outcome.compensations:
        undone(draft, FlowTrigger.COMPENSATED, draft.flow.tally)
        return
    limit = add_time(draft.flow.phase.entered_at, draft.situation.rules.compensation)
    soon = draft.now + draft.situation.rules.reemit_after(0)
    made = [t.but(until=limit if t.open_dependencies else soon) for t in outcome.compensations]
    draft.add_tickets(t.but(next_wakeup_at=wakeup_of(t, draft.flow)) for t in made)
    by_original = {t.compensates: t.ticket_id for t in made}
    for original in outcome.originals:
        draft.move_ticket(
            original,
            TicketTrigger.COMPENSATE,
            "ticket.compensation_planned",
            compensation_ticket_id=by_original[original.ticket_id],
        )
    draft.change_flow(compensations=len(made), next_wakeup_at=limit)
    draft.note("compensation.planned", cause=TicketTrigger.COMPENSATE, detail={"tickets": len(made)})
    draft.ready(t for t in made if t.open_dependencies == 0)


def compensated(draft: Draft, compensation: Ticket, around: Surroundings) -> None:
    """Record that the work which a compensation undoes is undone."""
    original = around.undone.get(compensation.compensates or "")
    if original is not None:
        draft.move_ticket(draft.latest(original), TicketTrigger.UNDONE, "ticket.compensated")


def not_compensated(draft: Draft, compensation: Ticket, around: Surroundings, why: Reason) -> None:
    """Record that the work which a compensation should have undone stands."""
    original = around.undone.get(compensation.compensates or "")
    if original is None:
        return
    reason = Reason(code=NOT_COMPENSATED, message=f"its work stands: {why.message}")
    draft.move_ticket(
        draft.latest(original),
        TicketTrigger.NOT_UNDONE,
        "ticket.failed",
        cause=reason.code,
        reason=reason,
        error_message=reason.message,
    )


def compensation_overdue(draft: Draft, outcome: CompensationOverdue) -> None:
    """SLA: undoing has taken as long as it may; what is not undone stands, and somebody has to know."""
    if draft.flow.status is not FlowStatus.COMPENSATING:
        return
    hours = draft.situation.rules.compensation.total_seconds() / 3600
    why = Reason(code="compensation_timeout", message=f"undoing was given up after {hours:g} hours")
    cancel_all(draft, outcome.live, why, late=True)
    around = Surroundings(undone=outcome.undone)
    for compensation in outcome.live:
        not_compensated(draft, compensation, around, why)
    stands = [t.ticket_id for t in outcome.undone.values()]
    raise_incident(draft, IncidentType.SLA_VIOLATION, [why.message], stands, severity=Severity.CRITICAL)
    undone(draft, FlowTrigger.GIVEN_UP, recount(draft, outcome.tally))
