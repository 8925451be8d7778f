"""Bottlenecks of the next day, as findings: the load that is forecast against what the workers can do. Pure.

Forecasts take up to a second each, so only the capabilities are forecast whose load has come near to what their
workers do, the nearest first.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from functions._core.insights.findings import Advice, ProblemFound, entity, named
from functions._core.insights.hour_sums import ARRIVALS, EVERYTHING, WORK, Sums
from functions._core.insights.insight import InsightType
from functions._core.learning.bottlenecks import (
    Bottleneck,
    LoadAction,
    bottlenecks,
    capacity_ms,
    load_action,
)
from functions._core.learning.load_forecast import (
    BUCKET,
    DAY,
    HORIZONS,
    LEAST_BUCKETS,
    WEEK,
    LoadForecast,
    forecast_load,
)
from functions._core.learning.series import mean
from functions._core.placement.ranking import health_of
from functions._core.records.values import Health, format_time
from functions._core.records.worker import Worker
from functions._core.rules import Rules

NEAR = 0.5
"""The share of its capacity that a load has to have reached within a week before it is forecast."""

MOST_FORECASTS = 5
"""Capabilities whose loads are forecast in an hour."""

HOUR = timedelta(hours=1)


def slots_of(workers: Sequence[Worker], now: datetime, rules: Rules) -> Mapping[str, int]:
    """Return the slots of the workers that are not UNHEALTHY and take tickets, by what they offer, and of all."""
    found: dict[str, int] = {EVERYTHING: 0}
    for worker in workers:
        if worker.takes_tickets and health_of(worker, now, rules) is not Health.UNHEALTHY:
            for name in (EVERYTHING, *worker.capabilities):
                found[name] = found.get(name, 0) + worker.slots
    return found


def enough(loads: Sums) -> bool:
    """Whether there is history enough for a forecast: two days in which flows came."""
    arrivals = loads.by_name.get(ARRIVALS, ())
    return len(arrivals) >= LEAST_BUCKETS and sum(map(bool, arrivals[-LEAST_BUCKETS:])) > 0


def near_capacity(loads: Sums, slots: Mapping[str, int]) -> Mapping[str, tuple[float, ...]]:
    """Return the loads that came near to a capacity within the last week, by capability, the nearest first."""
    found = []
    for name, values in loads.by_name.items():
        capability = name.removeprefix(WORK)
        if name.startswith(WORK):
            peak, capacity = max(values[-WEEK:]), capacity_ms(slots.get(capability, 0))
            if peak > NEAR * capacity:
                found.append((-(peak / max(1.0, capacity)), capability, values))
    return {capability: values for _, capability, values in sorted(found)[:MOST_FORECASTS]}


def bottlenecks_ahead(
    forecasts: Mapping[str, LoadForecast], slots: Mapping[str, int], loads: Sums, until: datetime
) -> Iterator[ProblemFound]:
    """Yield the bottlenecks of the next day, the first to begin first; that of all work where no capability has one."""
    found = bottlenecks(forecasts, slots)
    for one in [each for each in found if each.capability] or found:
        values = loads.by_name[f"{WORK}{one.capability}"]
        yield _ahead(one, forecasts[one.capability], values, slots.get(one.capability, 0), until)


def error_share(forecast: LoadForecast, values: Sequence[float]) -> float:
    """Return the error of a forecast on the day that it did not know, as a share of that day's load, 0 to 1."""
    level = mean(values[-DAY:])
    return min(1.0, forecast.error / level) if level > 0 else 1.0


def errors_by_horizon(values: Sequence[float], until: datetime) -> Mapping[int, float | None]:
    """Return the errors of a forecast of the last day that was made of what came before, by horizon in minutes.

    Each is a share of the load, over the buckets that had any; None where none had, or where too little came before.
    """
    if len(values) < LEAST_BUCKETS + DAY:
        return dict.fromkeys(HORIZONS)
    forecast, day = forecast_load(values[:-DAY], until - DAY * BUCKET), values[-DAY:]
    found: dict[int, float | None] = {}
    for horizon in HORIZONS:
        pairs = zip(forecast.within(horizon), day, strict=False)
        shares = [abs(point.value - value) / value for point, value in pairs if value > 0]
        found[horizon] = mean(shares) if shares else None
    return found


def _ahead(
    one: Bottleneck, forecast: LoadForecast, values: Sequence[float], slots: int, until: datetime
) -> ProblemFound:
    error, action = error_share(forecast, values), load_action(forecast, one.capacity_ms)
    who = f"workers that offer {named(one.capability)}" if one.capability else "workers"
    over = sum(point.value > one.capacity_ms for point in forecast.points)
    hours = max(0.0, (one.starts_at - until) / HOUR)
    times = f"{one.load:.1f} times what they can do" if slots else "and there are none"
    clears = (
        f"It is worked off at {format_time(one.clears_at)}." if one.clears_at else "It is not worked off within it."
    )
    return ProblemFound(
        rule="bottleneck-ahead",
        subject=one.capability,
        insight_type=InsightType.PREDICTIVE,
        title=f"From {format_time(one.starts_at)} on there is more work than {who} can do",
        summary=f"At {format_time(one.peak_at)} {one.peak_ms / 60_000:.1f} minutes of work are expected in a quarter "
        f"of an hour for {slots} slots, {times}. {one.backlog_ms / 60_000:.1f} minutes of work will wait at most. "
        f"{clears}",
        analysis=f"Forecast of {forecast.made_of} quarters of an hour by {forecast.method}; on the last day, which it "
        f"did not know, it was off by {error:.0%}. Recommended: {action}. "
        f"The lower bound of the forecast is {'too much, too' if one.sure else 'not too much'}.",
        figures={
            "starts_in_hours": hours,
            "peak_ms": one.peak_ms,
            "capacity_ms": one.capacity_ms,
            "load": one.load,
            "backlog_ms": one.backlog_ms,
            "missing_slots": one.missing_slots,
            "slots": slots,
            "buckets_over": over,
            "error": error,
            **({} if forecast.mape is None else {"mape": forecast.mape}),
            "history_buckets": forecast.made_of,
        },
        sources=("history", "registry"),
        entities=(
            entity("capability", one.capability, "cause") if one.capability else entity("metric", "worker_ms", "cause"),
        ),
        advice=(
            Advice(action=_action(action, one.missing_slots, who, one.starts_at), share=0.9),
            Advice(action="Let flows that can wait begin at quieter hours.", share=0.4),
        ),
        tags=("capacity", "forecast", action.value),
        strength=max(0.0, 1 - error),
        agreement=1.0 if one.sure else 0.5,
        affected=over,
        severity=min(1.0, 0.3 + 0.35 * (one.load - 1) + (0.2 if one.sure else 0.0)),
    )


def _action(action: LoadAction, missing: int, who: str, at: datetime) -> str:
    """Return what to do, a sentence that begins with the word of it."""
    when = "now" if action is LoadAction.INCREASE_WORKER_POOL else f"before {format_time(at)}"
    return f"{action}: add {missing} {'slot' if missing == 1 else 'slots'} of {who} {when}."
