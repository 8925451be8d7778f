"""The two records that the state machines move: flow and ticket.

All records are frozen values. `version` is 1 when a record is created and grows by one with every committed change; a
commit succeeds only on the version that it was decided on. `next_wakeup_at` is set on every live record: at that
moment the record is looked at, even if every event is lost.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from functions._core.records.control import Children, Control
from functions._core.records.hedge import Hedge
from functions._core.records.ordering import boost_of, precedence_of, urgency_of
from functions._core.records.policies import BudgetVerdict, Concurrency, Qos, RetryPolicy, Sla, Undo
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.record import Record, fields_of
from functions._core.records.values import (
    CLEARANCES,
    FlowStatus,
    Outcome,
    Priority,
    RiskBand,
    SecurityLevel,
    SlackState,
    TaskType,
    TicketStatus,
    Timestamp,
    Waiting,
    time_span,
)
from functions._core.records.worker import Candidate, Refusal


class Reason(Record):
    """Why something was refused or failed: a stable `code`, a sentence, and where in the input it lies."""

    code: str
    """A stable word for programs."""
    message: str
    """A sentence for people."""
    where: str | None = None
    """The place in the decision, e.g. cognitive_plan.tasks[3].task_id, or a task id."""

    @property
    def told(self) -> dict[str, str]:
        """The reason as history and events tell it: without the place where there is none."""
        return {name: value for name, value in fields_of(self).items() if value is not None}


class Phase(Record):
    """One stay of a flow in a status; `emissions` counts how often its event was sent again."""

    status: FlowStatus
    """The status that the flow was in."""
    entered_at: Timestamp
    """When the flow came to it."""
    emissions: int = 0
    """How often its event was sent again because it had no effect."""


class Flow(Record):
    """The small row of a flow. Its size does not depend on the size of the plan."""

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id."""
    decision_id: str
    """Id of the decision, as its sender chose it, 1 to 255 characters."""
    plan_id: str | None = None
    """Id of the plan; None while the decision names no usable one."""
    intent_id: str | None = None
    """Id of the intent that led to the plan; None while the decision names no usable one."""
    correlation_id: str
    """The decision's correlation id, else that of its event, else the flow id."""
    traceparent: str
    """The W3C trace context that all events of the flow carry."""
    content_hash: str
    """SHA-256 of the decision as canonical JSON: the same id with other content is a conflict."""
    status: FlowStatus = FlowStatus.VALIDATING
    """Where the flow is; only the table of the state machine changes it."""
    outcome: Outcome | None = None
    """How the flow ends; None until it is known, then never changed but by a redrive."""
    reasons: tuple[Reason, ...] = ()
    """Why the flow did not succeed, or waits for approval; at most 100, then one that counts the rest."""
    warnings: tuple[Reason, ...] = ()
    """Findings of C1 that stop nothing, the first 20."""
    priority: Priority = Priority.NORMAL
    """How much the flow matters to the user."""
    risk_band: RiskBand = RiskBand.MEDIUM
    """How dangerous the plan is; MEDIUM until C1 has read the decision."""
    received_at: Timestamp
    """When the decision arrived."""
    sla_deadline: Timestamp
    """When the flow must be done; it moves while people are waited for."""
    sla_limit: Timestamp | None = None
    """A deadline that the decision gave as a moment: unlike a span it does not stop while people are waited for."""
    announced: SlackState = SlackState.ON_TRACK
    """The slack state that was announced last, so that each change is announced once."""
    back: FlowStatus | None = None
    """The status to which a pause or a redrive returns."""
    compensable: int = 0
    """How many tickets say how their work is undone."""
    compensations: int | None = None
    """How many tickets are to be undone; None until that is planned."""
    redrives: int = 0
    """How often the flow was redriven."""
    dropped: int = 0
    """How many of its tickets another plan has left out; they are CANCELLED, and do not count for the outcome."""
    orders: tuple[str, ...] = ()
    """Audit ids of the last 20 commands, so that one which comes twice counts once."""
    ended_at: Timestamp | None = None
    """When the end status was reached; None before."""
    phases: tuple[Phase, ...]
    """Every stay in a status, the oldest first; the last one is the present."""
    tickets_generated: int = 0
    """How many tickets the plan has."""
    critical_path_ms: int | None = None
    """Length of the critical path by estimates, in milliseconds; None until C1 has read the plan."""
    tenant_id: str | None = None
    """The tenant that the decision names, for limits; None when it names none."""
    labels: Mapping[str, str] = {}
    """Names and values by which people find the flow, those of the decision over those of the plan; at most 16."""
    concurrency: Concurrency | None = None
    """The key whose places it shares, with its limit; None: no limit of its own."""
    budget_verdict: BudgetVerdict | None = None
    """What an admission policy makes of it; None where no error budget matters."""
    tolerated: Mapping[str, int] = {}
    """How many of its tickets ended in a status that does not count for the outcome, by status: items, children."""
    clock_waits: Mapping[str, Timestamp] = {}
    """Tickets for whose wait the deadline was moved, each with the moment up to which it was."""
    tally: Mapping[str, int] = {}
    """How many tickets of the plan are in each status, counted when the outcome was set; absent ones are zero."""
    telemetry_published: bool | None = None
    """Whether the sink has all of the telemetry; None until the flow has ended."""
    telemetry_waiting: tuple[str, ...] = ()
    """Ids of the events that wait in the buffer for the sink."""
    telemetry_refused: tuple[str, ...] = ()
    """Ids of the dead letters of events that the sink refused."""
    prediction: FlowPrediction | None = None
    """How it was expected to go by what flows before it had taught; None where nothing is predicted."""
    next_wakeup_at: Timestamp | None
    """When the flow is looked at, even if every event is lost; None once it has ended."""
    version: int = 1
    """1 at first, one more with every committed change; a commit succeeds only on the version it read."""

    @property
    def phase(self) -> Phase:
        """The stay that the flow is in now, or ended in."""
        return self.phases[-1]

    @property
    def sla_paused(self) -> bool:
        """Whether the flow waits for a person, so that the time of the SLA does not run."""
        return self.status in STANDING_FLOWS

    @property
    def deadline(self) -> Timestamp | None:
        """When the SLA ends the flow; None while its time does not run."""
        return self.sla_limit if self.sla_paused else self.sla_deadline

    @property
    def trace_id(self) -> str:
        """The 32 hexadecimal digits of the trace."""
        return self.traceparent.split("-")[1]

    @property
    def span_id(self) -> str:
        """The 16 hexadecimal digits of the span that started the flow."""
        return self.traceparent.split("-")[2]


