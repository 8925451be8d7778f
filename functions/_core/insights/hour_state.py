"""What hourly looks at history have to know, as small records: how far they are, and the sums of what was read.

The sums are larger than a value of the store may be, so each has a record of its own. They are written beside those
that count, and the state then names them: a process that dies in between leaves the old ones, with their cursor.
"""

from collections.abc import Mapping
from datetime import timedelta

from msgspec import MsgspecError

from functions._core.insights.analysis import STATE, OpenProblem
from functions._core.insights.hour_sums import Sums
from functions._core.learning.history_reader import HistoryCursor
from functions._core.learning.load_forecast import ForecastPoint
from functions._core.ports import KeyValues
from functions._core.records.record import Record, T, decode, encode
from functions._core.records.values import Timestamp

HOUR = "hour"
"""The key of the state in the space of what the analysis has to know; sums have keys below it."""

RENEWS_WITHIN = timedelta(hours=3)
"""A finding that an hourly look finds again within this time is the same one."""


class HourState(Record):
    """What the next hourly look has to know."""

    done_until: Timestamp
    """The end of the last hour that was looked at."""
    cursor: HistoryCursor
    """Up to where history is in the sums."""
    side: int = 0
    """Which of the two places of each sum counts, 0 or 1."""
    names: tuple[str, ...] = ()
    """The loads that are kept, in the order of their places."""
    open: Mapping[str, OpenProblem] = {}
    """Findings of the last hours, by a hash of their keys."""
    expected: tuple[ForecastPoint, ...] = ()
    """The flows that were expected in the last quarters of an hour, by forecasts made before."""
    error: float = 1.0
    """The error of these forecasts on days that they did not know, as a share, 0 to 1."""


async def hour_state(entries: KeyValues) -> tuple[HourState | None, int]:
    """Return the state and its version; None and the version where there is none that can be read."""
    entry = await entries.get(STATE, HOUR)
    return (None, 0) if entry is None else (_read(HourState, entry.value), entry.version)


async def sums_of(entries: KeyValues, state: HourState) -> tuple[Sums, Sums] | None:
    """Return the loads and the course that a state names; None where one of them is gone."""
    parts: list[Sums] = []
    for place in range(len(state.names) + 1):
        entry = await entries.get(STATE, _key(state.side, place))
        part = None if entry is None else _read(Sums, entry.value)
        if part is None:
            return None
        parts.append(part)
    course, *loads = parts
    since = min((load.since for load in loads), default=course.since)
    return Sums(since=since, by_name={name: values for load in loads for name, values in load.by_name.items()}), course


async def keep_sums(entries: KeyValues, side: int, loads: Sums, course: Sums) -> None:
    """Write sums to one side; raises `Conflict` when another process does so, too."""
    parts = [course, *(Sums(since=loads.since, by_name={name: values}) for name, values in loads.by_name.items())]
    for place, part in enumerate(parts):
        key = _key(side, place)
        entry = await entries.get(STATE, key)
        await entries.put(STATE, key, encode(part), version=0 if entry is None else entry.version)


async def keep_hour(entries: KeyValues, state: HourState, version: int) -> int:
    """Store the state in place of that version, return its version; raises `Conflict` where another one is stored."""
    return (await entries.put(STATE, HOUR, encode(state), version=version)).version


def _key(side: int, place: int) -> str:
    return f"{HOUR}/{side}/{place:02}"


def _read(what: type[T], value: bytes) -> T | None:
    try:
        return decode(what, value)
    except MsgspecError:
        return None
