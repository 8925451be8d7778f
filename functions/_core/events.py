"""The catalogue of events: what each says, who sends it and who acts on it. The files in `events/` are made of it.

The first paragraph of a model's docstring is the description of its schema.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from functions._core.assignment import TaskAssignment
from functions._core.decision_model import Decision
from functions._core.models import Candidate, Reason
from functions._core.reports import Report
from functions._core.rules import TICKETS_PER_EVENT
from functions._core.values import (
    FlowStatus,
    JsonObject,
    Outcome,
    Priority,
    Record,
    RiskBand,
    TicketStatus,
    Timestamp,
)
from functions._core.workers import Deregistration, Heartbeat, Registration


class DecisionStored(Record):
    """Data of `decision.consolidated` between functions: the decision itself is where `dataref` says."""

    flow_id: str
    decision_id: str
    plan_id: str | None = None


class PlanValidated(Record):
    """Data of `plan.validated`: the decision is sound, its tickets can be made."""

    flow_id: str
    decision_id: str
    plan_id: str


class TicketsReady(Record):
    """Data of `tickets.ready` and `worker.recovered`: tickets of one flow that need a worker."""

    flow_id: str
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)


class WorkersDiscovered(Record):
    """Data of `workers.discovered`: for each ticket the ranked candidates, the best first."""

    flow_id: str
    candidates: Mapping[str, tuple[Candidate, ...]] = Field(max_length=TICKETS_PER_EVENT)


class WorkerUnhealthy(Record):
    """Data of `worker.unhealthy`: tickets of one flow that a lost worker holds."""

    worker_id: str
    flow_id: str
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)
    attempts: Mapping[str, int] = Field(default_factory=dict)
    why: str = "is gone"


class FlowConsolidated(Record):
    """Data of `flow.consolidated`: how the flow ends, before its telemetry is out."""

    flow_id: str
    outcome: Outcome


class CancelRequest(Record):
    """Data of `flow.cancel_requested`: a person wants the flow to stop."""

    flow_id: str
    requested_by: str = Field(default="a user", max_length=255)
    reason: str = Field(default="no reason given", max_length=1000)


class Change(Record):
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


class Transition(Change):
    """Data of events for subscribers: one transition of a flow, or of one of its tickets."""

    cause: str


class TicketCancelled(Change):
    """Data of `ticket.cancelled`: a worker is told the required fields alone, subscribers the whole transition."""

    ticket_id: str
    task_id: str
    attempt: int
    cause: str | None = None


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
    ticket_ids: tuple[str, ...]
    ticket_duration_ms: int
    retries: int
    reassignments: int
    reasons: tuple[Reason, ...]
    steps: tuple[Step, ...]


class Tick(Record):
    """Data of `clock.ticked`: none; the event's arrival is the message."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One line of the catalogue.

    `outside` says that users or workers may send it to the ingress. `stored` is what functions tell each other
    instead where the data that users send stays in the store.
    """

    noun: str
    model: type[BaseModel]
    sent_by: str
    handled_by: str
    subject: str
    text: str
    outside: bool = False
    stored: type[BaseModel] | None = None


SUBSCRIBERS, SINK, HOLDER = "subscribers", "the telemetry sink", "the worker, subscribers"
FLOW, TICKET, WORKER = "flow id", "ticket id", "worker id"
ENDS = "publish_telemetry, enforce_sla"

CATALOGUE: Sequence[EventType] = (
    EventType(
        "decision.consolidated",
        Decision,
        "user, api, enforce_sla",
        "validate",
        FLOW,
        "A decision with its plan.",
        outside=True,
        stored=DecisionStored,
    ),
    EventType(
        "plan.validated", PlanValidated, "validate, enforce_sla", "generate_tickets", FLOW, "The plan can be done."
    ),
    EventType("plan.rejected", Transition, "validate", SUBSCRIBERS, FLOW, "C1 refused it; every reason is listed."),
    EventType("tickets.generated", Transition, "generate_tickets", SUBSCRIBERS, FLOW, "The plan has its tickets."),
    EventType(
        "tickets.ready",
        TicketsReady,
        "generate_tickets, assign, monitor, enforce_sla",
        "discover",
        FLOW,
        "These tickets need a worker.",
    ),
    EventType("workers.discovered", WorkersDiscovered, "discover", "assign", FLOW, "Ranked candidates."),
    EventType("ticket.assigned", TaskAssignment, "assign", HOLDER, TICKET, "One attempt at one ticket."),
    EventType(
        "ticket.reported",
        Report,
        "worker, assign",
        "monitor",
        TICKET,
        "A worker's word on its attempt.",
        outside=True,
    ),
    EventType("ticket.started", Transition, "monitor", SUBSCRIBERS, TICKET, "The worker has begun."),
    EventType("ticket.completed", Transition, "monitor", SUBSCRIBERS, TICKET, "It is done."),
    EventType("ticket.failed", Transition, "monitor, enforce_sla", SUBSCRIBERS, TICKET, "It failed for good."),
    EventType("ticket.retried", Transition, "monitor, enforce_sla", SUBSCRIBERS, TICKET, "It will be tried again."),
    EventType(
        "ticket.reassigned",
        Transition,
        "assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "It goes to another worker.",
    ),
    EventType(
        "ticket.cancelled", TicketCancelled, "assign, monitor, enforce_sla", HOLDER, TICKET, "Not wanted any more."
    ),
    EventType(
        "flow.consolidated",
        FlowConsolidated,
        "validate, monitor, enforce_sla, dead_letter",
        "publish_telemetry",
        FLOW,
        "The outcome is known.",
    ),
    EventType("flow.step.completed", StepCompleted, ENDS, SINK, FLOW, "One step of a flow."),
    EventType("telemetry.frame", TelemetryFrame, ENDS, SINK, FLOW, "The whole flow."),
    EventType("flow.completed", Transition, ENDS, SUBSCRIBERS, FLOW, "All tickets are done."),
    EventType("flow.failed", Transition, ENDS, SUBSCRIBERS, FLOW, "A ticket, or a step, failed for good."),
    EventType("flow.timed_out", Transition, ENDS, SUBSCRIBERS, FLOW, "The deadline passed."),
    EventType("flow.cancelled", Transition, ENDS, SUBSCRIBERS, FLOW, "A person stopped it."),
    EventType("flow.rejected", Transition, ENDS, SUBSCRIBERS, FLOW, "It was never begun."),
    EventType("flow.redriven", Transition, "enforce_sla", SUBSCRIBERS, FLOW, "A lost event was sent again."),
    EventType("sla.violated", Transition, "enforce_sla", SUBSCRIBERS, FLOW, "The deadline passed before the end."),
    EventType("flow.cancel_requested", CancelRequest, "user, api", "monitor", FLOW, "Stop this flow.", outside=True),
    EventType("worker.registered", Registration, "worker", "track_workers", WORKER, "A worker offers.", outside=True),
    EventType("worker.heartbeat", Heartbeat, "worker", "track_workers", WORKER, "A sign of life.", outside=True),
    EventType("worker.deregistered", Deregistration, "worker", "track_workers", WORKER, "It leaves.", outside=True),
    EventType("worker.recovered", TicketsReady, "track_workers", "discover", FLOW, "A worker can take these tickets."),
    EventType("worker.unhealthy", WorkerUnhealthy, "track_workers", "monitor", FLOW, "Its tickets need another."),
    EventType("clock.ticked", Tick, "schedule", "enforce_sla, track_workers", "none", "Time has passed."),
)

BY_NOUN: Mapping[str, EventType] = {entry.noun: entry for entry in CATALOGUE}


@dataclass(frozen=True, slots=True)
class Route:
    """How a chain event reaches a function: which one, how its data is read, which tickets it names."""

    function: str
    model: type[BaseModel]
    tickets: Callable[[Any], Sequence[str]]


def _none(_data: object) -> Sequence[str]:
    return ()


ROUTES: Mapping[str, Route] = {
    "decision.consolidated": Route("validate", DecisionStored, _none),
    "plan.validated": Route("generate_tickets", PlanValidated, _none),
    "tickets.ready": Route("discover", TicketsReady, lambda data: data.ticket_ids),
    "worker.recovered": Route("discover", TicketsReady, lambda data: data.ticket_ids),
    "workers.discovered": Route("assign", WorkersDiscovered, lambda data: tuple(data.candidates)),
    "ticket.reported": Route("monitor", Report, lambda data: (data.ticket_id,)),
    "flow.cancel_requested": Route("monitor", CancelRequest, _none),
    "worker.unhealthy": Route("monitor", WorkerUnhealthy, lambda data: data.ticket_ids),
    "flow.consolidated": Route("publish_telemetry", FlowConsolidated, _none),
}
"""Who handles which event about a flow. A deployment's subscriptions are drawn from this table."""
