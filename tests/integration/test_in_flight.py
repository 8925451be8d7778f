"""Limits of flows and tickets in flight: never exceeded, no place stays free, and who waits is told why."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._adapters.memory.key_values import MemoryKeyValues
from functions._adapters.memory.state import State
from functions._adapters.sql.postgres.store import PostgresStore
from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest
from functions._core.placement.limits import FLOWS, TICKETS, WAITING, give_back, places, room_for, take
from functions._core.records.values import FlowStatus
from functions._core.rules import InFlightLimits
from functions._engine.clock import SystemClock
from functions._engine.settings import Settings, SettingsError
from tests.support.builders import T0
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until


class Watched:
    """Workers that count how many tickets they have at once, of all and of each tenant, and let them end later."""

    def __init__(self, world: LocalWorld) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.flows: Counter[str] = Counter()
        self.world = world
        world.workers.behave = self.take
        world.platform.after_commit = (self.look, *world.platform.after_commit)

    def take(self, assignment: Mapping[str, Any]) -> None:
        tenant = assignment["task_id"].split("-")[0]
        for name in ("all", tenant):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        done = asyncio.create_task(self.finish(assignment, tenant))
        self.world.workers.tasks.add(done)

    async def finish(self, assignment: Mapping[str, Any], tenant: str) -> None:
        await asyncio.sleep(0.01)
        self.now["all"] -= 1
        self.now[tenant] -= 1
        await self.world.platform.report(report_event(assignment, status="COMPLETED"))

    def look(self, step: Any) -> None:
        if step.flow is not None:
            begun = step.flow.status in {FlowStatus.EXECUTING, FlowStatus.PUBLISHING} and step.flow.tickets_generated
            self.flows[step.flow.flow_id] = int(bool(begun))
            self.most["flows"] = max(self.most["flows"], sum(self.flows.values()))


async def test_a_load_never_exceeds_the_limits_and_everything_is_done(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=4, max_tickets=5) as world:
        watched = Watched(world)
        for number in range(3):
            await world.register(f"w{number}", slots=50)
        flows = [
            await world.submit(
                decision(*(task(f"t-{n}") for n in range(6)), task("t-last", *(f"t-{n}" for n in range(6))))
            )
            for _ in range(20)
        ]
        ended = [await world.ended(flow_id) for flow_id in flows]
        await until(lambda: _empty(world), "all places to be given back")
    assert {flow.status for flow in ended} == {FlowStatus.COMPLETED}
    assert watched.most["all"] == 5
    assert watched.most["flows"] <= 4


async def test_a_tenant_at_its_limit_leaves_room_for_the_others(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_flows": 6, "tenant_max_flows": 2, "max_tickets": 6, "tenant_max_tickets": 2}
    async with running_world(tmp_path, **limits) as world:
        watched = Watched(world)
        await world.register(slots=50)
        greedy = [await world.submit(decision(*(task(f"a-{n}") for n in range(8)), tenant_id="a")) for _ in range(4)]
        modest = [await world.submit(decision(*(task(f"b-{n}") for n in range(8)), tenant_id="b")) for _ in range(2)]
        ended = [await world.ended(flow_id) for flow_id in (*modest, *greedy)]
        told = [entry["type"] for flow_id in modest for entry in await world.history(flow_id)]
    assert {flow.status for flow in ended} == {FlowStatus.COMPLETED}
    assert (watched.most["a"], watched.most["b"]) == (2, 2)
    assert "flow.reemitted" not in told, "a flow for which there is room waited for the clock"


async def test_who_waits_is_told_why_and_a_flow_that_was_cancelled_waits_no_longer(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_flows=1, max_tickets=1) as api:
        world = api.world
        world.workers.behave = lambda _assignment: None
        await world.register(slots=50)
        first = await world.submit(decision(task("a"), task("b")))
        held = await world.ticket(first, lambda ticket: ticket.acknowledged_at is not None, "a worker has it")
        waits = await world.ticket(first, lambda ticket: ticket.waiting == "SLOT", "waits for a place")
        second = await world.submit(decision(task("c")))
        third = await world.submit(decision(task("d")))
        flow = await world.reached(second, "GENERATING")
        assert flow.next_wakeup_at is not None
        why = await api.get(f"/api/v1/why/{second}")
        assert "as many flows are in flight as the platform allows (1)" in " ".join(why["text"])
        assert why["waits_for"] == "another flow to end, as too many are in flight"
        assert "As many tickets are in flight" in " ".join((await api.get(f"/api/v1/why/{waits.ticket_id}"))["text"])
        claimed = ClaimRequest(flow_id=first, ticket_id=waits.ticket_id, worker_id="w9")
        with pytest.raises(Rejected, match="as many tickets are in flight"):
            await world.platform.order(claimed)
        await world.cancel(second)
        await world.cancel(first)
        assert (await world.reached(third, "EXECUTING")).reasons == ()
        assert [entry["type"] for entry in await world.history(third)].count("flow.held_back") == 1
        assert held.task_id in {"a", "b"}
        assert await world.ports.key_values.page(WAITING, None, 9) == []


async def test_two_processes_over_one_store_stay_within_the_limits(tmp_path: Path, database_url: str) -> None:
    first, second = [await PostgresStore.open(database_url, owner=f"process-{n}") for n in (1, 2)]
    limits: dict[str, Any] = {"max_flows": 2, "max_tickets": 3}
    async with (
        running_world(tmp_path / "1", first.stores, **limits) as one,
        running_world(tmp_path / "2", second.stores, **limits) as two,
    ):
        both = Watched(one), Watched(two)
        both[1].now, both[1].most, both[1].flows = both[0].now, both[0].most, both[0].flows
        await one.register(slots=50)
        flows = [await (one, two)[n % 2].submit(decision(*(task(f"t-{i}") for i in range(4)))) for n in range(8)]
        ended = [await one.ended(flow_id) for flow_id in flows]
    assert {flow.status for flow in ended} == {FlowStatus.COMPLETED}
    assert both[0].most["all"] <= 3
    assert both[0].most["flows"] <= 2
    for store in (first, second):
        await store.close()


async def test_a_place_whose_holder_died_is_taken_back(tmp_path: Path) -> None:
    async with running_world(tmp_path, max_flows=1, max_tickets=1) as world:
        entries = world.ports.key_values
        for kind in (FLOWS, TICKETS):
            await take(kind, {"gone/1": ""}, InFlightLimits(flows=1, tickets=1), entries, T0)
        await world.register()
        flow_id = await world.submit(decision(task("a")))
        assert (await world.ended(flow_id)).status is FlowStatus.COMPLETED


async def test_without_limits_nothing_is_counted(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        await world.run(task("a"))
        assert await places(FLOWS, world.ports.key_values) == ({}, 0)


def test_a_limit_of_a_tenant_needs_that_of_all() -> None:
    with pytest.raises(SettingsError, match="FLOWC_MAX_FLOWS has to be set"):
        Settings.from_mapping({"FLOWC_TENANT_MAX_FLOWS": "3"})
    assert Settings.from_mapping({}).rules.in_flight is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh"), st.sampled_from(["", "x", "y"])), max_size=40))
def test_places_are_never_more_than_the_limits(steps: list[tuple[bool, str, str]]) -> None:
    limits = InFlightLimits(flows=3, tenant_flows=2)

    async def run() -> None:
        entries, clock = MemoryKeyValues(State(), SystemClock()), SystemClock()
        for begins, holder, tenant in steps:
            if begins:
                before, _ = await places(FLOWS, entries)
                granted = await take(FLOWS, {holder: tenant}, limits, entries, clock.now())
                assert bool(granted) == (holder in before or bool(room_for({holder: tenant}, before, (3, 2))))
            else:
                await give_back(FLOWS, {holder}, entries)
            held, _ = await places(FLOWS, entries)
            counts = Counter(tenant for _, tenant in held.values() if tenant)
            assert len(held) <= 3
            assert max(counts.values(), default=0) <= 2

    asyncio.run(run())


async def _empty(world: LocalWorld) -> bool | None:
    left = [await places(kind, world.ports.key_values) for kind in (FLOWS, TICKETS)]
    return True if all(not held for held, _ in left) else None
