"""The storage ports over one database."""

from contextlib import suppress
from functools import partial
from typing import Self

from functions._adapters.sql.postgres.database import PostgresDatabase
from functions._adapters.sql.postgres.deliveries import PostgresDeliveries
from functions._adapters.sql.postgres.flows import PostgresFlows, PostgresTicketCounts
from functions._adapters.sql.postgres.key_values import PostgresKeyValues
from functions._adapters.sql.postgres.mail import PostgresDeadLetters, PostgresQueue, PostgresTelemetryBuffer
from functions._adapters.sql.postgres.migrations import migrate
from functions._adapters.sql.postgres.registry import PostgresRegistry
from functions._adapters.sql.postgres.retention import PostgresRetention
from functions._adapters.sql.postgres.statistics import PostgresStatistics
from functions._adapters.sql.postgres.views import PostgresViews
from functions._adapters.sql.postgres.wakeups import PostgresWakeups
from functions._adapters.stores import Stores
from functions._core.errors import FlowcError


class PostgresStore:
    """An open database; `stores` are its ports. Whoever opens it closes it, in the same event loop."""

    def __init__(self, database: PostgresDatabase, owner: str | None) -> None:
        self._database = database
        self._owner = owner
        self.stores = Stores(
            store=PostgresFlows(database, owner),
            ticket_counts=PostgresTicketCounts(database),
            wakeups=PostgresWakeups(database),
            registry=PostgresRegistry(database),
            views=PostgresViews(database),
            statistics=PostgresStatistics(database),
            retention=PostgresRetention(database),
            key_values=partial(PostgresKeyValues, database),
            dead_letters=PostgresDeadLetters(database),
            deliveries=PostgresDeliveries(database),
            telemetry_buffer=PostgresTelemetryBuffer(database),
            queue=PostgresQueue(database, owner),
            set_aside=database.set_aside,
        )

    @classmethod
    async def open(cls, url: str, owner: str | None = None, *, connections: int = 8) -> Self:
        """Open the database at `url`, `postgresql://…`, and bring it to the schema of this version.

        `owner` names a process that handles queued events itself among all that share the database; no two may have
        the same. Without it, what is queued is everybody's. At most `connections` are open at once. Raises
        `Unavailable` when the database does not answer.
        """
        await migrate(url)
        store = cls(await PostgresDatabase.open(url, connections), owner)
        if owner is not None:
            await store._database.rows("process_forget")
        return store

    async def check(self) -> None:
        """Raise `Unavailable`, saying why, while the database cannot be written."""
        await self._database.rows("writable")

    async def close(self) -> None:
        """Leave what is queued to others at once, and give the connections back."""
        if self._owner is not None:
            with suppress(FlowcError):
                await self._database.rows("process_leave", owner=self._owner)
        await self._database.close()
