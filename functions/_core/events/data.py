"""The data of events, one model each. Those of workers, commands, decisions and assignments have files of their own.

The first paragraph of a model's docstring is the description of its schema.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from functions._core.records.models import Reason
from functions._core.records.prediction import FlowPrediction
from functions._core.records.values import (
    FlowStatus,
    Health,
    JsonObject,
    Model,
    Outcome,
    Priority,
    RiskBand,
    TaskType,
    TicketStatus,
    Timestamp,
)
from functions._core.records.worker import AgentType, Candidate
from functions._core.rules import TICKETS_PER_EVENT


class DecisionStored(Model):
    """Data of `decision.consolidated` between functions: the decision itself is where `dataref` says."""

    event_type: ClassVar[str] = "decision.consolidated"

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    decision_id: str
    """Id of the decision; the flow id follows from it."""
    plan_id: str | None = None
    """Id of the plan, if the decision names a usable one."""


class TransitionData(Model):
    """What any transition says: of which flow or ticket, from where to where."""

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    plan_id: str | None = None
    """Id of the plan."""
    decision_id: str | None = None
    """Id of the decision; the flow id follows from it."""
    ticket_id: str | None = None
    """Id of the ticket: a UUIDv5 of flow id and task id."""
    task_id: str | None = None
    """Id of the task, unique within its plan."""
    from_status: FlowStatus | TicketStatus | None = None
    """Where it was."""
    to_status: FlowStatus | TicketStatus | None = None
    """Where it is now."""
    attempt: int | None = None
    """Number of the attempt; it grows with every assignment, so that late reports can be told apart."""
    worker_id: str | None = None
    """Id of the worker that has, or had, the ticket."""
    detail: JsonObject = Field(default_factory=dict)
    """What else is worth knowing; its fields depend on the type and may grow."""


class PlanValidated(TransitionData):
    """Data of `plan.validated`: the plan can be done. C2 is told the ids alone, subscribers the whole transition."""

    event_type: ClassVar[str] = "plan.validated"

    decision_id: str
    plan_id: str
    cause: str | None = None
    """What moved it: a trigger of the state machine or the code of a reason."""


class TicketsReady(Model):
    """Data of `tickets.ready` and `worker.recovered`: tickets of one flow that need a worker."""

    event_type: ClassVar[str] = "tickets.ready"

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)
    """Ids of the tickets."""


class TicketCallback(Model):
    """Where and by what the owner of a ticket claims it and reports on it."""

    status_url: str
    """The status of the ticket, which is changed by PATCH."""
    token: str | None = None
    """Bearer token for the attempt that begins with the claim; null when a worker has the ticket meanwhile."""


class TicketReady(TransitionData):
    """Data of `ticket.ready`: a ticket whose metadata names a webhook needs a worker for its next attempt."""

    event_type: ClassVar[str] = "ticket.ready"

    ticket_id: str
    task_id: str
    attempt: int
    task_type: TaskType
    """What kind of work it is."""
    priority: Priority
    """How much it matters to the user."""
    sla_deadline: Timestamp
    """When it has to be done."""
    callback: TicketCallback | None = None
    """How the ticket is claimed; only the owner is sent it."""


class SubscriptionTested(Model):
    """Data of `subscription.tested`: somebody wants to see whether a webhook takes events."""

    event_type: ClassVar[str] = "subscription.tested"

    subscription_id: str
    """Id of the subscription."""
    requested_by: str
    """Who asked for it."""


class EventArrived(Model):
    """Data of `ticket.event_arrived`: an event of a user has come that a ticket of the flow waits for."""

    event_type: ClassVar[str] = "ticket.event_arrived"

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    ticket_id: str
    """Id of the ticket that waits."""
    event: JsonObject
    """The event in the JSON form of CloudEvents: its attributes, and `data`."""


class WorkersDiscovered(Model):
    """Data of `workers.discovered`: for each ticket the ranked candidates, the best first."""

    event_type: ClassVar[str] = "workers.discovered"

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    candidates: Mapping[str, tuple[Candidate, ...]] = Field(max_length=TICKETS_PER_EVENT)
    """Ranked workers by ticket id, the best first."""


class WorkerUnhealthy(Model):
    """Data of `worker.unhealthy`: tickets of one flow that a lost worker holds."""

    worker_id: str
    """Id of the worker that is lost."""
    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    ticket_ids: tuple[str, ...] = Field(max_length=TICKETS_PER_EVENT)
    """Ids of the tickets."""
    attempts: Mapping[str, int] = Field(default_factory=dict)
    """The attempts that are lost, by ticket id; a ticket at another attempt stays where it is."""
    why: str = "is gone"
    """What is the matter with it, following its id in a sentence."""


class CompensationRequested(Model):
    """Data of `compensation.requested`: what the flow did has to be undone."""

    event_type: ClassVar[str] = "compensation.requested"

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    outcome: Outcome
    """How the flow will end, once that is done."""


class FlowConsolidated(TransitionData):
    """Data of `flow.consolidated`: how it ends. C6 is told the outcome alone, subscribers the whole transition."""

    event_type: ClassVar[str] = "flow.consolidated"

    outcome: Outcome
    """How the flow ends."""
    cause: str | None = None
    """What moved it: a trigger of the state machine or the code of a reason."""


class Transition(TransitionData):
    """Data of events for subscribers: one transition of a flow, or of one of its tickets."""

    cause: str
    """What moved it: a trigger of the state machine or the code of a reason."""


class TicketCancelled(TransitionData):
    """Data of `ticket.cancelled`: a worker is told the required fields alone, subscribers the whole transition."""

    ticket_id: str
    task_id: str
    attempt: int
    cause: str | None = None
    """What moved it: a trigger of the state machine or the code of a reason."""


ChainEvent = (
    DecisionStored | PlanValidated | TicketsReady | WorkersDiscovered | CompensationRequested | FlowConsolidated
)
"""Data of the events by which one function hands a flow to the next."""


class Step(Model):
    """One of the six steps of a flow, as telemetry tells it."""

    step: Literal["C1", "C2", "C3", "C4", "C5", "C6"]
    """Its place in the chain."""
    name: str
    """The function that did it."""
    status: Literal["completed", "failed", "in_progress", "skipped"]
    """How it went; in_progress: not ended yet; skipped: the flow ended before it did anything."""
    started_at: Timestamp | None = None
    """When it began."""
    completed_at: Timestamp | None = None
    """When it ended."""
    duration_ms: int | None = None
    """How long it took, in milliseconds."""
    attempts: int
    """How often it was tried; of C3, C4 the sum over all tickets."""


class StepCompleted(Step):
    """Data of `flow.step.completed`: one step, with everything that correlates it."""

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    plan_id: str | None
    """Id of the plan."""
    intent_id: str | None
    """Id of the intent that led to the plan."""
    decision_id: str
    """Id of the decision; the flow id follows from it."""
    correlation_id: str
    """The decision's correlation id; without one the flow id."""
    trace_id: str
    """The trace that the flow belongs to, 32 hexadecimal digits."""
    ticket_ids: tuple[str, ...] = ()
    """Ids of the plan's tickets that the step was about, the first 100; none of C1."""
    metadata: JsonObject = Field(default_factory=dict)
    """More facts about the step, by name; they may grow."""


