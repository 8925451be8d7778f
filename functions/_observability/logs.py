"""Structured log lines on standard error: JSON, or readable text on a terminal.

Names are dotted constants, everything else is a field. Payloads and tokens are never fields. What libraries log, what
Python warns of and what nobody has caught are lines of the same form: `library.logged`, `process.failed` and so on.
"""

import logging
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any

import structlog

from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import Delivery
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import milliseconds
from functions._observability.dispatch_result import Handling

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
    _take_over(level)
    if not terminal:
        sys.excepthook, threading.excepthook, sys.unraisablehook = _process_failed, _thread_failed, _cleanup_failed


def ids_of(event: CloudEvent) -> dict[str, str]:
    """Return the fields of a line about an event: its id and type, and the ids of whatever it is of."""
    data = event.data if isinstance(event.data, Mapping) else {}
    agent_id = data.get("agent_id")
    flow_id = data.get("flow_id") if agent_id else event.extensions.get("partitionkey") or data.get("flow_id")
    ids = {
        "event_id": event.id,
        "noun": event.event_type,
        "agent_id": agent_id,
        "flow_id": flow_id,
        "correlation_id": event.extensions.get("correlationid") or data.get("correlation_id"),
        "ticket_id": data.get("ticket_id"),
    }
    return {name: value for name, value in ids.items() if isinstance(value, str) and value}


def ids_of_ticket(ticket: Ticket) -> dict[str, object]:
    """Return the fields of a line about a ticket."""
    return {
        "flow_id": ticket.flow_id,
        "correlation_id": ticket.correlation_id,
        "ticket_id": ticket.ticket_id,
        "attempt": ticket.attempt,
    }


def ids_of_delivery(delivery: Delivery) -> dict[str, object]:
    """Return the fields of a line about a message to a worker."""
    return {**ids_of_ticket(delivery.ticket), "attempt": delivery.attempt, "worker_id": delivery.worker_id}


class LibraryLines(logging.Handler):
    """Writes what libraries log as lines of ours; never raises."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            fields = {"logger": record.name, "message": record.getMessage()}
        except Exception as error:  # noqa: BLE001 a library may log with arguments that do not fit its words
            fields = {"logger": record.name, "message": str(record.msg), "error": repr(error)}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])
        level = logging.CRITICAL if record.levelno >= logging.CRITICAL else record.levelno // 10 * 10
        log.log(max(level, logging.DEBUG), "library.logged", exc_info=record.exc_info, **fields)


def _take_over(level: str) -> None:
    """Let `LibraryLines` have all that is logged the standard way, warnings of Python included, from warnings on."""
    least = max(logging.WARNING, getattr(logging, level.upper()))
    logging.basicConfig(handlers=[LibraryLines()], level=least, force=True)
    logging.captureWarnings(capture=True)


def _process_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("process.failed", error=repr(error), exc_info=(kind, error, trace))


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    error = failed.exc_value or failed.exc_type()
    name = failed.thread.name if failed.thread else None
    log.error("thread.failed", thread=name, error=repr(error), exc_info=(failed.exc_type, error, failed.exc_traceback))


def _cleanup_failed(failed: "sys.UnraisableHookArgs") -> None:
    log.error("cleanup.failed", where=repr(failed.object)[:200], error=repr(failed.exc_value))


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
        correlation_id=flow.correlation_id,
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
        return {**ids_of(handling.event), **fields} if handling.event else fields
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
