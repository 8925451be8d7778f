"""The schema of PostgreSQL: what people may ask, what it refuses, and how it moves on."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from functions._adapters.sql import migrations, queries
from functions._adapters.sql.postgres import PostgresStore, migrate
from functions._adapters.sql.postgres.changes import writing_of
from functions._adapters.sql.postgres.database import fetch, numbered
from functions._adapters.sql.postgres.rows import ticket_row
from functions._adapters.stores import Stores
from functions._core.errors import Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus, Outcome, Priority, RiskBand, TicketStatus, Waiting
from tests.conftest import ROOT, require
from tests.support import postgres
from tests.support.builders import (
    T0,
    later,
    make_action,
    make_audit,
    make_event,
    make_flow,
    make_history,
    make_plan,
    make_step,
    make_ticket,
    make_worker,
    seconds,
)

SQL = queries("postgres")


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    store = await PostgresStore.open(database_url, "one")
    yield store.stores
    await store.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_tickets_can_be_asked_for_in_sql(stores: Stores, sql: Any) -> None:
    flow = make_flow()
    done = make_ticket(
        flow,
        1,
        status=TicketStatus.COMPLETED,
        priority=Priority.HIGH,
        worker_id="w1",
        started_at=T0,
        completed_at=T0 + seconds(3),
        required_capabilities=("build", "größe"),
        dependencies=("task-2",),
        retry_count=2,
        parameters={"image": "shop"},
        next_wakeup_at=None,
    )
    await stores.store.commit(make_step(flow, done, make_ticket(flow, 2)))
    row = await sql.fetchrow(
        "SELECT task_id, worker_id, retry_count, completed_at - started_at AS took, sla ->> 'max_retries' AS retries,"
        " doc -> 'parameters' ->> 'image' AS image FROM ticket"
        " WHERE status = 'COMPLETED' AND priority = 'HIGH' AND required_capabilities::jsonb ? 'größe'"
        " AND dependencies::jsonb ? 'task-2'"
    )
    assert tuple(row) == ("task-1", "w1", 2, seconds(3), "2", "shop")


async def test_every_word_of_the_machine_is_known_to_the_schema(stores: Stores) -> None:
    flows = [make_flow(n, status=status) for n, status in enumerate(FlowStatus)]
    flows += [make_flow(100 + n, outcome=outcome) for n, outcome in enumerate(Outcome)]
    flows += [make_flow(200 + n, priority=priority) for n, priority in enumerate(Priority)]
    flows += [make_flow(300 + n, risk_band=band) for n, band in enumerate(RiskBand)]
    for flow in flows:
        await stores.store.commit(make_step(flow))
    flow = flows[0]
    tickets = [make_ticket(flow, n, status=status) for n, status in enumerate(TicketStatus)]
    tickets += [make_ticket(flow, 100 + n, priority=priority) for n, priority in enumerate(Priority)]
    tickets += [make_ticket(flow, 200 + n, risk_band=band) for n, band in enumerate(RiskBand)]
    tickets += [make_ticket(flow, 300 + n, waiting=reason) for n, reason in enumerate(Waiting)]
    await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=tuple(tickets)))


@pytest.mark.parametrize(
    "wrong",
    [
        "status = 'LOST'",
        "priority = 'URGENT'",
        "risk_band = 'none'",
        "retry_count = -1",
        "attempt = -1",
        "started_at = now(), completed_at = now() - interval '1 second'",
        "ticket_id = 'the other'",
    ],
)
async def test_what_can_never_be_true_is_refused(stores: Stores, sql: Any, wrong: str) -> None:
    flow = make_flow()
    await stores.store.commit(make_step(flow, make_ticket(flow, 1)))
    await sql.execute("UPDATE ticket SET ticket_id = 'the other'")
    await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(make_ticket(flow, 2),)))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await sql.execute(f"UPDATE ticket SET {wrong} WHERE ticket_id <> 'the other'")  # noqa: S608 ours


@pytest.mark.parametrize("table", ["history", "audit"])
@pytest.mark.parametrize("change", ["UPDATE {} SET flow_id = ''", "DELETE FROM {}", "TRUNCATE {}"])
async def test_history_and_audits_are_only_ever_added_to(stores: Stores, sql: Any, table: str, change: str) -> None:
    flow = make_flow()
    await stores.store.commit(make_step(flow, history=(make_history(flow),), audit=(make_audit(flow), make_action())))
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await sql.execute(change.format(table))
    assert await sql.fetchval(f"SELECT count(*) FROM {table}") > 0  # noqa: S608 ours


async def test_the_right_to_remove_ends_with_the_transaction_of_retention(stores: Stores, sql: Any) -> None:
    flow = make_flow(ended_at=T0)
    await stores.store.commit(make_step(flow, history=(make_history(flow),)))
    async with sql.transaction():
        await sql.execute(SQL["retention_begin"])
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await sql.execute("DELETE FROM history")
    assert await stores.retention.forget_ended(T0 + seconds(1), 100) == 2


async def test_a_new_database_gets_the_schema_once_however_many_ask(new_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(new_database_url) for _ in range(6)))
    everything = list(range(1, len(migrations("postgres")) + 1))
    assert sorted(map(list, applied)) == [[], [], [], [], [], everything]
    assert await migrate(new_database_url) == []


async def test_a_migration_that_fails_leaves_nothing_behind(
    new_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [*migrations("postgres"), "CREATE TABLE half (); SELECT 1 / 0;"]
    monkeypatch.setattr("functions._adapters.sql.postgres.migrations.migrations", lambda _engine: broken)
    with pytest.raises(Exception, match="division by zero"):
        await migrate(new_database_url)
    monkeypatch.undo()
    assert await migrate(new_database_url) == list(range(1, len(broken)))


async def test_tickets_of_the_version_without_waits_may_wait_be_skipped_and_have_children(
    new_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = migrations("postgres")
    older = list(takewhile(lambda script: "'WAITING'" not in script, everything))
    monkeypatch.setattr("functions._adapters.sql.postgres.migrations.migrations", lambda _engine: older)
    assert await migrate(new_database_url) == list(range(1, len(older) + 1))
    monkeypatch.undo()
    flow = make_flow()
    waits, skipped = make_plan(flow, 2)
    connection = await asyncpg.connect(new_database_url)
    for ticket in (waits, skipped):
        row = {name: value for name, value in ticket_row(ticket).items() if name not in {"parent", "labels"}}
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO ticket ({', '.join(row)}) VALUES ({places})", *row.values())  # noqa: S608
    await connection.close()
    assert await migrate(new_database_url) == list(range(len(older) + 1, len(everything) + 1))
    store = await PostgresStore.open(new_database_url, "new")
    changed = (later(waits, status="WAITING", waiting="CHILDREN"), later(skipped, status="SKIPPED"))
    child = make_ticket(flow, 3, parent=waits.ticket_id, index=0)
    await store.stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(*changed, child)))
    assert (await store.stores.views.find_tickets({"parent": waits.ticket_id}, None, 9))[0] == [child]
    assert await store.stores.store.tickets_of(flow.flow_id, live_only=True) == [changed[0], child]
    await store.close()


async def test_this_code_works_on_the_schema_of_a_later_version(new_database_url: str) -> None:
    await migrate(new_database_url)
    connection = await asyncpg.connect(new_database_url)
    tables = ("flow", "ticket", "worker", "history", "audit", "event_queue", "telemetry_buffer", "dead_letter")
    for table in tables:
        await connection.execute(
            f"ALTER TABLE {table} ADD COLUMN added_later text, ADD COLUMN n int NOT NULL DEFAULT 7"
        )
    await connection.execute("CREATE TABLE added_later (); INSERT INTO schema_version (version) VALUES (999)")
    await connection.close()
    store = await PostgresStore.open(new_database_url, "old")
    stores, flow = store.stores, make_flow()
    plan = make_plan(flow, 2)
    step = make_step(flow, *plan, history=(make_history(flow),), audit=(make_audit(flow),), events=(make_event(1),))
    await stores.store.commit(step)
    await stores.store.commit(make_step(later(flow), *(later(ticket) for ticket in plan), telemetry=(make_event(2),)))
    await stores.registry.put(make_worker())
    assert await stores.store.tickets_of(flow.flow_id) == [later(ticket) for ticket in plan]
    assert len(await stores.wakeups.claim_due(T0 + seconds(90), 10, seconds(1))) == 4
    await store.close()


async def test_a_user_who_may_only_read_and_write_can_run_the_platform_and_not_undo_history(
    stores: Stores, sql: Any
) -> None:
    """`stores` holds the schema; the rights are those of docs/operate/postgresql.md."""
    for grant in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "SELECT ON ALL SEQUENCES"):
        await sql.execute(f"GRANT {grant} IN SCHEMA public TO PUBLIC")
    await sql.execute("CREATE ROLE flowc_test_writer")
    async with sql.transaction():
        await sql.execute("SET LOCAL ROLE flowc_test_writer")
        await sql.execute("SELECT version FROM schema_version")
        writing = writing_of(step_with_everything(), "limited")
        await fetch(sql, writing.sql, writing.values)
        for name in ("history_settled", "next_due", "waiting_requirements", "workers"):
            await fetch(sql, SQL[name], {})
        now, later_on = T0 + seconds(60), T0 + seconds(90)
        assert len(await fetch(sql, SQL["claim_due"], {"now": now, "limit": 9, "until": later_on})) == 3
        await fetch(sql, SQL["queue_take_over"], {"owner": "limited", "lease": seconds(1), "limit": 9})
        for attempt in ("ALTER TABLE history DISABLE TRIGGER ALL", "DROP TABLE audit", "TRUNCATE audit"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with sql.transaction():
                    await sql.execute(attempt)
    assert len(await stores.views.history(None, 0, 10)) == 1
    await sql.execute("DROP ROLE flowc_test_writer")
    for grant in ("ALL ON ALL TABLES", "ALL ON ALL SEQUENCES"):
        await sql.execute(f"REVOKE {grant} IN SCHEMA public FROM PUBLIC")


def step_with_everything() -> ChangeSet:
    flow = make_flow()
    return make_step(
        flow,
        *make_plan(flow, 2),
        decision=b"{}",
        history=(make_history(flow),),
        audit=(make_audit(flow),),
        events=(make_event(1),),
        telemetry=(make_event(2),),
    )


async def test_a_backup_that_is_restored_is_gone_on_with(
    stores: Stores, database_url: str, new_database_url: str, tmp_path: Path
) -> None:
    programs = postgres.binaries()
    require(programs is not None and (programs / "pg_dump").exists(), postgres.HOW)
    flow = make_flow()
    await stores.store.commit(step_with_everything())
    dump = tmp_path / "flowc.dump"
    for program, *arguments in (
        ("pg_dump", "--format=custom", f"--file={dump}", database_url),
        ("pg_restore", "--no-owner", f"--dbname={new_database_url}", str(dump)),
    ):
        command = [str(programs) + "/" + program, *arguments]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    assert await migrate(new_database_url) == []
    store = await PostgresStore.open(new_database_url, "two")
    before = await store.stores.views.history(None, 0, 10)
    assert await store.stores.store.tickets_of(flow.flow_id) == list(make_plan(flow, 2))
    await store.stores.store.commit(make_step(later(flow), history=(make_history(flow, 2),)))
    (entry,) = await store.stores.views.history(None, before[-1].seq, 10)
    assert entry.cause == "event-2"
    await store.close()


async def test_a_database_that_may_not_be_changed_is_unavailable(new_database_url: str) -> None:
    connection = await asyncpg.connect(new_database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await connection.close()
    with pytest.raises(Unavailable, match="read-only"):
        await migrate(new_database_url)


def test_every_query_is_used() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "functions/_adapters/sql/postgres").glob("*.py"))
    assert [name for name in SQL if f'"{name}"' not in code] == []


MAY_WALK = {
    "active": "its index holds held tickets only",
    "audits_page": "it stops at the limit",
    "claim_due": "it reads what it has found",
    "flow_counts": "it counts for metrics",
    "flow_statistics": "its index holds ended flows only",
    "letters_drop": "it stops at the bound",
    "next_due": "it stops at the first",
    "process_forget": "there are few processes",
    "queue_take_over": "there are few processes",
    "queue_depth": "it counts for metrics",
    "telemetry_size": "it counts for metrics",
    "ticket_counts": "it counts for metrics",
    "waiting_requirements": "it stops at the first",
    "workers": "it asks for all workers",
}
PARTS = {"history_insert", "queue_insert"}
"""Of a step's statement; by themselves they are none."""


@pytest.mark.parametrize("name", sorted(set(SQL) - PARTS))
async def test_a_query_searches_by_an_index(sql: Any, name: str) -> None:
    await sql.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan")
    text, names = numbered(SQL[name])
    await sql.execute(f"PREPARE q AS {text}")
    plan = await sql.fetch(f"EXPLAIN EXECUTE q ({', '.join(['NULL'] * len(names))})" if names else "EXPLAIN EXECUTE q")
    lines = [line for (line,) in plan]
    tables = "flow|ticket|worker|decision|history|audit|event_queue|telemetry_buffer|dead_letter|process"
    walks = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if re.search(rf"Seq Scan on ({tables})\b", line)
        or (re.search(rf"Index (Only )?Scan using \w+ on ({tables})\b", line) and "Index Cond" not in following)
    ]
    assert name in MAY_WALK or not walks, lines
