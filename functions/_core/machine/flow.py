"""How outcomes move a flow along the chain: C1, C2, C6, and events that are sent again. One class for each outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from functions._core.events.data import DecisionStored, PlanValidated
from functions._core.events.envelope import CloudEvent
from functions._core.machine.closing import executing_wakeup, risk
from functions._core.machine.guarding import tell_of_plan
from functions._core.machine.incidents import raise_incident
from functions._core.machine.step_builder import StepBuilder, bounded
from functions._core.machine.tables import FlowTrigger
from functions._core.placement.limits import CONCURRENCY_LIMIT, over_limit
from functions._core.planning.slack import earliest, limit_of
from functions._core.records.audits import AuditRecord, IncidentType
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.policies import Beyond, BudgetVerdict, Concurrency
from functions._core.records.prediction import FlowPrediction
from functions._core.records.record import as_json
from functions._core.records.values import (
    FlowStatus,
    Outcome,
    Priority,
    RiskBand,
    Timestamp,
    add_time,
    name_uuid,
    stored_decision,
)
from functions._core.slo.admission import BUDGET_SPENT

CHAIN: dict[FlowStatus, str] = {
    FlowStatus.VALIDATING: "decision.consolidated",
    FlowStatus.GENERATING: "plan.validated",
    FlowStatus.COMPENSATING: "compensation.requested",
}
"""The event that a status waits to see handled; it is sent again as long as nothing happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """C1: the plan can be done.

    `approval` says why a person has to agree first, `impossible` why its estimates do not fit into the SLA, `verdict`
    what an admission policy makes of it.
    """

    plan_id: str
    intent_id: str
    correlation_id: str | None
    priority: Priority
    risk_band: RiskBand
    sla_deadline: Timestamp
    sla_limit: Timestamp | None = None
    tenant_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    concurrency: Concurrency | None = None
    approval: tuple[Reason, ...] = ()
    verdict: BudgetVerdict | None = None
    impossible: Reason | None = None
    tasks: int
    levels: int
    critical_path_ms: int
    prediction: FlowPrediction | None = None
    schema_version: int
    warnings: tuple[Reason, ...]
    redundant_edges: tuple[str, ...] = ()
    duration_ms: float | None = None

    def apply(self, builder: StepBuilder) -> None:
        """C1 is done: C2 is asked for the tickets, or a person for approval."""
        if builder.flow.status is not FlowStatus.VALIDATING:
            return
        _audit(builder, self, valid=True, errors=())
        deadline = self.sla_deadline
        detail: dict[str, Any] = {
            "tasks": self.tasks,
            "levels": self.levels,
            "critical_path_ms": self.critical_path_ms,
        }
        if self.prediction is not None:
            detail["prediction"] = as_json(self.prediction)
        trigger, kind = FlowTrigger.VALIDATED, "plan.validated"
        wakeup = earliest(builder.now + builder.context.rules.reemit_after(0), deadline)
        if self.approval:
            trigger, kind = FlowTrigger.APPROVAL_NEEDED, "flow.approval_requested"
            wakeup = earliest(add_time(builder.now, builder.context.rules.approval), self.sla_limit)
            detail["reasons"] = [r.told for r in self.approval]
        builder.move_flow(
            trigger,
            kind,
            detail=detail,
            plan_id=self.plan_id,
            intent_id=self.intent_id,
            correlation_id=self.correlation_id or builder.flow.correlation_id,
            priority=self.priority,
            risk_band=self.risk_band,
            sla_deadline=deadline,
            sla_limit=self.sla_limit,
            critical_path_ms=self.critical_path_ms,
            prediction=self.prediction,
            tenant_id=self.tenant_id,
            labels=self.labels,
            concurrency=self.concurrency,
            budget_verdict=self.verdict,
            reasons=self.approval,
            warnings=self.warnings[:20],
            next_wakeup_at=wakeup,
        )
        tell_of_plan(builder, self.warnings)
        if self.impossible is not None:
            risk(builder, self.impossible)
        if not self.approval:
            emit_chain(builder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """C1: the decision or its plan cannot or must not be carried out; every reason is listed."""

    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...] = ()
    plan_id: str | None = None
    intent_id: str | None = None
    schema_version: int = 1
    duration_ms: float | None = None

    def apply(self, builder: StepBuilder) -> None:
        """C1 has refused: the flow ends REJECTED with every reason."""
        if builder.flow.status is not FlowStatus.VALIDATING:
            return
        _audit(builder, self, valid=False, errors=self.reasons)
        builder.change_flow(plan_id=self.plan_id, intent_id=self.intent_id, warnings=self.warnings[:20])
        builder.note(
            "plan.rejected",
            cause="validation",
            detail={"reasons": [r.told for r in bounded(self.reasons)]},
        )
        tell_of_plan(builder, self.reasons)
        builder.end(FlowTrigger.REFUSED, Outcome.REJECTED, *self.reasons)


