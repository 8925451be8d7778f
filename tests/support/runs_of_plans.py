"""Runs of plans as their records tell them: chains of tasks with the times that a test wants."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.rows import rows_of
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.values import FlowStatus, Outcome, TaskType, TicketStatus, ticket_id_of
from tests.support.builders import T0, make_flow, make_ticket, seconds

GIVEN = 3600
"""Seconds that a flow has, unless a test says otherwise."""


class Task(NamedTuple):
    """A task of a chain with its times, in seconds."""

    task_id: str
    work: float = 60
    wait: float = 1
    lost: float = 0
    """How long attempts took that came to nothing, and the pauses after them."""
    task_type: TaskType = TaskType.TRANSFORM
    worker_id: str | None = "worker-1"
    parameters: Mapping[str, Any] = {}
    capabilities: tuple[str, ...] = ("python",)
    estimate: float = 60
    fails: bool = False
    changes: Mapping[str, Any] = {}


def run_of(
    number: int, *tasks: Task, plan: str = "nightly", start: datetime | None = None, **changes: Any
) -> tuple[Flow, tuple[Ticket, ...]]:
    """Return a flow that has done `tasks` one after the other, the run `number` of its plan; one is made a day."""
    begun = start or T0 + timedelta(days=number)
    shell = make_flow(number, received_at=begun, plan_id=plan)
    template = make_ticket(shell, 1)
    at, failed = begun + seconds(1), False
    tickets: list[Ticket] = []
    before: tuple[str, ...] = ()
    for one in tasks:
        ready, assigned = at + seconds(one.lost), at + seconds(one.lost + one.wait)
        done = assigned + seconds(one.work)
        given = {
            "ticket_id": ticket_id_of(shell.flow_id, one.task_id),
            "task_id": one.task_id,
            "task_type": one.task_type,
            "parameters": dict(one.parameters),
            "required_capabilities": one.capabilities,
            "created_at": begun + seconds(1),
            "dependencies": before,
            "status": TicketStatus.FAILED if one.fails else TicketStatus.COMPLETED,
            "ready_at": ready,
            "assigned_at": assigned if one.worker_id else None,
            "worker_id": one.worker_id,
            "attempt": (2 if one.lost else 1) if one.worker_id else 0,
            "retry_count": 1 if one.lost else 0,
            "completed_at": done,
            "actual_duration_ms": None if one.fails or not one.worker_id else round(one.work * 1000),
            "estimated_duration_ms": round(one.estimate * 1000),
            "reason": Reason(code="task_error", message="no space left") if one.fails else None,
            "next_wakeup_at": None,
        }
        tickets.append(template.but(**(given | dict(one.changes))))
        at, before, failed = done, (tickets[-1].ticket_id,), failed or one.fails
    outcome = Outcome.FAILED if failed else Outcome.COMPLETED
    ended: dict[str, Any] = {
        "status": FlowStatus(outcome.value),
        "outcome": outcome,
        "received_at": begun,
        "plan_id": plan,
        "sla_deadline": begun + seconds(GIVEN),
        "ended_at": at,
        "tickets_generated": len(tickets),
        "critical_path_ms": round(sum(one.estimate for one in tasks) * 1000),
        "phases": ({"status": FlowStatus.VALIDATING, "entered_at": begun},),
        "next_wakeup_at": None,
    }
    return make_flow(number, **(ended | changes)), tuple(tickets)


def base_of(runs: Sequence[tuple[Flow, Sequence[Ticket]]]) -> list[tuple[FlowRow, Sequence[TicketRow]]]:
    """Return runs as history has them."""
    return [rows_of(flow, tickets) for flow, tickets in runs]
