"""A plan run in two places, and the comparison of the two histories."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.http_world import HttpWorld
from tests.support.plans import proves_itself
from tests.support.world import PATIENCE_S, running_world

SUPERSEDED = frozenset({"ticket.retried", "ticket.reassigned"})
NOT_COMPARED = frozenset({"ticket.started", "flow.reemitted", "sla.at_risk", "sla.violated"})
"""What the clock says, not the plan: an estimate of a millisecond leaves a ticket no time on a slow machine."""

Scenario = tuple[list[tuple[str, ...]], dict[str, list[tuple[str, ...]]]]


async def same_course(world: HttpWorld, decision: Mapping[str, Any], folder: Path, seconds: float = PATIENCE_S) -> None:
    """Run a decision here and on one machine, and compare."""
    flow_id = await world.submit(decision)
    flow = await world.ended(flow_id, seconds)
    assert flow["status"] == "COMPLETED", flow
    history = await world.history(flow_id)
    assert proves_itself(plan_of(decision), history) == []
    unlike = differences(course(history), course(await on_one_machine(decision, folder)))
    assert unlike == [], unlike


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the recorded plans as decisions, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        found[path.stem] = data.get("data", data)
    return found


def plan_of(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plan of a decision."""
    plan = decision["cognitive_plan"]
    found: Mapping[str, Any] = json.loads(plan) if isinstance(plan, str) else plan
    return found


async def on_one_machine(decision: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return the history of a decision's flow in one process."""
    async with running_world(folder) as world:
        await world.register("w0", "python", "execute", slots=100)
        flow_id = await world.submit(decision)
        await world.ended(flow_id)
        return await world.history(flow_id)


def course(history: Sequence[Mapping[str, Any]]) -> Scenario:
    """Return what a history tells of the flow, and of each task: RUNNING and superseded attempts left out."""
    of_flow: list[tuple[str, ...]] = []
    of_tasks: dict[str, list[tuple[str, ...]]] = {}
    for entry in history:
        if entry["type"] in NOT_COMPARED:
            continue
        moved = entry["type"], entry.get("from_status") or "", entry.get("to_status") or ""
        task_id = entry.get("task_id")
        if task_id is None:
            of_flow.append(moved)
        elif entry["type"] in SUPERSEDED:
            of_tasks[task_id] = [one for one in of_tasks.get(task_id, []) if one[0] != "ticket.assigned"]
        else:
            of_tasks.setdefault(task_id, []).append(moved)
    ended = {"COMPLETED", "FAILED", "CANCELLED"}
    # A worker may end its attempt before it has said RUNNING, or after: where it ended from is not compared.
    plain: dict[str, list[tuple[str, ...]]] = {
        task: [(kind, "" if after in ended else before, after) for kind, before, after in lines]
        for task, lines in of_tasks.items()
    }
    return of_flow, plain


def differences(here: Scenario, there: Scenario) -> list[str]:
    """Return what is not the same in two courses."""
    found = [f"flow: {here[0]} instead of {there[0]}"] if here[0] != there[0] else []
    tasks = {**there[1], **here[1]}
    pairs = [(task, here[1].get(task), there[1].get(task)) for task in tasks]
    return found + [f"{task}: {one} instead of {other}" for task, one, other in pairs if one != other]


def wide(seeded: Mapping[str, Any], tickets: int) -> dict[str, Any]:
    """Return a decision like `seeded` with so many tasks, a hundred side by side."""
    tasks = [
        {
            "task_id": f"t{n}",
            "task_type": "EXECUTE",
            "description": "a task whose description makes the decision larger than any event may be",
            "dependencies": [f"t{n - 100}"] if n >= 100 else [],
            "required_capabilities": ["execute"],
            "estimated_duration_ms": 1000,
        }
        for n in range(tickets)
    ]
    return {**seeded, "cognitive_plan": {**plan_of(seeded), "tasks": tasks}}
