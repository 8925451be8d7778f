"""Subscriptions in the store: small records by their ids, changed by whoever changes first."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from pydantic import ValidationError

from functions._core.errors import Conflict
from functions._core.ports import Entry, KeyValues
from functions._core.webhooks.subscription import MAX_SUBSCRIPTIONS, SPACE, Subscription

TRIES = 5
"""Changes of a subscription that others change at the same time."""


async def subscriptions(entries: KeyValues) -> Sequence[Subscription]:
    """Return all subscriptions that can be read, by id."""
    page = await entries.page(SPACE, None, 2 * MAX_SUBSCRIPTIONS)  # more are there for a moment at most
    return [found for entry in page if (found := _read(entry)) is not None]


async def subscription(entries: KeyValues, subscription_id: str) -> Subscription | None:
    """Return one subscription."""
    entry = await entries.get(SPACE, subscription_id)
    return None if entry is None else _read(entry)


async def put_new(entries: KeyValues, new: Subscription) -> None:
    """Store a subscription that was not there."""
    await entries.put(SPACE, new.id, _written(new), version=0)


async def changed(
    entries: KeyValues, subscription_id: str, change: Callable[[Subscription], Subscription]
) -> Subscription | None:
    """Store what `change` makes of a subscription, and return it; None when there is none."""
    for _ in range(TRIES):
        entry = await entries.get(SPACE, subscription_id)
        known = None if entry is None else _read(entry)
        if entry is None or known is None:
            return None
        try:
            await entries.put(SPACE, subscription_id, _written(new := change(known)), version=entry.version)
        except Conflict:
            continue
        return new
    raise Conflict(f"subscription {subscription_id} changed {TRIES} times meanwhile")


async def removed(entries: KeyValues, subscription_id: str) -> bool:
    """Forget a subscription; tell whether it was there."""
    for _ in range(TRIES):
        entry = await entries.get(SPACE, subscription_id)
        if entry is None:
            return False
        if await entries.remove(SPACE, subscription_id, entry.version):
            return True
    raise Conflict(f"subscription {subscription_id} changed {TRIES} times meanwhile")


def _read(entry: Entry) -> Subscription | None:
    return _parsed(entry.value)


@lru_cache(maxsize=2 * MAX_SUBSCRIPTIONS)  # all are read each few seconds, and seldom change
def _parsed(value: bytes) -> Subscription | None:
    try:
        return Subscription.model_validate_json(value)
    except ValidationError:
        return None


def _written(one: Subscription) -> bytes:
    return one.model_dump_json().encode()
