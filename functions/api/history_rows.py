"""History as a table, page by page: flows that have ended, and their tickets, the first to end first."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from functions._core.errors import Rejected
from functions._core.learning.columns import FlowColumns, TicketColumns, flow_columns, ticket_columns
from functions._core.learning.history_reader import (
    EPOCH,
    HistoryCursor,
    ended_between,
    ended_flows,
    read_cursor,
)
from functions._core.learning.rows import rows_of
from functions._core.records.record import Record
from functions._core.records.values import Timestamp
from functions.api.analyst_state import beside
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/history", tags=["history"])

FLOWS_AT_ONCE = 50
"""Flows whose tickets are read for one page; many may have none."""

DIGITS, MOST_TICKETS = 6, 100_000
"""Bounds of the number of tickets behind which a page begins: more than a flow can have."""

AT_ONCE = timedelta()
"""A table shows flows as soon as the store does: whoever asks for it twice gets them twice anyway."""

Since = Annotated[Timestamp | None, Query(description="Only flows that ended at this moment or later")]
Until = Annotated[Timestamp | None, Query(description="Only flows that ended before this moment")]
Place = Annotated[str | None, Query(max_length=100, description="The `cursor` of the page before")]


class FlowHistoryPage(Record):
    """Flows that have ended, the first to end first; `cursor` asks for those that follow, null: there are none yet."""

    items: tuple[FlowColumns, ...]
    """The flows."""
    cursor: str | None
    """Where the next page begins."""


class TicketHistoryPage(Record):
    """Tickets of flows that have ended, flow by flow; `cursor` asks for those that follow, null: there are none yet.

    A page may hold fewer tickets than were asked for, or none: its cursor goes on.
    """

    items: tuple[TicketColumns, ...]
    """The tickets, those of one flow in the order of its plan, children last."""
    cursor: str | None
    """Where the next page begins."""


@router.get("/flows", responses=problems(400, 422, 503))
async def list_ended_flows(
    services: Services, since: Since = None, until: Until = None, cursor: Place = None, limit: Limit = DEFAULT_LIMIT
) -> FlowHistoryPage:
    """Return flows that have ended as lines of a table, the first to end first.

    A flow that ended within the last minute may be missing where an index is behind.
    """
    ports = services.ports
    begin, end = _span(since, until, ports.clock.now())
    place = begin if cursor is None else read_cursor(cursor)
    flows, following, complete = await ended_flows(ports, place, end, limit, settles=AT_ONCE)
    rows = await beside(lambda: tuple(flow_columns(rows_of(flow, ())[0]) for flow in flows))
    return FlowHistoryPage(items=rows, cursor=None if complete else following.text)


@router.get("/tickets", responses=problems(400, 422, 503))
async def list_ended_tickets(
    services: Services, since: Since = None, until: Until = None, cursor: Place = None, limit: Limit = DEFAULT_LIMIT
) -> TicketHistoryPage:
    """Return the tickets of flows that have ended as lines of a table: those that a worker had or could have had.

    A flow that ended within the last minute may be missing where an index is behind.
    """
    ports = replace(services.ports, beside=beside)
    begin, end = _span(since, until, ports.clock.now())
    place, inside, skipped = (begin, None, 0) if cursor is None else _ticket_place(cursor)
    # Whatever number a cursor has: a page reads no more flows than hold `limit` tickets.
    batch = await ended_between(ports, place, end, FLOWS_AT_ONCE, settles=AT_ONCE, most_tickets=limit)
    items: list[TicketColumns] = []
    for flow, rows in batch.flows:
        here = HistoryCursor(at=flow.ended_at, flow_id=flow.flow_id).text
        shown = skipped if here == inside else 0
        part = rows[shown : shown + limit - len(items)]
        items += map(ticket_columns, part)
        if shown + len(part) < len(rows):
            return TicketHistoryPage(items=tuple(items), cursor=f"{here}~{shown + len(part)}")
    return TicketHistoryPage(items=tuple(items), cursor=None if batch.complete else f"{batch.cursor.text}~0")


def _span(since: datetime | None, until: datetime | None, now: datetime) -> tuple[HistoryCursor, datetime]:
    """Return where the first page begins, and the moment before which flows ended."""
    if since is not None and until is not None and since > until:
        raise Rejected("since: is after until", code="invalid_filter", status=422)
    return HistoryCursor(at=max(EPOCH, since or EPOCH)), now if until is None else min(until, now)


def _ticket_place(cursor: str) -> tuple[HistoryCursor, str | None, int]:
    """Return where a page of tickets begins, within which flow, and how many tickets of it were shown."""
    text, _, number = cursor.rpartition("~")
    if not (number.isascii() and number.isdigit() and len(number) <= DIGITS):
        raise Rejected("The cursor is not one that was given out.", code="invalid_cursor")
    place, shown = read_cursor(text), int(number)
    if not shown:
        return place, None, 0
    # Of the flow itself something is left: the place before it. No other id lies between an id and its beginning.
    return place.but(flow_id=place.flow_id[:-1]), text, min(shown, MOST_TICKETS)
