"""The models of a decision, of its cognitive plan and of the plan's tasks: frozen and tolerant.

A field that nothing here uses is not modelled, so a strange value in it refuses nothing; the stored decision
keeps it. Null means absent. Words are those of `vocabulary`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from functions._core.decision.vocabulary import (
    MAX_SPAN_MS,
    MAX_TASKS,
    CompensationWord,
    DurationMs,
    Id,
    Ids,
    Labels,
    Moment,
    NotUnderstood,
    PriorityWord,
    Seconds,
    TaskWord,
    read_domain,
)
from functions._core.errors import Rejected
from functions._core.planning.graph import critical_path_ms
from functions._core.records.control import Approval, Control, Expression, Foreach, OnSkipped, Wait
from functions._core.records.json_text import count_parts, parse_json
from functions._core.records.policies import Concurrency
from functions._core.records.values import (
    Model,
    Priority,
    RiskBand,
    SecurityLevel,
    TaskType,
    Texts,
    Verdict,
    add_time,
    at_most,
)
from functions._core.rules import DEFAULT_SLA

DEFAULT_ESTIMATE_MS = 60_000
"""Milliseconds that a task without an estimate is expected to take: one minute, the default of the contract."""

PLAN_WRAPPERS = ("cognitive_plan", "plan_data")
"""Keys under which approval records and plan ledgers keep the plan itself."""


class Input(Model):
    """Base of the input from outside: null counts as absent, and `synonyms` maps other names in use to ours."""

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
    """What kind of work undoes the task; any other than COMPENSATE goes along in its parameters."""
    parameters: Mapping[str, Any] = {}
    """What undoing needs to know; `action`, without one, follows from the task's type."""
    required_capabilities: Texts | None = None
    """What a worker has to offer to undo the task; without it what the task asks for."""
    timeout_ms: DurationMs | None = None
    """How long undoing it may take, in milliseconds; 120000 without it."""


class Retry(Input):
    """How a task is tried again; what it leaves out is the default of `RetryPolicy`, `max_retries` the risk band's."""

    max_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    """How often the task is tried again; without it critical 5, high 3, medium 2, low 1 times."""
    initial_ms: DurationMs = 1_000
    """The pause before the first retry, in milliseconds."""
    coefficient: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 2.0
    """By what the pause grows with every retry."""
    max_ms: DurationMs = 60_000
    """The longest pause, in milliseconds, before its jitter."""
    jitter: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.2
    """By what share of itself a pause is made longer or shorter at most, 0 to 1."""
    non_retryable: Texts = ()
    """Types of errors after which it is not tried again."""


NOT_UNDONE = Compensation()
"""The meaning of `false`: the task is not undone, even if its plan asks for that of all tasks."""


def _undo_by_type(value: object) -> object:
    """Read `true`: undone in the way of its task type; `false`: not undone."""
    return {} if value is True else NOT_UNDONE if value is False else value


