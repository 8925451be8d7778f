"""History as data: what ended flows and their tickets were, how long they took, and what was known before.

A ticket's row is the same on every store, as it is made of records. `work` is what a model may look at; all else came
to be known later.
"""

from datetime import datetime

from functions._core.learning.predictions import PlannedWork
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.record import Record
from functions._core.records.values import Outcome, Priority, RiskBand, SecurityLevel, TaskType, TicketStatus, Timestamp


class TicketRow(Record):
    """A ticket of a plan that has ended, as one row."""

    flow_id: str
    """Id of its flow."""
    ticket_id: str
    """Id of the ticket."""
    task_id: str
    """Id of its task within its plan, without its scope."""
    task_type: TaskType
    """The kind of work."""
    domain: str | None = None
    """The domain of its plan."""
    capabilities: tuple[str, ...] = ()
    """What a worker had to offer, sorted."""
    status: TicketStatus
    """How it ended."""
    worker_id: str | None = None
    """Who had its last attempt."""
    risk_band: RiskBand
    """How dangerous it was."""
    priority: Priority
    """How much it mattered."""
    security_level: SecurityLevel
    """The clearance that a worker had to have."""
    level: int
    """Its level in the plan."""
    fan_in: int
    """Tasks that it depended on."""
    fan_out: int
    """Tasks that depended on it."""
    plan_tasks: int
    """Tasks of its plan."""
    parameters_bytes: int
    """Bytes of its parameters as JSON."""
    output_bytes: int
    """Bytes of its output as JSON, 0 without one."""
    estimate_ms: int
    """What its plan expected."""
    timeout_ms: int
    """How long an attempt might take."""
    sla_ms: int
    """Milliseconds that its flow had."""
    created_at: Timestamp
    """When it was planned."""
    ready_at: Timestamp | None = None
    """From when on nothing but a worker was missing."""
    assigned_at: Timestamp | None = None
    """When its last attempt was given to its worker."""
    completed_at: Timestamp
    """When it ended."""
    deadline: Timestamp
    """Its share of the flow's deadline."""
    actual_ms: int | None = None
    """How long the attempt took that succeeded; None for every other end."""
    worker_ms: int | None = None
    """Milliseconds of workers' slots over all of its attempts, failed and hedged ones, too; None where not known."""
    retries: int = 0
    """How often it was tried again."""
    attempts: int = 0
    """How often it was given to a worker."""
    hedged: bool = False
    """Whether an attempt ran beside another one."""
    critical: bool = False
    """Whether it lay on the critical path."""
    reason_code: str | None = None
    """Why its last attempt, or the ticket, came to nothing: the code."""
    error: str | None = None
    """The sentence of that, its first 300 characters."""
    prediction: Prediction | None = None
    """What was predicted for it."""

    @property
    def work(self) -> PlannedWork:
        """What was known of it before anybody did it."""
        return PlannedWork(
            task_type=self.task_type,
            task_id=self.task_id,
            domain=self.domain,
            capabilities=self.capabilities,
            estimate_ms=max(1, self.estimate_ms),
            parameters_bytes=self.parameters_bytes,
            risk_band=self.risk_band,
            priority=self.priority,
            security_level=self.security_level,
            level=self.level,
            fan_in=self.fan_in,
            fan_out=self.fan_out,
            plan_tasks=self.plan_tasks,
            sla_ms=self.sla_ms,
            at=self.created_at,
        )

    @property
    def waited_ms(self) -> int | None:
        """How long it waited for a worker before its last attempt, in milliseconds; None where it got none."""
        if self.ready_at is None or self.assigned_at is None:
            return None
        return max(0, _milliseconds(self.ready_at, self.assigned_at))


class FlowRow(Record):
    """A flow that has ended, as one row."""

    flow_id: str
    """Id of the flow."""
    decision_id: str
    """Id of its decision."""
    plan_id: str | None = None
    """Id of its plan."""
    correlation_id: str
    """Its correlation id."""
    trace_id: str
    """Its trace."""
    outcome: Outcome
    """How it ended."""
    priority: Priority
    """How much it mattered."""
    risk_band: RiskBand
    """How dangerous it was."""
    received_at: Timestamp
    """When its decision arrived."""
    ended_at: Timestamp
    """When it ended."""
    deadline: Timestamp
    """When it had to be done."""
    missed: bool
    """Whether it missed its deadline."""
    simulated: bool = False
    """Whether it was a rehearsal, whose times say nothing about real work."""
    tickets: int
    """Tickets of its plan."""
    critical_path_ms: int | None = None
    """The critical path of its plan by estimates, in milliseconds."""
    reason_code: str | None = None
    """Its first reason, where it did not succeed."""
    prediction: FlowPrediction | None = None
    """What was predicted for it."""

    @property
    def duration_ms(self) -> int:
        """How long it took, from its arrival to its end."""
        return _milliseconds(self.received_at, self.ended_at)


def _milliseconds(since: datetime, until: datetime) -> int:
    return round((until - since).total_seconds() * 1000)
