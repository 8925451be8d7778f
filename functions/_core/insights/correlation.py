"""Whether two series go together: Pearson's coefficient of their values, Spearman's of their ranks. Pure."""

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple

from functions._core.insights.trends import p_of_share
from functions._core.learning.series import UnusableSeries, centred, constant, paired, product

LEAST_POINTS = 3
"""Two points always go together."""

Method = Literal["pearson", "spearman"]
"""How the coefficient is calculated."""


class SeriesCorrelation(NamedTuple):
    """How much two series go together."""

    method: Method
    """How it was calculated."""
    coefficient: float
    """From -1 (one falls as the other rises) to 1 (both rise together)."""
    p_value: float
    """The probability, 0 to 1, of such a coefficient by chance, where there is none."""
    points: int
    """How many pairs it was made of."""


def calculate_correlation(x: Sequence[float], y: Sequence[float], method: Method = "pearson") -> SeriesCorrelation:
    """Return how much two series of one length go together.

    Raises `UnusableSeries`, also for a constant series: nothing goes together with what does not move.
    """
    return pearson(x, y) if method == "pearson" else spearman(x, y)


def pearson(x: Sequence[float], y: Sequence[float]) -> SeriesCorrelation:
    """Return the coefficient of Pearson: how close the pairs are to a line. Raises `UnusableSeries`."""
    first, second = paired(x, y, LEAST_POINTS)
    return _of("pearson", first, second)


def spearman(x: Sequence[float], y: Sequence[float]) -> SeriesCorrelation:
    """Return the coefficient of Spearman: how much one rises whenever the other does. Raises `UnusableSeries`."""
    first, second = paired(x, y, LEAST_POINTS)
    return _of("spearman", ranks(first), ranks(second))


def coefficient(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's coefficient of two series that are usable and as long; 0 where one of them is constant."""
    if constant(first) or constant(second):
        return 0.0
    one, other = centred(first), centred(second)
    return max(-1.0, min(1.0, product(one, other) / (sqrt(product(one, one)) * sqrt(product(other, other)))))


def ranks(values: Sequence[float]) -> list[float]:
    """Return the place of each value among all, from 1; equal values share the mean of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for place in order[begin:end]:
            found[place] = (begin + 1 + end) / 2
        begin = end
    return found


def _of(method: Method, first: Sequence[float], second: Sequence[float]) -> SeriesCorrelation:
    if constant(first) or constant(second):
        raise UnusableSeries("a series is constant: nothing goes together with what does not move")
    found = coefficient(first, second)
    return SeriesCorrelation(method, found, p_of_share(found * found, len(first)), len(first))
