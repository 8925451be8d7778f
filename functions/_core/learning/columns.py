"""History as a table: the columns of flows and of tickets, flat, for tools that know tables alone.

Of parameters and outputs there are sizes alone, and of errors their codes: a sentence may quote what a task wrote.
"""

from collections.abc import Mapping
from typing import Any

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.record import Record, from_json
from functions._core.records.values import Outcome, Priority, RiskBand, SecurityLevel, TaskType, TicketStatus, Timestamp


class FlowColumns(Record):
    """A flow that has ended, as one line of a table."""

    flow_id: str
    """Id of the flow. A flow that was redriven has one line for its newest end."""
    decision_id: str
    """Id of its decision."""
    plan_id: str | None
    """Id of its plan."""
    correlation_id: str
    """Its correlation id."""
    trace_id: str
    """Its trace, 32 hexadecimal digits."""
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
    duration_ms: int
    """Milliseconds from its arrival to its end."""
    missed: bool
    """Whether it missed its deadline."""
    simulated: bool
    """Whether work of it was only pretended, so that its times say nothing."""
    tickets: int
    """Tickets of its plan, children too."""
    critical_path_ms: int | None
    """The critical path of its plan by estimates, in milliseconds."""
    reason_code: str | None
    """The code of its first reason, where it did not end COMPLETED."""
    predicted_probability: float | None
    """The probability, 0 to 1, with which it was expected to meet its deadline."""
    predicted_p50_ms: int | None
    """Milliseconds within which half of such flows were expected to be done."""
    predicted_p90_ms: int | None
    """Milliseconds within which nine tenths of such flows were expected to be done."""
    model: str | None
    """The version of the model that said so."""


class TicketColumns(Record):
    """A ticket that a worker had, or could have had, as one line of a table."""

    flow_id: str
    """Id of its flow."""
    ticket_id: str
    """Id of the ticket."""
    task_id: str
    """Id of its task within its plan, without the number of an item."""
    task_type: TaskType
    """The kind of work."""
    domain: str | None
    """The domain of its plan."""
    capabilities: str
    """What a worker had to offer, sorted, with commas between."""
    status: TicketStatus
    """How it ended."""
    worker_id: str | None
    """Who had its last attempt."""
    risk_band: RiskBand
    """How dangerous it was."""
    priority: Priority
    """How much it mattered."""
    security_level: SecurityLevel
    """The clearance that a worker had to have."""
    level: int
    """Its level in the plan, 0 without dependencies."""
    fan_in: int
    """Tasks that it depended on."""
    fan_out: int
    """Tasks that waited for it."""
    plan_tasks: int
    """Tasks of its plan, children too."""
    critical: bool
    """Whether it lay on the critical path."""
    parameters_bytes: int
    """Bytes of its parameters as JSON."""
    output_bytes: int
    """Bytes of its output as JSON, 0 without one."""
    estimate_ms: int
    """Milliseconds that its plan expected."""
    timeout_ms: int
    """Milliseconds that an attempt might take."""
    sla_ms: int
    """Milliseconds that its flow had from its arrival to its deadline."""
    created_at: Timestamp
    """When it was planned."""
    ready_at: Timestamp | None
    """From when on nothing but a worker was missing."""
    assigned_at: Timestamp | None
    """When its last attempt was given to its worker."""
    completed_at: Timestamp
    """When it ended, however."""
    deadline: Timestamp
    """Its share of the flow's deadline."""
    waited_ms: int | None
    """Milliseconds that it waited for a worker before its last attempt."""
    actual_ms: int | None
    """Milliseconds that the attempt took that succeeded; none for every other end."""
    worker_ms: int | None
    """Milliseconds of workers' slots over all of its attempts, failed and hedged ones, too; none where not known."""
    retries: int
    """How often it was tried again."""
    attempts: int
    """How often it was given to a worker."""
    hedged: bool
    """Whether an attempt ran beside another one."""
    reason_code: str | None
    """The code of why its last attempt, or the ticket, came to nothing."""
    predicted_p50_ms: int | None
    """Milliseconds within which half of such work was expected to be done."""
    predicted_p90_ms: int | None
    """Milliseconds within which nine tenths of such work was expected to be done."""
    model: str | None
    """The version of the model that said so."""


