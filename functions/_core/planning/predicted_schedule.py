"""The deadline budget of a plan by predictions. They order work, and end none.

Three durations of a task have to be told apart:

- the *cautious* one, its p90: shares of the time and the latest start leave room for it;
- the *likely* one, its p50: a plan whose likely critical path does not fit is shared out by its estimates, as without a
  model: nothing is put before other work in order to come late all the same;
- the *hopeful* one, the lesser of its estimate and its p50: work is given up for want of time (`slack.fits`) only where
  even that does not fit. So a model that predicts too much ends nothing, and one that predicts less gives more chances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from functions._core.decision.model import Task
from functions._core.learning.predictions import Quantiles
from functions._core.planning.graph import Schedule, Timing, Work, longest_path, longest_paths, timed
from functions._core.planning.planned_work import Expected, rounds_of
from functions._core.records.prediction import Prediction
from functions._core.records.values import milliseconds

LONGER = 4
"""Times its usual timeout that an attempt may take at most by a prediction: a worker that hangs is found, too."""

OF_P90 = 2
"""Times its p90 that an attempt may take, about three times its median: a slow worker is not a dead one."""


@dataclass(frozen=True, slots=True)
class PredictedSchedule:
    """The timings of tasks and their predictions, by task id."""

    timings: Mapping[str, Timing]
    """As of `Schedule`."""
    tails: Mapping[str, int]
    """The hopeful critical path after each task, in milliseconds, where the model acts; else empty."""
    predictions: Mapping[str, Prediction]


def predicted_schedule(
    tasks: Sequence[Task],
    plan: Schedule,
    expected: Expected,
    timeouts: Mapping[str, int],
    start: datetime,
    deadline: datetime,
) -> PredictedSchedule:
    """Return the budget of `tasks` by what is expected of them; `plan` is that by estimates.

    `timeouts` has, by task id, the milliseconds that an attempt may take where the task names none itself.
    """
    by_id = {task.task_id: task for task in tasks}
    whole = {i: _of_all(q, by_id[i]) for i, q in expected.quantiles.items()}
    if not expected.acts:
        shown = {i: Prediction(p50_ms=q.p50_ms, p90_ms=q.p90_ms, model=expected.model) for i, q in whole.items()}
        return PredictedSchedule(plan.timings, {}, shown)
    window, order = max(0, milliseconds(deadline - start)), [by_id[task_id] for task_id in plan.timings]
    p50 = {task.task_id: whole[task.task_id].p50_ms if task.task_id in whole else task.estimate_ms for task in order}
    hopeful = [Work(task.task_id, task.dependencies, min(task.estimate_ms, p50[task.task_id])) for task in order]
    ends, tails = longest_paths(hopeful)
    timings = _cautious(order, plan, whole, start, deadline)
    if timings.critical_path_ms > window and _length(order, p50) > window:
        timings = plan
    durations = {work.task_id: work.estimate_ms for work in hopeful}
    predictions = {}
    for task_id, quantiles in whole.items():
        room = window - (ends[task_id] + tails[task_id] - durations[task_id])
        usual = timeouts.get(task_id)
        predictions[task_id] = Prediction(
            p50_ms=quantiles.p50_ms,
            p90_ms=quantiles.p90_ms,
            model=expected.model,
            acts=True,
            timeout_ms=None if usual is None else longer_timeout(expected.quantiles[task_id], usual, room),
        )
    return PredictedSchedule(timings.timings, tails, predictions)


def longer_timeout(quantiles: Quantiles, usual_ms: int, room_ms: int) -> int | None:
    """Return how long an attempt may take where that is longer than the usual timeout; None where it is not.

    `room_ms` is what the flow has for the task beside its critical path. Another attempt has to fit into it, in case
    that the worker hangs, unless work that takes its p90 needs all of it.
    """
    limit = max(room_ms - quantiles.p50_ms, min(quantiles.p90_ms, room_ms))
    longer = min(OF_P90 * quantiles.p90_ms, LONGER * usual_ms, limit)
    return longer if longer > usual_ms else None


def _of_all(quantiles: Quantiles, task: Task) -> Quantiles:
    times = rounds_of(task)
    return quantiles if times == 1 else Quantiles(times * quantiles.p50_ms, times * quantiles.p90_ms)


def _cautious(
    order: Sequence[Task], plan: Schedule, whole: Mapping[str, Quantiles], start: datetime, deadline: datetime
) -> Schedule:
    """Return the shares of the time by p90."""
    durations = (whole[task.task_id].p90_ms if task.task_id in whole else task.estimate_ms for task in order)
    works = [Work(task.task_id, task.dependencies, ms) for task, ms in zip(order, durations, strict=True)]
    return timed(works, {task_id: timing.level for task_id, timing in plan.timings.items()}, start, deadline)


def _length(order: Sequence[Task], durations: Mapping[str, int]) -> int:
    """Return the length of the critical path, in milliseconds."""
    works = [Work(task.task_id, task.dependencies, durations[task.task_id]) for task in order]
    return sum(durations[task_id] for task_id in longest_path(works))
