"""Rows of flows and tickets, and windows of them, for tests of insights: a test names only what it is about."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from functions._core.insights.window import LENGTH, HistoryWindow
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.record import from_json
from functions._core.records.values import Outcome, Priority, RiskBand, SecurityLevel, TaskType, TicketStatus
from tests.support.builders import T0, seconds

START, END = T0, T0 + LENGTH
"""The window of these tests."""


def flow_row(number: int = 1, **changes: Any) -> FlowRow:
    """Return a flow that completed in time, a minute after the window began."""
    defaults = {
        "flow_id": f"flow-{number}",
        "decision_id": f"decision-{number}",
        "correlation_id": f"correlation-{number}",
        "trace_id": f"{number:032x}",
        "outcome": Outcome.COMPLETED,
        "priority": Priority.NORMAL,
        "risk_band": RiskBand.MEDIUM,
        "received_at": START,
        "ended_at": START + seconds(60),
        "deadline": START + seconds(120),
        "missed": False,
        "tickets": 1,
    }
    return from_json(FlowRow, {**defaults, **changes})


def ticket_row(flow: FlowRow | None = None, number: int = 1, **changes: Any) -> TicketRow:
    """Return a ticket that completed after a second of work at `w1`, without having waited."""
    flow = flow or flow_row()
    defaults = {
        "flow_id": flow.flow_id,
        "ticket_id": f"{flow.flow_id}/{number}",
        "task_id": "a",
        "task_type": TaskType.BUILD,
        "status": TicketStatus.COMPLETED,
        "worker_id": "w1",
        "risk_band": RiskBand.MEDIUM,
        "priority": Priority.NORMAL,
        "security_level": SecurityLevel.INTERNAL,
        "level": 0,
        "fan_in": 0,
        "fan_out": 0,
        "plan_tasks": 1,
        "parameters_bytes": 2,
        "output_bytes": 2,
        "estimate_ms": 1000,
        "timeout_ms": 60_000,
        "sla_ms": 120_000,
        "created_at": flow.received_at,
        "ready_at": flow.received_at,
        "assigned_at": flow.received_at,
        "completed_at": flow.received_at + timedelta(seconds=1),
        "deadline": flow.deadline,
        "actual_ms": 1000,
        "attempts": 1,
    }
    return from_json(TicketRow, {**defaults, **changes})


def failed_row(flow: FlowRow | None = None, number: int = 1, **changes: Any) -> TicketRow:
    """Return a ticket that failed at `w1`."""
    failure = {"status": TicketStatus.FAILED, "actual_ms": None, "reason_code": "TASK_FAILED", "error": "no"}
    return ticket_row(flow, number, **{**failure, **changes})


def window_of(*ended: tuple[FlowRow, Sequence[TicketRow]], **fields: Any) -> HistoryWindow:
    """Return a window with these flows and tickets."""
    return HistoryWindow(start=START, end=END, ended=[(flow, tuple(rows)) for flow, rows in ended], **fields)
