"""Drift of what models see, with scipy as oracle."""

from datetime import timedelta
from math import log
from random import Random

import pytest

from functions._core.learning.drift import (
    DAYS,
    SAMPLE,
    WATCHED,
    drift_of,
    kolmogorov_smirnov,
    population_stability,
    sampled,
)
from functions._core.learning.evaluation import EstimateAlone, errors_of
from functions._core.learning.history import TicketRow
from functions._core.learning.table_training import usable
from tests.support.histories import history


@pytest.fixture(scope="module")
def rows() -> list[TicketRow]:
    return [row for flow, rows in history(7, 60) if not flow.simulated for row in rows if usable(row)]


@pytest.mark.parametrize(("shift", "ones", "others"), [(0.0, 300, 300), (0.2, 250, 400), (1.0, 60, 300)])
def test_the_test_of_two_samples_is_that_of_scipy(shift: float, ones: int, others: int) -> None:
    from scipy.stats import ks_2samp, kstwobign

    draw = Random(6)
    one, other = [draw.gauss(0, 1) for _ in range(ones)], [draw.gauss(shift, 1) for _ in range(others)]
    distance, p = kolmogorov_smirnov(one, other)
    assert distance == pytest.approx(ks_2samp(one, other).statistic)
    assert p == pytest.approx(kstwobign.sf((ones * others / (ones + others)) ** 0.5 * distance), abs=1e-9)
    assert p == pytest.approx(ks_2samp(one, other, method="exact").pvalue, abs=0.05)


def test_the_index_is_the_sum_over_tenths_of_the_first_sample() -> None:
    import numpy as np

    draw = Random(7)
    before, after = [draw.gauss(0, 1) for _ in range(500)], [draw.gauss(0.5, 1) for _ in range(500)]
    edges = [-np.inf, *np.quantile(before, np.arange(1, 10) / 10), np.inf]
    one, other = (np.histogram(values, edges)[0] / 500 for values in (before, after))
    expected = sum((b - a) * log(b / a) for a, b in zip(one, other, strict=True))
    assert population_stability(before, after) == pytest.approx(expected, rel=1e-6)
    assert population_stability(before, before) == 0


def test_a_shifted_feature_raises_drift_and_the_same_fleet_does_not(rows: list[TicketRow]) -> None:
    half = len(rows) // 2
    then, now = sampled((), rows[::2], None), sampled((), rows[1::2], None)
    assert drift_of(then, now, 0.0).drifted == ()
    slower = [row.but(actual_ms=3 * (row.actual_ms or 0)) for row in rows[half:]]
    moved = drift_of(then, sampled((), slower, None), 0.0)
    assert "ratio" in moved.drifted
    assert moved.psi["ratio"] > 0.25
    assert moved.p_values["ratio"] < 0.05
    assert set(moved.psi) == set(WATCHED)


def test_an_error_that_has_grown_by_half_is_drift(rows: list[TicketRow]) -> None:
    mae = errors_of(EstimateAlone(), rows).mae_ms
    now = sampled((), rows, EstimateAlone())
    assert drift_of(now, now, mae).drifted == ()
    worse = drift_of(now, now, mae / 2)
    assert worse.drifted == ("error",)
    assert worse.mae_ratio == pytest.approx(2, rel=0.4)


def test_few_rows_say_nothing(rows: list[TicketRow]) -> None:
    few = sampled((), rows[:20], None)
    assert drift_of(few, sampled((), rows, None), 1.0).drifted == ()


def test_a_sample_is_even_bounded_and_the_same_however_rows_come(rows: list[TicketRow]) -> None:
    at_once = sampled((), rows, None)
    in_parts = sampled(sampled((), rows[: len(rows) // 3], None), rows[len(rows) // 3 :], None)
    assert at_once == in_parts == sampled(at_once, rows, None), "rows that come twice are one"
    assert len(at_once) == min(SAMPLE, len(rows))
    times = sorted(one.at for one in at_once)
    middle = sorted(row.completed_at.timestamp() for row in rows)[len(rows) // 2]
    assert sum(at <= middle for at in times) / len(times) == pytest.approx(0.5, abs=0.15)


def test_what_is_older_than_seven_days_leaves_the_sample(rows: list[TicketRow]) -> None:
    last = max(row.completed_at for row in rows)
    since = last - DAYS
    assert {one.at >= since.timestamp() for one in sampled((), rows, None, since)} == {True}
    assert sampled(sampled((), rows, None), (), None, last + timedelta(days=1)) == ()