@dataclass(frozen=True, slots=True)
class Generated:
    """C2: the tickets of the plan."""

    tickets: tuple[Ticket, ...]

    def apply(self, builder: StepBuilder) -> None:
        """C2 is done: the tickets without dependencies are ready."""
        if builder.flow.status is not FlowStatus.GENERATING:
            return
        builder.add_tickets(self.tickets)
        builder.move_flow(
            FlowTrigger.GENERATED,
            "tickets.generated",
            detail={"tickets": len(self.tickets)},
            tickets_generated=len(self.tickets),
            compensable=sum(ticket.undo is not None for ticket in self.tickets),
            reasons=(),
        )
        builder.change_flow(next_wakeup_at=executing_wakeup(builder))
        builder.ready(ticket for ticket in self.tickets if ticket.open_dependencies == 0)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """C2: the flow waits for a place, of all or of its key, or is refused; or a spent budget holds it."""

    reason: Reason

    def apply(self, builder: StepBuilder) -> None:
        """Say, once, why there are no tickets yet; a place that becomes free, or the wake-up, brings C2 here again."""
        flow = builder.flow
        if flow.status is not FlowStatus.GENERATING or flow.reasons == (self.reason,):
            return
        of_key = flow.concurrency if self.reason.code == CONCURRENCY_LIMIT else None
        if of_key is not None and of_key.beyond is Beyond.REFUSE:
            builder.end(FlowTrigger.REFUSED, Outcome.REJECTED, self.reason)
        else:
            builder.change_flow(reasons=(self.reason,))
            if held_until(builder.flow) is not None:
                wait = builder.context.rules.reemit_after(0)
                builder.change_flow(next_wakeup_at=_looked_at(builder, wait, limit_of(flow, builder.context.rules)))
            builder.note("flow.held_back", cause=self.reason.code, detail={"reason": self.reason.told})


@dataclass(frozen=True, slots=True)
class TelemetryTaken:
    """C6: the sink has all events but the `refused` ones, which are ids of dead letters.

    `findings` are the faults of the flow's records.
    """

    findings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def apply(self, builder: StepBuilder) -> None:
        """C6 is done: the flow reaches the end status that its outcome names."""
        _finish(builder, FlowTrigger.PUBLISHED, self)


@dataclass(frozen=True, slots=True)
class TelemetryKept:
    """C6: the sink is away; the events wait in the buffer. `findings` and `refused` as in `TelemetryTaken`."""

    events: tuple[CloudEvent, ...]
    findings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def apply(self, builder: StepBuilder) -> None:
        """The sink is away: telemetry waits in the buffer, the flow ends all the same."""
        if builder.flow.status is FlowStatus.PUBLISHING:
            builder.buffer(self.events)
        _finish(builder, FlowTrigger.BUFFERED, self, waiting=tuple(event.id for event in self.events))


class NothingHappened(NamedTuple):
    """SLA: an event of the flow's present status had no effect so far; it is sent again."""

    def apply(self, builder: StepBuilder) -> None:
        """Send the event of the present status again and wait twice as long."""
        flow = builder.flow
        limit = limit_of(flow, builder.context.rules)
        if flow.status not in CHAIN or limit is None:
            return
        phase = flow.phase.but(emissions=flow.phase.emissions + 1)
        wait = builder.context.rules.reemit_after(phase.emissions)
        builder.change_flow(phases=(*flow.phases[:-1], phase), next_wakeup_at=_looked_at(builder, wait, limit))
        if held_until(flow) is None:  # else C2 only looks at the budget again
            builder.note(
                "flow.reemitted",
                cause=flow.reasons[0].code if over_limit(flow) else "no effect so far",
                detail={"event": CHAIN[flow.status], "times": phase.emissions},
            )
        emit_chain(builder)