class TelemetryFrame(Model):
    """Data of `telemetry.frame`: the whole flow in one event."""

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    plan_id: str | None
    """Id of the plan."""
    intent_id: str | None
    """Id of the intent that led to the plan."""
    decision_id: str
    """Id of the decision; the flow id follows from it."""
    correlation_id: str
    """The decision's correlation id; without one the flow id."""
    trace_id: str
    """The trace that the flow belongs to, 32 hexadecimal digits."""
    outcome: Outcome
    """How the flow ends."""
    risk_band: RiskBand
    """How dangerous it is; it decides about retries and about the care that is taken."""
    priority: Priority
    """How much it matters to the user."""
    received_at: Timestamp
    """When the decision was received."""
    sla_deadline: Timestamp
    """When it has to be done."""
    sla_remaining_ms: int
    """Milliseconds that were left to the deadline; below zero it was missed."""
    sla_violated: bool
    """Whether the deadline was missed."""
    duration_ms: int
    """From the reception of the decision to the outcome, in milliseconds."""
    critical_path_ms: int | None
    """Length of the critical path by estimates, in milliseconds."""
    prediction: FlowPrediction | None = None
    """How the flow was expected to go; only where something is predicted."""
    tickets_generated: int
    """How many tickets the plan has."""
    tickets_by_status: Mapping[TicketStatus, int]
    """How many tickets of the plan ended in each status."""
    tickets_compensated: int = 0
    """How many tickets were undone."""
    compensations: int = 0
    """How many tickets were to be undone, because the flow did not complete."""
    ticket_ids: tuple[str, ...]
    """Ids of the plan's tickets; of a large plan the first 500."""
    tickets_ref: str | None = None
    """Where all of them are, page by page, relative to the platform; only where `ticket_ids` is not all."""
    ticket_duration_ms: int
    """Sum of the tickets' actual durations, in milliseconds."""
    retries: int
    """How often tickets were tried again."""
    sla_violations: int = 0
    """How often the SLA was violated: by the flow, and by tickets beyond their shares of it."""
    reassignments: int
    """How often tickets were taken from one worker to be given to another."""
    reasons: tuple[Reason, ...]
    """Why the flow did not complete; empty if it did."""
    steps: tuple[Step, ...]
    """The steps as far as the flow came."""


class AgentChanged(Model):
    """Data of `registry.agent.added`, `.updated` and `.removed`: an agent as it is after a change of the registry."""

    revision: int
    """Revision of the registry: it grows with every change, and a watch continues behind it."""
    agent_id: str
    """Id of the agent."""
    agent_type: AgentType
    """What it is for; a WORKER and a FORGE get tickets."""
    status: Health | None = None
    """Its health; null when it is gone."""
    breaker: Literal["closed", "open", "half_open"] | None = None
    """The state of its circuit breaker: all attempts pass, none, or one at a time; null when it is gone."""
    draining: bool = False
    """Whether it gets no new tickets and only finishes those that it has."""
    endpoint: str | None = None
    """Where assignments are POSTed to; null when it is gone."""
    capabilities: tuple[str, ...] = ()
    """What it can do; empty when it is gone."""


class Tick(Model):
    """Data of `clock.ticked`: none; the event's arrival is the message."""
