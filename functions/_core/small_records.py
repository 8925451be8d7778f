"""Changes of small records that others may change at the same time: decided on what is stored, again where it moved."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar, overload

from functions._core.errors import Conflict
from functions._core.ports import Entry, KeyValues

T = TypeVar("T")

PAGE = 25
"""Entries that are read, and turned into records, at once: some milliseconds of the event loop at their largest."""

TRIES = 5
"""Writes of one record before whoever writes gives up."""


@overload
async def changed_entry(
    entries: KeyValues,
    space: str,
    key: str,
    change: Callable[[Entry | None], tuple[bytes, T]],
    expires_at: datetime | None = None,
) -> tuple[T, Entry]: ...


@overload
async def changed_entry(
    entries: KeyValues,
    space: str,
    key: str,
    change: Callable[[Entry | None], tuple[bytes, T] | None],
    expires_at: datetime | None = None,
) -> tuple[T, Entry] | None: ...


async def changed_entry(
    entries: KeyValues,
    space: str,
    key: str,
    change: Callable[[Entry | None], tuple[bytes, T] | None],
    expires_at: datetime | None = None,
) -> tuple[T, Entry] | None:
    """Store the value that `change` makes of an entry, None for none; return what it gives beside it, and the entry.

    None, and nothing stored, when `change` returns None. Raises `Conflict` when the entry moves every time.
    """
    for _ in range(TRIES):
        entry = await entries.get(space, key)
        new = change(entry)
        if new is None:
            return None
        version = entry.version if entry is not None else 0
        try:
            return new[1], await entries.put(space, key, new[0], version=version, expires_at=expires_at)
        except Conflict:
            continue
    raise Conflict(f"{key} changed {TRIES} times meanwhile")


async def removed_entry(
    entries: KeyValues, space: str, key: str, check: Callable[[Entry], None] = lambda _entry: None
) -> bool:
    """Remove an entry that `check` takes, which raises for another; tell whether it was there."""
    for _ in range(TRIES):
        entry = await entries.get(space, key)
        if entry is None:
            return False
        check(entry)
        if await entries.remove(space, key, entry.version):
            return True
    raise Conflict(f"{key} changed {TRIES} times meanwhile")


async def every(entries: KeyValues, space: str, at_most: int, read: Callable[[Entry], T | None]) -> Sequence[T]:
    """Return what is read of the entries of a space, by key, up to about `at_most` of them.

    A page at a time, so that none keeps the event loop for long.
    """
    found: list[T] = []
    after: str | None = None
    for _ in range(-(-2 * at_most // PAGE)):  # more than `at_most` are there for a moment at most
        page = await entries.page(space, after, PAGE)
        found += [one for entry in page if (one := read(entry)) is not None]
        if len(page) < PAGE:
            break
        after = page[-1].key
    return found


async def every_entry(entries: KeyValues, space: str, at_most: int) -> Sequence[Entry]:
    """Return the entries of a space, as `every` does."""
    return await every(entries, space, at_most, lambda entry: entry)
