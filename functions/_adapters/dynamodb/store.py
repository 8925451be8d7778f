"""The storage ports over one table."""

from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Self

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb.client import connected
from functions._adapters.dynamodb.deliveries import DynamoDeliveries
from functions._adapters.dynamodb.flows import DynamoFlows
from functions._adapters.dynamodb.history import History
from functions._adapters.dynamodb.key_values import DynamoKeyValues
from functions._adapters.dynamodb.keys import PROCESSES
from functions._adapters.dynamodb.mail import DynamoDeadLetters, DynamoQueue, DynamoTelemetryBuffer
from functions._adapters.dynamodb.outbox import EVERYBODY, Outbox
from functions._adapters.dynamodb.registry import DynamoRegistry
from functions._adapters.dynamodb.retention import DynamoRetention
from functions._adapters.dynamodb.stamps import Stamps
from functions._adapters.dynamodb.statistics import DynamoStatistics
from functions._adapters.dynamodb.table import Table
from functions._adapters.dynamodb.ticket_counts import DynamoTicketCounts
from functions._adapters.dynamodb.views import DynamoViews
from functions._adapters.dynamodb.wakeups import DynamoWakeups
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.stores import Stores
from functions._core.errors import FlowcError
from functions._core.ports import Clock

SETTLE_SECONDS = 1.0
"""How long a reader of history gives to commits that are under way."""


class DynamoStore:
    """An open table; `stores` are its ports. Whoever opens it closes it."""

    def __init__(
        self,
        client: Client,
        table: str,
        owner: str | None,
        clock: Clock,
        *,
        name: str = "",
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Use an open client; `owner` names this process among all that share the table, and no other has that name.

        Without one it is one of those that come and go with each event: what one of them leaves is the others', too.
        Such a one has a `name` all the same, by which it gives out other positions than those beside it.
        """
        self._writer = writer = Writer(Table(client, table), Stamps(clock, name or owner or EVERYBODY))
        self._resources = AsyncExitStack()
        outbox = Outbox(writer, owner or EVERYBODY)
        flows = DynamoFlows(writer, outbox)
        views = DynamoViews(writer, flows, History(writer, settle))
        self.queue = DynamoQueue(writer, outbox)
        self.stores = Stores(
            store=flows,
            ticket_counts=DynamoTicketCounts(writer, flows, views),
            wakeups=DynamoWakeups(writer),
            registry=DynamoRegistry(writer),
            views=views,
            statistics=DynamoStatistics(writer),
            retention=DynamoRetention(writer),
            key_values=partial(DynamoKeyValues, writer),
            dead_letters=DynamoDeadLetters(writer),
            deliveries=DynamoDeliveries(writer),
            telemetry_buffer=DynamoTelemetryBuffer(writer),
            queue=self.queue,
            set_aside=writer.table.set_aside,
        )

    @classmethod
    async def open(cls, table: str, owner: str | None, clock: Clock, *, threads: bool = False) -> Self:
        """Open a table that is there; credentials, region and endpoint come from the environment of AWS.

        `threads` takes the SDK that starts faster, for a process that handles one event at a time.
        """
        resources = AsyncExitStack()
        store = cls(await resources.enter_async_context(connected(threads=threads)), table, owner, clock)
        store._resources = resources
        try:
            await store.queue.enter()
        except FlowcError:
            await resources.aclose()
            raise
        return store

    async def check(self) -> None:
        """Raise `Unavailable`, saying why, while the table cannot be read."""
        await self._writer.table.query(PROCESSES, limit=1)

    async def close(self) -> None:
        """Leave what is queued to others at once, and give the connections back."""
        with suppress(FlowcError):
            await self.queue.leave()
        await self._resources.aclose()
