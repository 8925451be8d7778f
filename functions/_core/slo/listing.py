"""What people look through: the course of a budget, and freezes, the newest first.

Both may be long. They are read in parts of bounded size, and what is in a part is worked out beside the event loop.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from functions._core.errors import Rejected
from functions._core.ports import Entry, KeyValues, Ports
from functions._core.records.values import add_time, format_time, parse_time
from functions._core.slo.course import CoursePoint, Grouping, one_point, start_of
from functions._core.slo.freezing import FreezeEvent
from functions._core.slo.stored import (
    FREEZE_HISTORY,
    HISTORY,
    BudgetHour,
    BudgetPoint,
    below,
    history_key,
    hour_key,
    read_record,
)

HOURS = 96
"""Hours of a course that are read at once."""

MOST_AT_ONCE = 400
"""Freezes that are read at once."""

LOOKED_AT = 10_000
"""Freezes that are looked at for one request, whether or not they are asked for; the next page goes on."""

TICK = timedelta(milliseconds=1)
"""The difference between two moments that a record can hold."""

DAY = timedelta(days=1)

CURSOR = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z[/0][A-Za-z0-9-]{0,64}$"
"""Behind which freeze a page begins: its moment and its id, or its moment alone."""

Groups = dict[datetime, list[BudgetPoint]]


async def course_of(
    ports: Ports, slo_id: str, since: datetime, until: datetime, grouping: Grouping, limit: int
) -> tuple[Sequence[CoursePoint], datetime | None]:
    """Return up to `limit` points of a course, the oldest first, and from when on it goes on; None: these are all."""
    groups: Groups = {}
    first, last = below(hour_key(slo_id, since)), f"{hour_key(slo_id, until)}~"
    async for part in _parts(ports.key_values, HISTORY, first, last, HOURS):
        await ports.beside(partial(_group, part, since, until, grouping, groups))
        if len(groups) > limit:
            break
    ordered = sorted(groups.items())
    following = ordered[limit][1][0].at if len(ordered) > limit else None
    points: list[CoursePoint] = await ports.beside(lambda: [one_point(at, group) for at, group in ordered[:limit]])
    return points, following


async def newest_freezes(
    ports: Ports,
    since: datetime,
    until: datetime,
    limit: int,
    *,
    fits: Callable[[FreezeEvent], bool],
    cursor: str | None = None,
) -> tuple[Sequence[FreezeEvent], str | None]:
    """Return up to `limit` freezes that fit, the newest first, and the cursor of those that follow.

    They began from `since` up to and with `until`. Slices grow while little is found in them, and shrink for much.
    Raises `Rejected` for a cursor without a moment.
    """
    end = until if cursor is None else min(until, _moment_of(cursor))
    found: list[FreezeEvent] = []
    looked_at, width = 0, DAY
    while end >= since and len(found) <= limit:
        if looked_at >= LOOKED_AT:
            return found, f"{format_time(end)}0"
        start = max(since, add_time(end, -width))
        part = await _slice(ports.key_values, start, end)
        if part is None and end - start > TICK:
            width = max(TICK, (end - start) / 8)
            continue
        looked_at += len(part or ())
        found += await ports.beside(partial(_freezes, part or (), cursor, fits))
        if start == since:
            break
        end, width = start - TICK, width * 2
    return found[:limit], history_key(found[limit - 1]) if len(found) > limit else None


async def _parts(entries: KeyValues, space: str, after: str, last: str, size: int) -> AsyncIterator[Sequence[Entry]]:
    """Yield the entries with keys above `after` and below `last`, so many at a time."""
    while True:
        page = await entries.page(space, after, size)
        within = [entry for entry in page if entry.key < last]
        if within:
            yield within
        if len(within) < size:
            return
        after = page[-1].key


async def _slice(entries: KeyValues, start: datetime, end: datetime) -> Sequence[Entry] | None:
    """Return the freezes that began in a span; None for more than are read at once."""
    found: list[Entry] = []
    async for part in _parts(entries, FREEZE_HISTORY, below(format_time(start)), f"{format_time(end)}0", MOST_AT_ONCE):
        found += part
        if len(found) >= MOST_AT_ONCE and end - start > TICK:
            return None
    return found


def _group(part: Sequence[Entry], since: datetime, until: datetime, grouping: Grouping, groups: Groups) -> None:
    """Add the calculations of hours to their groups."""
    for entry in part:
        hour = read_record(BudgetHour, entry) or BudgetHour()
        for point in hour.points:
            if since <= point.at <= until:
                groups.setdefault(start_of(point.at, grouping), []).append(point)


def _freezes(part: Sequence[Entry], cursor: str | None, fits: Callable[[FreezeEvent], bool]) -> Sequence[FreezeEvent]:
    """Return those of the entries that fit, and are behind the cursor, the newest first."""
    before = (entry for entry in reversed(part) if cursor is None or entry.key < cursor)
    read = (read_record(FreezeEvent, entry) for entry in before)
    return [event for event in read if event is not None and fits(event)]


def _moment_of(cursor: str) -> datetime:
    try:
        moment = parse_time(cursor[: len("2026-01-01T00:00:00.000Z")])
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise Rejected("the cursor has no moment", code="invalid_cursor")
    return moment
