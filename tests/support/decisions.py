"""Small decisions for tests: what every decision needs, changed where a test says so."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from functions._core.decision.reading import Decision, InvalidDecision, read_decision
from functions._core.records.models import Flow, Phase, Reason
from functions._core.records.values import FlowStatus, flow_id_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def a_task(task_id: str = "a", *dependencies: str, **changes: object) -> dict[str, Any]:
    """Return a task as JSON."""
    return {
        "task_id": task_id,
        "task_type": "EXECUTE",
        "description": f"do {task_id}",
        "dependencies": list(dependencies),
        **changes,
    }


def a_plan(*tasks: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """Return a plan as JSON; without tasks, of one task."""
    return {"plan_id": "plan-1", "tasks": list(tasks) or [a_task()], **changes}


def a_document(plan: object = None, **changes: object) -> dict[str, Any]:
    """Return a decision as JSON."""
    return {
        "decision_id": "decision-1",
        "plan_id": "plan-1",
        "intent_id": "intent-1",
        "final_decision": "approve",
        "cognitive_plan": a_plan() if plan is None else plan,
        **changes,
    }


def a_decision(*tasks: Mapping[str, Any], plan: Mapping[str, Any] | None = None, **changes: object) -> Decision:
    """Return a decision about `tasks`; `plan` changes the plan, other names change the decision."""
    return read(a_document(a_plan(*tasks, **(plan or {})), **changes))


def a_flow(decision: Decision, **changes: object) -> Flow:
    """Return the row of the decision's flow, received at `NOW`."""
    fields: dict[str, Any] = {
        "flow_id": flow_id_of(decision.decision_id),
        "decision_id": decision.decision_id,
        "correlation_id": "correlation-1",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "content_hash": "0" * 64,
        "status": FlowStatus.GENERATING,
        "received_at": NOW,
        "sla_deadline": decision.deadline(NOW),
        "phases": (Phase(status=FlowStatus.GENERATING, entered_at=NOW),),
        "next_wakeup_at": NOW,
    }
    return Flow(**fields | changes)


def read(document: object) -> Decision:
    """Read a decision from a JSON value."""
    return read_decision(json.dumps(document).encode())


def refusals(document: object) -> list[Reason]:
    """Return why a JSON value is no decision; empty when it is one."""
    try:
        read(document)
    except InvalidDecision as error:
        return list(error.reasons)
    return []


def faults(document: object) -> list[tuple[str, str | None]]:
    """Return code and place of everything that keeps a JSON value from being a decision."""
    return [(reason.code, reason.where) for reason in refusals(document)]
