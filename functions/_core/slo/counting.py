"""The platform's own history as SLOs see it: how many flows or tickets there were in a window, and how many were good.

Nothing is written while flows run. For each distinct `HistoryQuery` there are two small records: buckets of five
minutes over the last three days, and buckets of an hour over 90 days, each with the span that it has counted. Whoever
looks walks once along the flows that ended since then, for all queries; hours are made of the five minutes. A new
query is counted backwards, so much with each look, or as long as there is time; what is not counted yet is not told.
A record is replaced as a whole, on the version that was read: a crash loses a look, another process that looks at the
same time counts for both, and nothing counts twice.

A flow counts where it ended, and its tickets with it. A flow that is redriven after it was counted counts again when it
ends again. The last minute is not settled: it is counted with each look and never stored.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from msgspec import MsgspecError

from functions._core.errors import Conflict, Unreadable
from functions._core.ports import Entry, Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import decode, encode
from functions._core.records.values import NAMESPACE, name_uuid
from functions._core.slo.buckets import (
    FINE,
    FINE_KEPT,
    HOUR,
    HOURS_KEPT,
    MINUTE,
    Buckets,
    Counted,
    OwnHistory,
    moment_of,
    ms_of,
    target_of,
)
from functions._core.slo.definition import HistoryQuery
from functions._core.slo.selecting import Count, Selectors

SPACE = "slo-counts"

SETTLES = MINUTE
"""A flow is stored a moment after the moment of its end, in milliseconds: what ended later is not counted for good."""

LOOKED_AT = 20_000
"""Flows, and tickets that have to be read, of one look in each direction; the next look goes on."""

PAGE = 500
"""Flows that are read and counted at once."""

FLOWS_AT_ONCE, TICKETS_AT_ONCE = 100, 500
"""The same where their tickets count, and about how many of these are read before they are counted."""

FIRST_SPAN = 10 * MINUTE
"""The span of the first page; those that follow fit the number of flows."""

MANY = 20
"""Queries from which on their records are read by pages in place of one by one."""

RECORDS_PAGE = 25

STAYS = timedelta(days=8)
"""How long the record of a query stays that no SLO has any more."""


def key_of(query: HistoryQuery) -> str:
    """Return the key of the records of a query; queries that ask for the same have the same."""
    told = query.model_dump(mode="json")
    told["labels"] = sorted(told["labels"].items())
    return name_uuid(str(NAMESPACE), encode(sorted(told.items())).decode())


def no_more() -> bool:
    """Count one look alone."""
    return False


async def own_history(
    ports: Ports, keys: Mapping[str, HistoryQuery], now: datetime, more: Callable[[], bool] = no_more
) -> Mapping[str, OwnHistory]:
    """Count what was not counted yet, one look and on while there is time for `more`.

    Queries are given by their keys, and what they find is returned by these.
    """
    if not keys:
        return {}
    at = ms_of(now)
    settled = at - SETTLES
    known = await _read(ports, keys.keys(), settled)
    fines = {key: fine for key, (fine, _) in known.items()}
    selectors = Selectors(keys)
    complete = await _forward(ports, selectors, fines, settled, more)
    await ports.beside(partial(_fold_all, known))
    await _backward(ports, selectors, known, at, more)
    await ports.beside(partial(_fold_all, known))
    found = {key: OwnHistory(fine, hours, at, complete=complete) for key, (fine, hours) in known.items()}
    if complete:
        await _tail(ports, selectors, found, settled, at + 1)
    await _store(ports, known, now)
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The buckets of queries, by their keys, and whether one of them wants what ended at a moment."""

    by: Mapping[str, Sequence[Buckets]]
    wants: Callable[[Buckets, int], bool]

    def count(self, flow: Flow, counts: Iterable[tuple[str, Count]]) -> None:
        """Count what a flow, or its tickets, are for queries."""
        at = ms_of(flow.ended_at) if flow.ended_at is not None else 0
        for key, (total, bad) in counts:
            for buckets in self.by[key]:
                if self.wants(buckets, at):
                    buckets.add(at, total, bad)


