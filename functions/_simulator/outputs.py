"""Outputs of simulated tasks, made so that whatever other tasks refer to is there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from functions._core.decision.references import Reference, ReferenceKind, find_references
from functions._core.records.values import flow_id_of
from functions._simulator.clock import START
from functions._simulator.plans import plan_of, tasks_in

Shape = Mapping[str, Any]
"""Values that an output has, by JSON Pointer; `ANYTHING` where any object does."""

Paths = Mapping[str, Shape]
"""By task: the shape of its output. A task of a sub-flow T is `T/a`, also where T is done for each item of a list."""

ANYTHING: Mapping[str, Any] = {"simulated": True}
ITEM = re.compile(r"\[\d+\]")


@dataclass
class Outputs:
    """The outputs of simulated tasks: those that are given, by task as in `Paths`, and else made for the references."""

    given: Mapping[str, Any] = field(default_factory=dict)
    paths: dict[str, Paths] = field(default_factory=dict)
    """By flow."""

    @classmethod
    def of_decisions(cls, decisions: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> "Outputs":
        """Return the outputs for the references of several decisions."""
        return cls(given, {flow_id_of(str(one.get("decision_id"))): paths_of(one) for one in decisions})

    def of(self, flow_id: str, task_id: str, otherwise: Mapping[str, Any]) -> Any:
        """Return the output of a task; where none is given, `otherwise` with all that others refer to.

        A given list of a task that is done for each item has the outputs of the items.
        """
        name = ITEM.sub("", task_id)
        for known in (task_id, name):
            if known in self.given:
                value = self.given[known]
                index = int(task_id[len(name) + 1 : -1]) if task_id.endswith("]") and known == name else None
                if index is not None and isinstance(value, list):
                    return value[index] if index < len(value) else None
                return value
        paths = self.paths.get(flow_id, {})
        return with_paths(otherwise, paths.get(task_id) or paths.get(name, {}))


def paths_of(decision: Mapping[str, Any]) -> Paths:
    """Return what a plan's tasks and compensations refer to; what is no reference C1 will refuse."""
    plan = plan_of(decision)
    found: dict[str, dict[str, Any]] = {}
    _Scope(tasks_in(plan), plan.get("result"), "", found).collect()
    return found


@dataclass
class _Scope:
    """The tasks of a plan, or of one within it, whose ids on tickets begin with `prefix`."""

    tasks: Sequence[Mapping[str, Any]]
    result: Any
    prefix: str
    found: dict[str, dict[str, Any]]

    def collect(self) -> None:
        """Note what the tasks, and the result, refer to."""
        for task in self.tasks:
            for reference, value in _wanted(task):
                self.note(reference, value)
            if isinstance(task.get("plan"), Mapping):
                self._inside(task).collect()
        for reference in find_references(self.result, "result"):
            self.note(reference, ANYTHING)

    def note(self, reference: Reference, value: Any) -> None:
        """Note that the output of a task needs a value; that of a sub-flow comes from its tasks."""
        task = next((one for one in self.tasks if one.get("task_id") == reference.task_id), None)
        if task is None or reference.fault:
            return
        tokens = reference.path.split("/")[1:]
        if "foreach" in task:
            if not tokens:
                return  # a list in any case
            tokens = tokens[1:]
        if isinstance(task.get("plan"), Mapping):
            self._inside(task).note_result(tokens, value)
        elif tokens or value is not ANYTHING:
            shape = self.found.setdefault(f"{self.prefix}{reference.task_id}", {})
            path = "".join(f"/{token}" for token in tokens)
            if shape.get(path, ANYTHING) is ANYTHING:
                shape[path] = value

    def note_result(self, tokens: Sequence[str], value: Any) -> None:
        """Note that the result of the plan needs a value at a place."""
        place = self.result if self.result is not None else {one: {"$output": one} for one in self._last}
        for number, token in enumerate((*tokens, "")):
            inner = [one for one in find_references(place, "") if not one.where]
            if inner:
                rest = "".join(f"/{one}" for one in tokens[number:])
                self.note(Reference("", inner[0].task_id, inner[0].path + rest), value)
                return
            place = place.get(token) if isinstance(place, Mapping) else None

    @property
    def _last(self) -> Sequence[str]:
        """The tasks that no other one depends on: their outputs are the result where none is declared."""
        before = {one for task in self.tasks for one in task.get("dependencies", ())}
        return [task["task_id"] for task in self.tasks if task.get("task_id") not in before]

    def _inside(self, task: Mapping[str, Any]) -> "_Scope":
        return _Scope(
            tasks_in(task["plan"]), task["plan"].get("result"), f"{self.prefix}{task['task_id']}/", self.found
        )


def _wanted(task: Mapping[str, Any]) -> Iterator[tuple[Reference, Any]]:
    """Yield the references of a task, each with the value that it needs."""
    undone, foreach, wait = task.get("compensation"), task.get("foreach"), task.get("wait")
    for holder in (task, undone):
        parameters = holder.get("parameters") if isinstance(holder, Mapping) else None
        if isinstance(parameters, Mapping):
            yield from ((reference, ANYTHING) for reference in find_references(parameters))
    if isinstance(foreach, Mapping):
        items = [_item_of(task) for _ in range(foreach.get("expected_items", 1))]
        yield from ((reference, items) for reference in find_references(foreach.get("items"), "items"))
    if isinstance(wait, Mapping):
        yield from ((one, START.isoformat()) for one in find_references(wait.get("until"), "until"))
        yield from ((one, 1) for one in find_references(wait.get("seconds"), "seconds"))
        yield from ((one, "simulated") for one in find_references(wait.get("event"), "event"))


def _item_of(task: Mapping[str, Any]) -> Any:
    """Return an item of the list of a task that has what its parameters refer to."""
    parameters = task.get("parameters", {})
    paths = [one.path for one in find_references(parameters) if one.kind is ReferenceKind.ITEM and one.path]
    return with_paths(ANYTHING, dict.fromkeys(paths, ANYTHING))


class SimulatedSecrets:
    """Placeholders for all secrets that plans refer to; implements `TaskSecrets`."""

    async def value(self, name: str, _tenant_id: str | None) -> str:
        """Return a text that says what it stands for."""
        return f"simulated secret {name}"


def with_paths(output: Mapping[str, Any], shape: Shape) -> Any:
    """Return `output` with the value of `shape` at each path: an object fits also where all parameters are wanted.

    A member named by a number stands for the entry of a list: a reference finds either.
    """
    made: Any = dict(output)
    for path, value in sorted(shape.items(), key=lambda one: one[0].count("/")):
        if not path:
            made = made if value is ANYTHING else deepcopy(value)
            continue
        *way, last = (token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:])
        place = made
        for token in way:
            place = _member(place, token)
        if value is ANYTHING:
            _member(place, last).setdefault("simulated", True)
        elif isinstance(place, dict):
            place[last] = deepcopy(value)
    return made


def _member(place: Any, token: str) -> Any:
    """Return the object, or the list, at a place; it is made where there is none."""
    if isinstance(place, list):
        return place[int(token)] if token.isdecimal() and int(token) < len(place) else {}
    inner = place.get(token)
    if not isinstance(inner, dict | list):
        inner = place[token] = {}
    return inner
