"""How much work will come in the next day, by the load of the last weeks, in buckets of a quarter of an hour. Pure.

Two ways to forecast: the load of the same time a week (or a day) ago, and smoothing with seasons (`holt_winters`). Both
are tried on the last day that is known, from what came before it; the better one serves. The bounds of a forecast are
made of its own errors on the last days, at as many steps ahead.

A forecast takes up to a second; an event loop gives it to a thread.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from functions._core.learning.holt_winters import Rates, backtest, searched, smoothed
from functions._core.learning.series import MAX_POINTS, UnusableSeries, checked, mean, quantile
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word

BUCKET = timedelta(minutes=15)
"""The width of a bucket."""

DAY, WEEK = 96, 672
"""Buckets of a day and of a week."""

LEAST_BUCKETS = 2 * DAY
"""Less than two days say nothing about a third."""

MOST_BUCKETS = 6 * WEEK
"""The newest buckets that a forecast is made of: what was before six weeks says little, and costs time."""

HORIZONS = (60, 360, 1440)
"""How far ahead forecasts are asked for, in minutes; one forecast reaches to the last."""

SPACING = 24
"""Buckets between the moments that forecasts of the last days are tried from: a quarter of a day."""

TRIED_DAYS = 7
"""Days before the last one whose forecasts choose the rates and the bounds."""

SURE = 0.925
"""The share of the errors of the last days that the bounds take in. The rates were chosen by these errors, so those to
come are a little larger: nine of ten buckets lie within the bounds."""


class ForecastMethod(Word):
    """How a forecast was made."""

    SEASONAL_NAIVE = "SEASONAL_NAIVE"
    """The load of the same time a week ago, or a day ago where no two weeks are known."""
    HOLT_WINTERS = "HOLT_WINTERS"
    """Smoothing with a trend, a daily and a weekly season."""


class ForecastPoint(Record):
    """The load that is expected in a bucket."""

    start: Timestamp
    """When the bucket begins."""
    value: float
    """What is expected, 0 or more."""
    low: float
    """Nine of ten times it is at least this ..."""
    high: float
    """... and at most this: the two are the bounds of 90 %."""


class LoadForecast(Record):
    """The load of the next day."""

    method: ForecastMethod
    """How it was made."""
    made_of: int
    """Buckets that it was made of."""
    error: float
    """The mean size of the method's errors on the last day, which it did not know."""
    mape: float | None
    """The same in percent of the load, over the buckets that had any; null where none had."""
    points: tuple[ForecastPoint, ...]
    """The next 96 buckets."""

    def within(self, minutes: int) -> tuple[ForecastPoint, ...]:
        """Return the buckets of the next minutes, at least one."""
        return self.points[: max(1, minutes * 60 // int(BUCKET.total_seconds()))]

    @property
    def rising(self) -> float:
        """How much more is expected in the last quarter of the day than in the first, as a share of the larger."""
        quarter = len(self.points) // 4
        first, last = (
            mean([point.value for point in part]) for part in (self.points[:quarter], self.points[-quarter:])
        )
        return (last - first) / max(first, last) if max(first, last) > 0 else 0.0


class _Trial(NamedTuple):
    """A method with its errors."""

    method: ForecastMethod
    error: float
    mape: float | None
    rates: Rates | None


def load_series(events: Iterable[tuple[datetime, float]], since: datetime, until: datetime) -> tuple[float, ...]:
    """Return what came in each bucket from `since` on that is over at `until`: the sums of the amounts of events.

    Arrivals have the amount 1; work has its worker milliseconds, at the moment when it became ready. At most
    `MOST_BUCKETS`, the newest ones. Raises `UnusableSeries` where no bucket is over.
    """
    count = (until - since) // BUCKET
    if count < 1:
        raise UnusableSeries("no bucket of a quarter of an hour is over yet")
    if count > MOST_BUCKETS:
        since, count = since + (count - MOST_BUCKETS) * BUCKET, MOST_BUCKETS
    sums = [0.0] * count
    for at, amount in events:
        place = (at - since) // BUCKET
        if 0 <= place < count:
            sums[place] += amount
    return tuple(sums)


def forecast_load(values: Sequence[float], until: datetime) -> LoadForecast:
    """Return the forecast for the day after `until`, where the last of the buckets ends.

    Raises `UnusableSeries` for fewer than two days, for points that are no numbers, and for loads below zero.
    """
    series = checked(values, LEAST_BUCKETS, MAX_POINTS)[-MOST_BUCKETS:]
    if min(series) < 0:
        raise UnusableSeries("there is no load below zero")
    served = min((_naive_trial(series), _smoothing_trial(series)), key=lambda trial: trial.error)
    reach = _reach(series, served)
    ahead = _naive(series, DAY) if served.rates is None else smoothed(series, served.rates, (DAY, WEEK)).ahead(DAY)
    points = []
    for step, expected in enumerate(ahead):
        value = max(0.0, expected)
        width = reach[min(step * len(reach) // DAY, len(reach) - 1)]
        low, high = max(0.0, value - width), value + width
        points.append(ForecastPoint(start=until + step * BUCKET, value=value, low=low, high=high))
    return LoadForecast(
        method=served.method, made_of=len(series), error=served.error, mape=served.mape, points=tuple(points)
    )


def _naive(series: Sequence[float], steps: int) -> list[float]:
    """Return the load of the same buckets of the last week, or day."""
    season = WEEK if len(series) >= 2 * WEEK else DAY
    return [series[len(series) - season + step % season] for step in range(steps)]


def _naive_trial(series: Sequence[float]) -> _Trial:
    known = series[:-DAY]
    return _Trial(ForecastMethod.SEASONAL_NAIVE, *_errors(_naive(known, DAY), series[-DAY:]), None)


def _smoothing_trial(series: Sequence[float]) -> _Trial:
    known = series[:-DAY]
    rates = searched(known, (DAY, WEEK), _origins(len(known)), DAY) if _origins(len(known)) else Rates()
    ahead = smoothed(known, rates, (DAY, WEEK)).ahead(DAY)
    return _Trial(ForecastMethod.HOLT_WINTERS, *_errors(ahead, series[-DAY:]), rates)


def _origins(length: int) -> list[int]:
    """Return the moments that forecasts are tried from: in the last days, after at least one."""
    first = max(DAY, length - TRIED_DAYS * DAY)
    return list(range(first, length - SPACING + 1, SPACING))


def _errors(forecast: Sequence[float], actual: Sequence[float]) -> tuple[float, float | None]:
    sizes = [abs(max(0.0, expected) - value) for expected, value in zip(forecast, actual, strict=True)]
    shares = [size / value for size, value in zip(sizes, actual, strict=True) if value > 0]
    return mean(sizes), 100 * mean(shares) if shares else None


def _reach(series: Sequence[float], trial: _Trial) -> list[float]:
    """Return how far the load was from its forecast, at most in nine of ten cases: for each quarter of a day ahead."""
    sizes: list[list[float]] = [[] for _ in range(DAY // SPACING)]
    for origin, forecast in _tried(series, trial):
        for step, (expected, value) in enumerate(zip(forecast, series[origin:], strict=False)):
            sizes[step // SPACING].append(abs(max(0.0, expected) - value))
    reaches = [quantile(sorted(part), SURE) for part in sizes if part]
    for place, (near, far) in enumerate(pairwise(reaches)):
        reaches[place + 1] = max(near, far)  # nobody knows more about what is farther away
    return reaches


def _tried(series: Sequence[float], trial: _Trial) -> Iterable[tuple[int, list[float]]]:
    origins = _origins(len(series))
    if trial.rates is None:
        return ((origin, _naive(series[:origin], DAY)) for origin in origins)
    return backtest(series, trial.rates, (DAY, WEEK), origins, DAY)
