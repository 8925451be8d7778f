"""The queues of webhook subscribers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from functions._adapters.documents import document, read_document
from functions._adapters.pages import MAX_POSITION, position_of
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase
from functions._adapters.sql.postgres.rows import Row
from functions._adapters.sql.postgres.views import read_page
from functions._core.errors import Conflict
from functions._core.records.set_aside import RecordKind
from functions._core.webhooks.delivery import WebhookDelivery

KIND = RecordKind.WEBHOOK_DELIVERY


class PostgresDeliveries:
    """The `Deliveries`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def put(self, delivery: WebhookDelivery) -> None:
        """Store a delivery; raise `Conflict` when the stored version is not `version - 1`."""
        sql = SQL["webhook_insert" if delivery.version == 1 else "webhook_update"]
        if not await self._database.run(sql, delivery_row(delivery)):
            raise Conflict

    async def claim_due(
        self, subscription_ids: Collection[str], now: datetime, limit: int, lease: timedelta
    ) -> Sequence[WebhookDelivery]:
        """Return up to `limit` due deliveries of each subscription."""
        rows = await self._database.rows(
            "webhooks_claim", ids=list(subscription_ids), now=now, limit=limit, until=now + lease
        )
        aside = self._database.set_aside
        read = (aside.read(KIND, row[0], partial(read_document, WebhookDelivery, row[1])) for row in rows)
        return [delivery for delivery in read if delivery is not None]

    async def delivery(self, subscription_id: str, delivery_id: str) -> WebhookDelivery | None:
        """Return one delivery."""
        doc = await self._database.value("webhook", subscription_id=subscription_id, delivery_id=delivery_id)
        if doc is None:
            return None
        return self._database.set_aside.read_one(KIND, delivery_id, partial(read_document, WebhookDelivery, doc))

    async def page(
        self, subscription_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """Return the deliveries of a subscription, the newest first."""
        values = {"subscription_id": subscription_id, "before": position_of(cursor, start=MAX_POSITION)}
        return await read_page(self._database, KIND, WebhookDelivery, SQL["webhooks_page"], values, limit)

    async def waiting(self, subscription_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many deliveries of each subscription have not ended."""
        rows = await self._database.rows("webhooks_waiting", ids=list(subscription_ids))
        return dict(rows)


def delivery_row(delivery: WebhookDelivery) -> Row:
    """Return the row of a delivery."""
    return {
        "subscription_id": delivery.subscription_id,
        "delivery_id": delivery.delivery_id,
        "due_at": delivery.next_attempt_at,
        "created_at": delivery.created_at,
        "version": delivery.version,
        "doc": document(delivery),
    }
