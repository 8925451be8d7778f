"""Subscriptions in the store: small records by their ids, changed by whoever changes first."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from pydantic import ValidationError

from functions._core.ports import Entry, KeyValues
from functions._core.small_records import changed_entry, removed_entry
from functions._core.webhooks.subscription import MAX_SUBSCRIPTIONS, SPACE, Subscription


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

    def as_stored(entry: Entry | None) -> tuple[bytes, Subscription] | None:
        known = None if entry is None else _read(entry)
        return None if known is None else (_written(new := change(known)), new)

    done = await changed_entry(entries, SPACE, subscription_id, as_stored)
    return None if done is None else done[0]


async def removed(entries: KeyValues, subscription_id: str) -> bool:
    """Forget a subscription; tell whether it was there."""
    return await removed_entry(entries, SPACE, subscription_id)


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
