"""From records to columns.

Text that PostgreSQL cannot hold is made to fit: the document keeps the true value, a column is what is searched for.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from functions._adapters.documents import document, history_document
from functions._adapters.pages import label_words
from functions._adapters.worker_claims import held_since, waits_for_a_worker
from functions._core.records.attempts import other_of
from functions._core.records.audits import AnyAudit, AuditRecord
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import milliseconds
from functions._core.records.worker import Worker

Row = Mapping[str, object]

NUL, SYMBOL_FOR_NUL = "\x00", "\u2400"

LONGEST_KEY = 500
"""Characters of a key that are kept as they are; an index takes no more than some 2,700 bytes."""

LARGEST = 2**63 - 1


def text(value: str | None) -> str | None:
    """Return `value` without the one character that the database cannot hold."""
    return None if value is None else value.replace(NUL, SYMBOL_FOR_NUL)


def key(value: str) -> str:
    """Return text by which a record is found; one that is too long for an index is cut and told apart by its hash."""
    fitting = value.replace(NUL, SYMBOL_FOR_NUL)
    return fitting if len(fitting) <= LONGEST_KEY else f"{fitting[:64]}…{sha256(fitting.encode()).hexdigest()}"


def requirement_key(requirement: Collection[str]) -> str:
    """Return the same key for the same requirement."""
    return key(json.dumps(sorted(set(requirement)), ensure_ascii=False))


def columns(prefix: str, rows: Sequence[Row]) -> Mapping[str, Sequence[object]]:
    """Return rows turned into one list for each column, named with a prefix."""
    return {f"{prefix}_{name}": [row[name] for row in rows] for name in rows[0]}


def flow_row(flow: Flow) -> Row:
    """Return the row of a flow."""
    return {
        "flow_doc": document(flow),
        "flow_flow_id": flow.flow_id,
        "flow_decision_id": text(flow.decision_id),
        "flow_plan_id": text(flow.plan_id),
        "flow_intent_id": text(flow.intent_id),
        "flow_correlation_id": text(flow.correlation_id),
        "flow_trace_id": text(flow.trace_id),
        "flow_status": flow.status.value,
        "flow_outcome": flow.outcome.value if flow.outcome else None,
        "flow_priority": flow.priority.value,
        "flow_risk_band": flow.risk_band.value,
        "flow_received_at": flow.received_at,
        "flow_sla_deadline": flow.sla_deadline,
        "flow_deadline": flow.deadline if flow.outcome is None else None,
        "flow_ended_at": flow.ended_at,
        "flow_duration_ms": milliseconds(flow.ended_at - flow.received_at) if flow.ended_at else None,
        "flow_tickets_generated": flow.tickets_generated,
        "flow_redrives": flow.redrives,
        "flow_next_wakeup_at": flow.next_wakeup_at,
        "flow_version": flow.version,
        "flow_labels": labels_text(flow.labels),
    }


def changing(ticket: Ticket) -> Row:
    """Return the columns of a ticket that may change; `held_since` and so on are set only while it is found by them."""
    waits = waits_for_a_worker(ticket)
    return {
        "doc": document(ticket),
        "ticket_id": ticket.ticket_id,
        "status": ticket.status.value,
        "waiting": ticket.waiting.value if ticket.waiting else None,
        "priority": ticket.priority.value,
        "priority_score": ticket.priority_score,
        "sla": document(ticket.sla),
        "sla_deadline": ticket.sla.deadline,
        "required_capabilities": _list(ticket.required_capabilities),
        "assigned_at": ticket.assigned_at,
        "acknowledged_at": ticket.acknowledged_at,
        "started_at": ticket.started_at,
        "completed_at": _not_before(ticket.started_at, ticket.completed_at),
        "actual_duration_ms": _bounded(ticket.actual_duration_ms),
        "attempt": ticket.attempt,
        "retry_count": ticket.retry_count,
        "worker_id": text(ticket.worker_id),
        "error_message": text(ticket.error_message),
        "compensation_ticket_id": ticket.compensation_ticket_id,
        "held_since": held_since(ticket),
        "requirement": requirement_key(ticket.requirement) if waits else None,
        "turn": ticket.turn or 0 if waits else None,
        "latest_start": ticket.urgency,
        "precedence": ticket.precedence,
        "next_wakeup_at": ticket.next_wakeup_at,
        "version": ticket.version,
    }


def ticket_row(ticket: Ticket) -> Row:
    """Return the whole row of a new ticket."""
    return {
        **changing(ticket),
        "flow_id": ticket.flow_id,
        "plan_id": text(ticket.plan_id),
        "intent_id": text(ticket.intent_id),
        "decision_id": text(ticket.decision_id),
        "correlation_id": text(ticket.correlation_id),
        "trace_id": text(ticket.trace_id),
        "span_id": text(ticket.span_id),
        "task_id": text(ticket.task_id),
        "task_type": ticket.task_type.value,
        "description": text(ticket.description),
        "dependencies": _list(ticket.dependencies),
        "risk_band": ticket.risk_band.value,
        "qos": document(ticket.qos),
        "security_level": ticket.security_level.value,
        "template_id": text(ticket.template_id),
        "created_at": ticket.created_at,
        "estimated_duration_ms": _bounded(ticket.estimated_duration_ms),
        "compensates": ticket.compensates,
        "parent": ticket.parent,
        "schema_version": ticket.schema_version,
        "hash": text(ticket.hash),
        "labels": labels_text(ticket.labels),
    }


def hedge_row(ticket: Ticket) -> Row | None:
    """Return the row of the other attempt that runs at a ticket; None when there is none any more."""
    other = other_of(ticket)
    if other is None:
        return None
    return {"ticket_id": ticket.ticket_id, "worker_id": text(other.worker_id), "held_since": other.assigned_at}


def history_row(entry: HistoryEntry) -> Row:
    """Return the row of a transition; its number is given by the database."""
    return {
        "doc": history_document(entry),
        "flow_id": entry.flow_id,
        "at": entry.at,
        "type": entry.type,
        "ticket_id": entry.ticket_id,
        "from_status": entry.from_status,
        "to_status": entry.to_status,
    }


def audit_row(audit: AnyAudit) -> Row:
    """Return the row of a validation, an action or an incident."""
    validation = audit if isinstance(audit, AuditRecord) else None
    return {
        "doc": document(audit),
        "flow_id": audit.flow_id,
        "kind": audit.kind.value,
        "valid": validation.valid if validation else None,
        "at": audit.checked_at if isinstance(audit, AuditRecord) else audit.at,
    }


def worker_row(worker: Worker) -> Row:
    """Return the row of a worker."""
    return {
        "doc": document(worker),
        "worker_id": worker.worker_id,
        "endpoint": text(worker.endpoint),
        "reported": worker.reported.value,
        "slots": worker.slots,
        "registered_at": worker.registered_at,
        "last_seen": worker.last_seen,
        "next_wakeup_at": worker.next_wakeup_at,
        "version": worker.version,
    }


def letter_row(letter: DeadLetter) -> Row:
    """Return the row of a dead letter."""
    return {
        "doc": document(letter),
        "letter_id": key(letter.letter_id),
        "flow_id": None if letter.flow_id is None else key(letter.flow_id),
    }


def labels_text(labels: Mapping[str, str]) -> str | None:
    """Return labels as they are indexed; None for none."""
    return _list(label_words(labels)) if labels else None


def _list(values: Iterable[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def _not_before(start: datetime | None, end: datetime | None) -> datetime | None:
    """Return `end`, or `start` where the clock of another machine made it earlier."""
    return max(start, end) if start and end else end


def _bounded(number: int | None) -> int | None:
    return None if number is None else min(number, LARGEST)
