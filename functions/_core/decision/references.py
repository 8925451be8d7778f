"""References: objects within parameters that stand for a value which is known later.

    {"$output": "<task id>", "path": "<JSON Pointer>"}   the output of a task that is done before this one, or a part
    {"$item": "<JSON Pointer>"}                          the item of the task's own foreach, or a part of it
    {"$index": true}                                     the place of that item in the list
    {"$input": "<JSON Pointer>"}                         the parameters of the sub-flow around the task, or a part
    {"$secret": "<name>"}                                a secret, filled in when the assignment is sent

Parameters of a compensation may also refer to the output of the task that it undoes. C1 checks every reference; they
are resolved when a ticket begins or goes to a worker.
The content of an output is data: references inside it are left alone. The size of all outputs that a ticket refers to
is counted before anything is filled in: a short plan can refer to a long output any number of times.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from functions._core.decision.vocabulary import shown
from functions._core.errors import Undeliverable
from functions._core.records.models import Reason
from functions._core.records.values import JsonObject

TASKS = "cognitive_plan.tasks"
"""The place of the tasks, for reasons."""

MARK = "$output"
"""The key that makes an object a reference."""

SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""A name that an operator can give to a secret."""

POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
"""A JSON Pointer (RFC 6901)."""

INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
"""An index of a list in a JSON Pointer, of at most nine digits, so that the number stays small."""


class ReferenceKind(StrEnum):
    """What a reference stands for: the key that makes an object a reference."""

    OUTPUT = MARK
    ITEM = "$item"
    INDEX = "$index"
    INPUT = "$input"
    SECRET = "$secret"  # noqa: S105 the key of a reference


MARKS = frozenset(kind.value for kind in ReferenceKind)
"""The keys that make an object a reference."""


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
    """The task whose output is meant; empty for the other kinds."""
    path: str
    """The JSON Pointer into what is meant; the name of a secret."""
    fault: str | None = None
    kind: ReferenceKind = ReferenceKind.OUTPUT


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


@dataclass(frozen=True, slots=True)
class Use:
    """A reference with its place in the plan; `task` has to wait for it, None for the result of a plan."""

    where: str
    task: Parametrised | None
    reference: Reference
    in_parameters: bool = False


Lacks = Callable[[Use], str | None]
"""Says why a reference has no value where it is used; None if it has one."""


def find_references(value: object, where: str = "parameters") -> tuple[Reference, ...]:
    """Return every reference in a JSON value, the malformed ones too, in the order of the text."""
    found: list[Reference] = []
    open_: list[tuple[str, Any]] = [(where, dict(value) if isinstance(value, Mapping) else value)]
    while open_:
        where, value = open_.pop()
        if isinstance(value, dict):
            if not MARKS.isdisjoint(value):
                found.append(read_reference(where, value))
                continue
            inside = [(f"{where}.{key}", part) for key, part in value.items() if isinstance(part, dict | list)]
        elif isinstance(value, list | tuple):
            inside = [(f"{where}[{n}]", part) for n, part in enumerate(value) if isinstance(part, dict | list)]
        else:
            continue
        open_.extend(reversed(inside))
    return tuple(found)


def check_references(
    tasks: Sequence[Parametrised],
    order: Iterable[str],
    where: str = TASKS,
    uses: Sequence[Use] = (),
    lacks: Lacks = lambda _use: None,
) -> tuple[Reason, ...]:
    """Return every error in the references of the tasks at `where`, which form one scope, and in further `uses`.

    `order` names the tasks topologically. Whether a reference points upstream is checked for the tasks it
    names: tasks in a cycle, or behind one, have no upstream.
    """
    found = [*_uses(tasks, where), *uses]
    if not found:
        return ()
    outputs = [use.reference.task_id for use in found if use.reference.kind is ReferenceKind.OUTPUT]
    bits = {task_id: 1 << n for n, task_id in enumerate(dict.fromkeys(outputs))}
    known, upstream = {task.task_id for task in tasks}, _upstream(tasks, order, bits)
    reasons = []
    for use in found:
        ref, task = use.reference, use.task
        if ref.fault:
            code, message = "invalid_reference", ref.fault
        elif (why := lacks(use)) is not None:
            code, message = "reference_out_of_scope", f"has '{ref.kind}', but {why}"
        elif ref.kind is not ReferenceKind.OUTPUT:
            continue
        elif ref.task_id not in known:
            code, message = "unknown_reference", f"refers to {shown(ref.task_id)}, which is no task of the plan"
        elif task is not None and not upstream.get(task.task_id, -1) & bits[ref.task_id]:
            code = "reference_not_upstream"
            message = f"refers to {shown(ref.task_id)}, which task {shown(task.task_id)} does not depend on"
        else:
            continue
        reasons.append(Reason(code=code, message=f"{use.where}: {message}", where=use.where))
    return tuple(reasons)


def _uses(tasks: Sequence[Parametrised], where: str) -> Iterator[Use]:
    """Yield every reference in parameters, but for those of a compensation to its own task."""
    for position, task in enumerate(tasks):
        for ref in find_references(task.parameters):
            yield Use(f"{where}[{position}].{ref.where}", task, ref, in_parameters=True)
        for ref in find_references(task.undo_parameters):
            if ref.fault or ref.kind is not ReferenceKind.OUTPUT or ref.task_id != task.task_id:
                yield Use(f"{where}[{position}].compensation.{ref.where}", task, ref, in_parameters=True)


def read_reference(where: str, value: Mapping[str, Any]) -> Reference:
    """Return the reference that an object with a mark stands for."""
    marks = [kind for kind in ReferenceKind if kind in value]
    kind, given = marks[0], value[marks[0]]
    if kind is ReferenceKind.OUTPUT:
        return Reference(where, _text(given), _text(value.get("path", "")), _output_fault(value))
    fault = _fault(kind, given)
    if others := sorted(value.keys() - {kind}):
        fault = f"a reference to '{kind}' has no other key, this one also {', '.join(map(shown, others))}"
    return Reference(where, "", _text(given), fault, kind)


def _output_fault(value: Mapping[str, Any]) -> str | None:
    task_id, path = value[MARK], value.get("path")
    if others := sorted(value.keys() - {MARK, "path"}):
        return f"a reference holds '{MARK}' and 'path' alone, this one also {', '.join(map(shown, others))}"
    if not isinstance(task_id, str) or not task_id:
        return f"'{MARK}' must be the id of a task"
    return None if path is None else _pointer_fault("path", path)


def _fault(kind: ReferenceKind, given: object) -> str | None:
    if kind is ReferenceKind.INDEX:
        return None if given is True else f"'{kind}' must be true"
    if kind is ReferenceKind.SECRET:
        named = isinstance(given, str) and SECRET_NAME.fullmatch(given)
        return None if named else f"'{kind}' must be the name of a secret: up to 100 letters, digits, _ . -"
    return _pointer_fault(kind, given)


def _pointer_fault(name: str, given: object) -> str | None:
    if isinstance(given, str) and POINTER.fullmatch(given):
        return None
    return f"'{name}' is {shown(given)}, which is no JSON Pointer such as '/items/0/name'"


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
