"""The records of Flow C: what a store keeps and what the state machines move.

All are frozen values. `version` is 1 when a record is created and grows by one with every committed change; a
commit succeeds only on the version it was decided on. `next_wakeup_at` is set on every live record: whatever
else is lost, that instant re-drives it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from functions._core.records.ordering import precedence_of, urgency_of
from functions._core.records.policies import Qos, RetryPolicy, Sla, Undo
from functions._core.records.values import (
    CLEARANCES,
    FlowStatus,
    Outcome,
    Priority,
    Record,
    RiskBand,
    SecurityLevel,
    SlackState,
    TaskType,
    TicketStatus,
    Timestamp,
    Waiting,
    time_span,
)


class Reason(Record):
    """Why something was refused or failed: a stable `code`, a sentence, and where in the input it lies."""

    code: str
    message: str
    where: str | None = None


class Phase(Record):
    """One stay of a flow in a status; `emissions` counts how often its event was sent again."""

    status: FlowStatus
    entered_at: Timestamp
    emissions: int = 0


class Flow(Record):
    """The small row of a flow. Its size does not depend on the size of the plan.

    `sla_limit` is a deadline that the decision gave as a moment: unlike a span it does not stop while people are
    waited for. `announced` is how the flow was last said to stand against its deadline. `back` is where a pause ends.
    `compensable` counts the tickets that say how they are undone, `compensations` those that are being undone.
    `orders` are the audit ids of the last orders that people gave, so that one which comes twice counts once.
    `telemetry_published` tells, once the flow has ended, whether the sink has all of its telemetry. Until then
    `telemetry_waiting` are the ids of the events in the buffer, `telemetry_refused` those that became dead letters.
    """

    flow_id: str
    decision_id: str
    plan_id: str | None = None
    intent_id: str | None = None
    correlation_id: str
    traceparent: str
    content_hash: str
    status: FlowStatus = FlowStatus.VALIDATING
    outcome: Outcome | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    priority: Priority = Priority.NORMAL
    risk_band: RiskBand = RiskBand.MEDIUM
    received_at: Timestamp
    sla_deadline: Timestamp
    sla_limit: Timestamp | None = None
    announced: SlackState = SlackState.ON_TRACK
    back: FlowStatus | None = None
    compensable: int = 0
    compensations: int | None = None
    redrives: int = 0
    orders: tuple[str, ...] = ()
    ended_at: Timestamp | None = None
    phases: tuple[Phase, ...]
    tickets_generated: int = 0
    critical_path_ms: int | None = None
    tally: Mapping[str, int] = {}
    telemetry_published: bool | None = None
    telemetry_waiting: tuple[str, ...] = ()
    telemetry_refused: tuple[str, ...] = ()
    next_wakeup_at: Timestamp | None
    version: int = 1

    @property
    def phase(self) -> Phase:
        """The stay that the flow is in now, or ended in."""
        return self.phases[-1]

    @property
    def sla_paused(self) -> bool:
        """Whether people are waited for, so that the time of the SLA does not run."""
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


class Candidate(Record):
    """A worker as ranked for a ticket, with the parts of its score (each 0..1)."""

    worker_id: str
    score: float
    health_score: float
    pheromone_score: float
    telemetry_score: float
    active: int
    slots: int


class Refusal(Record):
    """A worker that was left out for a ticket, and why."""

    worker_id: str
    reason: str


class TaskLog(Record):
    """The end of what a task wrote in one attempt: standard output and standard error together, 64 KiB at most."""

    attempt: int
    text: str


class Ticket(Record):
    """One task on its way to being done: the execution ticket of the contract, and what drives it.

    `attempt` is the fencing token: it grows with every assignment to a worker. `retry_count` alone counts
    against `sla.max_retries`. `open_dependencies` counts those that are not COMPLETED yet. `perhaps_begun` tells that
    the worker may be at it although it did not acknowledge the attempt; `asked`, of a task that must not be repeated,
    that it was sent to the worker and no answer is known yet. `turn` orders those that wait for a slot.

    `until` is when it has waited too long for what it waits for; `next_wakeup_at` is then, or earlier when its slack
    is looked at before. `announced` is how it was last said to stand against its share of the SLA, `tail_ms` the
    longest path of estimates after it. `refused_by` are the workers that would not have it, each with the registration
    of it that was asked: that one is not asked again. `undo` says how its work is undone; `compensates` names the
    ticket whose work this one undoes. `late` says that by the estimates the ticket and what follows cannot be done in
    time any more. `ready_at` is from when on nothing but a worker is missing. `log` is what the newest
    attempt that told it wrote; it is served by itself alone and is in no event.
    """

    ticket_id: str
    flow_id: str
    plan_id: str
    intent_id: str
    decision_id: str
    correlation_id: str
    trace_id: str
    span_id: str
    task_id: str
    task_type: TaskType
    description: str
    dependencies: tuple[str, ...] = ()
    status: TicketStatus = TicketStatus.PENDING
    priority: Priority
    priority_score: float
    risk_band: RiskBand
    sla: Sla
    qos: Qos
    parameters: Mapping[str, Any] = {}
    required_capabilities: tuple[str, ...] = ()
    security_level: SecurityLevel = SecurityLevel.INTERNAL
    template_id: str | None = None
    idempotent: bool = True
    created_at: Timestamp
    assigned_at: Timestamp | None = None
    acknowledged_at: Timestamp | None = None
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    estimated_duration_ms: int
    actual_duration_ms: int | None = None
    retry_count: int = 0
    error_message: str | None = None
    reason: Reason | None = None
    compensation_ticket_id: str | None = None
    metadata: Mapping[str, Any] = {}
    schema_version: int = 1
    hash: str

    attempt: int = 0
    worker_id: str | None = None
    candidates: tuple[Candidate, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    excluded_workers: tuple[str, ...] = ()
    perhaps_begun: bool = False
    asked: bool = False
    waiting: Waiting | None = None
    waiting_since: Timestamp | None = None
    turn: int | None = None
    emissions: int = 0
    latest_start: Timestamp
    tail_ms: int = 0
    announced: SlackState = SlackState.ON_TRACK
    late: bool = False
    retry: RetryPolicy = RetryPolicy()
    ready_at: Timestamp | None = None
    schedule_to_start_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    undo: Undo | None = None
    compensates: str | None = None
    skipped: bool = False
    until: Timestamp | None = None
    level: int = 0
    critical: bool = False
    dependants: tuple[str, ...] = ()
    open_dependencies: int = 0
    progress: float | None = None
    output: Any = None
    refused_by: Mapping[str, str] = {}
    log: TaskLog | None = None
    next_wakeup_at: Timestamp | None
    version: int = 1

    @property
    def timeout(self) -> timedelta:
        """How long a worker may take, from its acknowledgement on."""
        return time_span(self.sla.timeout_ms)

    @property
    def urgency(self) -> Timestamp:
        """The moment that orders the tickets that wait, the earliest first."""
        return urgency_of(self.latest_start, self.created_at, late=self.late)

    @property
    def precedence(self) -> int:
        """The number that orders the tickets that are equally urgent, the lowest first."""
        return precedence_of(self.priority_score, self.priority)

    @property
    def order(self) -> tuple[Timestamp, int, str]:
        """What orders tickets that become ready together, as it orders those that wait in one turn."""
        return self.urgency, self.precedence, self.ticket_id

    @property
    def requirement(self) -> frozenset[str]:
        """What a worker has to offer (`Worker.offers`) to get the ticket: all capabilities, and the clearance."""
        return CLEARANCES[self.security_level].union(self.required_capabilities)

    @property
    def live(self) -> bool:
        """Whether the ticket can still change by itself."""
        return self.status in LIVE_TICKETS


LIVE_TICKETS = frozenset({TicketStatus.PENDING, TicketStatus.ASSIGNED, TicketStatus.RUNNING})
