"""The moments of a schedule: by a cron expression in a time zone, every so many seconds, or a list.

Clocks that are put forward or back are treated as Debian's cron does. A job of fixed times runs once for each day: one
whose time is left out runs right after the gap, and one whose time comes twice runs the first time. A job whose minute
or hour begins with `*` runs whenever the clock of the zone shows such a time.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import NamedTuple
from zoneinfo import ZoneInfo

from functions._core.records.values import LATEST, add_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment from which intervals are counted where a schedule names none."""

SECOND = timedelta(seconds=1)

HORIZON = timedelta(days=50 * 366)
"""A moment that is further away than this is none."""

REPEATED = 400
"""Moments of an expression that are passed over because they are not later: those of an hour that comes twice, and of
the minutes of a day at most."""


class Timetable(NamedTuple):
    """The moments of a schedule, as its form has them: `cron` in `zone`, `every` from `anchor` on, or `moments`.

    `exceptions` are ranges of dates in the zone, sorted and apart from each other, both ends included. `starts` and
    `ends` bound the moments, both included.
    """

    cron: str | None = None
    zone: str = "UTC"
    every: timedelta | None = None
    anchor: datetime = EPOCH
    moments: tuple[datetime, ...] = ()
    exceptions: tuple[tuple[date, date], ...] = ()
    starts: datetime | None = None
    ends: datetime | None = None


def check_cron(expression: str) -> None:
    """Raise `ValueError`, which names the field, for an expression that is no cron expression of five fields."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 few processes read an expression: cold starts

    fields = len(expression.split())
    if fields != 5:  # noqa: PLR2004 minute, hour, day of month, month, day of week
        text = "minute, hour, day of month, month and day of week"
        raise ValueError(f"a cron expression has five fields, {text}; this one has {fields}")
    try:
        CronSim(expression, EPOCH)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ValueError(f"the field {field} cannot be read, or never comes") from None


def check_zone(name: str) -> None:
    """Raise `ValueError` for a name that is no time zone."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"there is no time zone {name[:100]!r}; they are named such as Europe/Berlin") from None


def next_moment(timetable: Timetable, after: datetime) -> datetime | None:
    """Return the first moment of a timetable that is later than `after`, in UTC and whole seconds; None without one."""
    if timetable.starts is not None:
        after = max(after, timetable.starts - SECOND)
    latest = min(add_time(after, HORIZON), timetable.ends or LATEST)
    for _ in range(len(timetable.exceptions) + 1):
        try:
            found = _unbounded(timetable, after)
        except OverflowError:  # behind the end of the calendar
            return None
        if found is None or found > latest:
            return None
        over = _exception_over(timetable, found)
        if over is None:
            return found
        after = over - SECOND
    return None


def moments_between(timetable: Timetable, first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield the moments of a timetable from `first` to `last`, both included."""
    moment = next_moment(timetable, first - timedelta(microseconds=1))
    while moment is not None and moment <= last:
        yield moment
        moment = next_moment(timetable, moment)


def jitter_of(name: str, moment: datetime, most: timedelta) -> timedelta:
    """Return how much later than its moment a run of the schedule `name` begins: less than `most`, always the same."""
    if not most:
        return most
    number = int.from_bytes(sha256(f"{name}/{int(moment.timestamp())}".encode()).digest()[:8])
    return timedelta(milliseconds=int(most / timedelta(milliseconds=1) * number / 2**64))


def _unbounded(timetable: Timetable, after: datetime) -> datetime | None:
    """Return the first moment later than `after`, whatever the bounds and exceptions."""
    if timetable.cron is not None:
        return _of_cron(timetable.cron, timetable.zone, after)
    if timetable.every is not None:
        return timetable.anchor + timetable.every * ((after - timetable.anchor) // timetable.every + 1)
    index = bisect_right(timetable.moments, after)
    return timetable.moments[index] if index < len(timetable.moments) else None


def _of_cron(expression: str, zone: str, after: datetime) -> datetime | None:
    from cronsim import CronSim  # noqa: PLC0415 likewise

    # The library counts by the clock on the wall: in an hour that comes twice it may return a time of the first one.
    found = CronSim(expression, after.astimezone(UTC if zone == "UTC" else ZoneInfo(zone)))
    for _, moment in zip(range(REPEATED), found, strict=False):
        in_utc = moment.astimezone(UTC)
        if in_utc > after:
            return in_utc
    return None


def _exception_over(timetable: Timetable, moment: datetime) -> datetime | None:
    """Return when the exception ends that a moment is in; None when it is in none."""
    if not timetable.exceptions:
        return None
    zone = ZoneInfo(timetable.zone)
    day = moment.astimezone(zone).date()
    index = bisect_right(timetable.exceptions, day, key=lambda days: days[0]) - 1
    if index < 0 or day > timetable.exceptions[index][1]:
        return None
    return datetime.combine(timetable.exceptions[index][1] + timedelta(days=1), time(), zone).astimezone(UTC)
