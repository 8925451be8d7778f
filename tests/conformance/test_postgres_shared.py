"""What many processes on one PostgreSQL rely on: whoever was first wins, nothing is missed, the dead are replaced."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from functions._adapters.sql.postgres import PostgresStore, database
from functions._adapters.sql.postgres.changes import writing_of
from functions._adapters.sql.postgres.database import fetch
from functions._adapters.stores import Stores
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._engine.clock import SystemClock
from tests.conftest import ROOT
from tests.support.builders import T0, later, make_event, make_flow, make_history, make_plan, make_step, seconds
from tests.support.world import PATIENCE_S


@asynccontextmanager
async def opened(url: str, *owners: str) -> AsyncIterator[list[Stores]]:
    """Open the database once for each owner, as so many processes do."""
    async with AsyncExitStack() as stack:
        stores = []
        for owner in owners:
            store = await PostgresStore.open(url, owner)
            stack.push_async_callback(store.close)
            stores.append(store.stores)
        yield stores


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Connect as somebody who asks in SQL."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def process_of(module: str, url: str) -> "subprocess.Popen[str]":
    """Start one of the processes beside this file."""
    command = [sys.executable, "-m", f"tests.conformance.{module}", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def entry_step(number: int, version: int = 1) -> ChangeSet:
    flow = make_flow(number, version=version)
    return make_step(flow, history=(make_history(flow, version),))


async def test_a_commit_is_one_statement_whatever_it_writes(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = []

    async def counted(connection: Any, sql: str, values: Any) -> Any:
        statements.append(sql)
        return await fetch(connection, sql, values)

    async with opened(database_url, "one") as (stores,):
        flow = make_flow()
        plan = make_plan(flow, 50)
        await stores.store.commit(make_step(flow, *plan[:40]))
        monkeypatch.setattr(database, "fetch", counted)
        step = make_step(
            later(flow),
            *(later(ticket) for ticket in plan[:40]),
            *plan[40:],
            decision=b"{}",
            history=(make_history(flow),),
            events=(make_event(1), make_event(2)),
            telemetry=(make_event(3),),
            handled="event-9",
        )
        await stores.store.commit(step)
        await stores.store.commit(ChangeSet(flow_id="", handled="event-1"))
        assert len(statements) == 2


async def test_of_commits_by_two_processes_exactly_one_wins(database_url: str) -> None:
    async with opened(database_url, "one", "two") as (one, two):
        flow = make_flow()
        plan = make_plan(flow, 20)
        await one.store.commit(make_step(flow, *plan))
        for version in range(2, 12):
            # In opposite orders: who waits for each other in a circle would be stopped by the database only.
            steps = [make_step(later(flow), *(t.but(version=version) for t in order)) for order in (plan, plan[::-1])]
            answers = await asyncio.gather(
                one.store.commit(steps[0]), two.store.commit(steps[1]), return_exceptions=True
            )
            assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType"]
            flow = later(flow)


async def test_of_puts_of_one_key_by_two_processes_exactly_one_wins(database_url: str) -> None:
    async with opened(database_url, "one", "two") as both:
        rivals = [stores.key_values(SystemClock()) for stores in both]
        version = 0
        for _ in range(10):
            puts = (one.put("space", "key", b"{}", version=version) for one in rivals)
            answers = await asyncio.gather(*puts, return_exceptions=True)
            assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Entry"]
            (version,) = {entry.version for entry in [await one.get("space", "key") for one in rivals] if entry}


async def test_a_reader_of_all_flows_misses_nothing_that_is_committed_late(database_url: str) -> None:
    async with opened(database_url, "one") as (stores,), connected(database_url) as slow:
        writing = writing_of(entry_step(1), None)
        transaction = slow.transaction()
        await transaction.start()
        await fetch(slow, writing.sql, writing.values)
        # This one has a higher number and is visible first: shown now, it would hide the other from who reads on.
        await stores.store.commit(entry_step(2))
        assert await stores.views.history(None, 0, 10) == []
        assert len(await stores.views.history(make_flow(2).flow_id, 0, 10)) == 1
        await transaction.commit()
        seen = await stores.views.history(None, 0, 10)
        assert [entry.flow_id for entry in seen] == [make_flow(1).flow_id, make_flow(2).flow_id]


async def test_who_writes_to_the_history_of_one_flow_waits_for_who_was_first(database_url: str) -> None:
    async with opened(database_url, "one") as (stores,), connected(database_url) as slow:
        flow = make_flow()
        first, second = (ChangeSet(flow_id=flow.flow_id, history=(make_history(flow, number),)) for number in (1, 2))
        writing = writing_of(first, None)
        transaction = slow.transaction()
        await transaction.start()
        await fetch(slow, writing.sql, writing.values)
        behind = asyncio.create_task(stores.store.commit(second))
        done, _ = await asyncio.wait({behind}, timeout=0.2)
        assert not done
        assert await stores.views.history(flow.flow_id, 0, 10) == []
        await transaction.commit()
        await behind
        causes = [entry.cause for entry in await stores.views.history(flow.flow_id, 0, 10)]
        assert causes == ["event-1", "event-2"]


async def test_a_transaction_that_is_undone_holds_nobody_up(database_url: str) -> None:
    async with opened(database_url, "one") as (stores,), connected(database_url) as slow:
        writing = writing_of(entry_step(1), None)
        transaction = slow.transaction()
        await transaction.start()
        await fetch(slow, writing.sql, writing.values)
        await stores.store.commit(entry_step(2))
        await transaction.rollback()
        assert [e.flow_id for e in await stores.views.history(None, 0, 10)] == [make_flow(2).flow_id]


async def test_readers_who_follow_while_many_write_see_everything_once_and_in_order(database_url: str) -> None:
    writers, commits = 8, 40
    owners = [f"writer-{n}" for n in range(4)]
    async with opened(database_url, "reader", *owners) as (reader, *stores):

        async def write(number: int) -> None:
            for version in range(1, commits + 1):
                await stores[number % 4].store.commit(entry_step(number, version))

        async def follow(flow_id: str | None, wanted: int) -> list[HistoryEntry]:
            seen: list[HistoryEntry] = []
            while len(seen) < wanted:
                seen += await reader.views.history(flow_id, seen[-1].seq if seen else 0, 50)
            return seen

        followers = [follow(None, writers * commits), follow(make_flow(3).flow_id, commits)]
        read = asyncio.gather(*followers)
        await asyncio.gather(*(write(number) for number in range(writers)))
        everything, own = await asyncio.wait_for(read, PATIENCE_S)
    assert [entry.seq for entry in everything] == sorted({entry.seq for entry in everything})
    for number in range(writers):
        causes = [e.cause for e in everything if e.flow_id == make_flow(number).flow_id]
        assert causes == [f"event-{version}" for version in range(1, commits + 1)]
    assert own == [entry for entry in everything if entry.flow_id == make_flow(3).flow_id]


async def test_an_event_is_handled_by_the_process_that_has_committed_it(database_url: str) -> None:
    async with opened(database_url, "one", "two") as (one, two):
        await asyncio.gather(one.queue.take_over(), two.queue.take_over())
        await one.store.commit(make_step(make_flow(1), events=(make_event(1),)))
        await two.queue.enqueue([make_event(2)])
        assert [await ids(stores) for stores in (one, two)] == [["event-1"], ["event-2"]]
        assert [await stores.queue.take_over() for stores in (one, two)] == [0, 0]
        assert await one.queue.depth() == 2


async def test_what_a_process_leaves_when_it_stops_is_taken_over_at_once_and_by_one_alone(database_url: str) -> None:
    async with opened(database_url, "two", "three") as (two, three):
        async with opened(database_url, "one") as (one,):
            await one.queue.take_over()
            await one.queue.enqueue([make_event(n) for n in range(100)])
            await one.queue.postpone("event-7", 3, T0)
        taken = await asyncio.gather(*(stores.queue.take_over() for stores in (two, three, two, three)))
        assert sum(taken) == 100
        owned = [await ids(stores) for stores in (two, three)]
        assert sorted(owned[0] + owned[1]) == sorted(f"event-{n}" for n in range(100))
        attempts = [q.attempts for s in (two, three) for q in await s.queue.pending(0, 200) if q.event.id == "event-7"]
        assert attempts == [3]


async def test_what_a_process_leaves_that_is_silent_too_long_is_taken_over(database_url: str) -> None:
    async with opened(database_url, "one", "two") as (one, two), connected(database_url) as sql:
        await one.queue.take_over()
        await one.queue.enqueue([make_event(1)])
        await sql.execute("UPDATE process SET alive_until = now() - interval '1 second' WHERE process_id = 'one'")
        assert await two.queue.take_over() == 1
        # It was only slow: what it says now counts again, and what it has lost stays with the other.
        assert await one.queue.take_over() == 0
        assert [await ids(stores) for stores in (one, two)] == [[], ["event-1"]]


async def test_what_nobody_owns_is_anybodys(database_url: str) -> None:
    store = await PostgresStore.open(database_url)
    await store.stores.queue.enqueue([make_event(1)])
    assert await store.stores.queue.take_over() == 0
    async with opened(database_url, "one") as (one,):
        assert await ids(one) == []
        assert await one.queue.take_over() == 1
        assert await ids(one) == await ids(store.stores) == ["event-1"]
    await store.close()


async def test_two_processes_that_sweep_at_once_share_what_is_due(database_url: str) -> None:
    due, flow = 600, make_flow(1, next_wakeup_at=None)
    async with opened(database_url, "one") as (stores,):
        await stores.store.commit(make_step(flow, *make_plan(flow, due, next_wakeup_at=T0)))
        sweepers = [process_of("sweeping_process", database_url) for _ in range(2)]
        claims = [(await asyncio.to_thread(sweeper.communicate, timeout=PATIENCE_S))[0].split() for sweeper in sweepers]
        assert [sweeper.returncode for sweeper in sweepers] == [0, 0]
        assert max(Counter(claims[0] + claims[1]).values()) == 1
        assert len(claims[0]) + len(claims[1]) == due
        assert await stores.wakeups.claim_due(T0, 10, seconds(1)) == []


async def test_what_was_acknowledged_survives_the_process_and_its_events_are_taken_over(database_url: str) -> None:
    with process_of("committing_process", database_url) as process:
        assert process.stdout is not None
        acknowledged = {int(await asyncio.to_thread(process.stdout.readline)) for _ in range(200)}
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().split("\n")[:-1]}
    async with opened(database_url, "survivor") as (stores,), connected(database_url) as sql:
        await sql.execute("UPDATE process SET alive_until = now() WHERE process_id = 'doomed'")
        await stores.queue.take_over()
        queued = set(await ids(stores, 100_000))
        for number in acknowledged:
            flow = make_flow(number)
            assert await stores.store.flow(flow.flow_id) == flow
            assert len(await stores.store.tickets_of(flow.flow_id)) == 3
            assert f"event-{number}" in queued


async def ids(stores: Stores, limit: int = 1000) -> list[str]:
    return [queued.event.id for queued in await stores.queue.pending(0, limit)]
