"""References to upstream outputs: `{"$output": "<task id>", "path": "<JSON Pointer>"}` within parameters.

The object, at any depth, stands for the output of a task that is done before this one, or for the part of it
that `path` (RFC 6901) points at; parameters of a compensation may also refer to the task that it undoes. C1 checks
every reference; they are resolved when a ticket goes to a worker.
The content of an output is data: references inside it are left alone. The size of all outputs that a ticket refers to
is counted before anything is filled in: a short plan can refer to a long output any number of times.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from functions._core.decision.vocabulary import shown
from functions._core.errors import Undeliverable
from functions._core.records.json_text import json_size
from functions._core.records.models import Reason
from functions._core.records.values import JsonObject
from functions._core.rules import REFERENCES_BYTES

TASKS = "cognitive_plan.tasks"
"""The place of the tasks, for reasons."""

MARK = "$output"
"""The key that makes an object a reference."""

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


class Resolution:
    """Fills in the references of one ticket from outputs that are handed over one by one.

    Only the parts that references point at are kept, at most `most` bytes of them as JSON, each reference counted: work
    and memory do not grow with the size of the result.
    """

    def __init__(self, parameters: JsonObject, most: int) -> None:
        """Find the references in `parameters`; `most` is in bytes."""
        self._parameters = parameters
        self._most = most
        self._references = find_references(parameters)
        self._by_task: dict[str, list[Reference]] = {}
        for reference in self._references:
            self._by_task.setdefault(reference.task_id, []).append(reference)
        self._targets: dict[tuple[str, str], object] = {}
        self._size = 0

    @property
    def task_ids(self) -> Collection[str]:
        """The tasks whose outputs are referred to."""
        return self._by_task.keys()

    def add(self, task_id: str, output: object) -> None:
        """Take the parts of a task's output that references point at.

        Raises `UnresolvedReference` when a place within it is missing, `ReferencesTooLarge` when it becomes too much.
        """
        times = Counter(reference.path for reference in self._by_task.get(task_id, ()) if not reference.fault)
        for reference in self._by_task.get(task_id, ()):
            key = task_id, reference.path
            if reference.fault or key in self._targets:
                continue
            target = self._targets[key] = _target(reference, output)
            self._size += json_size(target) * times[reference.path]
            if self._size > self._most:
                raise ReferencesTooLarge(len(self._references), self._most)

    def parameters(self) -> JsonObject:
        """Return the parameters with every reference replaced by its target.

        Raises `UnresolvedReference` when an output is missing, or when the parameters as a whole would become
        something else than an object.
        """
        if not self._references:
            return self._parameters
        filled = _fill("parameters", dict(self._parameters), self._targets)
        if not isinstance(filled, dict):
            raise UnresolvedReference("parameters: the output that they refer to as a whole is no object")
        return filled


def resolve(parameters: JsonObject, outputs: Mapping[str, object], most: int = REFERENCES_BYTES) -> JsonObject:
    """Return `parameters` with every reference replaced by its target in `outputs`, by task id.

    Raises the errors of `Resolution`.
    """
    resolution = Resolution(parameters, most)
    for task_id in sorted(resolution.task_ids & outputs.keys()):
        resolution.add(task_id, outputs[task_id])
    return resolution.parameters()


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


def _fill(where: str, value: object, targets: Mapping[tuple[str, str], object]) -> object:
    """Copy `value` with its references filled in; recursion is safe, as `MAX_DEPTH` limits parameters."""
    if isinstance(value, dict):
        if MARK in value:
            return _filled(_read(where, value), targets)
        return {key: _fill(f"{where}.{key}", item, targets) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(f"{where}[{n}]", item, targets) for n, item in enumerate(value)]
    return value


def _filled(reference: Reference, targets: Mapping[tuple[str, str], object]) -> object:
    """Return the value that takes the place of one reference."""
    if reference.fault:
        raise UnresolvedReference(f"{reference.where}: {reference.fault}")
    if (reference.task_id, reference.path) not in targets:
        raise UnresolvedReference(f"{reference.where}: task {shown(reference.task_id)} has no output")
    return targets[reference.task_id, reference.path]


def _target(reference: Reference, output: object) -> object:
    """Follow one reference into the output of its task."""
    value = output
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
