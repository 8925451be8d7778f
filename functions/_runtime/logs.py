"""Structured log lines on standard error: JSON, or readable text on a terminal.

Names are dotted constants, everything else is a field. Payloads and tokens are never fields.
"""

import logging
import sys
from datetime import datetime
from typing import Any

import structlog

from functions._core.models import Flow
from functions._core.values import milliseconds
from functions._runtime.handling import Handling

log: Any = structlog.get_logger("flowc")
"""The logger of the platform."""

SECRET = frozenset({"authorization", "data", "output", "parameters", "payload", "token"})
"""Fields that no line has, whoever writes it."""


def configure(level: str) -> None:
    """Set the least severe level and the form of the lines, once for the process."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            without_secrets,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(timestamp_key="ts") if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def without_secrets(_logger: object, _method: str, fields: Any) -> Any:  # noqa: ANN401 as structlog types processors
    """Take the value from every field that must not be shown; a processor of structlog."""
    for name in SECRET.intersection(fields):
        fields[name] = "not shown"
    return fields


def event_handled(handling: Handling) -> None:
    """Write the line about an event, at level debug, and at level info the one about a flow that has ended.

    History and metrics tell the same for good, and a line for each event costs a tenth of what handling it does;
    what fails is logged by whoever tries again or gives up.
    """
    if log.is_enabled_for(logging.DEBUG):
        log.debug("event.handled", **_fields(handling))
    flow = handling.step.flow if handling.step is not None else None
    if flow is not None and flow.ended_at is not None and handling.flow is not None and not handling.flow.ended_at:
        _flow_ended(flow, flow.ended_at)


def _flow_ended(flow: Flow, ended_at: datetime) -> None:
    log.info(
        "flow.ended",
        flow_id=flow.flow_id,
        plan_id=flow.plan_id,
        trace_id=flow.trace_id,
        status=flow.status.value,
        duration_ms=milliseconds(ended_at - flow.received_at),
        tickets=flow.tickets_generated,
        deadline_in_s=round((flow.sla_deadline - ended_at).total_seconds(), 1),
        reason=flow.reasons[0].code if flow.reasons else None,
    )


def _fields(handling: Handling) -> dict[str, object]:
    """Return what a line says: `from_status` and `to_status` are the ticket's when it was about one ticket."""
    fields: dict[str, object] = {
        "function": handling.function,
        "flow_id": handling.flow_id,
        "event_id": handling.event.id if handling.event else None,
        "type": handling.type,
        "outcome": handling.result,
        "duration_ms": round(handling.seconds * 1000, 3),
    }
    if handling.error is not None:
        fields["error"] = str(handling.error)
    if handling.flow is None:
        return fields
    step, flow = handling.step, handling.flow
    history = step.history if step is not None else ()
    after = (step.flow if step is not None else None) or flow
    fields |= {
        "trace_id": flow.trace_id,
        "correlation_id": flow.correlation_id,
        "from_status": flow.status.value,
        "to_status": after.status.value,
        "deadline_in_s": round((after.sla_deadline - handling.begun_at).total_seconds(), 1),
    }
    subject = handling.event.subject if handling.event is not None else None
    about = [entry for entry in history if entry.ticket_id == subject] or history  # reports taken together share a step
    if len(about) == 1 and about[0].ticket_id is not None:
        only = about[0]
        fields |= {
            "ticket_id": only.ticket_id,
            "attempt": only.attempt,
            "from_status": only.from_status,
            "to_status": only.to_status,
        }
    return fields
