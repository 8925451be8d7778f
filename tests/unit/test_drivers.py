"""What drives what over the windows of a day: truths that were planted in histories are found, and chance is not."""

import random
from datetime import timedelta
from functools import cache
from math import log1p, pi, sin

import pytest

from functions._core.insights.drivers import LEAST_WINDOWS, driver_steps, driving_series, without_waves
from functions._core.insights.findings import ProblemFound
from functions._core.insights.generation import insight_of
from functions._core.insights.hour_sums import COURSE_BUCKETS, PACE, HourSums, Sums
from functions._core.insights.insight import InsightType
from functions._core.insights.window import LENGTH
from functions._core.learning.history_reader import Ended
from tests.support.fleet_world import START, FleetWorld
from tests.support.histories import history_of

UNTIL = START + timedelta(days=1)
BAD = "worker-3"
LAG = 2


@cache
def day(seed: int) -> list[Ended]:
    """Return the flows that ended within a day, of a world without troubles."""
    flows = history_of(FleetWorld(seed, recorded=False), 600, days=1, start=START)
    return [one for one in flows if one[0].ended_at < UNTIL]


def troubled(flows: list[Ended], seed: int) -> list[Ended]:
    """Return the flows of a world in which a worker is slow now and then, and others wait ten minutes later."""
    draw = random.Random(seed)
    slow = {window for window in range(COURSE_BUCKETS) if draw.random() < 0.2}
    found = []
    for flow, tickets in flows:
        window = (flow.ended_at - START) // LENGTH
        rows = []
        for row in tickets:
            if window in slow and row.worker_id == BAD and row.actual_ms is not None:
                row = row.but(actual_ms=row.actual_ms * 8)  # noqa: PLW2901
            if window - LAG in slow and row.ready_at is not None:
                row = row.but(ready_at=row.ready_at - timedelta(minutes=draw.uniform(2, 4)))  # noqa: PLW2901
            rows.append(row)
        found.append((flow, tuple(rows)))
    return found


def course_of(flows: list[Ended]) -> Sums:
    """Return the sums of what happened."""
    sums = HourSums(None, None, UNTIL)
    sums.add(flows)
    return sums.built()[1]


def found_in(course: Sums) -> tuple[list[ProblemFound], int]:
    """Return the findings, and after how many steps."""
    steps, number = driver_steps(course), 0
    while True:
        try:
            next(steps)
            number += 1
        except StopIteration as done:
            return list(done.value), number


def test_a_slow_worker_that_lets_others_wait_is_named_with_its_lag() -> None:
    found, steps = found_in(course_of(troubled(day(1), 1)))
    [one] = [one for one in found if one.subject.endswith("/wait")]
    assert one.subject == f"{PACE}{BAD}/wait"
    assert one.insight_type is InsightType.CAUSAL
    assert one.figures["lag_minutes"] == 5 * LAG
    assert one.figures["p_value"] < 0.001
    assert one.figures["effect_deviations"] > 0
    assert [(each.entity_type, each.entity_id) for each in one.entities] == [("worker", BAD), ("metric", "wait")]
    assert f"{PACE}{BAD} → wait (" in one.analysis
    assert steps > 90  # one for each series and each test: an event loop is never held for long
    insight = insight_of(one, UNTIL - timedelta(hours=1), UNTIL)
    assert insight.confidence_score > 0.7
    assert len(insight.detailed_analysis) < 2000


@pytest.mark.parametrize("seed", [2, 3])
def test_chance_drives_nothing(seed: int) -> None:
    assert found_in(course_of(day(seed)))[0] == []


def test_what_rises_and_falls_by_day_drives_nothing() -> None:
    draw = random.Random(5)
    daily = [1 + sin(2 * pi * place / COURSE_BUCKETS) for place in range(COURSE_BUCKETS)]
    names = ("flows", "failures", "missed", "retries")
    course = Sums(
        since=UNTIL, by_name={name: tuple(20 * wave * draw.uniform(0.3, 1.7) for wave in daily) for name in names}
    )
    assert found_in(course)[0] == []
    left = without_waves([log1p(value) for value in course.by_name["flows"]])
    assert abs(sum(value * wave for value, wave in zip(left, daily, strict=True))) < 1e-6


def test_little_history_says_nothing() -> None:
    whole = course_of(troubled(day(1), 1))
    few = whole.but(by_name={name: values[-LEAST_WINDOWS + 1 :] for name, values in whole.by_name.items()})
    assert driving_series(few) == {}
    assert found_in(few) == ([], 0)
    assert found_in(Sums(since=UNTIL)) == ([], 0)


def test_two_that_are_counted_with_each_other_are_no_news() -> None:
    draw = random.Random(6)
    flows = tuple(float(draw.randrange(2, 30)) for _ in range(COURSE_BUCKETS))
    late = (0.0, *flows[:-1])
    for first, second, found in (("failures", "missed", []), ("flows", "retries", ["flows/retries"])):
        course = Sums(since=UNTIL, by_name={"flows": (9.0,) * COURSE_BUCKETS} | {first: flows, second: late})
        assert [one.subject for one in found_in(course)[0]] == found
