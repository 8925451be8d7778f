"""A PostgreSQL that goes away, comes back, or says no: what callers are told, and that it goes on by itself."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from functions._adapters.sql.postgres import PostgresStore, migrate
from functions._adapters.stores import Stores
from functions._core.errors import Rejected, Unavailable
from tests.conftest import require
from tests.support import postgres
from tests.support.builders import make_event, make_flow, make_plan, make_step, make_worker
from tests.support.world import PATIENCE_S, until


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(database_url, "one", connections=4)
    yield store
    await store.close()


@pytest.fixture
def stores(store: PostgresStore) -> Stores:
    return store.stores


async def test_a_server_that_restarts_is_unavailable_and_then_used_again() -> None:
    require(postgres.binaries() is not None, postgres.HOW)
    with postgres.started() as server:
        url = server.named(await server.create())
        store = await PostgresStore.open(url, "one")
        flow = make_flow(1)
        await asyncio.gather(*(store.stores.store.commit(make_step(make_flow(n))) for n in range(1, 9)))
        await store.check()
        server.stop()
        with pytest.raises(Unavailable):
            await store.check()
        with pytest.raises(Unavailable):
            await store.stores.store.flow(flow.flow_id)
        with pytest.raises(Unavailable):
            await store.stores.store.commit(make_step(flow))
        with pytest.raises(Unavailable):
            await PostgresStore.open(url, "two")
        server.start_again()
        await until(lambda: answers(store), "the store to answer again")
        assert await store.stores.store.flow(flow.flow_id) == flow
        await asyncio.gather(*(store.stores.store.commit(make_step(make_flow(n))) for n in range(9, 17)))
        await store.close()


async def answers(store: PostgresStore) -> bool | None:
    try:
        await store.check()
    except Unavailable:
        return None
    return True


async def test_connections_that_are_cut_are_made_anew(stores: Stores, database_url: str) -> None:
    await asyncio.gather(*(stores.store.commit(make_step(make_flow(n))) for n in range(8)))
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    for _ in range(5):  # one for each connection, at most
        try:
            await stores.store.commit(make_step(make_flow(100)))
            break
        except Unavailable:
            continue
    assert await stores.store.flow(make_flow(100).flow_id) == make_flow(100)


async def test_a_pool_that_is_used_up_makes_others_wait_for_their_turn(stores: Stores, database_url: str) -> None:
    plans = [make_step(make_flow(n), *make_plan(make_flow(n), 20)) for n in range(100)]
    await asyncio.gather(*(stores.store.commit(step) for step in plans))
    assert await connections(database_url) <= 4


async def connections(url: str) -> int:
    """Return how many connections the platform has."""
    connection = await asyncpg.connect(url)
    used: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowc'"
    )
    await connection.close()
    return used


async def test_a_store_opens_no_connection_before_it_is_used_and_migrates_over_one(database_url: str) -> None:
    store = await PostgresStore.open(database_url, "one", connections=4)
    assert await connections(database_url) <= 1
    await store.close()


async def test_who_stops_waiting_leaves_a_connection_that_others_can_use(stores: Stores, database_url: str) -> None:
    blocker = await asyncpg.connect(database_url)
    await stores.registry.put(make_worker())
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE worker IN ACCESS EXCLUSIVE MODE")
    waiting = [asyncio.create_task(stores.registry.workers()) for _ in range(8)]
    await asyncio.sleep(0.1)  # they all wait for the lock, or for a connection
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await transaction.rollback()
    await blocker.close()
    assert await stores.registry.workers() == [make_worker()]


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
async def test_text_that_no_encoding_can_write_is_rejected(stores: Stores, text: str) -> None:
    flow = make_flow().but(plan_id=text)
    with pytest.raises(Rejected):
        await stores.store.commit(make_step(flow))
    with pytest.raises(Rejected):
        await stores.queue.enqueue([make_event(id=text)])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cr3t-word@127.0.0.1:1/flowc",
        "postgresql://user:s3cr3t-word@127.0.0.1:port/flowc",
        "postgresql://user:s3cr3t-word@[::1/flowc",
        "postgresql://user:s3cr3t/-word@127.0.0.1:1/flowc",
        "postgresql://user:s3cr3t-word@127.0.0.1:1/flowc?sslmode=strange",
    ],
)
async def test_a_database_that_cannot_be_reached_is_unavailable_and_the_password_is_not_told(url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unavailable) as refusal:
        await PostgresStore.open(url, "one")
    told = str(refusal.value)
    assert "s3cr3t" not in told
    assert "-word" not in told
    assert time.monotonic() - begun < PATIENCE_S


async def test_an_unknown_user_is_unavailable(database_url: str) -> None:
    with pytest.raises(Unavailable, match="nobody_knows_me"):
        await migrate(database_url.replace("flowc@", "nobody_knows_me@", 1))
