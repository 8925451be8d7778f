"""The registered workers."""

from collections.abc import Sequence

from functions._adapters.memory.state import State, expect
from functions._core.records.worker import Worker


class MemoryRegistry:
    """The `WorkerRegistry`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def workers(self) -> Sequence[Worker]:
        """Return all of them, by worker id."""
        return sorted(self._state.workers, key=lambda worker: worker.worker_id)

    async def worker(self, worker_id: str) -> Worker | None:
        """Return one of them."""
        return self._state.workers.get(worker_id)

    async def put(self, worker: Worker) -> None:
        """Store a worker; raise `Conflict` when the stored version is not `version - 1`."""
        expect(self._state.workers.get(worker.worker_id), worker.version - 1)
        self._state.workers.put(worker.worker_id, worker)
        self._state.wake("worker", worker.worker_id, None, worker.next_wakeup_at)

    async def remove(self, worker_id: str, version: int) -> bool:
        """Forget a worker and its wake-up, unless it has changed."""
        known = await self.worker(worker_id)
        if known is None or known.version != version:
            return False
        self._state.wake("worker", worker_id, None, None)
        return self._state.workers.pop(worker_id)
