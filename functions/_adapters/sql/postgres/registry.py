"""The registered workers."""

from collections.abc import Sequence
from functools import lru_cache, partial

from functions._adapters.documents import read_document
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase
from functions._adapters.sql.postgres.rows import worker_row
from functions._core.errors import Conflict
from functions._core.records.set_aside import RecordKind
from functions._core.records.worker import Worker

REMEMBERED = 4096
"""Workers whose parsed records are kept: each discovery reads all, and few change in between."""

_worker = lru_cache(REMEMBERED)(partial(read_document, Worker))


class PostgresRegistry:
    """The `WorkerRegistry`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def workers(self) -> Sequence[Worker]:
        """Return all of them, by worker id."""
        aside = self._database.set_aside
        rows = await self._database.rows("workers")
        found = [aside.read(RecordKind.WORKER, worker_id, partial(_worker, doc)) for worker_id, doc in rows]
        return [worker for worker in found if worker is not None]

    async def worker(self, worker_id: str) -> Worker | None:
        """Return one of them."""
        rows = await self._database.rows("worker", worker_id=worker_id)
        if not rows:
            return None
        version, doc = rows[0]
        return self._database.set_aside.read_one(RecordKind.WORKER, worker_id, partial(_worker, doc), version=version)

    async def put(self, worker: Worker) -> None:
        """Store a worker; raise `Conflict` when the stored version is not `version - 1`."""
        sql = SQL["worker_insert" if worker.version == 1 else "worker_update"]
        if not await self._database.run(sql, worker_row(worker)):
            raise Conflict

    async def remove(self, worker_id: str, version: int) -> bool:
        """Forget a worker and its wake-up, unless it has changed."""
        removed = bool(await self._database.rows("worker_delete", worker_id=worker_id, version=version))
        if removed:
            self._database.set_aside.gone(RecordKind.WORKER, worker_id)
        return removed
