"""Error budgets on one machine: its own rounds calculate and enforce, and cost next to nothing without SLOs."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.events.envelope import CloudEvent
from functions._core.slo import counting
from functions._core.slo.stored import budgets
from functions._engine.budgets import COUNTS_ON, Budgets
from functions.calculate_budgets import function
from tests.support.builders import seconds
from tests.support.one_machine import one_machine
from tests.support.slo_course import a_spent_budget_freezes
from tests.support.slo_history import NOW, ended_flow, ports_of, slo
from tests.support.slo_history import stored as put
from tests.support.world import decision, running_world, task, until

SECONDS = 60


async def nobody(events: tuple[CloudEvent, ...]) -> None:
    raise AssertionError(events)


async def test_a_spent_error_budget_freezes_its_service_and_tells_it(tmp_path: Path) -> None:
    async with one_machine(tmp_path, webhooks=True) as world:
        world.running.engine.budgets.interval = timedelta(seconds=1)
        await a_spent_budget_freezes(world, world.running.ports.key_values, SECONDS)

        async def shown() -> str | None:
            text = (await world.client.get("/metrics")).text
            return text if "sla_budget_remaining_percent{" in text else None

        text = await until(shown, "the budget among the metrics", SECONDS)
    told = '{event_type="sla.freeze.activated",topic="sla.freeze.activated"}'
    for series in ('sla_freezes_activated_total{scope="SERVICE"}', f"sla_kafka_events_published_total{told}"):
        assert f"{series} 1.0" in text
    for name in ("sla_burn_rate", "sla_budget_status", "sla_slos_total", "sla_policies_total"):
        assert f"{name}{{" in text


async def test_a_round_without_slos_reads_three_empty_pages_and_writes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        platform = world.platform
        calls: list[str] = []

        class Watched:
            """Key values that tell what is asked of them."""

            def __getattr__(self, name: str) -> Any:
                calls.append(name)
                return getattr(platform.ports.key_values, name)

        ports = replace(platform.ports, key_values=Watched())
        quiet = Budgets(ports, platform.instruments, nobody, lambda _type: True, alone=True)
        await quiet.tick()
        assert calls == ["page"] * 3
        await world.register()
        flow = await world.submit(decision(task("a")))
        await world.ended(flow)
        assert await budgets(platform.ports.key_values) == []


async def test_a_round_that_has_not_counted_all_is_followed_by_one_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "LOOKED_AT", 4)
    monkeypatch.setattr(counting, "PAGE", 3)
    monkeypatch.setattr(function, "COUNTING_SECONDS", 0.0)
    ports, clock = ports_of(MemoryStore().stores)
    for number in range(20):
        await ended_flow(ports, number, NOW - seconds(100 + 3600 * number))
    await put(ports, slo())
    async with running_world(tmp_path) as world:
        own = Budgets(ports, world.platform.instruments, nobody, lambda _type: False, alone=True)
        rounds = 0
        while not await budgets(ports.key_values):
            rounds += 1
            assert rounds < 9
            await own.round()
            await until(lambda: rest(own), "the end of the round", SECONDS)
            clock.move(COUNTS_ON.total_seconds())
        assert rounds > 1
        await own.round()
        assert not own.busy, "all is counted: the next round comes after the interval"


async def rest(own: Budgets) -> bool | None:
    return None if own.busy else True


async def test_the_engine_recalculates_enforces_and_resolves_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        ports = world.platform.ports
        await world.register()
        await world.ended(await world.submit(decision(task("a"))))
        await put(ports, slo())

        async def calculated() -> Any:
            return await world.platform.recalculate("s")

        budget = await until(calculated, "a budget", SECONDS)
        assert (budget.sample_count, budget.error_budget_remaining) == (1, 100)
        assert await world.platform.enforce_policies("s") == ()
