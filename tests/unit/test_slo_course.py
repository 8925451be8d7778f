"""The course of a budget in points, where it is heading, and what a freeze holds for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.slo.budget import BudgetStatus, status_of
from functions._core.slo.course import Direction, Grouping, one_point, start_of, trends_of
from functions._core.slo.freeze_status import actions_of, is_frozen, namespaces_of
from functions._core.slo.freezing import FreezeAction, FreezeScope
from functions._core.slo.stored import BudgetPoint
from tests.support.slos import freeze_of, slo_at

NOW = datetime(2026, 11, 30, 5, 40, 12, 337_000, tzinfo=UTC)
DEPLOY, SCALE, ALERT = FreezeAction


def point(remaining: float, minutes: float = 0, burn_rate: float | None = None) -> BudgetPoint:
    return BudgetPoint(
        at=NOW + timedelta(minutes=minutes),
        sli_value=1 - (100 - remaining) / 10_000,
        remaining=remaining,
        consumed=100 - remaining,
        status=status_of(remaining),
        burn_rate=burn_rate,
    )


def test_an_hour_and_a_day_begin_in_utc() -> None:
    east = NOW.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert start_of(east, Grouping.HOURLY) == datetime(2026, 11, 30, 5, tzinfo=UTC)
    assert start_of(east, Grouping.DAILY) == datetime(2026, 11, 30, tzinfo=UTC)
    assert start_of(east, Grouping.NONE) == NOW


def test_a_point_has_the_mean_the_ends_and_the_worst() -> None:
    one = one_point(NOW, [point(90, burn_rate=1), point(10, burn_rate=20), point(50)])
    assert (one.remaining, one.remaining_min, one.remaining_max, one.consumed) == (50, 10, 90, 50)
    assert (one.status, one.burn_rate, one.calculations, one.sli_value) == (BudgetStatus.CRITICAL, 20, 3, 0.995)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_the_mean_lies_between_the_ends_and_no_status_is_worse(left: list[float]) -> None:
    one = one_point(NOW, [point(value) for value in left])
    assert one.remaining_min - 1e-6 <= one.remaining <= one.remaining_max + 1e-6
    assert one.status is status_of(min(left))


@pytest.mark.parametrize(
    ("left", "direction", "change"),
    [
        ((50, 50), Direction.STEADY, 0),
        ((50, 51), Direction.STEADY, 1),
        ((50, 51.1), Direction.IMPROVING, 1.1),
        ((50, 90, 48.9), Direction.DEGRADING, -1.1),
    ],
)
def test_a_trend_is_that_from_the_first_point_to_the_last(
    left: tuple[float, ...], direction: Direction, change: float
) -> None:
    trends = trends_of([one_point(one.at, [one]) for one in (point(x, 720 * n) for n, x in enumerate(left))])
    assert trends is not None
    assert (trends.direction, trends.change, trends.lowest_remaining) == (direction, change, min(left))
    assert trends.change_per_day == pytest.approx(2 * change / (len(left) - 1))


def test_no_points_have_no_trend_and_a_short_course_none_for_a_day() -> None:
    assert trends_of([]) is None
    short = trends_of([one_point(one.at, [one]) for one in (point(10), point(90, 59))])
    assert short is not None
    assert (short.change, short.change_per_day) == (80, None)


def test_namespaces_are_those_of_the_labels_of_a_services_slos() -> None:
    slos = [
        slo_at(NOW, service_name="shop", labels={"namespace": "blue"}),
        slo_at(NOW, service_name="shop", labels={"namespace": "green"}),
        slo_at(NOW, service_name="bank"),
    ]
    assert namespaces_of(slos) == {"shop": frozenset({"blue", "green"})}


@pytest.mark.parametrize(
    ("scope", "target", "holds"),
    [
        (FreezeScope.SERVICE, "shop", True),
        (FreezeScope.SERVICE, "Shop", False),
        (FreezeScope.SERVICE, "blue", False),
        (FreezeScope.NAMESPACE, "blue", True),
        (FreezeScope.NAMESPACE, "shop", False),
        (FreezeScope.GLOBAL, "*", True),
    ],
)
def test_a_freeze_holds_for_its_own(scope: FreezeScope, target: str, holds: bool) -> None:
    assert freeze_of(target, NOW, scope=scope).freezes("shop", {"blue", "green"}) is holds


@given(st.lists(st.lists(st.sampled_from(FreezeAction), min_size=1, max_size=3), max_size=4))
def test_something_is_frozen_where_an_action_is_forbidden(actions: list[list[FreezeAction]]) -> None:
    events = [freeze_of("shop", NOW, actions=one) for one in actions]
    given_ = {action for one in actions for action in one}
    assert set(actions_of(events)) == given_
    assert is_frozen(events, None) is bool(given_ - {ALERT})
    assert (is_frozen(events, DEPLOY), is_frozen(events, SCALE)) == (DEPLOY in given_, SCALE in given_)
