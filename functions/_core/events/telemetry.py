"""Telemetry of C6: one event for each step of a flow, and one frame for the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.planning.slack import closed_at, deadline_at
from functions._core.records.models import Flow, Phase, Reason, Ticket
from functions._core.records.record import as_json
from functions._core.records.values import FlowStatus, Outcome, SlackState, TicketStatus, format_time, milliseconds

STEPS: Sequence[tuple[str, str]] = (
    ("C1", "validate"),
    ("C2", "generate_tickets"),
    ("C3", "discover"),
    ("C4", "assign"),
    ("C5", "monitor"),
    ("C6", "publish_telemetry"),
)
"""The six steps of a flow, each with the function that does it."""


IDS_OF_STEP = 100
"""Ticket ids that a step event names."""

IDS_KEPT = 500
"""Ticket ids that a frame names: with more it would pass 64 KiB, which is all that every broker has to take."""


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """The part of a ticket that telemetry needs: small enough for plans of many thousand tickets."""

    ticket_id: str
    """Id of the ticket."""
    compensates: str | None
    """Id of the ticket whose work it undoes; None for a ticket of the plan."""
    attempt: int
    """How many attempts there were."""
    emissions: int
    """How often its discovery was asked for again since the last assignment."""
    retry_count: int
    """How often it was tried again."""
    assigned_at: datetime | None
    """When the last attempt was given to a worker."""
    acknowledged_at: datetime | None
    """When the worker accepted it."""
    started_at: datetime | None
    """When the worker reported RUNNING."""
    actual_duration_ms: int | None
    """Duration of the attempt that succeeded, in milliseconds."""
    announced: SlackState
    """The slack state that was announced last."""

    @classmethod
    def of(cls, ticket: Ticket) -> Self:
        """Return the facts of a ticket."""
        return cls(**{field.name: getattr(ticket, field.name) for field in fields(cls)})


def of_plan(tickets: Sequence[Ticket | TicketFacts]) -> Sequence[Ticket | TicketFacts]:
    """Return the tickets of the plan: those that undo other tickets' work are none."""
    return [ticket for ticket in tickets if ticket.compensates is None]


def steps_of(flow: Flow, tickets: Sequence[Ticket | TicketFacts]) -> list[dict[str, Any]]:
    """Return the six steps of a flow as far as it came: step, name, status, duration_ms, attempts, times.

    C3 lasts from the first ready ticket to the last assignment, C4 to the last acknowledgement, C5 to the end of
    the last ticket and compensation: the three run side by side. A flow that has its outcome without any assignment
    skipped C3 and C4. Waits for approval belong to no step. Of a flow that was redriven these are the steps since
    then; attempts count on.
    """
    run = _present_run(flow)
    tickets, begun = of_plan(tickets), run[0].entered_at
    assigned = [t.assigned_at for t in tickets if t.assigned_at and t.assigned_at >= begun]
    accepted = [at for t in tickets if (at := t.acknowledged_at or t.started_at) and at >= begun]
    executing, publishing = _stay(run, FlowStatus.EXECUTING), _stay(run, FlowStatus.PUBLISHING)
    searched = executing[0] if assigned or flow.outcome is None else None
    spans = (
        _stay(run, FlowStatus.VALIDATING),
        _stay(run, FlowStatus.GENERATING),
        (searched, max(assigned, default=None)),
        (min(assigned, default=None), max(accepted, default=max(assigned, default=None))),
        (executing[0], publishing[0]),
        (publishing[0], flow.ended_at),
    )
    broken_at = _broken_step(flow, run)
    attempts = (
        _attempts(run, FlowStatus.VALIDATING),
        _attempts(run, FlowStatus.GENERATING),
        sum(1 + t.emissions for t in tickets if t.attempt),
        sum(t.attempt for t in tickets),
        1 if executing[0] else 0,
        1 if flow.ended_at else 0,
    )
    return [
        _step(step, name, span, number, failed=step == broken_at)
        for (step, name), span, number in zip(STEPS, spans, attempts, strict=True)
    ]


