"""Providers of a plan that look like executors of Flow C and are none for their tasks.

A worker of a user's own may have its own meaning for a provider, so this is said and never refused.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice

from functions._core.decision.control_checks import Scope
from functions._core.executors.table import EXECUTORS, executor_of
from functions._core.records.values import TaskType

MOST_NAMED = 10
"""Tasks of a plan that are named: warnings are kept on the flow's row, which must stay small."""

MOST_COMPARED, MOST_CHARACTERS = 100, 40
"""Names in a plan that are compared with those of executors, and characters of one: each takes 0.1 ms."""

CLOSE = 0.8
"""How like the name of an executor another name is that is taken for a slip, 0 to 1."""


def unused_providers(scopes: Iterable[Scope]) -> Iterator[tuple[str, str]]:
    """Yield which tasks name an executor that will not do them, by a slip or as it does other types: where, and why."""
    yield from islice(_unused(scopes), MOST_NAMED)


def _unused(scopes: Iterable[Scope]) -> Iterator[tuple[str, str]]:
    texts: dict[tuple[TaskType, str], str] = {}
    for scope in scopes:
        for position, task in enumerate(scope.tasks):
            name = task.parameters.get("provider")
            if not isinstance(name, str) or executor_of(task.task_type, task.parameters) is not None:
                continue
            used = task.task_type, name
            if used not in texts and len(texts) < MOST_COMPARED:
                texts[used] = _other_meaning(*used)
            if text := texts.get(used):
                yield f"{scope.where}[{position}].parameters.provider", text


def _other_meaning(task_type: TaskType, name: str) -> str:
    """Return why a provider is no executor for a type of task; empty where it is like none."""
    if name in EXECUTORS and task_type in EXECUTORS[name].task_types:
        return f"the executor {name} has no parameters here, so a worker of yours has to know what to do"
    if name in EXECUTORS:
        types = ", ".join(sorted(EXECUTORS[name].task_types))
        return f"the executor {name} does tasks of the types {types}, none of the type {task_type}"
    plain = name[:MOST_CHARACTERS].lower().replace("-", "_")
    meant = next(iter(get_close_matches(plain, EXECUTORS, 1, CLOSE)), "")
    return f"there is no such executor, so a worker of yours has to know it; is {meant} meant?" if meant else ""
