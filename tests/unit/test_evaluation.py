"""Measures of predictions, with scikit-learn as oracle; the search for settings, which has to pay."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from functions._core.learning.duration_table import DurationTable
from functions._core.learning.evaluation import Errors, errors, errors_of, halved, pinball_loss, plus, split_by_time
from functions._core.learning.features import real_rows
from functions._core.learning.history import TicketRow
from functions._core.learning.model_record import ModelState
from functions._core.learning.predictions import Quantiles
from functions._core.learning.table_training import fitted, usable
from functions._core.learning.training import train
from functions._core.learning.tuning import tuned
from tests.support.histories import history

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows() -> list[TicketRow]:
    return [row for flow, rows in history(7, 120) if not flow.simulated for row in rows if usable(row)]


def pairs(seed: int, count: int) -> list[tuple[int, Quantiles]]:
    draw = Random(seed)
    made = [(draw.randrange(1, 100_000), draw.randrange(1, 100_000)) for _ in range(count)]
    return [(actual, Quantiles(said, said + draw.randrange(50_000))) for actual, said in made]


def test_the_measures_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    made = pairs(1, 500)
    actual, p50, p90 = [one for one, _ in made], [said.p50_ms for _, said in made], [said.p90_ms for _, said in made]
    found = errors(made)
    assert found.mae_ms == pytest.approx(metrics.mean_absolute_error(actual, p50))
    assert found.r2 == pytest.approx(metrics.r2_score(actual, p50))
    assert found.mape == pytest.approx(metrics.mean_absolute_percentage_error(actual, p50))
    both = [metrics.mean_pinball_loss(actual, said, alpha=part) for said, part in ((p50, 0.5), (p90, 0.9))]
    assert found.pinball_ms == pytest.approx(sum(both) / 2)
    assert found.coverage == sum(a <= b for a, b in zip(actual, p90, strict=True)) / 500


def test_rows_that_come_later_are_added_up() -> None:
    made = pairs(2, 100)
    both = plus(errors(made[:30]), errors(made[30:]))
    assert both.figures() == errors(made).figures()
    assert halved(both).mae_ms == pytest.approx(both.mae_ms)


def test_without_rows_and_without_spread_there_is_a_number() -> None:
    assert Errors().mae_ms == Errors().r2 == 0
    assert errors([(100, Quantiles(90, 120))] * 3).r2 == 0


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    draw = Random(3)
    actual = sorted(draw.randrange(1000) for _ in range(999))
    losses = {said: sum(pinball_loss(one, said, 0.9) for one in actual) for said in range(0, 1000, 5)}
    best = min(losses, key=losses.__getitem__)
    assert abs(best - actual[899]) <= 5


def test_the_held_out_rows_are_the_last_to_end(rows: list[TicketRow]) -> None:
    shuffled = list(rows)
    Random(4).shuffle(shuffled)
    before, after = split_by_time(shuffled)
    assert max(row.completed_at for row in before) <= min(row.completed_at for row in after)
    assert len(after) == pytest.approx(len(rows) / 5, abs=1)
    assert {id(row) for row in [*before, *after]} == {id(row) for row in rows}


def noisy(rows: list[TicketRow]) -> list[TicketRow]:
    """Return rows of many tasks, each seen a few times, whose own mean tells little: the defaults trust it too much."""
    draw, like = Random(5), rows[-1]
    return [
        like.but(
            task_id=f"task-{number % 200}",
            ticket_id=f"{number:05}",
            actual_ms=round(1000 * 2 ** draw.gauss(0, 1.5)),
            estimate_ms=1000,
            completed_at=like.completed_at + timedelta(seconds=number),
        )
        for number in range(1400)
    ]


def test_the_search_improves_over_the_defaults_also_on_rows_that_it_never_saw(rows: list[TicketRow]) -> None:
    before, after = split_by_time(noisy(rows))
    found = tuned(before, Random(21).random, 6)
    assert found.score < found.default_score
    assert found.tried == 7
    by_default, by_search = (
        errors_of(DurationTable(fitted(before, settings), "duration:1"), after) for settings in (None, found.settings)
    )
    assert by_search.pinball_ms < by_default.pinball_ms


def test_the_bars_hold_on_the_last_fifth_of_a_history() -> None:
    made = train(real_rows(history(1, 250)), now=NOW, by="ada", chance=Random(21).random, goes_on=lambda: False)
    assert made is not None
    assert made.record.state is ModelState.SHADOW, made.record.reasons
    figures = made.record.metrics
    assert figures["mae_ms"] < min(10_000, 0.5 * figures["estimate_mae_ms"])
    assert figures["r2"] > 0.85
    assert 0.8 < figures["p90_coverage"] < 0.99
    assert made.record.held_out_rows == pytest.approx(made.record.rows / 5, abs=1)


def test_the_search_is_the_same_with_the_same_seed_and_ends_when_it_has_to(rows: list[TicketRow]) -> None:
    few = noisy(rows)[:600]
    assert tuned(few, Random(1).random, 2) == tuned(few, Random(1).random, 2)
    assert tuned(few, Random(1).random, goes_on=lambda: False).tried == 1
