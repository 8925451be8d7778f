"""The execution ticket as other systems know it: 35 fields, the same as JSON and as Avro.

It is a view of `Ticket`, made when somebody asks for it. Avro has no type for any JSON value, so the values of
`parameters`, `payload` and `metadata` are texts there: a text that is no JSON stands for itself, every other value is
written as JSON. So each value comes back as it was, and a map of plain texts is read as such.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from functions._core.decision.vocabulary import WITHOUT_WORKER
from functions._core.errors import Rejected
from functions._core.records.json_text import parse_json
from functions._core.records.models import Ticket
from functions._core.records.policies import Consistency, DeliveryMode, Durability, Qos, Sla
from functions._core.records.record import Record, fields_of
from functions._core.records.values import (
    Priority,
    RiskBand,
    SecurityLevel,
    TaskType,
    TicketStatus,
    Timestamp,
    Word,
    milliseconds,
)

EPOCH = datetime.fromtimestamp(0, tz=UTC)

MAPS = ("parameters", "payload", "metadata")
"""Fields that hold any JSON, value by value."""

TIMES = ("created_at", "assigned_at", "started_at", "completed_at")
"""Fields that hold a moment: in Avro, epoch milliseconds."""

FOREIGN_STATUSES: Mapping[str, TicketStatus] = {"TIMED_OUT": TicketStatus.FAILED, "DEAD_LETTER": TicketStatus.FAILED}
"""Statuses of other systems that are FAILED here, with the timeout or the end of all retries as the reason."""


OWN_STATUSES: Mapping[TicketStatus, TicketStatus] = {
    TicketStatus.WAITING: TicketStatus.PENDING,
    TicketStatus.SKIPPED: TicketStatus.CANCELLED,
}
"""Statuses that the form has no word for, as its list is closed, and those that it shows instead.

Nor has it words for the types of tasks without a worker: they are EXECUTE there.
"""


class ExecutionTicket(Record):
    """One task on its way to its end, with its SLA, its care and the ids that tie it to its plan."""

    ticket_id: str
    """Id of the ticket."""
    plan_id: str
    """Id of the plan."""
    intent_id: str
    """Id of the intent that led to the plan."""
    decision_id: str | None = None
    """Id of the decision."""
    correlation_id: str | None = None
    """Ties the ticket to other work."""
    trace_id: str | None = None
    """The trace, 32 hexadecimal digits."""
    span_id: str | None = None
    """The span that started the flow, 16 hexadecimal digits."""
    workflow_id: str | None = None
    """Id of the flow that the ticket belongs to."""
    task_id: str
    """Id of the task within its plan."""
    task_type: TaskType
    """The kind of work."""
    description: str
    """The work, in words for people."""
    dependencies: tuple[str, ...] = ()
    """Ids of the tickets that must be COMPLETED before."""
    status: TicketStatus = TicketStatus.PENDING
    """Where the ticket is."""
    priority: Priority
    """How much the ticket matters to the user."""
    priority_score: float | None = None
    """Urgency at creation, 0 to 1."""
    risk_band: RiskBand
    """How dangerous the task is."""
    sla: Sla
    """The ticket's deadline, its timeout and its retries."""
    qos: Qos
    """How carefully the ticket is handled."""
    parameters: Mapping[str, Any] = {}
    """The input of the work."""
    payload: Mapping[str, Any] = {}
    """The work as an executor gets it: `template_id`, `parameters` and `ticket_id`."""
    required_capabilities: tuple[str, ...] = ()
    """Capabilities that a worker must offer, all of them."""
    security_level: SecurityLevel = SecurityLevel.INTERNAL
    """The clearance that a worker must have at least."""
    allocated_agent_id: str | None = None
    """Id of the worker that has the present attempt."""
    created_at: Timestamp
    """When the ticket was made."""
    assigned_at: Timestamp | None = None
    """When the present attempt was given to its worker."""
    started_at: Timestamp | None = None
    """When the worker first reported RUNNING in the present attempt."""
    completed_at: Timestamp | None = None
    """When the ticket ended, in whatever status."""
    estimated_duration_ms: int | None = None
    """Expected duration, in milliseconds."""
    actual_duration_ms: int | None = None
    """Duration of the attempt that succeeded, in milliseconds."""
    retry_count: int = 0
    """How often it was tried again after a failure or a timeout."""
    error_message: str | None = None
    """Why the last attempt, or the ticket, came to nothing."""
    compensation_ticket_id: str | None = None
    """Id of the ticket that undoes the work of this one."""
    metadata: Mapping[str, Any] = {}
    """Anything that the plan keeps with the task."""
    schema_version: int = 1
    """Version of the ticket's form."""
    hash: str | None = None
    """SHA-256 of the fields that never change, 64 hexadecimal digits."""


