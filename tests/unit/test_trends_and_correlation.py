"""Trends, correlations and aggregates, beside those of scipy and numpy."""

import random
from collections.abc import Sequence
from functools import partial
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.insights.aggregates import MAX_ROWS, OTHER, aggregate_by_dimension
from functions._core.insights.correlation import Method, calculate_correlation, pearson, ranks, spearman
from functions._core.insights.trends import TrendDirection, calculate_trend
from functions._core.learning.series import LARGEST, MAX_POINTS, UnusableSeries


def walk(number: int, seed: int, slope: float = 0.0, spread: float = 1.0) -> list[float]:
    draw = random.Random(seed)
    return [50 + slope * n + draw.gauss(0, spread) for n in range(number)]


@pytest.mark.parametrize("slope", [0.0, 0.02, -0.3, 40.0])
@pytest.mark.parametrize("number", [3, 12, 500])
def test_a_trend_is_the_line_of_scipy(slope: float, number: int) -> None:
    from scipy import stats

    values = walk(number, number, slope)
    at = [float(3 * n + n % 2) for n in range(number)]
    trend, expected = calculate_trend(values, at), stats.linregress(at, values)
    assert trend.slope == pytest.approx(expected.slope)
    assert trend.intercept == pytest.approx(expected.intercept)
    assert trend.r_squared == pytest.approx(expected.rvalue**2)
    assert trend.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-200)
    assert trend.value_at(at[-1]) == pytest.approx(expected.intercept + expected.slope * at[-1])


def test_a_rising_line_goes_up_with_all_of_its_variance() -> None:
    trend = calculate_trend([1.0, 2.0, 3.0, 4.0])
    assert (trend.direction, trend.slope, trend.intercept) == (TrendDirection.UP, 1.0, 1.0)
    assert trend.r_squared == pytest.approx(1.0)
    assert trend.p_value < 1e-12
    assert trend.points == 4
    assert calculate_trend([4.0, 3.0, 2.0]).direction is TrendDirection.DOWN


def test_what_changes_by_less_than_a_hundredth_or_by_chance_is_flat() -> None:
    rising = [1000 + 0.09 * n for n in range(101)]  # by 0.9 % in all
    assert calculate_trend(rising).direction is TrendDirection.FLAT
    assert calculate_trend([1000 + 0.11 * n for n in range(101)]).direction is TrendDirection.UP
    noisy = calculate_trend(walk(12, 3, spread=20))
    assert noisy.p_value > 0.05
    assert noisy.direction is TrendDirection.FLAT
    flat = calculate_trend([7.0] * 5)
    assert (flat.direction, flat.slope, flat.r_squared, flat.p_value) == (TrendDirection.FLAT, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("number", [3, 10, 800])
def test_coefficients_and_their_p_values_are_those_of_scipy(number: int) -> None:
    from scipy import stats

    x = walk(number, 1)
    for share in (0.0, 0.2, 3.0):
        y = [share * value + other for value, other in zip(x, walk(number, 2), strict=True)]
        for found, expected in ((pearson(x, y), stats.pearsonr(x, y)), (spearman(x, y), stats.spearmanr(x, y))):
            assert found.coefficient == pytest.approx(expected[0])
            assert found.p_value == pytest.approx(expected[1], rel=1e-6, abs=1e-200)


def test_twice_the_series_goes_with_it_entirely() -> None:
    x = [1.0, 5.0, 2.0, 8.0]
    assert pearson(x, [2 * value for value in x]).coefficient == pytest.approx(1.0)
    assert pearson(x, [-value for value in x]).coefficient == pytest.approx(-1.0)
    assert spearman(x, [value**3 for value in x]).coefficient == pytest.approx(1.0)
    assert calculate_correlation(x, x, "spearman").method == "spearman"


def test_ranks_are_those_of_scipy_with_ties() -> None:
    from scipy import stats

    values = [float(n * n % 7) for n in range(40)]
    assert ranks(values) == stats.rankdata(values).tolist()
    x, y = values, [float(n % 3) for n in range(40)]
    assert spearman(x, y).coefficient == pytest.approx(stats.spearmanr(x, y)[0])


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ([1, 2, 3], [4, 4, 4]),
        ([1, 2, nan], [1, 2, 3]),
        ([1, 2, 3], [1, inf, 3]),
        ([0.0] * (MAX_POINTS + 1), [0.0] * (MAX_POINTS + 1)),
    ],
    ids=["empty", "two", "unlike", "constant", "nan", "inf", "long"],
)
def test_what_goes_with_nothing_is_refused(method: Method, x: Sequence[float], y: Sequence[float]) -> None:
    with pytest.raises(UnusableSeries):
        calculate_correlation(x, y, method)


@pytest.mark.parametrize(
    "values", [[], [1, 2], [1, 2, nan], [0.0] * (MAX_POINTS + 1)], ids=["empty", "two", "nan", "long"]
)
def test_what_has_no_trend_is_refused(values: Sequence[float]) -> None:
    with pytest.raises(UnusableSeries):
        calculate_trend(values)


def test_points_at_one_place_have_no_trend() -> None:
    with pytest.raises(UnusableSeries, match="same place"):
        calculate_trend([1, 2, 3], [5, 5, 5])


ANY = st.floats(-LARGEST, LARGEST)


@given(st.lists(st.tuples(ANY, ANY), min_size=3, max_size=30))
def test_whatever_series_hold_figures_are_finite_and_in_their_bounds(pairs: list[tuple[float, float]]) -> None:
    x, y = [one for one, _ in pairs], [other for _, other in pairs]
    for call in (partial(calculate_trend, y), partial(calculate_trend, y, x)):
        try:
            trend = call()
        except UnusableSeries:
            continue
        assert all(map(isfinite, trend[1:6]))
        assert 0 <= trend.r_squared <= 1
        assert 0 <= trend.p_value <= 1
    for correlate in (pearson, spearman):
        try:
            found = correlate(x, y)
        except UnusableSeries:
            continue
        assert -1 <= found.coefficient <= 1
        assert 0 <= found.p_value <= 1


def test_sums_match_and_percentiles_are_those_of_numpy() -> None:
    import numpy as np

    rows = [(f"type-{n % 3}", float(n * 37 % 101)) for n in range(400)]
    found = aggregate_by_dimension(rows)
    assert list(found) == ["type-0", "type-1", "type-2"]
    for name, group in found.items():
        values = [value for other, value in rows if other == name]
        assert (group.count, group.sum) == (len(values), sum(values))
        assert group.mean == pytest.approx(np.mean(values))
        assert (group.p50, group.p95) == pytest.approx(tuple(np.percentile(values, [50, 95])))
    assert sum(group.sum for group in found.values()) == sum(value for _, value in rows)


def test_groups_beyond_the_most_count_as_others() -> None:
    rows = [("a", 1.0)] * 3 + [("b", 2.0)] * 2 + [("c", 5.0), ("d", 7.0)]
    found = aggregate_by_dimension(rows, most=2)
    assert {name: group.count for name, group in found.items()} == {"a": 3, "b": 2, OTHER: 2}
    assert found[OTHER].sum == 12.0
    assert aggregate_by_dimension([]) == {}


def test_figures_are_bounded_and_have_to_be_numbers() -> None:
    with pytest.raises(UnusableSeries):
        aggregate_by_dimension([("a", nan)])
    endless = (("a", 1.0) for _ in iter(int, 1))
    with pytest.raises(UnusableSeries, match=str(MAX_ROWS)):
        aggregate_by_dimension(endless)
