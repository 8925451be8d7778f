"""How good predictions were, beside what really happened. Pure."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.record import Record, fields_of
from functions._core.records.values import Outcome


class TicketAccuracy(Record):
    """How good predictions of tickets were that were done."""

    tickets: int
    """How many tickets with a prediction were done."""
    inside_p50: float | None = None
    """The share of them, 0 to 1, that took at most their p50; 0.5 is right. Null without any."""
    inside_p90: float | None = None
    """The share of them that took at most their p90; 0.9 is right. Null without any."""
    mean_error_ms: float | None = None
    """The mean distance from p50 to what happened, in milliseconds. Null without any."""
    median_error_ms: float | None = None
    """The median of that distance, in milliseconds. Null without any."""
    estimates_mean_error_ms: float | None = None
    """The mean distance from the estimates of the plans to what happened, in milliseconds. Null without any."""


class GroupAccuracy(TicketAccuracy):
    """The same for the tickets of one group."""

    group: str
    """The version of the model, or the type of the tasks."""


class FlowAccuracy(Record):
    """How good predictions of flows were that have ended."""

    flows: int
    """How many flows with a prediction have ended, those that people cancelled or denied aside."""
    met: float | None = None
    """The share of them, 0 to 1, that met their deadline. Null without any."""
    expected: float | None = None
    """The mean of the probabilities that were said; as high as `met` is right. Null without any."""
    brier: float | None = None
    """The mean square of what the probabilities were off by: 0 is perfect, 0.25 is a coin's. Null without any."""
    inside_p90: float | None = None
    """The share of those that were completed, 0 to 1, within their p90. Null without any."""


def ticket_accuracy(rows: Iterable[TicketRow]) -> TicketAccuracy:
    """Return the figures of the tickets that were done and had a prediction."""
    return _figures([row for row in rows if row.prediction is not None and row.actual_ms is not None])


def by_group(rows: Iterable[TicketRow], group: Callable[[TicketRow], str]) -> tuple[GroupAccuracy, ...]:
    """Return the figures of each group, that with the most tickets first."""
    groups: dict[str, list[TicketRow]] = {}
    for row in rows:
        if row.prediction is not None and row.actual_ms is not None:
            groups.setdefault(group(row), []).append(row)
    found = [GroupAccuracy(group=name, **fields_of(_figures(members))) for name, members in groups.items()]
    return tuple(sorted(found, key=lambda one: (-one.tickets, one.group)))


def flow_accuracy(rows: Iterable[FlowRow]) -> FlowAccuracy:
    """Return the figures of the flows that had a prediction and whose end says something about it."""
    pairs = [
        (row, row.prediction)
        for row in rows
        if row.prediction is not None and row.outcome not in {Outcome.CANCELLED, Outcome.REJECTED}
    ]
    if not pairs:
        return FlowAccuracy(flows=0)
    met = [float(row.outcome is Outcome.COMPLETED and not row.missed) for row, _ in pairs]
    said = [prediction.probability for _, prediction in pairs]
    inside = [row.duration_ms <= told.p90_ms for row, told in pairs if row.outcome is Outcome.COMPLETED]
    return FlowAccuracy(
        flows=len(pairs),
        met=_mean(met),
        expected=_mean(said),
        brier=_mean([(one - other) ** 2 for one, other in zip(said, met, strict=True)]),
        inside_p90=_mean([float(one) for one in inside]),
    )


def _figures(rows: Sequence[TicketRow]) -> TicketAccuracy:
    pairs = [(row.actual_ms, row.prediction, row.estimate_ms) for row in rows]
    known = [(actual, told, estimate) for actual, told, estimate in pairs if actual is not None and told is not None]
    off = [abs(actual - told.p50_ms) for actual, told, _ in known]
    return TicketAccuracy(
        tickets=len(known),
        inside_p50=_mean([float(actual <= told.p50_ms) for actual, told, _ in known]),
        inside_p90=_mean([float(actual <= told.p90_ms) for actual, told, _ in known]),
        mean_error_ms=_mean(off),
        median_error_ms=median(off) if off else None,
        estimates_mean_error_ms=_mean([abs(actual - estimate) for actual, _, estimate in known]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
