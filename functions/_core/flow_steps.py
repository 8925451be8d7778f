"""How outcomes move a flow: C1, C2, C6, the deadline, cancellation. One function for each outcome."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from functions._core.audits import ActionRecord, AuditRecord
from functions._core.draft import Draft, bounded
from functions._core.machine import ENDED_FLOWS, FlowTrigger, TicketTrigger
from functions._core.models import Reason, Ticket
from functions._core.outcomes import (
    Broke,
    CancelRequested,
    DeadlinePassed,
    Generated,
    NothingHappened,
    Refused,
    Settled,
    TelemetryKept,
    TelemetryTaken,
    Validated,
    WokenEarly,
)
from functions._core.values import FlowStatus, Outcome, TicketStatus, Waiting, dataref, format_time, name_uuid

CHAIN: dict[FlowStatus, str] = {
    FlowStatus.VALIDATING: "decision.consolidated",
    FlowStatus.GENERATING: "plan.validated",
}
"""The event that a status waits to see handled; it is sent again as long as nothing happens."""


def validated(draft: Draft, outcome: Validated) -> None:
    """C1 is done: C2 is asked for the tickets."""
    if draft.flow.status is not FlowStatus.VALIDATING:
        return
    _audit(draft, outcome, valid=True, errors=())
    deadline = outcome.sla_deadline
    draft.move_flow(
        FlowTrigger.VALIDATED,
        "plan.validated",
        detail={
            "tasks": outcome.tasks,
            "levels": outcome.levels,
            "critical_path_ms": outcome.critical_path_ms,
        },
        plan_id=outcome.plan_id,
        intent_id=outcome.intent_id,
        correlation_id=outcome.correlation_id or draft.flow.correlation_id,
        priority=outcome.priority,
        risk_band=outcome.risk_band,
        sla_deadline=deadline,
        critical_path_ms=outcome.critical_path_ms,
        warnings=outcome.warnings[:20],
        next_wakeup_at=min(draft.now + draft.situation.rules.reemit_after(0), deadline),
    )
    _emit_chain(draft)


def refused(draft: Draft, outcome: Refused) -> None:
    """C1 has refused: the flow ends REJECTED with every reason."""
    if draft.flow.status is not FlowStatus.VALIDATING:
        return
    _audit(draft, outcome, valid=False, errors=outcome.reasons)
    draft.change_flow(plan_id=outcome.plan_id, intent_id=outcome.intent_id, warnings=outcome.warnings[:20])
    draft.note(
        "plan.rejected",
        cause="validation",
        detail={"reasons": [r.model_dump(exclude_none=True) for r in bounded(outcome.reasons)]},
    )
    draft.end(FlowTrigger.REFUSED, Outcome.REJECTED, *outcome.reasons)


def generated(draft: Draft, outcome: Generated) -> None:
    """C2 is done: the tickets without dependencies are ready."""
    if draft.flow.status is not FlowStatus.GENERATING:
        return
    draft.add_tickets(outcome.tickets)
    draft.move_flow(
        FlowTrigger.GENERATED,
        "tickets.generated",
        detail={"tickets": len(outcome.tickets)},
        tickets_generated=len(outcome.tickets),
        next_wakeup_at=draft.flow.sla_deadline,
    )
    draft.ready(ticket for ticket in outcome.tickets if ticket.open_dependencies == 0)


def settled(draft: Draft, outcome: Settled) -> None:
    """All tickets have ended: the flow has succeeded when all are COMPLETED."""
    if draft.flow.status is not FlowStatus.EXECUTING:
        return
    tally = outcome.tally
    failed, cancelled = tally.get(TicketStatus.FAILED, 0), tally.get(TicketStatus.CANCELLED, 0)
    if failed + cancelled == 0:
        draft.end(FlowTrigger.SETTLED, Outcome.COMPLETED, tally=tally)
        return
    message = f"{failed} of {draft.flow.tickets_generated} tickets failed, {cancelled} were cancelled because of them"
    draft.end(FlowTrigger.SETTLED, Outcome.FAILED, Reason(code="ticket_failed", message=message), tally=tally)


def cancel_requested(draft: Draft, outcome: CancelRequested) -> None:
    """A person has stopped the flow: what is live is cancelled, what runs is told."""
    if draft.flow.outcome is not None:
        return
    why = Reason(code="cancelled", message=f"cancelled by {outcome.requested_by}: {outcome.reason}")
    cancel_all(draft, outcome.live, why)
    draft.audit(
        ActionRecord(
            audit_id=name_uuid(draft.flow.flow_id, "cancellation"),
            flow_id=draft.flow.flow_id,
            action="cancel_flow",
            target=draft.flow.flow_id,
            who=outcome.requested_by,
            why=outcome.reason,
            at=draft.now,
        )
    )
    draft.end(FlowTrigger.CANCELLED, Outcome.CANCELLED, why, tally=recount(draft, outcome.tally))


def deadline_passed(draft: Draft, outcome: DeadlinePassed) -> None:
    """The SLA is broken: the flow ends TIMED_OUT, what is live is cancelled."""
    flow = draft.flow
    if flow.outcome is not None:
        return
    draft.note("sla.violated", cause=FlowTrigger.EXPIRED, detail={"sla_deadline": format_time(flow.sla_deadline)})
    why = Reason(
        code="sla_timeout",
        message=f"the deadline passed while the flow was {flow.status} with {len(outcome.live)} tickets not ended",
    )
    cancel_all(draft, outcome.live, why)
    draft.end(FlowTrigger.EXPIRED, Outcome.TIMED_OUT, why, tally=recount(draft, outcome.tally))


def cancel_all(draft: Draft, live: Iterable[Ticket], why: Reason) -> None:
    """Cancel tickets, telling their workers; one that only lacked a slot has failed for want of capacity."""
    for ticket in live:
        trigger, kind, reason = TicketTrigger.CANCEL, "ticket.cancelled", why
        if ticket.waiting is Waiting.SLOT:
            message = "every capable worker was busy until the flow ended"
            trigger, kind = TicketTrigger.FAIL, "ticket.failed"
            reason = Reason(code="no_capacity", message=message)
        ended = draft.move_ticket(ticket, trigger, kind, cause=reason.code, **ending(draft.now, reason))
        if ticket.worker_id is not None:
            draft.deliver(ended, ticket.worker_id, ticket.attempt, cancelled=True)


def ending(now: datetime, reason: Reason | None = None) -> dict[str, Any]:
    """Return what every ticket gets at its end."""
    changes: dict[str, Any] = {
        "completed_at": now,
        "waiting": None,
        "waiting_since": None,
        "next_wakeup_at": None,
    }
    if reason is not None:
        changes |= {"reason": reason, "error_message": reason.message}
    return changes


def telemetry_taken(draft: Draft, _outcome: TelemetryTaken) -> None:
    """C6 is done: the flow reaches the end status that its outcome names."""
    _finish(draft, FlowTrigger.PUBLISHED, published=True)


def telemetry_kept(draft: Draft, outcome: TelemetryKept) -> None:
    """The sink is away: telemetry waits in the buffer, the flow ends all the same."""
    if draft.flow.status is FlowStatus.PUBLISHING:
        draft.buffer(outcome.events)
    _finish(draft, FlowTrigger.BUFFERED, published=False)


def nothing_happened(draft: Draft, _outcome: NothingHappened) -> None:
    """Send the event of the present status again and wait twice as long."""
    flow = draft.flow
    if flow.status not in CHAIN:
        return
    phase = flow.phase.but(emissions=flow.phase.emissions + 1)
    wait = draft.situation.rules.reemit_after(phase.emissions)
    draft.change_flow(phases=(*flow.phases[:-1], phase), next_wakeup_at=min(draft.now + wait, flow.sla_deadline))
    draft.note(
        "flow.redriven",
        cause="no effect so far",
        detail={"event": CHAIN[flow.status], "times": phase.emissions},
    )
    _emit_chain(draft)


def woken_early(draft: Draft, _outcome: WokenEarly) -> None:
    """Write the flow again: that sets the wake-up that was claimed too early."""
    if draft.flow.next_wakeup_at is not None:
        draft.change_flow()


def broke(draft: Draft, outcome: Broke) -> None:
    """A step has failed for good: the flow ends FAILED. What has no such edge waits for its deadline instead."""
    if draft.flow.status in CHAIN:
        draft.end(FlowTrigger.BROKEN, Outcome.FAILED, outcome.reason)


def _finish(draft: Draft, trigger: FlowTrigger, *, published: bool) -> None:
    if draft.flow.status in ENDED_FLOWS or draft.flow.outcome is None:
        return
    draft.move_flow(
        trigger,
        f"flow.{draft.flow.outcome.lower()}",
        detail={"telemetry_published": published},
        ended_at=draft.now,
        telemetry_published=published,
        next_wakeup_at=None,
    )


def _emit_chain(draft: Draft) -> None:
    flow = draft.flow
    data = {"flow_id": flow.flow_id, "decision_id": flow.decision_id, "plan_id": flow.plan_id}
    # The decision itself stays in the store.
    where = {"dataref": dataref(flow.flow_id)} if flow.status is FlowStatus.VALIDATING else {}
    draft.emit(CHAIN[flow.status], data, **where)


def recount(draft: Draft, before: Mapping[str, int]) -> dict[str, int]:
    """Return the counts by status with this draft's changes, given those of all tickets `before` it."""
    tally = Counter(before)
    for was, now in draft.moves():
        tally[was] -= 1
        tally[now] += 1
    return {status: number for status, number in tally.items() if number}


def _audit(draft: Draft, outcome: Validated | Refused, *, valid: bool, errors: tuple[Reason, ...]) -> None:
    flow = draft.flow
    draft.audit(
        AuditRecord(
            audit_id=name_uuid(flow.flow_id, "validation"),
            flow_id=flow.flow_id,
            decision_id=flow.decision_id,
            plan_id=outcome.plan_id,
            valid=valid,
            errors=errors,
            warnings=outcome.warnings,
            checked_at=draft.now,
            schema_version=outcome.schema_version,
            content_hash=flow.content_hash,
        )
    )
