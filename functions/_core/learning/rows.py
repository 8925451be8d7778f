"""Rows of history, made of the records of a flow that has ended and of its tickets."""

import re
from collections.abc import Sequence
from datetime import datetime

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.worker_time import of_record
from functions._core.planning.slack import missed
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Ticket
from functions._core.records.simulated import was_simulated
from functions._core.records.values import Outcome, TicketStatus, milliseconds

ERROR_LENGTH = 300
"""Characters of a ticket's error that its row keeps."""

WAITED_IN_VAIN = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED})
"""Ends of a ticket that may have waited for a worker and never got one."""

_ITEM = re.compile(r"\[\d+\]")


def rows_of(flow: Flow, tickets: Sequence[Ticket]) -> tuple[FlowRow, tuple[TicketRow, ...]]:
    """Return the row of a flow that has ended, and those of its tickets that a worker had or could have had.

    Left out are compensations, tickets that need no worker (approvals, waits, parents of children), and those that
    ended before they were ready. Raises `ValueError` for a flow that has not ended.
    """
    if flow.ended_at is None:
        raise ValueError(f"flow {flow.flow_id} has not ended")
    ended_at, sla_ms = flow.ended_at, sla_ms_of(flow)
    rows = tuple(_ticket_row(flow, ticket, sla_ms, ended_at) for ticket in tickets if _was_work(ticket))
    reasons = flow.reasons if flow.outcome is not Outcome.COMPLETED else ()
    return FlowRow(
        flow_id=flow.flow_id,
        decision_id=flow.decision_id,
        plan_id=flow.plan_id,
        correlation_id=flow.correlation_id,
        trace_id=flow.trace_id,
        outcome=flow.outcome or Outcome(flow.status.value),
        priority=flow.priority,
        risk_band=flow.risk_band,
        received_at=flow.received_at,
        ended_at=ended_at,
        deadline=flow.sla_deadline,
        missed=missed(flow),
        simulated=was_simulated(flow),
        tickets=flow.tickets_generated,
        critical_path_ms=flow.critical_path_ms,
        reason_code=reasons[0].code if reasons else None,
        prediction=flow.prediction,
    ), rows


def sla_ms_of(flow: Flow) -> int:
    """Return how many milliseconds a flow has from its arrival to its deadline."""
    return max(0, milliseconds(flow.sla_deadline - flow.received_at))


def kind_of(ticket: Ticket) -> str:
    """Return the id of a ticket's task within its plan: without its scope, and without the number of an item.

    All items of a list, and the same task of a plan within it that is repeated, are one kind of work.
    """
    return _ITEM.sub("", ticket.task_id.removeprefix(ticket.scope)) or ticket.task_id


def parameters_bytes(ticket: Ticket) -> int:
    """Return the bytes of a ticket's parameters as JSON; of a child for an item those of the item, too."""
    return json_size(dict(ticket.parameters)) + (json_size(ticket.item) if ticket.index is not None else 0)


def _was_work(ticket: Ticket) -> bool:
    if ticket.compensates is not None or (ticket.control is not None and ticket.control.works_alone):
        return False
    return ticket.attempt > 0 or (ticket.status in WAITED_IN_VAIN and ticket.ready_at is not None)


def _ticket_row(flow: Flow, ticket: Ticket, sla_ms: int, ended_at: datetime) -> TicketRow:
    reason = ticket.reason
    return TicketRow(
        flow_id=flow.flow_id,
        ticket_id=ticket.ticket_id,
        task_id=kind_of(ticket),
        task_type=ticket.task_type,
        domain=ticket.domain,
        capabilities=ticket.required_capabilities,
        status=ticket.status,
        worker_id=ticket.worker_id,
        risk_band=ticket.risk_band,
        priority=ticket.priority,
        security_level=ticket.security_level,
        level=ticket.level,
        fan_in=len(ticket.dependencies),
        fan_out=len(ticket.dependants),
        plan_tasks=flow.tickets_generated,
        parameters_bytes=parameters_bytes(ticket),
        output_bytes=0 if ticket.output is None else json_size(ticket.output),
        estimate_ms=ticket.estimated_duration_ms,
        timeout_ms=ticket.sla.timeout_ms,
        sla_ms=sla_ms,
        created_at=ticket.created_at,
        ready_at=ticket.ready_at,
        assigned_at=ticket.assigned_at,
        completed_at=ticket.completed_at or ended_at,
        deadline=ticket.sla.deadline,
        actual_ms=ticket.actual_duration_ms,
        worker_ms=of_record(ticket),
        retries=ticket.retry_count,
        attempts=ticket.attempt,
        hedged=ticket.hedge is not None,
        critical=ticket.critical,
        reason_code=reason.code if reason else None,
        error=reason.message[:ERROR_LENGTH] if reason else None,
        prediction=ticket.prediction,
    )
