"""The result of a plan, made of the outputs of its tasks: as the plan declares it, else those of its last tasks.

A task without an output, such as one that was skipped or that failed and may, stands for null. The result is made when
it is asked for, and never stored. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from functions._core.decision.references import ReferenceKind, ReferencesTooLarge
from functions._core.decision.resolving import Resolution
from functions._core.errors import Rejected
from functions._core.records.json_text import json_size
from functions._core.rules import REFERENCES_BYTES


class ResultTooLarge(Rejected):
    """The result of a plan is larger than an answer may be."""

    def __init__(self, most: int) -> None:
        """Say how many bytes it may have."""
        message = (
            f"the result has more than {most} bytes; refer to parts of outputs by 'path' in the 'result' of the plan, "
            "or read the outputs one by one: GET /api/v1/tickets/{ticket_id}"
        )
        super().__init__(message, code="result_too_large", status=413)


class PlannedTask(Protocol):
    """The part of a task that the result needs."""

    @property
    def task_id(self) -> str:
        """The id, unique within the plan."""

    @property
    def dependencies(self) -> Sequence[str]:
        """The ids of the tasks that must be done first."""


class Planned(Protocol):
    """The part of a plan, or of the plan of a sub-flow, that the result needs."""

    @property
    def tasks(self) -> Sequence[PlannedTask]:
        """All tasks."""

    @property
    def result(self) -> Any:  # noqa: ANN401 any JSON
        """The result with its references; None: the outputs of the last tasks."""


class PlanResult(Resolution):
    """Makes a declared result of outputs that are handed over one by one; it keeps only what is referred to."""

    def __init__(self, result: object, most: int = REFERENCES_BYTES) -> None:
        """Find the references in `result`, any JSON; the result may have `most` bytes as JSON."""
        super().__init__(result, most, "result")

    def add(self, task_id: str, output: object) -> None:
        """Take the output of a task, None where it has none.

        Raises `UnresolvedReference` when a place within it is missing, `ResultTooLarge` when it becomes too much.
        """
        if output is None:
            self.add_nothing(task_id)
            return
        try:
            super().add(task_id, output)
        except ReferencesTooLarge:
            raise ResultTooLarge(self._most) from None

    def value(self) -> Any:  # noqa: ANN401 any JSON
        """Return the result; raise the errors of `add`. A task whose output was not handed over has none."""
        for task_id in self.task_ids:
            if (ReferenceKind.OUTPUT, task_id) not in {key[:2] for key in self._targets}:
                self.add_nothing(task_id)
        return bounded(super().value(), self._most)


def result_references(plan: Planned) -> tuple[str, ...]:
    """Return the ids of the tasks whose outputs the result of a plan needs."""
    if plan.result is None:
        return last_tasks(plan.tasks)
    return tuple(filter(None, PlanResult(plan.result).task_ids))


def result_of(plan: Planned, outputs: Mapping[str, Any], most: int = REFERENCES_BYTES) -> Any:  # noqa: ANN401 any JSON
    """Return the result of a plan from `outputs` by task id; a task that is not in it has no output.

    `most` is in bytes, as JSON. Raises `UnresolvedReference` for a place that an output does not have, and
    `ResultTooLarge`.
    """
    if plan.result is None:
        return bounded({task_id: outputs.get(task_id) for task_id in last_tasks(plan.tasks)}, most)
    result = PlanResult(plan.result, most)
    for task_id in result.task_ids:
        result.add(task_id, outputs.get(task_id))
    return result.value()


def last_tasks(tasks: Iterable[PlannedTask]) -> tuple[str, ...]:
    """Return the ids of the tasks that no other depends on, in the order of the plan."""
    tasks = tuple(tasks)
    followed = {dependency for task in tasks for dependency in task.dependencies}
    return tuple(task.task_id for task in tasks if task.task_id not in followed)


def bounded(value: Any, most: int) -> Any:  # noqa: ANN401 any JSON
    """Return `value`; raise `ResultTooLarge` where it has more than `most` bytes as JSON."""
    if json_size(value) > most:
        raise ResultTooLarge(most)
    return value
