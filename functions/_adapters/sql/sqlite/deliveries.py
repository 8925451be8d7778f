"""The queues of webhook subscribers."""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from functions._adapters.documents import document, read_document
from functions._adapters.pages import MAX_POSITION, position_of
from functions._adapters.sql.sqlite.changes import BulkStatement, apply
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import Row, to_ms
from functions._adapters.sql.sqlite.views import read_page
from functions._core.records.set_aside import RecordKind
from functions._core.webhooks.delivery import WebhookDelivery

KIND = RecordKind.WEBHOOK_DELIVERY


class SqliteDeliveries:
    """The `Deliveries`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put(self, delivery: WebhookDelivery) -> None:
        """Store a delivery; raise `Conflict` when the stored version is not `version - 1`."""
        sql = SQL["webhook_insert" if delivery.version == 1 else "webhook_update"]
        change = BulkStatement(sql, [delivery_row(delivery)], guarded=True)
        await self._database.write(partial(apply, changes=[change]))

    async def claim_due(
        self, subscription_ids: Collection[str], now: datetime, limit: int, lease: timedelta
    ) -> Sequence[WebhookDelivery]:
        """Return up to `limit` due deliveries of each subscription."""
        due = self._database.rows("webhooks_with_due", ids=json.dumps(list(subscription_ids)), now=to_ms(now))
        if not due:  # most rounds find nothing, and write nothing
            return []
        query = {"now": to_ms(now), "limit": limit, "until": to_ms(now + lease)}
        rows = await self._database.write(partial(_claim, ids=[row[0] for row in due], query=query))
        aside = self._database.set_aside
        read = (aside.read(KIND, row[1], partial(read_document, WebhookDelivery, row[2])) for row in rows)
        return [delivery for delivery in read if delivery is not None]

    async def delivery(self, subscription_id: str, delivery_id: str) -> WebhookDelivery | None:
        """Return one delivery."""
        rows = self._database.rows("webhook", subscription_id=subscription_id, delivery_id=delivery_id)
        if not rows:
            return None
        parse = partial(read_document, WebhookDelivery, rows[0][0])
        return self._database.set_aside.read_one(KIND, delivery_id, parse)

    async def page(
        self, subscription_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """Return the deliveries of a subscription, the newest first."""
        values = {"subscription_id": subscription_id, "before": position_of(cursor, start=MAX_POSITION)}
        return await read_page(self._database, KIND, WebhookDelivery, SQL["webhooks_page"], values, limit)

    async def waiting(self, subscription_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many deliveries of each subscription have not ended."""
        query = {"ids": json.dumps(list(subscription_ids))}
        return await self._database.browse(lambda c: dict(c.execute(SQL["webhooks_waiting"], query).fetchall()))


def delivery_row(delivery: WebhookDelivery) -> Row:
    """Return the row of a delivery."""
    return {
        "subscription_id": delivery.subscription_id,
        "delivery_id": delivery.delivery_id,
        "due_at": None if delivery.next_attempt_at is None else to_ms(delivery.next_attempt_at),
        "created_at": to_ms(delivery.created_at),
        "version": delivery.version,
        "doc": document(delivery),
    }


def _claim(connection: sqlite3.Connection, *, ids: Sequence[str], query: Mapping[str, object]) -> list[Any]:
    claimed: list[Any] = []
    for subscription_id in ids:
        claimed += connection.execute(SQL["webhooks_due"], {**query, "subscription_id": subscription_id}).fetchall()
    rows = [{"position": row[0], "until": query["until"]} for row in claimed]
    connection.executemany(SQL["webhook_claim"], rows)
    return claimed
