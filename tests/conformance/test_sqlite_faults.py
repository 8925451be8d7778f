"""What the committer promises beyond the ports: shared commits, and errors that stay where they belong."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore, committer
from functions._adapters.sql.sqlite.database import SqliteDatabase
from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.records.change_set import ChangeSet
from tests.support.builders import (
    T0,
    later,
    make_event,
    make_flow,
    make_plan,
    make_step,
    make_ticket,
    make_worker,
    seconds,
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path)
    yield database
    await database.close()


@pytest.fixture
def store(database: SqliteDatabase) -> SqliteStore:
    return SqliteStore(database)


@pytest.fixture
def stores(store: SqliteStore) -> Stores:
    return store.stores


@pytest.fixture
async def writer(database: SqliteDatabase) -> sqlite3.Connection:
    """Give the committer's own connection, to break and to watch."""
    return await database.write(lambda connection: connection)


@asynccontextmanager
async def committer_held(database: SqliteDatabase) -> AsyncIterator[None]:
    """Keep the committer busy, so that what is written meanwhile becomes one batch."""
    busy, go_on = Event(), Event()

    def hold(_: sqlite3.Connection) -> bool:
        busy.set()
        return go_on.wait(timeout=10)

    holder = asyncio.create_task(database.write(hold))
    await asyncio.to_thread(busy.wait, timeout=10)
    yield
    go_on.set()
    await holder


async def together(database: SqliteDatabase, store: SqliteStore, *steps: ChangeSet) -> list[Any]:
    """Commit steps in one batch; return what each raised, or None."""
    async with committer_held(database):
        commits = [asyncio.create_task(store.stores.store.commit(step)) for step in steps]
        await asyncio.sleep(0)  # lets every commit reach the queue
        await asyncio.sleep(0)
    return await asyncio.gather(*commits, return_exceptions=True)


async def test_writes_that_wait_together_share_one_commit(
    database: SqliteDatabase, stores: Stores, writer: sqlite3.Connection
) -> None:
    statements: list[str] = []
    async with committer_held(database):
        commits = [asyncio.create_task(stores.store.commit(make_step(make_flow(n)))) for n in range(20)]
        await asyncio.sleep(0)
        writer.set_trace_callback(statements.append)
    await asyncio.gather(*commits)
    assert statements.count("BEGIN IMMEDIATE") == 1
    assert statements.count("COMMIT") == 2  # the one that held the committer, then the shared one
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 20}


async def test_a_conflict_takes_nothing_else_of_its_batch_with_it(
    database: SqliteDatabase, store: SqliteStore, stores: Stores
) -> None:
    one, two, three = (make_flow(number) for number in (1, 2, 3))
    bad = make_step(two, make_ticket(two, version=2), events=(make_event(2),))
    answers = await together(database, store, make_step(one), bad, make_step(three, events=(make_event(3),)))
    assert [type(answer) for answer in answers] == [type(None), Conflict, type(None)]
    assert [await stores.store.flow(flow.flow_id) for flow in (one, two, three)] == [one, None, three]
    assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == ["event-3"]


async def test_what_a_write_raises_reaches_its_waiter_alone(database: SqliteDatabase, stores: Stores) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM flow")
        raise ZeroDivisionError

    await stores.store.commit(make_step(make_flow(1)))
    async with committer_held(database):
        failing = asyncio.create_task(database.write(fail))
        commit = asyncio.create_task(stores.store.commit(make_step(make_flow(2))))
        await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        await failing
    await commit
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 2}


async def test_an_error_of_the_engine_undoes_the_whole_batch_and_the_next_one_is_served(
    database: SqliteDatabase, stores: Stores
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM flow")
        connection.execute("DELETE FROM a_table_that_is_not_there")

    await stores.store.commit(make_step(make_flow(1)))
    async with committer_held(database):
        commit = asyncio.create_task(stores.store.commit(make_step(make_flow(2))))
        failing = asyncio.create_task(database.write(fail))
        await asyncio.sleep(0)
    answers = await asyncio.gather(commit, failing, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 1}
    await stores.store.commit(make_step(make_flow(2)))
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 2}


async def test_text_that_no_encoding_can_write_is_rejected_and_harms_nobody(
    database: SqliteDatabase, store: SqliteStore, stores: Stores
) -> None:
    good, bad = make_flow(1), make_flow(2).but(plan_id="\ud800")
    answers = await together(database, store, make_step(good), make_step(bad))
    assert answers[0] is None
    assert isinstance(answers[1], Rejected)
    assert answers[1].code == "not_storable"
    assert await stores.store.flow(bad.flow_id) is None


