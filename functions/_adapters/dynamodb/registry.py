"""The registered workers."""

from collections.abc import Sequence

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange
from functions._adapters.dynamodb.records import readable_all, record_of, worker_change
from functions._adapters.dynamodb.table import PATIENCE
from functions._adapters.dynamodb.writing import Moved, Writer
from functions._core.errors import Conflict, Unavailable
from functions._core.records.set_aside import RecordKind
from functions._core.records.worker import Worker


class DynamoRegistry:
    """The `WorkerRegistry`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def workers(self) -> Sequence[Worker]:
        """Return all of them, by worker id."""
        items = await self._table.query(keys.WORKERS, old=True)
        found = await readable_all(self._table, Worker, (item for item in items if "v" in item))
        return sorted(found, key=lambda worker: worker.worker_id)

    async def worker(self, worker_id: str) -> Worker | None:
        """Return one of them as it is now."""
        item = await self._writer.read((keys.WORKERS, keys.short(worker_id)))
        return None if item is None else await record_of(self._table, Worker, item)

    async def put(self, worker: Worker) -> None:
        """Store a worker; raise `Conflict` when the stored version is not `version - 1`."""
        for _ in range(PATIENCE):
            stamp = self._writer.stamps.take(1, worker.worker_id)
            try:
                await self._writer.write([await worker_change(self._writer, worker, stamp)])
            except Moved:
                continue  # its wake-up was claimed since it was read
            return
        raise Unavailable("The worker is busy.")

    async def remove(self, worker_id: str, version: int) -> bool:
        """Forget a worker that is at `version`; tell whether it was there, so."""
        try:
            await self._writer.write([ItemChange((keys.WORKERS, keys.short(worker_id)), version, delete=True)])
        except Conflict:
            return False
        self._table.set_aside.gone(RecordKind.WORKER, keys.short(worker_id))
        return True