SAME = tuple(name for name in ExecutionTicket.__struct_fields__ if name in Ticket.__struct_fields__)
"""The fields that have the same name and meaning in both."""


def execution_ticket_of(ticket: Ticket) -> ExecutionTicket:
    """Return the execution ticket of a ticket as it is now."""
    payload = {"template_id": ticket.template_id, "parameters": ticket.parameters, "ticket_id": ticket.ticket_id}
    return ExecutionTicket(
        **{name: getattr(ticket, name) for name in SAME if name not in {"status", "task_type"}},
        status=OWN_STATUSES.get(ticket.status, ticket.status),
        task_type=TaskType.EXECUTE if ticket.task_type in WITHOUT_WORKER else ticket.task_type,
        workflow_id=ticket.flow_id,
        allocated_agent_id=ticket.worker_id,
        payload={name: value for name, value in payload.items() if value is not None},
    )


def to_avro_dict(ticket: ExecutionTicket) -> dict[str, Any]:
    """Return a ticket as the Avro schema has it: words as texts, moments as epoch milliseconds, records nested."""
    fields: dict[str, Any] = fields_of(ticket)
    fields |= {name: value.value for name, value in fields.items() if isinstance(value, Word)}
    fields |= {name: list(fields[name]) for name in ("dependencies", "required_capabilities")}
    fields |= {name: _to_millis(fields[name]) for name in TIMES}
    fields |= {name: {key: _to_text(value) for key, value in fields[name].items()} for name in MAPS}
    fields["sla"] = {**fields_of(ticket.sla), "deadline": _to_millis(ticket.sla.deadline)}
    fields["qos"] = {name: word.value for name, word in fields_of(ticket.qos).items()}
    return fields


def from_avro_dict(values: Mapping[str, Any]) -> ExecutionTicket:
    """Return the ticket that the values of `to_avro_dict` stand for.

    Raises `Rejected` for a moment outside the calendar, `KeyError` or `ValueError` for what is no such ticket.
    """
    fields = {**values, **{name: _from_millis(values[name]) for name in TIMES}}
    fields |= {name: {key: _from_text(value) for key, value in values[name].items()} for name in MAPS}
    fields |= {name: tuple(values[name]) for name in ("dependencies", "required_capabilities")}
    words: Mapping[str, type[Word]] = {
        "task_type": TaskType,
        "priority": Priority,
        "risk_band": RiskBand,
        "security_level": SecurityLevel,
    }
    fields |= {name: word(values[name]) for name, word in words.items()}
    fields["status"] = FOREIGN_STATUSES.get(values["status"]) or TicketStatus(values["status"])
    fields["sla"] = Sla(**{**values["sla"], "deadline": _from_millis(values["sla"]["deadline"])})
    qos = values["qos"]
    fields["qos"] = Qos(
        delivery_mode=DeliveryMode(qos["delivery_mode"]),
        consistency=Consistency(qos["consistency"]),
        durability=Durability(qos["durability"]),
    )
    return ExecutionTicket(**fields)


def _to_millis(moment: datetime | None) -> int | None:
    return None if moment is None else milliseconds(moment - EPOCH)


def _from_millis(millis: int | None) -> datetime | None:
    if millis is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=millis)
    except OverflowError:
        raise Rejected(f"{millis} is no moment of the calendar", code="malformed_avro") from None


def _to_text(value: object) -> str:
    if isinstance(value, str) and _from_text(value) == value:
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _from_text(text: str) -> object:
    try:
        return parse_json(text.encode())
    except (Rejected, UnicodeEncodeError):
        return text
