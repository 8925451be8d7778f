"""Sums of history by time, and the bottlenecks that they foretell."""

from datetime import timedelta

import pytest

from functions._core.insights.findings import ProblemFound
from functions._core.insights.generation import insight_of
from functions._core.insights.hour_sums import (
    ARRIVALS,
    CAPABILITIES,
    EVERYTHING,
    LOAD_BUCKETS,
    WORK,
    WORKERS,
    HourSums,
    Sums,
    worker_ms,
)
from functions._core.insights.insight import InsightPriority, InsightType
from functions._core.insights.load_ahead import (
    MOST_FORECASTS,
    bottlenecks_ahead,
    enough,
    error_share,
    errors_by_horizon,
    near_capacity,
    slots_of,
)
from functions._core.learning.bottlenecks import capacity_ms
from functions._core.learning.load_forecast import BUCKET, DAY, forecast_load
from functions._core.ports import VALUE_BYTES
from functions._core.records.record import encode
from functions._core.records.values import Health, TicketStatus
from functions._core.records.worker import AgentType
from functions._core.rules import Rules
from tests.support.builders import T0, make_worker, seconds
from tests.support.fleet_world import START, FleetWorld
from tests.support.histories import history_of
from tests.support.planted import seasonal

HOUR = timedelta(hours=1)
UNTIL = START + timedelta(days=2)
FLOWS = history_of(FleetWorld(1, recorded=False), 120, days=1.9, start=START)
SLOT = capacity_ms(1)


