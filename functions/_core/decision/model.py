"""What is read of a decision: frozen, tolerant models of it, of its cognitive plan and of the plan's tasks.

A field that nothing here uses is not modelled, so a strange value in it refuses nothing; the stored decision
keeps it. Null means absent. Words are those of `vocabulary`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from functions._core.decision.vocabulary import (
    MAX_TASKS,
    CompensationWord,
    DurationMs,
    Id,
    Ids,
    Moment,
    NotUnderstood,
    PriorityWord,
    Seconds,
    TaskWord,
)
from functions._core.errors import Rejected
from functions._core.records.json_text import count_parts, parse_json
from functions._core.records.values import Priority, Record, RiskBand, SecurityLevel, TaskType, Verdict, add_time
from functions._core.rules import DEFAULT_SLA

DEFAULT_ESTIMATE_MS = 60_000
PLAN_WRAPPERS = ("cognitive_plan", "plan_data")
"""Keys under which approval records and plan ledgers keep the plan itself."""


class Input(Record):
    """Base of what others send: null counts as absent, and `synonyms` maps other names in use to ours."""

    synonyms: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        tidy = {name: value for name, value in data.items() if value is not None}
        for other, name in cls.synonyms.items():
            if other in tidy:
                tidy.setdefault(name, tidy[other])
        return tidy


class Compensation(Input):
    """How the work of a task is undone; what it leaves out follows from the task, see `compensation.ACTIONS`."""

    task_type: CompensationWord = TaskType.COMPENSATE
    parameters: Mapping[str, Any] = {}
    required_capabilities: tuple[str, ...] | None = None
    timeout_ms: DurationMs | None = None


class Retry(Input):
    """How a task is tried again; what it leaves out is the default of `RetryPolicy`, `max_retries` the risk band's."""

    max_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    initial_ms: DurationMs = 1_000
    coefficient: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 2.0
    max_ms: DurationMs = 60_000
    jitter: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.2
    non_retryable: tuple[str, ...] = ()


NOT_UNDONE = Compensation()
"""What `false` is read as: the task is not undone, whatever its plan says of all tasks."""


def _undo_by_type(value: object) -> object:
    """Read `true`: undone in the way of its task type; `false`: not undone."""
    return {} if value is True else NOT_UNDONE if value is False else value


class Task(Input):
    """One piece of work. What it leaves out is inherited from the plan and the decision, see `Decision`."""

    synonyms: ClassVar[Mapping[str, str]] = {"type": "task_type"}

    task_id: Id
    task_type: TaskWord
    description: str
    dependencies: Ids = ()
    estimated_duration_ms: DurationMs | None = None
    required_capabilities: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}
    priority: PriorityWord | None = None
    risk_band: RiskBand | None = None
    security_level: SecurityLevel | None = None
    template_id: Id | None = None
    idempotent: bool = True
    compensation: Annotated[Compensation | None, BeforeValidator(_undo_by_type)] = None
    retry: Retry | None = None
    timeout_ms: DurationMs | None = None
    schedule_to_start_ms: DurationMs | None = None
    heartbeat_timeout_ms: DurationMs | None = None

    @property
    def estimate_ms(self) -> int:
        """How long the task is expected to run, in milliseconds."""
        return self.estimated_duration_ms or DEFAULT_ESTIMATE_MS

    @property
    def undo_parameters(self) -> Mapping[str, Any]:
        """The parameters of what undoes the task."""
        return self.compensation.parameters if self.compensation else {}


class CognitivePlan(Input):
    """The tasks and what holds for all of them; `original_…` are words of the intent that led to the plan."""

    synonyms: ClassVar[Mapping[str, str]] = {"expires_at": "valid_until"}

    plan_id: Id
    tasks: Annotated[tuple[Task, ...], Field(max_length=MAX_TASKS)]
    version: str = "1.0.0"
    schema_version: int = 1
    execution_order: tuple[str, ...] = ()
    valid_until: Moment | None = None
    priority: PriorityWord | None = None
    original_priority: PriorityWord | None = None
    risk_band: RiskBand | None = None
    security_level: SecurityLevel | None = None
    original_security_level: SecurityLevel | None = None
    requires_approval: bool = False
    approval_status: str | None = None
    compensate_by_type: bool = False
    is_destructive: bool = False
    destructive_tasks: tuple[str, ...] = ()


def unwrap_plan(value: object) -> tuple[object, tuple[str, ...]]:
    """Return the plan itself and the keys it lay under, out of JSON text and the recorded nestings.

    Raises `Rejected` when a text is not JSON, or is too much of it.
    """
    keys: tuple[str, ...] = ()
    while True:
        if isinstance(value, str):
            text = value.encode()
            count_parts(text)
            value = parse_json(text)
        if not isinstance(value, dict):
            return value, keys
        key = next((key for key in PLAN_WRAPPERS if isinstance(value.get(key), dict | str)), None)
        if key is None:
            return value, keys
        value, keys = value[key], (*keys, key)


def _plan_itself(value: object) -> object:
    try:
        return unwrap_plan(value)[0]
    except Rejected as error:
        raise NotUnderstood(error.code, str(error)) from None


class Decision(Input):
    """A consolidated decision, with its plan.

    Words are taken from the nearest place that says them: the task, then the plan, then the decision, then
    what the plan says of its origin, then the default.
    """

    decision_id: Id
    plan_id: Id
    intent_id: Id
    final_decision: Verdict
    cognitive_plan: Annotated[CognitivePlan, BeforeValidator(_plan_itself)]
    correlation_id: Id | None = None
    schema_version: int = 1
    requires_human_review: bool = False
    valid_until: Moment | None = None
    priority: PriorityWord | None = None
    risk_band: RiskBand | None = None
    sla_deadline: Moment | None = None
    sla_deadline_seconds: Seconds | None = None

    @property
    def flow_priority(self) -> Priority:
        """The priority of the flow as a whole, and of tasks that name none."""
        plan = self.cognitive_plan
        return plan.priority or self.priority or plan.original_priority or Priority.NORMAL

    @property
    def flow_risk_band(self) -> RiskBand:
        """The risk band of the flow as a whole, and of tasks that name none."""
        return self.cognitive_plan.risk_band or self.risk_band or RiskBand.MEDIUM

    @property
    def flow_security_level(self) -> SecurityLevel:
        """The security level of tasks that name none."""
        plan = self.cognitive_plan
        return plan.security_level or plan.original_security_level or SecurityLevel.INTERNAL

    def deadline(self, start: datetime, default: timedelta = DEFAULT_SLA) -> datetime:
        """Return when a flow that starts at `start` must be done; the earlier one counts if two are given."""
        spans = [] if self.sla_deadline_seconds is None else [timedelta(seconds=self.sla_deadline_seconds)]
        given = [add_time(start, span) for span in spans] + ([self.sla_deadline] if self.sla_deadline else [])
        return min(given, default=add_time(start, default))
