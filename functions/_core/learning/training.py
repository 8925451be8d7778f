"""A training from rows to a model with its record: search, fit, held-out measures and bars.

The table is trained here, in plain Python. `Correct` may add trees, which need a library; whoever calls passes it in.
It takes seconds to a minute, so it belongs into a thread or a process of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from functions._core.learning.drift import sampled
from functions._core.learning.duration_table import DurationTable, TableNumbers
from functions._core.learning.evaluation import Errors, EstimateAlone, errors, errors_of, split_by_time
from functions._core.learning.features import training_rows
from functions._core.learning.history import TicketRow
from functions._core.learning.model_record import (
    DURATION,
    FEWEST_ROWS,
    JUDGED_ROWS,
    ModelRecord,
    ModelState,
    beats,
    misses,
)
from functions._core.learning.payload import ModelPayload
from functions._core.learning.predictions import Predictor, Quantiles
from functions._core.learning.resources import resource_errors, with_resources
from functions._core.learning.table_training import TableSettings, fitted, usable
from functions._core.learning.trees import Sum, TreeModel, corrected
from functions._core.learning.tuning import tuned
from functions._core.records.record import fields_of

MOST_ROWS = 50_000
"""Tickets that a training looks at, the last to end."""

ROWS_OF_TREES = 25_000
"""Of these the last to end that trees are trained on, and measured by."""

Featured = Sequence[tuple[TicketRow, tuple[float, ...]]]
"""Rows, each with its features as they were when it was planned."""

Correct = Callable[[TableNumbers, Featured, Mapping[str, float]], TreeModel | None]
"""Trains trees that correct a table on rows, by the given settings or, without any, by the best; None: it cannot."""


class Serves(NamedTuple):
    """What serves while a new model is trained."""

    predictor: Predictor
    """The model."""
    until: datetime
    """When the last ticket ended that it was trained on: it is compared on those that ended later."""


class Trained(NamedTuple):
    """A model, and the record that it is to get."""

    record: ModelRecord
    """SHADOW where it has passed the bars, else REFUSED, with reasons; its number is still to come."""
    payload: ModelPayload
    """The model."""


def train(
    rows: Sequence[TicketRow],
    *,
    now: datetime,
    by: str,
    chance: Callable[[], float],
    serves: Serves | None = None,
    correct: Correct | None = None,
    goes_on: Callable[[], bool] = lambda: True,
) -> Trained | None:
    """Return the model of rows, None where fewer than `FEWEST_ROWS` of them tell how long work takes.

    All is chosen on rows that end before the held-out ones. What is returned was fitted once more, to all rows, by
    the same settings: the newest tell most, and as a shadow it is judged by itself. A search that `goes_on` ends is
    content with what it has.
    """
    newest = sorted(rows, key=lambda row: (row.completed_at, row.ticket_id))[-MOST_ROWS:]
    known = [row for row in newest if usable(row)]
    if len(known) < FEWEST_ROWS:
        return None
    before, after = split_by_time(known)
    table_settings = tuned(before, chance, goes_on=goes_on).settings
    table = fitted(before, table_settings)
    featured = list(training_rows(newest[-ROWS_OF_TREES:])) if correct is not None else []
    trees = _trees(before, featured, table_settings, table, correct) if correct is not None else None
    judged = _errors(table, trees, featured, after)
    reasons, metrics = _compared(table, trees, featured, after, judged, serves)
    metrics = {**metrics, **_resources_held_out(table, newest, after)}
    model = _fitted_to_all(known, featured, table_settings, correct if trees is not None else None, trees)
    model = model.but(table=with_resources(model.table, newest))
    record = ModelRecord(
        name=DURATION,
        number=0,
        kind=model.kind,
        state=ModelState.REFUSED if reasons else ModelState.SHADOW,
        state_at=now,
        trained_at=now,
        created_by=by,
        rows=len(known),
        held_out_rows=len(after),
        since=known[0].completed_at,
        until=known[-1].completed_at,
        metrics=metrics,
        settings=_settings(table_settings, model),
        reasons=tuple(reasons) or (f"the bars hold on {len(after)} held-out tickets",),
    )
    return Trained(record, model)


def _compared(
    table: TableNumbers,
    trees: TreeModel | None,
    featured: Featured,
    after: Sequence[TicketRow],
    judged: Errors,
    serves: Serves | None,
) -> tuple[Sequence[str], Mapping[str, float]]:
    """Return why the bars do not hold on held-out rows, and the measures."""
    estimate = errors_of(EstimateAlone(), after)
    reasons = [*misses(judged, estimate), *beats(judged, estimate, "the estimates")]
    metrics = {**judged.figures(), "estimate_mae_ms": round(estimate.mae_ms, 3)}
    newer = [row for row in after if serves is not None and row.completed_at > serves.until]
    if serves is not None and len(newer) >= JUDGED_ROWS:
        against = errors_of(serves.predictor, newer)
        reasons += beats(_errors(table, trees, featured, newer), against, "the model that serves")
        metrics["serving_mae_ms"] = round(against.mae_ms, 3)
    return reasons, metrics


def _resources_held_out(table: TableNumbers, rows: Sequence[TicketRow], after: Sequence[TicketRow]) -> dict[str, float]:
    """Return how good the expected worker time is on the rows of every end from when the held-out ones begin."""
    begin = after[0].completed_at
    learnt = with_resources(table, [row for row in rows if row.completed_at < begin])
    later = [row for row in rows if row.completed_at >= begin]
    return resource_errors(DurationTable(learnt, "held-out"), later).figures()


def _trees(
    before: Sequence[TicketRow], featured: Featured, settings: TableSettings, table: TableNumbers, correct: Correct
) -> TreeModel | None:
    """Return trees that correct a table, None where the table alone is as good.

    Whether they are better is seen on the last of the rows, by as much as a new model has to be better.
    """
    first, last = split_by_time(before)
    smaller = fitted(first, settings)
    trees = correct(smaller, _of(featured, first), {})
    if trees is None:
        return None
    one, other = _errors(smaller, trees, featured, last), errors_of(DurationTable(smaller, "table"), last)
    if beats(one, other, "the table") or one.pinball_ms >= other.pinball_ms:
        return None
    return correct(table, _of(featured, before), trees.settings)


def _fitted_to_all(
    known: Sequence[TicketRow],
    featured: Featured,
    settings: TableSettings,
    correct: Correct | None,
    trees: TreeModel | None,
) -> ModelPayload:
    """Return the model of all rows, by the settings that were chosen on the first of them."""
    table, sample = fitted(known, settings), sampled((), known, None)
    again = correct(table, featured, trees.settings) if correct is not None and trees is not None else None
    return ModelPayload(kind="table" if again is None else "trees", table=table, trees=again, sample=sample)


def _errors(table: TableNumbers, trees: TreeModel | None, featured: Featured, rows: Sequence[TicketRow]) -> Errors:
    """Return the errors on rows; of trees on their features as they were when they were planned."""
    predictor = DurationTable(table, "held-out")
    if trees is None:
        return errors_of(predictor, rows)
    features, sums = {id(row): values for row, values in featured}, (Sum(trees.p50), Sum(trees.p90))

    def said(row: TicketRow) -> Quantiles:
        logs, values = predictor.logs(row.work, row.worker_id), features.get(id(row))
        if logs is None or values is None:
            return predictor.quantiles(row.work, row.worker_id)
        return corrected(logs, sums, values, row.work.estimate_ms)

    return errors((max(1, row.actual_ms or 0), said(row)) for row in rows if usable(row))


def _of(featured: Featured, rows: Sequence[TicketRow]) -> Featured:
    """Return of rows with features those that are among others."""
    wanted = {id(row) for row in rows}
    return [both for both in featured if id(both[0]) in wanted]


def _settings(table: TableSettings, model: ModelPayload) -> dict[str, float]:
    found = {f"table_{name}": float(value) for name, value in fields_of(table).items()}
    return found | {f"trees_{name}": value for name, value in (model.trees.settings if model.trees else {}).items()}
