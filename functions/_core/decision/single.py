"""A ticket that is created alone: it belongs to a flow of one task, so that every rule holds for it.

Its decision is named after it, `flowc-ticket:<ticket id>`, and C2 gives the ticket that id. So the flow of such a
ticket can be computed, as every flow can, and the same ticket sent again is the same flow.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from functions._core.decision.model import Compensation, Input, Retry, Task
from functions._core.decision.vocabulary import DurationMs, Id, Moment, PriorityWord, TaskWord
from functions._core.records.json_text import content_hash
from functions._core.records.values import (
    OWN_TICKET_ID,
    TICKET_DECISION,
    RiskBand,
    SecurityLevel,
    TaskType,
    Texts,
    TicketStatus,
    flow_id_of,
    format_time,
)


def _a_ticket_id(value: str) -> str:
    if not OWN_TICKET_ID.fullmatch(value):
        raise ValueError("must be 1 to 36 letters, digits, dots, dashes and underscores, and no UUID of version 5")
    return value


def _by_type(value: object) -> object:
    """Read `true`: undone in the way of its task type; `false`: not undone."""
    return {} if value is True else None if value is False else value


def _pending(value: object) -> object:
    if isinstance(value, str) and value.strip().upper() != TicketStatus.PENDING:
        raise ValueError("a new ticket is PENDING")
    return value


class NewSla(Input):
    """The time and the tries of a new ticket; what it leaves out follows from its risk band and its estimate."""

    deadline: Moment | None = None
    """When the ticket, and with it its flow, must be done; 14400 s from now without it."""
    timeout_ms: DurationMs | None = None
    """How long one attempt may take, in milliseconds; without it three times the estimate, at least 60000."""
    max_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    """How often it is tried again; without it critical 5, high 3, medium 2, low 1 times."""


class Payload(Input):
    """The work of a new ticket in the words of older clients."""

    template_id: Id | None = None
    """Id of a template that the worker knows."""
    parameters: Mapping[str, Any] = {}
    """Input of the work, where `parameters` of the ticket itself is empty."""


class NewTicket(Input):
    """A ticket to be created. Only `plan_id` and `task_type` are needed; other fields of a ticket are ignored.

    The same ticket sent again is the same ticket: by `ticket_id`, else by the Idempotency-Key, else by its content.
    """

    synonyms: ClassVar[Mapping[str, str]] = {"type": "task_type"}

    plan_id: Id
    """Id of the plan that the ticket is counted to."""
    task_type: Annotated[TaskWord, Field(json_schema_extra={"not": {"const": TaskType.COMPENSATE.value}})]
    """The kind of work."""
    ticket_id: Annotated[str, AfterValidator(_a_ticket_id), StringConstraints(max_length=36)] | None = None
    """Id of the ticket: 1 to 36 letters, digits, dots, dashes and underscores, but no UUID of version 5."""
    task_id: Id | None = None
    """Id of the task; the ticket's id without it."""
    intent_id: Id | None = None
    """Id of the intent that led to the work; the plan's id without it."""
    decision_id: Id | None = None
    """Id of a decision of the sender, kept in `metadata`: the ticket has a decision of its own."""
    correlation_id: Id | None = None
    """Ties the ticket to other work."""
    trace_id: str | None = None
    """The trace to continue, 32 hexadecimal digits, with `span_id`."""
    span_id: str | None = None
    """The span to continue, 16 hexadecimal digits, with `trace_id`."""
    description: str | None = None
    """The work, for people; the task type without it."""
    dependencies: Annotated[Texts, Field(max_length=0)] = ()
    """None: a ticket that is created alone waits for no other. Send a plan for work with dependencies."""
    status: Annotated[str | None, BeforeValidator(_pending)] = None
    """PENDING, if anything."""
    priority: PriorityWord | None = None
    """How much it matters; NORMAL without it. MEDIUM means NORMAL."""
    risk_band: RiskBand | None = None
    """How dangerous it is; medium without it."""
    security_level: SecurityLevel | None = None
    """The clearance that a worker must have; INTERNAL without it."""
    required_capabilities: Texts = ()
    """Capabilities that a worker must offer, all of them."""
    sla: NewSla = NewSla()
    """Its time and its tries."""
    parameters: Mapping[str, Any] = {}
    """Input of the work, any JSON object."""
    payload: Payload = Payload()
    """The work in the words of older clients."""
    template_id: Id | None = None
    """Id of a template that the worker knows."""
    estimated_duration_ms: DurationMs | None = None
    """Expected duration, in milliseconds; 60000 without it."""
    idempotent: bool = True
    """False: once begun, it is never tried again; it fails instead."""
    retry: Retry | None = None
    """How it is tried again after a failure."""
    compensation: Annotated[Compensation | None, BeforeValidator(_by_type)] = None
    """How its work is undone when its flow does not succeed; true: in the way of its type."""
    metadata: Mapping[str, Any] = {}
    """Anything that the sender keeps with it."""


def decision_of(new: NewTicket, idempotency_key: str | None) -> dict[str, Any]:
    """Return the decision that carries out a new ticket: the same for the same ticket, in every process."""
    work = _work_of(new)
    name = new.ticket_id
    if name is None:
        key = content_hash(work) if idempotency_key is None else sha256(f"key:{idempotency_key}".encode()).hexdigest()
        name = key[:32]
    task = {"task_id": name, **work.pop("task")}
    plan = {"plan_id": new.plan_id, "tasks": [task]}
    return {"decision_id": TICKET_DECISION + name, **work, "final_decision": "approve", "cognitive_plan": plan}


def ticket_of(decision: Mapping[str, Any]) -> tuple[str, str]:
    """Return the ids of the flow and of the ticket that a decision of `decision_of` leads to."""
    decision_id: str = decision["decision_id"]
    return flow_id_of(decision_id), decision_id.removeprefix(TICKET_DECISION)


def _work_of(new: NewTicket) -> dict[str, Any]:
    """Return what a decision says of the work, without its name; what the ticket leaves out is left out."""
    retry, tries = new.retry, new.sla.max_retries
    if tries is not None:
        retry = (retry or Retry()).but(max_retries=tries)
    parameters = new.parameters or new.payload.parameters
    of_decision = {"decision_id": new.decision_id} if new.decision_id else {}
    task = Task(
        task_id=new.task_id or new.plan_id,
        task_type=new.task_type,
        description=new.description or new.task_type.value,
        required_capabilities=new.required_capabilities,
        parameters=dict(parameters),
        template_id=new.template_id or new.payload.template_id,
        estimated_duration_ms=new.estimated_duration_ms,
        timeout_ms=new.sla.timeout_ms,
        retry=retry,
        idempotent=new.idempotent,
        compensation=new.compensation,
        metadata={**of_decision, **new.metadata},
        priority=new.priority,
        risk_band=new.risk_band,
        security_level=new.security_level,
    ).model_dump(mode="json", exclude_none=True)
    if new.task_id is None:
        del task["task_id"]
    work = {
        "plan_id": new.plan_id,
        "intent_id": new.intent_id or new.plan_id,
        "correlation_id": new.correlation_id,
        "trace_id": new.trace_id,
        "span_id": new.span_id,
        "sla_deadline": None if new.sla.deadline is None else format_time(new.sla.deadline),
        "task": task,
    }
    return {name: value for name, value in work.items() if value is not None}
