"""Rollups on every store: what is counted once is kept, and a look has a bound."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory import MemorySink
from functions._adapters.stores import Stores
from functions._core.ports import Ports
from functions._core.records.models import Flow
from functions._core.rollups import WINDOWS
from functions._engine.tokens import JwtTokens
from functions.api import rollup_reader
from functions.api.rollup_reader import LOOKED_AT, SPACE, RecentRollups, Rollup, read_rollup
from tests.support.builders import later, make_flow, make_step, seconds
from tests.support.clocks import HandClock
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import LocalWorkers, task

ROLLUPS = "/api/v1/flow-c/rollups"
NOW = datetime.fromisoformat("2025-03-01T12:34:56.789Z")
HOUR = WINDOWS["1h"]


def ports_of(stores: Stores) -> tuple[Ports, HandClock]:
    clock = HandClock()
    clock.time = NOW
    tokens = JwtTokens(b"a secret" * 4, clock)
    return stores.ports(telemetry_sink=MemorySink(), gateway=LocalWorkers(), clock=clock, tokens=tokens), clock


async def put(stores: Stores, number: int, end: datetime | None, took: float = 1, outcome: str = "COMPLETED") -> Flow:
    """Store a flow that ended at a moment; None: it came `took` seconds ago and has not ended."""
    flow = make_flow(number, received_at=(end or NOW) - seconds(took))
    await stores.store.commit(make_step(flow))
    if end is not None:
        more = {"status": outcome, "outcome": outcome, "ended_at": end, "next_wakeup_at": None}
        flow = later(flow, tally={"COMPLETED": 2}, **more)
        await stores.store.commit(make_step(flow))
    return flow


def by_minute(rollup: Rollup) -> dict[int, int]:
    """Return how many flows ended, by how many minutes ago their bucket began."""
    last = rollup.buckets[-1].start
    ended = {int((last - one.start).total_seconds()) // 60: sum(one.outcomes.values()) for one in rollup.buckets}
    return {ago: number for ago, number in ended.items() if number}


class RollupSuite:
    """What has to hold on every store."""

    async def test_a_look_counts_what_ended_and_keeps_what_is_over(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        for number, ago in ((1, 0.0), (2, 70), (3, 130), (4, 600), (5, 3700)):
            await put(stores, number, NOW - seconds(ago))
        await put(stores, 6, None, took=130)
        first = await read_rollup(ports, HOUR, clock.now())
        assert by_minute(first) == {0: 1, 1: 1, 2: 1, 10: 1}
        assert all(bucket.since == bucket.start for bucket in first.buckets)
        assert [flow.decision_id for flow in first.under_way] == ["decision-6"]
        kept = await ports.key_values.page(SPACE, None, 99)
        assert len(kept) == 58, "neither the open bucket, nor the one before, as a flow may still end in it"
        # A bucket that is over is not counted again; a later one is.
        await put(stores, 7, NOW - seconds(601))
        clock.move(60)
        await put(stores, 8, clock.now())
        second = await read_rollup(ports, HOUR, clock.now())
        assert by_minute(second) == {0: 1, 1: 1, 2: 1, 3: 1, 11: 1}
        assert len(await ports.key_values.page(SPACE, None, 99)) == 59

    async def test_a_look_that_meets_its_bound_says_so_and_the_next_goes_on(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rollup_reader, "LOOKED_AT", 5)
        monkeypatch.setattr(rollup_reader, "PAGE", 3)
        ports, clock = ports_of(stores)
        ends = [NOW - seconds(150), NOW - seconds(150), *(NOW - seconds(300 + 20 * n) for n in range(9))]
        for number, end in enumerate(ends):
            await put(stores, number, end)
        seen = []
        for _ in range(9):
            rollup = await read_rollup(ports, HOUR, clock.now())
            seen.append(sum(by_minute(rollup).values()))
            counted = [bucket for bucket in rollup.buckets if bucket.since == bucket.start]
            if len(counted) == HOUR.count:
                break
        assert seen[-1] == len(ends)
        assert seen == sorted(seen)
        assert len(seen) > 2
        assert seen[0] < len(ends)
        exact: dict[int, int] = {}
        for end in ends:
            ago = int((HOUR.start_of(NOW) - HOUR.start_of(end)).total_seconds()) // 60
            exact[ago] = exact.get(ago, 0) + 1
        assert by_minute(rollup) == exact

    async def test_two_who_look_at_the_same_moment_count_the_same(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        await put(stores, 1, NOW - seconds(200))
        rollups = await asyncio.gather(*(read_rollup(ports, HOUR, clock.now()) for _ in range(3)))
        assert [by_minute(rollup) for rollup in rollups] == [{3: 1}] * 3
        assert by_minute(await read_rollup(ports, HOUR, clock.now())) == {3: 1}

    async def test_a_kept_bucket_that_cannot_be_read_is_counted_again(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        await put(stores, 1, NOW - seconds(600))
        await read_rollup(ports, HOUR, clock.now())
        for entry in await ports.key_values.page(SPACE, None, 99):
            await ports.key_values.put(SPACE, entry.key, b'{"start": 7}', version=entry.version)
        assert by_minute(await read_rollup(ports, HOUR, clock.now())) == {10: 1}
        assert by_minute(await read_rollup(ports, HOUR, clock.now())) == {10: 1}


class TestOnMemory(OnMemory, RollupSuite): ...


class TestOnSqlite(OnSqlite, RollupSuite): ...


class TestOnPostgres(OnPostgres, RollupSuite): ...


class TestOnDynamo(OnDynamo, RollupSuite): ...


class TestAnswersAreShared(OnMemory):
    async def test_a_hundred_who_look_at_once_ask_the_store_once(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        asked = 0
        ended = stores.statistics.ended

        async def counting(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            return await ended(*arguments)

        object.__setattr__(ports.statistics, "ended", counting)
        recent = RecentRollups()
        await asyncio.gather(*(recent.of(ports, HOUR) for _ in range(100)))
        once = asked
        assert once <= 2
        clock.move(11)
        await recent.of(ports, HOUR)
        assert once < asked <= 2 * once


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


@pytest.mark.parametrize(("window", "buckets", "width"), [("1h", 60, 60), ("24h", 96, 900), ("7d", 84, 7200)])
async def test_flows_that_really_ran_are_in_the_last_bucket(api: Api, window: str, buckets: int, width: int) -> None:
    await api.world.register()
    api.world.workers.behave = lambda about: {
        "status": "FAILED" if about["task_id"] == "bad" else "COMPLETED",
        **({"error": {"type": "Broken", "message": "no", "retryable": False}} if about["task_id"] == "bad" else {}),
    }
    await api.world.run(task("a"), task("b"))
    await api.world.run(task("bad"))
    found = await api.get(ROLLUPS, window=window)
    assert (len(found["buckets"]), found["bucket_seconds"]) == (buckets, width)
    totals = found["totals"]
    assert totals["ended"] == {"COMPLETED": 1, "FAILED": 1}
    assert (totals["admitted"], totals["sla_met"], totals["sla_missed"], totals["complete"]) == (2, 1, 0, True)
    assert totals["tickets"] == {"COMPLETED": 2, "FAILED": 1}
    assert totals["p50_ms"] > 0
    assert [one["count"] for one in found["reasons"]] == [1]
    assert (found["active"], found["at_risk"], found["complete"]) == (0, 0, True)
    for name in ("admitted", "sla_met"):
        assert sum(bucket[name] for bucket in found["buckets"]) == totals[name]


async def test_flows_at_risk_are_counted_among_those_that_have_not_ended(api: Api) -> None:
    now = api.world.ports.clock.now()
    for number, announced in enumerate(("on_track", "at_risk", "breached")):
        flow = make_flow(number, announced=announced, received_at=now, next_wakeup_at=now + timedelta(hours=1))
        await api.world.ports.store.commit(make_step(flow))
    found = await api.get(ROLLUPS)
    assert (found["active"], found["at_risk"], found["totals"]["admitted"]) == (3, 2, 3)


@pytest.mark.parametrize("window", ["", "2h", "1H", "7d' OR 1=1", "x" * 10_000])
async def test_other_windows_are_refused(api: Api, window: str) -> None:
    problem_of(await api.client.get(ROLLUPS, params={"window": window}), 422, "invalid_data")


async def test_a_key_without_a_role_to_read_is_refused(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as locked:
        problem_of(await locked.client.get(ROLLUPS), 401, "missing_key")


def test_a_look_is_bounded() -> None:
    assert LOOKED_AT <= 10_000
