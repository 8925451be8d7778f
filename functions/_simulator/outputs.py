"""Outputs of simulated tasks, made so that whatever other tasks refer to is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from functions._core.decision.references import find_references
from functions._core.records.values import flow_id_of, ticket_id_of
from functions._simulator.plans import tasks_of

Paths = Mapping[str, Sequence[str]]
"""By task: the JSON Pointers into its output that the plan's references have."""


def paths_of(decision: Mapping[str, Any]) -> Paths:
    """Return what a plan's tasks and compensations refer to; what is no reference C1 will refuse."""
    found: dict[str, list[str]] = {}
    for task in tasks_of(decision):
        undone = task.get("compensation")
        for holder in (task, undone):
            parameters = holder.get("parameters") if isinstance(holder, Mapping) else None
            for reference in find_references(parameters) if isinstance(parameters, Mapping) else ():
                if reference.task_id and not reference.fault and reference.path:
                    found.setdefault(reference.task_id, []).append(reference.path)
    return found


def paths_by_ticket(decisions: Sequence[Mapping[str, Any]]) -> Paths:
    """Return the same of several decisions, by ticket id."""
    return {
        ticket_id_of(flow_id_of(str(decision.get("decision_id"))), task_id): paths
        for decision in decisions
        for task_id, paths in paths_of(decision).items()
    }


class SimulatedSecrets:
    """Placeholders for all secrets that plans refer to; implements `TaskSecrets`."""

    async def value(self, name: str, _tenant_id: str | None) -> str:
        """Return a text that says what it stands for."""
        return f"simulated secret {name}"


def with_paths(output: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return `output` with an object at the end of each path: it fits where a value or all parameters are wanted.

    A member named by a number stands for the entry of a list: a reference finds either.
    """
    made = dict(output)
    for path in paths:
        place = made
        for token in path.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            inner = place.get(name)
            place[name] = place = inner if isinstance(inner, dict) else {}
        place.setdefault("simulated", True)
    return made
