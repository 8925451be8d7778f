"""Counts that a decision needs. Those of one flow are consistent; those over all flows are milliseconds old."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from functions._adapters.documents import fill_async
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.flows import DynamoFlows
from functions._adapters.dynamodb.records import is_record, readable, readable_all
from functions._adapters.dynamodb.views import DynamoViews
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.worker_claims import held_since
from functions._core.records.attempts import held_as, other_of
from functions._core.records.models import Ticket


class DynamoTicketCounts:
    """The `TicketCounts`."""

    def __init__(self, writer: Writer, flows: DynamoFlows, views: DynamoViews) -> None:
        self._writer = writer
        self._flows = flows
        self._views = views

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow's plan are in each status, zeros included."""
        return await self._flows.by_status(flow_id)

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live, counting no further than `at_most`."""
        return await self._flows.live(flow_id, at_most)

    async def active(self) -> Mapping[str, int]:
        """Return how many tickets each worker holds."""
        entries = await self._writer.table.sharded("standing", "HELD", shards=keys.HELD_SHARDS)
        held = Counter(entry["ss"]["S"].rsplit("#", 1)[0] for entry in entries)
        long = {entry["ss"]["S"].rsplit("#", 1)[0]: key_of(entry) for entry in entries if "…" in entry["ss"]["S"]}
        items = await self._writer.read_all([keys.hedged_ticket(key) for key in long.values()])
        for name, key in long.items():
            item = items.get(keys.hedged_ticket(key))
            ticket = await readable(self._writer.table, Ticket, item) if item is not None else None
            if ticket is not None:
                other = other_of(ticket) if key != keys.hedged_ticket(key) else None
                held[other.worker_id if other else ticket.worker_id or name] = held.pop(name)
        return held

    async def held_by(self, worker_id: str, limit: int) -> Sequence[Ticket]:
        """Return tickets that the worker holds, the oldest assignment first."""
        name = keys.short(worker_id)
        table = self._writer.table

        async def first(number: int) -> tuple[int, list[Ticket]]:
            entries = await table.query(
                keys.held_by(name),
                f"{name}#",
                f"{name}#{keys.LAST}",
                index="standing",
                keys=("sp", "ss"),
                limit=number,
            )
            wanted = list(dict.fromkeys(keys.hedged_ticket(key_of(entry)) for entry in entries))
            items = await self._writer.read_all(wanted)
            found = [items[key] for key in wanted if is_record(items.get(key))]
            tickets = [held_as(one, worker_id) for one in await readable_all(table, Ticket, found)]
            return len(entries), [one for one in tickets if one.worker_id == worker_id and held_since(one)]

        return await fill_async(limit, first)

    async def fitting(self, filters: Mapping[str, str], at_most: int, labels: Collection[str] = ()) -> int:
        """Return how many tickets all `filters` fit, counting no further than `at_most`: a walk over them."""
        return len((await self._views.find_tickets(filters, None, at_most, labels))[0])
