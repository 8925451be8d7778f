"""The data of events, one model each; those of workers, orders, decisions and assignments are with what they are about.

The first paragraph of a model's docstring is the description of its schema.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from functions._core.records.models import Candidate, Reason
from functions._core.records.values import (
    FlowStatus,
    JsonObject,
    Outcome,
    Priority,
    Record,
    RiskBand,
    TicketStatus,
    Timestamp,
)
from functions._core.rules import TICKETS_PER_EVENT


class DecisionStored(Record):
    """Data of `decision.consolidated` between functions: the decision itself is where `dataref` says."""

    event_type: ClassVar[str] = "decision.consolidated"

    flow_id: str
    decision_id: str
    plan_id: str | None = None


class TransitionData(Record):
    """What any transition says: of which flow or ticket, from where to where."""

    flow_id: str
    plan_id: str | None = None
    decision_id: str | None = None
    ticket_id: str | None = None
    task_id: str | None = None
    from_status: FlowStatus | TicketStatus | None = None
    to_status: FlowStatus | TicketStatus | None = None
    attempt: int | None = None
    worker_id: str | None = None
    detail: JsonObject = Field(default_factory=dict)


class PlanValidated(TransitionData):
    """Data of `plan.validated`: the plan can be done. C2 is told the ids alone, subscribers the whole transition."""

    event_type: ClassVar[str] = "plan.validated"

    decision_id: str
    plan_id: str
    cause: str | None = None


class TicketsReady(Record):
    """Data of `tickets.ready` and `worker.recovered`: tickets of one flow that need a worker."""

    event_type: ClassVar[str] = "tickets.ready"

    flow_id: str
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)


class WorkersDiscovered(Record):
    """Data of `workers.discovered`: for each ticket the ranked candidates, the best first."""

    event_type: ClassVar[str] = "workers.discovered"

    flow_id: str
    candidates: Mapping[str, tuple[Candidate, ...]] = Field(max_length=TICKETS_PER_EVENT)


class WorkerUnhealthy(Record):
    """Data of `worker.unhealthy`: tickets of one flow that a lost worker holds."""

    worker_id: str
    flow_id: str
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)
    attempts: Mapping[str, int] = Field(default_factory=dict)
    why: str = "is gone"


class CompensationRequested(Record):
    """Data of `compensation.requested`: what the flow did has to be undone."""

    event_type: ClassVar[str] = "compensation.requested"

    flow_id: str
    outcome: Outcome


class FlowConsolidated(TransitionData):
    """Data of `flow.consolidated`: how it ends. C6 is told the outcome alone, subscribers the whole transition."""

    event_type: ClassVar[str] = "flow.consolidated"

    outcome: Outcome
    cause: str | None = None


class Transition(TransitionData):
    """Data of events for subscribers: one transition of a flow, or of one of its tickets."""

    cause: str


class TicketCancelled(TransitionData):
    """Data of `ticket.cancelled`: a worker is told the required fields alone, subscribers the whole transition."""

    ticket_id: str
    task_id: str
    attempt: int
    cause: str | None = None


ChainEvent = (
    DecisionStored | PlanValidated | TicketsReady | WorkersDiscovered | CompensationRequested | FlowConsolidated
)
"""Data of the events by which one function hands a flow to the next."""


class Step(Record):
    """One of the six steps of a flow, as telemetry tells it."""

    step: Literal["C1", "C2", "C3", "C4", "C5", "C6"]
    name: str
    status: Literal["completed", "failed", "in_progress", "skipped"]
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    duration_ms: int | None = None
    attempts: int


class StepCompleted(Step):
    """Data of `flow.step.completed`: one step, with everything that correlates it."""

    flow_id: str
    plan_id: str | None
    intent_id: str | None
    decision_id: str
    correlation_id: str
    trace_id: str


class TelemetryFrame(Record):
    """Data of `telemetry.frame`: the whole flow in one event."""

    flow_id: str
    plan_id: str | None
    intent_id: str | None
    decision_id: str
    correlation_id: str
    trace_id: str
    outcome: Outcome
    risk_band: RiskBand
    priority: Priority
    received_at: Timestamp
    sla_deadline: Timestamp
    sla_remaining_ms: int
    sla_violated: bool
    duration_ms: int
    critical_path_ms: int | None
    tickets_generated: int
    tickets_by_status: Mapping[TicketStatus, int]
    tickets_compensated: int = 0
    compensations: int = 0
    ticket_ids: tuple[str, ...]
    ticket_duration_ms: int
    retries: int
    reassignments: int
    reasons: tuple[Reason, ...]
    steps: tuple[Step, ...]


class Tick(Record):
    """Data of `clock.ticked`: none; the event's arrival is the message."""