async def test_who_stops_waiting_disturbs_nobody(database: SqliteDatabase, stores: Stores) -> None:
    async with committer_held(database):
        impatient = asyncio.create_task(stores.store.commit(make_step(make_flow(1))))
        patient = asyncio.create_task(stores.store.commit(make_step(make_flow(2))))
        await asyncio.sleep(0)
        impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    await patient
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 2}


async def test_a_full_disk_is_unavailable_to_all_who_wait_and_nothing_is_half_written(
    database: SqliteDatabase, store: SqliteStore, stores: Stores, writer: sqlite3.Connection
) -> None:
    flow, small = make_flow(1), make_flow(2)
    await stores.store.commit(make_step(flow, make_ticket(flow)))
    noise = Random(7).randbytes(400_000).hex()  # it does not shrink
    large = make_step(
        later(flow), *(make_ticket(flow, n, description=noise[n * 20_000 :][:20_000]) for n in range(2, 40))
    )
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    answers = await together(database, store, make_step(small), large)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert await stores.store.flow(flow.flow_id) == flow
    assert await stores.store.tickets_of(flow.flow_id) == [make_ticket(flow)]
    assert await stores.store.flow(small.flow_id) is None

    writer.execute("PRAGMA max_page_count = 1000000")
    assert await together(database, store, make_step(small), large) == [None, None]
    assert len(await stores.store.tickets_of(flow.flow_id)) == 39


async def test_a_read_only_database_is_unavailable_to_writers_and_still_read(
    stores: Stores, writer: sqlite3.Connection
) -> None:
    await stores.store.commit(make_step(make_flow(1)))
    writer.execute("PRAGMA query_only = ON")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await stores.store.commit(make_step(make_flow(2)))
        with pytest.raises(Unavailable):
            await stores.registry.put(make_worker())
    assert await stores.store.flow(make_flow(1).flow_id) == make_flow(1)
    writer.execute("PRAGMA query_only = OFF")
    await stores.store.commit(make_step(make_flow(2)))


async def test_a_locked_database_is_unavailable_until_it_is_released(
    stores: Stores, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    await stores.store.commit(make_step(make_flow(1)))
    writer.execute("PRAGMA busy_timeout = 0")
    foreign = sqlite3.connect(tmp_path / "flowc.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    answers = await asyncio.gather(
        *(stores.store.commit(make_step(make_flow(number))) for number in range(2, 6)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Unavailable] * 4
    assert await stores.store.flow(make_flow(1).flow_id) == make_flow(1)
    foreign.execute("ROLLBACK")
    foreign.close()
    await stores.store.commit(make_step(make_flow(2)))


async def test_too_many_waiting_writes_are_refused_rather_than_piled_up(
    database: SqliteDatabase, store: SqliteStore, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "MAX_WAITING", 3)
    answers = await together(database, store, *(make_step(make_flow(number)) for number in range(5)))
    assert [type(answer) for answer in answers] == [type(None)] * 3 + [Unavailable] * 2
    await stores.store.commit(make_step(make_flow(9)))


async def test_a_sweep_that_finds_nothing_writes_nothing(stores: Stores, writer: sqlite3.Connection) -> None:
    flow = make_flow()
    await stores.store.commit(make_step(flow, *make_plan(flow, 3)))
    statements: list[str] = []
    writer.set_trace_callback(statements.append)
    assert await stores.wakeups.claim_due(T0, 10, seconds(1)) == []
    assert await stores.wakeups.claim_waiting(None, T0, 10, seconds(1)) == []
    assert statements == []


async def test_ten_thousand_new_tickets_are_one_quick_commit(stores: Stores) -> None:
    async def processor_s(number_of_flow: int, tickets: int) -> float:
        flow = make_flow(number_of_flow)
        ticket = make_ticket(flow)
        plan = [ticket.but(ticket_id=f"{ticket.ticket_id}-{number}") for number in range(tickets)]
        begun = time.process_time()
        await stores.store.commit(make_step(flow, *plan))
        return time.process_time() - begun

    thousand = await processor_s(1, 1_000)
    assert await processor_s(2, 10_000) < 40 * thousand  # ten times if it grows with the plan
    assert (await stores.views.counts())["tickets"] == {"PENDING": 11_000}
