"""What no store takes, whoever writes it: one list for PostgreSQL and SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from itertools import takewhile
from pathlib import Path

import asyncpg
import pytest

from functions._adapters.documents import document
from functions._adapters.sql import migrations
from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE, connect
from functions._adapters.sql.sqlite.recent import Recent
from functions._adapters.stores import Stores
from functions._core.errors import Rejected
from functions._core.records.change_set import ChangeSet
from functions._core.records.set_aside import RecordKind
from tests.conformance.deliveries import make_delivery
from tests.support.builders import (
    T0,
    make_audit,
    make_event,
    make_flow,
    make_history,
    make_letter,
    make_ticket,
    make_worker,
)

FLOW = make_flow(next_wakeup_at=None)
TICKET = make_ticket(FLOW)

REFUSED = [
    ("flow", "status", "FROBNICATED"),
    ("flow", "outcome", "FROBNICATED"),
    ("flow", "priority", "FROBNICATED"),
    ("flow", "risk_band", "FROBNICATED"),
    ("flow", "tickets_generated", -1),
    ("flow", "redrives", -1),
    ("flow", "version", 0),
    ("ticket", "status", "FROBNICATED"),
    ("ticket", "priority", "FROBNICATED"),
    ("ticket", "risk_band", "FROBNICATED"),
    ("ticket", "attempt", -1),
    ("ticket", "retry_count", -1),
    ("ticket", "version", 0),
    ("worker", "version", 0),
    ("webhook_delivery", "version", 0),
]
"""Table, column, and a value that is refused."""

TIMES = [
    ("flow", "next_wakeup_at"),
    ("flow", "deadline"),
    ("flow", "ended_at"),
    ("ticket", "next_wakeup_at"),
    ("ticket", "held_since"),
    ("ticket", "latest_start"),
    ("worker", "next_wakeup_at"),
    ("event_queue", "not_before"),
]

TABLES = ("flow", "ticket", "worker", "history", "audit", "event_queue", "telemetry_buffer", "dead_letter")

OF_TWO_COLUMNS = {("ticket", "completed_at"), ("ticket", "started_at")}
"""PostgreSQL alone has these as columns, corrected for the clocks of two machines; a document keeps what was said."""


async def fill(stores: Stores) -> None:
    """Store one record of every kind."""
    step = ChangeSet(
        flow_id=FLOW.flow_id,
        flow=FLOW,
        tickets=(TICKET,),
        history=(make_history(FLOW),),
        audit=(make_audit(FLOW),),
        events=(make_event(1),),
        telemetry=(make_event(2, "telemetry.frame"),),
    )
    await stores.store.commit(step)
    await stores.registry.put(make_worker())
    await stores.dead_letters.put(make_letter())
    await stores.deliveries.put(make_delivery())


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    store = await PostgresStore.open(database_url)
    await fill(store.stores)
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
    await store.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[sqlite3.Connection]:
    store = SqliteStore.open(tmp_path)
    await fill(store.stores)
    connection = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    yield connection
    connection.close()
    await store.close()


def columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return for every column of a table the expression that copies it."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    return {name: name for name in names}


async def test_the_list_has_every_check_of_postgresql(postgres: asyncpg.Connection) -> None:
    rows = await postgres.fetch(
        "SELECT conrelid::regclass::text, attname FROM pg_constraint, unnest(conkey) AS n (number)"
        " JOIN pg_attribute ON attnum = n.number WHERE contype = 'c' AND attrelid = conrelid"
    )
    assert {tuple(row) for row in rows} - OF_TWO_COLUMNS == {(table, column) for table, column, _ in REFUSED}


@pytest.mark.parametrize(("table", "column", "value"), REFUSED)
async def test_postgresql_refuses(postgres: asyncpg.Connection, table: str, column: str, value: object) -> None:
    shown = f"'{value}'" if isinstance(value, str) else value
    with pytest.raises(asyncpg.CheckViolationError):
        await postgres.execute(f"UPDATE {table} SET {column} = {shown}")  # noqa: S608


@pytest.mark.parametrize(("table", "column", "value"), REFUSED)
def test_sqlite_refuses_it_as_well(sqlite: sqlite3.Connection, table: str, column: str, value: object) -> None:
    copied = columns(sqlite, table)
    where = "doc" if column not in copied else column
    wrong = f"json_set(doc, '$.{column}', ?)" if where == "doc" else "?"
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {table}"):
        sqlite.execute(f"UPDATE {table} SET {where} = {wrong}", (value,))  # noqa: S608
    key = {"flow": "flow_id", "ticket": "ticket_id", "worker": "worker_id", "webhook_delivery": "delivery_id"}[table]
    copied |= {key: "'another'", where: wrong} | ({"position": "NULL"} if "position" in copied else {})
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {table}"):
        sqlite.execute(
            f"INSERT INTO {table} ({', '.join(copied)}) SELECT {', '.join(copied.values())} FROM {table}",  # noqa: S608
            (value,),
        )


@pytest.mark.parametrize(("table", "column"), TIMES)
async def test_a_time_is_a_time(
    postgres: asyncpg.Connection, sqlite: sqlite3.Connection, table: str, column: str
) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await postgres.execute(f"UPDATE {table} SET {column} = 'tomorrow or so'")  # noqa: S608
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        sqlite.execute(f"UPDATE {table} SET {column} = 'tomorrow or so'")  # noqa: S608


@pytest.mark.parametrize("table", TABLES)
async def test_a_document_is_json(postgres: asyncpg.Connection, sqlite: sqlite3.Connection, table: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await postgres.execute(f"""UPDATE {table} SET doc = '{{"a'""")  # noqa: S608
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        sqlite.execute(f"""UPDATE {table} SET doc = '{{"a'""")  # noqa: S608


async def test_a_step_that_is_refused_fails_alone(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    bad = TICKET.but(priority_score=0.5, attempt=-1)
    other = make_flow(2)
    steps = [ChangeSet(flow_id=FLOW.flow_id, flow=FLOW, tickets=(bad,)), ChangeSet(flow_id=other.flow_id, flow=other)]
    answers = await asyncio.gather(*map(store.stores.store.commit, steps), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Rejected, type(None)]
    assert await store.stores.store.flow(FLOW.flow_id) is None
    assert await store.stores.store.flow(other.flow_id) == other
    await store.check()
    await store.close()


async def test_rows_that_an_earlier_version_has_taken_are_kept_and_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)
    before = list(takewhile(lambda script: "flow_insert_check" not in script, migrations("sqlite")))
    connection = connect(tmp_path / DATABASE, writes=True)
    for number, script in enumerate(before, 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    for record_id, wakeup, status, doc in (
        (FLOW.flow_id, "tomorrow or so", "FROBNICATED", document(FLOW)),
        ("broken", 5, "FROBNICATED", '{"a'),
    ):
        connection.execute(
            "INSERT INTO flow (flow_id, status, next_wakeup_at, version, doc) VALUES (?, ?, ?, 1, ?)",
            (record_id, status, wakeup, doc),
        )
    connection.close()
    store = SqliteStore.open(tmp_path)
    stores = store.stores
    due = await stores.wakeups.claim_due(T0, 9, T0 - T0.replace(hour=11))
    assert {one.record_id for one in due} == {FLOW.flow_id, "broken"}
    assert (await stores.views.flows(status=None, cursor=None, limit=9))[0] == [FLOW]
    assert [record.record_id for record in stores.set_aside.records(RecordKind.FLOW)] == ["broken"]
    await stores.store.commit(ChangeSet(flow_id=FLOW.flow_id, flow=FLOW.but(version=2)))
    assert (await stores.views.counts())["flows"] == {"VALIDATING": 1, "FROBNICATED": 1}
    await store.close()
