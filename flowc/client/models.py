"""What clients send and get, as typed values.

Answers keep fields that a later platform adds: they are in `model_extra`. Times are timezone-aware. Statuses, types and
priorities are text, so that a client goes on with words that it does not know.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from flowc.client.tracing import TRACEPARENT, next_traceparent

SLA = timedelta(hours=4)
"""Time of a flow whose decision says nothing about it."""

DEFAULT_PRIORITY = 5


class Sent(BaseModel):
    """Base of what a program makes: a field that is misspelt is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Answered(BaseModel):
    """Base of what the platform answers."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class FlowCContext(Sent):
    """What belongs together in one flow: its ids, its trace, its time limit."""

    intent_id: str
    plan_id: str
    decision_id: str
    correlation_id: str
    """The same for all that follows from one intent."""
    trace_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Of the W3C trace, 32 hexadecimal digits."""
    span_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Of the span that the flow begins in, 16 hexadecimal digits."""
    started_at: AwareDatetime
    sla_deadline: AwareDatetime = Field(default_factory=lambda data: data["started_at"] + SLA)
    """Four hours after the start, where nothing is said."""
    priority: int = Field(default=DEFAULT_PRIORITY, ge=1, le=10)
    risk_band: str = Field(default="medium", pattern=r"^(low|medium|high|critical)$")

    @model_validator(mode="after")
    def _is_a_trace(self) -> Self:
        if not (int(self.trace_id, 16) and int(self.span_id, 16)):
            raise ValueError("a trace or span whose id is zero is none")
        return self

    @classmethod
    def of(cls, decision: Mapping[str, Any], started_at: datetime, traceparent: str | None = None) -> Self:
        """Return the context of a decision; raises `ValueError` where it lacks one of its three ids."""
        match = TRACEPARENT.fullmatch(traceparent or "") or TRACEPARENT.fullmatch(next_traceparent())
        trace = {"trace_id": match[1], "span_id": match[2]} if match else {}
        given = {
            name: decision[name]
            for name in ("intent_id", "plan_id", "decision_id", "trace_id", "span_id", "priority", "risk_band")
            if decision.get(name) is not None
        }
        seconds = decision.get("sla_deadline_seconds")
        sla = timedelta(seconds=seconds) if isinstance(seconds, int | float) else SLA
        correlation = decision.get("correlation_id") or _flow_id(str(decision.get("decision_id")))
        return cls.model_validate(
            {
                **trace,
                **given,
                "correlation_id": correlation,
                "started_at": started_at,
                "sla_deadline": started_at + sla,
            }
        )

    @property
    def traceparent(self) -> str:
        """The header that continues the trace."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    @property
    def workflow_id(self) -> str:
        """Id of the flow, which follows from the decision's."""
        return _flow_id(self.decision_id)


class FlowCStep(Answered):
    """One of the six steps of a flow."""

    step: str = Field(pattern=r"^C[1-6]$")
    name: str = ""
    status: str
    """`completed`, `failed`, `in_progress`, or `skipped` when the flow did not come to it."""
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    duration_ms: int | None = Field(default=None, ge=0)
    attempts: int = Field(default=0, ge=0)


class FlowCResult(Answered):
    """How a flow ended. Completed and failed tickets are never more than there are; a success has no failed ones."""

    success: bool
    steps: tuple[FlowCStep, ...] = ()
    total_duration_ms: int = Field(ge=0)
    """From the start of the flow to its end."""
    tickets_generated: int = Field(ge=0)
    tickets_completed: int = Field(ge=0)
    tickets_failed: int = Field(ge=0)
    telemetry_published: bool | None = False
    """False while the telemetry waits for its sink; null until the flow has ended."""
    error: str | None = None
    flow_id: str = ""
    status: str = ""
    """How it ended: COMPLETED, FAILED, TIMED_OUT, CANCELLED or REJECTED."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.tickets_completed + self.tickets_failed > self.tickets_generated:
            raise ValueError("more tickets have ended than there are")
        if self.success and (self.tickets_failed or self.error is not None):
            raise ValueError("a success has neither failed tickets nor an error")
        return self


class TaskAssignment(Answered):
    """A task as a worker gets it."""

    task_id: str
    ticket_id: str
    task_type: str
    payload: Any = None
    sla_deadline: AwareDatetime | None = None
    attempt: int = Field(default=1, ge=1)
    """The fencing token: a report counts only for the ticket's present attempt."""
    callback_url: str = ""
    """Where the report goes."""
    token: str = Field(default="", repr=False)
    """The proof that goes with the report."""


class TaskStatus(Answered):
    """How a task fares, as its worker says."""

    task_id: str
    ticket_id: str
    status: str
    progress: float | None = Field(default=None, ge=0, le=100)
    """How far it is, in percent; None where the task does not say."""
    result: Any = None
    error: Mapping[str, Any] | None = None


class TaskTaken(Answered):
    """A worker's answer to an assignment: `taken`, `known`, or `superseded` by a newer attempt."""

    result: str


