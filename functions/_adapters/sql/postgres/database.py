"""The way to the database: a small pool of connections, and named queries."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from functions._adapters.documents import fill_async
from functions._adapters.sql import queries
from functions._adapters.sql.postgres.errors import connecting, told
from functions._core.records.set_aside import SetAside

SQL = queries("postgres")

ACQUIRE_SECONDS = 10.0
STATEMENT_SECONDS = 30.0
CLOSE_SECONDS = 5.0

SESSION = {"application_name": "flowc", "enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
"""Every query has its index. Plans are kept, and one made while a table was small would walk it when it is large; a
scan by bitmap would leave the entries of moved rows in the index, to be passed over again."""

PARAMETER = re.compile(r"(?<!:):([a-z_]+)")

T = TypeVar("T")
Rows = Sequence[Any]
"""Records of the driver: tuples by behaviour."""


@lru_cache(maxsize=512)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return `sql` with `$1`, `$2` … for its `:names`, and the names in that order."""
    names: dict[str, int] = {}
    text = PARAMETER.sub(lambda match: f"${names.setdefault(match[1], len(names) + 1)}", sql)
    return text, tuple(names)


async def fetch(connection: Any, sql: str, values: Mapping[str, object]) -> Rows:
    """Run a statement on a connection."""
    text, names = numbered(sql)
    rows: Rows = await connection.fetch(text, *(values[name] for name in names))
    return rows


class PostgresDatabase:
    """An open pool, owned by one event loop. Connections are made when they are needed."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.set_aside = SetAside()

    @classmethod
    async def open(cls, url: str, connections: int) -> "PostgresDatabase":
        """Open a pool of at most `connections`; raises `Unavailable` when `url` makes no sense to the driver."""
        with connecting():
            pool = await asyncpg.create_pool(
                url,
                min_size=0,
                max_size=connections,
                timeout=ACQUIRE_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings=SESSION,
                reset=_as_it_is,
            )
        return cls(pool)

    async def rows(self, name: str, **values: object) -> Rows:
        """Run a named query."""
        return await self.run(SQL[name], values)

    async def filled(
        self, limit: int, sql: str, values: Mapping[str, object], read: Callable[[SetAside, Rows], list[T]]
    ) -> list[T]:
        """Return up to `limit` records that `read` makes of the first rows of a statement with a `:limit`."""

        async def first(number: int) -> tuple[int, list[T]]:
            rows = await self.run(sql, {**values, "limit": number})
            return len(rows), read(self.set_aside, rows)

        return await fill_async(limit, first)

    async def value(self, name: str, **values: object) -> Any:
        """Return the first column of the first row of a named query, or None."""
        rows = await self.rows(name, **values)
        return rows[0][0] if rows else None

    async def run(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Run a statement in a transaction of its own: one round trip."""
        async with self._connection() as connection:
            return await fetch(connection, sql, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Give a connection within a transaction."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Wait a little for what is under way, then give all connections back."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with told():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                try:
                    yield connection
                except asyncpg.InternalClientError:
                    connection.terminate()  # it would not be told by itself from one that works
                    raise


async def _as_it_is(_connection: Any) -> None:
    """Leave a connection as it is: nothing here changes its session, and that saves a round trip."""
