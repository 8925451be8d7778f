"""C1: the checks of tickets of the machine's own, of what steers tickets, and of the plans within a plan.

The tasks of a plan form one scope, those of each sub-plan another one: they depend on each other and refer to each
other, and to nothing outside but the input of the sub-flow around them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from functions._core.decision.expressions import Condition, InvalidExpression, compiled
from functions._core.decision.form_limits import form_fault
from functions._core.decision.model import NOT_UNDONE, CognitivePlan, Task
from functions._core.decision.references import (
    POINTER,
    TASKS,
    Reference,
    ReferenceKind,
    Use,
    check_references,
    find_references,
)
from functions._core.decision.vocabulary import MAX_ID_LENGTH, MAX_TASKS, WITHOUT_WORKER, in_utc, shown
from functions._core.records.control import LONGEST_MS, Foreach, OnSkipped, Wait
from functions._core.records.json_text import json_size
from functions._core.records.models import Reason
from functions._core.records.values import TaskType, parse_time

MAX_SUBFLOWS = 3
"""Levels of sub-flows within each other: ids of tickets stay readable, and a plan can be drawn."""

MAX_CONDITIONS = 64 * 1024
"""Characters of all different conditions of a plan: they take up to two seconds to compile."""

MAX_RESULT = 64 * 1024
"""Bytes of the result that a plan declares, as JSON: it is kept with the plan."""

ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
"""The name of an attribute of a CloudEvent."""

BLOCKS: Mapping[str, TaskType] = {"approval": TaskType.APPROVE, "wait": TaskType.WAIT, "plan": TaskType.SUBFLOW}
"""Fields that tasks of one type have, each with that type."""

NEEDED = frozenset({"wait", "plan"})
"""Those of them that a task of the type cannot be without."""

CONDITION_NAMES = frozenset({"outputs", "statuses", "input"})
"""Variables of a condition on a task: it is about the whole task, never about one item."""

EVENT_NAMES = frozenset({"event"})
"""Variables of a condition on an event."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The tasks of a plan or of a sub-plan, with their place; `depth` is 0 for the plan itself."""

    tasks: Sequence[Task]
    where: str
    depth: int
    result: Any
    prefix: int = 0
    """Characters that come before the ids of its tasks in the ids of tickets."""

    @property
    def result_place(self) -> str:
        """The place of the result."""
        return f"{self.where.removesuffix('.tasks')}.result"


@dataclass(slots=True)
class Conditions:
    """The conditions of a plan, each compiled once; all of them together have at most `MAX_CONDITIONS` characters."""

    found: dict[str, Condition | str] = field(default_factory=dict)
    left: int = MAX_CONDITIONS

    def of(self, text: str) -> Condition | str:
        """Return a condition, or the reason why it is none."""
        if text not in self.found:
            self.left -= len(text)
            self.found[text] = self._compiled(text)
        return self.found[text]

    def _compiled(self, text: str) -> Condition | str:
        if self.left < 0:
            return f"is one condition too many: all of a plan may have {MAX_CONDITIONS} characters together"
        try:
            return compiled(text)
        except InvalidExpression as error:
            return str(error)


def has_branches(tasks: Iterable[Task]) -> bool:
    """Whether a task may end in another way than COMPLETED without an end of the plan.

    Then no dependency is redundant: of A → B → C and A → C, the second edge says something where B is skipped.
    """
    return any(task.when is not None or task.allow_failure or task.on_skipped is not OnSkipped.SKIP for task in tasks)


def scopes_of(plan: CognitivePlan) -> tuple[Scope, ...]:
    """Return the scope of the plan and those of its sub-plans, down to one level more than is allowed."""
    found = [Scope(plan.tasks, TASKS, 0, plan.result)]
    for scope in found:
        if scope.depth > MAX_SUBFLOWS:
            continue
        for position, task in enumerate(scope.tasks):
            if task.plan is not None:
                where = f"{scope.where}[{position}].plan.tasks"
                prefix = scope.prefix + _longest_id(task) + len("/")
                found.append(Scope(task.plan.tasks, where, scope.depth + 1, task.plan.result, prefix))
    return tuple(found)


def too_large(scopes: Sequence[Scope]) -> Reason | None:
    """Return why a plan with these scopes is too large to be looked at; None when it is not."""
    total = sum(len(scope.tasks) for scope in scopes)
    if total > MAX_TASKS:
        return _reason("too_many_tasks", TASKS, f"the plan and its sub-plans have {total} tasks, more than {MAX_TASKS}")
    deep = next((scope for scope in scopes if scope.depth > MAX_SUBFLOWS), None)
    if deep is None:
        return None
    return _reason("too_many_levels", deep.where, f"sub-flows are nested more than {MAX_SUBFLOWS} levels deep")


