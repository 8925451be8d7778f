"""Points that are not like the others: found by each method, and nothing where there is nothing."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from math import inf, isfinite, nan
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.insights.anomalies import LARGEST_SCORE, Anomaly, iqr, isolation_forest, zscore
from functions._core.insights.isolation import SeededChance, isolation_scores, mean_depth
from functions._core.learning.series import LARGEST, MAX_POINTS, UnusableSeries

METHODS = (zscore, iqr, isolation_forest)
Method = Callable[[Sequence[float]], tuple[Anomaly, ...]]

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)


def noise(number: int, seed: int = 1, level: float = 100.0, spread: float = 5.0) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(level, spread) for _ in range(number)]


@each_method
@pytest.mark.parametrize("number", [10, 30, 300])
@pytest.mark.parametrize("spike", [20.0, 500.0])
def test_the_same_spike_is_found_by_each_method(method: Method, number: int, spike: float) -> None:
    for seed in range(5):
        values = noise(number, seed)
        values[7] = spike
        found = {one.index: one for one in method(values)}
        assert 7 in found
        assert found[7].value == spike
        assert not found[7].expected_low <= spike <= found[7].expected_high
        assert found[7].method == method.__name__


@each_method
@pytest.mark.parametrize("level", [0.0, 5.0, -3e14, 0.1 + 0.2])
def test_a_flat_series_is_quiet(method: Method, level: float) -> None:
    assert method([level] * 60) == ()
    assert method([level] * 59 + [level * (1 + 1e-12)]) == ()


@each_method
def test_one_spike_in_a_flat_series_is_found(method: Method) -> None:
    assert [one.index for one in method([5.0] * 9 + [50.0])] == [9]
    assert [one.index for one in method([0.0] * 9 + [1.0])] == [9]


def test_noise_is_quiet_about_as_often_as_the_threshold_says() -> None:
    for number in (10, 50):
        points = [one for seed in range(200) for one in zscore(noise(number, seed))]
        assert len(points) < 0.0027 * 200 * number * 2.5
    assert sum(len(isolation_forest(noise(100, seed), seed=seed)) for seed in range(40)) <= 8


def test_ten_points_are_enough_for_the_z_where_the_textbook_never_finds_any() -> None:
    from scipy import stats

    values = [*noise(9), 1e6]
    assert max(abs(stats.zscore(values, ddof=1))) < 3
    assert [one.index for one in zscore(values)] == [9]


def test_two_spikes_do_not_hide_each_other() -> None:
    values = noise(20)
    values[3] = values[4] = 900.0
    assert {one.index for one in zscore(values)} == {3, 4}


def test_of_many_points_the_z_is_that_of_scipy() -> None:
    from scipy import stats

    values = noise(2000, seed=3)
    values[100], values[900] = 190.0, 20.0
    usual = [value for place, value in enumerate(values) if place not in {100, 900}]
    mean, spread = stats.tmean(usual), stats.tstd(usual)
    found = {one.index: one for one in zscore(values)}
    for place in (100, 900):
        assert found[place].score == pytest.approx((values[place] - mean) / spread, rel=0.08)
    expected = {place for place, value in enumerate(values) if abs(value - mean) > 3 * spread}
    assert abs(len(found.keys() ^ expected)) <= 1


def test_the_score_is_as_rare_as_the_figure_of_student() -> None:
    from scipy import stats

    values = [*noise(11), 130.0]
    rest = values[:-1]
    student = (130.0 - stats.tmean(rest)) / (stats.tstd(rest) * (1 + 1 / 11) ** 0.5)
    (found,) = zscore(values)
    assert found.score == pytest.approx(stats.norm.isf(stats.t.sf(student, 10)), abs=0.02)


def test_quartiles_are_those_of_scipy() -> None:
    import numpy as np
    from scipy import stats

    values = noise(500, seed=5)
    values[:3] = 300.0, -50.0, 128.0
    lower, upper = np.percentile(values, [25, 75])
    width = stats.iqr(values)
    outside = [n for n, value in enumerate(values) if not lower - 1.5 * width <= value <= upper + 1.5 * width]
    found = iqr(values)
    assert [one.index for one in found] == outside
    assert found[0].score == pytest.approx((300.0 - upper) / width)
    assert found[0].expected_high == pytest.approx(upper + 1.5 * width)


def test_the_forest_scores_as_that_of_scikit_learn_does() -> None:
    import numpy as np
    from scipy import stats
    from sklearn.ensemble import IsolationForest

    for values in (noise(40, seed=2), [*noise(600, seed=4), 200.0, 10.0]):
        library = IsolationForest(n_estimators=300, max_samples=min(256, len(values)), random_state=1)
        column = np.array(values).reshape(-1, 1)
        expected = -library.fit(column).score_samples(column)
        scores = isolation_scores(values, 1, 300)
        assert np.abs(expected - np.array(scores)).max() < 0.05
        assert stats.spearmanr(expected, scores)[0] > 0.97


def test_the_forest_finds_no_more_than_its_share_and_the_same_for_the_same_seed() -> None:
    values = noise(100, seed=6)
    values[:9] = [400.0 + 50 * n for n in range(9)]
    found = isolation_forest(values, contamination=0.05, seed=7)
    assert 1 <= len(found) <= 5
    assert found == isolation_forest(values, contamination=0.05, seed=7)


def test_chance_follows_from_the_seed_alone_and_is_even() -> None:
    # The first numbers of SplitMix64 from 1234567, as its authors publish them.
    chance = SeededChance(1234567)
    assert [chance.whole() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    shares = [chance.share() for _ in range(4000)]
    assert 0.48 < sum(shares) / 4000 < 0.52
    assert sorted(SeededChance(1).sample(range(50), 50)) == list(range(50))
    assert (mean_depth(1), mean_depth(2)) == (0.0, 1.0)


def test_what_is_closer_than_the_least_distance_is_no_anomaly() -> None:
    values = [0.0] * 20 + [2.0]
    for method in METHODS:
        assert [one.index for one in method(values, least=1.0)] == [20]
        assert method(values, least=2.0) == ()


@each_method
@pytest.mark.parametrize(
    "values",
    [[], [1.0] * 9, [nan] * 20, [*range(20), inf], [0.0] * (MAX_POINTS + 1)],
    ids=["empty", "nine", "nan", "inf", "long"],
)
def test_what_cannot_be_looked_at_is_refused(method: Method, values: list[float]) -> None:
    with pytest.raises(UnusableSeries):
        method(values)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 21.0, nan, inf])
def test_thresholds_are_bounded(wrong: float) -> None:
    for call in (
        partial(zscore, noise(10), wrong),
        partial(iqr, noise(10), wrong),
        partial(isolation_forest, noise(10), wrong),
    ):
        with pytest.raises(UnusableSeries):
            call()


@each_method
def test_the_largest_series_takes_no_long_time(method: Method) -> None:
    values = noise(MAX_POINTS)
    values[5000] = 1e9
    begin = perf_counter()
    assert 5000 in {one.index for one in method(values)}
    assert perf_counter() - begin < 5  # a loaded machine; some ten milliseconds on a free one, the forest some hundred


@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=10, max_size=40), st.integers(0, 5))
def test_whatever_a_series_holds_scores_are_finite_and_anomalies_outside_of_what_is_expected(
    values: list[float], seed: int
) -> None:
    for found in (zscore(values), iqr(values), isolation_forest(values, seed=seed)):
        for one in found:
            assert all(map(isfinite, (one.value, one.score, one.expected_low, one.expected_high)))
            assert abs(one.score) <= LARGEST_SCORE
            assert one.value == pytest.approx(values[one.index], abs=1e-90)
            assert one.expected_low <= one.expected_high
    for one in (*zscore(values), *iqr(values)):
        assert not one.expected_low < one.value < one.expected_high


def test_a_point_between_two_groups_is_seen_by_the_forest_alone() -> None:
    values = [*noise(60, 1, 0.0, 1.0), *noise(60, 2, 100.0, 1.0), 50.0]
    assert zscore(values) == iqr(values) == ()
    assert [one.index for one in isolation_forest(values)] == [120]


@each_method
@pytest.mark.parametrize("number", [30, 100])
def test_counts_that_are_mostly_nothing_are_quiet_until_there_are_many(method: Method, number: int) -> None:
    for share in (6, 9):
        counts = [float(place % share == 2) for place in range(number)]
        assert method(counts) == ()
        counts[17] = 12.0
        assert 17 in {one.index for one in zscore(counts)} | {one.index for one in isolation_forest(counts)}
