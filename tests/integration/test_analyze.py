"""The analysis of history, window by window: what is stored and told, once, whatever crashes and whoever else works."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.errors import Rejected, Unavailable
from functions._core.insights import stored
from functions._core.insights.analysis import (
    CLAIM,
    MOST_OPEN,
    PER_WINDOW,
    RULES,
    STATE,
    WINDOWS,
    AnalysisState,
    OpenProblem,
    analysis_state,
    keep_domains,
    last_domains,
)
from functions._core.insights.figures import FIGURES, KEPT
from functions._core.insights.findings import evidence
from functions._core.insights.generation import LIVES, windows_of
from functions._core.insights.insight import InsightType, insight_hash
from functions._core.insights.scores import confidence
from functions._core.insights.window import LENGTH, HistoryWindow
from functions._core.learning.history_reader import ended_between
from functions._core.placement.ranking import health_of
from functions._core.placement.workers import Registration, refuse_own
from functions._core.ports import VALUE_BYTES
from functions._core.records.record import encode
from functions._core.records.values import Health
from functions._core.records.worker import OWN_ANALYST, AgentType, AssignmentMode
from functions._core.rules import Rules
from functions.analyze import function
from functions.analyze.function import AT_ONCE, DELAY, analyze
from tests.support.analysis import AnalysedPlatform
from tests.support.builders import T0, seconds
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite


@pytest.fixture
async def platform() -> AnalysedPlatform:
    """A platform whose analysis has begun."""
    made = AnalysedPlatform(MemoryStore().stores)
    await made.tick()
    return made


class AnalysisSuite:
    async def test_flows_that_fail_are_an_insight_that_is_stored_and_told(self, stores: Stores) -> None:
        platform = AnalysedPlatform(stores)
        assert await platform.tick() == function.Analyzed()
        await platform.end_some(3, "FAILED")
        await platform.end_some(2, said={"consensus_metrics": {"divergence_score": 0.2, "convergence_time_ms": 5001}})
        done = await platform.next_window()
        assert (done.windows, done.renewed, done.behind, done.failed) == (1, 0, 0, {})
        found = {one.metadata["rule"]: one for one in await platform.insights()}
        assert found.keys() == {"flow-failure", "divergence", "slow-consensus"}
        assert found["flow-failure"].metrics["flows"] == 3
        assert sum(done.insights.values()) == 3
        assert {one.insight_id for one in platform.told.of()} == {one.insight_id for one in found.values()}
        assert all(one.hash == insight_hash(one) for one in found.values())
        again = await platform.tick()
        assert (again.windows, len(platform.told.events)) == (0, 6)

    async def test_of_two_processes_one_closes_a_window(self, stores: Stores) -> None:
        one, other = AnalysedPlatform(stores), AnalysedPlatform(stores)
        await one.tick()
        await one.end_some(3, "FAILED")
        other.clock.time = one.clock.time = T0 + LENGTH + DELAY
        done = await asyncio.gather(one.tick(), other.tick())
        assert sorted(tick.windows for tick in done) == [0, 1]
        assert len(await one.insights()) == 1
        assert len(one.told.events) + len(other.told.events) == 2


class TestOnMemory(OnMemory, AnalysisSuite):
    """In memory."""


class TestOnSqlite(OnSqlite, AnalysisSuite):
    """In a file."""


class TestOnPostgres(OnPostgres, AnalysisSuite):
    """In a database."""


class TestOnDynamo(OnDynamo, AnalysisSuite):
    """In a table."""


class TestWindows:
    async def test_the_first_tick_begins_now_and_not_at_the_beginning_of_time(self) -> None:
        platform = AnalysedPlatform(MemoryStore().stores)
        await platform.end_some(3, "FAILED")
        platform.clock.time = T0 + 3 * LENGTH + seconds(7)
        assert await platform.tick() == function.Analyzed()
        state = await analysis_state(platform.ports.key_values)
        assert state is not None
        assert state.closed_until == T0 + 3 * LENGTH
        await platform.next_window()
        assert await platform.insights() == []

    async def test_a_window_is_closed_when_history_has_all_of_it_and_no_earlier(
        self, platform: AnalysedPlatform
    ) -> None:
        await platform.end_some(3, "FAILED")
        platform.clock.time = T0 + LENGTH + DELAY - timedelta(milliseconds=1)
        assert (await platform.tick()).windows == 0
        platform.clock.time += timedelta(milliseconds=1)
        assert (await platform.tick()).windows == 1

    async def test_missed_windows_are_caught_up_with_so_many_at_a_tick(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(3, "FAILED")
        platform.clock.time = T0 + 30 * LENGTH + DELAY
        ticks = [await platform.tick() for _ in range(4)]
        assert [tick.windows for tick in ticks] == [AT_ONCE, AT_ONCE, 30 - 2 * AT_ONCE, 0]
        assert [tick.behind for tick in ticks] == [18, 6, 0, 0]
        [insight] = await platform.insights()
        assert (insight.time_window.start, insight.time_window.end) == (T0, T0 + LENGTH)

    async def test_after_a_week_of_silence_a_day_is_caught_up_with(self, platform: AnalysedPlatform) -> None:
        platform.clock.time = T0 + timedelta(days=7) + DELAY
        done = await platform.tick()
        assert done.windows == AT_ONCE
        state = await analysis_state(platform.ports.key_values)
        assert state is not None
        assert state.closed_until == T0 + timedelta(days=6) + AT_ONCE * LENGTH

    async def test_a_clock_that_was_years_ahead_does_not_end_the_analysis(self, platform: AnalysedPlatform) -> None:
        platform.clock.time = T0 + timedelta(days=3650)
        await platform.tick()
        platform.clock.time = T0 + LENGTH
        await platform.tick()
        platform.clock.time += seconds(1)
        await platform.end_some(3, "FAILED")
        assert (await platform.next_window()).windows == 1
        assert len(await platform.insights()) == 1

    async def test_a_state_that_cannot_be_read_is_begun_anew(self, platform: AnalysedPlatform) -> None:
        entry = await platform.ports.key_values.get(STATE, WINDOWS)
        assert entry is not None
        await platform.ports.key_values.put(STATE, WINDOWS, b"{", version=entry.version)
        await platform.tick()
        await platform.end_some(3, "FAILED")
        assert (await platform.next_window()).windows == 1

    async def test_rehearsals_say_nothing(self, platform: AnalysedPlatform) -> None:
        whole = ended_between

        async def rehearsed(*arguments: Any, **more: Any) -> Any:
            batch = await whole(*arguments, **more)
            return batch._replace(flows=tuple((flow.but(simulated=True), rows) for flow, rows in batch.flows))

        await platform.end_some(3, "FAILED")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(function, "ended_between", rehearsed)
            await platform.next_window()
        assert await platform.insights() == []


class TestCrashes:
    async def test_what_could_not_be_told_is_told_later_with_the_same_ids(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(3, "FAILED")
        platform.told.away = True
        with pytest.raises(Unavailable):
            await platform.next_window()
        [before] = await platform.insights()
        platform.told.away = False
        done = await platform.tick()
        assert (done.windows, sum(done.insights.values())) == (1, 1)
        assert await platform.insights() == [before]
        assert [event.subject for event in platform.told.events] == [before.insight_id] * 2
        assert windows_of(before) == 1

    async def test_a_process_that_dies_is_followed_by_another_after_its_claim(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            """The end of a process."""

        async def dies(*_: object) -> None:
            raise Killed

        await platform.end_some(3, "FAILED")
        monkeypatch.setattr(function, "keep_domains", dies)
        with pytest.raises(Killed):
            await platform.next_window()
        monkeypatch.undo()
        assert (await platform.tick()).windows == 0
        platform.clock.time += CLAIM
        assert (await platform.tick()).windows == 1
        assert len(await platform.insights()) == 1
        assert len({event.id for event in platform.told.events}) == 2

    async def test_who_has_lost_the_claim_does_not_count_what_another_has_done(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = AnalysedPlatform(platform.stores)
        keep = keep_domains

        async def slow(*arguments: Any) -> None:
            monkeypatch.setattr(function, "keep_domains", keep)
            other.clock.time = platform.clock.time + CLAIM
            assert (await other.tick()).windows == 1
            await keep(*arguments)

        await platform.end_some(3, "FAILED")
        monkeypatch.setattr(function, "keep_domains", slow)
        done = await platform.next_window()
        assert (done.windows, done.insights) == (0, {})
        assert len(await platform.insights()) == 1
        assert {event.id for event in platform.told.events} == {event.id for event in other.told.events}

    async def test_a_rule_that_fails_stops_no_other(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_window: HistoryWindow) -> Any:
            raise ZeroDivisionError("a rule")

        monkeypatch.setitem(RULES, "consensus", broken)
        await platform.end_some(3, "FAILED")
        done = await platform.next_window()
        assert done.failed == {"consensus": "ZeroDivisionError('a rule')"}
        assert len(await platform.insights()) == 1

    async def test_without_a_subscriber_insights_are_stored_all_the_same(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(3, "FAILED")
        platform.clock.time = T0 + LENGTH + DELAY
        assert (await analyze(platform.ports, None)).windows == 1
        assert len(await platform.insights()) == 1


class TestHalfTheData:
    async def test_of_too_many_flows_the_first_count_and_insights_are_less_sure(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(function, "MOST_FLOWS", 3)
        await platform.end_some(9, "FAILED", said={})
        await platform.next_window()
        [insight] = await platform.insights()
        assert insight.metrics["flows"] == 3
        assert insight.confidence_score < confidence(0.6, evidence(3), 1)

    async def test_decisions_that_cannot_be_read_make_it_less_sure(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(3, "FAILED")
        await platform.next_window()
        [insight] = await platform.insights()
        assert insight.confidence_score == pytest.approx(confidence(0.5, evidence(3), 1))

    async def test_a_decision_that_is_megabytes_is_read_beside_the_event_loop(self, platform: AnalysedPlatform) -> None:
        said = {"reasoning_summary": "x" * 5_000_000, "consensus_metrics": {"divergence_score": 0.9}}
        await platform.ended(said=said)
        beside = 0

        async def run(compute: Callable[[], Any]) -> Any:
            nonlocal beside
            beside += 1
            return await asyncio.to_thread(compute)

        platform.ports = replace(platform.ports, beside=run)
        await platform.next_window()
        assert [one.metadata["rule"] for one in await platform.insights()] == ["divergence"]
        assert beside >= 2


class TestRenewal:
    async def test_what_is_found_again_renews_its_insight(self, platform: AnalysedPlatform) -> None:
        for _ in range(3):
            await platform.end_some(3, "FAILED")
            await platform.next_window()
        [insight] = await platform.insights()
        assert (windows_of(insight), insight.time_window.start) == (3, T0)
        assert insight.valid_until == T0 + 3 * LENGTH + LIVES[InsightType.OPERATIONAL]
        assert len(platform.told.of()) == 1

    async def test_after_an_hour_of_peace_it_is_another_one(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(3, "FAILED")
        await platform.next_window()
        for _ in range(13):
            await platform.next_window()
        await platform.end_some(3, "FAILED")
        await platform.next_window()
        assert [windows_of(one) for one in await platform.insights()] == [1, 1]
        assert len(platform.told.of()) == 2


class TestAnomalies:
    async def test_a_spike_is_found_and_a_flat_course_is_quiet(self, platform: AnalysedPlatform) -> None:
        for _ in range(12):
            await platform.end_some(3)
            done = await platform.next_window()
            assert done.anomalies == {}
        await platform.end_some(40)
        done = await platform.next_window()
        assert done.anomalies[("flows", "zscore")] == 1
        [insight] = [one for one in await platform.insights() if one.insight_type is InsightType.ANOMALY]
        assert insight.title == "Unusually many: 40 flows ended"
        assert [(one.entity_type, one.entity_id) for one in insight.related_entities] == [("metric", "flows")]
        assert [event.event_type for event in platform.told.events] == ["insights.analyzed"]

    async def test_nine_windows_say_nothing(self, platform: AnalysedPlatform) -> None:
        for _ in range(8):
            await platform.end_some(3)
            await platform.next_window()
        await platform.end_some(40)
        assert (await platform.next_window()).anomalies == {}


class TestTrails:
    async def test_the_statistics_of_domains_are_kept_for_people(self, platform: AnalysedPlatform) -> None:
        await platform.end_some(6, "FAILED", worker_id="w1", domain="infrastructure")
        await platform.end_some(4, worker_id="w1", domain="infrastructure")
        await platform.next_window()
        kept = await last_domains(platform.ports.key_values)
        assert kept is not None
        [domain] = kept.domains
        assert (domain.domain, domain.signals, domain.failures, domain.successes) == ("infrastructure", 10, 6, 4)
        assert "failure-trail" in {one.metadata["rule"] for one in await platform.insights()}


class TestFloods:
    async def test_a_window_brings_so_many_insights_at_most_and_all_fit_their_places(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = RULES["flows"]

        def flood(window: HistoryWindow) -> Any:
            [problem] = found(window)
            return [replace(problem, subject=f"{number}\x00{'x' * 1000}", affected=number) for number in range(500)]

        monkeypatch.setitem(RULES, "flows", flood)
        await platform.end_some(1, "FAILED")
        done = await platform.next_window()
        assert (sum(done.insights.values()), done.left_out) == (PER_WINDOW, 500 - PER_WINDOW)
        for _ in range(6):
            await platform.end_some(1, "FAILED")
            await platform.next_window()
        entry = await platform.ports.key_values.get(STATE, WINDOWS)
        assert entry is not None
        assert len(entry.value) < VALUE_BYTES

    async def test_the_largest_state_fits_its_place(self) -> None:
        course = dict.fromkeys(FIGURES, (999_999_999_999.9,) * KEPT)
        still = {f"{number:016x}": OpenProblem(insight_id="x" * 36, seen_at=T0) for number in range(MOST_OPEN)}
        state = AnalysisState(closed_until=T0, claimed_until=T0, course=course, open=still, tidied_at=T0)
        assert len(encode(state)) < VALUE_BYTES

    async def test_a_flow_with_hostile_texts_makes_an_insight_like_any_other(self, platform: AnalysedPlatform) -> None:
        reason = {"code": "x\n\x1b[31m\u202e" * 50, "message": "<b>" * 2000}
        await platform.ended("FAILED", reason=reason, worker_id="w'); drop table--")
        done = await platform.next_window()
        assert done.failed == {}
        [insight] = await platform.insights()
        assert len(insight.title.splitlines()) == 1
        assert insight.title.isprintable()
        assert len(insight.title) <= 200
        assert "<b>" not in insight.title, "the message of a stranger is in no title"


async def _put_insights(platform: AnalysedPlatform, number: int, **fields: Any) -> None:
    await platform.end_some(1, "FAILED")
    await platform.next_window()
    [one] = await platform.insights()
    for place in range(number):
        await stored.save(platform.ports.key_values, one.but(insight_id=f"{place:08d}", **fields))


class TestExpiry:
    async def test_expired_insights_go_once_a_day(self, platform: AnalysedPlatform) -> None:
        await _put_insights(platform, 5, valid_until=T0 + timedelta(hours=20))
        platform.clock.time = T0 + timedelta(hours=21)
        assert [await platform.tick() for _ in range(30)][-1].behind == 0
        assert len(await platform.insights()) == 6
        assert len(await stored.query(platform.ports.key_values, stored.EVERYTHING, platform.clock.time)) == 1
        platform.clock.time = T0 + timedelta(hours=25)
        done = [await platform.tick() for _ in range(6)]
        assert sum(tick.expired for tick in done) == 5
        assert len(await platform.insights()) == 1

    async def test_of_too_many_the_least_important_go(
        self, platform: AnalysedPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stored, "MOST", 10)
        await _put_insights(platform, 10, impact_score=0.01)
        await _put_more(platform)
        assert await stored.delete_expired(platform.ports.key_values, platform.clock.time) == (6, 10)
        left = await platform.insights()
        assert {f"more-{number}" for number in range(5)} <= {one.insight_id for one in left}


async def _put_more(platform: AnalysedPlatform) -> None:
    [one, *_] = await platform.insights()
    for place in range(5):
        await stored.save(platform.ports.key_values, one.but(insight_id=f"more-{place}", impact_score=0.9))


class TestAnalyst:
    async def test_the_registry_lists_an_analyst_while_the_function_runs(self, platform: AnalysedPlatform) -> None:
        [analyst] = await platform.ports.registry.workers()
        assert (analyst.worker_id, analyst.agent_type) == (OWN_ANALYST, AgentType.ANALYST)
        assert analyst.takes_tickets is False
        for _ in range(5):
            platform.clock.move(60)
            await platform.tick()
            assert await self._health(platform) is Health.HEALTHY
        platform.clock.move(90)
        assert await self._health(platform) is Health.UNHEALTHY

    async def _health(self, platform: AnalysedPlatform) -> Health:
        [analyst] = await platform.ports.registry.workers()
        return health_of(analyst, platform.clock.time, Rules())

    async def test_ticks_in_a_hurry_write_nothing(self, platform: AnalysedPlatform) -> None:
        before = await platform.ports.registry.worker(OWN_ANALYST)
        platform.clock.move(1)
        await platform.tick()
        assert await platform.ports.registry.worker(OWN_ANALYST) == before

    async def test_nobody_else_takes_its_name(self) -> None:
        Registration(worker_id=OWN_ANALYST, delivery=AssignmentMode.PULL)
        with pytest.raises(Rejected) as refused:
            refuse_own(OWN_ANALYST)
        assert (refused.value.code, refused.value.status) == ("reserved_worker", 403)
