"""The ways to the one file: functions of a connection, run where they belong."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from functions._adapters.sql import queries
from functions._adapters.sql.sqlite.committer import Committer, Query, T, unavailable
from functions._adapters.sql.sqlite.folder import claim, connect, migrate
from functions._adapters.sql.sqlite.tickets import TicketReader
from functions._core.records.set_aside import SetAside

SQL = queries("sqlite")

PROBE_BYTES = 64 * 1024


class SqliteDatabase:
    """An open data folder, owned by one event loop."""

    def __init__(self, folder: Path) -> None:
        self.set_aside = SetAside()
        self.tickets = TicketReader(self.set_aside)
        with ExitStack() as stack:
            path = claim(folder, stack)
            try:
                # Closed in reverse: the writer comes last and folds the log into the database.
                writer = stack.enter_context(closing(connect(path, writes=True)))
                migrate(writer, folder)
                self._reader = stack.enter_context(closing(connect(path, writes=False)))
                self._browser = stack.enter_context(closing(connect(path, writes=False)))
            except sqlite3.Error as error:
                raise unavailable(error) from error
            self._committer = Committer(writer)
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flowc-reader")
            self._resources = stack.pop_all()

    def read(self, query: Query[T]) -> T:
        """Run a short query here and now.

        That costs microseconds, less than handing it to another thread, and never waits for the writer (WAL).
        It begins after every acknowledged write was committed, and so sees it.
        """
        try:
            return query(self._reader)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def rows(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        """Run a named query here and now."""
        return self.read(lambda connection: connection.execute(SQL[name], values).fetchall())

    async def browse(self, query: Query[T]) -> T:
        """Run a query that may be long, in the reading thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, query, self._browser)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def write(self, query: Query[T]) -> T:
        """Run a query that changes something, and return when that is on disk."""
        return await self._committer.write(query)

    async def check(self) -> None:
        """Raise `Unavailable` when nothing can be written; it is tried only when the last commit has failed."""
        if self._committer.failed:
            await self.write(_write_something)

    async def close(self) -> None:
        """Finish what waits and give the folder back. Nothing may be asked for afterwards."""
        await self._committer.close()
        await asyncio.to_thread(self._thread.shutdown)
        self._resources.close()


def _write_something(connection: sqlite3.Connection) -> None:
    """Ask the disk for as much as a usual step does, and give it back."""
    row = {"flow_id": "", "doc": bytes(PROBE_BYTES), "limit": 1}
    connection.execute(SQL["decision_insert"], row)
    connection.execute(SQL["decision_forget"], row)
