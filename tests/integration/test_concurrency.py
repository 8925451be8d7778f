"""Concurrency keys: never more flows of a key in flight than may be, and beyond that what the plan says."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.postgres.store import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.key_values import SqliteKeyValues
from functions._core.errors import Rejected
from functions._core.events.commands import RedriveRequest
from functions._core.placement.limits import OF_KEY, SPACE, WAITING, WAITING_OF_KEY, give_back, places, take
from functions._core.records.values import FlowStatus
from functions._core.rules import InFlightLimits
from tests.support.builders import T0
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, decision, running_world, task, until

BEGUN = {FlowStatus.EXECUTING, FlowStatus.COMPENSATING, FlowStatus.PUBLISHING}


@asynccontextmanager
async def sqlite_world(folder: Path, **settings: Any) -> AsyncIterator[LocalWorld]:
    """Run a platform over SQLite."""
    store = SqliteStore.open(folder / "store")
    try:
        async with running_world(folder, store.stores, **settings) as world:
            yield world
    finally:
        await store.close()


def limited(beyond: str = "queue", limit: int = 1, key: str = "deploy", **more: Any) -> dict[str, Any]:
    """Return a decision with one task and a concurrency key."""
    return decision(task("a"), concurrency={"key": key, "limit": limit, "beyond": beyond}, **more)


async def held_back(world: LocalWorld, flow_id: str) -> str:
    """Return the reason of a flow that waits for a place, once it does."""

    async def reason() -> str | None:
        flow = await world.flow(flow_id)
        return flow.reasons[0].message if flow is not None and flow.reasons else None

    return await until(reason, f"{flow_id} to wait for a place")


async def nobody_left(world: LocalWorld) -> bool | None:
    """Whether nothing is kept of any key."""
    kept = await world.ports.key_values.page(SPACE, OF_KEY, 1)
    of_key = [entry for entry in kept if entry.key.startswith(OF_KEY)]
    return None if of_key or await world.ports.key_values.page(WAITING_OF_KEY, None, 1) else True


async def at_rest(world: LocalWorld) -> bool | None:
    """Whether the platform has nothing to do."""
    return None if world.platform.busy else True


async def test_flows_of_one_key_wait_in_the_order_of_arrival_and_others_do_not(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        of_env = "deploy {plan_id} to {label:env}"
        plan = {"plan_id": "p", "tasks": [task("a")], "concurrency": {"key": of_env}, "labels": {"env": "test"}}
        prod: dict[str, Any] = {"labels": {"env": "prod"}, "plan_id": "p"}
        first, second, third = [await world.submit(decision(**prod) | {"cognitive_plan": plan}) for _ in range(3)]
        other = await world.submit(decision(plan_id="p") | {"cognitive_plan": plan})
        await world.reached(first, "EXECUTING")
        await world.reached(other, "EXECUTING")
        for flow_id in (second, third):
            told = await held_back(world, flow_id)
            assert told.startswith(
                "as many flows of the concurrency key 'deploy p to prod' are in flight as may be (1):"
            )
            assert first in told
        await world.cancel(first)
        await world.reached(second, "EXECUTING")
        assert (await world.reached(third, "GENERATING")).labels == {"env": "prod"}
        await world.cancel(second)
        await world.reached(third, "EXECUTING")
        lines = await world.history(third)
        assert next(line["cause"] for line in lines if line["type"] == "flow.held_back") == "concurrency_limit"
        for flow_id in (third, other):
            await world.cancel(flow_id)
        await until(lambda: nobody_left(world), "all places to be given back")


async def test_a_flow_beyond_the_limit_is_refused_where_it_says_so(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        first = await world.submit(limited("refuse"))
        await world.reached(first, "EXECUTING")
        refused = await world.ended(await world.submit(limited("refuse")))
        shown = world.platform.metrics.text().decode()
        assert 'flowc_held_back_total{limit="refuse"} 1' in shown
        assert (refused.status, refused.reasons[0].code) == (FlowStatus.REJECTED, "concurrency_limit")
        assert first in refused.reasons[0].message
        await world.cancel(first)
        await until(lambda: nobody_left(world), "the place to be given back")
        await world.reached(await world.submit(limited("refuse")), "EXECUTING")


async def test_a_place_whose_holder_died_refuses_nobody(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        await take(OF_KEY + "deploy", {"gone": ""}, InFlightLimits(flows=1), world.ports.key_values, T0)
        await world.reached(await world.submit(limited("refuse")), "EXECUTING")
        await take(OF_KEY + "queue", {"gone": ""}, InFlightLimits(flows=1), world.ports.key_values, T0)
        await world.reached(await world.submit(limited(key="queue")), "EXECUTING")


async def test_the_newest_flows_stay_where_the_oldest_are_cancelled(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        flows = [await world.submit(limited("cancel_oldest", limit=2)) for _ in range(6)]
        for flow_id in flows[:4]:
            ended = await world.ended(flow_id)
            assert ended.status is FlowStatus.CANCELLED
            assert "takes its place" in ended.reasons[0].message
        for flow_id in flows[4:]:
            await world.reached(flow_id, "EXECUTING")
        assert (await places(OF_KEY + "deploy", world.ports.key_values))[0].keys() == {*flows[4:]}


@pytest.mark.parametrize("beyond", ["queue", "cancel_oldest"])
async def test_a_load_never_exceeds_the_limit_of_its_key(tmp_path: Path, beyond: str) -> None:
    now: dict[str, bool] = {}
    most = Counter[str]()

    def look(step: Any) -> None:
        if step.flow is not None:
            now[step.flow.flow_id] = step.flow.status in BEGUN and bool(step.flow.tickets_generated)
            most["flows"] = max(most["flows"], sum(now.values()))

    async with sqlite_world(tmp_path, max_flows=5) as world:
        world.platform.after_commit = (look, *world.platform.after_commit)
        await world.register(slots=50)
        flows = [
            await world.submit(limited(beyond, limit=3, key="{plan_id}", plan_id="p") | plan_p()) for _ in range(15)
        ]
        ended = Counter([(await world.ended(flow_id)).status for flow_id in flows])
        await until(lambda: nobody_left(world), "all places to be given back")
        assert await world.ports.key_values.page(WAITING, None, 1) == []
    assert most["flows"] <= 3
    assert ended[FlowStatus.COMPLETED] >= 3
    assert beyond != "queue" or ended == {FlowStatus.COMPLETED: 15}


def plan_p() -> dict[str, Any]:
    return {"cognitive_plan": {"plan_id": "p", "tasks": [task("a")]}}


async def test_two_processes_over_one_store_share_the_places_of_a_key(tmp_path: Path, database_url: str) -> None:
    first, second = [await PostgresStore.open(database_url, owner=f"process-{n}") for n in (1, 2)]
    async with (
        running_world(tmp_path / "1", first.stores) as one,
        running_world(tmp_path / "2", second.stores) as two,
    ):
        holder = await one.submit(limited())
        await one.reached(holder, "EXECUTING")
        waits = await two.submit(limited())
        await held_back(two, waits)
        await one.cancel(holder)
        await two.reached(waits, "EXECUTING")
    for store in (first, second):
        await store.close()


async def test_a_flow_whose_wake_up_call_was_lost_begins_by_the_next_round(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        first, second = [await world.submit(limited()) for _ in range(2)]
        await held_back(world, second)
        await until(lambda: at_rest(world), "nothing to be under way")
        await give_back(OF_KEY + "deploy", {first}, world.ports.key_values)  # as by a process that died right after
        await world.reached(second, "EXECUTING")


async def test_a_redrive_takes_a_place_or_is_refused(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        first = await world.submit(limited())
        await world.reached(first, "EXECUTING")
        await world.cancel(first)
        second = await world.submit(limited())
        await world.reached(second, "EXECUTING")
        await world.ended(first)
        with pytest.raises(Rejected, match=r"concurrency key 'deploy' .* redrive flow"):
            await world.platform.order(RedriveRequest(flow_id=first))
        await world.cancel(second)
        await until(lambda: nobody_left(world), "the place to be given back")
        await world.platform.order(RedriveRequest(flow_id=first))
        await world.reached(first, "EXECUTING")
        assert (await places(OF_KEY + "deploy", world.ports.key_values))[0].keys() == {f"{first}/1"}


async def test_a_plan_without_a_key_reads_and_writes_nothing_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(name: str) -> None:
        true = getattr(SqliteKeyValues, name)

        async def call(self: SqliteKeyValues, space: str, *arguments: Any, **more: Any) -> Any:
            asked.append(space)
            return await true(self, space, *arguments, **more)

        monkeypatch.setattr(SqliteKeyValues, name, call)

    for name in ("get", "put", "remove"):
        noted(name)
    async with sqlite_world(tmp_path) as world:
        await world.register()
        await world.run(task("a"))
    assert SPACE not in asked
    assert WAITING_OF_KEY not in asked


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"concurrency": {"key": "{label:env}"}}, "unknown_placeholder"),
    ({"concurrency": {"key": "{tenant_id}"}}, "unknown_placeholder"),
    ({"concurrency": {"key": "a\nb"}}, "invalid_field"),
    ({"concurrency": {"key": ""}}, "invalid_field"),
    ({"concurrency": {"key": "k" * 256}}, "invalid_field"),
    ({"concurrency": {"key": "é" * 128}}, "invalid_field"),
    ({"concurrency": {"key": "{plan_id}" * 28}}, "invalid_field"),
    ({"concurrency": {"key": "k", "limit": 0}}, "invalid_field"),
    ({"concurrency": {"key": "k", "limit": 1001}}, "invalid_field"),
    ({"concurrency": {"key": "k", "beyond": "explode"}}, "unknown_word"),
    ({"labels": {f"n{n}": "v" for n in range(17)}}, "too_many"),
    ({"labels": {"-bad": "v"}}, "invalid_field"),
    ({"labels": {"a": "x" * 64}}, "invalid_field"),
]


@pytest.mark.parametrize(("more", "code"), WRONG)
async def test_keys_and_labels_that_mean_nothing_or_too_much_are_refused(
    tmp_path: Path, more: dict[str, Any], code: str
) -> None:
    async with running_world(tmp_path) as world:
        flow = await world.ended(await world.submit(decision(task("a"), **more)))
        assert flow.status is FlowStatus.REJECTED
        assert any(reason.code.startswith(code) for reason in flow.reasons), flow.reasons


async def test_labels_that_are_too_many_only_together_are_refused(tmp_path: Path) -> None:
    many = {f"n{n}": "v" for n in range(16)}
    async with running_world(tmp_path) as world:
        flow = await world.ended(await world.submit(decision(task("a", labels={"one": "more"}), labels=many)))
        assert [reason.where for reason in flow.reasons] == ["cognitive_plan.tasks[0].labels"]
        plan = {"plan_id": "p", "tasks": [task("a")], "labels": {"one": "more"}}
        both = decision(plan_id="p", labels=many) | {"cognitive_plan": plan}
        assert (await world.ended(await world.submit(both))).reasons[0].code == "too_many_labels"


async def test_why_and_the_view_of_limits_tell_who_holds_places_and_who_waits(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_flows=9) as api:
        world = api.world
        flows = [await world.submit(limited(key=key)) for key in ("a", "b", "b", "b", "c")]
        for flow_id in flows[2:4]:
            await held_back(world, flow_id)
        for flow_id in (flows[0], flows[1], flows[4]):
            await world.reached(flow_id, "EXECUTING")
        why = " ".join((await api.get(f"/api/v1/why/{flows[3]}"))["text"])
        assert f"concurrency key 'b' are in flight as may be (1): {flows[1]}" in why
        assert "It is number 2 of those that wait for this key." in why
        found = await api.get("/api/v1/limits?limit=2")
        assert found["flows"] == {"limit": 9, "tenant_limit": None, "held": 3}
        assert found["tickets"] is None
        assert [(one["key"], one["limit"], one["held"]) for one in found["keys"]] == [("a", 1, 1), ("b", 1, 1)]
        assert found["keys"][1]["holders"][0]["flow_id"] == flows[1]
        assert found["keys"][1]["waiting"] == flows[2:4]
        assert (found["after"], found["keys"][1]["more_wait"]) == ("b", False)
        rest = await api.get("/api/v1/limits?limit=2&after=b")
        assert ([one["key"] for one in rest["keys"]], rest["after"]) == (["c"], None)
        for wrong in ("limit=0", "limit=101", "after=%00", f"after={'k' * 256}"):
            assert (await api.client.get(f"/api/v1/limits?{wrong}")).status_code == 422