def test_each_flow_and_its_work_is_in_its_bucket_once() -> None:
    sums = HourSums(None, None, UNTIL)
    sums.add(FLOWS)
    loads, course = sums.built()
    work = sum(worker_ms(row) for _, rows in FLOWS for row in rows if row.ready_at is not None)
    assert sum(loads.by_name[ARRIVALS]) == len(FLOWS)
    assert sum(loads.by_name[f"{WORK}{EVERYTHING}"]) == pytest.approx(work)
    ended = sum(UNTIL - timedelta(days=1) <= flow.ended_at < UNTIL for flow, _ in FLOWS)
    assert sum(course.by_name["flows"]) == ended
    first = FLOWS[0][0].received_at
    assert loads.since <= min(flow.received_at for flow, _ in FLOWS) < loads.since + BUCKET
    assert first >= loads.since
    assert {len(values) for values in loads.by_name.values()} == {(UNTIL - loads.since) // BUCKET}


def test_history_in_parts_makes_the_same_sums_as_at_once() -> None:
    whole, first = HourSums(None, None, UNTIL), HourSums(None, None, UNTIL - 3 * HOUR)
    whole.add(FLOWS)
    before = [one for one in FLOWS if one[0].ended_at < UNTIL - 3 * HOUR]
    first.add(before)
    second = HourSums(*first.built(), UNTIL)
    second.add(FLOWS[len(before) :])
    for one, other in zip(whole.built(), second.built(), strict=True):
        assert one.since == other.since
        assert one.by_name.keys() == other.by_name.keys()
        for name, values in one.by_name.items():
            assert other.by_name[name] == pytest.approx(values, abs=0.01)


def test_what_was_known_a_month_ago_is_forgotten_and_a_future_begins_anew() -> None:
    sums = HourSums(None, None, UNTIL)
    sums.add(FLOWS)
    loads, course = sums.built()
    later = UNTIL + LOAD_BUCKETS * BUCKET
    assert HourSums(loads, course, later).built() == (
        Sums(since=later, by_name=_none(loads)),
        Sums(since=later, by_name=_none(course)),
    )
    assert HourSums(loads, course, START - HOUR).built()[0] == Sums(since=START - HOUR)


def _none(sums: Sums) -> dict[str, tuple[float, ...]]:
    return dict.fromkeys(sums.by_name, ())


def test_rehearsals_and_work_that_nobody_did_are_left_out() -> None:
    flow, rows = FLOWS[0]
    sums = HourSums(None, None, UNTIL)
    sums.add([(flow.but(simulated=True), rows)])
    assert sums.built()[0].by_name == {}
    row = next(row for row in rows if row.actual_ms is not None and row.assigned_at is not None)
    assert worker_ms(row.but(actual_ms=100, attempts=3)) == 300
    assert worker_ms(row.but(actual_ms=None, assigned_at=None)) == 0
    assert worker_ms(row.but(actual_ms=None, status=TicketStatus.CANCELLED)) == 0
    assigned = row.completed_at - seconds(3)
    failed = row.but(actual_ms=None, status=TicketStatus.FAILED, assigned_at=assigned, attempts=1, timeout_ms=2000)
    assert worker_ms(failed) == 2000


def test_names_of_strangers_are_bounded_and_fit_into_a_value() -> None:
    sums = HourSums(None, None, UNTIL)
    for number, (flow, rows) in enumerate(FLOWS):
        odd = tuple(
            row.but(capabilities=(f"{number}\n{'x' * 200}",), worker_id=f"{number}{'y' * 200}", actual_ms=10**12)
            for row in rows
        )
        sums.add([(flow, odd)])
    loads, course = sums.built()
    assert len(loads.by_name) == 1 + 1 + CAPABILITIES
    assert sum(name.startswith("times/pace/") for name in course.by_name) == WORKERS
    assert all(name.isprintable() for name in loads.by_name)
    assert len(encode(course)) < VALUE_BYTES
    most = Sums(since=START, by_name={f"{WORK}{'x' * 64}": (10.0**12 + 0.123,) * LOAD_BUCKETS})
    assert len(encode(most)) < VALUE_BYTES


def loads_of(**by_name: list[float]) -> Sums:
    """Return the loads of two weeks until noon, by capability."""
    return Sums(since=UNTIL - 14 * DAY * BUCKET, by_name={f"{WORK}{name}": tuple(v) for name, v in by_name.items()})


def ahead(loads: Sums, slots: dict[str, int]) -> list[ProblemFound]:
    """Return the bottlenecks that are found."""
    near = near_capacity(loads, slots)
    return list(bottlenecks_ahead({name: forecast_load(near[name], UNTIL) for name in near}, slots, loads, UNTIL))


def test_a_load_over_the_slots_is_foretold_with_when_how_much_and_what_to_do() -> None:
    shape = seasonal(14, 1, noise=0.03)
    peak = max(shape[-7 * DAY :])
    loads = loads_of(build=[value / peak * 6 * SLOT for value in shape], test=[value / peak * SLOT for value in shape])
    slots = {"build": 4, "test": 4, "": 9}
    [found] = ahead(loads, slots)
    assert (found.subject, found.insight_type) == ("build", InsightType.PREDICTIVE)
    day = shape[-7 * DAY : -6 * DAY]  # of the same weekday
    over = [place for place, value in enumerate(day) if value / peak * 6 > 4]
    assert found.figures["starts_in_hours"] == pytest.approx(over[0] / 4, abs=1.1)
    assert found.figures["missing_slots"] == pytest.approx(max(day) / peak * 6 - 4, abs=1.1)
    assert found.figures["error"] < 0.1
    assert found.advice[0].action.startswith("PREEMPTIVE_SCALING: add ")
    insight = insight_of(found, UNTIL - HOUR, UNTIL)
    assert insight.confidence_score > 0.8
    assert insight.priority in {InsightPriority.HIGH, InsightPriority.CRITICAL}
    assert insight.valid_until == UNTIL + timedelta(days=2)
    assert ahead(loads, {"build": 8, "test": 4}) == []


def test_a_forecast_that_errs_is_less_sure() -> None:
    sure, unsure = (
        ahead(loads_of(build=[value * SLOT / 10 for value in seasonal(14, 3, noise=noise)]), {"build": 8})[0]
        for noise in (0.02, 0.5)
    )
    assert sure.strength > 0.9
    assert unsure.strength < 0.75
    assert error_share(forecast_load([0.0] * (3 * DAY), UNTIL), [0.0] * (3 * DAY)) == 1.0


def test_errors_are_those_on_a_day_that_was_held_out() -> None:
    shape = seasonal(5, 2, noise=0.0)  # all of them weekdays
    assert errors_by_horizon(shape[: 3 * DAY - 1], UNTIL) == {60: None, 360: None, 1440: None}
    found = errors_by_horizon([*shape[:-DAY], *(2 * value for value in shape[-DAY:])], UNTIL)
    assert found == {horizon: pytest.approx(0.5, abs=0.1) for horizon in (60, 360, 1440)}


def test_work_that_nobody_can_do_is_foretold_and_forecasts_are_few() -> None:
    loads = loads_of(**{f"c{number}": seasonal(14, number) for number in range(MOST_FORECASTS + 3)})
    near = near_capacity(loads, {})
    assert len(near) == MOST_FORECASTS
    found = ahead(loads, {"c1": 1, "c2": 1})
    assert len(found) == MOST_FORECASTS
    assert all("and there are none" in one.summary for one in found)


def test_slots_are_those_of_workers_that_are_there_and_take_tickets() -> None:
    workers = [
        make_worker(1, capabilities=("build",), slots=2),
        make_worker(2, capabilities=("build", "test"), slots=3),
        make_worker(3, slots=100, draining=True),
        make_worker(4, slots=100, agent_type=AgentType.ANALYST),
        make_worker(5, slots=100, reported=Health.UNHEALTHY),
        make_worker(6, slots=100, last_seen=T0 - timedelta(days=1)),
    ]
    assert slots_of(workers, T0, Rules()) == {"": 5, "build": 5, "test": 3}


def test_less_than_two_days_are_too_little() -> None:
    arrivals = (1.0,) * (2 * DAY)
    assert enough(Sums(since=START, by_name={ARRIVALS: arrivals}))
    assert not enough(Sums(since=START, by_name={ARRIVALS: arrivals[1:]}))
    assert not enough(Sums(since=START, by_name={ARRIVALS: (0.0,) * (2 * DAY)}))
    assert not enough(Sums(since=START))
