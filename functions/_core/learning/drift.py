"""Drift: whether what is planned and done now still looks as it did when a model was trained.

Plain Python; `tests/unit/test_drift.py` compares the statistics with scipy's.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import exp, log, log1p, sqrt
from typing import NamedTuple
from zlib import crc32

from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import Predictor
from functions._core.learning.series import quantile
from functions._core.learning.table_training import usable
from functions._core.records.record import Record

PSI = 0.25
"""From this population stability index on a distribution counts as another one: the usual bound in credit scoring."""

P_VALUE = 0.05
"""Below this p of the test of Kolmogorov and Smirnov two samples count as of different distributions."""

MAE_RATIO = 1.5
"""From this ratio of the error now to that at training on, a model has drifted."""

DAYS = timedelta(days=7)
"""How far back "now" reaches."""

SAMPLE = 300
"""Rows of the sample of now, and of that of the training."""

FEWEST = 50
"""Rows of a sample below which nothing is said."""

BINS = 10
"""Parts of a distribution that the index compares."""

FLOOR = 1e-4
"""The least part that a bin counts as: the index of an empty one would be infinite."""

WATCHED = ("ratio", "estimate", "parameters", "fan_in", "plan_tasks", "waited")
"""What is watched: logarithms of actual to estimate, of the estimate, the bytes, and the wait; and two counts."""


class Sampled(Record, array_like=True):
    """A row of a sample."""

    rank: int
    """A number that follows from the ticket alone, as if drawn: the lowest are the sample."""
    at: int
    """When it ended, in seconds since 1970."""
    values: tuple[float, ...]
    """Its values, in the order of `WATCHED`."""
    error_ms: float = 0.0
    """By how much the model that served was wrong."""


class Drift(NamedTuple):
    """What has moved."""

    psi: Mapping[str, float]
    """The index of each value that is watched."""
    p_values: Mapping[str, float]
    """The p of the test of each."""
    mae_ratio: float | None
    """The error now by that at training; None where too few rows tell."""
    drifted: tuple[str, ...]
    """What has drifted: names of `WATCHED`, and `error`."""


def watched(row: TicketRow) -> tuple[float, ...]:
    """Return the values of a row that are watched, rounded: two samples are a part of a small record."""
    estimate = log(max(1, row.estimate_ms))
    values = (
        log(max(1, row.actual_ms or 0)) - estimate,
        estimate,
        log1p(row.parameters_bytes),
        row.fan_in,
        row.plan_tasks,
        log1p(row.waited_ms or 0),
    )
    return tuple(round(value, 3) for value in values)


def sampled(
    known: Iterable[Sampled], rows: Iterable[TicketRow], predictor: Predictor | None, since: datetime | None = None
) -> tuple[Sampled, ...]:
    """Return a sample with further rows: an even one of all that ended at `since` or later, whatever came when.

    The rows with the lowest ranks are kept; ranks follow from ids, so the same rows give the same sample.
    """
    start = since.timestamp() if since is not None else 0.0
    new = [
        Sampled(
            rank=crc32(f"{row.ticket_id}/{row.attempts}".encode(errors="replace")),
            at=int(row.completed_at.timestamp()),
            values=watched(row),
            error_ms=_error(row, predictor),
        )
        for row in rows
        if usable(row)
    ]
    kept = {(one.rank, one.at): one for one in [*known, *new] if one.at >= start}
    return tuple(kept[key] for key in sorted(kept)[:SAMPLE])


def drift_of(then: Sequence[Sampled], now: Sequence[Sampled], mae_ms: float) -> Drift:
    """Return what moved between two samples; `mae_ms` is the error of the model at its training.

    A value has drifted where its index and its test both say so: of many rows any difference is significant, and of
    few the index is noise.
    """
    if len(then) < FEWEST or len(now) < FEWEST:
        return Drift({}, {}, None, ())
    indices, p_values, drifted = dict[str, float](), dict[str, float](), list[str]()
    for place, name in enumerate(WATCHED):
        before, after = [one.values[place] for one in then], [one.values[place] for one in now]
        indices[name] = population_stability(before, after)
        p_values[name] = kolmogorov_smirnov(before, after)[1]
        if indices[name] > PSI and p_values[name] < P_VALUE:
            drifted.append(name)
    ratio = sum(one.error_ms for one in now) / len(now) / mae_ms if mae_ms > 0 else None
    if ratio is not None and ratio > MAE_RATIO:
        drifted.append("error")
    return Drift(indices, p_values, ratio, tuple(drifted))


def population_stability(before: Sequence[float], after: Sequence[float], bins: int = BINS) -> float:
    """Return the population stability index of two samples, over the quantiles of the first; 0: the same."""
    ordered = sorted(before)
    edges = sorted({quantile(ordered, place / bins) for place in range(1, bins)})
    one, other = _parts(edges, before), _parts(edges, after)
    return sum((b - a) * log(b / a) for a, b in zip(one, other, strict=True))


def kolmogorov_smirnov(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the largest distance between the distributions of two samples, and its p, by the asymptotic formula."""
    one, other = sorted(before), sorted(after)
    distance = max(
        abs(bisect_right(one, value) / len(one) - bisect_right(other, value) / len(other)) for value in {*one, *other}
    )
    size = len(one) * len(other) / (len(one) + len(other))
    return distance, _kolmogorov(sqrt(size) * distance)


def _kolmogorov(x: float) -> float:
    """Return the probability that the limiting statistic of Kolmogorov is above `x`."""
    if x < 0.2:  # noqa: PLR2004 the sum converges slowly here, and is 1 to twelve digits
        return 1.0
    found = 2 * sum((-1) ** (k - 1) * exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(max(float(found), 0.0), 1.0)


def _parts(edges: Sequence[float], values: Sequence[float]) -> list[float]:
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_left(edges, value)] += 1
    return [max(count / len(values), FLOOR) for count in counts]


def _error(row: TicketRow, predictor: Predictor | None) -> float:
    if predictor is None:
        return 0.0
    return round(abs(max(1, row.actual_ms or 0) - predictor.quantiles(row.work, row.worker_id).p50_ms), 1)