class Task(Input):
    """One piece of work. What it leaves out is inherited from the plan and the decision, see `Decision`."""

    synonyms: ClassVar[Mapping[str, str]] = {"type": "task_type"}

    task_id: Id
    """Id of the task, unique within the plan."""
    task_type: TaskWord
    """What kind of work it is."""
    description: str
    """What is to be done, for people."""
    dependencies: Ids = ()
    """Ids of the tasks that must be done before."""
    estimated_duration_ms: DurationMs | None = None
    """Expected duration in milliseconds; 60000 unless given."""
    required_capabilities: Texts = ()
    """What a worker has to offer, all of it."""
    parameters: Mapping[str, Any] = {}
    """Any JSON; {"$output": "<task id>", "path": "<JSON Pointer>"} stands for an upstream output."""
    metadata: Mapping[str, Any] = {}
    """Anything the sender wants to keep with it; nothing here depends on it."""
    priority: PriorityWord | None = None
    """How much it matters to the user."""
    risk_band: RiskBand | None = None
    """How dangerous it is; it decides about retries and about the care that is taken."""
    security_level: SecurityLevel | None = None
    """Who may see the tickets."""
    template_id: Id | None = None
    """Id of a template that the worker knows."""
    idempotent: bool = True
    """False: once begun, the task is never tried again; it fails instead."""
    compensation: Annotated[Compensation | None, BeforeValidator(_undo_by_type)] = None
    """How its work is undone when the flow does not succeed; true: in the way of its type, false: not at all.
    Without it the plan's compensate_by_type decides."""
    retry: Retry | None = None
    """How it is tried again after a failure."""
    timeout_ms: DurationMs | None = None
    """How long one attempt may take, in milliseconds; without it three times its estimate, at least 60000."""
    schedule_to_start_ms: DurationMs | None = None
    """How long it may wait for a worker once nothing else is in its way, in milliseconds."""
    heartbeat_timeout_ms: DurationMs | None = None
    """How long a worker may be silent about the task, in milliseconds; each RUNNING counts."""

    when: Expression | None = None
    """A condition in CEL on `outputs` and `statuses` of tasks before it; where it is false the task is skipped."""
    on_skipped: OnSkipped = OnSkipped.SKIP
    """If tasks that it depends on were skipped: `skip` it, too; begin if `any` of them was not; or `run`."""
    allow_failure: bool = False
    """Whether its failure counts as done: dependants begin, and the flow does not fail by it."""
    foreach: Foreach | None = None
    """The task is done once for each item of a list."""
    approval: Approval | None = None
    """Who decides, and by what form; of type APPROVE alone."""
    wait: Wait | None = None
    """The moment or the event that is waited for; of type WAIT alone."""
    plan: "SubPlan | None" = None
    """The tasks within it; of type SUBFLOW alone."""
    labels: Labels = Field(default_factory=dict)
    """Names and values by which people find its ticket."""

    def control(self, path: tuple[str, ...] = ()) -> Control | None:
        """Return all that steers the task; None for a plain one. `path` leads to the plan that it is in."""
        found = Control(
            when=self.when,
            on_skipped=self.on_skipped,
            allow_failure=self.allow_failure,
            foreach=self.foreach,
            approval=self.approval if self.task_type is not TaskType.APPROVE else self.approval or Approval(),
            wait=self.wait,
            subflow=(*path, self.task_id) if self.task_type is TaskType.SUBFLOW else (),
        )
        return None if found == PLAIN else found

    @property
    def estimate_ms(self) -> int:
        """How long the task is expected to run, in milliseconds: for all items of its list, some of them at once."""
        return self.item_estimate_ms * (rounds(self.foreach.expected_items, self.foreach) if self.foreach else 1)

    @property
    def item_estimate_ms(self) -> int:
        """How long one item of its list, or the task without one, is expected to run, in milliseconds."""
        stops = self.wait.stops_clock if self.wait else self.approval is not None and self.approval.stops_clock
        if stops:
            return 1  # it takes none of the flow's time
        if self.estimated_duration_ms is None and self.plan is not None:
            return max(1, critical_path_ms(self.plan.tasks))
        seconds = self.wait.seconds if self.wait else None
        if self.estimated_duration_ms is None and isinstance(seconds, int | float):
            return max(1, min(int(seconds * 1000), MAX_SPAN_MS))
        return self.estimated_duration_ms or DEFAULT_ESTIMATE_MS

    @property
    def undo_parameters(self) -> Mapping[str, Any]:
        """The parameters of the compensation of the task."""
        return self.compensation.parameters if self.compensation else {}


