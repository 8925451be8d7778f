"""How outcomes move a flow along the chain: C1, C2, C6, and what is sent again. One function for each outcome."""

from typing import Any

from functions._core.machine.closing import executing_wakeup, risk
from functions._core.machine.incidents import raise_incident
from functions._core.machine.outcomes import (
    Broke,
    Generated,
    NothingHappened,
    Refused,
    TelemetryKept,
    TelemetryTaken,
    Validated,
    WokenEarly,
)
from functions._core.machine.step_builder import Draft, bounded
from functions._core.machine.tables import FlowTrigger
from functions._core.planning.slack import earliest, limit_of
from functions._core.records.audits import AuditRecord, IncidentType
from functions._core.records.models import Reason
from functions._core.records.values import FlowStatus, Outcome, add_time, dataref, name_uuid

CHAIN: dict[FlowStatus, str] = {
    FlowStatus.VALIDATING: "decision.consolidated",
    FlowStatus.GENERATING: "plan.validated",
    FlowStatus.COMPENSATING: "compensation.requested",
}
"""The event that a status waits to see handled; it is sent again as long as nothing happens."""


def validated(draft: Draft, outcome: Validated) -> None:
    """C1 is done: C2 is asked for the tickets, or a person for approval."""
    if draft.flow.status is not FlowStatus.VALIDATING:
        return
    _audit(draft, outcome, valid=True, errors=())
    deadline = outcome.sla_deadline
    detail: dict[str, Any] = {
        "tasks": outcome.tasks,
        "levels": outcome.levels,
        "critical_path_ms": outcome.critical_path_ms,
    }
    trigger, kind = FlowTrigger.VALIDATED, "plan.validated"
    wakeup = earliest(draft.now + draft.situation.rules.reemit_after(0), deadline)
    if outcome.approval:
        trigger, kind = FlowTrigger.APPROVAL_NEEDED, "flow.approval_requested"
        wakeup = earliest(add_time(draft.now, draft.situation.rules.approval), outcome.sla_limit)
        detail["reasons"] = [r.model_dump(exclude_none=True) for r in outcome.approval]
    draft.move_flow(
        trigger,
        kind,
        detail=detail,
        plan_id=outcome.plan_id,
        intent_id=outcome.intent_id,
        correlation_id=outcome.correlation_id or draft.flow.correlation_id,
        priority=outcome.priority,
        risk_band=outcome.risk_band,
        sla_deadline=deadline,
        sla_limit=outcome.sla_limit,
        critical_path_ms=outcome.critical_path_ms,
        reasons=outcome.approval,
        warnings=outcome.warnings[:20],
        next_wakeup_at=wakeup,
    )
    if outcome.impossible is not None:
        risk(draft, outcome.impossible)
    if not outcome.approval:
        emit_chain(draft)


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
        compensable=sum(ticket.undo is not None for ticket in outcome.tickets),
    )
    draft.change_flow(next_wakeup_at=executing_wakeup(draft))
    draft.ready(ticket for ticket in outcome.tickets if ticket.open_dependencies == 0)


def telemetry_taken(draft: Draft, outcome: TelemetryTaken) -> None:
    """C6 is done: the flow reaches the end status that its outcome names."""
    _finish(draft, FlowTrigger.PUBLISHED, outcome)


def telemetry_kept(draft: Draft, outcome: TelemetryKept) -> None:
    """The sink is away: telemetry waits in the buffer, the flow ends all the same."""
    if draft.flow.status is FlowStatus.PUBLISHING:
        draft.buffer(outcome.events)
    _finish(draft, FlowTrigger.BUFFERED, outcome, waiting=tuple(event.id for event in outcome.events))


def nothing_happened(draft: Draft, _outcome: NothingHappened) -> None:
    """Send the event of the present status again and wait twice as long."""
    flow = draft.flow
    limit = limit_of(flow, draft.situation.rules)
    if flow.status not in CHAIN or limit is None:
        return
    phase = flow.phase.but(emissions=flow.phase.emissions + 1)
    wait = draft.situation.rules.reemit_after(phase.emissions)
    draft.change_flow(phases=(*flow.phases[:-1], phase), next_wakeup_at=min(draft.now + wait, limit))
    draft.note(
        "flow.reemitted",
        cause="no effect so far",
        detail={"event": CHAIN[flow.status], "times": phase.emissions},
    )
    emit_chain(draft)


def emit_again(draft: Draft) -> None:
    """Send the event of a status that the flow has come back to: another one than the first time."""
    flow = draft.flow
    sent = sum(1 + phase.emissions for phase in flow.phases[:-1] if phase.status is flow.status)
    wakeup = min(draft.now + draft.situation.rules.reemit_after(0), flow.sla_deadline)
    draft.change_flow(phases=(*flow.phases[:-1], flow.phase.but(emissions=sent)), next_wakeup_at=wakeup)
    emit_chain(draft)


def woken_early(draft: Draft, _outcome: WokenEarly) -> None:
    """Write the flow again: that sets the wake-up that was claimed too early."""
    if draft.flow.next_wakeup_at is not None:
        draft.change_flow()


def broke(draft: Draft, outcome: Broke) -> None:
    """A step has failed for good: the flow ends FAILED. What has no such edge waits for its deadline instead."""
    if draft.flow.status in CHAIN and draft.flow.outcome is None:
        draft.end(FlowTrigger.BROKEN, Outcome.FAILED, outcome.reason)


def _finish(
    draft: Draft, trigger: FlowTrigger, outcome: TelemetryTaken | TelemetryKept, waiting: tuple[str, ...] = ()
) -> None:
    if draft.flow.status is not FlowStatus.PUBLISHING or draft.flow.outcome is None:
        return
    if outcome.findings:
        raise_incident(draft, IncidentType.INCONSISTENCY, outcome.findings, [])
    published = trigger is FlowTrigger.PUBLISHED and not outcome.refused
    draft.move_flow(
        trigger,
        f"flow.{draft.flow.outcome.lower()}",
        detail={"telemetry_published": published}
        | ({"telemetry_refused": len(outcome.refused)} if outcome.refused else {}),
        ended_at=draft.now,
        telemetry_published=published,
        telemetry_waiting=waiting,
        telemetry_refused=outcome.refused,
        next_wakeup_at=None,
    )


def emit_chain(draft: Draft) -> None:
    """Send the event of the flow's present status."""
    flow = draft.flow
    data = {"flow_id": flow.flow_id, "decision_id": flow.decision_id, "plan_id": flow.plan_id}
    if flow.status is FlowStatus.COMPENSATING:
        data = {"flow_id": flow.flow_id, "outcome": flow.outcome}
    # The decision itself stays in the store.
    where = {"dataref": dataref(flow.flow_id)} if flow.status is FlowStatus.VALIDATING else {}
    draft.emit(CHAIN[flow.status], data, **where)


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
