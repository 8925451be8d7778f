"""Schedules on every store: what is due begins once, whatever dies, and late runs are made as the policy says."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.sink import MemorySink
from functions._adapters.stores import Stores
from functions._core.errors import Unavailable
from functions._core.events.commands import CancelRequest
from functions._core.ports import Ports
from functions._core.records.models import Flow
from functions._core.schedules import course, stored
from functions._core.schedules.record import SPACE, Backfill, RunResult, ScheduleForm, ScheduleRecord
from functions._core.schedules.wakeups import NEVER, WAKEUPS, arm, read_key
from functions._engine.platform import Platform
from functions._engine.schedules import Schedules
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens
from functions._observability.metrics import Metrics
from tests.support.builders import T0
from tests.support.clocks import HandClock
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.world import LocalWorkers, decision, task

HOUR = 3600
DECISION = {key: value for key, value in decision(task("a")).items() if key != "decision_id"}


@dataclass
class Scheduled:
    """A platform over a store, with a clock that tests move; nothing looks at schedules but they."""

    clock: HandClock
    ports: Ports
    platform: Platform

    def another(self, ports: Ports | None = None) -> Schedules:
        """Return the schedules as another process runs them."""
        used = ports or self.ports
        return Schedules(used, self.platform.metrics, self.platform.admit, self.platform.order)

    async def make(self, name: str = "s", **form: Any) -> ScheduleRecord:
        """Make a schedule; without more it runs each hour."""
        given = {"decision": DECISION, **({} if form.keys() & {"cron", "moments"} else {"every_seconds": HOUR}), **form}
        wanted = ScheduleForm.model_validate(given)
        made = await stored.changed(
            self.ports.key_values, name, lambda before: course.made(wanted, name, before, self.clock.now())
        )
        assert made is not None
        return made

    async def look(self, seconds: float = 0) -> None:
        """Let time pass, and look."""
        self.clock.move(seconds)
        await self.another().round()

    async def schedule(self, name: str = "s") -> ScheduleRecord:
        schedule, _ = await stored.read(self.ports.key_values, name)
        assert schedule is not None
        return schedule

    async def results(self, name: str = "s") -> list[str]:
        return [run.result.value for run in (await self.schedule(name)).runs]

    async def flows(self) -> list[Flow]:
        """Return all flows, the oldest first."""
        page, _ = await self.ports.views.flows(status=None, cursor=None, limit=500)
        return sorted(page, key=lambda flow: flow.decision_id)

    async def end(self, flow_id: str) -> None:
        """Let a flow end."""
        await self.platform.order(CancelRequest(flow_id=flow_id))
        async with asyncio.timeout(60):
            while (flow := await self.ports.store.flow(flow_id)) is None or flow.ended_at is None:
                await asyncio.sleep(0.005)

    async def wakeups(self) -> list[tuple[str, str]]:
        """Return all wake-ups: time and name."""
        page = await self.ports.key_values.page(WAKEUPS, None, 100)
        return [(at.isoformat(), name) for at, name in (read_key(entry.key) for entry in page)]

    async def check_wakeups(self) -> None:
        """Each schedule has one wake-up, and it is that of its record."""
        schedules, _ = await stored.page(self.ports.key_values, None, 100)
        assert sorted(await self.wakeups()) == sorted((one.wakeup_at.isoformat(), one.name) for one in schedules)


@asynccontextmanager
async def scheduled(stores: Stores, folder: Path) -> AsyncIterator[Scheduled]:
    clock = HandClock()
    ports = stores.ports(
        telemetry_sink=MemorySink(), gateway=LocalWorkers(), clock=clock, tokens=JwtTokens(b"k" * 32, clock)
    )
    platform = Platform(Settings.from_mapping({}, data=folder), ports, stores.queue, "http://127.0.0.1:1")
    await platform.start()
    try:
        yield Scheduled(clock, ports, platform)
    finally:
        await platform.close()


class Dies:
    """A port of a process that dies after so many calls."""

    def __init__(self, behind: object, calls: list[int]) -> None:
        self._behind = behind
        self._calls = calls

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._behind, operation)

        async def called(*args: Any, **named: Any) -> Any:
            if self._calls[0] == 0:
                raise Unavailable("dead")
            self._calls[0] -= 1
            return await method(*args, **named)

        return called


class Suite:
    """What holds on every store."""

    @pytest.fixture
    async def world(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Scheduled]:
        async with scheduled(stores, tmp_path) as world:
            yield world

    async def test_a_moment_begins_one_flow_at_its_time(self, world: Scheduled) -> None:
        made = await world.make(sla_seconds=90)
        assert made.next_at is not None
        await world.look((made.next_at - T0).total_seconds() - 1)
        assert await world.flows() == []
        await world.look(1)
        await world.look()
        (flow,) = await world.flows()
        assert flow.decision_id == f"schedule:s:{made.next_at:%Y-%m-%dT%H:%M:%SZ}"
        assert flow.flow_id == course.run_id_of("s", made.next_at)
        assert (await world.schedule()).next_at == made.next_at + timedelta(hours=1)
        assert await world.results() == ["STARTED"]
        await world.check_wakeups()

    async def test_a_process_that_dies_anywhere_loses_no_run_and_makes_none_twice(self, world: Scheduled) -> None:
        """Each look dies one call later than the one before, until one gets through."""
        for allowed in range(40):
            name, calls = f"s{allowed}", [allowed]
            made = await world.make(name, every_seconds=86_400, anchor=world.clock.now() + timedelta(seconds=10))
            world.clock.move(10)
            await world.another(replace(world.ports, key_values=Dies(world.ports.key_values, calls))).round()
            await world.look(40)
            assert made.next_at is not None
            flows = [flow.flow_id for flow in await world.flows() if f":{name}:" in flow.decision_id]
            assert flows == [course.run_id_of(name, made.next_at)], f"after {allowed} calls"
            assert await world.results(name) == ["STARTED"]
            await world.look(40)
            await world.check_wakeups()
            if calls[0]:
                assert allowed > 5, "a look has more calls to die at"
                return
        pytest.fail("no look got through")

    async def test_a_person_who_dies_while_making_a_schedule_leaves_nothing_that_stops_the_next(
        self, world: Scheduled
    ) -> None:
        await arm(world.ports.key_values, T0, "gone")
        await world.look(1)
        assert (await world.wakeups(), await stored.read(world.ports.key_values, "gone")) == ([], (None, 0))
        await arm(world.ports.key_values, T0, "s")
        await world.make("s")
        await world.look(1)
        await world.check_wakeups()

    async def test_processes_that_look_together_make_one_run(self, world: Scheduled) -> None:
        await world.make()
        for _ in range(3):
            world.clock.move(HOUR)
            await asyncio.gather(*(world.another().round() for _ in range(3)))
            await world.look(35)
        assert len(await world.flows()) == 1, "those that follow are skipped: the first one goes on"
        assert await world.results() == ["STARTED", "SKIPPED", "SKIPPED"]
        await world.check_wakeups()

    async def test_a_platform_that_was_down_for_a_day_catches_up_as_the_policy_says(self, world: Scheduled) -> None:
        await world.make("a", catch_up={"seconds": 6 * HOUR, "runs": 3}, overlap="queue")
        await world.make("b", catch_up={"seconds": 2 * HOUR + 1, "runs": 100}, overlap="queue")
        await world.make("c", catch_up={"seconds": 0, "runs": 1})
        await world.look(24 * HOUR + 600)
        last = (T0 + timedelta(hours=24)).replace(minute=0, second=0)
        for name, made, missed in (("a", 3, 21), ("b", 2, 22), ("c", 0, 24)):
            schedule = await world.schedule(name)
            assert schedule.counts.get("MISSED", 0) == missed, name
            taken = [run.moment for run in schedule.runs if run.result is not RunResult.MISSED]
            assert taken == [last - timedelta(hours=number) for number in reversed(range(made))], name
        assert len(await world.flows()) == 2
        await world.check_wakeups()

    async def test_a_run_waits_for_the_end_of_the_one_before(self, world: Scheduled) -> None:
        await world.make(overlap="queue")
        await world.look(HOUR)
        (first,) = await world.flows()
        await world.look(HOUR)
        await world.look(10)
        assert len(await world.flows()) == 1
        await world.end(first.flow_id)
        await world.look(10)
        assert len(await world.flows()) == 2
        assert (await world.schedule()).queue == ()
        assert await world.results() == ["STARTED", "QUEUED", "STARTED"]
        await world.check_wakeups()

    async def test_a_new_run_cancels_the_one_before(self, world: Scheduled) -> None:
        await world.make(overlap="cancel_oldest")
        await world.look(HOUR)
        await world.look(HOUR)
        first, second = await world.flows()
        async with asyncio.timeout(60):
            while (await world.ports.store.flow(first.flow_id) or first).outcome is None:
                await asyncio.sleep(0.005)
        assert (await world.ports.store.flow(second.flow_id) or first).outcome is None
        assert await world.results() == ["STARTED", "STARTED"]

    async def test_the_past_is_made_up_for_once(self, world: Scheduled) -> None:
        await world.make(anchor=T0)
        await world.look(HOUR)
        (regular,) = await world.flows()
        await world.end(regular.flow_id)
        past = Backfill(next=T0 - timedelta(hours=2), until=T0 + timedelta(hours=1), at_once=2)
        await stored.changed(
            world.ports.key_values,
            "s",
            lambda one: one and course.awake(one.but(backfill=past), T0, T0),
        )
        for _ in range(6):
            await world.look(6)
            for flow in await world.flows():
                await world.end(flow.flow_id)
        moments = [T0 + timedelta(hours=number) for number in (-2, -1, 0, 1)]
        assert [flow.flow_id for flow in await world.flows()] == [course.run_id_of("s", moment) for moment in moments]
        assert (await world.schedule()).backfill is None
        assert await world.results() == ["STARTED"] * 4
        await world.check_wakeups()


class TestMemory(OnMemory, Suite):
    """The reference."""


class TestSqlite(OnSqlite, Suite):
    """One machine."""


class TestPostgres(OnPostgres, Suite):
    """A cluster."""


class TestDynamo(OnDynamo, Suite):
    """AWS."""


class Counting:
    """A port that keeps the calls that it passes on."""

    def __init__(self, behind: object) -> None:
        self._behind = behind
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._behind, operation)

        async def called(*args: Any, **named: Any) -> Any:
            self.calls.append((operation, *args))
            return await method(*args, **named)

        return called


class TestOne(OnMemory):
    """What does not depend on the store."""

    @pytest.fixture
    async def world(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Scheduled]:
        async with scheduled(stores, tmp_path) as world:
            yield world

    async def test_ten_thousand_idle_schedules_cost_one_page_of_one_key(self, world: Scheduled) -> None:
        for number in range(10_000):
            await arm(world.ports.key_values, T0 + timedelta(hours=1, seconds=number), f"s{number}")
        counting = Counting(world.ports.key_values)
        schedules = world.another(replace(world.ports, key_values=counting))
        await schedules.round()
        assert counting.calls == [("page", WAKEUPS, None, 1)]
        assert schedules.begin(world.clock.now()) == T0 + timedelta(hours=1)
        assert len(counting.calls) == 1, "the timer asks nothing in between"

    async def test_a_schedule_that_cannot_be_read_keeps_no_other_waiting(self, world: Scheduled) -> None:
        await world.make("good")
        broken = await world.make("broken")
        entry = await world.ports.key_values.get(SPACE, "broken")
        assert entry is not None
        await world.ports.key_values.put(SPACE, "broken", b"{}", version=entry.version)
        await world.look(HOUR)
        assert [flow.flow_id for flow in await world.flows()] == [course.run_id_of("good", broken.next_at or T0)]
        waits = {name: at for at, name in await world.wakeups()}
        assert waits["broken"] == (world.clock.now() + timedelta(seconds=30)).isoformat(), "it is looked at again"

    async def test_a_schedule_that_is_over_has_a_wakeup_that_never_comes(self, world: Scheduled) -> None:
        await world.make(moments=[T0 + timedelta(hours=1)])
        await world.look(HOUR)
        assert len(await world.flows()) == 1
        assert await world.wakeups() == [(NEVER.isoformat(), "s")]

    async def test_what_is_due_is_counted(self, world: Scheduled) -> None:
        await world.make()
        await world.look(HOUR + 7)
        await world.look(HOUR)
        text = world.platform.metrics.text().decode()
        assert 'flowc_schedules_runs_total{result="STARTED"} 1.0' in text
        assert 'flowc_schedules_runs_total{result="SKIPPED"} 1.0' in text
        assert "flowc_schedules_lateness_seconds_sum 7.0" in text

    async def test_a_decision_that_the_door_refuses_is_told(self, world: Scheduled) -> None:
        made = await world.make()
        other = {**course.decision_of(made, T0), "decision_id": "x" * 300}

        async def admit(event: Any) -> str:
            return await world.platform.admit(replace(event, data=other))

        world.clock.move(HOUR)
        await Schedules(world.ports, Metrics(), admit, world.platform.order).round()
        (run,) = (await world.schedule()).runs
        assert (run.result, run.flow_id, (await world.schedule()).running) == (RunResult.REFUSED, None, ())
        assert "decision_id" in (run.reason or "")


def test_words_of_a_run_are_filled_in_and_nothing_else() -> None:
    given: Mapping[str, Any] = {
        **DECISION,
        "labels": {"team": "data"},
        "cognitive_plan": {"x": [{"$schedule": "moment"}, {"$schedule": "name"}, {"$schedule": "y"}, {"$output": "a"}]},
    }
    form = ScheduleForm.model_validate({"decision": given, "every_seconds": 60, "sla_seconds": 5})
    made = course.decision_of(course.made(form, "nightly", None, T0), T0)
    assert made["cognitive_plan"]["x"] == ["2025-03-01T12:00:00Z", "nightly", {"$schedule": "y"}, {"$output": "a"}]
    assert made["labels"] == {"team": "data", "schedule": "nightly", "scheduled-at": "20250301T120000Z"}
    assert (made["decision_id"], made["sla_deadline_seconds"]) == ("schedule:nightly:2025-03-01T12:00:00Z", 5)
