"""Schedules in the store: small records by name, each with a wake-up, changed by whoever changes first.

A change puts its wake-up first, then the schedule, and removes the old wake-up last. So no schedule is without one that
comes in time, wherever a process dies; one that is left over leads to a look that finds nothing to do.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from functions._core.errors import Conflict, Unreadable
from functions._core.ports import Entry, KeyValues
from functions._core.schedules.record import SPACE, ScheduleRecord
from functions._core.schedules.wakeups import TRIES, WAKEUPS, arm, key_of, read_key

GONE = b"null"
"""The value of a schedule that is being removed, or was never made: it counts as none."""

NAMES = 1000
"""Names in a page of wake-ups."""


class Stored(NamedTuple):
    """A schedule, None where there is none, and the version of its record, 0 where there is none."""

    schedule: ScheduleRecord | None
    version: int


async def read(entries: KeyValues, name: str) -> Stored:
    """Return a schedule; raise `Unreadable` for a record that is none."""
    entry = await entries.get(SPACE, name)
    if entry is None:
        return Stored(None, 0)
    return Stored(_parsed(entry), entry.version)


async def page(entries: KeyValues, after: str | None, limit: int) -> tuple[Sequence[ScheduleRecord], str | None]:
    """Return schedules that can be read behind a name, by name, and the name behind which the next page begins."""
    found = await entries.page(SPACE, after, limit)
    schedules = []
    for entry in found:
        try:
            schedule = _parsed(entry)
        except Unreadable:
            continue
        schedules += [schedule] if schedule is not None else []
    return schedules, found[-1].key if len(found) == limit else None


async def number(entries: KeyValues, at_most: int) -> int:
    """Return how many schedules there are, counting no further than `at_most`; one that is changed may count twice."""
    seen, after = 0, None
    while seen < at_most:
        found = await entries.page(WAKEUPS, after, NAMES)
        seen += len(found)
        if len(found) < NAMES:
            break
        after = found[-1].key
    return min(seen, at_most)


async def put(entries: KeyValues, new: ScheduleRecord, before: Stored) -> None:
    """Store a schedule in place of what was read before; raise `Conflict` when that has changed meanwhile."""
    old = None if before.schedule is None else key_of(before.schedule.wakeup_at, new.name)
    old_entry = await entries.get(WAKEUPS, old) if old and old != key_of(new.wakeup_at, new.name) else None
    await arm(entries, new.wakeup_at, new.name)
    await entries.put(SPACE, new.name, _written(new), version=before.version)
    if old_entry is not None:
        await entries.remove(WAKEUPS, old_entry.key, old_entry.version)


async def changed(
    entries: KeyValues, name: str, change: Callable[[ScheduleRecord | None], ScheduleRecord | None]
) -> ScheduleRecord | None:
    """Store what `change` makes of a schedule, and return it; nothing is stored where it returns None."""
    for _ in range(TRIES):
        before = await read(entries, name)
        new = change(before.schedule)
        if new is None:
            return None
        try:
            await put(entries, new, before)
        except Conflict:
            continue
        return new
    raise _contended(name)


async def removed(entries: KeyValues, name: str) -> bool:
    """Forget a schedule, also one that cannot be read; tell whether it was there."""
    for _ in range(TRIES):
        entry = await entries.get(SPACE, name)
        if entry is None or entry.value == GONE:
            return False
        try:
            wakeup = key_of(before.wakeup_at, name) if (before := _parsed(entry)) is not None else None
        except Unreadable:
            wakeup = None  # its wake-up is removed when it comes
        wakeup_entry = await entries.get(WAKEUPS, wakeup) if wakeup is not None else None
        if await entries.remove(SPACE, name, entry.version):
            if wakeup_entry is not None:
                await entries.remove(WAKEUPS, wakeup_entry.key, wakeup_entry.version)
            return True
    raise _contended(name)


async def moved(entries: KeyValues, new: ScheduleRecord, version: int, wakeup: Entry) -> None:
    """Store a schedule after a look that `wakeup` has led to; raise `Conflict` when it has changed meanwhile."""
    await arm(entries, new.wakeup_at, new.name)
    await entries.put(SPACE, new.name, _written(new), version=version)
    if wakeup.key != key_of(new.wakeup_at, new.name):
        await entries.remove(WAKEUPS, wakeup.key, wakeup.version)


async def forget(entries: KeyValues, name: str, version: int, wakeup: Entry) -> None:
    """Remove a wake-up whose schedule is not there; raise `Conflict` when somebody is making it.

    Whoever makes a schedule puts its wake-up first. So that this is not that one, the schedule's record is written: its
    maker has to begin again then.
    """
    marker = await entries.put(SPACE, name, GONE, version=version)
    await entries.remove(WAKEUPS, wakeup.key, wakeup.version)
    await entries.remove(SPACE, name, marker.version)


async def postpone(entries: KeyValues, wakeup: Entry, until: datetime) -> None:
    """Move a wake-up, whose schedule cannot be looked at now, to later."""
    await arm(entries, until, read_key(wakeup.key)[1])
    await entries.remove(WAKEUPS, wakeup.key, wakeup.version)


def _parsed(entry: Entry) -> ScheduleRecord | None:
    if entry.value == GONE:
        return None
    try:
        return ScheduleRecord.model_validate_json(entry.value)
    except ValidationError as error:
        raise Unreadable(f"schedule {entry.key} cannot be read: {error.errors()[0]['msg']}", entry.version) from None


def _written(schedule: ScheduleRecord) -> bytes:
    return schedule.model_dump_json().encode()


def _contended(name: str) -> Conflict:
    return Conflict(f"schedule {name} changed {TRIES} times meanwhile")
