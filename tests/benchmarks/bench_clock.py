"""The clock: how late wake-ups are at idle, and what a sweep costs with few and with many open records."""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from functions._adapters.documents import document
from functions._adapters.sql.sqlite.database import SqliteDatabase
from functions._adapters.sql.sqlite.store import SqliteStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus
from tests.support.builders import make_flow
from tests.support.one_machine import one_machine
from tests.support.world import decision, decision_event, task

WAKEUPS = 100
DUE = 100
PAGE = 5_000


async def test_wakeups_are_on_time(tmp_path: Path) -> None:
    """Flows without workers, each with a deadline of its own: how late is each TIMED_OUT?"""
    late: list[float] = []
    async with one_machine(tmp_path / "data") as at:
        ids = []
        for number in range(WAKEUPS):
            data = decision(task("a"), sla_deadline_seconds=1.0 + number * 0.037)
            ids.append(await at.running.engine.admit(decision_event(data)))

        for flow_id in ids:
            await at.ended(flow_id)
            flow = await at.running.ports.store.flow(flow_id)
            assert flow is not None
            publishing = next(p for p in flow.phases if p.status is FlowStatus.PUBLISHING)
            late.append((publishing.entered_at - flow.sla_deadline).total_seconds() * 1000)
    late.sort()
    print(f"\n{WAKEUPS} wake-ups: p50 {statistics.median(late):.1f} ms late, p99 {late[int(len(late) * 0.99)]:.1f} ms")
    assert late[0] >= 0
    assert late[int(len(late) * 0.99)] <= 100


@pytest.mark.timeout(600)
async def test_a_sweep_costs_what_is_due_not_what_is_open(tmp_path: Path) -> None:
    few = await sweep_cost(tmp_path / "few", 1_000)
    many = await sweep_cost(tmp_path / "many", 1_000_000)
    print(
        f"\nclaiming {DUE} due records: {few:.2f} ms with 1,000 open, "
        f"{many:.2f} ms with 1,000,000; ratio {many / few:.2f}"
    )
    assert many <= 3 * few


async def sweep_cost(folder: Path, open_records: int) -> float:
    """Return the median time in ms of claiming `DUE` records among so many open ones."""
    database = SqliteDatabase(folder)
    store = SqliteStore(database)
    wakeups = store.stores.wakeups
    now = datetime.now(UTC)
    try:
        await fill(database, open_records, now + timedelta(hours=1))
        times = []
        for round_ in range(7):
            due = [make_flow(open_records + round_ * DUE + n, next_wakeup_at=now) for n in range(DUE)]
            await asyncio.gather(*(store.stores.store.commit(ChangeSet(flow_id=f.flow_id, flow=f)) for f in due))
            begun = time.perf_counter()
            claimed = await wakeups.claim_due(now, DUE, timedelta(minutes=5))
            times.append((time.perf_counter() - begun) * 1000)
            assert len(claimed) == DUE
        return statistics.median(times)
    finally:
        await store.close()


async def fill(database: SqliteDatabase, number: int, wakeup: datetime) -> None:
    """Write open flows by the page, past the port: a million commits would be the benchmark then."""
    template = make_flow(0, next_wakeup_at=wakeup)
    text = document(template)
    due = int(wakeup.timestamp() * 1000)
    sql = "INSERT INTO flow (flow_id, status, next_wakeup_at, version, doc) VALUES (?, ?, ?, ?, ?)"
    for start in range(0, number, PAGE):
        rows = [(f"flow-{n}", "VALIDATING", due, 1, text) for n in range(start, min(start + PAGE, number))]
        await database.write(partial(_insert, sql, rows))


def _insert(sql: str, rows: Sequence[tuple[object, ...]], connection: sqlite3.Connection) -> None:
    connection.executemany(sql, rows)
