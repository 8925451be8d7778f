"""How good predictions are: measures on rows that a model has not seen, as sums that rows can be added to."""

from collections.abc import Iterable, Sequence
from math import ceil

from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import PlannedWork, Predictor, Quantiles
from functions._core.learning.table_training import usable
from functions._core.records.record import Record, fields_of

HELD_OUT = 0.2
"""The part of the rows that a model is judged on: the last to end."""


class Errors(Record):
    """Sums of errors over rows, in milliseconds; zero rows have no measures."""

    rows: int = 0
    """Rows that were compared."""
    absolute: float = 0.0
    """Sum of |actual - p50|."""
    squared: float = 0.0
    """Sum of (actual - p50) squared."""
    relative: float = 0.0
    """Sum of |actual - p50| / actual."""
    pinball: float = 0.0
    """Sum of the pinball losses of p50 and p90."""
    within: int = 0
    """Rows that took at most their p90."""
    total: float = 0.0
    """Sum of the actual times."""
    total_squared: float = 0.0
    """Sum of the squares of the actual times."""

    @property
    def mae_ms(self) -> float:
        """The mean absolute error, in milliseconds."""
        return self.absolute / max(self.rows, 1)

    @property
    def mean_ms(self) -> float:
        """The mean of the actual times."""
        return self.total / max(self.rows, 1)

    @property
    def r2(self) -> float:
        """The coefficient of determination; 0 where the actual times are all the same."""
        spread = self.total_squared - self.total * self.total / max(self.rows, 1)
        return 1 - self.squared / spread if spread > 1e-9 * self.total_squared else 0.0

    @property
    def mape(self) -> float:
        """The mean absolute error as a part of the actual time."""
        return self.relative / max(self.rows, 1)

    @property
    def pinball_ms(self) -> float:
        """The mean of the pinball losses of p50 and p90, in milliseconds: what a model is chosen by."""
        return self.pinball / (2 * max(self.rows, 1))

    @property
    def coverage(self) -> float:
        """The part of the rows that took at most their p90; 0.9 is right."""
        return self.within / max(self.rows, 1)

    def figures(self) -> dict[str, float]:
        """Return the measures by name, as records of models keep them."""
        return {
            "mae_ms": round(self.mae_ms, 3),
            "r2": round(self.r2, 6),
            "mape": round(self.mape, 6),
            "pinball_ms": round(self.pinball_ms, 3),
            "p90_coverage": round(self.coverage, 6),
            "mean_ms": round(self.mean_ms, 3),
        }


class EstimateAlone:
    """The `Predictor` of a platform that learns nothing: work takes as long as its plan says."""

    version = "estimate"

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:  # noqa: ARG002 it knows none
        """Return the estimate as both quantiles."""
        return Quantiles(work.estimate_ms, work.estimate_ms)


def errors_of(predictor: Predictor, rows: Iterable[TicketRow]) -> Errors:
    """Return the errors of a model on those rows that are `usable`."""
    return errors((max(1, row.actual_ms or 0), _asked(predictor, row)) for row in rows if usable(row))


def errors(pairs: Iterable[tuple[int, Quantiles]]) -> Errors:
    """Return the errors of rows: the actual time of each, at least 1, and what was predicted."""
    rows, within, total, total_squared = 0, 0, 0.0, 0.0
    absolute, squared, relative, pinball = 0.0, 0.0, 0.0, 0.0
    for actual, (p50, p90) in pairs:
        error = actual - p50
        rows, within = rows + 1, within + (actual <= p90)
        absolute, squared, relative = absolute + abs(error), squared + error * error, relative + abs(error) / actual
        pinball += abs(error) / 2 + pinball_loss(actual, p90, 0.9)
        total, total_squared = total + actual, total_squared + actual * actual
    return Errors(
        rows=rows,
        absolute=absolute,
        squared=squared,
        relative=relative,
        pinball=pinball,
        within=within,
        total=total,
        total_squared=total_squared,
    )


def plus(one: Errors, other: Errors) -> Errors:
    """Return the errors of both together."""
    both = fields_of(other)
    return Errors(**{name: value + both[name] for name, value in fields_of(one).items()})


def pinball_loss(actual: float, predicted: float, part: float) -> float:
    """Return what a prediction of the quantile `part` costs: least, over many rows, where it is that quantile."""
    return (actual - predicted) * (part if actual >= predicted else part - 1)


def halved(known: Errors) -> Errors:
    """Return errors that count half: what is newer counts more."""
    halves = {name: value / 2 for name, value in fields_of(known).items()}
    return Errors(**halves | {"rows": known.rows // 2, "within": known.within // 2})


def split_by_time(rows: Sequence[TicketRow], share: float = HELD_OUT) -> tuple[list[TicketRow], list[TicketRow]]:
    """Return the rows to train on, and the last to end, never by chance: a model always predicts what comes later."""
    ordered = sorted(rows, key=lambda row: (row.completed_at, row.ticket_id))
    cut = len(ordered) - ceil(len(ordered) * share)
    return ordered[:cut], ordered[cut:]


def _asked(predictor: Predictor, row: TicketRow) -> Quantiles:
    return predictor.quantiles(row.work, row.worker_id)
