"""What has been kept long enough goes by itself, in short writes; dead letters are bounded."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog

from functions._adapters.memory import MemoryStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.database import SqliteDatabase
from functions._adapters.stores import Stores
from functions._core.records.values import FlowStatus, Outcome
from functions._engine import retention_job
from functions._engine.retention_job import RECORDS, RetentionJob
from functions._observability.metrics import Metrics
from tests.support.builders import T0, later, make_flow, make_history, make_letter, make_plan, make_step
from tests.support.one_machine import one_machine
from tests.support.world import until

DAYS_30 = timedelta(days=30)
ENDED = {"status": FlowStatus.COMPLETED, "outcome": Outcome.COMPLETED, "next_wakeup_at": None}


class AtOnce:
    """A clock that stands still; implements `Clock`."""

    def __init__(self, days: float) -> None:
        self._now = T0 + timedelta(days=days)

    def now(self) -> datetime:
        return self._now


async def put_ended(stores: Stores, number: int, tickets: int) -> str:
    flow = make_flow(number)
    history = tuple(make_history(flow, entry) for entry in range(tickets))
    await stores.store.commit(make_step(flow, *make_plan(flow, tickets), history=history, decision=b"{}"))
    await stores.store.commit(make_step(later(flow, ended_at=T0, **ENDED)))
    return flow.flow_id


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    store = MemoryStore() if request.param == "memory" else SqliteStore.open(tmp_path)
    yield store.stores
    await store.close()


async def rounds(stores: Stores, days: float, letters: int = 100) -> tuple[int, Metrics]:
    """Do rounds until there is nothing more to do; return how many it took, and what was counted."""
    metrics = Metrics()
    work = RetentionJob(stores.retention, AtOnce(days), metrics, keep=DAYS_30, letters=letters)
    count = 1
    while await work.round():
        count += 1
    return count, metrics


async def test_a_flow_stays_for_thirty_days_and_is_gone_after_them(stores: Stores) -> None:
    flow_id = await put_ended(stores, 1, 3)
    await rounds(stores, 29.999)
    assert await stores.store.flow(flow_id) is not None
    count, metrics = await rounds(stores, 30.001)
    assert (await stores.store.flow(flow_id), count) == (None, 1)
    assert b"flowc_records_forgotten_total 8.0" in metrics.text()


async def test_a_large_flow_goes_in_several_short_rounds(stores: Stores) -> None:
    flow_id = await put_ended(stores, 1, 1000)
    count, metrics = await rounds(stores, 31)
    assert count == -(-2002 // RECORDS)
    assert await stores.store.flow(flow_id) is None
    assert await stores.views.history(flow_id, 0, 10) == []
    assert b"flowc_records_forgotten_total 2002.0" in metrics.text()


async def test_too_many_dead_letters_cost_the_oldest_loudly(stores: Stores) -> None:
    for number in range(25):
        await stores.dead_letters.put(make_letter(number))
    with structlog.testing.capture_logs() as lines:
        _, metrics = await rounds(stores, 0, letters=20)
    assert [(line["log_level"], line["event"], line["dropped"]) for line in lines] == [
        ("error", "dead_letters.dropped", 5)
    ]
    assert b"flowc_dead_letters_dropped_total 5.0" in metrics.text()
    kept, _ = await stores.dead_letters.letters(None, 100)
    assert [letter.letter_id for letter in kept] == [f"letter-{number}" for number in range(24, 4, -1)]


async def test_small_records_go_when_they_expire(stores: Stores) -> None:
    entries = stores.key_values(AtOnce(0))
    for number in range(RECORDS + 1):
        await entries.put("space", f"{number}", b"{}", version=0, expires_at=T0 + timedelta(hours=1))
    await entries.put("space", "stays", b"{}", version=0)
    assert (await rounds(stores, 0))[0] == 1
    assert (await rounds(stores, 1 / 24))[0] == 2
    assert [entry.key for entry in await entries.page("space", None, 10)] == ["stays"]


async def test_a_running_platform_forgets_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_job, "ROUND", 0.02)
    store = SqliteStore.open(tmp_path)
    flow_id = await put_ended(store.stores, 1, 3)
    for number in range(5):
        await store.stores.dead_letters.put(make_letter(number))
    await store.close()
    async with one_machine(tmp_path, dead_letters_max=2, retention_days=1) as at:

        async def gone() -> bool | None:
            return (await at.flow(flow_id) is None and len(await at.letters()) == 2) or None

        await until(gone, "flow and letters to go")


async def test_a_round_that_fails_is_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retention_job, "ROUND", 0.02)
    database = SqliteDatabase(tmp_path)
    store = SqliteStore(database)
    flow_id = await put_ended(store.stores, 1, 3)
    writer = await database.write(lambda connection: connection)
    writer.execute("PRAGMA query_only = ON")
    work = RetentionJob(store.stores.retention, AtOnce(31), Metrics(), keep=DAYS_30, letters=1)
    with structlog.testing.capture_logs() as lines:
        running_work = asyncio.create_task(work.run())

        async def failed() -> bool | None:
            return True if len(lines) > 1 else None

        await until(failed, "two rounds that fail")
    assert {line["event"] for line in lines} == {"forgetting.failed"}
    assert await store.stores.store.flow(flow_id) is not None
    writer.execute("PRAGMA query_only = OFF")

    async def gone() -> bool | None:
        return True if await store.stores.store.flow(flow_id) is None else None

    await until(gone, "the flow to go")
    running_work.cancel()
    await asyncio.gather(running_work, return_exceptions=True)
    await store.close()