def held_until(flow: Flow) -> datetime | None:
    """Return until when a spent budget holds a flow at most; None where none holds it."""
    held = flow.status is FlowStatus.GENERATING and any(reason.code == BUDGET_SPENT for reason in flow.reasons)
    return flow.budget_verdict.until if held and flow.budget_verdict is not None else None


def _looked_at(builder: StepBuilder, wait: timedelta, limit: datetime | None) -> datetime | None:
    """Return when the flow is looked at again; one that a spent budget holds each minute, and when that is over."""
    until = held_until(builder.flow)
    if until is not None:
        wait = min(wait, builder.context.rules.freeze_look)
        wait = min(wait, until - builder.now) if until > builder.now else wait
    return earliest(builder.now + wait, limit)


def emit_again(builder: StepBuilder) -> None:
    """Send the event of a status that the flow has come back to: another one than the first time."""
    flow = builder.flow
    sent = sum(1 + phase.emissions for phase in flow.phases[:-1] if phase.status is flow.status)
    wakeup = min(builder.now + builder.context.rules.reemit_after(0), flow.sla_deadline)
    builder.change_flow(phases=(*flow.phases[:-1], flow.phase.but(emissions=sent)), next_wakeup_at=wakeup)
    emit_chain(builder)


class WokenEarly(NamedTuple):
    """SLA: the flow's wake-up fired before its time; it is only set again."""

    def apply(self, builder: StepBuilder) -> None:
        """Write the flow again: that sets the wake-up that was claimed too early."""
        if builder.flow.next_wakeup_at is not None:
            builder.change_flow()


@dataclass(frozen=True, slots=True)
class Broke:
    """A function failed on its event so often that its step is given up."""

    reason: Reason

    def apply(self, builder: StepBuilder) -> None:
        """A step has failed for good: the flow ends FAILED. Without such an edge it waits for its deadline."""
        if builder.flow.status in CHAIN and builder.flow.outcome is None:
            builder.end(FlowTrigger.BROKEN, Outcome.FAILED, self.reason)


def _finish(
    builder: StepBuilder, trigger: FlowTrigger, outcome: TelemetryTaken | TelemetryKept, waiting: tuple[str, ...] = ()
) -> None:
    if builder.flow.status is not FlowStatus.PUBLISHING or builder.flow.outcome is None:
        return
    if outcome.findings:
        raise_incident(builder, IncidentType.INCONSISTENCY, outcome.findings, [])
    published = trigger is FlowTrigger.PUBLISHED and not outcome.refused
    builder.move_flow(
        trigger,
        f"flow.{builder.flow.outcome.lower()}",
        detail={"telemetry_published": published}
        | ({"telemetry_refused": len(outcome.refused)} if outcome.refused else {}),
        ended_at=builder.now,
        telemetry_published=published,
        telemetry_waiting=waiting,
        telemetry_refused=outcome.refused,
        next_wakeup_at=None,
    )


def emit_chain(builder: StepBuilder) -> None:
    """Send the event of the flow's present status."""
    flow = builder.flow
    match flow.status:
        case FlowStatus.VALIDATING:
            said = DecisionStored(flow_id=flow.flow_id, decision_id=flow.decision_id, plan_id=flow.plan_id)
            # The decision itself stays in the store.
            builder.emit(said, **stored_decision(flow.flow_id))
        case FlowStatus.GENERATING:
            builder.emit(PlanValidated(flow_id=flow.flow_id, decision_id=flow.decision_id, plan_id=flow.plan_id or ""))
        case FlowStatus.COMPENSATING:
            builder.request_compensation()
        case status:
            raise ValueError(f"no event is waited for in {status}")


def _audit(builder: StepBuilder, outcome: Validated | Refused, *, valid: bool, errors: tuple[Reason, ...]) -> None:
    flow = builder.flow
    plan = outcome if isinstance(outcome, Validated) else None
    builder.audit(
        AuditRecord(
            audit_id=name_uuid(flow.flow_id, "validation"),
            flow_id=flow.flow_id,
            decision_id=flow.decision_id,
            plan_id=outcome.plan_id,
            valid=valid,
            errors=errors,
            warnings=outcome.warnings,
            checked_at=builder.now,
            schema_version=outcome.schema_version,
            content_hash=flow.content_hash,
            levels=plan.levels if plan else None,
            critical_path_ms=plan.critical_path_ms if plan else None,
            redundant_edges=plan.redundant_edges if plan else (),
            duration_ms=outcome.duration_ms,
        )
    )
