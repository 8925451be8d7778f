"""How good forecasts of load and the four kinds of anomaly are, on seeds that nobody has looked at while making them.

Loads have a daily and a weekly season; their last day is forecast from the four weeks before it. Counts are those of a
Poisson process: not even the true rates forecast them exactly, so what these miss by is printed beside it. Anomalies
are planted in histories of a fleet (`tests/support/planted.py`), and looked for by what other flows of it did.
"""

import random
from collections.abc import Callable, Sequence
from math import exp, sqrt
from statistics import mean, stdev

from functions._core.learning.anomaly_kinds import (
    UsualWork,
    duration_anomalies,
    failure_anomalies,
    load_anomalies,
    resource_anomalies,
)
from functions._core.learning.load_forecast import DAY, forecast_load
from tests.support.fleet_world import START
from tests.support.planted import failing, larger, planted, quality, seasonal, slower, worlds

SEEDS = range(101, 121)
DAYS = 29
PLANTED = 0.02
"""The share of the tickets that are made unusual."""

Figures = tuple[float, ...]


def interval(figures: Sequence[float]) -> str:
    """Return the mean of figures with its interval of 95 %, and the worst of them at both ends."""
    reach = 2.09 * stdev(figures) / sqrt(len(figures))
    return f"{mean(figures):6.2f} ± {reach:.2f}  ({min(figures):.2f} to {max(figures):.2f})"


def poisson(draw: random.Random, rate: float) -> float:
    """Return a count of a Poisson process."""
    count, left = 0, draw.random()
    while left > exp(-rate):
        left *= draw.random()
        count += 1
    return float(count)


def misses(forecast: Sequence[float], actual: Sequence[float]) -> float:
    """Return the mean absolute error in percent, over buckets that had any load."""
    return 100 * mean([abs(one - value) / value for one, value in zip(forecast, actual, strict=True) if value])


def forecast_figures(series: Sequence[float], truth: Sequence[float]) -> Figures:
    """Return the error of the forecast, that of the truth, and the share of the last day within the bounds."""
    forecast, day = forecast_load(series[:-DAY], START), series[-DAY:]
    inside = mean(point.low <= value <= point.high for point, value in zip(forecast.points, day, strict=True))
    return misses([point.value for point in forecast.points], day), misses(truth[-DAY:], day), inside


def noisy(seed: int) -> Figures:
    """Return the figures of a load with 10 % noise."""
    return forecast_figures(seasonal(DAYS, seed, noise=0.1), seasonal(DAYS, seed, noise=0.0))


def counts(seed: int) -> Figures:
    """Return the figures of counts of about a hundred at noon."""
    draw, truth = random.Random(seed), seasonal(DAYS, seed, noise=0.0)
    return forecast_figures([poisson(draw, rate) for rate in truth], truth)


def durations(seed: int) -> Figures:
    """Return precision and recall of tickets that took 4 to 20 times as long."""
    rows, ids = planted(seed, slower, PLANTED)
    return quality([one.entity_id for one in duration_anomalies(rows, UsualWork(worlds(seed)[0]))], ids)


def resources(seed: int) -> Figures:
    """Return precision and recall of tickets with larger payloads or many attempts."""
    rows, ids = planted(seed, larger, PLANTED)
    return quality([one.entity_id for one in resource_anomalies(rows, UsualWork(worlds(seed)[0]))], ids)


def failures(seed: int) -> Figures:
    """Return precision and recall of a worker, then of a type, half of whose work fails."""
    before, after = worlds(seed)
    usual, worker, kind = UsualWork(before), f"worker-{seed % 8}", after[seed].task_type
    by_worker = failure_anomalies(failing(after, lambda row: row.worker_id == worker, seed), usual)
    by_type = failure_anomalies(failing(after, lambda row: row.task_type == kind, seed), usual)
    found = [("worker", one.entity_id) for one in by_worker] + [("type", one.entity_id) for one in by_type]
    return quality(found, [("worker", worker), ("type", str(kind))])


def loads(seed: int) -> Figures:
    """Return precision and recall of buckets with three times the load, or none of it."""
    draw = random.Random(seed)
    series = [poisson(draw, rate) for rate in seasonal(DAYS, seed, noise=0.0)]
    forecast, day, places = forecast_load(series[:-DAY], START), series[-DAY:], draw.sample(range(30, 78), 6)
    for place in places:
        day[place] *= draw.choice([0.0, 3.0, 3.0])
    return quality([one.at for one in load_anomalies(day, forecast)], [forecast.points[n].start for n in places])


def table(name: str, columns: Sequence[str], figures: Callable[[int], Figures]) -> Sequence[float]:
    """Print the figures of all seeds, and return their means."""
    by_seed = [figures(seed) for seed in SEEDS]
    for place, column in enumerate(columns):
        print(f"{name:<10} {column:<26} {interval([one[place] for one in by_seed])}")
    return [mean(column) for column in zip(*by_seed, strict=True)]


def test_forecasts_and_anomalies_hold_the_bars_on_seeds_that_nobody_has_looked_at() -> None:
    print(f"\n{len(SEEDS)} seeds: mean ± 95 %  (worst to best)")
    columns = ("error in percent", "error of the true rates", "share within the bounds")
    for name, figures in (("load", noisy), ("counts", counts)):
        error, _, inside = table(name, columns, figures)
        assert error < 20
        assert 0.8 < inside < 0.99
    for name, figures in (("duration", durations), ("resources", resources), ("failures", failures), ("load", loads)):
        precision, recall = table(name, ("precision", "recall"), figures)
        assert precision > 0.7
        assert recall > 0.6
