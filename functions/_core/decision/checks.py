"""C1: the checks of a decision before tickets are made of it. All errors are reported, not the first alone.

Errors refuse the plan; warnings are kept with the flow and change nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from functions._core.decision.concurrency import concurrency_errors, label_errors
from functions._core.decision.control_checks import Conditions, check_scope, scopes_of, too_large
from functions._core.decision.model import CognitivePlan, Decision, Task
from functions._core.decision.vocabulary import shown
from functions._core.executors.table import executor_errors, executor_warnings
from functions._core.planning.graph import find_cycle, schedule, topological_levels
from functions._core.records.models import Reason
from functions._core.records.values import format_time, milliseconds
from functions._core.rules import DEFAULT_SLA

SUPPORTED_MAJORS = frozenset({1})
"""Major versions of a plan whose meaning is known; another one may mean something else by the same words."""

SCHEMA_VERSION = 1
"""The version of the form that is read; others are read like it, with a warning."""

VERSION = re.compile(r"([0-9]{1,9})\.[0-9]{1,9}\.[0-9]{1,9}")
"""MAJOR.MINOR.PATCH, each of at most nine digits, so that the number stays small."""

MAX_NAMED = 20
"""Tasks named of a path in a message: reasons are kept on the flow's row, which must stay small."""

TASKS = "cognitive_plan.tasks"
"""The place of the tasks, for reasons."""

IMPOSSIBLE = "critical_path_exceeds_sla"
"""Code of the warning that the critical path does not fit into the SLA."""

ORDER = "cognitive_plan.execution_order"
"""The place of the order that the author has in mind, for reasons."""


def check_plan(
    decision: Decision, now: datetime, default_sla: timedelta = DEFAULT_SLA
) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return all errors and all warnings of a decision and its plan at the moment `now`.

    `default_sla` holds where the decision names no deadline.
    """
    plan = decision.cognitive_plan
    edges = _sound_edges(plan.tasks)
    levels = topological_levels(edges)
    errors = (
        *_version_errors(plan),
        *_time_errors(decision, now),
        *_order_errors(plan, edges),
        *_scope_errors(plan),
        *label_errors(decision),
        *concurrency_errors(decision),
    )
    warnings = [*_schema_warnings(decision)]
    if not errors:
        warnings.extend(executor_warnings(scopes_of(plan)))
    if len(levels) == len(edges):
        warnings.extend(_order_warnings(plan, edges))
    if not errors:
        warnings.extend(_deadline_warnings(plan, now, decision.deadline(now, default_sla)))
    return errors, tuple(warnings)


def chain(task_ids: Sequence[str]) -> str:
    """Return a path as `a → b → c`, the middle of a long one left out."""
    if len(task_ids) <= MAX_NAMED:
        return " → ".join(task_ids)
    half = MAX_NAMED // 2
    left_out = f"… {len(task_ids) - MAX_NAMED} more …"
    return " → ".join((*task_ids[:half], left_out, *task_ids[-half:]))


def _sound_edges(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Return the dependencies by task id, without those to the task itself and to unknown tasks."""
    ids = {task.task_id for task in tasks}
    return {task.task_id: tuple(d for d in task.dependencies if d in ids and d != task.task_id) for task in tasks}


def _version_errors(plan: CognitivePlan) -> Iterator[Reason]:
    where = "cognitive_plan.version"
    match = VERSION.fullmatch(plan.version)
    if match is None:
        yield _reason("unsupported_version", where, f"is {shown(plan.version)}, not MAJOR.MINOR.PATCH as in 1.0.0")
    elif int(match[1]) not in SUPPORTED_MAJORS:
        supported = ", ".join(map(str, sorted(SUPPORTED_MAJORS)))
        yield _reason("unsupported_version", where, f"is {plan.version}; supported major versions are {supported}")


def _time_errors(decision: Decision, now: datetime) -> Iterator[Reason]:
    times = (
        ("decision_expired", "valid_until", decision.valid_until, "the decision expired at"),
        (
            "plan_expired",
            "cognitive_plan.valid_until",
            decision.cognitive_plan.valid_until,
            "the plan expired at",
        ),
        ("deadline_passed", "sla_deadline", decision.sla_deadline, "the deadline has passed, it was"),
    )
    for code, where, moment, text in times:
        if moment is not None and moment <= now:
            yield _reason(code, where, f"{text} {format_time(moment)}")