STANDING_FLOWS = frozenset({FlowStatus.AWAITING_APPROVAL, FlowStatus.PAUSED})
"""Statuses in which a flow waits for a person: the time of its SLA stops there."""


class TaskLog(Record):
    """The end of what a task wrote in one attempt: standard output and standard error together, 64 KiB at most."""

    attempt: int
    """The attempt that wrote it."""
    text: str
    """The text, UTF-8, its last 64 KiB."""


class Ticket(Record):
    """One task on its way to its end: the execution ticket of the contract, and the fields that drive it.

    The fields up to `hash` are those of the contract; the others are the state machine's own.
    """

    ticket_id: str
    """Id of the ticket: a UUIDv5 of flow id and task id."""
    flow_id: str
    """Id of the flow that the ticket belongs to."""
    plan_id: str
    """Id of the plan."""
    intent_id: str
    """Id of the intent that led to the plan."""
    decision_id: str
    """Id of the decision."""
    correlation_id: str
    """The flow's correlation id."""
    trace_id: str
    """The trace of the flow, 32 hexadecimal digits."""
    span_id: str
    """The span that started the flow, 16 hexadecimal digits."""
    task_id: str
    """Id of the task, unique within its plan; `compensate:` and the id of the task for a compensation."""
    task_type: TaskType
    """The kind of work."""
    description: str
    """The work, in words for people."""
    dependencies: tuple[str, ...] = ()
    """Ids of the tickets that must be COMPLETED before this one may begin."""
    status: TicketStatus = TicketStatus.PENDING
    """Where the ticket is; only the table of the state machine changes it."""
    priority: Priority
    """How much the ticket matters to the user."""
    priority_score: float
    """Urgency at creation, 0 to 1: from risk, care and the time that had passed."""
    risk_band: RiskBand
    """How dangerous the task is; it decides the retries and the care."""
    sla: Sla
    """The ticket's share of the flow's deadline, its timeout and its retries."""
    qos: Qos
    """How carefully the ticket is handled."""
    parameters: Mapping[str, Any] = {}
    """The input of the work as planned, any JSON object; references to outputs are not resolved here."""
    required_capabilities: tuple[str, ...] = ()
    """Capabilities that a worker must offer, all of them; lower case, sorted."""
    security_level: SecurityLevel = SecurityLevel.INTERNAL
    """The clearance that a worker must have at least."""
    template_id: str | None = None
    """Id of a template that the worker knows; None for work without one."""
    idempotent: bool = True
    """False: once begun, the task is never tried again; it fails instead."""
    created_at: Timestamp
    """When C2, or the compensation, made the ticket."""
    assigned_at: Timestamp | None = None
    """When the present attempt was given to its worker; None while no worker has it."""
    acknowledged_at: Timestamp | None = None
    """When the worker accepted the present attempt; its timeout runs from then on."""
    started_at: Timestamp | None = None
    """When the worker first reported RUNNING in the present attempt."""
    completed_at: Timestamp | None = None
    """When the ticket ended, in whatever status."""
    estimated_duration_ms: int
    """Expected duration, in milliseconds."""
    actual_duration_ms: int | None = None
    """Duration of the attempt that succeeded, in milliseconds; None for every other end."""
    retry_count: int = 0
    """How often it was tried again after a failure or a timeout; this alone counts against `sla.max_retries`."""
    runs: int = 0
    """How often it was begun anew, with all of its retries: by a redrive, or as another task of another plan."""
    error_message: str | None = None
    """The message of `reason`, as the contract names it."""
    reason: Reason | None = None
    """Why the last attempt, or the ticket, came to nothing."""
    compensation_ticket_id: str | None = None
    """Id of the ticket that undoes the work of this one; None when nothing does."""
    metadata: Mapping[str, Any] = {}
    """Anything that the plan keeps with the task; nothing here depends on it."""
    domain: str | None = None
    """The domain of the plan, one of `DOMAINS`, in which workers leave their trails; None: the type of the task."""
    schema_version: int = 1
    """Version of the ticket's form."""
    hash: str
    """SHA-256 of the fields that never change; a ticket whose hash is another one is never assigned."""

    attempt: int = 0
    """The fencing token: it grows with every assignment, and a report on another attempt changes nothing."""
    worker_id: str | None = None
    """Id of the worker that has the present attempt; None while no worker has it."""
    candidates: tuple[Candidate, ...] = ()
    """Workers that C3 ranked for the present attempt, the best first; the next one is tried at once."""
    refusals: tuple[Refusal, ...] = ()
    """Workers that C3 left out last time, with the reasons, at most 10."""
    excluded_workers: tuple[str, ...] = ()
    """Workers that had the ticket and lost it, the last 16; they are ranked last."""
    perhaps_begun: bool = False
    """Whether the worker may be at the present attempt although it did not acknowledge it."""
    asked: bool = False
    """Whether a task that must not be repeated was sent to the worker and no answer is known yet."""
    waiting: Waiting | None = None
    """The thing that a PENDING or WAITING ticket waits for; None in any other status."""
    waiting_since: Timestamp | None = None
    """When it began to wait for that."""
    turn: int | None = None
    """The turn in which it waits for a slot, the lowest first; None when it waits for no slot."""
    emissions: int = 0
    """How often its discovery was asked for again since the last assignment; each event gets a new id."""
    latest_start: Timestamp
    """When it must start at the latest, by estimates or by p90, so that the flow meets its deadline."""
    tail_ms: int = 0
    """Length of the critical path after it, in milliseconds: by estimates, or by p50 where that is less."""
    announced: SlackState = SlackState.ON_TRACK
    """The slack state that was announced last, so that each change is announced once."""
    late: bool = False
    """Whether, by the estimates, the ticket and its dependants cannot be done in time any more."""
    retry: RetryPolicy = RetryPolicy()
    """The pauses between its retries."""
    ready_at: Timestamp | None = None
    """From when on nothing but a worker is missing; None while it waits for dependencies."""
    schedule_to_start_ms: int | None = None
    """How long it may wait for a worker from `ready_at` on, in milliseconds; None: until the deadline."""
    heartbeat_timeout_ms: int | None = None
    """How long a worker may be silent about it, in milliseconds; None: until its timeout."""
    undo: Undo | None = None
    """How its work is undone; None when it is not."""
    compensates: str | None = None
    """Id of the ticket whose work this one undoes; None for a ticket of the plan."""
    skipped: bool = False
    """Whether a person let it count as done without being done."""
    until: Timestamp | None = None
    """The end of its present wait, for a worker or for the end of an attempt; then a rule acts."""
    level: int = 0
    """Its level in the plan: 0 without dependencies, else one more than the highest of them."""
    critical: bool = False
    """Whether it lies on the critical path."""
    dependants: tuple[str, ...] = ()
    """Ids of the tickets that depend on it."""
    open_dependencies: int = 0
    """How many of its dependencies are not COMPLETED yet."""
    control: Control | None = None
    """Condition, wait, repetition or sub-flow; None for a plain task."""
    parent: str | None = None
    """Id of the ticket whose child this one is: an item of its list, or a task of its plan."""
    scope: str = ""
    """How the ids of the tasks begin that it sees: those of its sub-flow; empty outside of sub-flows."""
    index: int | None = None
    """The place in the list, from 0 on, of the item that it is for."""
    item: Any = None
    """The item that it is for, any JSON value."""
    children: Children | None = None
    """The progress of its children; None while it has none."""
    labels: Mapping[str, str] = {}
    """Names and values by which people find it, those of the task over those of its flow; at most 16."""
    progress: float | None = None
    """How far the present attempt is, in percent; None when the worker has not said it."""
    output: Any = None
    """The result of the work, any JSON value; later tickets can refer to it."""
    refused_by: Mapping[str, str] = {}
    """Workers that would not have it, each with the registration that was asked: it is not asked again."""
    freeze_exception: bool = False
    """Whether a person lets it pass every freeze."""
    guard_release: bool = False
    """Whether a person has released it from quarantine: no guard puts it there again."""
    log: TaskLog | None = None
    """The end of what its newest attempt with a log wrote; it has a request of its own and is in no event."""
    hedge: Hedge | None = None
    """The attempt that runs, or ran, beside the present one, on another worker; the first result of the two counts."""
    prediction: Prediction | None = None
    """How long its work was expected to take by what tickets before it had taught; None where nothing is predicted."""
    next_wakeup_at: Timestamp | None
    """When it is looked at, even if every event is lost: at `until`, or earlier when its slack changes."""
    version: int = 1
    """1 at first, one more with every committed change; a commit succeeds only on the version it read."""

    @property
    def timeout(self) -> timedelta:
        """How long a worker may take, from its acknowledgement on: a prediction may give it longer."""
        longer = None if self.prediction is None else self.prediction.timeout_ms
        return time_span(max(self.sla.timeout_ms, longer or 0))

    @property
    def urgency(self) -> Timestamp:
        """The moment that orders the tickets that wait, the earliest first."""
        return urgency_of(self.latest_start, self.created_at, late=self.late)

    @property
    def precedence(self) -> int:
        """The number that orders the tickets that are equally urgent, the lowest first.

        The boost is that at the latest start: stores keep the number, and the same urgency means the same moment.
        """
        boost = boost_of(self.prediction, self.sla.deadline - self.latest_start) if self.prediction else 0.0
        return precedence_of(self.priority_score + boost, self.priority)

    @property
    def order(self) -> tuple[Timestamp, int, str]:
        """The order of tickets that become ready together, the same as of those that wait in one turn."""
        return self.urgency, self.precedence, self.ticket_id

    @property
    def requirement(self) -> frozenset[str]:
        """Everything that a worker must offer (`Worker.offers`) to get the ticket: capabilities and clearance."""
        return CLEARANCES[self.security_level].union(self.required_capabilities)

    @property
    def live(self) -> bool:
        """Whether the ticket can still change without a command."""
        return self.status in LIVE_TICKETS


HELD_TICKETS = frozenset({TicketStatus.ASSIGNED, TicketStatus.RUNNING})
"""Statuses in which a worker has the ticket."""

LIVE_TICKETS = HELD_TICKETS | {TicketStatus.PENDING, TicketStatus.WAITING}
"""Statuses of a ticket that changes without a command; each has a timeout of its own."""
