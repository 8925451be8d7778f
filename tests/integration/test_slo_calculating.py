"""Budgets are calculated, stored and told, whatever crashes and whoever else calculates."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions._adapters.sql.postgres import PostgresStore
from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Ports
from functions._core.slo import counting, stored
from functions._core.slo.budget import BudgetStatus, Indicator, budget_of
from functions._core.slo.calculating import VIOLATIONS, Calculation, calculate, forecast
from functions._core.slo.course import Grouping
from functions._core.slo.definition import Aggregation, Slo
from functions._core.slo.enforcing import enforce
from functions._core.slo.events import budget_events
from functions._core.slo.indicator import indicator, window_text
from functions._core.slo.listing import course_of
from functions.calculate_budgets import function
from functions.calculate_budgets.function import Calculated, calculate_budgets, recalculate
from tests.support.builders import seconds
from tests.support.clocks import HandClock
from tests.support.slo_history import NOW, ended_flow, policy, ports_of, slo
from tests.support.slo_history import stored as put

INTERVAL = timedelta(minutes=5)
OTHER = slo(history={"measure": "sla_met"})
QUERY = {"query": "sum(rate(good[{{window}}])) / sum(rate(all[{{window}}]))"}


class Told:
    """Whoever sends the events of calculations."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.types: list[str] = []
        self.dies = False

    async def __call__(self, slo: Slo, done: Calculation) -> None:
        if self.dies:
            raise RuntimeError("the process dies")
        events = budget_events(slo, done.budget, violation=done.violation)
        self.ids += [event.id for event in events]
        self.types += [event.event_type for event in events]


