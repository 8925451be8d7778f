"""Four kinds of anomaly: planted in histories whose truth is known, found often enough, and little else with them."""

import random
from collections.abc import Iterable
from functools import partial
from math import exp

import pytest

from functions._core.learning.anomaly_kinds import (
    MAX_ROWS,
    AnomalyKind,
    RowAnomaly,
    UsualWork,
    duration_anomalies,
    failure_anomalies,
    load_anomalies,
    resource_anomalies,
    ticket_anomalies,
)
from functions._core.learning.load_forecast import DAY, forecast_load
from functions._core.learning.series import UnusableSeries
from functions._core.records.prediction import Prediction
from functions._core.records.record import decode, encode
from tests.support.fleet_world import START
from tests.support.planted import failing, larger, planted, quality, seasonal, slower, worlds

SEEDS = (1, 2)


def of_kind(found: Iterable[RowAnomaly]) -> set[str]:
    return {one.entity_id for one in found}


def test_durations_are_found_by_what_such_work_took_before() -> None:
    for seed in SEEDS:
        rows, ids = planted(seed, slower, 0.02)
        precision, recall = quality(of_kind(duration_anomalies(rows, UsualWork(worlds(seed)[0]))), ids)
        assert precision > 0.7, seed
        assert recall > 0.6, seed


def test_durations_are_found_by_predictions_where_such_work_is_new() -> None:
    draw = random.Random(4)
    rows, ids = planted(1, slower, 0.03)
    predicted = [
        row.but(prediction=Prediction(p50_ms=median, p90_ms=2 * median, model="duration:1"))
        for row in rows
        if row.actual_ms is not None
        for median in [max(1, round(row.actual_ms * exp(draw.gauss(0, 0.4)) / (10 if row.ticket_id in ids else 1)))]
    ]
    precision, recall = quality(of_kind(duration_anomalies(predicted, UsualWork(()))), ids)
    assert precision > 0.7
    assert recall > 0.6


def test_a_model_that_is_wrong_makes_no_anomalies_of_usual_work() -> None:
    usual = UsualWork(worlds(1)[0])
    rows = [row.but(prediction=Prediction(p50_ms=1, p90_ms=2, model="lies:1")) for row in worlds(1)[1]]
    wrong = [row for row in rows if row.actual_ms is not None]
    assert len(duration_anomalies(wrong, usual)) < 0.15 * len(wrong)
    assert duration_anomalies([row.but(prediction=None) for row in wrong], usual)
    broken = [row.but(prediction=Prediction(p50_ms=0, p90_ms=-5, model="lies:2")) for row in wrong]
    assert of_kind(duration_anomalies(broken, usual)) == of_kind(
        duration_anomalies([row.but(prediction=None) for row in wrong], usual)
    )


def test_resources_are_found_by_what_such_work_needed_before() -> None:
    for seed in SEEDS:
        rows, ids = planted(seed, larger, 0.02)
        found = resource_anomalies(rows, UsualWork(worlds(seed)[0]))
        precision, recall = quality(of_kind(found), ids)
        assert precision > 0.7, seed
        assert recall > 0.6, seed
        assert {one.measure for one in found} == {"worker_ms", "parameters_bytes", "output_bytes"}


def test_workers_and_types_that_fail_much_more_often_are_found() -> None:
    found: list[tuple[int, str]] = []
    truth: list[tuple[int, str]] = []
    for seed in range(1, 6):
        before, after = worlds(1 + seed % 2)
        usual = UsualWork(before)
        worker = f"worker-{seed}"
        by_worker = failing(after, lambda row, worker=worker: row.worker_id == worker, seed)  # type: ignore[misc]
        found += [(seed, one.entity_id) for one in failure_anomalies(by_worker, usual)]
        task_type = after[seed * 20].task_type
        by_type = failing(after, lambda row, kind=task_type: row.task_type == kind, seed)  # type: ignore[misc]
        found += [(-seed, one.entity_id) for one in failure_anomalies(by_type, usual)]
        truth += [(seed, worker), (-seed, str(task_type))]
    precision, recall = quality(found, truth)
    assert precision > 0.7
    assert recall > 0.6


def test_usual_failures_are_no_pattern() -> None:
    found = [failure_anomalies(worlds(seed)[1], UsualWork(worlds(seed)[0])) for seed in SEEDS]
    assert sum(map(len, found)) <= 1


def test_bursts_and_silence_are_found_against_the_forecast() -> None:
    draw = random.Random(6)
    found: list[tuple[int, object]] = []
    truth: list[tuple[int, object]] = []
    for seed in range(4):
        series = [float(round(value)) for value in seasonal(22, 20 + seed)]
        forecast = forecast_load(series[:-DAY], START)
        day = series[-DAY:]
        for place in draw.sample(range(36, 72), 6):  # by day: a silent night is nothing new
            day[place] = round(day[place] * (0.0 if place % 3 == 0 else 3.0))
            truth.append((seed, forecast.points[place].start))
        found += [(seed, one.at) for one in load_anomalies(day, forecast)]
    precision, recall = quality(found, truth)
    assert precision > 0.7
    assert recall > 0.6


def test_an_anomaly_says_what_was_expected_and_can_be_stored() -> None:
    usual = UsualWork(worlds(1)[0])
    rows, _ = planted(1, slower, 0.05)
    found = ticket_anomalies(rows, usual)
    assert {one.kind for one in found} >= {AnomalyKind.DURATION}
    assert [one.at for one in found] == sorted(one.at for one in found)
    for one in found:
        assert not one.expected_low <= one.value <= one.expected_high
        assert decode(RowAnomaly, encode(one)) == one


def test_without_any_history_nothing_is_unusual() -> None:
    nothing = UsualWork(())
    assert ticket_anomalies(worlds(1)[1], nothing) == ()
    assert ticket_anomalies((), UsualWork(worlds(1)[1])) == ()


def test_rows_are_bounded() -> None:
    row = worlds(1)[0][0]
    endless = partial(iter, lambda: row, None)
    usual = UsualWork(())
    for call in (UsualWork, partial(duration_anomalies, usual=usual), partial(failure_anomalies, usual=usual)):
        with pytest.raises(UnusableSeries, match=str(MAX_ROWS)):
            call(endless())
