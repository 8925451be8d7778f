"""Forecasts of load: beside statsmodels, on days that they did not know, with bounds; and bottlenecks by them."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite, nan, sqrt
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.learning.bottlenecks import LoadAction, bottlenecks, capacity_ms, load_action
from functions._core.learning.holt_winters import Rates, searched, smoothed, started
from functions._core.learning.load_forecast import (
    BUCKET,
    DAY,
    HORIZONS,
    LEAST_BUCKETS,
    MOST_BUCKETS,
    WEEK,
    ForecastMethod,
    ForecastPoint,
    LoadForecast,
    forecast_load,
    load_series,
)
from functions._core.learning.series import MAX_POINTS, UnusableSeries
from functions._core.records.record import decode, encode
from tests.support.planted import seasonal

NOW = datetime(2026, 3, 2, tzinfo=UTC)
BUCKET_MS = BUCKET / timedelta(milliseconds=1)


def mape(forecast: LoadForecast, actual: Sequence[float]) -> float:
    pairs = zip(forecast.points, actual, strict=True)
    return 100 * sum(abs(point.value - value) / value for point, value in pairs) / len(forecast.points)


@pytest.mark.parametrize("days", [16, 30, 45])
@pytest.mark.parametrize("seed", [1, 2])
def test_days_that_it_did_not_know_are_forecast_within_a_fifth(days: int, seed: int) -> None:
    series = seasonal(days + 1, seed)
    forecast = forecast_load(series[:-DAY], NOW)
    assert mape(forecast, series[-DAY:]) < 20
    assert forecast.mape is not None
    assert forecast.mape < 20
    for minutes in HORIZONS:
        points = forecast.within(minutes)
        assert len(points) == minutes // 15
        sizes = [abs(point.value - value) / value for point, value in zip(points, series[-DAY:], strict=False)]
        assert 100 * sum(sizes) / len(sizes) < 20


def test_counts_of_arrivals_are_forecast_as_well() -> None:
    draw = random.Random(4)
    series = [float(sum(draw.random() < level / 500 for _ in range(500))) for level in seasonal(22, noise=0)]
    forecast = forecast_load(series[:-DAY], NOW)
    assert mape(forecast, [max(1.0, value) for value in series[-DAY:]]) < 20


def test_the_bounds_hold_nine_of_ten_buckets() -> None:
    inside = total = 0
    for seed in range(4):
        series = seasonal(23, 10 + seed, noise=0.15)
        forecast = forecast_load(series[:-DAY], NOW)
        inside += sum(p.low <= value <= p.high for p, value in zip(forecast.points, series[-DAY:], strict=True))
        total += DAY
    assert 0.8 < inside / total < 0.99


def test_the_better_one_on_the_last_day_serves() -> None:
    calm = forecast_load(seasonal(22, noise=0.3), NOW)
    assert calm.method is ForecastMethod.HOLT_WINTERS  # noise of last week is no forecast
    draw = random.Random(3)
    old, new = ([draw.uniform(50, 500) for _ in range(WEEK)] for _ in range(2))
    changed = [*old, *old, *old, *new, *new[:DAY]]  # another week's pattern, since a week and a day
    assert forecast_load(changed, NOW).method is ForecastMethod.SEASONAL_NAIVE
    assert calm.error < forecast_load(seasonal(22, noise=0.6), NOW).error


def test_smoothing_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    series = seasonal(5, growth=0.05)
    rates = Rates(level=0.3, trend=0.05, day=0.2, week=0.0, damping=0.95)
    begin = started(series, rates, (DAY, WEEK))
    assert begin.week == [0.0]  # there are no two weeks
    # What it forecasts is given to the library as if it had come: then what that expects a step ahead is its forecast,
    # too. (Its own `forecast` takes the last step of a season from the season before.)
    ahead = smoothed(series, rates, (DAY, WEEK)).ahead(2 * DAY)
    library = ExponentialSmoothing(
        [*series, *ahead],
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=DAY,
        initialization_method="known",
        initial_level=begin.level,
        initial_trend=0.0,
        initial_seasonal=list(begin.day),
    ).fit(
        smoothing_level=rates.level,
        smoothing_trend=rates.trend,
        smoothing_seasonal=rates.day,
        damping_trend=rates.damping,
        optimized=False,
    )
    expected = [begin.take(value) for value in series]
    assert [*expected, *ahead] == pytest.approx(list(library.fittedvalues))


def test_a_week_has_its_own_season() -> None:
    series = seasonal(28, noise=0)
    ahead = smoothed(series, Rates(level=0.0, day=0.0, week=0.0), (DAY, WEEK)).ahead(WEEK)
    assert ahead == pytest.approx(series[:WEEK])


def test_the_search_finds_better_rates_than_it_began_with() -> None:
    series = seasonal(16, growth=0.1, noise=0.02)
    origins = range(14 * DAY, 15 * DAY, 24)
    rates = searched(series, (DAY, WEEK), origins, DAY)
    assert rates != Rates()

    def error(rates: Rates) -> float:
        ahead = smoothed(series[: 15 * DAY], rates, (DAY, WEEK)).ahead(DAY)
        return sum(abs(one - other) for one, other in zip(ahead, series[15 * DAY :], strict=True))

    assert error(rates) < error(Rates())


@pytest.mark.parametrize(
    ("series", "why"),
    [
        ([], "points"),
        ([1.0] * (LEAST_BUCKETS - 1), "points"),
        ([1.0] * (MAX_POINTS + 1), "points"),
        ([nan] * LEAST_BUCKETS, "no finite number"),
        ([-1.0] * LEAST_BUCKETS, "below zero"),
    ],
)
def test_what_cannot_be_forecast_is_refused(series: Sequence[float], why: str) -> None:
    with pytest.raises(UnusableSeries, match=why):
        forecast_load(series, NOW)


@pytest.mark.parametrize("days", [2, 3, 13])
@pytest.mark.parametrize("load", [0.0, 7.0])
def test_a_flat_load_stays_as_it_is(days: int, load: float) -> None:
    forecast = forecast_load([load] * (days * DAY), NOW)
    assert [point.value for point in forecast.points] == pytest.approx([load] * DAY)
    assert forecast.mape == (None if load == 0 else pytest.approx(0.0, abs=1e-9))
    assert forecast.rising == pytest.approx(0.0, abs=1e-9)
    assert [one.start for one in forecast.points[:2]] == [NOW, NOW + BUCKET]


def test_a_forecast_is_a_record_that_can_be_stored() -> None:
    forecast = forecast_load(seasonal(3), NOW)
    assert decode(LoadForecast, encode(forecast)) == forecast


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1e15), min_size=LEAST_BUCKETS, max_size=LEAST_BUCKETS + 5))
def test_whatever_the_load_was_its_forecast_is_finite(series: list[float]) -> None:
    for point in forecast_load(series, NOW).points:
        assert isfinite(point.value)
        assert 0 <= point.low <= point.value <= point.high


def test_the_longest_series_takes_no_long_time() -> None:
    begin = perf_counter()
    assert forecast_load(seasonal(100)[-MAX_POINTS:], NOW).made_of == MOST_BUCKETS
    assert perf_counter() - begin < 15  # a loaded machine; about a second on a free one


def test_events_become_the_load_of_their_buckets() -> None:
    since = NOW - timedelta(hours=1)
    events = [(since, 1.0), (since + BUCKET * 0.99, 2.0), (since + BUCKET, 4.0), (NOW, 8.0), (since - BUCKET, 9.0)]
    assert load_series(events, since, NOW) == (3.0, 4.0, 0.0, 0.0)
    long = load_series([(NOW - BUCKET, 5.0)], NOW - timedelta(days=60), NOW)
    assert (len(long), long[-1], sum(long)) == (MOST_BUCKETS, 5.0, 5.0)
    with pytest.raises(UnusableSeries):
        load_series([], NOW, NOW)


def forecast_of(value: Callable[[int], float]) -> LoadForecast:
    points = tuple(
        ForecastPoint(start=NOW + step * BUCKET, value=value(step), low=0.8 * value(step), high=1.2 * value(step))
        for step in range(DAY)
    )
    return LoadForecast(method=ForecastMethod.HOLT_WINTERS, made_of=DAY, error=0.0, mape=None, points=points)


def test_load_over_capacity_is_flagged_with_when_and_by_how_much() -> None:
    slots = 2
    full = capacity_ms(slots)
    assert full == pytest.approx(2 * 0.85 * 900_000)
    forecasts = {
        "quiet": forecast_of(lambda _: 0.99 * full),
        "noon": forecast_of(lambda step: full * (1.5 if 40 <= step < 44 else 0.5)),
        "nobody": forecast_of(lambda _: 1.0),
    }
    nobody, noon = bottlenecks(forecasts, {"quiet": slots, "noon": slots})
    assert (nobody.capability, nobody.starts_at, nobody.missing_slots) == ("nobody", NOW, 1)
    assert (nobody.load, nobody.clears_at) == (1000.0, None)
    assert (noon.capability, noon.starts_at) == ("noon", NOW + 40 * BUCKET)
    assert noon.load == pytest.approx(1.5)
    assert noon.backlog_ms == pytest.approx(4 * 0.5 * full)
    assert noon.clears_at == NOW + 48 * BUCKET
    assert noon.missing_slots == 1
    assert noon.sure  # even the lower bound is 1.2 times the capacity


def test_a_bottleneck_is_gone_with_the_slots_that_it_says_are_missing() -> None:
    forecasts = {"a": forecast_of(lambda step: 3.3e6 + 1e4 * step)}
    (found,) = bottlenecks(forecasts, {"a": 1})
    assert bottlenecks(forecasts, {"a": 1 + found.missing_slots}) == ()
    assert bottlenecks(forecasts, {"a": found.missing_slots}) != ()


def test_a_rising_trend_changes_the_action() -> None:
    steady = forecast_load([6e5 + 1e4 * (step % 3) for step in range(4 * DAY)], NOW)
    rising = forecast_load([2200.0 * step for step in range(4 * DAY)], NOW)
    assert rising.rising > 0.1 > steady.rising
    capacity = capacity_ms(1)
    assert load_action(steady, capacity) is LoadAction.NO_ACTION
    assert load_action(rising, capacity) is LoadAction.PREEMPTIVE_SCALING
    assert load_action(rising, 0.7 * capacity) is LoadAction.INCREASE_WORKER_POOL  # there is too much now
    later = forecast_of(lambda step: capacity * (0.6 + 0.006 * step))
    assert load_action(later, capacity) is LoadAction.PREEMPTIVE_SCALING
    assert load_action(later, 10 * capacity) is LoadAction.NO_ACTION  # few, but rising
    assert load_action(steady, 10 * capacity) is LoadAction.DECREASE_WORKER_POOL


@pytest.mark.parametrize("wrong", [nan, -1.0, float("inf")])
def test_a_capacity_is_a_number(wrong: float) -> None:
    with pytest.raises(UnusableSeries):
        load_action(forecast_of(lambda _: 1.0), wrong)


@pytest.mark.parametrize(("slots", "utilisation"), [(-1, 0.85), (1, 0.0), (1, 1.1), (1, nan)])
def test_slots_and_utilisation_are_bounded(slots: int, utilisation: float) -> None:
    with pytest.raises(UnusableSeries):
        capacity_ms(slots, utilisation)


def test_nobody_knows_more_about_what_is_farther_away() -> None:
    forecast = forecast_load(seasonal(16), NOW)
    widths = [point.high - point.value for point in forecast.points]
    assert all(near <= far + 1e-9 for near, far in pairwise(widths))
    assert widths[0] < 100 * sqrt(2)