class AgentTelemetry(Sent):
    """What an agent says of its own record. None: unknown, which is never the same as zero."""

    success_rate: float | None = Field(default=None, ge=0, le=1)
    """Share of its tasks that succeed."""
    active_tasks: int | None = Field(default=None, ge=0)
    cpu: float | None = Field(default=None, ge=0, le=1)
    """Share of its processors that is in use."""
    memory: float | None = Field(default=None, ge=0, le=1)
    """Share of its memory that is in use."""
    latency_ms: float | None = Field(default=None, ge=0)
    """How long its answers take, in milliseconds."""
    total_executions: int | None = Field(default=None, ge=0)
    avg_duration_ms: float | None = Field(default=None, ge=0)
    """Average duration of its tasks, in milliseconds."""

    def stated(self) -> dict[str, Any]:
        """Return what is known of it, as JSON values."""
        return self.model_dump(mode="json", exclude_none=True)


class AgentInfo(Answered):
    """An agent: what it registers as, and what the registry knows of it."""

    agent_id: str = ""
    """Left empty, the registry gives it one."""
    agent_type: str = "WORKER"
    """WORKER, SCOUT, GUARD, ANALYST, OPTIMIZER, QUEEN or FORGE; only workers get tickets."""
    capabilities: tuple[str, ...] = ()
    endpoint: str = ""
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    status: str = ""
    """HEALTHY, DEGRADED or UNHEALTHY, as the registry sees it."""
    health_score: float | None = None
    pheromone_score: float | None = None
    telemetry_score: float | None = None
    composite_score: float | None = None
    """0.4 health, 0.3 pheromone, 0.3 telemetry; the scores are in answers to `discover_agents` alone."""


class HealthStatus(Sent):
    """How an agent fares. `last_heartbeat` is for people; the registry's own clock decides."""

    status: str = "HEALTHY"
    """HEALTHY, DEGRADED or UNHEALTHY, in any letter case."""
    last_heartbeat: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    metrics: AgentTelemetry = AgentTelemetry()
    """What it says of its own record, such as `{"success_rate": 0.95}`."""


class AgentRegistration(Answered):
    """The registry's answer to a registration."""

    agent_id: str
    heartbeat_interval_seconds: float = Field(default=30.0, gt=0)
    """How often the registry wants to hear of it."""
    signing_secret: str = Field(default="", repr=False)
    """The key of the messages to a worker; each registration has another one."""
    callback_base_url: str = ""


class AgentChanges(Answered):
    """Changes of the registry in their order, and the revision from which to go on watching."""

    changes: tuple[Mapping[str, Any], ...] = ()
    """Each with its revision and kind, and the agent where it is there."""
    revision: int


class HeartbeatTaken(Answered):
    """The registry's answer to a heartbeat."""

    status: str = ""
    cancel: tuple[str, ...] = ()
    """Tickets that the agent holds and should stop."""


class ExecutionTicket(Answered):
    """A ticket."""

    ticket_id: str
    flow_id: str = ""
    plan_id: str = ""
    task_id: str = ""
    task_type: str = ""
    status: str = "PENDING"
    """PENDING, ASSIGNED, RUNNING, WAITING, COMPLETED, SKIPPED, FAILED, CANCELLED, COMPENSATING or COMPENSATED."""
    attempt: int = 0
    worker_id: str | None = None
    output: Any = None
    """What came of it."""


class TicketPage(Answered):
    """Some tickets; `cursor` asks for the next page, None means that there is none."""

    items: tuple[ExecutionTicket, ...]
    cursor: str | None = None


class TicketToken(Answered):
    """A token for the attempt that a worker holds now."""

    access_token: str = Field(repr=False)
    expires_at: AwareDatetime


class Workflow(Answered):
    """A workflow: the flow of the same id."""

    workflow_id: str
    status: str
    plan_id: str = ""
    sla_deadline: AwareDatetime | None = None
    steps: tuple[FlowCStep, ...] = ()


class ForgeStage(Answered):
    """A stage of a pipeline of the code forge."""

    name: str
    """select_template, compose_code, validate_code, run_tests, package or approve."""
    status: str
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    duration_ms: int | None = None
    attempts: int = 0
    output_ref: str | None = None
    """The path of the ticket whose output is what it has made."""
    error: str | None = None


class ForgePipeline(Answered):
    """A pipeline of the code forge."""

    pipeline_id: str
    status: str
    """PENDING, RUNNING, REQUIRES_APPROVAL, COMPLETED, FAILED, REJECTED, CANCELLED or TIMED_OUT."""
    artifact_id: str = ""
    ticket_id: str | None = None
    stage: str | None = None
    """The stage that it is at, or did not get past."""
    stages: tuple[ForgeStage, ...] = ()
    error: str | None = None
    artifacts: tuple[Mapping[str, Any], ...] = ()
    """What it has made: artifact_id, artifact_type, location and checksum."""
    sbom: Mapping[str, Any] | None = None
    signature: str | None = None
    score: float | None = None
    approval_required: bool = False
    git_mr_url: str | None = None
    url: str | None = None
    """Where a person sees it."""


def _flow_id(decision_id: str) -> str:
    from functions._core.records.values import flow_id_of

    return flow_id_of(decision_id)
