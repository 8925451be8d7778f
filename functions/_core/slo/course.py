"""The course of a budget for charts: points of equal width, and where it is heading. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word
from functions._core.slo.budget import STATUS_NUMBERS, BudgetStatus, rounded
from functions._core.slo.stored import BudgetPoint

STEADY = 1.0
"""Percent points of a budget by which it may change over a course that counts as steady."""


class Grouping(Word):
    """Which points of a course become one; lower case on every wire."""

    NONE = "none"
    HOURLY = "hourly"
    DAILY = "daily"


class Direction(Word):
    """Where a budget is heading."""

    IMPROVING = "IMPROVING"
    STEADY = "STEADY"
    DEGRADING = "DEGRADING"


class CoursePoint(Record):
    """The calculations of an hour or a day in one point, or a single one."""

    at: Timestamp
    """The calculation, or when the hour or day (UTC) begins."""
    sli_value: float
    """The mean of what was measured."""
    remaining: float
    """The mean of what was left of the budget, in percent."""
    remaining_min: float
    """The least that was left, in percent."""
    remaining_max: float
    """The most that was left, in percent."""
    consumed: float
    """The mean of what was used of the budget, in percent."""
    status: BudgetStatus
    """The worst class of what was left."""
    burn_rate: float | None
    """The highest burn rate over the shortest window; None where there is none."""
    calculations: int
    """How many calculations these are."""


class Trends(Record):
    """How a budget has changed from the first point of a course to the last."""

    direction: Direction
    """Where it is heading; STEADY up to one percent point."""
    change: float
    """Percent points of the budget that were won, or below 0 lost."""
    change_per_day: float | None
    """The same for each day; None for a course of less than an hour."""
    lowest_remaining: float
    """The least that was left, in percent."""
    average_sli: float
    """The mean of what was measured."""


def start_of(moment: datetime, grouping: Grouping) -> datetime:
    """Return when the hour or day of a moment begins; the moment itself where nothing is grouped."""
    if grouping is Grouping.NONE:
        return moment
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if grouping is Grouping.HOURLY else hour.replace(hour=0)


def one_point(at: datetime, points: Sequence[BudgetPoint]) -> CoursePoint:
    """Return calculations, at least one, as a point."""
    left = [point.remaining for point in points]
    rates = [point.burn_rate for point in points if point.burn_rate is not None]
    return CoursePoint(
        at=at,
        sli_value=_mean([point.sli_value for point in points]),
        remaining=_mean(left),
        remaining_min=min(left),
        remaining_max=max(left),
        consumed=_mean([point.consumed for point in points]),
        status=max((point.status for point in points), key=STATUS_NUMBERS.__getitem__),
        burn_rate=max(rates, default=None),
        calculations=len(points),
    )


def trends_of(course: Sequence[CoursePoint]) -> Trends | None:
    """Return how a budget has changed; None where nothing was calculated."""
    if not course:
        return None
    change = rounded(course[-1].remaining - course[0].remaining)
    days = (course[-1].at - course[0].at) / timedelta(days=1)
    direction = Direction.IMPROVING if change > 0 else Direction.DEGRADING
    return Trends(
        direction=Direction.STEADY if abs(change) <= STEADY else direction,
        change=change,
        change_per_day=rounded(change / days) if days >= 1 / 24 else None,
        lowest_remaining=min(point.remaining_min for point in course),
        average_sli=_mean([point.sli_value for point in course]),
    )


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return rounded(sum(known) / len(known))
