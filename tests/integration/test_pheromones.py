"""Trails of a running platform: learned at once, shared through every store, never counted twice."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.memory import MemoryStore
from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._core.errors import Unavailable
from functions._core.placement.pheromones import EXPIRY, Trail
from functions._core.ports import KeyValues
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._engine import pheromones
from functions._engine.clock import SystemClock
from functions._engine.pheromones import SPACE, LearnedPheromones
from functions._observability.metrics import Metrics
from tests.support.builders import T0, make_flow, make_ticket
from tests.support.clocks import HandClock
from tests.support.http_api import running_api
from tests.support.world import LocalWorld, decision, running_world, task, until

FLOW = make_flow()


class Shaky:
    """A key-value store whose calls are counted; some puts are done and then seem to fail, some are not done."""

    def __init__(self, behind: KeyValues) -> None:
        self._behind = behind
        self.calls: Counter[str] = Counter()
        self.lose_replies = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        async def called(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            if self.away:
                raise Unavailable
            result = await getattr(self._behind, name)(*args, **named)
            if name == "put" and self.lose_replies:
                self.lose_replies -= 1
                raise Unavailable("done, but the reply is lost")
            return result

        return called


def ended(kind: str, worker_id: str = "w1", number: int = 1) -> ChangeSet:
    """Return a step with the end of one attempt."""
    ticket = make_ticket(FLOW, number, domain="TECHNICAL")
    entry = HistoryEntry(
        flow_id=FLOW.flow_id,
        at=T0,
        type=kind,
        cause="",
        ticket_id=ticket.ticket_id,
        from_status="RUNNING",
        attempt=1,
        worker_id=worker_id,
    )
    return ChangeSet(flow_id=FLOW.flow_id, tickets=(ticket,), history=(entry,))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> Shaky:
    return Shaky(MemoryStore().stores.key_values(clock))


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trails be saved when a test says so, and as often."""

    async def never(_self: LearnedPheromones) -> None:
        return

    monkeypatch.setattr(pheromones, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(LearnedPheromones, "_save_now_and_then", never)


def process(store: KeyValues, clock: Any) -> LearnedPheromones:
    return LearnedPheromones(store, clock, Metrics(), Random(1))


async def signals(one: LearnedPheromones, worker_id: str = "w1") -> tuple[float, float]:
    trail = (await one.trails("TECHNICAL")).get(worker_id, Trail(pos=0, neg=0, updated_at=T0))
    return round(trail.pos, 6), round(trail.neg, 6)


@pytest.mark.usefixtures("by_hand")
class TestSharing:
    async def test_a_deposit_counts_here_at_once_and_elsewhere_once_it_is_saved(
        self, store: KeyValues, clock: HandClock
    ) -> None:
        here, elsewhere = process(store, clock), process(store, clock)
        here.learn(ended("ticket.retried"))
        assert await signals(here) == (0, 0.5)
        await here.save()
        assert await signals(elsewhere) == (0, 0.5)

    async def test_what_several_processes_have_seen_is_added(self, store: KeyValues, clock: HandClock) -> None:
        processes = [process(store, clock) for _ in range(4)]
        for _ in range(2):
            for one in processes:
                one.learn(ended("ticket.completed"))
            await asyncio.gather(*(one.save() for one in processes))
        assert await signals(process(store, clock)) == (8, 0)
        for one in processes:
            await one.read()
            assert await signals(one) == (8, 0)

    async def test_a_put_whose_reply_is_lost_counts_once(self, store: Shaky, clock: HandClock) -> None:
        one = process(store, clock)
        for number in range(3):
            one.learn(ended("ticket.failed", number=number))
            store.lose_replies = 1
            await one.save()
            await one.read()
            await one.save()
        await one.save()
        assert await signals(one) == (0, 3)
        assert await signals(process(store, clock)) == (0, 3)

    async def test_a_put_whose_reply_is_lost_counts_once_though_others_put_since(
        self, store: Shaky, clock: HandClock
    ) -> None:
        one, other = process(store, clock), process(store, clock)
        one.learn(ended("ticket.failed"))
        store.lose_replies = 1
        await one.save()
        for _ in range(3):
            other.learn(ended("ticket.failed"))
            await other.save()
        await one.save()
        assert await signals(one) == await signals(process(store, clock)) == (0, 4)

    async def test_where_it_cannot_be_known_a_deposit_is_dropped(self, store: Shaky, clock: HandClock) -> None:
        one, other = process(store, clock), process(store, clock)
        other.learn(ended("ticket.completed"))
        await other.save()
        one.learn(ended("ticket.failed"))
        store.lose_replies = 1
        await one.save()
        for _ in range(pheromones.WRITES_KEPT + 1):
            other.learn(ended("ticket.completed"))
            await other.save()
        await one.save()
        assert await signals(one) == await signals(process(store, clock)) == (10, 1)

    async def test_a_store_that_is_away_costs_nothing_but_the_sharing(self, store: Shaky, clock: HandClock) -> None:
        one = process(store, clock)
        store.away = True
        one.learn(ended("ticket.completed"))
        await one.save()
        assert await signals(one) == (1, 0)
        store.away = False
        await one.save()
        assert await signals(process(store, clock)) == (1, 0)

    async def test_closing_saves_what_is_left(
        self, store: Shaky, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pheromones, "PAUSE_SECONDS", 3600.0)
        one = process(store, clock)
        one.learn(ended("ticket.completed"))
        await one.save()
        one.learn(ended("ticket.completed"))
        await one.save()
        assert store.calls["put"] == 1
        await one.close()
        assert await signals(process(store, clock)) == (2, 0)

    async def test_many_deposits_are_one_put_without_a_read_for_each(self, store: Shaky, clock: HandClock) -> None:
        one = process(store, clock)
        for _ in range(3):
            for number in range(100):
                one.learn(ended("ticket.completed", number=number))
            await one.save()
        assert store.calls == {"get": 1, "put": 1}, "after ten successes others change nothing"

    async def test_a_thrifty_process_puts_what_changes_the_order_of_workers(
        self, store: Shaky, clock: HandClock
    ) -> None:
        one = process(store, clock)
        one.thrifty = True
        one.learn(ended("ticket.completed"))
        await one.save()
        assert not store.calls
        one.learn(ended("ticket.failed"))
        await one.save()
        assert await signals(process(store, clock)) == (1, 1)

    async def test_a_trail_is_forgotten_a_day_after_its_last_signal(self, store: Shaky, clock: HandClock) -> None:
        one = process(store, clock)
        one.learn(ended("ticket.completed"))
        await one.save()
        clock.move(EXPIRY.total_seconds() + 1)
        await one.read()
        assert not await one.trails("TECHNICAL")
        assert not await process(store, clock).trails("TECHNICAL")

    async def test_the_oldest_trails_are_forgotten_beyond_the_bound(
        self, store: Shaky, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pheromones, "TRAILS", 20)
        one = process(store, clock)
        for number in range(50):
            one.learn(ended("ticket.completed", f"w{number}"))
            await one.save()
        assert len(await one.trails("TECHNICAL")) <= 20
        assert "w49" in await one.trails("TECHNICAL")

    async def test_something_else_under_the_key_is_replaced(self, store: Shaky, clock: HandClock) -> None:
        await store.put(SPACE, "TECHNICAL/w1", b'{"pos": "many"}', version=0)
        one = process(store, clock)
        one.learn(ended("ticket.completed"))
        await one.save()
        assert await signals(process(store, clock)) == (1, 0)

    async def test_a_name_that_no_store_keeps_stays_here(self, store: Shaky, clock: HandClock) -> None:
        one = process(store, clock)
        one.learn(ended("ticket.completed", "w" * 600))
        await one.save()
        await one.save()
        assert store.calls["put"] == 1


@pytest.mark.usefixtures("by_hand")
class TestOnEveryStore:
    async def test_memory(self) -> None:
        await shared(MemoryStore().stores.key_values(SystemClock()))

    async def test_sqlite(self, tmp_path: Path) -> None:
        store = SqliteStore.open(tmp_path)
        try:
            await shared(store.stores.key_values(SystemClock()))
        finally:
            await store.close()

    async def test_postgresql(self, database_url: str) -> None:
        store = await PostgresStore.open(database_url)
        try:
            await shared(store.stores.key_values(SystemClock()))
        finally:
            await store.close()

    async def test_dynamodb(self, dynamodb_client: Client, dynamodb_table: str) -> None:
        store = DynamoStore(dynamodb_client, dynamodb_table, None, SystemClock())
        await shared(store.stores.key_values(SystemClock()))


async def shared(store: KeyValues) -> None:
    """Let processes whose replies get lost add to the same trail at once; nothing is lost or counted twice."""
    clock, shaky = SystemClock(), [Shaky(store) for _ in range(3)]
    processes = [LearnedPheromones(behind, clock, Metrics()) for behind in shaky]
    step = ended("ticket.retried")
    step = ChangeSet(
        flow_id=step.flow_id, tickets=step.tickets, history=tuple(e.but(at=clock.now()) for e in step.history)
    )
    for _ in range(4):
        for one, behind in zip(processes, shaky, strict=True):
            one.learn(step)
            behind.lose_replies = 1
        await asyncio.gather(*(one.save() for one in processes))
        for one in processes:
            await one.close()
    _, neg = await signals(LearnedPheromones(store, clock, Metrics()))
    assert neg == pytest.approx(6, abs=0.01)


class TestPlatform:
    async def test_trails_are_saved_about_once_a_second_while_there_is_something_new(
        self, store: Shaky, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pheromones, "PAUSE_SECONDS", 0.01)
        one = process(store, clock)
        one.learn(ended("ticket.completed"))

        async def saved() -> bool | None:
            return store.calls["put"] == 1 or None

        await until(saved, "the first put")
        one.learn(ended("ticket.completed"))
        await one.close()
        assert await signals(process(store, clock)) == (2, 0)

    async def test_completed_raises_and_failed_lowers_the_score(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            await world.register("w1")
            await world.run(task("a"), task("b", "a"))
            assert await scores(world, "EXECUTE") == {"w1": pytest.approx(3 / 4, abs=0.01)}
            error = {"type": "no", "message": "not today", "retryable": False}
            world.workers.behave = lambda _assignment: {"status": "FAILED", "error": error}
            await world.run(task("c"))
            assert await scores(world, "EXECUTE") == {"w1": pytest.approx(3 / 5, abs=0.01)}
            counted = world.platform.metrics.text().decode()
            assert 'pheromone_deposits_total{kind="SUCCESS"} 2.0' in counted
            assert 'pheromone_deposits_total{kind="FAILURE"} 1.0' in counted

    async def test_the_next_ticket_goes_to_a_worker_that_has_not_failed(self, tmp_path: Path) -> None:
        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
            bad = assignment["parameters"].get("bad")
            return {"status": "FAILED", "error": {"type": "no", "retryable": False}} if bad else {"status": "COMPLETED"}

        async with running_world(tmp_path) as world:
            world.workers.behave = behave
            await world.register("w1")
            await world.run(task("a", parameters={"bad": True}))
            await world.register("w2")
            for _ in range(6):
                await world.run(task("a"))
            given = [assignment["worker_id"] for assignment in world.workers.assignments]
            assert given == ["w1", *["w2"] * 6]

    async def test_the_trail_of_a_plan_is_that_of_its_domain(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            await world.register("w1")
            plan = {"plan_id": "p", "tasks": [task("a")], "original_domain": "security"}
            await world.run(plan_id="p", cognitive_plan=plan)
            assert await scores(world, "SECURITY") == {"w1": pytest.approx(2 / 3, abs=0.01)}
            assert await scores(world, "EXECUTE") == {}

    async def test_a_restarted_platform_knows_what_the_one_before_has_learned(self, tmp_path: Path) -> None:
        for expected in (2 / 3, 3 / 4):
            store = SqliteStore.open(tmp_path)
            async with running_world(tmp_path, store.stores) as world:
                await world.register("w1")
                await world.run(task("a"))
                assert await scores(world, "EXECUTE") == {"w1": pytest.approx(expected, abs=0.01)}
            await store.close()

    async def test_why_tells_what_the_score_comes_from(self, tmp_path: Path) -> None:
        async with running_api(tmp_path) as api:
            world = api.world
            await world.register("w1", slots=1)
            await world.run(task("a"))
            world.workers.behave = lambda _assignment: None
            flow_id = await world.submit(decision(task("b")))
            held = await world.ticket(flow_id, lambda ticket: ticket.worker_id == "w1", "is held")
            why = (await api.client.get(f"/api/v1/why/{held.ticket_id}")).json()
        assert (
            "Worker w1 has a pheromone score of 0.67 in the domain EXECUTE: 1.0 from tickets completed, "
            "0.0 from failures, timeouts and retries; after an hour each counts half."
        ) in why["details"]

    @pytest.mark.parametrize(
        ("wanted", "told"), [("all", 0), ("all,pheromone.deposited", 2), ("pheromone.deposited", 2)]
    )
    async def test_signals_are_told_where_somebody_asks_for_them_by_name(
        self, tmp_path: Path, wanted: str, told: int
    ) -> None:
        subscriber = Subscriber()
        async with running_world(tmp_path, subscriber_url="http://127.0.0.1:1/", subscriber_events=wanted) as world:
            world.platform.outbox.subscriber = subscriber
            await world.register("w1")
            await world.run(task("a"), task("b", "a"))

            async def all_there() -> bool | None:
                return len(subscriber.signals) == told or None

            await until(all_there, "the signals")
        assert len({event.id for event in subscriber.signals}) == told
        assert all(event.data["kind"] == "SUCCESS" for event in subscriber.signals)


class Subscriber:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    @property
    def signals(self) -> list[Any]:
        return [event for event in self.events if event.event_type == "pheromone.deposited"]

    async def publish(self, events: Any) -> None:
        """See `Broker.publish`."""
        self.events += events


async def scores(world: LocalWorld, domain: str) -> dict[str, float]:
    """Return the pheromone scores of the workers in a domain."""
    trails = await world.platform.ports.pheromones.trails(domain)
    return {worker_id: trail.at(world.ports.clock.now()).score for worker_id, trail in trails.items()}
