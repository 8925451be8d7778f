"""The platform's own history as SLOs see it: how many flows or tickets there were in a window, and how many were good.

Nothing is written while flows run. For each distinct `HistoryQuery` there are two small records: buckets of five
minutes over the last three days, and buckets of an hour over 90 days, each with the span that it has counted. Whoever
looks walks once along the flows that ended since then, for all queries; hours are made of the five minutes. A new
query is counted backwards, so much with each look. A record is replaced as a whole, on the version that was read: a
crash loses a look, another process that looks at the same time counts for both, and nothing counts twice.

A flow counts where it ended, and its tickets with it. A flow that is redriven after it was counted counts again when it
ends again. The last minute is not settled: it is counted with each look and never stored.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from msgspec import MsgspecError

from functions._core.errors import Conflict, Unreadable
from functions._core.ports import Entry, Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import NAMESPACE, name_uuid
from functions._core.slo.budget import Indicator
from functions._core.slo.definition import MAX_WINDOW_DAYS, HistoryQuery
from functions._core.slo.selecting import Selectors

SPACE = "slo-counts"

MINUTE = 60_000
FINE, HOUR = 5 * MINUTE, 60 * MINUTE
"""Widths of the buckets, in milliseconds."""

FINE_KEPT, HOURS_KEPT = 3 * 24 * HOUR, MAX_WINDOW_DAYS * 24 * HOUR
"""How far back the buckets of each width reach, in milliseconds."""

SETTLES = MINUTE
"""A flow is stored a moment after the moment of its end, in milliseconds: what ended later is not counted for good."""

LOOKED_AT = 20_000
"""Flows, and tickets that have to be read, of one look in each direction; the next look goes on."""

PAGE = 500
"""Flows that are read at once: a few milliseconds of the event loop."""

FIRST_SPAN = 10 * MINUTE
"""The span of the first page; those that follow fit the number of flows."""

MANY = 20
"""Queries from which on their records are read by pages in place of one by one."""

RECORDS_PAGE = 50

STAYS = timedelta(days=8)
"""How long the record of a query stays that no SLO has any more."""

EPOCH, TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


class Counted(Record):
    """What was counted of a query in buckets of one width: those that have any, by number, the oldest first."""

    since: int
    """From when on all is counted, in milliseconds since 1970."""
    until: int
    """Up to when, likewise; the moment itself is not."""
    numbers: tuple[int, ...] = ()
    """Numbers of the buckets: their beginning divided by their width."""
    totals: tuple[int, ...] = ()
    """How many flows or tickets each has."""
    bads: tuple[int, ...] = ()
    """How many of them were not good."""


@dataclass(slots=True)
class Buckets:
    """`Counted` while it is added to."""

    width: int
    kept: int
    since: int
    until: int
    numbers: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    bads: list[int] = field(default_factory=list)
    version: int = 0
    changed: bool = False
    added: dict[int, list[int]] = field(default_factory=dict)
    _sums: tuple[Sequence[int], Sequence[int]] | None = None

    def add(self, at: int, total: int, bad: int) -> None:
        """Count at a moment."""
        both = self.added.setdefault(at // self.width, [0, 0])
        both[0] += total
        both[1] += bad

    def settle(self, needed: int | None = None) -> None:
        """Take what was added into the columns, and drop what is older than is kept, and than is `needed`."""
        oldest = min(self.until - self.kept, self.until if needed is None else needed) // self.width
        if self.added or (self.numbers and self.numbers[0] < oldest):
            columns = zip(self.numbers, self.totals, self.bads, strict=True)
            found = {number: [total, bad] for number, total, bad in columns if number >= oldest}
            for number, (total, bad) in self.added.items():
                both = found.setdefault(number, [0, 0])
                both[0] += total
                both[1] += bad
            self.numbers = sorted(found)
            self.totals = [found[number][0] for number in self.numbers]
            self.bads = [found[number][1] for number in self.numbers]
            self.added, self._sums, self.changed = {}, None, True
        self.since = max(self.since, oldest * self.width)

    def within(self, since: int, until: int) -> tuple[int, int]:
        """Return how many there were, and how many were not good, in the buckets that begin in a span."""
        if self._sums is None:
            self._sums = list(accumulate(self.totals, initial=0)), list(accumulate(self.bads, initial=0))
        first, last = (bisect_left(self.numbers, -(-at // self.width)) for at in (since, until))
        totals, bads = self._sums
        return totals[last] - totals[first], bads[last] - bads[first]


@dataclass(slots=True)
class OwnHistory:
    """What one query finds in the history up to `now`; not `complete` while flows that ended lately are not counted."""

    fine: Buckets
    hours: Buckets
    now: int
    tail: tuple[int, int] = (0, 0)
    complete: bool = True

    def within(self, span: timedelta) -> Indicator | None:
        """Return the indicator of a window that ends now; None when there was nothing in it.

        The window begins with a bucket: it is longer by less than five minutes, or than an hour beyond three days.
        """
        begin = self.now - span // TICK
        if span // TICK <= FINE_KEPT:
            parts = [self.fine.within(begin // FINE * FINE, self.now)]
        else:
            joint = self.hours.until
            parts = [self.hours.within(begin // HOUR * HOUR, joint), self.fine.within(joint, self.now)]
        total, bad = (sum(column) for column in zip(*parts, self.tail, strict=True))
        return Indicator(1 - bad / total, total) if total else None


def key_of(query: HistoryQuery) -> str:
    """Return the key of the records of a query; queries that ask for the same have the same."""
    told = query.model_dump(mode="json")
    told["labels"] = sorted(told["labels"].items())
    return name_uuid(str(NAMESPACE), encode(sorted(told.items())).decode())


async def own_history(ports: Ports, queries: Collection[HistoryQuery], now: datetime) -> Mapping[str, OwnHistory]:
    """Count what was not counted yet, so much at a time, and return what each query finds, by its key."""
    keys = {key_of(query): query for query in queries}
    if not keys:
        return {}
    at = _ms(now)
    settled = at - SETTLES
    known = await _read(ports, keys.keys(), settled)
    fines = {key: fine for key, (fine, _) in known.items()}
    selectors = Selectors(keys)
    complete = await _forward(ports, selectors, fines, settled)
    for fine, hours in known.values():
        _fold(fine, hours)
    await _backward(ports, selectors, known, at)
    for fine, hours in known.values():
        _fold(fine, hours)
        fine.settle()
        hours.settle()
    found = {key: OwnHistory(fine, hours, at, complete=complete) for key, (fine, hours) in known.items()}
    if complete:
        await _tail(ports, selectors, found, settled, at + 1)
    await _store(ports, known, now)
    return found


async def _forward(ports: Ports, selectors: Selectors, fines: Mapping[str, Buckets], until: int) -> bool:
    """Count what ended since the last look, the oldest first; tell whether that was all."""

    def wanted_by(key: str, at: int) -> Iterable[Buckets]:
        return (fines[key],) if at >= fines[key].until else ()

    at, span, left = min(fine.until for fine in fines.values()), FIRST_SPAN, LOOKED_AT
    limit = PAGE
    while at < until and left > 0:
        to = min(until, at + span)
        flows = await ports.statistics.ended(_at(at), _at(to), limit)
        if len(flows) == limit and span > 1:
            span = max(1, min(span, to - at) // 2)
            continue
        if len(flows) == limit:  # so many ended in one millisecond
            limit *= 2
            continue
        left -= await _count(ports, selectors, flows, wanted_by)
        for fine in fines.values():
            if fine.until < to:
                fine.until = to
                fine.changed = True
        at, limit = to, PAGE
        span = span * 2 if len(flows) < PAGE // 4 else span
    return at >= until


async def _backward(ports: Ports, selectors: Selectors, known: Mapping[str, tuple[Buckets, Buckets]], now: int) -> None:
    """Count what ended before a query was new, the newest first."""
    left = LOOKED_AT
    while left > 0:
        open_ones: dict[str, list[Buckets]] = {}
        for key, both in known.items():
            for buckets in both:
                if buckets.since > _target(buckets, now):
                    open_ones.setdefault(key, []).append(buckets)
        if not open_ones:
            return
        some = [buckets for both in open_ones.values() for buckets in both]
        before, target = max(one.since for one in some), min(_target(one, now) for one in some)
        flows, reached = await page_before(ports, target, before)

        def wanted_by(key: str, at: int, open_ones: Mapping[str, Sequence[Buckets]] = open_ones) -> Iterable[Buckets]:
            return (one for one in open_ones[key] if at < one.since)

        left -= await _count(ports, selectors.only(open_ones), flows, wanted_by)
        for one in some:
            if reached < one.since:
                one.since = max(reached, _target(one, now))
                one.changed = True


async def page_before(ports: Ports, since: int, until: int) -> tuple[Sequence[Flow], int]:
    """Return flows that ended in a span, the last first, and the moment from which on these are all."""
    limit = PAGE
    while True:
        flows = await ports.statistics.ended(_at(since), _at(until), limit)
        if len(flows) < limit:
            return flows, since
        last = flows[-1].ended_at
        whole = [flow for flow in flows if flow.ended_at != last]  # others may have ended at the same moment
        if whole and last is not None:
            return whole, _ms(last) + 1
        limit *= 2


async def _count(
    ports: Ports,
    selectors: Selectors,
    flows: Iterable[Flow],
    wanted_by: Callable[[str, int], Iterable[Buckets]],
) -> int:
    """Count flows in the buckets by which they are wanted, by the key of a query and the moment of their end.

    Returns how many records were read.
    """
    read = 0
    for flow in flows:
        read += 1
        at = _ms(flow.ended_at) if flow.ended_at is not None else 0
        wanting = selectors.wanting(flow)
        tickets = await _tickets(ports, flow) if any(key in selectors.of_tickets for key in wanting) else ()
        read += len(tickets)
        for key in wanting:
            of_tickets = key in selectors.of_tickets
            total, bad = selectors.tickets(key, tickets) if of_tickets else selectors.flow(key, flow)
            for buckets in wanted_by(key, at) if total else ():
                buckets.add(at, total, bad)
    return read


async def _tickets(ports: Ports, flow: Flow) -> Sequence[Ticket]:
    try:
        return await ports.store.tickets_of(flow.flow_id)
    except Unreadable:
        return ()


def _fold(fine: Buckets, hours: Buckets) -> None:
    """Make hours of the five minutes that are over."""
    fine.settle(hours.until)
    end = fine.until // HOUR * HOUR
    if fine.since > hours.until or end <= hours.until:
        return
    for number in range(hours.until // HOUR, end // HOUR):
        total, bad = fine.within(number * HOUR, (number + 1) * HOUR)
        if total:
            hours.add(number * HOUR, total, bad)
    hours.until, hours.changed = end, True


async def _tail(ports: Ports, selectors: Selectors, found: Mapping[str, OwnHistory], since: int, until: int) -> None:
    """Count what is not settled yet, only for who looks now."""
    tails = {key: Buckets(FINE, FINE_KEPT, since, since) for key in found}
    reached = until
    while reached > since:
        flows, reached = await page_before(ports, since, reached)
        await _count(ports, selectors, flows, lambda key, _at: (tails[key],))
    for key, tail in tails.items():
        totals, bads = zip(*tail.added.values(), strict=True) if tail.added else ((), ())
        found[key].tail = sum(totals), sum(bads)


def _target(buckets: Buckets, now: int) -> int:
    """Return the moment from which on a record is to count, at the beginning of a bucket."""
    return -(-(now - buckets.kept) // buckets.width) * buckets.width


async def _read(ports: Ports, keys: Collection[str], settled: int) -> Mapping[str, tuple[Buckets, Buckets]]:
    """Return the records of queries; one that is not there, or cannot be read, begins now."""
    entries: dict[str, Entry] = {}
    if len(keys) > MANY:
        after: str | None = None
        while page := await ports.key_values.page(SPACE, after, RECORDS_PAGE):
            entries.update((entry.key, entry) for entry in page)
            after = page[-1].key
            if len(page) < RECORDS_PAGE:
                break
    else:
        for name in (f"{key}/{width}" for key in keys for width in ("5m", "1h")):
            if (entry := await ports.key_values.get(SPACE, name)) is not None:
                entries[name] = entry
    begin = settled // HOUR * HOUR
    return {
        key: (
            _buckets(entries.get(f"{key}/5m"), Buckets(FINE, FINE_KEPT, settled, settled)),
            _buckets(entries.get(f"{key}/1h"), Buckets(HOUR, HOURS_KEPT, begin, begin)),
        )
        for key in keys
    }


def _buckets(entry: Entry | None, buckets: Buckets) -> Buckets:
    if entry is None:
        return buckets
    buckets.version = entry.version
    try:
        counted = decode(Counted, entry.value)
    except MsgspecError:
        return buckets
    buckets.since, buckets.until = counted.since, counted.until
    buckets.numbers, buckets.totals, buckets.bads = list(counted.numbers), list(counted.totals), list(counted.bads)
    return buckets


async def _store(ports: Ports, known: Mapping[str, tuple[Buckets, Buckets]], now: datetime) -> None:
    """Keep what has changed; where another process has counted meanwhile, that stays."""
    for key, both in known.items():
        for name, buckets in zip(("5m", "1h"), both, strict=True):
            if not buckets.changed:
                continue
            counted = Counted(
                since=buckets.since,
                until=buckets.until,
                numbers=tuple(buckets.numbers),
                totals=tuple(buckets.totals),
                bads=tuple(buckets.bads),
            )
            try:
                await ports.key_values.put(
                    SPACE, f"{key}/{name}", encode(counted), version=buckets.version, expires_at=now + STAYS
                )
            except Conflict:
                continue


def _ms(at: datetime) -> int:
    return (at - EPOCH) // TICK


def _at(ms: int) -> datetime:
    return EPOCH + ms * TICK
