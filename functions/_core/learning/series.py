"""Series of figures: what all statistics of this house ask of them, and the few sums that they share. Pure.

A series is a sequence of finite numbers. Whoever looks at one takes it through `checked` first, so that nothing below
meets NaN, infinities, or numbers whose squares are none; a series that cannot be looked at is `UnusableSeries`.
"""

from collections.abc import Sequence
from math import floor, fsum, isfinite
from operator import mul

from functions._core.errors import Rejected

MAX_POINTS = 10_000
"""Points of a series: each function of one series is done with so many in a tenth of a second, or says otherwise."""

LARGEST = 1e15
"""The largest size of a point: sums of 10,000 squares of it are still exact to twelve digits. Milliseconds of 30,000
years are below it."""

SMALLEST = 1e-100
"""Points that are smaller in size count as 0: their squares would be lost."""

SAME = 1e-9
"""Differences smaller than this share of the largest point are those of rounding: a series within them is constant."""


class UnusableSeries(Rejected):
    """The series cannot be looked at."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, code="unusable_series", status=422)


def checked(values: Sequence[float], least: int = 1, most: int = MAX_POINTS) -> tuple[float, ...]:
    """Return a series as floats; raises `UnusableSeries` for less or more points, and points that are no numbers."""
    if not least <= len(values) <= most:
        raise UnusableSeries(f"a series has {least} to {most} points, not {len(values)}")
    try:
        floats = tuple(map(float, values))
    except OverflowError:
        raise UnusableSeries("a point of a series is too large") from None
    for place, value in enumerate(floats):
        if not isfinite(value):
            raise UnusableSeries(f"point {place} of the series is no finite number")
        if abs(value) > LARGEST:
            raise UnusableSeries(f"point {place} of the series is larger than {LARGEST:g}")
    return tuple(value if abs(value) >= SMALLEST else 0.0 for value in floats)


def paired(first: Sequence[float], second: Sequence[float], least: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return two series of one length, as `checked` does."""
    if len(first) != len(second):
        raise UnusableSeries(f"the series have {len(first)} and {len(second)} points, which are not as many")
    return checked(first, least), checked(second, least)


def constant(values: Sequence[float]) -> bool:
    """Whether all points are the same, but for rounding."""
    lowest, highest = min(values), max(values)
    return highest - lowest <= SAME * max(abs(lowest), abs(highest))


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one point."""
    return fsum(values) / len(values)


def centred(values: Sequence[float]) -> list[float]:
    """Return what each point is above or below the mean."""
    middle = mean(values)
    return [value - middle for value in values]


def product(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the sum of the products of two series."""
    total: float = sum(map(mul, first, second))
    return total


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share, 0 to 1, of the points lies, of at least one that are in order.

    Between two points it is as far as the share is, as spreadsheets and numpy have it.
    """
    place = share * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Return the middle of at least one point, in any order."""
    return quantile(sorted(values), 0.5)
