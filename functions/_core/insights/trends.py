"""Where a series goes: up, down, or nowhere, by least squares. Pure."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

from functions._core.learning.distributions import student_two_sided
from functions._core.learning.series import UnusableSeries, centred, checked, constant, mean, product
from functions._core.records.values import Word

LEAST_POINTS = 3
"""Two points are always on a line, which says nothing."""

FLAT = 0.01
"""A series that changes by a smaller share of its level, from its first point to its last, goes nowhere."""

SURE = 0.05
"""The p value from which on a slope may well be chance, so that the series goes nowhere."""


class TrendDirection(Word):
    """Where a series goes."""

    UP = "up"
    """Its later points are higher."""
    DOWN = "down"
    """Its later points are lower."""
    FLAT = "flat"
    """It changes by less than a hundredth of its level, or by what chance makes."""


class Trend(NamedTuple):
    """The line that is closest to a series."""

    direction: TrendDirection
    """Where it goes."""
    slope: float
    """How much it rises from point to point, or for each unit of `at`."""
    intercept: float
    """Where it is at the first point, or at 0 of `at`."""
    relative_change: float
    """How much it rises from the first to the last point, as a share of the mean size of the points; 0 to 2 in size."""
    r_squared: float
    """The share of the variance, 0 to 1, that the line explains; 0 for a constant series."""
    p_value: float
    """The probability, 0 to 1, of such a slope by chance, where there is none."""
    points: int
    """How many points it was made of."""

    def value_at(self, place: float) -> float:
        """Return where the line is."""
        return self.intercept + self.slope * place


def calculate_trend(values: Sequence[float], at: Sequence[float] | None = None) -> Trend:
    """Return the trend of a series, whose points are one apart, or where `at` says; raises `UnusableSeries`."""
    series = checked(values, LEAST_POINTS)
    places = tuple(map(float, range(len(series)))) if at is None else checked(at, len(series), len(series))
    if constant(places):
        raise UnusableSeries("all points are at the same place")
    across = centred(places)
    spread = product(across, across)
    if constant(series):
        return Trend(TrendDirection.FLAT, 0.0, series[0], 0.0, 0.0, 1.0, len(series))
    up = centred(series)
    slope = product(across, up) / spread
    explained = min(1.0, slope * slope * spread / product(up, up))
    size = mean([abs(value) for value in series])
    relative = slope * (max(places) - min(places)) / size
    p_value = p_of_share(explained, len(series))
    direction = TrendDirection.FLAT
    if abs(relative) >= FLAT and p_value < SURE:
        direction = TrendDirection.UP if slope > 0 else TrendDirection.DOWN
    return Trend(direction, slope, mean(series) - slope * mean(places), relative, explained, p_value, len(series))


def p_of_share(explained: float, points: int) -> float:
    """Return how likely chance explains such a share, 0 to 1, of the variance of three points or more by a line."""
    freedom = points - 2
    left = 1 - explained
    return student_two_sided(sqrt(explained * freedom / left) if left > 0 else inf, freedom)
