"""Reads history by increments: rows of flows in the order in which they ended, each end once, on every store.

A `HistoryCursor` is the place behind the last flow that was read: the millisecond in which it ended, and its id among
those of the same millisecond. What ended within the last minute is not read yet: a flow is stored a moment after the
moment of its end, and an index may show it later still. So no flow appears behind a cursor.

A flow that is redriven and ends again is read again at its new end, as a second row with the same id. That row has all
of its tickets, those of the first end that stayed COMPLETED, too; its first row is there only for who had read it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.errors import Rejected, Unreadable
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.rows import rows_of
from functions._core.learning.worker_time import with_worker_time
from functions._core.ports import Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, add_time, milliseconds

SETTLES = timedelta(minutes=1)
"""How long after its end a flow is left alone, until every index shows it."""

LEAST_PAGE, PAGE = 20, 200
"""Flows that are asked for at once, at least and at most."""

TICKETS_AT_ONCE = 10_000
"""About how many tickets one batch reads at most: a few seconds of work."""

AT_ONCE = 200
"""Tickets of one flow that become rows at once, in some milliseconds; more do so beside the event loop."""

FIRST_SPAN = timedelta(minutes=10)
"""The span of time of the first page; those that follow fit the number of flows in it."""

LONGEST_SPAN = timedelta(days=3650)

TICK = timedelta(milliseconds=1)
"""The precision of records."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DIGITS, LONGEST_ID = 15, 64
"""Characters of the two parts of a cursor, at most."""

Ended = tuple[FlowRow, tuple[TicketRow, ...]]
"""A flow that has ended, with those of its tickets that are rows."""


class HistoryCursor(Record):
    """A place in history: all flows that ended before `at` were read, and of those in its millisecond some."""

    at: Timestamp
    """The millisecond up to which history was read."""
    flow_id: str = ""
    """The last flow that was read of those that ended in this millisecond, by id; empty: none of them."""

    @property
    def text(self) -> str:
        """The cursor as one word: the milliseconds since 1970, and the id of the flow."""
        return f"{_ms(self.at)}~{self.flow_id}"


def read_cursor(text: str) -> HistoryCursor:
    """Return the cursor that a word stands for; raise `Rejected`, status 400, for any other word."""
    number, mark, flow_id = text.partition("~")
    try:
        at = EPOCH + TICK * int(number) if number.isascii() and number.isdigit() and len(number) <= DIGITS else None
    except OverflowError:
        at = None
    if at is None or not mark or len(flow_id) > LONGEST_ID or not (flow_id.isascii() and flow_id.isprintable()):
        raise Rejected("The cursor is not one that was given out.", code="invalid_cursor")
    return HistoryCursor(at=at, flow_id=flow_id)


class Batch(NamedTuple):
    """Flows that ended one after the other, and the place from which to go on."""

    flows: tuple[Ended, ...]
    """The flows with their tickets, the first to end first."""
    cursor: HistoryCursor
    """Where the next batch begins."""
    complete: bool
    """Whether all that ended before the end of the span, and is settled, was read."""
    left_out: int = 0
    """Flows whose tickets could not be read: their rows have none."""


async def ended_between(
    ports: Ports,
    since: datetime | HistoryCursor,
    until: datetime,
    limit: int,
    *,
    now: datetime | None = None,
    settles: timedelta = SETTLES,
    most_tickets: int = TICKETS_AT_ONCE,
) -> Batch:
    """Return up to `limit` flows that ended at `since` or later and before `until`, the first to end first.

    Fewer when they have many tickets, at least one of those that there are; then the batch is not `complete`. What
    ended less than `settles` before `now` (None: now) is left to a later batch. Raises `Unavailable` when the store
    does not answer; a record that cannot be read stops nothing.
    """
    flows, cursor, complete = await ended_flows(ports, since, until, limit, now=now, settles=settles)
    found: list[Ended] = []
    left_out, tickets = 0, 0
    for flow in flows:
        if found and tickets >= most_tickets:
            place = flows[len(found) - 1]
            return Batch(tuple(found), _behind(place), complete=False, left_out=left_out)
        one, unreadable = await rows_of_flow(ports, flow)
        found.append(one)
        left_out, tickets = left_out + unreadable, tickets + len(one[1])
    return Batch(tuple(found), cursor, complete, left_out)


async def ended_flows(
    ports: Ports,
    since: datetime | HistoryCursor,
    until: datetime,
    limit: int,
    *,
    now: datetime | None = None,
    settles: timedelta = SETTLES,
) -> tuple[Sequence[Flow], HistoryCursor, bool]:
    """Return flows as `ended_between` does, without their tickets; where to go on, and whether these were all."""
    now = ports.clock.now() if now is None else now
    cursor = since if isinstance(since, HistoryCursor) else HistoryCursor(at=_whole(since))
    until = _whole(min(until, add_time(now, -settles)))
    found: list[Flow] = []
    span = FIRST_SPAN
    while cursor.at < until:
        flows, to, span = await _page(ports, cursor, until, span, max(LEAST_PAGE, min(PAGE, limit + 1)))
        left = limit - len(found)
        found += flows[:left]
        if len(flows) > left:
            return found, _behind(found[-1]) if found else cursor, False
        cursor = HistoryCursor(at=to)
    return found, cursor, True


async def _page(
    ports: Ports, cursor: HistoryCursor, until: datetime, span: timedelta, page: int
) -> tuple[Sequence[Flow], datetime, timedelta]:
    """Return the flows behind a cursor within a span, in order, where the span ended, and how long the next one is.

    A store answers with the last ones first: a page that is full may lack the first ones, so its span is too long.
    """
    limit = page
    while True:
        to = min(until, add_time(cursor.at, span))
        flows = await ports.statistics.ended(cursor.at, to, limit)
        if len(flows) < limit:
            behind = [flow for flow in flows if _key(flow) > (cursor.at, cursor.flow_id)]
            longer = span * 2 if len(flows) < page // 4 else span
            return sorted(behind, key=_key), to, min(longer, LONGEST_SPAN)
        if span > TICK:
            covered = to - (flows[-1].ended_at or to)
            span = max(TICK, TICK * milliseconds(min(span / 2, covered)))
        else:  # so many ended in one millisecond
            limit *= 2


async def rows_of_flow(ports: Ports, flow: Flow) -> tuple[Ended, bool]:
    """Return the rows of a flow that has ended, and whether its tickets could not be read: then it has none."""
    tickets: Sequence[Ticket] = ()
    unreadable = False
    try:
        tickets = await ports.store.tickets_of(flow.flow_id)
    except Unreadable:
        unreadable = True
    made = partial(rows_of, flow, tickets)
    rows: Ended = await ports.beside(made) if len(tickets) > AT_ONCE else made()
    return (rows[0], await with_worker_time(ports.views, flow.flow_id, rows[1])), unreadable


def _behind(flow: Flow) -> HistoryCursor:
    return HistoryCursor(at=_whole(flow.ended_at or EPOCH), flow_id=flow.flow_id)


def _key(flow: Flow) -> tuple[datetime, str]:
    return _whole(flow.ended_at or EPOCH), flow.flow_id


def _whole(at: datetime) -> datetime:
    """Return the millisecond that a moment is in, as records are stored."""
    return EPOCH + TICK * _ms(at)


def _ms(at: datetime) -> int:
    return (at - EPOCH) // TICK
