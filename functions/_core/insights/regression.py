"""Least squares with a few columns, in plain Python: what causes are measured by. Pure.

The normal equations of centred, scaled columns are solved by Cholesky, one column after the other. A column that the
ones before it explain, but for rounding, is left out: it says nothing that they do not.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from functions._core.learning.series import centred, constant, product

EXPLAINED = 1e-10
"""A column of which the others leave a smaller share is left out: the squares of rounding are about 1e-14."""


class Fit(NamedTuple):
    """A series that is explained by columns, beside a constant."""

    left: float
    """The sum of squares that is left, as a share, 0 to 1, of that of the series about its mean."""
    slopes: tuple[float, ...]
    """How much the series rises with each column; 0 for those left out."""
    rank: int
    """How many columns were not left out."""


class Design:
    """Columns and a series, of which any first columns explain the series: the sums are formed once."""

    def __init__(self, columns: Sequence[Sequence[float]], series: Sequence[float]) -> None:
        scaled = [_scaled(column) for column in (*columns, series)]
        self._sizes = [size for _, size in scaled]
        self._products = [[product(one, other) for other, _ in scaled[: n + 1]] for n, (one, _) in enumerate(scaled)]

    def fit(self, number: int) -> Fit:
        """Return how the first `number` columns explain the series."""
        *sizes, size = self._sizes
        if size == 0:
            return Fit(0.0, (0.0,) * number, 0)
        rows: list[list[float]] = []  # of the lower triangle
        kept: list[int] = []
        for place in [*range(number), len(sizes)]:
            row: list[float] = []
            for done, other in zip(rows, kept, strict=True):
                row.append((self._products[place][other] - product(row, done)) / done[-1])
            left = self._products[place][place] - product(row, row)
            if place == len(sizes):
                break
            if left > EXPLAINED:
                rows.append([*row, sqrt(left)])
                kept.append(place)
        slopes = [0.0] * number
        for step in reversed(range(len(kept))):
            known = sum(rows[later][step] * slopes[kept[later]] for later in range(step + 1, len(kept)))
            slopes[kept[step]] = (row[step] - known) / rows[step][step]
        found = tuple(slope * size / sizes[place] if slope else 0.0 for place, slope in enumerate(slopes))
        return Fit(min(1.0, max(0.0, left)), found, len(kept))


def _scaled(values: Sequence[float]) -> tuple[list[float], float]:
    """Return a series about its mean, divided so that its squares sum up to 1, and by what; 0s for a constant one."""
    if constant(values):
        return [0.0] * len(values), 0.0
    about = centred(values)
    size = sqrt(product(about, about))
    return [value / size for value in about], size