def summary_of(flow: Flow, tickets: Sequence[Ticket | TicketFacts], now: datetime) -> dict[str, Any]:
    """Return the result of a flow, as the demo prints it and the frame carries it."""
    tally = flow.tally
    return {
        "flow_id": flow.flow_id,
        "status": flow.status.value,
        "success": flow.outcome is Outcome.COMPLETED,
        "total_duration_ms": milliseconds((flow.ended_at or now) - flow.received_at),
        "tickets_generated": flow.tickets_generated,
        "tickets_completed": tally.get(TicketStatus.COMPLETED, 0),
        "tickets_failed": tally.get(TicketStatus.FAILED, 0),
        "tickets_compensated": tally.get(TicketStatus.COMPENSATED, 0),
        "telemetry_published": bool(flow.telemetry_published),
        "sla_violated": flow.outcome is Outcome.TIMED_OUT or _late(flow, closed_at(flow) or now),
        "steps": steps_of(flow, tickets),
        "error": error_of(flow.reasons),
        **_retried(of_plan(tickets)),
        "sla_violations": violations_of(flow, tickets, now),
    }


def _retried(planned: Sequence[Ticket | TicketFacts]) -> dict[str, int]:
    """Return how often tickets were tried again, and given to another worker."""
    return {
        "retries": sum(ticket.retry_count for ticket in planned),
        "reassignments": sum(max(0, ticket.attempt - 1 - ticket.retry_count) for ticket in planned),
    }


def violations_of(flow: Flow, tickets: Sequence[Ticket | TicketFacts], now: datetime) -> int:
    """Return how often the SLA was violated: by the flow, and by tickets beyond their shares of it."""
    late = flow.outcome is Outcome.TIMED_OUT or _late(flow, closed_at(flow) or now)
    return late + sum(ticket.announced is SlackState.BREACHED for ticket in of_plan(tickets))


def error_of(reasons: Sequence[Reason]) -> str | None:
    """Return all reasons in one line, or None."""
    return "; ".join(f"{reason.code}: {reason.message}" for reason in reasons) or None


def telemetry_of(flow: Flow, tickets: Sequence[Ticket | TicketFacts], now: datetime) -> tuple[CloudEvent, ...]:
    """Return the step events and the frame, in order; repeated, they have the same ids, redriven, others."""
    planned = of_plan(tickets)
    steps = [step for step in steps_of(flow, tickets) if step["status"] != "skipped" and step["step"] != "C6"]
    ids = [ticket.ticket_id for ticket in planned]
    told = [_correlation(flow) | step | _about(step["step"], flow, ids) for step in (*steps, _publishing(flow, now))]
    events = [_event(flow, "flow.step.completed", data, key=data["step"], now=now) for data in told]
    frame = _correlation(flow) | {
        "outcome": flow.outcome,
        "risk_band": flow.risk_band.value,
        "priority": flow.priority.value,
        "received_at": format_time(flow.received_at),
        "sla_deadline": format_time(flow.sla_deadline),
        "sla_remaining_ms": milliseconds(deadline_at(flow, flow.phase.entered_at) - flow.phase.entered_at),
        "sla_violated": flow.outcome is Outcome.TIMED_OUT or _late(flow, flow.phase.entered_at),
        "duration_ms": milliseconds(flow.phase.entered_at - flow.received_at),
        "critical_path_ms": flow.critical_path_ms,
        **({} if flow.prediction is None else {"prediction": as_json(flow.prediction)}),
        "tickets_generated": flow.tickets_generated,
        "tickets_by_status": dict(flow.tally),
        "tickets_compensated": flow.tally.get(TicketStatus.COMPENSATED, 0),
        "compensations": flow.compensations or 0,
        "ticket_ids": ids[:IDS_KEPT],
        **_rest(flow, ids),
        "ticket_duration_ms": sum(ticket.actual_duration_ms or 0 for ticket in planned),
        **_retried(planned),
        "sla_violations": violations_of(flow, tickets, now),
        "reasons": [reason.told for reason in flow.reasons],
        "steps": steps,
    }
    return (*events, _event(flow, "telemetry.frame", frame, key="", now=now))


def _publishing(flow: Flow, now: datetime) -> dict[str, Any]:
    """Return C6 as far as it can tell of itself: it ends with the events that say so."""
    return _step("C6", "publish_telemetry", (flow.phase.entered_at, max(now, flow.phase.entered_at)), 1, failed=False)


