"""Runs jobs in order for each key, fairly between keys, a bounded number at a time.

A key is a flow: its jobs never overlap, so its records are not fought over within one process. Keys take turns,
one job each: a flow with a thousand queued events delays another flow by one event.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from functions._core.errors import Unavailable
from functions._observability.logs import log

Job = Callable[[], Awaitable[Any]]
T = TypeVar("T")
R = TypeVar("R")


class KeyedExecutor:
    """Keyed, bounded concurrency within one event loop."""

    def __init__(self, *, concurrency: int, limit: int) -> None:
        """Run at most `concurrency` jobs at once and hold at most `limit` that have not begun."""
        self._limit = limit
        self._queued = 0
        self._jobs: dict[str, deque[tuple[Job, asyncio.Future[Any]]]] = {}
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._run(), name=f"executor-{n}") for n in range(concurrency)]

    @property
    def queued(self) -> int:
        """How many jobs have not begun."""
        return self._queued

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return bool(self._jobs)

    def submit(self, key: str, job: Job) -> asyncio.Future[Any]:
        """Queue `job` behind the others of `key`; raise `Unavailable` when too much is queued already."""
        if self._queued >= self._limit:
            msg = "too much is queued; try again"
            raise Unavailable(msg)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self._jobs.get(key)
        if waiting is None:
            self._jobs[key] = deque([(job, future)])
            self._turns.put_nowait(key)
        else:
            waiting.append((job, future))
        self._queued += 1
        return future

    async def close(self) -> None:
        """Stop: jobs under way are cancelled, those that have not begun never begin."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._jobs.values():
            for _job, future in waiting:
                future.cancel()

    async def _run(self) -> None:
        while True:
            key = await self._turns.get()
            waiting = self._jobs[key]
            job, future = waiting.popleft()
            self._queued -= 1
            try:
                result = await job()
            except asyncio.CancelledError:
                future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 handed to whoever waits for the job
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)
            if waiting:
                self._turns.put_nowait(key)
            else:
                with suppress(KeyError):
                    del self._jobs[key]


class Gathering(Generic[T, R]):
    """What is told of a key while it is busy; the key's next turn takes all of it together.

    So a flow whose tickets report at once costs one step, not one for each; nobody waits for others to come. What is
    gathered counts as one job of the executor: those who add to it are bounded by connections and deliveries.
    """

    def __init__(self, executor: KeyedExecutor, take: Callable[[str, Sequence[T]], Awaitable[R]]) -> None:
        """Have `take` handle what was gathered of a key."""
        self._executor = executor
        self._take = take
        self._gathered: dict[str, tuple[list[T], asyncio.Future[R]]] = {}

    def add(self, key: str, item: T) -> asyncio.Future[R]:
        """Add an item and return what comes of all that are taken with it; raise `Unavailable` like the executor.

        The future is shared: shield it, so that who stops waiting does not stop the others.
        """
        if key not in self._gathered:
            self._gathered[key] = [], self._executor.submit(key, partial(self._turn, key))
        items, result = self._gathered[key]
        items.append(item)
        return result

    async def _turn(self, key: str) -> R:
        items, _ = self._gathered.pop(key)
        return await self._take(key, items)


class HeavyWork:
    """Runs pure computations. One at a time bounds the memory that they hold."""

    def __init__(self, *, threads: bool) -> None:
        """Without `threads` each runs at once, which keeps a simulation the same every time."""
        self._turn = asyncio.Lock() if threads else None

    def apart(self) -> "HeavyWork":
        """Return another one, with turns of its own: a training takes minutes, and no flow waits for its turn."""
        return HeavyWork(threads=self._turn is not None)

    async def run(self, compute: Callable[[], T]) -> T:
        """Return the result of `compute`; raises its error."""
        if self._turn is None:
            return compute()
        async with self._turn:
            return await asyncio.to_thread(compute)


def unwatched(
    about: Mapping[str, object], begin: Callable[[str, Any], asyncio.Future[Any]], key: str, what: object
) -> None:
    """Begin what costs nothing but time when it fails: the ticket's wake-up asks again for a lost answer.

    `about` are the fields of a line that tells of it.
    """

    def done(future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            log.warning("background.failed", **about, error=repr(error))

    try:
        begin(key, what).add_done_callback(done)
    except Unavailable as full:
        log.warning("background.dropped", **about, error=str(full))
