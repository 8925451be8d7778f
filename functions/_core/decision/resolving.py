"""Fills in references: outputs of tasks, the item of a list, its place, and the input of a sub-flow.

One evaluator for parameters, lists, waits and results. All that references stand for is counted before anything is
filled in, so that neither work nor memory grows beyond the bound.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from functions._core.decision.references import (
    INDEX,
    MARKS,
    Reference,
    ReferenceKind,
    ReferencesTooLarge,
    UnresolvedReference,
    find_references,
    read_reference,
)
from functions._core.decision.vocabulary import shown
from functions._core.records.json_text import json_size
from functions._core.records.values import JsonObject
from functions._core.rules import REFERENCES_BYTES

Target = tuple[ReferenceKind, str, str]
"""Kind, task id and path of a reference."""


class Resolution:
    """Fills in the references of one value from outputs that are handed over one by one.

    Only the parts that references point at are kept, at most `most` bytes of them as JSON, each reference counted: work
    and memory do not grow with the size of the result.
    """

    def __init__(self, value: object, most: int, root: str = "parameters") -> None:
        """Find the references in `value`, any JSON, which messages call `root`; `most` is in bytes."""
        self._value = value
        self._most = most
        self._root = root
        self.references = find_references(value, root)
        self._by_source: dict[tuple[ReferenceKind, str], list[Reference]] = {}
        for reference in self.references:
            self._by_source.setdefault((reference.kind, reference.task_id), []).append(reference)
        self._targets: dict[Target, object] = {}
        self._size = 0

    @property
    def task_ids(self) -> Collection[str]:
        """The tasks whose outputs are referred to."""
        return [task_id for kind, task_id in self._by_source if kind is ReferenceKind.OUTPUT and task_id]

    @property
    def needs_input(self) -> bool:
        """Whether something refers to the input of the sub-flow."""
        return (ReferenceKind.INPUT, "") in self._by_source

    def paths_of(self, task_id: str) -> Collection[str]:
        """Return the parts of a task's output that are referred to."""
        return [
            reference.path
            for reference in self._by_source.get((ReferenceKind.OUTPUT, task_id), ())
            if not reference.fault
        ]

    def add(self, task_id: str, output: object) -> None:
        """Take the parts of a task's output that references point at.

        Raises `UnresolvedReference` when a place within it is missing, `ReferencesTooLarge` when it becomes too much.
        """
        self._take(ReferenceKind.OUTPUT, task_id, output)

    def add_nothing(self, task_id: str) -> None:
        """Let the output of a task, and every part of it, be null: it was skipped, or failed as it may."""
        for reference in self._by_source.get((ReferenceKind.OUTPUT, task_id), ()):
            self._targets[ReferenceKind.OUTPUT, task_id, reference.path] = None

    def add_item(self, item: object, index: int) -> None:
        """Take the item of a list and its place; raises as `add`."""
        self._take(ReferenceKind.ITEM, "", item)
        for reference in self._by_source.get((ReferenceKind.INDEX, ""), ()):
            self._targets[ReferenceKind.INDEX, "", reference.path] = index

    def add_input(self, given: object) -> None:
        """Take the input of the sub-flow; raises as `add`."""
        self._take(ReferenceKind.INPUT, "", given)

    def _take(self, kind: ReferenceKind, task_id: str, value: object) -> None:
        references = self._by_source.get((kind, task_id), ())
        times = Counter(reference.path for reference in references if not reference.fault)
        for reference in references:
            key = kind, task_id, reference.path
            if reference.fault or key in self._targets:
                continue
            target = self._targets[key] = _target(reference, value)
            self._size += json_size(target) * times[reference.path]
            if self._size > self._most:
                raise ReferencesTooLarge(len(self.references), self._most)

    def value(self) -> Any:  # noqa: ANN401 any JSON
        """Return the value with every reference replaced by its target.

        Raises `UnresolvedReference` when a target is missing.
        """
        return _fill(self._root, self._value, self._targets) if self.references else self._value

    def parameters(self) -> JsonObject:
        """Return the value of parameters; raises `UnresolvedReference` also when they would become no object."""
        filled = self.value()
        if not isinstance(filled, Mapping):
            raise UnresolvedReference("parameters: the output that they refer to as a whole is no object")
        return filled


def resolve(parameters: JsonObject, outputs: Mapping[str, object], most: int = REFERENCES_BYTES) -> JsonObject:
    """Return `parameters` with every reference replaced by its target in `outputs`, by task id.

    Raises the errors of `Resolution`.
    """
    resolution = Resolution(dict(parameters), most)
    for task_id in sorted(set(resolution.task_ids) & outputs.keys()):
        resolution.add(task_id, outputs[task_id])
    return resolution.parameters()


def _fill(where: str, value: object, targets: Mapping[Target, object]) -> object:
    """Copy `value` with its references filled in; recursion is safe, as `MAX_DEPTH` limits what is read."""
    if isinstance(value, Mapping):
        if not MARKS.isdisjoint(value):
            reference = read_reference(where, value)
            # A secret is filled in where the ticket goes to its worker, and nowhere else.
            return value if reference.kind is ReferenceKind.SECRET else _filled(reference, targets)
        return {key: _fill(f"{where}.{key}", item, targets) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(f"{where}[{n}]", item, targets) for n, item in enumerate(value)]
    return value


def _filled(reference: Reference, targets: Mapping[Target, object]) -> object:
    """Return the value that takes the place of one reference."""
    if reference.fault:
        raise UnresolvedReference(f"{reference.where}: {reference.fault}")
    key = reference.kind, reference.task_id, reference.path
    if key in targets:
        return targets[key]
    if reference.kind is ReferenceKind.OUTPUT:
        raise UnresolvedReference(f"{reference.where}: task {shown(reference.task_id)} has no output")
    raise UnresolvedReference(f"{reference.where}: there is no {reference.kind} here")


def _target(reference: Reference, output: object) -> object:
    """Follow one reference into the output of its task."""
    value = output
    for token in reference.path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            of = (
                f"the output of task {shown(reference.task_id)}"
                if reference.kind is ReferenceKind.OUTPUT
                else reference.kind
            )
            missing = f"has nothing at {shown(reference.path)}, {shown(name)} is missing"
            raise UnresolvedReference(f"{reference.where}: {of} {missing}")
    return value