def _about(step: str, flow: Flow, ids: Sequence[str]) -> dict[str, Any]:
    """Return what a step event says beyond the step: the first tickets that the step is about, and facts by name."""
    metadata: dict[str, Any] = {"tickets": len(ids), "outcome": flow.outcome}
    if step == "C1":
        metadata = {"critical_path_ms": flow.critical_path_ms, "warnings": len(flow.warnings)}
    elif step == "C5":
        metadata["tickets_by_status"] = dict(flow.tally)
    return {"ticket_ids": [] if step == "C1" else ids[:IDS_OF_STEP], "metadata": metadata}


def _rest(flow: Flow, ids: Sequence[str]) -> dict[str, str]:
    """Return where the tickets are that a frame does not name."""
    return {"tickets_ref": f"/api/v1/flows/{flow.flow_id}/tickets"} if len(ids) > IDS_KEPT else {}


def _correlation(flow: Flow) -> dict[str, Any]:
    return {
        "flow_id": flow.flow_id,
        "plan_id": flow.plan_id,
        "intent_id": flow.intent_id,
        "decision_id": flow.decision_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
    }


def _event(flow: Flow, event_type: str, data: Mapping[str, Any], *, key: str, now: datetime) -> CloudEvent:
    run = f"redrive {flow.redrives}:" if flow.redrives else ""
    return CloudEvent(
        id=derived_id(flow.flow_id, event_type, f"{run}{key}"),
        source="/flowc/publish_telemetry",
        type=type_of(event_type),
        time=now,
        subject=flow.flow_id,
        data=dict(data),
        extensions={
            "partitionkey": flow.flow_id,
            "correlationid": flow.correlation_id,
            "traceparent": flow.traceparent,
        },
    )


def _step(
    step: str, name: str, span: tuple[datetime | None, datetime | None], attempts: int, *, failed: bool
) -> dict[str, Any]:
    started, ended = span
    status = "failed" if failed else "completed" if started and ended else "in_progress" if started else "skipped"
    return {
        "step": step,
        "name": name,
        "status": status,
        "started_at": format_time(started) if started else None,
        "completed_at": format_time(ended) if ended else None,
        "duration_ms": max(0, milliseconds(ended - started)) if started and ended else None,
        "attempts": attempts,
    }


def _late(flow: Flow, moment: datetime) -> bool:
    return moment > deadline_at(flow, moment)


def _present_run(flow: Flow) -> Sequence[Phase]:
    """Return the stays of a flow since it arrived, or was redriven last."""
    ends = [number for number, phase in enumerate(flow.phases[:-1], 1) if phase.status in ENDED_FLOWS]
    return flow.phases[ends[-1] if ends else 0 :]


def _stay(run: Sequence[Phase], status: FlowStatus) -> tuple[datetime | None, datetime | None]:
    """Return when the flow came to `status` first and left it last; None for each that has not happened."""
    stays = [number for number, phase in enumerate(run) if phase.status is status]
    if not stays:
        return None, None
    left = run[stays[-1] + 1].entered_at if stays[-1] + 1 < len(run) else None
    return run[stays[0]].entered_at, left


def _attempts(run: Sequence[Phase], status: FlowStatus) -> int:
    emissions = [phase.emissions for phase in run if phase.status is status]
    return 1 + max(emissions) if emissions else 0


STEP_OF: Mapping[FlowStatus, str] = {
    FlowStatus.VALIDATING: "C1",
    FlowStatus.AWAITING_APPROVAL: "C1",
    FlowStatus.GENERATING: "C2",
    FlowStatus.EXECUTING: "C5",
}
"""The step that a flow is in; one that is paused or undoes its work was in another one before."""


def _broken_step(flow: Flow, run: Sequence[Phase]) -> str | None:
    """Return the step in which a flow that did not complete came to its end."""
    if flow.outcome in {None, Outcome.COMPLETED}:
        return None
    steps = [STEP_OF[phase.status] for phase in run if phase.status in STEP_OF]
    return steps[-1] if steps else STEP_OF[FlowStatus.VALIDATING]