def check_scope(scope: Scope, order: Iterable[str], conditions: Conditions) -> Iterator[Reason]:
    """Yield every error of the control of the tasks of one scope, and of the references of the scope.

    `order` names the tasks topologically, but for those in a cycle.
    """
    uses: list[Use] = []
    for position, task in enumerate(scope.tasks):
        if _is_plain(task):
            continue
        where = f"{scope.where}[{position}]"
        yield from _block_errors(task, where)
        yield from _condition_errors(task, where, scope, conditions, uses)
        if task.foreach is not None:
            yield from _foreach_errors(task.foreach, f"{where}.foreach")
            uses += (Use(ref.where, task, ref) for ref in find_references(task.foreach.items, f"{where}.foreach.items"))
        if task.wait is not None:
            yield from _wait_errors(task.wait, f"{where}.wait")
            uses += (Use(ref.where, task, ref) for ref in _in_wait(task.wait, f"{where}.wait"))
        if task.approval is not None and task.approval.form is not None:
            yield from _form_errors(task.approval.form, f"{where}.approval.form")
    yield from _id_errors(scope)
    if scope.result is not None:
        if json_size(scope.result) > MAX_RESULT:
            yield _reason("too_large", scope.result_place, f"the result has more than {MAX_RESULT} bytes")
        uses += (Use(ref.where, None, ref) for ref in find_references(scope.result, scope.result_place))
    yield from check_references(scope.tasks, order, scope.where, uses, partial(_lacks, within=scope.depth > 0))


def _lacks(use: Use, *, within: bool) -> str | None:
    """Return why a reference has no value where it is used; None when it has one. `within` is said of a sub-plan."""
    kind, task = use.reference.kind, use.task if use.in_parameters and isinstance(use.task, Task) else None
    if kind is ReferenceKind.INPUT and not within:
        return "only tasks of a sub-flow have an input"
    if kind in {ReferenceKind.ITEM, ReferenceKind.INDEX} and (task is None or task.foreach is None):
        return "only the parameters of a task with foreach have an item"
    if kind is ReferenceKind.SECRET and (task is None or task.task_type in WITHOUT_WORKER):
        return "secrets are for the parameters of tasks that a worker does"
    return None


def _block_errors(task: Task, where: str) -> Iterator[Reason]:
    kind = task.task_type
    for name, owner in BLOCKS.items():
        given = getattr(task, name) is not None
        if given and kind is not owner:
            yield _reason("misplaced_block", f"{where}.{name}", f"is for tasks of type {owner} alone, not for {kind}")
        elif not given and kind is owner and name in NEEDED:
            yield _reason("missing_block", where, f"a task of type {kind} needs '{name}'")
    if kind in {TaskType.APPROVE, TaskType.WAIT} and task.foreach is not None:
        yield _reason("misplaced_block", f"{where}.foreach", f"is not for tasks of type {kind}; put it on a sub-flow")
    if kind in WITHOUT_WORKER and task.compensation is not None and task.compensation is not NOT_UNDONE:
        text = f"a task of type {kind} does nothing that could be undone"
        yield _reason("misplaced_block", f"{where}.compensation", text)


def _condition_errors(
    task: Task, where: str, scope: Scope, conditions: Conditions, uses: list[Use]
) -> Iterator[Reason]:
    """Yield what is wrong with the conditions of a task, and add the tasks that they refer to to `uses`."""
    if task.when is not None:
        condition = conditions.of(task.when)
        known = CONDITION_NAMES if scope.depth else CONDITION_NAMES - {"input"}
        yield from _name_errors(condition, known, f"{where}.when")
        if isinstance(condition, Condition):
            uses += (Use(f"{where}.when", task, Reference(f"{where}.when", one, "")) for one in sorted(condition.tasks))
    event = task.wait.event if task.wait is not None else None
    if event is not None and event.filter is not None:
        yield from _name_errors(conditions.of(event.filter), EVENT_NAMES, f"{where}.wait.event.filter")


def _name_errors(condition: Condition | str, known: frozenset[str], where: str) -> Iterator[Reason]:
    if isinstance(condition, str):
        yield _reason("invalid_condition", where, condition)
        return
    for name in sorted(condition.names - known):
        text = f"uses '{name}', which has no value here; known are {', '.join(sorted(known))}"
        yield _reason("condition_out_of_scope", where, text)


