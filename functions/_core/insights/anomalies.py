"""Points of a series that are not like the others: by their distance, by quartiles, and by how soon they stand alone.

Three ways to look, one form of answer. All of them are quiet about a flat series, and find one spike among ten points.
The textbook's z cannot: a spike widens the spread that it is measured by, so that with ten points no |z| exceeds
(n - 1) / sqrt(n) = 2.85. Here a point is measured by the others alone, see `zscore`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import fsum, inf, sqrt

from functions._core.insights.isolation import isolation_scores
from functions._core.learning.distributions import normal_of_student, student_of_normal
from functions._core.learning.series import UnusableSeries, checked, constant, median, quantile
from functions._core.records.record import Record

LEAST_POINTS = 10
"""Fewer points say nothing about what is usual."""

FLAT = 0.001
"""Spread, as a share of the level, that a series has at least: a change of a thousandth is nothing to look at."""

MOST_ANOMALIES = 0.2
"""The share of points that may be anomalies for `zscore`: what happens more often is not unusual."""

FEW = 0.05
"""The share of the points, at least one, that may be unlike a rest that is constant: a 1 in each ten points of a count
that is mostly 0 is part of it."""

LARGEST_SCORE = 100.0
"""Scores end here: without any spread, every distance would be infinitely unusual."""

LARGEST_FACTOR = 20.0
"""The largest threshold or factor: nothing is ever farther away."""

ISOLATED = 0.6
"""The score of the isolation forest from which on a point may stand alone: that of points among others is 0.5."""

APART = 2.0
"""How many times the width of the densest half of a series a point that stands alone is away from all that do not."""


class Anomaly(Record):
    """A point that is not like the others."""

    index: int
    """Its place in the series, from 0."""
    value: float
    """The point."""
    score: float
    """How unusual it is. zscore: the normal deviation that is as rare, negative below; iqr: the distance from the
    nearer quartile in interquartile ranges, negative below; isolation_forest: 0 to 1."""
    expected_low: float
    """The lowest value that would have been usual; isolation_forest: outside of all gaps between groups."""
    expected_high: float
    """The highest value that would have been usual, likewise."""
    method: str
    """`zscore`, `iqr` or `isolation_forest`."""


def _anomaly(index: int, value: float, score: float, expected: tuple[float, float], method: str) -> Anomaly:
    low, high = expected
    return Anomaly(index=index, value=value, score=score, expected_low=low, expected_high=high, method=method)


def zscore(values: Sequence[float], threshold: float = 3.0, least: float = 0.0) -> tuple[Anomaly, ...]:
    """Return the points that are as rare among the others as a normal figure beyond the threshold is.

    The point that is farthest from the mean is measured by mean and spread of the others, which gives a figure of
    Student's distribution; as small samples vary more, its score is the normal deviation that is as rare. Then it is
    left out, and the next one is looked at, so that two spikes do not hide each other (Rosner's procedure). Points
    closer than `least` to what is usual are none, nor are more than `FEW` beside a constant rest. Equal points are left
    out together. In order of the series. Raises `UnusableSeries`.
    """
    series = checked(values, LEAST_POINTS)
    _in_range("threshold", threshold)
    places = sorted(range(len(series)), key=series.__getitem__)
    slices = _Slices([series[place] for place in places])
    low, high = usual = 0, len(series)
    for taken in range(1, slices.most + 1):
        above = slices.farther_above(low, high)
        place = places[high - 1 if above else low]
        low, high = (low, high - 1) if above else (low + 1, high)
        if series[places[high - 1 if above else low]] == series[place]:
            continue
        if taken > _few(series) and constant((series[places[low]], series[places[high - 1]])):
            break
        middle, spread = slices.mean_and_spread(low, high)
        if _stands_out(series[place] - middle, spread, high - low, threshold, least):
            usual = low, high
    low, high = usual
    middle, spread = slices.mean_and_spread(low, high)
    reach = max(least, student_of_normal(threshold, high - low - 1) * spread * sqrt(1 + 1 / (high - low)))
    return tuple(
        _anomaly(place, value, _score(value - middle, spread, high - low), (middle - reach, middle + reach), "zscore")
        for place in sorted(places[:low] + places[high:])
        if _stands_out((value := series[place]) - middle, spread, high - low, threshold, least)
    )


def _few(series: Sequence[float]) -> int:
    return max(1, int(FEW * len(series)))


def _stands_out(distance: float, spread: float, others: int, threshold: float, least: float) -> bool:
    return abs(distance) > least and abs(_score(distance, spread, others)) > threshold


class _Slices:
    """Mean and spread of any middle part of points that are in order, each in constant time.

    Sums are built outwards from the middle, so that nothing is subtracted: a huge point leaves no rounding behind.
    """

    def __init__(self, ordered: Sequence[float]) -> None:
        self.most = max(1, int(MOST_ANOMALIES * len(ordered)))
        self.centre = ordered[len(ordered) // 2]
        self.points = [value - self.centre for value in ordered]
        core = self.points[self.most : len(ordered) - self.most]
        left, right = self.points[: self.most][::-1], self.points[len(ordered) - self.most :]
        self.sums = fsum(core), [0.0, *accumulate(left)], [0.0, *accumulate(right)]
        squares = [[value * value for value in part] for part in (core, left, right)]
        self.squares = fsum(squares[0]), [0.0, *accumulate(squares[1])], [0.0, *accumulate(squares[2])]

    def _totals(self, low: int, high: int) -> tuple[int, float, float]:
        left, right = self.most - low, high - (len(self.points) - self.most)
        total, square = (core + lefts[left] + rights[right] for core, lefts, rights in (self.sums, self.squares))
        return high - low, total, square

    def farther_above(self, low: int, high: int) -> bool:
        """Whether the last point of a part is farther from its mean than the first one."""
        number, total, _ = self._totals(low, high)
        return self.points[high - 1] + self.points[low] > 2 * total / number

    def mean_and_spread(self, low: int, high: int) -> tuple[float, float]:
        """Return the mean and the standard deviation of a part, which has a least one: see `FLAT`."""
        number, total, square = self._totals(low, high)
        middle = total / number
        variance = max(0.0, square - total * middle) / (number - 1)
        return self.centre + middle, max(sqrt(variance), FLAT * abs(self.centre + middle))


def _score(distance: float, spread: float, others: int) -> float:
    if distance == 0:
        return 0.0
    student = distance / (spread * sqrt(1 + 1 / others)) if spread > 0 else inf * distance
    bounded = max(-1e100, min(1e100, student))  # its square is still a number
    return max(-LARGEST_SCORE, min(LARGEST_SCORE, normal_of_student(bounded, others - 1)))


def iqr(values: Sequence[float], factor: float = 1.5, least: float = 0.0) -> tuple[Anomaly, ...]:
    """Return the points that lie farther outside the quartiles than `factor` interquartile ranges, Tukey's fences.

    Points closer than `least` to the quartiles are none; where the middle half is constant, more than `FEW` of them are
    none, either. Raises `UnusableSeries`.
    """
    series = checked(values, LEAST_POINTS)
    _in_range("factor", factor)
    ordered = sorted(series)
    lower, upper = quantile(ordered, 0.25), quantile(ordered, 0.75)
    width = max(upper - lower, FLAT * abs(quantile(ordered, 0.5)))
    reach = max(least, factor * width)

    def score(value: float) -> float:
        distance = value - upper if value > upper else value - lower
        return max(-LARGEST_SCORE, min(LARGEST_SCORE, distance / width if width > 0 else inf * distance))

    found = tuple(
        _anomaly(place, value, score(value), (lower - reach, upper + reach), "iqr")
        for place, value in enumerate(series)
        if value < lower - reach or value > upper + reach
    )
    return () if constant((lower, upper)) and len(found) > _few(series) else found


def isolation_forest(
    values: Sequence[float], contamination: float = 0.05, seed: int = 0, least: float = 0.0
) -> tuple[Anomaly, ...]:
    """Return the points that random cuts of the line soon leave alone: a share of `contamination` of them at most.

    A forest always ranks some points first, even in noise, and how high they score depends on how many there are. So
    those first ones are anomalies only where a gap of `APART` lies between them and all others; a gap may be between
    two groups, which neither z nor quartiles see. Raises `UnusableSeries`. It takes up to a quarter of a second: an
    event loop gives it to a thread.
    """
    series = checked(values, LEAST_POINTS)
    if not 0 < contamination <= 0.5:  # noqa: PLR2004 - half of the points cannot be unlike the others
        raise UnusableSeries("contamination is above 0 and 0.5 at most")
    scores = isolation_scores(series, seed)
    most = max(1, int(contamination * len(series)))
    first = sorted(range(len(series)), key=lambda place: (-scores[place], place))[:most]
    alone = {place for place in first if scores[place] > ISOLATED}
    usual = sorted(value for place, value in enumerate(series) if place not in alone)
    gap = max(least, FLAT * abs(median(usual)), APART * _densest_half(usual))
    return tuple(
        _anomaly(place, series[place], scores[place], (usual[0] - gap, usual[-1] + gap), "isolation_forest")
        for place in sorted(alone)
        if _distance(series[place], usual) > gap
    )


def _densest_half(ordered: Sequence[float]) -> float:
    """Return the width of the shortest interval that holds half of the points."""
    half = len(ordered) // 2
    return min(high - low for low, high in zip(ordered, ordered[half:], strict=False))


def _distance(value: float, ordered: Sequence[float]) -> float:
    """Return how far a value is from the nearest of the others."""
    place = bisect_left(ordered, value)
    return min(abs(value - other) for other in ordered[max(0, place - 1) : place + 1])


def _in_range(name: str, value: float) -> None:
    if not 0 < value <= LARGEST_FACTOR:
        raise UnusableSeries(f"{name} is above 0 and {LARGEST_FACTOR:g} at most")
