"""References to upstream outputs: `{"$output": "<task id>", "path": "<JSON Pointer>"}` within parameters.

The object, at any depth, stands for the output of a task that is done before this one, or for the part of it
that `path` (RFC 6901) points at; the parameters of a compensation may refer to what it undoes, too. C1 checks every
reference; they are resolved when a ticket goes to a worker.
What an output holds is data: references inside it are left alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions._core.errors import Rejected
from functions._core.models import Reason
from functions._core.values import JsonObject
from functions._core.vocabulary import shown

TASKS = "cognitive_plan.tasks"
MARK = "$output"
ALLOWED = frozenset({MARK, "path"})
POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class UnresolvedReference(Rejected):
    """A reference points at an output that is not there."""

    def __init__(self, message: str) -> None:
        """Say in `message` which reference it is and what is missing."""
        super().__init__(message, code="unresolved_reference")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference; `where` is its place within the parameters, `fault` says what is wrong with its form."""

    where: str
    task_id: str
    path: str
    fault: str | None = None


class Parametrised(Protocol):
    """What checking needs to know of a task."""

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
        """The parameters of what undoes the task; they may refer to the task's own output, too."""


def find_references(parameters: JsonObject) -> tuple[Reference, ...]:
    """Return every reference in `parameters`, the malformed ones too, in the order of the text."""
    found: list[Reference] = []
    open_: list[tuple[str, Any]] = [("parameters", dict(parameters))]
    while open_:
        where, value = open_.pop()
        if isinstance(value, dict) and MARK in value:
            found.append(_read(where, value))
        elif isinstance(value, dict):
            inside = [(f"{where}.{key}", item) for key, item in value.items() if isinstance(item, dict | list)]
            open_.extend(reversed(inside))
        else:
            inside = [(f"{where}[{n}]", item) for n, item in enumerate(value) if isinstance(item, dict | list)]
            open_.extend(reversed(inside))
    return tuple(found)


def check_references(tasks: Sequence[Parametrised], order: Iterable[str]) -> tuple[Reason, ...]:
    """Return what is wrong with the references of a plan.

    `order` names the tasks topologically. Whether a reference points upstream is checked for the tasks it
    names: those that a cycle holds up have no upstream to speak of.
    """
    found = [*_places(tasks)]
    if not found:
        return ()
    known = {task.task_id for task in tasks}
    bits = {task_id: 1 << n for n, task_id in enumerate(dict.fromkeys(ref.task_id for _, _, ref in found))}
    upstream = _upstream(tasks, order, bits)
    reasons = []
    for where, task, ref in found:
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


def resolve(parameters: JsonObject, outputs: Mapping[str, object]) -> JsonObject:
    """Return `parameters` with every reference replaced by what it points at in `outputs`, by task id.

    Raises `UnresolvedReference` when an output or the place within it is missing, or when the parameters as a
    whole would become something else than an object.
    """
    filled = _fill("parameters", dict(parameters), outputs)
    if not isinstance(filled, dict):
        raise UnresolvedReference("parameters: the output that they refer to as a whole is no object")
    return filled


def _read(where: str, value: Mapping[str, Any]) -> Reference:
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


def _fill(where: str, value: object, outputs: Mapping[str, object]) -> object:
    """Copy `value` with its references filled in; recursion is safe, as `MAX_DEPTH` limits parameters."""
    if isinstance(value, dict):
        if MARK in value:
            return _target(_read(where, value), outputs)
        return {key: _fill(f"{where}.{key}", item, outputs) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(f"{where}[{n}]", item, outputs) for n, item in enumerate(value)]
    return value


def _target(reference: Reference, outputs: Mapping[str, object]) -> object:
    """Follow one reference."""
    if reference.fault:
        raise UnresolvedReference(f"{reference.where}: {reference.fault}")
    if reference.task_id not in outputs:
        raise UnresolvedReference(f"{reference.where}: task {shown(reference.task_id)} has no output")
    value = outputs[reference.task_id]
    for token in reference.path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise UnresolvedReference(
                f"{reference.where}: the output of task {shown(reference.task_id)} "
                f"has nothing at {shown(reference.path)}, {shown(name)} is missing"
            )
    return value