def _scope_errors(plan: CognitivePlan) -> Iterator[Reason]:
    """Yield the errors of the plan's tasks and of those of its sub-plans, each of them a scope of its own."""
    scopes = scopes_of(plan)
    if (reason := too_large(scopes)) is not None:
        yield reason
        return
    conditions = Conditions()
    for scope in scopes:
        edges = _sound_edges(scope.tasks)
        levels = topological_levels(edges)
        yield from _task_errors(scope.tasks, scope.where)
        yield from _cycle_errors(edges, levels, scope.where)
        yield from check_scope(scope, levels, conditions)
        yield from executor_errors(scope)


def _task_errors(tasks: Sequence[Task], place: str) -> Iterator[Reason]:
    if not tasks:
        yield _reason("empty_plan", place, "the plan has no tasks, there is nothing to do")
    first: dict[str, int] = {}
    for position, task in enumerate(tasks):
        if first.setdefault(task.task_id, position) != position:
            text = f"{shown(task.task_id)} is the id of {place}[{first[task.task_id]}] already"
            yield _reason("duplicate_task_id", f"{place}[{position}].task_id", text)
    for position, task in enumerate(tasks):
        where = f"{place}[{position}].dependencies"
        for dependency in task.dependencies:
            if dependency == task.task_id:
                yield _reason("self_dependency", where, f"task {shown(dependency)} depends on itself")
            elif dependency not in first:
                text = f"task {shown(task.task_id)} depends on {shown(dependency)}, which is no task of the plan"
                yield _reason("unknown_dependency", where, text)


def _order_errors(plan: CognitivePlan, edges: Mapping[str, Sequence[str]]) -> Iterator[Reason]:
    for position, task_id in enumerate(plan.execution_order):
        if task_id not in edges:
            text = f"{shown(task_id)} is no task of the plan"
            yield _reason("unknown_task_in_order", f"{ORDER}[{position}]", text)


def _cycle_errors(edges: Mapping[str, Sequence[str]], levels: Mapping[str, int], place: str) -> Iterator[Reason]:
    if len(levels) < len(edges):
        cycle = find_cycle(edges)
        text = f"these tasks wait for each other in a circle: {chain((*cycle, cycle[0]))}"
        yield _reason("cyclic_dependencies", place, text)


def _schema_warnings(decision: Decision) -> Iterator[Reason]:
    plan = decision.cognitive_plan
    places = (
        ("schema_version", decision.schema_version),
        ("cognitive_plan.schema_version", plan.schema_version),
    )
    for where, version in places:
        if version != SCHEMA_VERSION:
            yield _reason("unknown_schema_version", where, f"is {version}, read as if it were {SCHEMA_VERSION}")


def _order_warnings(plan: CognitivePlan, edges: Mapping[str, Sequence[str]]) -> Iterator[Reason]:
    if not plan.execution_order:
        return
    place = {task_id: at for at, task_id in reversed(list(enumerate(plan.execution_order)))}
    missing = [task_id for task_id in edges if task_id not in place]
    if missing:
        text = f"{len(missing)} of {len(edges)} tasks are not in it, the first is {shown(missing[0])}"
        yield _reason("order_incomplete", ORDER, f"{text}; the order is computed from the dependencies")
    for task_id, dependencies in edges.items():
        late = next((d for d in dependencies if place.get(d, -1) > place.get(task_id, len(place))), None)
        if late is not None:
            text = f"{shown(task_id)} comes before {shown(late)}, which it depends on"
            yield _reason("order_not_topological", ORDER, f"{text}; the order is computed from the dependencies")
            return


def _deadline_warnings(plan: CognitivePlan, now: datetime, deadline: datetime) -> Iterator[Reason]:
    planned = schedule(plan.tasks, now, deadline)
    left_ms = milliseconds(deadline - now)
    if planned.critical_path_ms > left_ms:
        text = f"the longest path takes {planned.critical_path_ms} ms of the {left_ms} ms that the SLA leaves"
        yield _reason(IMPOSSIBLE, TASKS, f"{text}: {chain(planned.critical_path)}")


def _reason(code: str, where: str, text: str) -> Reason:
    return Reason(code=code, message=f"{where}: {text}", where=where)
