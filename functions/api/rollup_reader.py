"""Reads rollups: counts what was not counted yet, so many flows at a time, and keeps the buckets that are over.

Nothing is written while flows run. Whoever looks pays for the flows that ended since somebody looked last.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from msgspec import MsgspecError

from functions._core.errors import Conflict, Unavailable
from functions._core.ports import Entry, Ports
from functions._core.records.models import Flow
from functions._core.records.record import decode, encode
from functions._core.rollups import FlowBucket, RollupWindow, with_flows

SPACE = "rollups"

LOOKED_AT = 5000
"""Flows that one look counts of the buckets that are over, and as many of those that are not; the next goes on."""

PAGE = 1000
"""Flows that are read at once: a few milliseconds of the event loop."""

UNDER_WAY = 2000
"""Flows under way that are looked at."""

SETTLES = timedelta(minutes=1)
"""How long after its end a bucket may change: a flow is stored a moment after the moment of its end."""

KEPT = timedelta(days=1)
"""How long a bucket is kept once it has left its window."""

KEPT_AT_ONCE = 8
"""Buckets that are stored at once."""

FRESH = timedelta(seconds=10)
"""How long one answer serves all who look."""

TICK = timedelta(milliseconds=1)
"""The difference between two moments that a record can hold."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """The buckets of a window, the oldest first, and the flows under way; `all_under_way` unless there were more."""

    at: datetime
    buckets: Sequence[FlowBucket]
    under_way: Sequence[Flow]
    all_under_way: bool


@dataclass(slots=True)
class RecentRollups:
    """The last answer of each window: many who look at once ask the store once."""

    answers: dict[str, Rollup] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def of(self, ports: Ports, window: RollupWindow) -> Rollup:
        """Return the rollup of a window, at most `FRESH` old."""
        async with self.locks[window.name]:
            known, now = self.answers.get(window.name), ports.clock.now()
            if known is None or not timedelta() <= now - known.at < FRESH:
                known = self.answers[window.name] = await read_rollup(ports, window, now)
            return known


async def read_rollup(ports: Ports, window: RollupWindow, now: datetime) -> Rollup:
    """Return the rollup of a window that ends at `now`, and keep what of it changes no more."""
    starts = window.starts(now)
    entries = await _kept(ports, window, starts)
    buckets = {start: FlowBucket(start=start, since=start + window.width) for start in starts}
    buckets |= {start: bucket for start, (bucket, _) in entries.items()}
    over = [start for start in starts if start + window.width + SETTLES <= now]
    before = {start: buckets[start] for start in over}
    await _count(ports, window, buckets, starts[len(over) :], now + TICK)
    await _count(ports, window, buckets, [start for start in over if buckets[start].since > start], now)
    changed = [start for start in over if buckets[start] is not before[start]]
    versions = {start: entry.version for start, (_, entry) in entries.items()}
    for at in range(0, len(changed), KEPT_AT_ONCE):
        few = changed[at : at + KEPT_AT_ONCE]
        await asyncio.gather(*(_keep(ports, window, buckets[start], versions.get(start, 0)) for start in few))
    under_way = await ports.statistics.under_way(UNDER_WAY)
    return Rollup(now, [buckets[start] for start in starts], under_way, len(under_way) < UNDER_WAY)


async def _count(
    ports: Ports, window: RollupWindow, buckets: dict[datetime, FlowBucket], starts: Sequence[datetime], now: datetime
) -> None:
    """Count the flows of buckets from where they were counted to, back to their starts, as far as a look goes."""
    left = LOOKED_AT
    for since, until in _gaps(buckets, starts):
        reached = min(until, now)
        while left > 0 and reached > since:
            flows, reached = await _page(ports, since, reached, min(PAGE, left))
            left -= len(flows)
            for start, ended in groupby(flows, key=lambda flow: window.start_of(flow.ended_at or now)):
                buckets[start] = with_flows(buckets[start], ended, window)
        for start in starts:
            if since <= start < until and reached < buckets[start].since:
                buckets[start] = buckets[start].but(since=max(start, reached))


async def _page(ports: Ports, since: datetime, until: datetime, limit: int) -> tuple[Sequence[Flow], datetime]:
    """Return flows that ended within a span, the last first, and the moment from which on these are all."""
    flows = await ports.statistics.ended(since, until, limit)
    if len(flows) < limit:
        return flows, since
    last = flows[-1].ended_at or since
    whole = [flow for flow in flows if flow.ended_at != last]  # others may have ended at the same moment as the last
    return (whole, last + TICK) if whole else (flows, last)


def _gaps(buckets: Mapping[datetime, FlowBucket], starts: Sequence[datetime]) -> Sequence[tuple[datetime, datetime]]:
    """Return the spans in which flows are not counted, the newest first; buckets side by side are one."""
    gaps: list[tuple[datetime, datetime]] = []
    for start in reversed(starts):
        until = buckets[start].since
        if gaps and gaps[-1][0] == until:
            gaps[-1] = start, gaps[-1][1]
        else:
            gaps.append((start, until))
    return gaps


async def _kept(
    ports: Ports, window: RollupWindow, starts: Sequence[datetime]
) -> Mapping[datetime, tuple[FlowBucket, Entry]]:
    """Return the kept buckets of a window by their start; one that cannot be read is counted again."""
    found: dict[datetime, tuple[FlowBucket, Entry]] = {}
    for entry in await ports.key_values.page(SPACE, _key(window, starts[0] - TICK), window.count):
        try:
            bucket = decode(FlowBucket, entry.value)
        except MsgspecError:
            continue
        if entry.key == _key(window, bucket.start) and bucket.start in starts:
            found[bucket.start] = bucket, entry
    return found


async def _keep(ports: Ports, window: RollupWindow, bucket: FlowBucket, version: int) -> None:
    expires = bucket.start + window.width * (window.count + 1) + KEPT
    try:
        await ports.key_values.put(
            SPACE, _key(window, bucket.start), encode(bucket), version=version, expires_at=expires
        )
    except (Conflict, Unavailable):  # another process has counted it, too; or it is counted again
        return


def _key(window: RollupWindow, start: datetime) -> str:
    return f"{window.name}/{start:%Y-%m-%dT%H:%M:%S.%f}"
