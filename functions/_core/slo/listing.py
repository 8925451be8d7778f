"""What people look through: the course of a budget, and freezes, the newest first; read in slices of bounded size."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from functions._core.ports import KeyValues
from functions._core.records.values import add_time, format_time, parse_time
from functions._core.slo import stored
from functions._core.slo.course import CoursePoint, Grouping, one_point, start_of
from functions._core.slo.freezing import FreezeEvent
from functions._core.slo.stored import BudgetPoint

SLICE = timedelta(days=8)
"""The part of a course that is read at once: its hours are one page of the store."""

MOST_AT_ONCE = 1000
"""Freezes that are read at once."""

LOOKED_AT = 10_000
"""Freezes that are looked at for one request, whether or not they are asked for; the next page goes on."""

TICK = timedelta(milliseconds=1)
"""The difference between two moments that a record can hold."""

DAY = timedelta(days=1)

CURSOR = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z[/0][A-Za-z0-9-]{0,64}$"
"""Behind which freeze a page begins: its moment and its id, or its moment alone."""


async def course_of(
    entries: KeyValues, slo_id: str, since: datetime, until: datetime, grouping: Grouping, limit: int
) -> tuple[Sequence[CoursePoint], datetime | None]:
    """Return up to `limit` points of a course, the oldest first, and from when on it goes on; None: these are all."""
    groups: dict[datetime, list[BudgetPoint]] = {}
    while since <= until and len(groups) <= limit:
        end = min(add_time(since, SLICE), until)
        for point in await stored.course(entries, slo_id, since, end):
            groups.setdefault(start_of(point.at, grouping), []).append(point)
        if end == until:
            break
        since = end + TICK
    ordered = sorted(groups.items())
    following = ordered[limit][1][0].at if len(ordered) > limit else None
    return [one_point(at, points) for at, points in ordered[:limit]], following


async def newest_freezes(
    entries: KeyValues,
    since: datetime,
    until: datetime,
    limit: int,
    *,
    fits: Callable[[FreezeEvent], bool],
    cursor: str | None = None,
) -> tuple[Sequence[FreezeEvent], str | None]:
    """Return up to `limit` freezes that fit, the newest first, and the cursor of those that follow.

    They began from `since` up to and with `until`. Slices grow while little is found in them, and shrink for much.
    """
    end = until if cursor is None else min(until, _moment_of(cursor))
    found: list[FreezeEvent] = []
    looked_at, width = 0, DAY
    while end >= since and len(found) <= limit:
        if looked_at >= LOOKED_AT:
            return found, f"{format_time(end)}0"
        start = max(since, add_time(end, -width))
        part = await stored.freeze_history(entries, start, end, MOST_AT_ONCE)
        if len(part) == MOST_AT_ONCE and end - start > TICK:
            width = max(TICK, (end - start) / 8)
            continue
        looked_at += len(part)
        found += [one for one in reversed(part) if (cursor is None or _key(one) < cursor) and fits(one)]
        if start == since:
            break
        end, width = start - TICK, width * 2
    return found[:limit], _key(found[limit - 1]) if len(found) > limit else None


def _key(event: FreezeEvent) -> str:
    return f"{format_time(event.triggered_at)}/{event.event_id}"


def _moment_of(cursor: str) -> datetime:
    moment = parse_time(cursor[: len("2026-01-01T00:00:00.000Z")])
    if not isinstance(moment, datetime):
        raise ValueError("the cursor has no moment")  # noqa: TRY004 a value that somebody has sent
    return moment
