"""References to upstream outputs: `{"$output": "<task id>", "path": "<JSON Pointer>"}` within parameters.

The object, at any depth, stands for the output of a task that is done before this one, or for the part of it
that `path` (RFC 6901) points at; parameters of a compensation may also refer to the task that it undoes. C1 checks
every reference; they are resolved when a ticket goes to a worker.
The content of an output is data: references inside it are left alone. The size of all outputs that a ticket refers to
is counted before anything is filled in: a short plan can refer to a long output any number of times.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions._core.decision.vocabulary import shown
from functions._core.errors import Undeliverable
from functions._core.records.models import Reason
from functions._core.records.values import JsonObject

TASKS = "cognitive_plan.tasks"
"""The place of the tasks, for reasons."""

MARK = "$output"
"""The key that makes an object a reference."""

ITEM, INDEX_MARK, INPUT = "$item", "$index", "$input"
"""The keys that make an object a reference to the item of a list, its place in the list, or the input of a sub-flow."""

MARKS = (MARK, ITEM, INDEX_MARK, INPUT)
"""The keys that make an object a reference."""

ALLOWED = frozenset({MARK, "path"})
"""The keys of a reference; any other one is a fault, since it would be lost."""

POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
"""A JSON Pointer (RFC 6901)."""

INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
"""An index of a list in a JSON Pointer, of at most nine digits, so that the number stays small."""


class UnresolvedReference(Undeliverable):
    """A reference points at an output that is not there."""

    def __init__(self, message: str, code: str = "unresolved_reference") -> None:
        """Name the reference and the missing part in `message`."""
        super().__init__(message, code=code)


class ReferencesTooLarge(UnresolvedReference):
    """The references of a ticket stand for more than an assignment may carry."""

    def __init__(self, references: int, most: int) -> None:
        """Say how many references there are, and how many bytes they may stand for."""
        message = (
            f"parameters: {references} references stand for more than the {most} bytes that an assignment may carry; "
            "refer to a part by 'path', or let the upstream task write where the data is instead of the data"
        )
        super().__init__(message, code="references_too_large")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference; `where` is its place within the parameters, `fault` names the error in its form."""

    where: str
    task_id: str
    path: str
    fault: str | None = None
    kind: str = MARK


class Parametrised(Protocol):
    """The part of a task that the checks need."""

    @property
    def task_id(self) -> str:
        """The id, unique within the plan."""

    @property
    def dependencies(self) -> Sequence[str]:
        """The ids of the tasks that must be done first."""

    @property
    def parameters(self) -> JsonObject:
        """The parameters, as the plan has them."""

    @property
    def undo_parameters(self) -> JsonObject:
        """The parameters of its compensation; they may also refer to the task's own output."""


def find_references(value: object, root: str = "parameters") -> tuple[Reference, ...]:
    """Return every reference in `value`, any JSON at `root`, the malformed ones too, in the order of the text."""
    found: list[Reference] = []
    open_: list[tuple[str, Any]] = [(root, value)] if isinstance(value, dict | list) else []
    while open_:
        where, part = open_.pop()
        if isinstance(part, dict) and any(mark in part for mark in MARKS):
            found.append(read_reference(where, part))
        elif isinstance(part, dict):
            inside = [(f"{where}.{key}", item) for key, item in part.items() if isinstance(item, dict | list)]
            open_.extend(reversed(inside))
        else:
            inside = [(f"{where}[{n}]", item) for n, item in enumerate(part) if isinstance(item, dict | list)]
            open_.extend(reversed(inside))
    return tuple(found)


def check_references(tasks: Sequence[Parametrised], order: Iterable[str]) -> tuple[Reason, ...]:
    """Return every error in the references of a plan.

    `order` names the tasks topologically. Whether a reference points upstream is checked for the tasks it
    names: tasks in a cycle, or behind one, have no upstream.
    """
    found = [*_places(tasks)]
    if not found:
        return ()
    known = {task.task_id for task in tasks}
    bits = {task_id: 1 << n for n, task_id in enumerate(dict.fromkeys(ref.task_id for _, _, ref in found))}
    upstream = _upstream(tasks, order, bits)
    reasons = []
    for where, task, ref in found:
        if ref.kind != MARK:
            continue
        if ref.fault:
            code, message = "invalid_reference", ref.fault
        elif ref.task_id not in known:
            code, message = (
                "unknown_reference",
                f"refers to {shown(ref.task_id)}, which is no task of the plan",
            )
        elif not upstream.get(task.task_id, -1) & bits[ref.task_id]:
            code = "reference_not_upstream"
            message = f"refers to {shown(ref.task_id)}, which task {shown(task.task_id)} does not depend on"
        else:
            continue
        reasons.append(Reason(code=code, message=f"{where}: {message}", where=where))
    return tuple(reasons)


def _places(tasks: Sequence[Parametrised]) -> Iterator[tuple[str, Parametrised, Reference]]:
    """Yield every reference of a plan with its place and its task, but for those of a compensation to its own task."""
    for position, task in enumerate(tasks):
        for ref in find_references(task.parameters):
            yield f"{TASKS}[{position}].{ref.where}", task, ref
        for ref in find_references(task.undo_parameters):
            if ref.fault or ref.task_id != task.task_id:
                yield f"{TASKS}[{position}].compensation.{ref.where}", task, ref


def read_reference(where: str, value: Mapping[str, Any]) -> Reference:
    """Read an object that is a reference."""
    for mark in (ITEM, INDEX_MARK, INPUT):
        if mark in value:
            return Reference(where, "", _text(value[mark]), None, mark)
    task_id, path = value[MARK], value.get("path")
    extra = sorted(str(key) for key in value if key not in ALLOWED)
    fault = None
    if extra:
        fault = f"a reference holds '{MARK}' and 'path' alone, this one also {', '.join(map(shown, extra))}"
    elif not isinstance(task_id, str) or not task_id:
        fault = f"'{MARK}' must be the id of a task"
    elif path is not None and (not isinstance(path, str) or not POINTER.fullmatch(path)):
        fault = f"'path' is {shown(path)}, which is no JSON Pointer such as '/items/0/name'"
    return Reference(where, _text(task_id), _text(path), fault)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _upstream(tasks: Sequence[Parametrised], order: Iterable[str], bits: Mapping[str, int]) -> dict[str, int]:
    """Return, in one pass, which of the tasks in `bits` come before each task, as the sum of their bits."""
    dependencies = {task.task_id: task.dependencies for task in tasks}
    upstream: dict[str, int] = {}
    for task_id in order:
        reach = 0
        for dependency in dependencies[task_id]:
            reach |= upstream.get(dependency, 0) | bits.get(dependency, 0)
        upstream[task_id] = reach
    return upstream
