"""Where work will have to wait: the load that is forecast, by capability, against what the workers there can do. Pure.

Load and capacity are worker milliseconds in buckets of a quarter of an hour. A worker with several capabilities counts
for each of them, so a capacity is the most that there may be: what is over it is over it for certain.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import isfinite

from functions._core.learning.load_forecast import BUCKET, ForecastPoint, LoadForecast
from functions._core.learning.series import UnusableSeries
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word

UTILISATION = 0.85
"""The share of its time that a slot can work: above it queues grow faster than they are worked off."""

SPARE = 0.3
"""Where the peak of a whole day stays below this share of the capacity, half of the workers would do."""

RISING = 0.1
"""A load rises when the end of the day is higher than its begin by this share."""

SOON_MINUTES = 60
"""What will be too much within this time needs workers now; a worker that is started takes minutes."""


class LoadAction(Word):
    """What may be done about a forecast."""

    INCREASE_WORKER_POOL = "INCREASE_WORKER_POOL"
    """More workers now: within the next hour there is more work than they can do."""
    PREEMPTIVE_SCALING = "PREEMPTIVE_SCALING"
    """More workers before the bottleneck: later in the next day there is more work than they can do."""
    DECREASE_WORKER_POOL = "DECREASE_WORKER_POOL"
    """Fewer workers: the whole day needs less than a third of them, and the load does not rise."""
    NO_ACTION = "NO_ACTION"
    """The workers do."""


class Bottleneck(Record):
    """A time in which a capability has more work than its workers can do."""

    capability: str
    """The capability."""
    starts_at: Timestamp
    """When the first bucket with too much work begins."""
    peak_at: Timestamp
    """When the bucket with the most work begins."""
    peak_ms: float
    """The worker milliseconds that are expected in that bucket."""
    capacity_ms: float
    """The worker milliseconds that the workers can do in a bucket."""
    load: float
    """The peak as a multiple of the capacity, above 1; at most 1,000, and that where there are no workers."""
    backlog_ms: float
    """The work that has not been done, in worker milliseconds, where it is the most."""
    clears_at: Timestamp | None
    """When that has been worked off; null: not within the next day."""
    sure: bool
    """Whether the lower bound of the forecast, too, is too much somewhere."""
    missing_slots: int
    """Slots that would have to be added so that no bucket is too much."""


LARGEST_LOAD = 1000.0
"""The largest multiple of a capacity that is told."""


def capacity_ms(slots: int, utilisation: float = UTILISATION) -> float:
    """Return the worker milliseconds that so many slots can do in a bucket; raises `UnusableSeries`."""
    if slots < 0 or not 0 < utilisation <= 1:
        raise UnusableSeries("there are 0 slots or more, of which a share above 0 to 1 works")
    return slots * utilisation * (BUCKET / timedelta(milliseconds=1))


def bottlenecks(
    forecasts: Mapping[str, LoadForecast], slots: Mapping[str, int], utilisation: float = UTILISATION
) -> tuple[Bottleneck, ...]:
    """Return the bottlenecks of the next day, the first to begin first.

    `slots` are those of healthy workers by capability; a capability that is not there has none.
    """
    found = (
        _bottleneck(capability, forecast, capacity_ms(slots.get(capability, 0), utilisation), utilisation)
        for capability, forecast in forecasts.items()
    )
    return tuple(sorted(filter(None, found), key=lambda one: (one.starts_at, -one.load, one.capability)))


def _bottleneck(capability: str, forecast: LoadForecast, capacity: float, utilisation: float) -> Bottleneck | None:
    over = [point for point in forecast.points if point.value > capacity]
    if not over:
        return None
    peak = max(over, key=lambda point: point.value)
    backlog, clears_at = _backlog(forecast.points, capacity)
    return Bottleneck(
        capability=capability,
        starts_at=over[0].start,
        peak_at=peak.start,
        peak_ms=peak.value,
        capacity_ms=capacity,
        load=min(LARGEST_LOAD, peak.value / capacity) if capacity > 0 else LARGEST_LOAD,
        backlog_ms=backlog,
        clears_at=clears_at,
        sure=any(point.low > capacity for point in over),
        missing_slots=-int(-(peak.value - capacity) // capacity_ms(1, utilisation)),
    )


def _backlog(points: tuple[ForecastPoint, ...], capacity: float) -> tuple[float, Timestamp | None]:
    """Return the most work that is left over at the end of a bucket, and when none of it is left any more."""
    waiting = most = 0.0
    clears_at: Timestamp | None = None
    for point in points:
        before, waiting = waiting, max(0.0, waiting + point.value - capacity)
        most = max(most, waiting)
        if waiting > 0:
            clears_at = None
        elif before > 0:
            clears_at = point.start + BUCKET
    return most, clears_at


def load_action(forecast: LoadForecast, capacity: float) -> LoadAction:
    """Return what may be done about a forecast, with a capacity in worker milliseconds a bucket (`capacity_ms`).

    Raises `UnusableSeries` for a capacity that is no number of 0 or more.
    """
    if not isfinite(capacity) or capacity < 0:
        raise UnusableSeries("a capacity is 0 or more worker milliseconds")
    peak = max(point.value for point in forecast.points)
    if max(point.value for point in forecast.within(SOON_MINUTES)) > capacity:
        return LoadAction.INCREASE_WORKER_POOL
    if peak > capacity:
        return LoadAction.PREEMPTIVE_SCALING
    if peak < SPARE * capacity and forecast.rising < RISING:
        return LoadAction.DECREASE_WORKER_POOL
    return LoadAction.NO_ACTION
