"""The hourly look of the analysis: what it finds in the past of a platform, once, and what it costs nobody."""

import random
from datetime import timedelta

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.insights.analysis import STATE
from functions._core.insights.drivers import driver_steps
from functions._core.insights.generation import windows_of
from functions._core.insights.hour_state import HOUR as KEY
from functions._core.insights.hour_state import hour_state, sums_of
from functions._core.insights.hour_sums import ARRIVALS, PACE, Sums
from functions._core.insights.insight import Insight, InsightType
from functions._core.insights.window import LENGTH
from functions._core.learning.anomaly_kinds import AnomalyKind
from functions._core.learning.bottlenecks import capacity_ms
from functions._core.ports import VALUE_BYTES
from functions._core.records.record import encode
from functions._core.records.values import Health
from functions.analyze import hourly
from functions.analyze.function import DELAY, Analyzed
from tests.support.analysis import AnalysedPlatform
from tests.support.builders import T0, make_worker, seconds

HOUR = timedelta(hours=1)
DAYS = 4
FIRST = T0 - timedelta(days=DAYS)
BURST = 15
"""The hour of each day with more work than a worker does; `T0` is at noon."""

MS = round(capacity_ms(1))


@pytest.fixture
def platform() -> AnalysedPlatform:
    """A platform on which nothing has happened."""
    return AnalysedPlatform(MemoryStore().stores)


