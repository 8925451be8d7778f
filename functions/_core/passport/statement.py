"""The statement of a passport: an in-toto statement (v1) about a flow that has ended.

    subject      the flow, by the last seal of its history, and the decision, by its hash
    predicate    flow, sla, price, approvals, tickets, history: parts with seals (`seal`)

What tasks were given and what they returned is in it by hash alone, so it may be shown to people who may not read that.
A reference in parameters stands for an output, whose hash is that of its own ticket.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from functions._core.passport.seal import SEAL, chained, hash_of, sealed
from functions._core.records.audits import ActionRecord
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import format_time

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://neuralhive.io/flowc/passport/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

JsonPart = dict[str, Any]


def statement_of(
    flow: Flow,
    tickets: Sequence[JsonPart],
    history: Sequence[JsonPart],
    actions: Iterable[ActionRecord],
    *,
    price: Mapping[str, Any],
    issued: Mapping[str, Any],
) -> JsonPart:
    """Return the statement about a flow, of the parts of its tickets (sealed) and history (not sealed yet).

    `price` is what the work cost (`price_part`); `issued` says when, by which platform and with which key (`keyid`).
    """
    about = sealed(flow_part(flow))
    lines = [*chained(history, about[SEAL])]
    last = lines[-1][SEAL] if lines else about[SEAL]
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": f"flow:{flow.flow_id}", "digest": {"sha256": last}},
            {"name": f"decision:{flow.decision_id}", "digest": {"sha256": flow.content_hash}},
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "flow": about,
            "sla": sealed(sla_part(flow)),
            "price": sealed(price),
            "approvals": [sealed(action_part(action)) for action in actions],
            "tickets": tickets,
            "history": lines,
            "issued": sealed({**issued, "tickets": len(tickets), "lines": len(lines)}),
        },
    }


def flow_part(flow: Flow) -> JsonPart:
    """Return who asked for what, and what became of it."""
    return {
        "flow_id": flow.flow_id,
        "decision_id": flow.decision_id,
        "decision_sha256": flow.content_hash,
        "plan_id": flow.plan_id,
        "intent_id": flow.intent_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "tenant_id": flow.tenant_id,
        "priority": flow.priority,
        "risk_band": flow.risk_band,
        "labels": dict(flow.labels),
        "received_at": format_time(flow.received_at),
        "ended_at": format_time(flow.ended_at) if flow.ended_at else None,
        "outcome": flow.outcome,
        "status": flow.status,
        "reasons": [reason.told for reason in flow.reasons],
        "tickets_generated": flow.tickets_generated,
        "redrives": flow.redrives,
    }


def sla_part(flow: Flow) -> JsonPart:
    """Return whether the flow was done in time."""
    return {
        "deadline": format_time(flow.sla_deadline),
        "ended_at": format_time(flow.ended_at) if flow.ended_at else None,
        "kept": flow.ended_at is not None and flow.ended_at <= flow.sla_deadline,
    }


def ticket_part(ticket: Ticket) -> JsonPart:
    """Return what became of a ticket: who could have done it, who did it, and what it took and gave, by hash."""
    return sealed(
        {
            "ticket_id": ticket.ticket_id,
            "task_id": ticket.task_id,
            "task_type": ticket.task_type,
            "status": ticket.status,
            "worker_id": ticket.worker_id,
            "attempt": ticket.attempt,
            "retries": ticket.retry_count,
            "skipped": ticket.skipped,
            "compensates": ticket.compensates,
            "required_capabilities": list(ticket.required_capabilities),
            "security_level": ticket.security_level,
            "eligible": [{"worker_id": one.worker_id, "score": one.score} for one in ticket.candidates],
            "left_out": [{"worker_id": one.worker_id} for one in ticket.refusals],
            "parameters_sha256": hash_of(_plain(ticket.parameters)),
            "output_sha256": None if ticket.output is None else hash_of(_plain(ticket.output)),
            "ticket_sha256": ticket.hash,
            "created_at": format_time(ticket.created_at),
            "started_at": format_time(ticket.started_at) if ticket.started_at else None,
            "completed_at": format_time(ticket.completed_at) if ticket.completed_at else None,
            "deadline": format_time(ticket.sla.deadline),
            "in_time": ticket.completed_at is not None and ticket.completed_at <= ticket.sla.deadline,
            "reason": ticket.reason.told if ticket.reason else None,
        }
    )


def line_part(entry: HistoryEntry) -> JsonPart:
    """Return a line of the history; its details are there by hash."""
    return {
        "seq": entry.seq,
        "at": format_time(entry.at),
        "type": entry.type,
        "cause": entry.cause,
        "ticket_id": entry.ticket_id,
        "from": entry.from_status,
        "to": entry.to_status,
        "attempt": entry.attempt,
        "worker_id": entry.worker_id,
        "event_id": entry.event_id,
        "detail_sha256": hash_of(_plain(entry.detail)) if entry.detail else None,
    }


def action_part(action: ActionRecord) -> JsonPart:
    """Return what a person did about the flow."""
    return {
        "action": action.action,
        "target": action.target,
        "who": action.who,
        "why": action.why,
        "at": format_time(action.at),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 any JSON
    """Return a value with plain objects and lists in it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
