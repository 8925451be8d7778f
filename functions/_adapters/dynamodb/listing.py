"""Walks along the index of everything, in the order of positions, for people."""

from collections.abc import Callable

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.values import Item
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.pages import MAX_POSITION

PAGE = 100


async def listed_items(
    writer: Writer,
    kind: str,
    fits: Callable[[Item], bool],
    limit: int,
    *,
    after: int | None = None,
    before: int = MAX_POSITION,
) -> list[tuple[int, Item]]:
    """Return up to `limit` items that fit, with their positions.

    They are those behind `after` in order, or without it those before `before`, the newest first.
    """
    found: list[tuple[int, Item]] = []
    newest = after is None
    while len(found) < limit:
        entries = await writer.table.sharded(
            "listing",
            kind,
            keys.number((after or 0) + 1),
            keys.number(before - 1),
            limit=max(PAGE, limit),
            newest=newest,
        )
        if not entries:
            break
        items = await writer.read_all([key_of(entry) for entry in entries])
        for entry in entries:
            item = items.get(key_of(entry))
            if item is not None and fits(item):
                found.append((int(entry["gs"]["S"]), item))
        last = int(entries[-1]["gs"]["S"])
        after, before = (after, last) if newest else (last, before)
        if len(entries) < max(PAGE, limit):
            break
    return found[:limit]
