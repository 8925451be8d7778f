"""The messages a worker gets: an assignment with everything it needs, or the notice that one is cancelled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from functions._core.events.data import TransitionData
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject, TaskType, Timestamp, format_time

TOKEN_GRACE = timedelta(hours=1)
"""A report may come this long after the attempt's timeout and still be heard and answered 'superseded'."""


class TaskAssignment(TransitionData):
    """Data of `ticket.assigned`: one attempt at one ticket.

    `payload` holds `ticket_id` and `template_id`. `parameters` are the task's with all references to upstream outputs
    resolved; a compensation (COMPENSATE) is told in them which `action` undoes the work, and whose work it
    `compensates`. With `heartbeat_timeout_ms` the worker has to report RUNNING more often than that, or it loses the
    ticket. `token` proves that a report to `callback_url` comes from the worker that was asked; it is absent in the
    copy for subscribers, which has the whole transition instead.
    """

    task_id: str
    ticket_id: str
    flow_id: str
    plan_id: str
    task_type: TaskType
    description: str
    payload: JsonObject
    parameters: JsonObject
    sla_deadline: Timestamp
    timeout_ms: int
    heartbeat_timeout_ms: int | None = None
    estimated_duration_ms: int
    attempt: int
    correlation_id: str
    callback_url: str | None = None
    token: str | None = None
    cause: str | None = None


def assignment_event(
    ticket: Ticket,
    attempt: int,
    parameters: Mapping[str, Any],
    callback_url: str | None,
    token: str | None,
    now: datetime,
) -> CloudEvent:
    """Return `ticket.assigned` for the worker; the same attempt always has the same event id."""
    data = {**assignment_data(ticket, attempt, parameters), "callback_url": callback_url, "token": token}
    return _event("ticket.assigned", ticket, attempt, data, now, expirytime=format_time(ticket.sla.deadline))


def assignment_data(ticket: Ticket, attempt: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what anybody may know of an assignment, in the form of `TaskAssignment`."""
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
        "timeout_ms": ticket.sla.timeout_ms,
        "heartbeat_timeout_ms": ticket.heartbeat_timeout_ms,
        "estimated_duration_ms": ticket.estimated_duration_ms,
        "attempt": attempt,
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
