"""The queues of webhook subscribers: a partition for each, with an item for each delivery.

While a delivery waits, it has an entry in the index `standing` under the moment at which it is due; the index `listing`
has it under its position for the log. The table removes it by its `ttl`, and the parts of a large one by the same.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from functions._adapters.documents import document, fill_async
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange, key_of
from functions._adapters.dynamodb.records import readable, record_of
from functions._adapters.dynamodb.table import AT_ONCE, chunks
from functions._adapters.dynamodb.values import Item, integer, text, texts
from functions._adapters.dynamodb.writing import Moved, Writer
from functions._adapters.pages import MAX_POSITION, page, position_of
from functions._core.webhooks.delivery import KEPT, WebhookDelivery

STANDING, LISTING = ("sp", "ss"), ("gp", "gs")


class DynamoDeliveries:
    """The `Deliveries`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def put(self, delivery: WebhookDelivery) -> None:
        """Store a delivery; raise `Conflict` when the stored version is not `version - 1`."""
        key = keys.webhook_key(delivery.subscription_id, delivery.delivery_id)
        stamp = self._writer.stamps.take(1, delivery.delivery_id)
        due, position = delivery.next_attempt_at, keys.number(stamp)
        ends = int((delivery.created_at + KEPT).timestamp())
        sets: dict[str, Item] = {
            **await self._table.packed(key[0], document(delivery), ttl=ends),
            "v": integer(delivery.version),
            "c": integer(stamp),
            "ttl": integer(ends),
            **(texts({"sp": key[0], "ss": f"{keys.moment(due)}#{position}"}) if due else {}),
        }
        removes = [name for name in ("sp", "ss", "d", "dp") if name not in sets]
        keeps = texts({"gp": key[0], "gs": position})
        await self._writer.write([ItemChange(key, delivery.version - 1, sets=sets, keeps=keeps, removes=removes)])

    async def claim_due(
        self, subscription_ids: Collection[str], now: datetime, limit: int, lease: timedelta
    ) -> Sequence[WebhookDelivery]:
        """Return up to `limit` due deliveries of each subscription, as far as the index shows them yet."""
        found: list[WebhookDelivery] = []
        for some in chunks(list(subscription_ids), AT_ONCE):
            for claimed in await asyncio.gather(*(self._claim(one, now, limit, now + lease) for one in some)):
                found += claimed
        return found

    async def _claim(self, subscription_id: str, now: datetime, limit: int, until: datetime) -> list[WebhookDelivery]:
        last = f"{keys.moment(now)}#{keys.LAST}"
        partition = keys.webhooks_of(subscription_id)
        entries = await self._table.query(partition, "0", last, index="standing", keys=STANDING, limit=limit)
        claimed: list[WebhookDelivery] = []
        for entry in entries:
            place = text(f"{keys.moment(until)}#{entry['ss']['S'].rpartition('#')[2]}")
            try:
                await self._writer.write([ItemChange(key_of(entry), sets={"ss": place}, equal={"ss": entry["ss"]})])
            except Moved:
                continue  # another process has it, or it has ended since the index was written
            item = await self._writer.read(key_of(entry))
            delivery = None if item is None else await readable(self._table, WebhookDelivery, item)
            claimed += [delivery] if delivery is not None else []
        return claimed

    async def delivery(self, subscription_id: str, delivery_id: str) -> WebhookDelivery | None:
        """Return one delivery."""
        item = await self._writer.read(keys.webhook_key(subscription_id, delivery_id))
        return None if item is None else await record_of(self._table, WebhookDelivery, item)

    async def page(
        self, subscription_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """Return the deliveries of a subscription, the newest first."""
        last = keys.number(position_of(cursor, start=MAX_POSITION) - 1)
        partition = keys.webhooks_of(subscription_id)

        async def first(number: int) -> tuple[int, list[tuple[int, WebhookDelivery]]]:
            entries = await self._table.query(
                partition, "0", last, index="listing", keys=LISTING, limit=number, newest=True
            )
            items = await self._writer.read_all([key_of(entry) for entry in entries])
            read = [(entry, items[key_of(entry)]) for entry in entries if key_of(entry) in items]
            found = [
                (int(entry["gs"]["S"]), await readable(self._table, WebhookDelivery, item)) for entry, item in read
            ]
            return len(entries), [(at, delivery) for at, delivery in found if delivery is not None]

        return page(await fill_async(limit + 1, first), limit)

    async def waiting(self, subscription_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many deliveries of each subscription have not ended."""
        counts: dict[str, int] = {}
        for subscription_id in subscription_ids:
            partition = keys.webhooks_of(subscription_id)
            entries = await self._table.query(partition, index="standing", keys=STANDING)
            counts |= {subscription_id: len(entries)} if entries else {}
        return counts
