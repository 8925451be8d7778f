"""Order within a flow, fairness between flows, bounds for all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from functions._core.errors import Unavailable
from functions._engine.keyed_executor import Gathering, Job, KeyedExecutor


@asynccontextmanager
async def executor(*, concurrency: int = 4, limit: int = 1000) -> AsyncIterator[KeyedExecutor]:
    """Run a mailbox for as long as the context is open."""
    box = KeyedExecutor(concurrency=concurrency, limit=limit)
    try:
        yield box
    finally:
        await box.close()


def noting(log: list[str], what: str) -> Job:
    """Build a job that notes when it begins and ends."""

    async def job() -> str:
        log.append(f"{what} begins")
        await asyncio.sleep(0)
        log.append(f"{what} ends")
        return what

    return job


async def test_jobs_of_one_key_run_one_after_the_other_in_order() -> None:
    log: list[str] = []
    async with executor() as box:
        results = await asyncio.gather(*(box.submit("k", noting(log, str(n))) for n in range(5)))
    assert results == ["0", "1", "2", "3", "4"]
    assert log == [f"{n} {what}" for n in range(5) for what in ("begins", "ends")]


async def test_a_key_with_many_jobs_delays_another_key_by_one_job() -> None:
    log: list[str] = []
    async with executor(concurrency=1) as box:
        many = [box.submit("huge", noting(log, f"huge{n}")) for n in range(100)]
        await box.submit("small", noting(log, "small"))
        begun = [line for line in log if line.endswith("begins")]
        await asyncio.gather(*many)
    assert begun.index("small begins") <= 1


async def test_keys_run_side_by_side_up_to_the_limit() -> None:
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async with executor(concurrency=3) as box:
        await asyncio.gather(*(box.submit(f"k{n}", job) for n in range(20)))
    assert most == 3


async def test_a_job_that_raises_harms_nobody_else() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    log: list[str] = []
    async with executor(concurrency=1) as box:
        failing = box.submit("k", broken)
        after = box.submit("k", noting(log, "after"))
        with pytest.raises(ZeroDivisionError):
            await failing
        assert await after == "after"


async def test_too_many_queued_jobs_are_refused() -> None:
    async with executor(concurrency=1, limit=2) as box:
        jobs = [box.submit("k", noting([], "x")) for _ in range(2)]
        with pytest.raises(Unavailable):
            box.submit("other", noting([], "x"))
        await asyncio.gather(*jobs)
        await box.submit("other", noting([], "x"))


async def test_what_comes_while_a_key_is_busy_is_taken_together() -> None:
    taken: list[tuple[str, list[int]]] = []

    async def take(key: str, items: Sequence[int]) -> int:
        taken.append((key, list(items)))
        return sum(items)

    busy = asyncio.Event()
    async with executor() as box:
        gathering = Gathering(box, take)
        before = box.submit("k", busy.wait)
        results = [gathering.add("k", number) for number in (1, 2, 3)]
        assert await gathering.add("other", 7) == 7
        busy.set()
        assert await asyncio.gather(*results) == [6, 6, 6]
        await before
        assert await gathering.add("k", 4) == 4
    assert taken == [("other", [7]), ("k", [1, 2, 3]), ("k", [4])]


async def test_what_comes_while_the_gathered_is_taken_waits_for_the_next_turn() -> None:
    taken: list[list[int]] = []
    go_on = asyncio.Event()

    async def take(_key: str, items: Sequence[int]) -> None:
        taken.append(list(items))
        await go_on.wait()

    async with executor() as box:
        gathering = Gathering(box, take)
        first = gathering.add("k", 1)
        while not taken:
            await asyncio.sleep(0)
        second = gathering.add("k", 2)
        go_on.set()
        await asyncio.gather(first, second)
    assert taken == [[1], [2]]


async def test_a_turn_that_is_refused_or_never_comes_leaves_nothing_behind() -> None:
    async def take(_key: str, items: Sequence[int]) -> int:
        return len(items)

    async with executor(concurrency=1, limit=1) as box:
        gathering = Gathering(box, take)
        waiting = box.submit("k", noting([], "x"))
        with pytest.raises(Unavailable):
            gathering.add("k", 1)
        await waiting
        assert await gathering.add("k", 2) == 1
        left = gathering.add("k", 3)
    assert left.cancelled()
