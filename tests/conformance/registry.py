"""What every `WorkerRegistry` must do."""

import asyncio

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Conflict
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, later, make_worker, seconds


class RegistrySuite(StoresSuite):
    async def test_a_worker_is_read_back_as_it_was_put(self, stores: Stores) -> None:
        worker = make_worker(metadata={"région": "İstanbul 🏭"}, telemetry={"success_rate": 0.25})
        await stores.registry.put(worker)
        assert await stores.registry.worker(worker.worker_id) == worker

    async def test_a_worker_that_is_not_there_is_none(self, stores: Stores) -> None:
        assert await stores.registry.worker("worker-1") is None
        assert await stores.registry.workers() == []

    async def test_workers_come_by_their_ids(self, stores: Stores) -> None:
        workers = [make_worker(number) for number in (3, 1, 2)]
        for worker in workers:
            await stores.registry.put(worker)
        assert await stores.registry.workers() == [workers[1], workers[2], workers[0]]

    async def test_the_next_version_replaces_the_one_before(self, stores: Stores) -> None:
        worker = make_worker()
        await stores.registry.put(worker)
        seen = later(worker, last_seen=T0 + seconds(30), next_wakeup_at=T0 + seconds(90))
        await stores.registry.put(seen)
        assert await stores.registry.worker(worker.worker_id) == seen

    @pytest.mark.parametrize("version", [1, 3])
    async def test_any_other_version_than_the_next_is_a_conflict(self, stores: Stores, version: int) -> None:
        worker = make_worker()
        await stores.registry.put(worker)
        with pytest.raises(Conflict):
            await stores.registry.put(make_worker(version=version, slots=9))
        assert await stores.registry.worker(worker.worker_id) == worker

    async def test_a_worker_that_is_absent_counts_as_version_zero(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            await stores.registry.put(make_worker(version=2))
        assert await stores.registry.workers() == []

    async def test_of_concurrent_puts_of_one_version_exactly_one_wins(self, stores: Stores) -> None:
        rivals = [make_worker(slots=slots) for slots in range(1, 9)]
        answers = await asyncio.gather(*(stores.registry.put(worker) for worker in rivals), return_exceptions=True)
        winners = [worker for worker, answer in zip(rivals, answers, strict=True) if answer is None]
        assert [type(answer) for answer in answers if answer is not None] == [Conflict] * 7
        assert await stores.registry.workers() == winners

    async def test_removing_a_worker_tells_whether_it_was_there(self, stores: Stores) -> None:
        await stores.registry.put(make_worker())
        assert await stores.registry.remove("worker-1", 1) is True
        assert await stores.registry.remove("worker-1", 1) is False
        assert await stores.registry.worker("worker-1") is None

    async def test_a_worker_that_has_changed_is_not_removed(self, stores: Stores) -> None:
        await stores.registry.put(make_worker())
        await stores.registry.put(later(make_worker(), slots=7))
        assert await stores.registry.remove("worker-1", 1) is False
        assert await stores.registry.worker("worker-1") is not None

    async def test_a_removed_worker_may_register_anew(self, stores: Stores) -> None:
        await stores.registry.put(make_worker())
        await stores.registry.remove("worker-1", 1)
        anew = make_worker(slots=1)
        await stores.registry.put(anew)
        assert await stores.registry.workers() == [anew]
