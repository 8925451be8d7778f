"""From records to rows. Times are epoch milliseconds, records are JSON."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from functions._adapters.documents import document
from functions._adapters.ticket_parts import state_of
from functions._adapters.worker_claims import held_since, waits_for_a_worker
from functions._core.records.attempts import other_of
from functions._core.records.audits import AnyAudit, AuditRecord
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import add_time, milliseconds, time_span
from functions._core.records.worker import Worker

Row = Mapping[str, object]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Return epoch milliseconds, rounded down: a wake-up may be early, never late."""
    return milliseconds(moment - EPOCH)


def from_ms(number: int) -> datetime:
    """Return the moment of epoch milliseconds; a number that no moment has is the nearest end of the calendar."""
    return add_time(EPOCH, time_span(number))


def _optional_ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def flow_row(flow: Flow) -> Row:
    """Return the row of a flow."""
    return {
        "flow_id": flow.flow_id,
        "status": flow.status.value,
        "risk_band": flow.risk_band.value,
        "deadline": _optional_ms(flow.deadline) if flow.outcome is None else None,
        "next_wakeup_at": _optional_ms(flow.next_wakeup_at),
        "ended_at": _optional_ms(flow.ended_at),
        "outcome": flow.outcome.value if flow.outcome else None,
        "duration_ms": milliseconds(flow.ended_at - flow.received_at) if flow.ended_at else None,
        "version": flow.version,
        "doc": document(flow),
    }


def audit_row(audit: AnyAudit) -> Row:
    """Return the row of a validation or an action."""
    return {
        "flow_id": audit.flow_id,
        "kind": audit.kind.value,
        "valid": audit.valid if isinstance(audit, AuditRecord) else None,
        "doc": document(audit),
    }


def ticket_row(ticket: Ticket) -> Row:
    """Return the row of a ticket; `held_since`, `requirement` and `turn` are set only while it is found by them."""
    waits = waits_for_a_worker(ticket)
    return {
        "ticket_id": ticket.ticket_id,
        "flow_id": ticket.flow_id,
        "plan_id": ticket.plan_id,
        "intent_id": ticket.intent_id,
        "status": ticket.status.value,
        "priority": ticket.priority.value,
        "worker_id": ticket.worker_id,
        "held_since": _optional_ms(held_since(ticket)),
        "requirement": requirement_key(ticket.requirement) if waits else None,
        "turn": ticket.turn or 0 if waits else None,
        "latest_start": to_ms(ticket.urgency),
        "precedence": ticket.precedence,
        "next_wakeup_at": _optional_ms(ticket.next_wakeup_at),
        "offered_until": None,
        "compensates": ticket.compensates,
        "parent": ticket.parent,
        "version": ticket.version,
        "doc": state_of(ticket),
    }


def hedge_row(ticket: Ticket) -> Row | None:
    """Return the row of the other attempt that runs at a ticket; None when there is none any more."""
    other = other_of(ticket)
    if other is None:
        return None
    return {"ticket_id": ticket.ticket_id, "worker_id": other.worker_id, "held_since": to_ms(other.assigned_at)}


def requirement_key(requirement: Collection[str]) -> str:
    """Return the same text for the same requirement."""
    return json.dumps(sorted(set(requirement)), ensure_ascii=False)


def worker_row(worker: Worker) -> Row:
    """Return the row of a worker."""
    return {
        "worker_id": worker.worker_id,
        "next_wakeup_at": to_ms(worker.next_wakeup_at),
        "version": worker.version,
        "doc": document(worker),
    }
