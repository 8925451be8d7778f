import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from functions._adapters.sql import migrations
from functions._adapters.sql.sqlite import DataFolderInUse, DataFolderTooNew, SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE, connect
from functions._core.errors import Unavailable
from functions._core.records.models import Flow, Ticket
from tests.conftest import ROOT
from tests.support.builders import make_event, make_flow, make_letter, make_plan, make_step, make_worker


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_folder_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    store = SqliteStore.open(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_everything_is_there_after_closing_and_opening_again(tmp_path: Path) -> None:
    flow = make_flow()
    plan = make_plan(flow, 3)
    store = SqliteStore.open(tmp_path)
    step = make_step(flow, *plan, decision=b"{}", events=(make_event(1),), telemetry=(make_event(2),))
    await store.stores.store.commit(step)
    await store.stores.registry.put(make_worker())
    await store.stores.dead_letters.put(make_letter())
    await store.close()

    store = SqliteStore.open(tmp_path)
    stores = store.stores
    assert await stores.store.flow(flow.flow_id) == flow
    assert await stores.store.tickets_of(flow.flow_id) == list(plan)
    assert await stores.store.decision(flow.flow_id) == b"{}"
    assert [queued.event for queued in await stores.queue.pending(0, 10)] == [make_event(1)]
    assert [event for _, _, event in await stores.telemetry_buffer.oldest(10)] == [make_event(2)]
    assert await stores.registry.workers() == [make_worker()]
    assert await stores.dead_letters.letters(None, 10) == ([make_letter()], None)
    await store.close()


async def test_closing_leaves_one_file_without_a_log(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.stores.store.commit(make_step(make_flow()))
    await store.close()
    assert names(tmp_path) == ["flowc.db", "lock"]


async def test_closing_finishes_the_writes_that_wait(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    flows = [make_flow(number) for number in range(50)]
    async with asyncio.TaskGroup() as tasks:
        for flow in flows:
            tasks.create_task(store.stores.store.commit(make_step(flow)))
        await asyncio.sleep(0)  # lets every commit reach the queue, and none its end
        await store.close()
    store = SqliteStore.open(tmp_path)
    assert [await store.stores.store.flow(flow.flow_id) for flow in flows] == flows
    await store.close()


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.close()
    with pytest.raises(Unavailable):
        await store.stores.store.commit(make_step(make_flow()))
    with pytest.raises(Unavailable):
        await store.stores.store.flow(make_flow().flow_id)


async def test_a_folder_in_use_is_refused_by_name_and_free_again_after_closing(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    with pytest.raises(DataFolderInUse, match=str(tmp_path)):
        SqliteStore.open(tmp_path)
    await store.close()
    await SqliteStore.open(tmp_path).close()


async def test_a_folder_in_use_by_another_process_is_refused_until_that_process_is_killed(tmp_path: Path) -> None:
    with start("-m", "tests.conformance.committing_process", str(tmp_path)) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            with pytest.raises(DataFolderInUse, match=str(tmp_path)):
                SqliteStore.open(tmp_path)
        finally:
            other.kill()
    await SqliteStore.open(tmp_path).close()


async def test_every_acknowledged_commit_survives_kill_9_and_no_commit_is_half_there(tmp_path: Path) -> None:
    with start("-m", "tests.conformance.committing_process", str(tmp_path)) as other:
        assert other.stdout is not None
        lines = [other.stdout.readline() for _ in range(150)]
        other.kill()
        lines += other.stdout.readlines()
    acknowledged = [int(line) for line in lines if line.endswith("\n")]
    assert len(acknowledged) >= 150

    store = SqliteStore.open(tmp_path)
    events = {queued.event.id for queued in await store.stores.queue.pending(0, 100_000)}
    for number in range(1, max(acknowledged) + 20):
        flow = make_flow(number)
        expected: tuple[Flow | None, list[Ticket], bool] = (flow, list(make_plan(flow, 3)), True)
        if number not in acknowledged and await store.stores.store.flow(flow.flow_id) is None:
            expected = (None, [], False)
        found = (
            await store.stores.store.flow(flow.flow_id),
            await store.stores.store.tickets_of(flow.flow_id),
            f"event-{number}" in events,
        )
        assert found == expected
    await store.close()


async def test_the_schema_is_made_once_and_its_version_noted(tmp_path: Path) -> None:
    for _ in range(2):
        await SqliteStore.open(tmp_path).close()
        connection = connect(tmp_path / DATABASE, writes=False)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations("sqlite")),)
        connection.close()


async def test_a_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    await SqliteStore.open(tmp_path).close()
    connection = connect(tmp_path / DATABASE, writes=True)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    for _ in range(2):  # the refusal gives the lock back
        with pytest.raises(DataFolderTooNew, match="schema 999"):
            SqliteStore.open(tmp_path)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("This is no database, however long one looks at it. " * 100)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteStore.open(tmp_path)


async def test_acknowledged_writes_are_synchronous_to_the_disk(tmp_path: Path) -> None:
    connection = connect(tmp_path / DATABASE, writes=True)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    connection.close()
