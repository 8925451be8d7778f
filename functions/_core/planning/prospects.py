"""C1: how a flow is expected to go by what flows before it have taught. It refuses nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from functions._core.decision.model import Decision, Task
from functions._core.learning.guard import Guarded
from functions._core.learning.meeting import time_of_all
from functions._core.learning.predictions import Quantiles
from functions._core.planning.graph import Schedule, Work, longest_path
from functions._core.planning.planned_work import WITHOUT_WORK, capabilities_of, expected_of, rounds_of
from functions._core.records.models import Reason
from functions._core.records.prediction import FlowPrediction
from functions._core.records.values import milliseconds

SLA_UNLIKELY = "sla_unlikely"
"""Code of the warning of a flow that will hardly meet its deadline, by what is predicted."""

UNLIKELY = 0.5
"""The probability below which that is said."""


@dataclass(frozen=True, slots=True)
class Times:
    """The time of a flow: since when it has run, until when it may, and how late it is now."""

    begun: datetime
    now: datetime
    deadline: datetime


def prospects(
    tasks: Sequence[Task], plan: Schedule, decision: Decision, guarded: Guarded, times: Times
) -> tuple[FlowPrediction | None, tuple[Reason, ...]]:
    """Return how the flow is expected to go, None where nothing is known; and a warning if it will hardly be in time.

    `plan` is the schedule by estimates. Tasks of which nothing is known count by their estimates.
    """
    sla_ms = milliseconds(times.deadline - times.begun)
    expected = expected_of(tasks, plan, decision, guarded, sla_ms, times.now, again=True)
    if not expected.quantiles:
        return None, ()
    whole = {task.task_id: _whole(task, expected.quantiles.get(task.task_id)) for task in tasks}
    by_id = {task.task_id: task for task in tasks}
    path = longest_path([Work(one, by_id[one].dependencies, whole[one].p50_ms) for one in plan.timings])
    waiting = (by_id[task_id] for task_id in path if by_id[task_id].task_type not in WITHOUT_WORK)
    waits = sum(guarded.wait_ms(capabilities_of(task)) for task in waiting)
    taken = time_of_all((whole[task_id] for task_id in path), waits + milliseconds(times.now - times.begun))
    p50, p90 = taken.quantiles
    probability = round(taken.probability(sla_ms), 4)
    prediction = FlowPrediction(probability=probability, p50_ms=p50, p90_ms=p90, model=expected.model)
    if not expected.acts or probability >= UNLIKELY:
        return prediction, ()
    text = (
        f"by model {expected.model} it meets its deadline with a probability of {probability:.0%}: half of such flows "
        f"take {p50} ms or more, and it has {sla_ms} ms"
    )
    return prediction, (Reason(code=SLA_UNLIKELY, message=text),)


def _whole(task: Task, quantiles: Quantiles | None) -> Quantiles:
    """Return how long all items of a task take; a task of which nothing is known takes its estimate."""
    if quantiles is None:
        return Quantiles(task.estimate_ms, task.estimate_ms)
    times = rounds_of(task)
    return Quantiles(times * quantiles.p50_ms, times * quantiles.p90_ms)
