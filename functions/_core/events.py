"""The catalogue of events: what each says, who sends it and who acts on it. The files in `events/` are made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from functions._core.assignment import TaskAssignment
from functions._core.decision_model import Decision
from functions._core.models import Candidate, Reason
from functions._core.reports import Report
from functions._core.rules import TICKETS_PER_EVENT
from functions._core.values import JsonObject, Outcome, Record, Timestamp
from functions._core.workers import Deregistration, Heartbeat, Registration


class DecisionStored(Record):
    """Data of `decision.consolidated` between functions: the decision itself is where `dataref` says."""

    flow_id: str
    decision_id: str
    plan_id: str | None = None


class PlanValidated(Record):
    """Data of `plan.validated`."""

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
    why: str = "is gone"


class FlowConsolidated(Record):
    """Data of `flow.consolidated`: how the flow ends, before its telemetry is out."""

    flow_id: str
    outcome: Outcome


class CancelRequest(Record):
    """Data of `flow.cancel_requested`."""

    flow_id: str
    requested_by: str = Field(default="a user", max_length=255)
    reason: str = Field(default="no reason given", max_length=1000)


class Transition(Record):
    """Data of events for subscribers: one transition of a flow, or of one of its tickets."""

    flow_id: str
    plan_id: str | None = None
    decision_id: str | None = None
    ticket_id: str | None = None
    task_id: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    attempt: int | None = None
    worker_id: str | None = None
    cause: str
    detail: JsonObject = Field(default_factory=dict)


class TicketCancelled(Record):
    """Data of `ticket.cancelled` as a worker gets it."""

    ticket_id: str
    flow_id: str
    task_id: str
    attempt: int


class Step(Record):
    """One of the six steps of a flow, as telemetry tells it."""

    step: str
    name: str
    status: str
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    duration_ms: int | None = None
    attempts: int


class StepCompleted(Step):
    """Data of `flow.step.completed`."""

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
    risk_band: str
    priority: str
    received_at: Timestamp
    sla_deadline: Timestamp
    sla_remaining_ms: int
    sla_violated: bool
    duration_ms: int
    critical_path_ms: int | None
    tickets_generated: int
    tickets_by_status: Mapping[str, int]
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
    """One line of the catalogue. `outside` says that users or workers may send it to the ingress."""

    noun: str
    model: type[BaseModel]
    sent_by: str
    handled_by: str
    subject: str
    text: str
    outside: bool = False


SUBSCRIBERS = "subscribers"
FLOW, TICKET, WORKER = "flow id", "ticket id", "worker id"

CATALOGUE: Sequence[EventType] = (
    EventType("decision.consolidated", Decision, "user", "validate", FLOW, "A decision with its plan.", outside=True),
    EventType("plan.validated", PlanValidated, "validate", "generate_tickets", FLOW, "The plan can be done."),
    EventType("plan.rejected", Transition, "validate", SUBSCRIBERS, FLOW, "C1 refused it; every reason is listed."),
    EventType("tickets.generated", Transition, "generate_tickets", SUBSCRIBERS, FLOW, "The plan has its tickets."),
    EventType(
        "tickets.ready",
        TicketsReady,
        "generate_tickets, monitor, enforce_sla",
        "discover",
        FLOW,
        "Need a worker.",
    ),
    EventType("workers.discovered", WorkersDiscovered, "discover", "assign", FLOW, "Ranked candidates."),
    EventType("ticket.assigned", TaskAssignment, "assign", "the worker", TICKET, "One attempt at one ticket."),
    EventType(
        "ticket.reported",
        Report,
        "worker",
        "monitor",
        TICKET,
        "A worker's word on its attempt.",
        outside=True,
    ),
    EventType("ticket.started", Transition, "monitor", SUBSCRIBERS, TICKET, "The worker has begun."),
    EventType("ticket.completed", Transition, "monitor", SUBSCRIBERS, TICKET, "Done."),
    EventType("ticket.failed", Transition, "monitor, enforce_sla", SUBSCRIBERS, TICKET, "Failed for good."),
    EventType("ticket.retried", Transition, "monitor, enforce_sla", SUBSCRIBERS, TICKET, "Will be tried again."),
    EventType("ticket.reassigned", Transition, "assign, monitor", SUBSCRIBERS, TICKET, "Goes to another worker."),
    EventType(
        "ticket.cancelled",
        TicketCancelled,
        "assign, monitor, enforce_sla",
        "the worker",
        TICKET,
        "Stop, not wanted.",
    ),
    EventType(
        "flow.consolidated",
        FlowConsolidated,
        "validate, monitor, enforce_sla",
        "publish_telemetry",
        FLOW,
        "The outcome is known.",
    ),
    EventType(
        "flow.step.completed",
        StepCompleted,
        "publish_telemetry",
        "the telemetry sink",
        FLOW,
        "One step of a flow.",
    ),
    EventType("telemetry.frame", TelemetryFrame, "publish_telemetry", "the telemetry sink", FLOW, "The whole flow."),
    EventType("flow.completed", Transition, "publish_telemetry", SUBSCRIBERS, FLOW, "All tickets are done."),
    EventType("flow.failed", Transition, "publish_telemetry", SUBSCRIBERS, FLOW, "Some ticket failed for good."),
    EventType("flow.timed_out", Transition, "publish_telemetry", SUBSCRIBERS, FLOW, "The deadline passed."),
    EventType("flow.cancelled", Transition, "publish_telemetry", SUBSCRIBERS, FLOW, "A person stopped it."),
    EventType("flow.rejected", Transition, "publish_telemetry", SUBSCRIBERS, FLOW, "It was never begun."),
    EventType("flow.redriven", Transition, "enforce_sla", SUBSCRIBERS, FLOW, "A lost event was sent again."),
    EventType("sla.violated", Transition, "enforce_sla", SUBSCRIBERS, FLOW, "The deadline passed before the end."),
    EventType("flow.cancel_requested", CancelRequest, "user", "monitor", FLOW, "Stop this flow.", outside=True),
    EventType("worker.registered", Registration, "worker", "track_workers", WORKER, "A worker offers.", outside=True),
    EventType("worker.heartbeat", Heartbeat, "worker", "track_workers", WORKER, "A sign of life.", outside=True),
    EventType("worker.deregistered", Deregistration, "worker", "track_workers", WORKER, "It leaves.", outside=True),
    EventType(
        "worker.recovered",
        TicketsReady,
        "track_workers",
        "discover",
        FLOW,
        "A worker can take these tickets.",
    ),
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
