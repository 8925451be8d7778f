"""A duration table: what it says of known and of new work, and what it costs."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log
from random import Random
from time import perf_counter

import pytest

from functions._core.learning.duration_table import (
    COLD_P90,
    LONGEST_MS,
    DurationTable,
    TableNumbers,
    faults_of,
    group_names,
)
from functions._core.learning.evaluation import EstimateAlone, errors_of, split_by_time
from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import PlannedWork, Quantiles
from functions._core.learning.table_training import TableSettings, fitted, usable
from functions._core.records.record import decode, encode
from functions._core.records.values import TicketStatus
from tests.support.histories import history

NAMED_OFTEN = 30


@pytest.fixture(scope="module")
def rows() -> list[TicketRow]:
    return [row for flow, rows in history(7, 120) if not flow.simulated for row in rows if usable(row)]


@pytest.fixture(scope="module")
def table(rows: list[TicketRow]) -> TableNumbers:
    return fitted(rows)


def work_of(rows: Sequence[TicketRow]) -> PlannedWork:
    return rows[-1].work


class TestCold:
    def test_without_any_history_the_estimate_stands(self, rows: list[TicketRow]) -> None:
        work = replace(work_of(rows), estimate_ms=1234)
        assert DurationTable(TableNumbers(), "duration:1").quantiles(work) == Quantiles(1234, round(1234 * COLD_P90))

    def test_a_type_that_nobody_has_done_gets_its_estimate_however_wrong_others_are(
        self, rows: list[TicketRow], table: TableNumbers
    ) -> None:
        work = replace(work_of(rows), task_type="NEVER_SEEN", estimate_ms=700)
        assert DurationTable(table, "duration:1").quantiles(work) == Quantiles(700, 1400)

    def test_an_unknown_task_of_a_known_kind_gets_what_the_kind_takes(
        self, rows: list[TicketRow], table: TableNumbers
    ) -> None:
        work = replace(work_of(rows), task_id="new-task")
        logs = DurationTable(table, "duration:1").logs(work)
        assert logs is not None
        assert group_names(work)[2] not in table.groups

    def test_rows_that_did_not_succeed_teach_nothing(self, rows: list[TicketRow]) -> None:
        failed = [row.but(status=TicketStatus.FAILED, actual_ms=None) for row in rows[:50]]
        assert fitted(failed) == TableNumbers()


class TestLearnt:
    def test_on_held_out_rows_it_is_far_better_than_the_estimates(self, rows: list[TicketRow]) -> None:
        before, after = split_by_time(rows)
        learnt = errors_of(DurationTable(fitted(before), "duration:1"), after)
        alone = errors_of(EstimateAlone(), after)
        assert learnt.mae_ms < 0.5 * alone.mae_ms
        assert 0.8 < learnt.coverage < 0.99

    def test_one_wrong_estimate_is_put_right(self, rows: list[TicketRow]) -> None:
        own = _rows_of(rows[-1], [5000] * NAMED_OFTEN, estimate_ms=1000)
        said = DurationTable(fitted(own), "duration:1").quantiles(own[0].work)
        assert said.p50_ms == pytest.approx(5000, rel=0.02)

    def test_few_rows_are_drawn_towards_the_group_around_them(self, rows: list[TicketRow]) -> None:
        many = _rows_of(rows[-1], [1000] * 200, estimate_ms=1000)
        few = [row.but(task_id="rare") for row in _rows_of(rows[-1], [8000] * 3, estimate_ms=1000)]
        said = DurationTable(fitted([*many, *few]), "duration:1").quantiles(few[0].work)
        assert 1000 < said.p50_ms < 8000

    def test_a_slow_worker_is_known_by_name_and_others_are_not_blamed(self, rows: list[TicketRow]) -> None:
        draw, made = Random(3), list[TicketRow]()
        for name, factor in (("slow", 3.0), ("quick", 1.0), ("other", 1.0)):
            times = [round(1000 * factor * exp(draw.gauss(0, 0.1))) for _ in range(100)]
            made += [row.but(worker_id=name) for row in _rows_of(rows[-1], times, estimate_ms=1000)]
        predictor = DurationTable(fitted(made), "duration:1")
        slow, quick = (predictor.quantiles(made[0].work, name).p50_ms for name in ("slow", "quick"))
        assert slow / quick == pytest.approx(3, rel=0.15)
        unknown = predictor.quantiles(made[0].work)
        assert unknown.p90_ms > predictor.quantiles(made[0].work, "quick").p90_ms, "it may be the slow one"

    def test_large_parameters_take_longer_where_they_always_did(self, rows: list[TicketRow]) -> None:
        draw, made = Random(4), list[TicketRow]()
        for _ in range(300):
            size = round(exp(draw.uniform(4, 10)))
            made += _rows_of(rows[-1].but(parameters_bytes=size), [round(10 * size**0.5)], estimate_ms=1000)
        predictor = DurationTable(fitted(made), "duration:1")
        small, large = (
            predictor.quantiles(replace(made[0].work, parameters_bytes=size)).p50_ms for size in (400, 6400)
        )
        assert large / small == pytest.approx(4, rel=0.15)

    def test_an_hour_of_the_day_is_slow(self, rows: list[TicketRow]) -> None:
        made = list[TicketRow]()
        for hour in range(24):
            at = rows[-1].created_at.replace(hour=hour)
            made += _rows_of(rows[-1].but(created_at=at), [4000 if hour == 9 else 1000] * 80, estimate_ms=1000)
        predictor = DurationTable(fitted(made), "duration:1")
        nine, ten = (
            predictor.quantiles(replace(made[0].work, at=made[0].created_at.replace(hour=hour))).p50_ms
            for hour in (9, 10)
        )
        assert nine > 1.8 * ten, "drawn towards no effect, and still seen"

    def test_nine_of_ten_take_at_most_the_p90(self, rows: list[TicketRow]) -> None:
        draw = Random(5)
        times = [round(1000 * exp(draw.gauss(0, 0.5))) for _ in range(2000)]
        made = _rows_of(rows[-1], times, estimate_ms=1000)
        p50, p90 = DurationTable(fitted(made), "duration:1").quantiles(made[0].work)
        assert sum(one <= p90 for one in times) / len(times) == pytest.approx(0.9, abs=0.02)
        assert sum(one <= p50 for one in times) / len(times) == pytest.approx(0.5, abs=0.03)


class TestBounds:
    def test_it_is_the_same_after_it_was_stored(self, table: TableNumbers) -> None:
        assert decode(TableNumbers, encode(table)) == table

    def test_thousands_of_kinds_of_work_stay_within_half_a_megabyte(self, rows: list[TicketRow]) -> None:
        many = [
            rows[number % 50].but(task_id=f"{'täsk' * 20}{number}", worker_id=f"worker-{number}", ticket_id=f"{turn}")
            for number in range(3000)
            for turn in range(3)
        ]
        settings = TableSettings(rounds=1)
        assert len(encode(fitted(many, settings))) < 512 * 1024

    def test_the_quantiles_are_in_order_and_bounded_whatever_the_work(
        self, table: TableNumbers, rows: list[TicketRow]
    ) -> None:
        predictor = DurationTable(table, "duration:1")
        for estimate in (1, 10**6, 10**15):
            for size in (0, 10**12):
                p50, p90 = predictor.quantiles(replace(work_of(rows), estimate_ms=estimate, parameters_bytes=size))
                assert 1 <= p50 <= p90 <= LONGEST_MS

    def test_a_table_with_numbers_that_make_no_sense_is_found_out(self, table: TableNumbers) -> None:
        name = next(iter(table.groups))
        assert faults_of(table) == []
        assert faults_of(table.but(groups={name: (float("nan"), 0, 0, 0, 0)}))
        assert faults_of(table.but(workers={"a": 1e9}))
        assert faults_of(table.but(hours=(0.0,)))

    def test_a_capability_cannot_pass_for_a_task(self, rows: list[TicketRow]) -> None:
        work = work_of(rows)
        assert len({*group_names(work), *group_names(replace(work, capabilities=(*work.capabilities, "", "x")))}) == 5

    def test_a_prediction_costs_some_microseconds(self, table: TableNumbers, rows: list[TicketRow]) -> None:
        predictor, work = DurationTable(table, "duration:1"), work_of(rows)
        best = min(_seconds(predictor, work) for _ in range(30))
        assert best < 10e-6

    def test_it_learns_the_same_from_the_same_rows(self, rows: list[TicketRow], table: TableNumbers) -> None:
        assert fitted(rows) == table


def _seconds(predictor: DurationTable, work: PlannedWork) -> float:
    begun = perf_counter()
    for _ in range(200):
        predictor.quantiles(work, "worker")
    return (perf_counter() - begun) / 200


def _rows_of(like: TicketRow, times_ms: Sequence[int], *, estimate_ms: int) -> list[TicketRow]:
    return [like.but(actual_ms=one, estimate_ms=estimate_ms, ticket_id=f"t{n}") for n, one in enumerate(times_ms)]


def test_the_logarithms_of_a_table_are_those_of_its_quantiles(rows: list[TicketRow], table: TableNumbers) -> None:
    predictor = DurationTable(table, "duration:1")
    logs = predictor.logs(rows[-1].work, rows[-1].worker_id)
    assert logs is not None
    assert logs[0] == pytest.approx(log(predictor.quantiles(rows[-1].work, rows[-1].worker_id).p50_ms), abs=1e-2)
