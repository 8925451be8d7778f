"""The storage ports over one data folder."""

from functools import partial
from pathlib import Path
from typing import Self

from functions._adapters.sql.sqlite.database import SqliteDatabase
from functions._adapters.sql.sqlite.deliveries import SqliteDeliveries
from functions._adapters.sql.sqlite.flows import SqliteFlows, SqliteTicketCounts
from functions._adapters.sql.sqlite.key_values import SqliteKeyValues
from functions._adapters.sql.sqlite.mail import SqliteDeadLetters, SqliteQueue, SqliteTelemetryBuffer
from functions._adapters.sql.sqlite.registry import SqliteRegistry
from functions._adapters.sql.sqlite.retention import SqliteRetention
from functions._adapters.sql.sqlite.statistics import SqliteStatistics
from functions._adapters.sql.sqlite.views import SqliteViews
from functions._adapters.sql.sqlite.wakeups import SqliteWakeups
from functions._adapters.stores import Stores


class SqliteStore:
    """An open data folder; `stores` are its ports. Whoever opens it closes it, in the same event loop."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        flows = SqliteFlows(database)
        self.stores = Stores(
            store=flows,
            ticket_counts=SqliteTicketCounts(database),
            wakeups=SqliteWakeups(database),
            registry=SqliteRegistry(database),
            views=SqliteViews(database),
            statistics=SqliteStatistics(database),
            retention=SqliteRetention(database, flows.forget),
            key_values=partial(SqliteKeyValues, database),
            dead_letters=SqliteDeadLetters(database),
            deliveries=SqliteDeliveries(database),
            telemetry_buffer=SqliteTelemetryBuffer(database),
            queue=SqliteQueue(database),
            set_aside=database.set_aside,
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open `folder`, which is created when it is not there, and bring it to the schema of this version.

        Raises `DataFolderInUse` when another process has it, `DataFolderTooNew` when a newer version wrote
        it, and `Unavailable` when the database cannot be opened.
        """
        return cls(SqliteDatabase(folder))

    async def check(self) -> None:
        """Raise `Unavailable`, saying why, while the database cannot be written."""
        await self._database.check()

    async def close(self) -> None:
        """Finish the writes that wait and give the folder back."""
        await self._database.close()
