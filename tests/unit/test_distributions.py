"""Tails of distributions and sums of series, beside those of scipy and numpy."""

from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.learning.distributions import (
    beta_share,
    binomial_tail,
    fisher_tail,
    normal_of_student,
    student_of_normal,
    student_two_sided,
)
from functions._core.learning.series import (
    LARGEST,
    MAX_POINTS,
    UnusableSeries,
    checked,
    constant,
    mean,
    median,
    paired,
    quantile,
)

FREEDOMS = (1, 2, 3, 8, 30, 500, 100_000)


def test_tails_are_those_of_scipy() -> None:
    from scipy import stats

    for figure in (0.0, 0.01, 0.7, 1.96, 5.0, 40.0):
        for freedom in FREEDOMS:
            assert student_two_sided(figure, freedom) == pytest.approx(2 * stats.t.sf(figure, freedom), rel=1e-7)
            for between in (1, 2, 5, 20):
                expected = stats.f.sf(figure, between, freedom)
                assert fisher_tail(figure, between, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-300)


def test_the_beta_function_is_that_of_scipy_for_any_shape() -> None:
    from scipy import special

    for a in (0.5, 1, 3.7, 250, 1e5):
        for b in (0.5, 2, 40, 1e4):
            for x in (0.0, 1e-9, 0.02, 0.5, a / (a + b), 0.97, 1.0):
                assert beta_share(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-280)


def test_counts_are_as_likely_as_scipy_says() -> None:
    from scipy import stats

    for trials in (1, 5, 60, 5000):
        for hits in {0, 1, trials // 3, trials, trials + 1}:
            for chance in (0.0, 0.001, 0.3, 1.0):
                expected = stats.binom.sf(hits - 1, trials, chance)
                assert binomial_tail(hits, trials, chance) == pytest.approx(expected, rel=1e-7, abs=1e-280)


def test_a_normal_figure_is_as_rare_as_the_figure_of_student() -> None:
    from scipy import stats

    for freedom in (7, 8, 20, 200):
        for figure in (-6.0, -3.0, 0.0, 0.5, 2.0, 4.3, 9.0):
            exact = stats.norm.isf(stats.t.sf(figure, freedom))
            assert normal_of_student(figure, freedom) == pytest.approx(exact, abs=0.03)
            assert student_of_normal(normal_of_student(figure, freedom), freedom) == pytest.approx(figure)


def test_quantiles_are_those_of_numpy() -> None:
    import numpy as np

    for values in ([3.0], [1.0, 2.0], [5.0, 1.0, 4.0, 4.0, 9.5], [float(n * n % 37) for n in range(100)]):
        for share in (0.0, 0.05, 0.25, 0.5, 0.95, 1.0):
            assert quantile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)))
        assert median(values) == pytest.approx(float(np.median(values)))
        assert mean(values) == pytest.approx(float(np.mean(values)))


@pytest.mark.parametrize(
    "values",
    [[], [nan], [1.0, inf], [-inf, 2.0], [10 * LARGEST], [10**400], [0.0] * (MAX_POINTS + 1)],
    ids=["empty", "nan", "inf", "-inf", "large", "a whole number that is no float", "long"],
)
def test_a_series_that_cannot_be_looked_at_is_refused_as_such(values: list[float]) -> None:
    with pytest.raises(UnusableSeries) as caught:
        checked(values)
    assert (caught.value.code, caught.value.status) == ("unusable_series", 422)


def test_series_of_other_lengths_are_no_pairs() -> None:
    with pytest.raises(UnusableSeries, match="2 and 3 points"):
        paired([1, 2], [1, 2, 3], 1)


def test_what_differs_by_rounding_is_constant() -> None:
    assert constant([0.1 + 0.2, 0.3, 0.3])
    assert not constant([1000.0, 1000.001])


@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=1, max_size=50))
def test_means_and_quantiles_are_between_the_ends(values: list[float]) -> None:
    series = checked(values)
    for figure in (mean(series), median(series), quantile(sorted(series), 0.95)):
        assert isfinite(figure)
        assert min(series) - 1e-6 * LARGEST <= figure <= max(series) + 1e-6 * LARGEST
