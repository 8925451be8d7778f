"""The wake-ups of schedules: small records whose keys begin with a time, so that the first one is due first.

Each schedule has one, also a schedule that waits for nothing. A wake-up may come early or be left over: whoever finds
one looks at the schedule, which knows what is due.
"""

from datetime import datetime

from functions._core.errors import Conflict
from functions._core.ports import Entry, KeyValues
from functions._core.records.values import LATEST, format_time, parse_time

WAKEUPS = "schedule-wakeups"
"""The space of `KeyValues` that holds the wake-ups, by time and name."""

NEVER = LATEST
"""The wake-up of a schedule that waits for nothing."""

TRIES = 5
"""Writes of a small record that others write at the same time."""


def key_of(at: datetime, name: str) -> str:
    """Return the key of a wake-up."""
    return f"{format_time(at)}/{name}"


def read_key(key: str) -> tuple[datetime, str]:
    """Return the time and the name of the schedule in the key of a wake-up."""
    text, _, name = key.partition("/")
    at = parse_time(text)
    if not isinstance(at, datetime):
        raise ValueError(f"{key[:100]!r} is no key of a wake-up")  # noqa: TRY004 the text is wrong, not its type
    return at, name


async def arm(entries: KeyValues, at: datetime, name: str) -> Entry:
    """Store a wake-up, also over one that is there: with its new version nobody removes it who has seen the old one."""
    key = key_of(at, name)
    for attempt in range(TRIES):
        known = await entries.get(WAKEUPS, key) if attempt else None
        try:
            return await entries.put(WAKEUPS, key, b"{}", version=known.version if known else 0)
        except Conflict:
            continue
    raise Conflict(f"the wake-up {key} changed {TRIES} times meanwhile")


async def first(entries: KeyValues) -> datetime | None:
    """Return when the first wake-up is; None when no schedule waits for anything."""
    page = await entries.page(WAKEUPS, None, 1)
    return read_key(page[0].key)[0] if page else None