async def burst(platform: AnalysedPlatform, day: int, capability: str = "build") -> None:
    """Let two slots' work come in each quarter of an hour of the busy hour, and little in all others."""
    begin = FIRST + timedelta(days=day)
    for hour in range(24):
        busy = (begin + hour * HOUR).hour == BURST
        for quarter in range(4):
            platform.clock.time = begin + hour * HOUR + quarter * timedelta(minutes=15) + seconds(60)
            took = 2 * MS if busy else MS // 10
            await platform.ended(tickets=2, required_capabilities=(capability,), actual_duration_ms=took // 2)


async def passed(platform: AnalysedPlatform, days: int) -> None:
    """Let so many days of work pass until `T0`, with a worker that has a slot; the analysis begins then."""
    for day in range(DAYS - days, DAYS):
        await burst(platform, day)
    platform.clock.time = T0
    await heartbeat(platform)
    assert await platform.tick() == Analyzed()


async def heartbeat(platform: AnalysedPlatform) -> None:
    known = await platform.ports.registry.worker("worker-1")
    now, version = platform.clock.time, 1 if known is None else known.version + 1
    worker = make_worker(capabilities=("build",), slots=1, last_seen=now, reported=Health.HEALTHY, version=version)
    await platform.ports.registry.put(worker)


async def of_type(platform: AnalysedPlatform, kind: InsightType) -> list[Insight]:
    return [one for one in await platform.insights() if one.insight_type is kind]


async def next_hour(platform: AnalysedPlatform) -> Analyzed:
    """Let an hour pass, and the analysis look at it."""
    begun = T0 + (platform.clock.time - T0) // HOUR * HOUR
    platform.clock.time = begun + HOUR + DELAY
    await heartbeat(platform)
    return await platform.tick()


async def first_look(platform: AnalysedPlatform) -> Analyzed:
    """Let the first window pass, in which the worker is there."""
    platform.clock.time = T0 + LENGTH + DELAY
    await heartbeat(platform)
    return await platform.tick()


class TestAhead:
    async def test_a_platform_with_a_past_is_told_its_bottleneck_of_the_next_day(
        self, platform: AnalysedPlatform
    ) -> None:
        await passed(platform, DAYS)
        done = await first_look(platform)
        assert (done.failed, done.bottlenecks) == ({}, 1)
        assert done.forecast == {60: 0, 360: 0, 1440: 0}
        found = {one.related_entities[0].entity_id: one for one in await of_type(platform, InsightType.PREDICTIVE)}
        assert found.keys() == {"build"}  # that all workers together are too few says no more
        one = found["build"]
        assert one.metrics["starts_in_hours"] == BURST - T0.hour
        assert (one.metrics["missing_slots"], one.metrics["slots"]) == (1, 1)
        assert one.metrics["load"] == pytest.approx(2, abs=0.05)
        assert one.recommendations[0].action.startswith("PREEMPTIVE_SCALING: add 1 slot of")
        assert one.confidence_score > 0.8
        assert {one.insight_id for one in found.values()} <= {one.insight_id for one in platform.told.of()}

    async def test_the_same_bottleneck_is_renewed_each_hour(self, platform: AnalysedPlatform) -> None:
        await passed(platform, DAYS)
        ticks = [await first_look(platform), await next_hour(platform), await next_hour(platform)]
        assert [tick.bottlenecks for tick in ticks] == [1, 1, 1]
        [build] = [one for one in await of_type(platform, InsightType.PREDICTIVE) if "'build'" in one.title]
        assert windows_of(build) == 3
        assert build.time_window.end == T0 + 2 * HOUR
        assert sum(one.insight_id == build.insight_id for one in platform.told.of()) <= 3

    async def test_an_hour_is_looked_at_once(self, platform: AnalysedPlatform) -> None:
        await passed(platform, DAYS)
        assert (await platform.next_window()).forecast
        again = [await platform.next_window() for _ in range(3)]
        assert [tick.forecast for tick in again] == [{}, {}, {}]
        assert all(tick.windows == 1 for tick in again)

    async def test_enough_workers_and_too_little_history_are_no_insights(self, platform: AnalysedPlatform) -> None:
        await passed(platform, 1)
        done = await platform.next_window()
        assert (done.forecast, done.bottlenecks, done.failed) == ({}, 0, {})
        assert await of_type(platform, InsightType.PREDICTIVE) == []


class TestReading:
    async def test_a_long_past_is_read_in_parts_each_flow_once(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await passed(platform, DAYS)
        monkeypatch.setattr(hourly, "AT_ONCE", 50)
        in_time = iter([True, True, False] * 50)
        monkeypatch.setattr(hourly.HourLook, "_in_time", property(lambda _: next(in_time)))
        ticks = [await platform.next_window() for _ in range(3)]
        assert [tick.forecast for tick in ticks] == [{}, {}, {}]
        monkeypatch.setattr(hourly.HourLook, "_in_time", property(lambda _: True))
        assert (await platform.next_window()).forecast
        state, _ = await hour_state(platform.ports.key_values)
        assert state is not None
        sums = await sums_of(platform.ports.key_values, state)
        assert sums is not None
        assert sum(sums[0].by_name[ARRIVALS]) == DAYS * 96

    async def test_a_lost_or_unreadable_part_is_read_again(self, platform: AnalysedPlatform) -> None:
        await passed(platform, DAYS)
        await first_look(platform)
        entries = platform.ports.key_values
        for key in (f"{KEY}/1/00", KEY):
            entry = await entries.get(STATE, key)
            assert entry is not None
            await entries.put(STATE, key, b"[]", version=entry.version)
            done = await next_hour(platform)
            assert (done.failed, done.bottlenecks) == ({}, 1)

    async def test_all_that_is_kept_fits_into_values(self, platform: AnalysedPlatform) -> None:
        for day in range(DAYS):
            await burst(platform, day, f"capability-{day}\n{'x' * 90}")
        platform.clock.time = T0
        await platform.tick()
        await platform.next_window()
        page = await platform.ports.key_values.page(STATE, None, 100)
        assert len(page) > DAYS
        assert all(len(entry.value) < VALUE_BYTES for entry in page)

    async def test_a_part_that_fails_stops_no_other(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("a stranger's number")

        monkeypatch.setattr(hourly, "odd_rows", broken)
        await passed(platform, DAYS)
        done = await first_look(platform)
        assert done.bottlenecks == 1
        assert "ZeroDivisionError" in done.failed["odd-rows"]


class TestCausesAndAnomalies:
    async def test_what_drives_waits_is_told_with_its_lag(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw = random.Random(1)
        slow = [float(draw.random() < 0.2) for _ in range(288)]
        waits = [7 + 2 * value + draw.gauss(0, 0.5) for value in [0.0, *slow[:-1]]]
        by_name = {"flows": (9.0,) * 288, "wait": tuple(waits), "times/wait": (1.0,) * 288}
        by_name |= {f"{PACE}bad": tuple(slow), f"times/{PACE}bad": (1.0,) * 288}
        steps = driver_steps(Sums(since=T0, by_name=by_name))
        monkeypatch.setattr(hourly, "driver_steps", lambda _: steps)
        await passed(platform, 1)
        await platform.next_window()
        [one] = await of_type(platform, InsightType.CAUSAL)
        assert one.metrics["lag_minutes"] == 5
        assert [each.entity_id for each in one.related_entities] == ["bad", "wait"]
        assert "The graph" in one.detailed_analysis

    async def test_an_hour_of_slow_tickets_and_of_a_burst_is_an_anomaly(self, platform: AnalysedPlatform) -> None:
        await passed(platform, DAYS)
        await first_look(platform)
        for _ in range(40):
            platform.clock.time += seconds(20)
            await platform.ended(required_capabilities=("build",), actual_duration_ms=9 * MS)
        done = await next_hour(platform)
        assert done.odd[AnomalyKind.DURATION] >= 30
        found = {one.metadata["rule"] for one in await of_type(platform, InsightType.ANOMALY)}
        assert "odd-duration" in found
        later = await next_hour(platform)  # arrivals are compared when most of their flows have ended
        assert later.odd[AnomalyKind.LOAD] >= 1
        assert "odd-load" in {one.metadata["rule"] for one in await of_type(platform, InsightType.ANOMALY)}


def test_the_state_of_a_look_is_small() -> None:
    from functions._core.insights.hour_state import HourState
    from functions._core.learning.history_reader import HistoryCursor
    from functions._core.learning.load_forecast import ForecastPoint

    points = tuple(ForecastPoint(start=T0, value=1.0, low=0.0, high=2.0) for _ in range(8))
    names = tuple(f"work/{number}{'x' * 60}" for number in range(22))
    state = HourState(done_until=T0, cursor=HistoryCursor(at=T0), names=names, expected=points)
    assert len(encode(state)) < VALUE_BYTES / 4