class Server:
    """A server of metrics that answers, fails or has no data, by the window that is asked for."""

    def __init__(self, answer: float | Exception | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def value(self, query: str, aggregation: Aggregation, at: datetime | None = None) -> float | None:
        del aggregation, at
        self.asked.append(query)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def both(database_url: str) -> AsyncIterator[tuple[Ports, Ports, HandClock, PostgresStore]]:
    """Two handles of one store, as two processes have them, and their clock."""
    stores = [await PostgresStore.open(database_url, owner=f"process-{number}") for number in (1, 2)]
    (one, clock), (other, _) = (ports_of(store.stores) for store in stores)
    yield one, replace(other, clock=clock), clock, stores[0]
    for store in stores:
        await store.close()


async def spent(store: PostgresStore, number: int = 1, failed: int = 3, total: int = 10) -> None:
    for place in range(total):
        outcome = "FAILED" if place < failed else "COMPLETED"
        await ended_flow(store.stores, 1000 * number + place, NOW - seconds(100 + place), outcome)


async def tick(ports: Ports, told: Told | None) -> Calculated:
    def failed(which: Slo, error: Exception) -> None:
        del which
        if isinstance(error, RuntimeError):
            raise error

    return await calculate_budgets(ports, told, failed, interval=INTERVAL)


Both = tuple[Ports, Ports, HandClock, PostgresStore]


async def test_nine_steps_make_one_budget_with_its_course(both: Both) -> None:
    ports, _, _, store = both
    await spent(store)
    await put(ports, slo())
    budget = await calculate(slo(), ports)
    assert (budget.sli_value, budget.sample_count) == (0.7, 10)
    assert (budget.error_budget_total, budget.error_budget_consumed, budget.error_budget_remaining) == (10, 300, 0)
    assert (budget.status, budget.violations_count) == (BudgetStatus.EXHAUSTED, 1)
    assert [burn.window_hours for burn in budget.burn_rates] == [0.083333, 0.5, 1, 2, 6, 24, 72]
    assert {burn.rate for burn in budget.burn_rates} == {3}
    assert await stored.budgets(ports.key_values) == [budget]
    [point] = (await course_of(ports, "s", NOW - INTERVAL, NOW, Grouping.NONE, 9))[0]
    assert (point.at, point.remaining) == (NOW, 0)


async def test_a_window_of_the_own_history_without_ends_has_a_full_budget_and_ends_the_freeze(both: Both) -> None:
    ports, _, clock, store = both
    await put(ports, slo(window_days=1), policy())
    new = await calculate(slo(window_days=1), ports)
    assert (new.error_budget_remaining, new.sample_count, new.status) == (100, 0, BudgetStatus.HEALTHY)
    clock.move(300)
    await ended_flow(store.stores, 1, clock.now(), "FAILED")
    spent_one = await calculate(slo(window_days=1), ports)
    assert (spent_one.error_budget_remaining, spent_one.sample_count) == (0, 1)
    [freeze] = await enforce(ports)
    assert freeze.active
    clock.move(3 * 86_400)
    over = await calculate(slo(window_days=1), ports)
    assert (over.error_budget_remaining, over.sample_count, over.violations_count) == (100, 0, 0)
    assert {burn.rate for burn in over.burn_rates if burn.window_hours < 72} == {0}
    [ended] = await enforce(ports)
    assert (ended.event_id, ended.active, ended.resolved_by) == (freeze.event_id, False, "budget")


async def test_while_the_history_is_counted_for_the_first_time_no_budget_is_told_or_stored(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, _, clock, store = both
    monkeypatch.setattr(counting, "LOOKED_AT", 4)
    monkeypatch.setattr(counting, "PAGE", 3)
    monkeypatch.setattr(function, "COUNTING_SECONDS", 0.0)
    for number in range(20):  # the errors are the oldest ones: what is counted first is all good
        outcome = "FAILED" if number > 16 else "COMPLETED"
        await ended_flow(store.stores, number, NOW - seconds(100 + 3600 * number), outcome)
    await put(ports, slo(), slo("short", window_days=1, sli_query=QUERY))
    ports = replace(ports, metrics_server=Server(0.99))
    told = Told()
    done = await tick(ports, told)
    assert done.results == {"success": 1, "no_data": 0, "counting": 1, "error": 0}
    assert [one.slo_id for one in await stored.budgets(ports.key_values)] == ["short"]
    with pytest.raises(Rejected, match=r"what ended since 2025-03-01T.* is; there is no budget yet") as refused:
        await recalculate(ports, "s", None)
    assert (refused.value.code, refused.value.status) == ("counting", 409)
    ticks = 0
    while (done := await tick(ports, told)).results["counting"]:
        ticks += 1
        assert ticks < 9
    assert ticks > 0
    [budget] = [one for one in await stored.budgets(ports.key_values) if one.slo_id == "s"]
    assert (budget.sample_count, budget.sli_value, budget.status) == (20, 0.85, BudgetStatus.EXHAUSTED)
    # Another query is counted from now on: the budget of the one before stays, and is said to be old.
    await stored.changed_slo(ports.key_values, "s", lambda one: one.but(sli_query=OTHER.sli_query))
    clock.move(600)
    with pytest.raises(Rejected, match=r"the last budget stays, that of .* \(10 min ago\)"):
        await recalculate(ports, "s", None)
    assert budget in await stored.budgets(ports.key_values)


async def test_a_tick_counts_on_while_there_is_time(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    ports, _, _, store = both
    monkeypatch.setattr(counting, "LOOKED_AT", 4)
    monkeypatch.setattr(counting, "PAGE", 3)
    for number in range(30):
        await ended_flow(store.stores, number, NOW - seconds(100 + 3600 * number))
    await put(ports, slo())
    done = await tick(ports, None)
    assert done.results == {"success": 1, "no_data": 0, "counting": 0, "error": 0}
    assert done.budgets["s"].sample_count == 30


async def test_a_server_of_metrics_gives_shares_for_each_window_and_its_trouble_leaves_the_last_budget(
    both: Both,
) -> None:
    ports, _, clock, _ = both
    server = Server(0.95)
    ports = replace(ports, metrics_server=server)
    await put(ports, slo(sli_query=QUERY))
    budget = (await recalculate(ports, "s", None))[1].budget
    assert (budget.sli_value, budget.sample_count, budget.error_budget_consumed) == (0.95, None, 50)
    windows = ["30d", "1h", "6h", "1d", "5m", "30m", "2h", "3d"]
    assert server.asked == [QUERY["query"].replace("{{window}}", window) for window in windows]
    troubles: list[tuple[float | Exception | None, int]] = [
        (Unavailable("too slow"), 504),
        (Rejected("bad query", code="metrics_query_failed", status=502), 502),
        (7.5, 502),
        (float("nan"), 502),
        (None, 409),
    ]
    for answer, status in troubles:
        server.answer = answer
        clock.move(301)
        with pytest.raises(Rejected) as refused:
            await recalculate(ports, "s", None)
        assert refused.value.status == status
        assert (await tick(ports, None)).results == {
            "success": 0,
            "counting": 0,
            "no_data": answer is None,
            "error": answer is not None,
        }
        assert await stored.budgets(ports.key_values) == [budget]


async def test_an_error_rate_is_turned_round_and_a_query_without_a_window_tells_of_one_only(both: Both) -> None:
    ports = replace(both[0], metrics_server=Server(0.02))
    rate = slo("errors", sli_query={"query": "error_rate"}, slo_type="ERROR_RATE")
    assert await indicator(rate, ports, INTERVAL, NOW) == Indicator(0.98)
    budget = await calculate(rate, ports)
    assert budget.burn_rates == ()
    assert [window_text(timedelta(seconds=span)) for span in (90, 300, 7200, 172_800)] == ["90s", "5m", "2h", "2d"]


async def test_one_failing_slo_stops_no_other_and_is_counted(both: Both) -> None:
    ports, _, _, store = both
    await spent(store)
    ports = replace(ports, metrics_server=Server(RuntimeError("broken")))
    await put(ports, *(slo(f"s{number}") for number in range(40)), slo("x", sli_query=QUERY), slo("off", enabled=False))
    met: list[str] = []
    done = await calculate_budgets(ports, None, lambda which, _error: met.append(which.slo_id), interval=INTERVAL)
    assert done.results == {"success": 40, "no_data": 0, "counting": 0, "error": 1}
    assert met == ["x"]
    assert len(done.budgets) == 40
    # None of them is due again at once.
    assert (await calculate_budgets(ports, None, lambda *_: None, interval=INTERVAL)).results["success"] == 0


async def test_two_calculators_give_one_event(both: Both) -> None:
    one, other, clock, store = both
    await spent(store)
    await put(one, slo())
    told = Told()

    class OtherFirst:
        """Lets the other process calculate just before this one stores its budget."""

        def __getattr__(self, name: str) -> Any:
            return getattr(one.key_values, name)

        async def put(self, space: str, *arguments: Any, **more: Any) -> Any:
            if space == stored.BUDGETS:
                await tick(other, told)
            return await one.key_values.put(space, *arguments, **more)

    await tick(replace(one, key_values=OtherFirst()), told)
    assert told.types == ["sla.budget.updated", "sla.slo.violated"]
    assert len((await course_of(one, "s", NOW - INTERVAL, NOW, Grouping.NONE, 9))[0]) == 1
    clock.move(300)
    await tick(one, told)
    await tick(other, told)
    assert told.types == ["sla.budget.updated", "sla.slo.violated", "sla.budget.updated"], "it was violated before"


async def test_what_a_crash_left_untold_is_told_with_the_same_ids_by_whoever_comes_next(both: Both) -> None:
    one, other, clock, store = both
    await spent(store)
    await put(one, slo())
    told = Told()
    told.dies = True
    with pytest.raises(RuntimeError):
        await tick(one, told)
    assert told.ids == []
    told.dies = False
    await tick(other, told)
    assert told.types == ["sla.budget.updated", "sla.slo.violated"]
    [(state, version)] = await stored.budget_states(one.key_values)
    assert state.told
    # The process dies after the events were sent: they are sent once more, and are the same.
    await stored.put_budget(one.key_values, state.but(told=False), version)
    clock.move(10)
    await tick(other, told)
    assert told.ids[:2] == told.ids[2:]


async def test_a_violation_counts_once_and_the_newest_hundred_are_kept(both: Both) -> None:
    ports, _, clock, _ = both
    server = Server(0.0)
    ports = replace(ports, metrics_server=server)
    await put(ports, slo(sli_query=QUERY))
    counts = []
    for share in (0.5, 0.5, 0.99, 0.5, 0.99, 0.89):
        server.answer = share
        clock.move(60)
        counts.append((await recalculate(ports, "s", None))[1].budget.violations_count)
    assert counts == [1, 1, 1, 2, 2, 3]
    for number in range(2 * VIOLATIONS):
        server.answer = 0.99 if number % 2 else 0.5
        clock.move(60)
        await recalculate(ports, "s", None)
    state, _ = await stored.budget_state(ports.key_values, "s")
    assert state is not None
    assert len(state.violations) == VIOLATIONS
    assert list(state.violations) == sorted(state.violations)
    assert state.budget.last_violation_at == state.violations[-1]


def test_a_forecast_spans_what_the_recent_windows_say_and_says_nothing_where_that_is_not_foreseeable() -> None:
    hours = timedelta(hours=1)

    def told(sli: float, **errors: float) -> tuple[float | None, float | None]:
        """Return in how many hours it is spent, by the share of errors in windows of so many hours."""
        windows = {float(name[1:]): Indicator(1 - error) for name, error in errors.items()}
        budget = budget_of(slo(), NOW, "b", Indicator(sli), windows)
        spans = [None if at is None else round((at - NOW) / hours, 3) for at in forecast(budget, 30)]
        return spans[0], spans[1]

    assert told(0.95, h1=0.6, h24=0.2, h72=0.3) == (60, 360)
    assert told(0.95, h1=0.6, h72=0.05) == (60, None), "perhaps never: the lowest rate is allowed"
    assert told(0.95, h1=0.04, h72=0.03) == (None, None), "not within the window"
    assert told(0.95, h1=0, h72=0) == (None, None)
    assert told(0.95, h1=0.6) == (None, None), "one window has no spread"
    assert told(0.95, h1=0.6, h2=0.7) == (None, None), "windows of minutes tell of single flows"
    assert told(0.85) == (0, 0), "it is spent"


async def test_an_unknown_or_deleted_slo_is_refused(both: Both) -> None:
    ports = both[0]
    await put(ports, slo(enabled=False))
    for slo_id in ("s", "nobody's"):
        with pytest.raises(Rejected) as refused:
            await recalculate(ports, slo_id, None)
        assert refused.value.status == 404
    with suppress(Rejected):
        await recalculate(ports, "s", None)
    assert await stored.budgets(ports.key_values) == []