def _foreach_errors(foreach: Foreach, where: str) -> Iterator[Reason]:
    items = foreach.items
    if isinstance(items, list | tuple):
        if len(items) > foreach.max_items:
            text = f"has {len(items)} items, more than the {foreach.max_items} of max_items"
            yield _reason("too_many_items", f"{where}.items", text)
    elif items is not None and not _is_reference(items):
        yield _reason("invalid_foreach", f"{where}.items", f"is {shown(items)}, neither a list nor a reference to one")


def _wait_errors(wait: Wait, where: str) -> Iterator[Reason]:
    given = [name for name in ("until", "seconds", "event") if getattr(wait, name) is not None]
    if len(given) != 1:
        text = f"has {', '.join(given)}" if given else "has none of them"
        yield _reason("invalid_wait", where, f"takes exactly one of until, seconds and event; it {text}")
    if wait.until is not None and not _is_reference(wait.until) and not _is_moment(wait.until):
        text = f"is {shown(wait.until)}, neither a time, as RFC 3339 text or in epoch milliseconds, nor a reference"
        yield _reason("invalid_wait", f"{where}.until", text)
    if wait.seconds is not None and not _is_reference(wait.seconds) and not _is_span(wait.seconds):
        text = f"is {shown(wait.seconds)}, neither a number of seconds above 0 and below ten years nor a reference"
        yield _reason("invalid_wait", f"{where}.seconds", text)
    correlation = wait.event.correlation if wait.event is not None else None
    if correlation is None:
        return
    if not (ATTRIBUTE.fullmatch(correlation.at) or (correlation.at[0] == "/" and POINTER.fullmatch(correlation.at))):
        text = f"is {shown(correlation.at)}, neither an attribute such as subject nor a JSON Pointer such as /id"
        yield _reason("invalid_wait", f"{where}.event.correlation.at", text)
    equals = correlation.equals
    if not _is_reference(equals) and not isinstance(equals, str | int | float):
        text = f"is {shown(equals)}, neither a text, a number nor a reference to one"
        yield _reason("invalid_wait", f"{where}.event.correlation.equals", text)


def _in_wait(wait: Wait, where: str) -> Iterator[Reference]:
    """Yield the references of a wait."""
    yield from find_references(wait.until, f"{where}.until")
    yield from find_references(wait.seconds, f"{where}.seconds")
    if wait.event is not None and wait.event.correlation is not None:
        yield from find_references(wait.event.correlation.equals, f"{where}.event.correlation.equals")


def _form_errors(form: Mapping[str, Any], where: str) -> Iterator[Reason]:
    if (fault := form_fault(form)) is not None:
        yield _reason("invalid_form", where, fault)


def _id_errors(scope: Scope) -> Iterator[Reason]:
    """Yield ids that are too long, and those of children of other tasks: `T[0]` of a foreach T, `T/a` of a sub-flow."""
    for position, task in enumerate(scope.tasks):
        if (length := scope.prefix + _longest_id(task)) > MAX_ID_LENGTH:
            text = f"its tickets would have ids of {length} characters, more than {MAX_ID_LENGTH}"
            yield _reason("task_id_too_long", f"{scope.where}[{position}].task_id", text)
    parents = {task.task_id for task in scope.tasks if task.foreach is not None or task.task_type is TaskType.SUBFLOW}
    if not parents:
        return
    for position, task in enumerate(scope.tasks):
        cuts = (n for n, sign in enumerate(task.task_id) if sign in "[/")
        parent = next((task.task_id[:n] for n in cuts if task.task_id[:n] in parents), None)
        if parent is not None:
            text = f"{shown(task.task_id)} could be the id of a part of {shown(parent)}"
            yield _reason("reserved_task_id", f"{scope.where}[{position}].task_id", text)


def _is_plain(task: Task) -> bool:
    """Whether a worker does the task once and nothing has to be looked at; most tasks are so."""
    steered = task.when is not None or task.foreach is not None
    own = task.approval is not None or task.wait is not None or task.plan is not None
    return not (steered or own or task.task_type in WITHOUT_WORKER)


def _longest_id(task: Task) -> int:
    """Return the characters of the longest id that a task, or one of the items that it is done for, has."""
    return len(task.task_id) + (len(f"[{task.foreach.max_items - 1}]") if task.foreach is not None else 0)


def _is_reference(value: object) -> bool:
    return isinstance(value, Mapping) and [ref.where for ref in find_references(value, "")] == [""]


def _is_moment(value: object) -> bool:
    try:
        moment = parse_time(value)
        return isinstance(moment, datetime) and in_utc(moment) == moment
    except (ValueError, OverflowError):
        return False


def _is_span(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_MS / 1000


def _reason(code: str, where: str, text: str) -> Reason:
    return Reason(code=code, message=f"{where}: {text}", where=where)
