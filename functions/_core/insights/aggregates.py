"""Figures by what they belong to: counts, sums and percentiles of each value of a dimension. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice
from math import fsum

from functions._core.learning.series import UnusableSeries, checked, quantile
from functions._core.records.record import Record

MAX_ROWS = 100_000
"""Figures that are looked at in one call: more take longer than a second."""

MAX_GROUPS = 1000
"""Groups of an answer: those with fewer figures beyond them count together as `OTHER`."""

OTHER = "other"
"""The group of what belongs to none of the largest groups."""


class Aggregate(Record):
    """What the figures of a group come to."""

    count: int
    """How many there are."""
    sum: float
    """Their sum."""
    mean: float
    """Their mean."""
    p50: float
    """Half of them are this or less."""
    p95: float
    """Nineteen of twenty are this or less."""


def aggregate_by_dimension(
    rows: Iterable[tuple[str, float]], most: int = MAX_GROUPS, limit: int = MAX_ROWS
) -> Mapping[str, Aggregate]:
    """Return the aggregates of figures by their group, the largest group first, `OTHER` last.

    Raises `UnusableSeries` for figures that are no numbers, and for more rows than `limit`.
    """
    taken = list(islice(rows, limit + 1))
    if len(taken) > limit:
        raise UnusableSeries(f"more than {limit} figures are not aggregated in one call")
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in taken:
        groups[name].append(value)
    names = sorted(groups, key=lambda name: (-len(groups[name]), name))
    found = {name: groups[name] for name in names[:most]}
    for name in names[most:]:  # a group of that very name is one of them, then
        found.setdefault(OTHER, []).extend(groups[name])
    return {name: aggregate(values, limit) for name, values in found.items()}


def aggregate(values: list[float], limit: int = MAX_ROWS) -> Aggregate:
    """Return what at least one figure comes to; raises `UnusableSeries`."""
    ordered = sorted(checked(values, 1, limit))
    total = fsum(ordered)
    count = len(ordered)
    p50, p95 = quantile(ordered, 0.5), quantile(ordered, 0.95)
    return Aggregate(count=count, sum=total, mean=total / count, p50=p50, p95=p95)
