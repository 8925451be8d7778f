"""What a model is told of the tasks of a plan, and what it says of them: before anybody works on any. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import json

from functions._core.decision.model import Decision, Task
from functions._core.executors.table import capabilities_for, least_timeout_of
from functions._core.learning.guard import EVALUATIONS, Guarded
from functions._core.learning.predictions import Quantiles
from functions._core.planning.graph import Schedule
from functions._core.records.json_text import json_size
from functions._core.records.values import TaskType

TIMEOUT_FACTOR = 3
"""Times its estimate that an attempt may take: a slow worker is not a dead one."""

MANY_TASKS = EVALUATIONS // 2
"""Tasks of a plan from which on tasks of one kind have one prediction, wherever in the plan they are."""

WITHOUT_WORK = frozenset({TaskType.APPROVE, TaskType.WAIT, TaskType.SUBFLOW})
"""Types of tasks that no worker does: nothing is predicted for them, their estimates count."""


_CODEC = json.Encoder()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a model says of the tasks of a plan."""

    quantiles: Mapping[str, Quantiles]
    """How long each takes, by task id: one item of a list; tasks of which nothing is known are absent."""
    model: str
    """The version of the model."""
    acts: bool
    """Whether the flow follows it."""


def capabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return capability names as they are compared: lower case, trimmed, sorted, each once."""
    return tuple(sorted({name.strip().lower() for name in names} - {""}))


def capabilities_of(task: Task) -> tuple[str, ...]:
    """Return what a worker has to offer for a task: what it asks for, and the executor that it names."""
    return capabilities((*task.required_capabilities, *capabilities_for(task.task_type, task.parameters)))


def expected_of(  # noqa: PLR0913 the plan, whose it is, and when
    tasks: Sequence[Task],
    plan: Schedule,
    decision: Decision,
    guarded: Guarded,
    sla_ms: int,
    now: datetime,
    *,
    scope: str = "",
    again: bool = False,
) -> Expected:
    """Return what the model says of `tasks`, which `plan` has put in order; `sla_ms` is all of the flow's time.

    What was said of the same tasks of the same `scope` of a decision stands, but where it is asked `again`. The id of a
    decision alone does not tell: one that was refused may come again with another plan, and meet another process first.
    """
    same = hash(tuple((task.task_id, task.task_type, task.estimated_duration_ms) for task in tasks))
    ask = partial(_asked, tasks, plan, decision, guarded, sla_ms, now)
    return guarded.of_plan((decision.decision_id, scope, same), ask, again=again)


def _asked(
    tasks: Sequence[Task], plan: Schedule, decision: Decision, guarded: Guarded, sla_ms: int, now: datetime
) -> Expected:
    fan_out = Counter(one for task in tasks for one in task.dependencies)
    count, many = len(tasks), len(tasks) > MANY_TASKS
    domain, risk, priority = decision.cognitive_plan.original_domain, decision.flow_risk_band, decision.flow_priority
    security = decision.flow_security_level
    found: dict[str, Quantiles] = {}
    for task in tasks:
        if task.task_type in WITHOUT_WORK:
            continue
        size = bytes_of(task.parameters) if task.parameters else 2
        quantiles = guarded.quantiles(
            task.task_type.value,
            "" if many else task.task_id,
            domain,
            capabilities_of(task),
            task.item_estimate_ms,
            1 << size.bit_length() if many else size,
            task.risk_band or risk,
            task.priority or priority,
            task.security_level or security,
            0 if many else plan.timings[task.task_id].level,
            0 if many else len(task.dependencies),
            0 if many else fan_out[task.task_id],
            count,
            sla_ms,
            at=now,
        )
        if quantiles is not None:
            found[task.task_id] = quantiles
    return Expected(found, guarded.model, guarded.acts)


def bytes_of(parameters: Mapping[str, Any]) -> int:
    """Return the bytes of parameters as JSON: by the fast codec, else by the one that writes whatever there is."""
    try:
        return len(_CODEC.encode(parameters))
    except (TypeError, ValueError):
        return json_size(dict(parameters))


def usual_timeout_ms(task: Task, least_ms: int) -> int:
    """Return how long an attempt at a task may take that does not say it itself, in milliseconds."""
    return max(least_ms, TIMEOUT_FACTOR * task.item_estimate_ms, least_timeout_of(task.task_type, task.parameters))


def rounds_of(task: Task) -> int:
    """Return how often an item of a task's list takes its time, one after the other; 1 without a list."""
    return max(1, task.estimate_ms // task.item_estimate_ms)
