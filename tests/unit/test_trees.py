"""Trees that correct a table: exported from scikit-learn, evaluated in plain Python, taken where they are better."""

from dataclasses import replace
from datetime import UTC, datetime
from math import exp, inf, log
from random import Random

import pytest

from functions._core.learning.duration_table import DurationTable, TableNumbers
from functions._core.learning.features import FEATURES, Profile, features_of, training_rows
from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import Quantiles
from functions._core.learning.table_training import fitted, usable
from functions._core.learning.training import Featured, train
from functions._core.learning.trees import BoostedTable, Ensemble, Tree, TreeModel, faults_of_trees
from tests.support.histories import history

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)

STUMP = Tree(feature=(0, -1, -1), threshold=(0.5, 0, 0), left=(1, 0, 0), right=(2, 0, 0), value=(0, -1.0, 1.0))


@pytest.fixture(scope="module")
def rows() -> list[TicketRow]:
    return [row for flow, rows in history(7, 40) if not flow.simulated for row in rows if usable(row)]


def model(tree: Tree = STUMP) -> TreeModel:
    ensemble = Ensemble(base=0.0, trees=(tree,))
    return TreeModel(features=FEATURES, p50=ensemble, p90=ensemble)


def bent(rows: list[TicketRow]) -> list[TicketRow]:
    """Return rows that take four times as long where many tasks follow, which a table does not look at."""
    draw = Random(9)
    return [
        row.but(
            actual_ms=round(1000 * (4 if number % 2 else 1) * exp(draw.gauss(0, 0.05))),
            fan_out=9 if number % 2 else 0,
            estimate_ms=1000,
            task_id=f"{number % 7}",
            ticket_id=f"{number:05}",
        )
        for number, row in enumerate((rows * 3)[:1500])
    ]


def test_a_stump_goes_left_and_right() -> None:
    ensemble = Ensemble(base=10.0, trees=(STUMP, STUMP))
    assert (ensemble.value([0.5]), ensemble.value([0.6])) == (8.0, 12.0)


def test_the_export_says_what_the_library_says(rows: list[TicketRow]) -> None:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    from functions._learning.train_trees import exported

    featured = list(training_rows(rows))
    features = np.asarray([values for _, values in featured])
    targets = np.asarray([log(row.actual_ms or 1) for row, _ in featured])
    for part in (0.5, 0.9):
        regressor = HistGradientBoostingRegressor(loss="quantile", quantile=part, max_iter=15, max_leaf_nodes=12)
        with threadpool_limits(1):
            ensemble = exported(regressor.fit(features, targets), features)
        draw = np.random.default_rng(1).normal(size=(300, len(FEATURES))) * features.std(axis=0) + features.mean(axis=0)
        plain = [ensemble.value(row) for row in draw.tolist()]
        assert plain == pytest.approx(regressor.predict(draw).tolist(), abs=1e-9)
        assert faults_of_trees(TreeModel(features=FEATURES, p50=ensemble, p90=ensemble), len(FEATURES)) == []


def test_trees_are_taken_where_they_are_better(rows: list[TicketRow]) -> None:
    from functions._learning.train_trees import trees_for

    made = train(bent(rows), now=NOW, by="a", chance=Random(1).random, correct=trees_for, goes_on=lambda: False)
    alone = train(bent(rows), now=NOW, by="a", chance=Random(1).random, goes_on=lambda: False)
    assert made is not None
    assert alone is not None
    assert made.record.kind == made.payload.kind == "trees"
    assert made.record.metrics["mae_ms"] < 0.5 * alone.record.metrics["mae_ms"]
    assert made.record.settings["trees_trees"] > 0
    predictor = made.payload.predictor("duration:1", Profile().with_rows(bent(rows)))
    few, many = (predictor.quantiles(replace(bent(rows)[0].work, fan_out=fan)).p50_ms for fan in (0, 9))
    assert many > 2 * few


def test_trees_that_are_no_better_are_left_out(rows: list[TicketRow]) -> None:
    def noise(_table: TableNumbers, _rows: Featured, _settings: object) -> TreeModel:
        return model(STUMP.but(value=(0, -0.5, 0.5)))

    made = train(bent(rows), now=NOW, by="a", chance=Random(1).random, correct=noise, goes_on=lambda: False)
    assert made is not None
    assert (made.record.kind, made.payload.trees) == ("table", None)


def test_few_rows_make_no_trees_and_no_model(rows: list[TicketRow]) -> None:
    from functions._learning.train_trees import trees_for

    featured = list(training_rows(rows[:50]))
    assert trees_for(fitted(rows[:50]), featured, {}) is None
    assert train(rows[:50], now=NOW, by="a", chance=Random(1).random) is None


def test_work_of_an_unknown_type_takes_what_its_plan_says(rows: list[TicketRow]) -> None:
    work = replace(rows[0].work, task_type="NEVER_SEEN", estimate_ms=500)
    assert BoostedTable(fitted(rows), model(), Profile(), "duration:1").quantiles(work) == Quantiles(500, 1000)


def test_a_correction_is_added_to_what_the_table_says(rows: list[TicketRow]) -> None:
    table, work = fitted(rows), rows[0].work
    known = DurationTable(table, "duration:1").quantiles(work)
    up = model(STUMP.but(threshold=(-inf, 0, 0)).but(threshold=(-1e9, 0, 0)))
    said = BoostedTable(table, up, Profile(), "duration:1").quantiles(work)
    assert said.p50_ms == pytest.approx(known.p50_ms * exp(1), rel=0.01)
    assert len(features_of(work, Profile(), None)) == len(FEATURES)


@pytest.mark.parametrize(
    "tree",
    [
        STUMP.but(left=(0, 0, 0)),
        STUMP.but(right=(3, 0, 0)),
        STUMP.but(left=(-1, 0, 0)),
        STUMP.but(feature=(len(FEATURES), -1, -1)),
        STUMP.but(value=(0, float("nan"), 0)),
        STUMP.but(value=(0, 1e300, 0)),
        STUMP.but(threshold=(inf, 0, 0)),
        STUMP.but(value=(0,)),
        Tree(feature=(), threshold=(), left=(), right=(), value=()),
        Tree(
            feature=(*([0] * 40), -1, -1),
            threshold=(0.0,) * 42,
            left=(*range(1, 41), 0, 0),
            right=(*([41] * 40), 0, 0),
            value=(0.0,) * 42,
        ),
    ],
)
def test_a_tree_that_would_not_end_or_adds_nonsense_is_found_out(tree: Tree) -> None:
    assert faults_of_trees(model(tree), len(FEATURES))


def test_trees_for_other_features_are_found_out() -> None:
    assert faults_of_trees(model(), len(FEATURES)) == []
    assert faults_of_trees(model().but(features=FEATURES[1:]), len(FEATURES))
