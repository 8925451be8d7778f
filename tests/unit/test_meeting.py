"""The probability that a flow meets its deadline, against scipy and against drawn flows."""

import math
import random

import pytest

from functions._core.learning.meeting import WIDEST, Z90, time_of_all
from functions._core.learning.predictions import Quantiles


def test_one_part_is_the_log_normal_distribution_that_its_quantiles_say() -> None:
    from scipy import stats

    taken = time_of_all([Quantiles(10_000, 25_000)])
    sigma = math.log(2.5) / stats.norm.ppf(0.9)
    for within in (1_000, 9_000, 10_000, 25_000, 90_000):
        expected = stats.lognorm.cdf(within, sigma, scale=10_000)
        assert taken.probability(within) == pytest.approx(expected, abs=1e-9)
    assert taken.quantiles == pytest.approx((10_000, 25_000), abs=1)
    assert pytest.approx(stats.norm.ppf(0.9)) == Z90


def test_a_sum_has_the_mean_and_the_variance_of_its_parts() -> None:
    from scipy import stats

    parts = [Quantiles(10_000, 25_000), Quantiles(4_000, 5_000), Quantiles(60_000, 61_000)]
    taken = time_of_all(parts, waits_ms=3_000)
    of_parts = [stats.lognorm(math.log(p90 / p50) / Z90, scale=p50) for p50, p90 in parts]
    whole = stats.lognorm(taken.sigma, scale=math.exp(taken.mu))
    assert whole.mean() == pytest.approx(sum(one.mean() for one in of_parts))
    assert whole.var() == pytest.approx(sum(one.var() for one in of_parts))
    assert taken.shift_ms == 3_000


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_probability_is_that_of_drawn_flows(count: int) -> None:
    draw = random.Random(count)
    parts = [Quantiles(p50 := draw.randrange(1_000, 60_000), round(p50 * draw.uniform(1.1, 3))) for _ in range(count)]
    taken = time_of_all(parts)
    drawn = sorted(
        sum(p50 * draw.lognormvariate(0, math.log(p90 / p50) / Z90) for p50, p90 in parts) for _ in range(20_000)
    )
    for share in (0.1, 0.5, 0.9):
        within = drawn[int(share * len(drawn))]
        assert taken.probability(within) == pytest.approx(share, abs=0.05)


def test_what_is_certain_is_met_or_missed() -> None:
    taken = time_of_all([Quantiles(1_000, 1_000), Quantiles(2_000, 2_000)], waits_ms=500)
    assert [taken.probability(within) for within in (0, 500, 3_400, 3_600)] == [0, 0, 0, 1]
    assert taken.quantiles == (3_500, 3_500)


def test_extremes_are_finite() -> None:
    taken = time_of_all([Quantiles(1, 10**12)] * 10_000, waits_ms=10**12)
    assert taken.sigma <= WIDEST
    assert all(map(math.isfinite, (taken.mu, taken.sigma, *taken.quantiles, taken.probability(10**12))))


def test_nothing_takes_no_time_that_could_be_said() -> None:
    with pytest.raises(ValueError, match="no part"):
        time_of_all([])
