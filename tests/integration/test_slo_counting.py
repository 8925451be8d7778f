"""The own history of SLOs on every store: exact, counted once, and bounded in each look."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Conflict
from functions._core.ports import Ports
from functions._core.slo import counting
from functions._core.slo.budget import Indicator
from functions._core.slo.counting import SPACE, counted_since, key_of, own_history
from functions._core.slo.definition import HistoryQuery
from tests.support.builders import seconds
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.slo_history import NOW, ended_flow, ports_of

MINUTES, HOURS, DAYS = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
SUCCESS = HistoryQuery.model_validate({"measure": "flow_success"})
KEY = key_of(SUCCESS)


def query(measure: str, **fields: Any) -> HistoryQuery:
    return HistoryQuery.model_validate({"measure": measure, **fields})


async def found(ports: Ports, now: datetime, span: timedelta, asked: HistoryQuery = SUCCESS) -> Indicator:
    history = (await own_history(ports, {key_of(asked): asked}, now))[key_of(asked)]
    assert history.counted_since(span) is None
    return history.within(span)


def told(indicator: Indicator) -> tuple[int, int]:
    """Return how many there were, and how many of them were good."""
    return indicator.total or 0, round(indicator.value * (indicator.total or 0))


class CountingSuite:
    """What has to hold on every store."""

    async def test_what_ended_before_and_after_the_first_look_counts_once(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        ends = ((1, 10, "COMPLETED"), (2, 90, "FAILED"), (3, 7200, "COMPLETED"), (4, 4 * 86_400, "TIMED_OUT"))
        for number, ago, outcome in ends:
            await ended_flow(stores, number, NOW - seconds(ago), outcome)
        await ended_flow(stores, 5, NOW - seconds(30), "CANCELLED")
        await ended_flow(stores, 6, NOW - seconds(300), "REJECTED")
        assert told(await found(ports, clock.now(), MINUTES * 5)) == (2, 1)
        assert told(await found(ports, clock.now(), HOURS * 3)) == (3, 2)
        assert told(await found(ports, clock.now(), DAYS * 3)) == (3, 2)
        assert told(await found(ports, clock.now(), DAYS * 30)) == (4, 2)
        clock.move(4200)
        await ended_flow(stores, 7, clock.now(), "FAILED")
        await ended_flow(stores, 8, clock.now() - seconds(1800), "COMPLETED")
        for _ in range(2):
            assert told(await found(ports, clock.now(), HOURS)) == (2, 1)
            assert told(await found(ports, clock.now(), DAYS * 30)) == (6, 3)
        clock.move(40 * 86_400)
        assert await found(ports, clock.now(), DAYS * 30) == Indicator(1.0, 0), "nothing ended, so nothing was bad"
        assert told(await found(ports, clock.now(), DAYS * 90)) == (6, 3)

    async def test_without_flows_nothing_was_bad(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        assert await found(ports, clock.now(), DAYS) == Indicator(1.0, 0)
        assert await own_history(ports, {}, clock.now()) == {}

    async def test_tickets_count_by_type_capability_worker_and_wait(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        got = {"assigned_at": NOW - seconds(100), "attempt": 1, "worker_id": "w-1"}
        tickets = (
            {"status": "COMPLETED", "task_type": "DEPLOY", "ready_at": NOW - seconds(102), **got},
            {"status": "FAILED", "task_type": "DEPLOY", "ready_at": NOW - seconds(200), **got, "worker_id": "w-2"},
            {"status": "COMPLETED", "task_type": "TEST", "required_capabilities": ("python",)},
            {"status": "COMPLETED", "task_type": "TEST", "skipped": True},
            {"status": "CANCELLED", "task_type": "TEST"},
        )
        await ended_flow(stores, 1, NOW - seconds(90), "FAILED", tickets=tickets, labels={"team": "red"})
        await ended_flow(stores, 2, NOW - seconds(95), "CANCELLED", tickets=tickets, labels={"team": "red"})
        wanted = [
            (query("ticket_success"), (3, 2)),
            (query("ticket_success", task_type="DEPLOY"), (2, 1)),
            (query("ticket_success", capability="python"), (1, 1)),
            (query("ticket_success", worker_id="w-2"), (1, 0)),
            (query("queue_wait", within_ms=5000), (2, 1)),
            (query("ticket_success", labels={"team": "blue"}), (0, 0)),
        ]
        histories = await own_history(ports, {key_of(asked): asked for asked, _ in wanted}, clock.now())
        assert [(asked, told(histories[key_of(asked)].within(HOURS))) for asked, _ in wanted] == wanted

    async def test_flows_count_by_plan_tenant_label_deadline_and_time(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        await ended_flow(stores, 1, NOW - seconds(90), took=10, plan_id="p", tenant_id="t", labels={"a": "1", "b": "2"})
        await ended_flow(stores, 2, NOW - seconds(90), took=70, plan_id="q", labels={"a": "1"})
        await ended_flow(stores, 3, NOW - seconds(90), "FAILED", took=1, plan_id="p")
        wanted = [
            (query("flow_success"), (3, 2)),
            (query("flow_success", plan_id="p"), (2, 1)),
            (query("flow_success", tenant_id="t"), (1, 1)),
            (query("flow_success", labels={"b": "2", "a": "1"}), (1, 1)),
            (query("flow_success", labels={"a": "1"}), (2, 2)),
            (query("flow_success", plan_id="p", labels={"a": "2"}), (0, 0)),
            (query("completion_time", within_ms=60_000), (2, 1)),
            (query("sla_met"), (3, 2)),
        ]
        histories = await own_history(ports, {key_of(asked): asked for asked, _ in wanted}, clock.now())
        assert [(asked, told(histories[key_of(asked)].within(HOURS))) for asked, _ in wanted] == wanted

    async def test_each_look_has_its_bound_and_the_next_goes_on(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "LOOKED_AT", 4)
        monkeypatch.setattr(counting, "PAGE", 3)
        ports, clock = ports_of(stores)
        for number in range(1, 10):
            await ended_flow(stores, number, NOW - seconds(100 + 1800 * (number // 2)))
        assert await counted_since(ports, SUCCESS, DAYS, NOW) == NOW - MINUTES, "nobody has looked"
        seen: list[datetime] = []
        while (since := (await own_history(ports, {KEY: SUCCESS}, NOW))[KEY].counted_since(DAYS)) is not None:
            assert await counted_since(ports, SUCCESS, DAYS, NOW) == since
            seen.append(since)
            assert len(seen) < 9
        assert seen
        assert seen == sorted(seen, reverse=True)
        assert told(await found(ports, NOW, DAYS)) == (9, 9)
        assert await counted_since(ports, SUCCESS, DAYS, NOW) is None
        clock.move(7200)
        for number in range(20, 30):  # five of them within one millisecond
            await ended_flow(stores, number, clock.now() - seconds(600 + number // 25), "FAILED")
        looks = [await own_history(ports, {KEY: SUCCESS}, clock.now()) for _ in range(4)]
        complete = [look[KEY].complete for look in looks]
        assert (complete[0], complete[-1]) == (False, True)
        assert told(looks[-1][KEY].within(DAYS)) == (19, 9)


class TestOnMemory(OnMemory, CountingSuite):
    async def test_a_look_counts_on_while_there_is_time(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counting, "LOOKED_AT", 4)
        monkeypatch.setattr(counting, "PAGE", 3)
        ports, clock = ports_of(stores)
        for number in range(1, 40):
            await ended_flow(stores, number, NOW - seconds(100 + 3600 * number))
        left = 3

        def more() -> bool:
            nonlocal left
            left -= 1
            return left >= 0

        first = (await own_history(ports, {KEY: SUCCESS}, NOW, more))[KEY]
        reached = NOW - seconds(100 + 3600 * 11) + timedelta(milliseconds=1)
        assert (first.counted_since(DAYS), first.counted_since(HOURS)) == (reached, None)
        clock.move(60)
        second = (await own_history(ports, {KEY: SUCCESS}, clock.now(), lambda: True))[KEY]
        assert second.counted_since(DAYS * 90) is None
        assert (told(second.within(DAYS)), told(second.within(DAYS * 90))) == ((23, 23), (39, 39))

    async def test_two_who_look_at_once_count_once(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        await own_history(ports, {KEY: SUCCESS}, clock.now())
        clock.move(600)
        await ended_flow(stores, 1, clock.now() - seconds(200))

        class OtherFirst:
            """Lets another process look just before this one writes."""

            def __getattr__(self, name: str) -> Any:
                return getattr(ports.key_values, name)

            async def put(self, *arguments: Any, **more: Any) -> Any:
                await own_history(ports, {KEY: SUCCESS}, clock.now())
                return await ports.key_values.put(*arguments, **more)

        late = replace(ports, key_values=OtherFirst())
        assert told(await found(late, clock.now(), HOURS)) == (1, 1)
        assert told(await found(ports, clock.now(), HOURS)) == (1, 1)

    async def test_a_crash_at_any_write_loses_and_doubles_nothing(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        number = 0
        for crash in range(8):
            clock.move(1500)
            for _ in range(3):
                number += 1
                await ended_flow(stores, number, clock.now() - seconds(100 + number))
            broken = replace(ports, key_values=Crashing(ports, crash % 3))
            with suppress(RuntimeError):
                await own_history(broken, {KEY: SUCCESS}, clock.now())
            assert told(await found(ports, clock.now(), DAYS)) == (number, number)
            assert told(await found(ports, clock.now(), DAYS * 30)) == (number, number)

    async def test_a_record_that_cannot_be_read_is_counted_again(self, stores: Stores) -> None:
        ports, clock = ports_of(stores)
        await ended_flow(stores, 1, NOW - seconds(8000))
        assert told(await found(ports, clock.now(), DAYS)) == (1, 1)
        for entry in await ports.key_values.page(SPACE, None, 9):
            await ports.key_values.put(SPACE, entry.key, b"[]", version=entry.version)
        assert told(await found(ports, clock.now(), DAYS)) == (1, 1)
        with pytest.raises(Conflict):
            await ports.key_values.put(SPACE, entry.key, b"[]", version=entry.version)


class Crashing:
    """Key values whose process dies at a write: before the first one, the second one and so on."""

    def __init__(self, ports: Ports, after: int) -> None:
        self._ports, self._left = ports, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ports.key_values, name)

    async def put(self, *arguments: Any, **more: Any) -> Any:
        if self._left == 0:
            raise RuntimeError("the process dies")
        self._left -= 1
        return await self._ports.key_values.put(*arguments, **more)


class TestOnSqlite(OnSqlite, CountingSuite):
    pass


class TestOnPostgres(OnPostgres, CountingSuite):
    pass


class TestOnDynamo(OnDynamo, CountingSuite):
    pass
