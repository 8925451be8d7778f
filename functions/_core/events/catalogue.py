"""The catalogue of events: their data, senders and handlers. The files in `events/` are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from functions._core.decision.model import Decision
from functions._core.events import commands
from functions._core.events.assignment import TaskAssignment
from functions._core.events.data import (
    AgentChanged,
    CompensationRequested,
    DecisionStored,
    EventArrived,
    FlowConsolidated,
    PlanValidated,
    StepCompleted,
    SubscriptionTested,
    TelemetryFrame,
    Tick,
    TicketCancelled,
    TicketReady,
    TicketsReady,
    Transition,
    WorkersDiscovered,
    WorkerUnhealthy,
)
from functions._core.events.healing import (
    ESCALATED,
    HEALING_ASKED,
    HEALING_DUE,
    INCIDENT_RAISED,
    RESOLVED,
    HealingActionRequested,
    HealingDue,
    IncidentEnded,
)
from functions._core.events.insights import ANALYZED, OPERATIONAL, STRATEGIC
from functions._core.events.jobs import JOB_DUE, JOB_LEAKED, JobDue, JobLeaked
from functions._core.events.pipelines import RESULTS, PipelineResult
from functions._core.events.policies import APPLIED, DUE, PolicyApplied, PolicyDue
from functions._core.events.reports import Report
from functions._core.events.slo_data import BudgetUpdated, FreezeTold, SloViolated
from functions._core.insights.insight import Insight
from functions._core.placement.breaker import Suspension
from functions._core.placement.signals import DEPOSITED, PheromoneDeposited
from functions._core.placement.workers import Deregistration, Heartbeat, Registration


@dataclass(frozen=True, slots=True)
class EventType:
    """One line of the catalogue."""

    event_type: str
    """The type without prefix and version."""
    model: type[BaseModel]
    """The model of its data."""
    sent_by: str
    """The senders, by function or role, joined by commas."""
    handled_by: str
    """The function that acts on it, or the receivers."""
    subject: str
    """The kind of id that its subject is."""
    text: str
    """One sentence for people."""
    outside: bool = False
    """Whether users or workers may send it to the ingress."""
    stored: type[BaseModel] | None = None
    """The model of the data between functions, where the data that users send stays in the store."""


SUBSCRIBERS, SINK, HOLDER = "subscribers", "the telemetry sink", "the worker, subscribers"
WEBHOOK = "the webhook of one subscription"
HELPER = "the server of FLOWC_HEALING_URL"
"""Receivers that are no function, by their names in the catalogue."""

FLOW, TICKET, WORKER, EITHER = "flow id", "ticket id", "worker id", "flow or ticket id"
SUBSCRIPTION, AGENT, SLO, FREEZE, INSIGHT = "subscription id", "agent id", "SLO id", "freeze id", "insight id"
"""The kinds of ids that an event may have as its subject."""

ENDS = "publish_telemetry, enforce_sla"
"""The functions that may end a flow: C6, or the clock when the sink is away."""

TICKED = (
    "enforce_sla, track_workers, calculate_budgets, enforce_freezes, reconcile_resources, heal_incident, run_executor, "
    "learn, analyze"
)
"""The functions that act as time passes."""

RAISES = "discover, assign, monitor, publish_telemetry, enforce_sla"
"""The functions that raise incidents."""

CALCULATES, FREEZES = "calculate_budgets, api", "enforce_freezes, api"
"""The functions that calculate budgets, and those that begin and end freezes."""


def _order(event_type: str, text: str) -> EventType:
    model = commands.ORDERS[event_type]
    subject = TICKET if issubclass(model, commands.TicketCommand) else FLOW
    return EventType(event_type, model, "user, api", "monitor", subject, text, outside=True)


CATALOGUE: Sequence[EventType] = (
    EventType(
        "decision.consolidated",
        Decision,
        "user, api, monitor, enforce_sla",
        "validate",
        FLOW,
        "A decision with its plan.",
        outside=True,
        stored=DecisionStored,
    ),
    EventType(
        "plan.validated",
        PlanValidated,
        "validate, monitor, enforce_sla",
        "generate_tickets",
        FLOW,
        "The plan can be done.",
    ),
    EventType(
        "flow.approval_requested",
        Transition,
        "validate",
        SUBSCRIBERS,
        FLOW,
        "A person has to agree, see detail.reasons.",
    ),
    EventType("plan.rejected", Transition, "validate", SUBSCRIBERS, FLOW, "C1 refused it; every reason is listed."),
    EventType("tickets.generated", Transition, "generate_tickets", SUBSCRIBERS, FLOW, "The plan has its tickets."),
    EventType(
        "tickets.ready",
        TicketsReady,
        "generate_tickets, discover, assign, monitor, enforce_sla",
        "discover",
        FLOW,
        "These tickets can begin, or go on.",
    ),
    EventType(
        "ticket.ready",
        TicketReady,
        "generate_tickets, discover, assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "A ticket that names a webhook needs a worker.",
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
    EventType(
        "ticket.event_arrived",
        EventArrived,
        "api",
        "monitor",
        TICKET,
        "An event that the ticket waits for has come.",
    ),
    EventType("ticket.started", Transition, "monitor", SUBSCRIBERS, TICKET, "The worker has begun."),
    EventType("ticket.waiting", Transition, "discover", SUBSCRIBERS, TICKET, "It needs no worker and begins to wait."),
    EventType("ticket.expanded", Transition, "discover", SUBSCRIBERS, TICKET, "Children of it were made."),
    EventType(
        "ticket.skipped",
        Transition,
        "discover",
        SUBSCRIBERS,
        TICKET,
        "It is left out, see reason.",
    ),
    EventType("ticket.completed", Transition, "discover, monitor, enforce_sla", SUBSCRIBERS, TICKET, "It is done."),
    EventType(
        "ticket.failed",
        Transition,
        "discover, assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "It failed for good.",
    ),
    EventType("ticket.retried", Transition, "monitor, enforce_sla", SUBSCRIBERS, TICKET, "It will be tried again."),
    EventType(
        "ticket.reassigned",
        Transition,
        "assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "It goes to another worker.",
    ),
    EventType("ticket.hedged", Transition, "monitor", SUBSCRIBERS, TICKET, "A second attempt at it has begun."),
    EventType("ticket.not_hedged", Transition, "monitor", SUBSCRIBERS, TICKET, "No worker for a second attempt."),
    EventType(
        "ticket.hedge_ended",
        Transition,
        "discover, assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "One of its two attempts is over, see reason.",
    ),
    EventType(
        "ticket.cancelled",
        TicketCancelled,
        "discover, assign, monitor, enforce_sla",
        HOLDER,
        TICKET,
        "Not wanted any more.",
    ),
    EventType("ticket.compensation_planned", Transition, "monitor", SUBSCRIBERS, TICKET, "Its work is to be undone."),
    EventType("ticket.compensated", Transition, "monitor", SUBSCRIBERS, TICKET, "Its work is undone."),
    EventType("ticket.retry_forced", Transition, "monitor", SUBSCRIBERS, TICKET, "A person did not want it to wait."),
    EventType("ticket.held_back", Transition, "discover, assign", SUBSCRIBERS, TICKET, "A freeze holds it back."),
    EventType("ticket.freeze_excepted", Transition, "monitor", SUBSCRIBERS, TICKET, "It passes every freeze."),
    EventType(
        "guard.verdict",
        Transition,
        "validate, discover, monitor",
        SUBSCRIBERS,
        EITHER,
        "A guard, or a person after it, stops it or lets it go on.",
    ),
    EventType("ticket.redriven", Transition, "discover, monitor", SUBSCRIBERS, TICKET, "It is done again."),
    EventType(
        "compensation.requested",
        CompensationRequested,
        "discover, assign, monitor, enforce_sla",
        "monitor",
        FLOW,
        "What the flow did has to be undone.",
    ),
    EventType("compensation.planned", Transition, "monitor", SUBSCRIBERS, FLOW, "The compensations exist."),
    EventType(
        "compensation.ended", Transition, "assign, monitor, enforce_sla", SUBSCRIBERS, FLOW, "No more is undone."
    ),
    EventType(
        "flow.consolidated",
        FlowConsolidated,
        "validate, discover, assign, monitor, enforce_sla, dead_letter",
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
    EventType("flow.reemitted", Transition, "enforce_sla", SUBSCRIBERS, FLOW, "A lost event was sent again."),
    EventType(
        "flow.held_back",
        Transition,
        "generate_tickets",
        SUBSCRIBERS,
        FLOW,
        "It waits for a place or a budget.",
    ),
    EventType("flow.paused", Transition, "monitor", SUBSCRIBERS, FLOW, "Nothing more is assigned."),
    EventType("flow.resumed", Transition, "monitor, enforce_sla", SUBSCRIBERS, FLOW, "It goes on."),
    EventType("flow.redriven", Transition, "monitor", SUBSCRIBERS, FLOW, "It goes on where it failed."),
    EventType(
        "sla.at_risk",
        Transition,
        "validate, discover, monitor, enforce_sla",
        SUBSCRIBERS,
        EITHER,
        "The deadline may be missed; once each.",
    ),
    EventType("flow.adjusted", Transition, "monitor", SUBSCRIBERS, FLOW, "Its open tickets matter more, or less."),
    EventType("flow.replanned", Transition, "monitor", SUBSCRIBERS, FLOW, "It goes on by another plan."),
    EventType("ticket.replanned", Transition, "monitor", SUBSCRIBERS, TICKET, "Its task is another one, or is back."),
    EventType("sla.violated", Transition, "enforce_sla", SUBSCRIBERS, EITHER, "The deadline passed before the end."),
    EventType(
        DUE,
        PolicyDue,
        "validate, discover, monitor, enforce_sla",
        "enforce_sla",
        EITHER,
        "Policies want to act on what comes at risk, or is late.",
    ),
    EventType(APPLIED, PolicyApplied, "enforce_sla", SUBSCRIBERS, EITHER, "A policy has acted, see results."),
    EventType(
        INCIDENT_RAISED,
        Transition,
        RAISES,
        SUBSCRIBERS,
        FLOW,
        "Somebody should look.",
    ),
    EventType(HEALING_DUE, HealingDue, RAISES, "heal_incident", FLOW, "A playbook may heal an incident."),
    EventType(HEALING_ASKED, HealingActionRequested, "heal_incident", HELPER, FLOW, "A playbook asks for a restart."),
    EventType(RESOLVED, IncidentEnded, "heal_incident", SUBSCRIBERS, FLOW, "The trouble of an incident is over."),
    EventType(ESCALATED, IncidentEnded, "heal_incident", SUBSCRIBERS, FLOW, "A playbook could not help: look at it."),
    EventType(JOB_DUE, JobDue, RAISES, "run_executor", FLOW, "Look at the job of a ticket of ours."),
    EventType(
        RESULTS,
        PipelineResult,
        "monitor, api, publish_telemetry, enforce_sla",
        SUBSCRIBERS,
        FLOW,
        "A pipeline of the code forge has ended, or is reviewed.",
    ),
    EventType(JOB_LEAKED, JobLeaked, "run_executor", SUBSCRIBERS, TICKET, "A job goes on that nobody wants."),
    _order("flow.cancel_requested", "Stop this flow."),
    _order("flow.approval_granted", "This flow may begin."),
    _order("flow.approval_denied", "This flow must not begin."),
    _order("flow.pause_requested", "Assign nothing more of this flow."),
    _order("flow.resume_requested", "Let this flow go on."),
    _order("flow.redrive_requested", "Let this failed flow go on where it failed."),
    _order("flow.adjust_requested", "Other priority, retries or time for the open tickets of this flow."),
    _order("flow.replan_requested", "Let this flow go on by another plan."),
    _order("ticket.retry_requested", "Try this ticket now, or again."),
    _order("ticket.reassign_requested", "Give this ticket to another worker."),
    _order("ticket.hedge_requested", "Begin a second attempt at this ticket, on another worker."),
    _order("ticket.skip_requested", "Take this ticket as done."),
    _order("ticket.claim_requested", "This worker takes this ticket."),
    _order("ticket.cancel_requested", "Stop this ticket."),
    _order("ticket.freeze_exception_granted", "Let this ticket pass every freeze."),
    _order("ticket.quarantine_decided", "A person releases or rejects this ticket in quarantine."),
    _order("ticket.approval_granted", "A person agrees to this ticket."),
    _order("ticket.approval_denied", "A person does not agree to this ticket."),
    EventType("worker.registered", Registration, "worker", "track_workers", WORKER, "A worker offers.", outside=True),
    EventType("worker.heartbeat", Heartbeat, "worker", "track_workers", WORKER, "A sign of life.", outside=True),
    EventType("worker.deregistered", Deregistration, "worker", "track_workers", WORKER, "It leaves.", outside=True),
    EventType("worker.recovered", TicketsReady, "track_workers", "discover", FLOW, "A worker can take these tickets."),
    EventType("worker.unhealthy", WorkerUnhealthy, "track_workers", "monitor", FLOW, "Its tickets need another."),
    EventType("worker.suspended", Suspension, "track_workers", SUBSCRIBERS, WORKER, "It gets nothing for a while."),
    EventType("registry.agent.added", AgentChanged, "track_workers", SUBSCRIBERS, AGENT, "A new agent."),
    EventType("registry.agent.updated", AgentChanged, "track_workers", SUBSCRIBERS, AGENT, "An agent has changed."),
    EventType("registry.agent.removed", AgentChanged, "track_workers", SUBSCRIBERS, AGENT, "An agent is gone."),
    EventType(
        DEPOSITED,
        PheromoneDeposited,
        "assign, monitor, enforce_sla",
        SUBSCRIBERS,
        TICKET,
        "A signal on a worker's trail; told by name alone.",
    ),
    EventType(
        "sla.budget.updated",
        BudgetUpdated,
        CALCULATES,
        f"enforce_freezes, {SUBSCRIBERS}",
        SLO,
        "An error budget was calculated.",
    ),
    EventType("sla.slo.violated", SloViolated, CALCULATES, SUBSCRIBERS, SLO, "More errors came than are allowed."),
    EventType("sla.freeze.activated", FreezeTold, FREEZES, SUBSCRIBERS, FREEZE, "A freeze has begun."),
    EventType("sla.freeze.resolved", FreezeTold, FREEZES, SUBSCRIBERS, FREEZE, "A freeze has ended."),
    EventType(ANALYZED, Insight, "analyze", SUBSCRIBERS, INSIGHT, "A problem was found, or is more urgent."),
    EventType(STRATEGIC, Insight, "analyze", SUBSCRIBERS, INSIGHT, "The same, where it is for those who decide."),
    EventType(OPERATIONAL, Insight, "analyze", SUBSCRIBERS, INSIGHT, "The same, where it is about flows that run."),
    EventType(
        "subscription.tested",
        SubscriptionTested,
        "api",
        WEBHOOK,
        SUBSCRIPTION,
        "Somebody tries the subscriber's webhook.",
    ),
    EventType("clock.ticked", Tick, "schedule", TICKED, "none", "Time has passed."),
)
"""Every type of event, in the order of a flow, then commands, workers and the clock."""

BY_TYPE: Mapping[str, EventType] = {entry.event_type: entry for entry in CATALOGUE}
"""The lines of the catalogue by their types."""
