"""The four kinds of anomaly as findings: what was planted is found, and what is always so is not."""

import random

import pytest

from functions._core.insights.findings import ProblemFound
from functions._core.insights.generation import insight_of
from functions._core.insights.insight import InsightType
from functions._core.insights.odd_rows import GROUPS, LEAST_KNOWN, PRECISE, load_problems, odd_rows, row_problems
from functions._core.learning.anomaly_kinds import AnomalyKind, load_anomalies
from functions._core.learning.history import TicketRow
from functions._core.learning.load_forecast import DAY, forecast_load
from tests.support.fleet_world import START
from tests.support.planted import failing, larger, planted, seasonal, slower, worlds

SEED = 1
BEFORE, AFTER = worlds(SEED)


def found_in(rows: list[TicketRow], before: tuple[TicketRow, ...] = BEFORE) -> list[ProblemFound]:
    """Return the findings about later tickets."""
    return list(row_problems(odd_rows(before, rows), rows))


def test_work_that_took_far_longer_is_found_with_its_tickets() -> None:
    rows, ids = planted(SEED, slower, 0.05)
    odd = odd_rows(BEFORE, rows)
    found = [one for one in row_problems(odd, rows) if one.rule == "odd-duration"]
    named = {each.entity_id for one in found for each in one.entities if each.entity_type == "ticket"}
    assert len(named & ids) / len(named) > 0.8
    truth = len({one.entity_id for one in odd.anomalies[AnomalyKind.DURATION]} & ids) / len(
        odd.anomalies[AnomalyKind.DURATION]
    )
    assert odd.precision[AnomalyKind.DURATION] == pytest.approx(truth, abs=0.15)  # as held out, so in truth
    assert all(one.insight_type is InsightType.ANOMALY and one.figures["precision"] >= PRECISE for one in found)


def test_payloads_that_are_far_larger_are_found() -> None:
    rows, _ = planted(SEED, larger, 0.1)
    measures = {one.subject.split("/")[1] for one in found_in(rows) if one.rule == "odd-resources"}
    assert measures >= {"parameters_bytes", "output_bytes"}


def test_a_worker_half_of_whose_work_fails_is_found() -> None:
    rows = failing(AFTER, lambda row: row.worker_id == "worker-1", SEED)
    [one] = [one for one in found_in(rows) if one.rule == "odd-failures"]
    assert one.subject == "worker/worker-1"
    assert one.figures["failure_share"] > 0.4
    insight = insight_of(one, START, START.replace(hour=1))
    assert insight.confidence_score > 0.8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_always_so_is_no_finding(seed: int) -> None:
    before, after = worlds(seed)
    assert found_in(list(after), before) == []


def test_what_was_odd_the_day_before_too_is_background() -> None:
    draw = random.Random(4)
    noisy = tuple(slower(row, draw) if row.actual_ms is not None and draw.random() < 0.04 else row for row in BEFORE)
    rows, _ = planted(SEED, slower, 0.04)
    assert [one.rule for one in found_in(rows, noisy) if one.rule == "odd-duration"] == []


def test_little_is_never_odd() -> None:
    rows, _ = planted(SEED, slower, 0.05)
    assert found_in(rows, BEFORE[: LEAST_KNOWN - 1]) == []
    assert found_in([]) == []


def test_findings_are_bounded_whatever_fails() -> None:
    rows = [
        row.but(worker_id=f"{number % 50}\n{'x' * 300}")
        for number, row in enumerate(failing(AFTER, lambda _: True, SEED))
    ]
    found = found_in(rows)
    assert 0 < len(found) <= GROUPS
    assert all(one.title.isprintable() for one in found)


def test_a_burst_and_a_silence_are_found_against_the_forecast() -> None:
    series = [float(round(value)) for value in seasonal(15)]
    forecast, day = forecast_load(series[:-DAY], START), series[-DAY:]
    day[40], day[50] = 3 * day[40], 0.0
    more, fewer = load_problems(load_anomalies(day, forecast), 0.9)
    assert (more.subject, fewer.subject) == ("more", "fewer")
    assert more.figures["value"] == day[40]
    assert list(load_problems((), 0.9)) == []
