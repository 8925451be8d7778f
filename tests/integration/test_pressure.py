"""A queue, a disk or a database that takes nothing more: said clearly, nothing half done, and it goes on afterwards."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from unittest.mock import patch

import httpx
import pytest

from functions._adapters.http.cloudevents import write_structured
from functions._adapters.memory.store import MemoryStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.database import SqliteDatabase
from functions._core.errors import Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._core.records.values import flow_id_of
from tests.support.http_api import problem_of, running_api
from tests.support.http_workers import HttpWorkers
from tests.support.loopback import until as until_true
from tests.support.one_machine import OneMachine, one_machine
from tests.support.slow_store import slowed
from tests.support.world import decision, decision_event, task

WORDS = {"full": "database or disk is full", "read-only": "readonly database"}


@dataclass
class Platform:
    """A platform of one machine over a database that a test can hinder."""

    at: OneMachine
    connection: sqlite3.Connection

    async def submit(self, decision_id: str, size: int = 100_000) -> httpx.Response:
        """POST a decision of `size` bytes, which takes at least half of that when it is compressed."""
        media, body = write_structured(
            decision_event(decision(task("a", parameters={"text": token_hex(size // 2)}), decision_id=decision_id))
        )
        return await self.at.client.post("/", content=body, headers=media)

    def hinder(self, how: str) -> Callable[[], None]:
        """Let the database take nothing more, and return what makes it well again."""

        def now(*statements: str) -> None:
            for statement in statements:
                self.connection.execute(statement)

        if how == "read-only":
            now("PRAGMA query_only = ON")
            return lambda: now("PRAGMA query_only = OFF")
        now("CREATE TABLE filler (x BLOB)")
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        now(f"PRAGMA max_page_count = {pages}")
        for size in (100_000, 4_000, 100):  # pages within the file may be free
            with suppress(sqlite3.OperationalError):
                while True:
                    self.connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (size,))
        return lambda: now("PRAGMA max_page_count = 1000000", "DROP TABLE filler")


@asynccontextmanager
async def platform_over(folder: Path) -> AsyncIterator[Platform]:
    database = SqliteDatabase(folder)
    with patch.object(SqliteStore, "open", lambda _folder: SqliteStore(database)):
        async with one_machine(folder) as at:
            yield Platform(at, await database.write(lambda connection: connection))


@asynccontextmanager
async def worker_for(platform: Platform) -> AsyncIterator[None]:
    """Run a worker that completes everything, and repeats a report until it is taken."""
    async with HttpWorkers() as workers:
        await platform.at.register("w", endpoint=f"{workers.url}/w")
        yield


@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_what_cannot_be_kept_is_refused_with_the_reason_and_taken_when_there_is_room(
    tmp_path: Path, how: str
) -> None:
    async with platform_over(tmp_path) as platform, worker_for(platform):
        assert (await platform.submit("before")).status_code == 202
        assert (await platform.at.ended(flow_id_of("before")))["status"] == "COMPLETED"
        assert (await platform.at.client.get("/ready")).status_code == 200
        heal = platform.hinder(how)

        for _ in range(3):
            answer = await platform.submit("meanwhile", 1_000_000)
            assert WORDS[how] in problem_of(answer, 503, "unavailable")["detail"]
            assert answer.headers["retry-after"] == "1"
        assert WORDS[how] in problem_of(await platform.at.client.get("/ready"), 503, "unavailable")["detail"]
        # Nothing of it is there, and what there was can still be read.
        problem_of(await platform.at.client.get(f"/api/v1/flows/{flow_id_of('meanwhile')}"), 404, "unknown_flow")
        assert len((await platform.at.client.get("/api/v1/flows")).json()["items"]) == 1
        assert (await platform.at.client.get("/health")).status_code == 200
        assert (await platform.at.client.get("/metrics")).status_code == 200

        heal()
        assert (await platform.at.client.get("/ready")).json()["ready"] is True
        assert (await platform.submit("meanwhile", 1_000_000)).status_code == 202
        assert (await platform.at.ended(flow_id_of("meanwhile")))["status"] == "COMPLETED"
    check = sqlite3.connect(tmp_path / "flowc.db")
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert check.execute("SELECT count(*) FROM flow").fetchone() == (2,)
    assert check.execute("SELECT count(*) FROM event_queue").fetchone() == (0,)
    check.close()


async def test_a_flow_that_was_under_way_when_the_disk_filled_up_is_done_once_there_is_room(tmp_path: Path) -> None:
    async with platform_over(tmp_path) as platform:
        flows = [flow_id_of(f"d-{number}") for number in range(5)]
        assert [(await platform.submit(f"d-{number}")).status_code for number in range(5)] == [202] * 5
        heal = platform.hinder("read-only")
        media = {"content-type": "application/json"}
        worker = {"worker_id": "w", "endpoint": "http://127.0.0.1:1/", "capabilities": ["python"]}
        problem_of(await platform.at.client.post("/api/v1/workers", json=worker, headers=media), 503, "unavailable")
        heal()
        async with worker_for(platform):
            assert {(await platform.at.ended(flow_id))["status"] for flow_id in flows} == {"COMPLETED"}
        assert await platform.at.letters() == []


async def test_a_full_queue_is_a_503_that_says_when_to_come_again(tmp_path: Path) -> None:
    stores, store = slowed(MemoryStore().stores)
    go_on = asyncio.Event()

    async def slow(_step: ChangeSet) -> None:
        await go_on.wait()

    async with running_api(tmp_path, stores=stores, queue_memory=100) as api:
        flow_id = await api.world.submit(decision(task("a")))
        store.before = slow
        # One flow whose commit takes its time holds up what it is told.
        jobs = [asyncio.create_task(api.world.cancel(flow_id)) for _ in range(250)]
        await until_true(lambda: any(job.done() for job in jobs), "nothing more to be taken")
        answer = await api.client.post(f"/api/v1/flows/{flow_id}/cancel", json={})
        assert "too much is queued" in problem_of(answer, 503, "unavailable")["detail"]
        assert answer.headers["retry-after"] == "1"
        go_on.set()
        done = await asyncio.gather(*jobs, return_exceptions=True)
        assert {type(one) for one in done} == {Flow, Unavailable}
        assert (await api.client.post(f"/api/v1/flows/{flow_id}/cancel", json={})).status_code == 202


async def test_writes_that_pile_up_are_refused_at_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with platform_over(tmp_path) as platform:
        monkeypatch.setattr("functions._adapters.sql.sqlite.committer.MAX_WAITING", 0)
        answer = await platform.submit("d")
        assert "Too many writes" in problem_of(answer, 503, "unavailable")["detail"]
        assert answer.headers["retry-after"] == "1"
        monkeypatch.undo()
        assert (await platform.submit("d")).status_code == 202