def rounds(items: int, foreach: Foreach) -> int:
    """Return how often as many items as may be worked on at once are needed for all of them, at least once."""
    return max(1, -(-items // foreach.limit))


PLAIN = Control()
"""That of a task which nothing steers."""


class SubPlan(Input):
    """The plan of a sub-flow: its tasks see its `input`, the parameters of the task that it is in, and nothing else."""

    tasks: Annotated[tuple[Task, ...], Field(max_length=MAX_TASKS), at_most(MAX_TASKS)]
    """The tasks, in any order; there must be one at least."""
    result: Any = None
    """The output of the task that it is in, with references to its tasks; without it the outputs of the last tasks."""


class CognitivePlan(Input):
    """The tasks and what holds for all of them; `original_…` are words of the intent that led to the plan."""

    synonyms: ClassVar[Mapping[str, str]] = {"expires_at": "valid_until"}

    plan_id: Id
    """Id of the plan; the same as the decision's plan_id."""
    tasks: Annotated[tuple[Task, ...], Field(max_length=MAX_TASKS), at_most(MAX_TASKS)]
    """The tasks, in any order; there must be one at least."""
    result: Any = None
    """The result of the flow, with references to outputs of its tasks; without it the outputs of the last tasks."""
    labels: Labels = Field(default_factory=dict)
    """Names and values by which people find the flow."""
    concurrency: Concurrency | None = None
    """How many flows of a key may be in flight at once; without it any number."""
    version: str = "1.0.0"
    """Version of the plan, MAJOR.MINOR.PATCH; the major version 1 is supported."""
    schema_version: int = 1
    """Version of the plan's form; 1 is known, others are read like it, with a warning."""
    execution_order: Texts = ()
    """Task ids in an order that the author has in mind; the order used follows the dependencies."""
    valid_until: Moment | None = None
    """From this moment on it is refused."""
    priority: PriorityWord | None = None
    """Priority of tasks that name none."""
    original_priority: PriorityWord | None = None
    """The priority that the intent asked for; counts where no other is given."""
    original_domain: Annotated[str | None, BeforeValidator(read_domain)] = None
    """The domain of the intent: BEHAVIOR, BUSINESS, COMPLIANCE, INFRASTRUCTURE, OPERATIONAL, SECURITY or TECHNICAL. It
    is where workers leave their trails; without one, and with another word, each type of task is a domain."""
    risk_band: RiskBand | None = None
    """Risk band of tasks that name none."""
    security_level: SecurityLevel | None = None
    """Security level of tasks that name none."""
    original_security_level: SecurityLevel | None = None
    """The security level that the intent asked for; counts where no other is given."""
    requires_approval: bool = False
    """Whether the flow waits for approval, unless approval_status says it has been given."""
    approval_status: str | None = None
    """'approved', in any letter case, satisfies requires_approval, and nothing else."""
    compensate_by_type: bool = False
    """Whether tasks without `compensation` are undone in the way of their type."""
    is_destructive: bool = False
    """Whether the plan destroys something; then it waits for approval."""
    destructive_tasks: Texts = ()
    """Tasks that destroy something; a plan that names any waits for approval."""


def unwrap_plan(value: object) -> tuple[object, Texts]:
    """Return the plan itself and the keys it lay under, out of JSON text and the recorded nestings.

    Raises `Rejected` when a text is not JSON, or is too much of it.
    """
    keys: Texts = ()
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
    """Identifies the flow: the same id with the same content is the same flow, and runs once."""
    plan_id: Id
    """Id of the plan; the same as the plan's own."""
    intent_id: Id
    """Id of the intent that led to the plan."""
    final_decision: Verdict
    """What was decided: 'approve' is carried out, 'reject' ends the flow as REJECTED, the others wait for approval."""
    cognitive_plan: Annotated[CognitivePlan, BeforeValidator(_plan_itself)]
    """The plan: an object, or its JSON text; either may lie under cognitive_plan or plan_data."""
    correlation_id: Id | None = None
    """What ties this to other work; without one the event's correlationid or the flow id."""
    labels: Labels = Field(default_factory=dict)
    """Names and values by which people find the flow, over those of the plan."""
    concurrency: Concurrency | None = None
    """How many flows of a key may be in flight at once, instead of what the plan says."""
    tenant_id: Id | None = None
    """For whom the work is done; limits may hold for each tenant."""
    schema_version: int = 1
    """Version of the decision's form; 1 is known, others are read like it, with a warning."""
    requires_human_review: bool = False
    """Whether a person has to look at it first; then the flow waits for approval."""
    valid_until: Moment | None = None
    """From this moment on it is refused."""
    priority: PriorityWord | None = None
    """Priority where the plan names none."""
    risk_band: RiskBand | None = None
    """Risk band where the plan names none."""
    sla_deadline: Moment | None = None
    """When the flow must be done, as a moment; with sla_deadline_seconds the earlier one counts."""
    sla_deadline_seconds: Seconds | None = None
    """When the flow must be done, in seconds after it was received; 14400 without either."""

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
    def flow_labels(self) -> Mapping[str, str]:
        """The labels of the flow: those of the decision over those of the plan."""
        return {**self.cognitive_plan.labels, **self.labels}

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