async def _forward(
    ports: Ports, selectors: Selectors, fines: Mapping[str, Buckets], until: int, more: Callable[[], bool]
) -> bool:
    """Count what ended since the last look, the oldest first; tell whether that was all."""
    wanted = _Wanted({key: (fine,) for key, fine in fines.items()}, lambda fine, at: at >= fine.until)
    at, span, left = min(fine.until for fine in fines.values()), FIRST_SPAN, LOOKED_AT
    limit = PAGE
    while at < until and (left > 0 or more()):
        to = min(until, at + span)
        flows = await ports.statistics.ended(moment_of(at), moment_of(to), limit)
        if len(flows) == limit and span > 1:
            span = max(1, min(span, to - at) // 2)
            continue
        if len(flows) == limit:  # so many ended in one millisecond
            limit *= 2
            continue
        left -= await _count(ports, selectors, flows, wanted)
        for fine in fines.values():
            if fine.until < to:
                fine.until = to
                fine.changed = True
        at, limit = to, PAGE
        span = span * 2 if len(flows) < PAGE // 4 else span
    return at >= until


async def _backward(
    ports: Ports,
    selectors: Selectors,
    known: Mapping[str, tuple[Buckets, Buckets]],
    now: int,
    more: Callable[[], bool],
) -> None:
    """Count what ended before a query was new, the newest first."""
    left = LOOKED_AT
    while left > 0 or more():
        open_ones: dict[str, list[Buckets]] = {}
        for key, both in known.items():
            for buckets in both:
                if buckets.since > target_of(buckets, now):
                    open_ones.setdefault(key, []).append(buckets)
        if not open_ones:
            return
        some = [buckets for both in open_ones.values() for buckets in both]
        before, target = max(one.since for one in some), min(target_of(one, now) for one in some)
        flows, reached = await page_before(ports, target, before, FLOWS_AT_ONCE if selectors.of_tickets else PAGE)
        wanted = _Wanted(open_ones, lambda one, at: at < one.since)
        left -= await _count(ports, selectors.only(open_ones), flows, wanted)
        for one in some:
            if reached < one.since:
                one.since = max(reached, target_of(one, now))
                one.changed = True


async def page_before(ports: Ports, since: int, until: int, most: int | None = None) -> tuple[Sequence[Flow], int]:
    """Return flows that ended in a span, the last first, and the moment from which on these are all."""
    limit = most or PAGE
    while True:
        flows = await ports.statistics.ended(moment_of(since), moment_of(until), limit)
        if len(flows) < limit:
            return flows, since
        last = flows[-1].ended_at
        whole = [flow for flow in flows if flow.ended_at != last]  # others may have ended at the same moment
        if whole and last is not None:
            return whole, ms_of(last) + 1
        limit *= 2


async def _count(ports: Ports, selectors: Selectors, flows: Sequence[Flow], wanted: _Wanted) -> int:
    """Count flows in the buckets by which they are wanted.

    Tickets are read a few flows at a time, and all that is counted is counted beside the event loop. Returns how many
    records were read.
    """
    read, at = len(flows), 0
    wanting = await ports.beside(partial(_count_flows, selectors, flows, wanted))
    while at < len(wanting):
        some: list[tuple[Flow, Sequence[str], Sequence[Ticket]]] = []
        number = 0
        while at < len(wanting) and number < TICKETS_AT_ONCE:
            flow, keys = wanting[at]
            tickets = await _tickets(ports, flow)
            some.append((flow, keys, tickets))
            number, at = number + len(tickets), at + 1
        await ports.beside(partial(_count_tickets, selectors, some, wanted))
        read += number
    return read


def _count_flows(selectors: Selectors, flows: Iterable[Flow], wanted: _Wanted) -> Sequence[tuple[Flow, Sequence[str]]]:
    """Count flows for the queries of flows; return those whose tickets are wanted, with the queries that want them."""
    left: list[tuple[Flow, Sequence[str]]] = []
    for flow in flows:
        keys = selectors.wanting(flow)
        of_tickets = [key for key in keys if key in selectors.of_tickets]
        wanted.count(flow, selectors.flow([key for key in keys if key not in selectors.of_tickets], flow))
        if of_tickets:
            left.append((flow, of_tickets))
    return left


def _count_tickets(
    selectors: Selectors,
    some: Iterable[tuple[Flow, Sequence[str], Sequence[Ticket]]],
    wanted: _Wanted,
) -> None:
    for flow, keys, tickets in some:
        wanted.count(flow, selectors.tickets(keys, tickets))


async def _tickets(ports: Ports, flow: Flow) -> Sequence[Ticket]:
    try:
        return await ports.store.tickets_of(flow.flow_id)
    except Unreadable:
        return ()


def _fold_all(known: Mapping[str, tuple[Buckets, Buckets]]) -> None:
    for fine, hours in known.values():
        _fold(fine, hours)
        fine.settle()
        hours.settle()


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
    wanted = _Wanted({key: (tail,) for key, tail in tails.items()}, lambda _tail, _at: True)
    reached = until
    while reached > since:
        flows, reached = await page_before(ports, since, reached)
        await _count(ports, selectors, flows, wanted)
    for key, tail in tails.items():
        totals, bads = zip(*tail.added.values(), strict=True) if tail.added else ((), ())
        found[key].tail = sum(totals), sum(bads)


async def counted_since(ports: Ports, query: HistoryQuery, span: timedelta, now: datetime) -> datetime | None:
    """Return from when on a window that ends now was counted by the last look, None for all of it; count nothing."""
    key, at = key_of(query), ms_of(now)
    fine, hours = (await _read(ports, [key], at - SETTLES))[key]
    return OwnHistory(fine, hours, at).counted_since(span)


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