def flow_columns(row: FlowRow) -> FlowColumns:
    """Return the line of a flow."""
    predicted = row.prediction
    return FlowColumns(
        flow_id=row.flow_id,
        decision_id=row.decision_id,
        plan_id=row.plan_id,
        correlation_id=row.correlation_id,
        trace_id=row.trace_id,
        outcome=row.outcome,
        priority=row.priority,
        risk_band=row.risk_band,
        received_at=row.received_at,
        ended_at=row.ended_at,
        deadline=row.deadline,
        duration_ms=row.duration_ms,
        missed=row.missed,
        simulated=row.simulated,
        tickets=row.tickets,
        critical_path_ms=row.critical_path_ms,
        reason_code=row.reason_code,
        predicted_probability=predicted.probability if predicted else None,
        predicted_p50_ms=predicted.p50_ms if predicted else None,
        predicted_p90_ms=predicted.p90_ms if predicted else None,
        model=predicted.model if predicted else None,
    )


def ticket_columns(row: TicketRow) -> TicketColumns:
    """Return the line of a ticket."""
    predicted = row.prediction
    return TicketColumns(
        flow_id=row.flow_id,
        ticket_id=row.ticket_id,
        task_id=row.task_id,
        task_type=row.task_type,
        domain=row.domain,
        capabilities=",".join(row.capabilities),
        status=row.status,
        worker_id=row.worker_id,
        risk_band=row.risk_band,
        priority=row.priority,
        security_level=row.security_level,
        level=row.level,
        fan_in=row.fan_in,
        fan_out=row.fan_out,
        plan_tasks=row.plan_tasks,
        critical=row.critical,
        parameters_bytes=row.parameters_bytes,
        output_bytes=row.output_bytes,
        estimate_ms=row.estimate_ms,
        timeout_ms=row.timeout_ms,
        sla_ms=row.sla_ms,
        created_at=row.created_at,
        ready_at=row.ready_at,
        assigned_at=row.assigned_at,
        completed_at=row.completed_at,
        deadline=row.deadline,
        waited_ms=row.waited_ms,
        actual_ms=row.actual_ms,
        worker_ms=row.worker_ms,
        retries=row.retries,
        attempts=row.attempts,
        hedged=row.hedged,
        reason_code=row.reason_code,
        predicted_p50_ms=predicted.p50_ms if predicted else None,
        predicted_p90_ms=predicted.p90_ms if predicted else None,
        model=predicted.model if predicted else None,
    )


def flow_of_columns(line: Mapping[str, Any]) -> FlowRow:
    """Return the row that a line of a table was made of; empty texts count as null.

    Raises `msgspec.ValidationError` for a line that is none.
    """
    fields = _fields(FlowRow, line)
    if line.get("model"):
        named = {"probability": "predicted_probability", "p50_ms": "predicted_p50_ms", "p90_ms": "predicted_p90_ms"}
        fields["prediction"] = {"model": line["model"], **{name: line[column] for name, column in named.items()}}
    return from_json(FlowRow, fields)


def ticket_of_columns(line: Mapping[str, Any]) -> TicketRow:
    """Return the row that a line of a table was made of, without the sentence of its error; as `flow_of_columns`."""
    fields = _fields(TicketRow, line)
    fields["capabilities"] = [one for one in str(line.get("capabilities") or "").split(",") if one]
    if line.get("model"):
        named = {"p50_ms": "predicted_p50_ms", "p90_ms": "predicted_p90_ms"}
        fields["prediction"] = {"model": line["model"], **{name: line[column] for name, column in named.items()}}
    return from_json(TicketRow, fields)


def _fields(model: type[Record], line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in model.__struct_fields__ if line.get(name) not in {None, ""}}
