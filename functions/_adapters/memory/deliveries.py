"""The queues of webhook subscribers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from functions._adapters.memory.state import State
from functions._adapters.pages import MAX_POSITION, page, position_of
from functions._core.errors import Conflict
from functions._core.webhooks.delivery import WebhookDelivery


class MemoryDeliveries:
    """The `Deliveries`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def put(self, delivery: WebhookDelivery) -> None:
        """Store a delivery; raise `Conflict` when the stored version is not `version - 1`."""
        key = delivery.subscription_id, delivery.delivery_id
        stored = self._state.deliveries.get(_name(*key))
        if (stored.version if stored else 0) != delivery.version - 1:
            raise Conflict
        self._state.deliveries.put(_name(*key), delivery)
        self._state.deliveries_due[_name(*key)] = delivery.next_attempt_at

    async def claim_due(
        self, subscription_ids: Collection[str], now: datetime, limit: int, lease: timedelta
    ) -> Sequence[WebhookDelivery]:
        """Return up to `limit` due deliveries of each subscription."""
        claimed: list[WebhookDelivery] = []
        for subscription_id in subscription_ids:
            due = [
                (at, position, delivery)
                for position, delivery in self._state.deliveries.after(0)
                if delivery.subscription_id == subscription_id
                and (at := self._state.deliveries_due[_name(subscription_id, delivery.delivery_id)]) is not None
                and at <= now
            ]
            claimed += [delivery for _, _, delivery in sorted(due, key=lambda entry: entry[:2])[:limit]]
        for delivery in claimed:
            self._state.deliveries_due[_name(delivery.subscription_id, delivery.delivery_id)] = now + lease
        return claimed

    async def delivery(self, subscription_id: str, delivery_id: str) -> WebhookDelivery | None:
        """Return one delivery."""
        return self._state.deliveries.get(_name(subscription_id, delivery_id))

    async def page(
        self, subscription_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[WebhookDelivery], str | None]:
        """Return the deliveries of a subscription, the newest first."""
        rows = self._state.deliveries.before(position_of(cursor, start=MAX_POSITION))
        chosen = (row for row in rows if row[1].subscription_id == subscription_id)
        return page(list(islice(chosen, limit + 1)), limit)

    async def waiting(self, subscription_ids: Collection[str]) -> Mapping[str, int]:
        """Return how many deliveries of each subscription have not ended."""
        counts: dict[str, int] = {}
        for delivery in self._state.deliveries:
            if delivery.subscription_id in subscription_ids and delivery.next_attempt_at is not None:
                counts[delivery.subscription_id] = counts.get(delivery.subscription_id, 0) + 1
        return counts


def _name(subscription_id: str, delivery_id: str) -> str:
    return f"{subscription_id} {delivery_id}"
