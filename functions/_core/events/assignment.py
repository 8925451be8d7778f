"""The messages to a worker: an assignment with everything it needs, or the notice that one is cancelled."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._core.events.data import TransitionData
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.records.attempts import work_key
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject, TaskType, Timestamp, format_time, milliseconds

TOKEN_GRACE = timedelta(hours=1)
"""One hour: a report that comes so long after the attempt's timeout is still read, and answered 'superseded'."""

BATCH_SIZE = 100
"""Assignments in one batch at most."""

BATCH_BYTES = 1024 * 1024
"""Bytes of the data of a batch, as JSON; an assignment that alone has more is sent alone."""


class TaskAssignment(TransitionData):
    """Data of `ticket.assigned`: one attempt at one ticket.

    The parameters of a compensation (COMPENSATE) name the `action` that undoes the work, and the ticket that it
    `compensates`. The copy for subscribers has no token; it has the whole transition instead.
    """

    task_id: str
    ticket_id: str
    flow_id: str
    plan_id: str
    task_type: TaskType
    """What kind of work it is."""
    description: str
    """What is to be done, for people."""
    payload: JsonObject
    """ticket_id and template_id in one object; the parameters are beside it."""
    parameters: JsonObject
    """The task's parameters, references to upstream outputs resolved; as planned for subscribers."""
    secrets: tuple[str, ...] = ()
    """JSON Pointers to the values in the parameters that are secrets, which no log and no output may show."""
    sla_deadline: Timestamp
    """The ticket's latest finish that keeps the flow within its SLA."""
    timeout_ms: int
    """How long the worker may take from its acknowledgement on, in milliseconds."""
    heartbeat_timeout_ms: int | None = None
    """The worker has to report RUNNING more often than this; null: it need not."""
    estimated_duration_ms: int
    """Expected duration in milliseconds."""
    attempt: int
    """Number of the attempt; every report has to repeat it."""
    retry_count: int = 0
    """How often the ticket was tried again after a failure or a timeout: a worker that was lost does not count."""
    idempotency_key: str | None = None
    """The key by which outside work is begun once: the same for attempts whose worker was lost, another one after a
    failure, a timeout, a redrive and another plan."""
    idempotent: bool = True
    """Whether another worker may do it again where one was lost."""
    correlation_id: str
    """The decision's correlation id; without one the flow id."""
    callback_url: str | None = None
    """Where ticket.reported is POSTed to; null in the copy for subscribers."""
    token: str | None = None
    """Bearer token of the reports on this attempt; null in the copy for subscribers."""
    cause: str | None = None
    """What moved it: a trigger of the state machine or the code of a reason."""


def assignment_event(
    ticket: Ticket,
    attempt: int,
    parameters: Mapping[str, Any],
    callback_url: str | None,
    token: str | None,
    now: datetime,
    secrets: Sequence[str] = (),
) -> CloudEvent:
    """Return `ticket.assigned` for the worker; the same attempt always has the same event id.

    `secrets` are the places of secrets in the parameters.
    """
    data = {**assignment_data(ticket, attempt, parameters), "callback_url": callback_url, "token": token}
    if secrets:
        data["secrets"] = list(secrets)
    return _event("ticket.assigned", ticket, attempt, data, now, expirytime=format_time(ticket.sla.deadline))


def assignment_data(ticket: Ticket, attempt: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public part of an assignment, in the form of `TaskAssignment`."""
    return {
        "task_id": ticket.task_id,
        "ticket_id": ticket.ticket_id,
        "flow_id": ticket.flow_id,
        "plan_id": ticket.plan_id,
        "task_type": ticket.task_type.value,
        "description": ticket.description,
        "payload": {
            "ticket_id": ticket.ticket_id,
            "template_id": ticket.template_id,
        },
        "parameters": parameters,
        "sla_deadline": format_time(ticket.sla.deadline),
        "timeout_ms": milliseconds(ticket.timeout),
        "heartbeat_timeout_ms": ticket.heartbeat_timeout_ms,
        "estimated_duration_ms": ticket.estimated_duration_ms,
        "attempt": attempt,
        "retry_count": ticket.retry_count,
        "idempotency_key": work_key(ticket, attempt),
        "idempotent": ticket.idempotent,
        "worker_id": ticket.worker_id,
        "correlation_id": ticket.correlation_id,
        "callback_url": None,
        "token": None,
    }


def cancellation_event(ticket: Ticket, attempt: int, now: datetime) -> CloudEvent:
    """Return `ticket.cancelled` for the worker that holds an attempt which nobody wants any more."""
    data = {
        "ticket_id": ticket.ticket_id,
        "flow_id": ticket.flow_id,
        "task_id": ticket.task_id,
        "attempt": attempt,
    }
    return _event("ticket.cancelled", ticket, attempt, data, now)


def _event(
    event_type: str, ticket: Ticket, attempt: int, data: dict[str, Any], now: datetime, **more: str
) -> CloudEvent:
    return CloudEvent(
        id=derived_id(ticket.flow_id, event_type, f"{ticket.ticket_id}:{attempt}"),
        source="/flowc/assign",
        type=type_of(event_type),
        time=now,
        subject=ticket.ticket_id,
        data=data,
        extensions={
            "partitionkey": ticket.flow_id,
            "correlationid": ticket.correlation_id,
            "traceparent": f"00-{ticket.trace_id}-{ticket.span_id}-01",
            **more,
        },
    )
