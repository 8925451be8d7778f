"""Numbers over many pipelines: how they ended, how long they took, how good they were, who has decided. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from functions._core.events.pipelines import Decided
from functions._core.forge.progress import ForgeStatus, by_task, pipeline_view
from functions._core.forge.results import decided, verdict_in
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Model

OPEN = frozenset({ForgeStatus.PENDING, ForgeStatus.RUNNING, ForgeStatus.REQUIRES_APPROVAL})
"""States of pipelines that have not ended."""

CLASSES: Sequence[Decided] = ("auto", "reviewed", "rejected")


class CountedPipeline(NamedTuple):
    """What counts of one pipeline."""

    status: ForgeStatus
    duration_ms: int | None
    score: float | None
    decided: Decided | None


class PipelineNumbers(Model):
    """Numbers over pipelines. What there is nothing to make of is null."""

    total: int
    """How many there are."""
    by_status: Mapping[str, int]
    """How many are in each state; all states are named."""
    success_rate: float | None = None
    """The share of those that have ended which COMPLETED, 0 to 1; those that were cancelled do not count."""
    mean_duration_ms: float | None = None
    """From the request of a pipeline to its end, on average, in milliseconds."""
    p95_duration_ms: int | None = None
    """The 95th percentile of that, by nearest rank."""
    mean_score: float | None = None
    """The score of the approval gate on average, 0 to 1, of those that have come to it."""
    approvals: Mapping[str, int]
    """Who has decided: `auto` the score, `reviewed` people; `rejected` either of them."""


def counted(flow: Flow, tickets: Sequence[Ticket]) -> CountedPipeline:
    """Return what counts of a pipeline."""
    view, tasks = pipeline_view(flow, tickets), by_task(tickets)
    verdict = verdict_in(tasks)
    score = verdict.score if verdict is not None else None
    return CountedPipeline(view.status, view.total_duration_ms, score, decided(view, verdict, tasks))


def numbers_of(pipelines: Iterable[CountedPipeline]) -> PipelineNumbers:
    """Return the numbers of pipelines."""
    all_of_them = list(pipelines)
    states = Counter(one.status for one in all_of_them)
    ended = sum(number for status, number in states.items() if status not in {*OPEN, ForgeStatus.CANCELLED})
    durations = sorted(one.duration_ms for one in all_of_them if one.duration_ms is not None)
    scores = [one.score for one in all_of_them if one.score is not None]
    classes = Counter(one.decided for one in all_of_them)
    return PipelineNumbers(
        total=len(all_of_them),
        by_status={status.value: states[status] for status in ForgeStatus},
        success_rate=states[ForgeStatus.COMPLETED] / ended if ended else None,
        mean_duration_ms=sum(durations) / len(durations) if durations else None,
        p95_duration_ms=durations[ceil(0.95 * len(durations)) - 1] if durations else None,
        mean_score=sum(scores) / len(scores) if scores else None,
        approvals={one: classes[one] for one in CLASSES},
    )
