"""The registered workers."""

from collections.abc import Sequence
from functools import lru_cache, partial

from functions._adapters.documents import read_document
from functions._adapters.sql.sqlite.changes import apply, worker_change
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._core.records.set_aside import RecordKind
from functions._core.records.worker import Worker

REMEMBERED = 4096
"""Workers whose parsed records are kept: each discovery reads all, and few change in between."""

_worker = lru_cache(REMEMBERED)(partial(read_document, Worker))


class SqliteRegistry:
    """The `WorkerRegistry`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def workers(self) -> Sequence[Worker]:
        """Return all of them, by worker id."""
        aside = self._database.set_aside
        rows = self._database.rows("workers")
        found = [aside.read(RecordKind.WORKER, worker_id, partial(_worker, doc)) for worker_id, doc in rows]
        return [worker for worker in found if worker is not None]

    async def worker(self, worker_id: str) -> Worker | None:
        """Return one of them."""
        rows = self._database.rows("worker", worker_id=worker_id)
        if not rows:
            return None
        version, doc = rows[0]
        return self._database.set_aside.read_one(RecordKind.WORKER, worker_id, partial(_worker, doc), version=version)

    async def put(self, worker: Worker) -> None:
        """Store a worker; raise `Conflict` when the stored version is not `version - 1`."""
        await self._database.write(partial(apply, changes=[worker_change(worker)]))

    async def remove(self, worker_id: str, version: int) -> bool:
        """Forget a worker and its wake-up, unless it has changed."""
        query = {"worker_id": worker_id, "version": version}
        removed = await self._database.write(lambda c: c.execute(SQL["worker_delete"], query).rowcount > 0)
        if removed:
            self._database.set_aside.gone(RecordKind.WORKER, worker_id)
        return removed
