"""The one writer: a thread that commits everything that queued while it was writing the last commit to disk.

A batch is one transaction and one fsync, shared by all who wait for it; nobody waits for a batch to fill.
Each write has a savepoint of its own, so one that fails takes nothing else with it. When the engine itself
fails (disk full, read-only, locked, damaged) the whole batch is rolled back and everyone in it gets
`Unavailable`; the thread goes on.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from functions._core.errors import Rejected, Unavailable

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]

MAX_WAITING = 10_000
"""Writes that may wait at once. Beyond it the disk does not keep up, and whoever sends must slow down."""

_Write = tuple[Query[Any], "asyncio.Future[Any]"]


class Failed:
    """The outcome of a write that raised `error`."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Committer:
    """Runs writes in a thread of its own. `write` and `close` are for one event loop.

    `failed` says whether the engine could not make the last commit.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closed = False
        self.failed = False
        # A daemon: a process that ends without `close` need not wait, as what was acknowledged is on disk.
        self._thread = Thread(target=self._run, name="flowc-committer", daemon=True)
        self._thread.start()

    async def write(self, query: Query[T]) -> T:
        """Run `query` inside a transaction and return its result once its changes are on disk.

        What `query` raises is raised here, its changes undone. Who stops waiting does not stop the write.
        """
        if self._closed:
            raise Unavailable("The store is closed.")
        if self._queue.qsize() >= MAX_WAITING:
            raise Unavailable("Too many writes wait for the disk.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((query, future))
        return await future

    async def close(self) -> None:
        """Refuse further writes, finish those that wait, and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while batch := self._take():
            outcomes = self._commit([query for query, _ in batch])
            # A loop that is closed already has nobody left who waits.
            with suppress(RuntimeError):
                batch[0][1].get_loop().call_soon_threadsafe(_settle, batch, outcomes)

    def _take(self) -> list[_Write]:
        """Wait for a write, then take all there are; nothing means that the queue was closed."""
        batch: list[_Write] = []
        with suppress(Empty):
            while write := self._queue.get(block=not batch):
                batch.append(write)
            self._queue.put(None)  # the end: left for the next round to find at once
        return batch

    def _commit(self, queries: Sequence[Query[Any]]) -> Sequence[Any]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(query) for query in queries]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Some errors have rolled back by themselves. Should this fail, the next batch repeats it.
            with suppress(sqlite3.Error):
                self._connection.rollback()
            self.failed = True
            return [Failed(unavailable(error)) for _ in queries]
        self.failed = False
        return outcomes

    def _attempt(self, query: Query[Any]) -> Any:
        self._connection.execute("SAVEPOINT write")
        try:
            outcome = query(self._connection)
        except sqlite3.IntegrityError as error:  # a constraint: the values are to blame, not the engine
            self._connection.execute("ROLLBACK TO write")
            refused = Rejected(f"It cannot be stored: {error}.", code="not_storable")
            refused.__cause__ = error
            outcome = Failed(refused)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised again where the write is awaited
            self._connection.execute("ROLLBACK TO write")
            outcome = Failed(error)
        self._connection.execute("RELEASE write")
        return outcome


def unavailable(error: sqlite3.Error) -> Unavailable:
    """Return what callers are told of an error of the engine."""
    told = Unavailable(f"The database does not answer: {error}.")
    told.__cause__ = error
    return told


def _settle(batch: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():  # its waiter was cancelled
            continue
        if isinstance(outcome, Failed):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
