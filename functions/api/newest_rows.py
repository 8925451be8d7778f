"""Ended flows as rows of history, for one request: the newest ones, within bounds of time, flows and tickets."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.errors import Unreadable
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.rows import rows_of
from functions._core.learning.worker_time import with_worker_time
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import add_time
from functions.api.analyst_state import beside
from functions.api.services import ApiServices

LOOKBACK = timedelta(days=14)
"""How far back is looked: longer ago, plans and workers were others."""

FLOWS = 200
"""Ended flows that are looked at, the newest."""

FLOWS_READ = 60
"""Of these, flows whose tickets are read."""

TICKETS_READ = 6_000
"""Tickets that are read at most, by what their flows say of their number."""

LARGEST = 1_000
"""Tickets of a flow that is read: a larger one would be most of what is read."""

AT_ONCE = 5
"""Flows whose tickets are read at the same time."""

PAGE = 500
"""Tickets that are read at a time: to read a thousand at once would hold up other requests."""

Wanted = Callable[[Flow], bool]


class NewestRows(NamedTuple):
    """Ended flows with their tickets, the last to end first."""

    flows: Sequence[tuple[FlowRow, Sequence[TicketRow]]]
    complete: bool
    """Whether these are all of the wanted ones that ended within the time."""
    until: datetime
    """The moment before which they ended."""


async def newest_rows(
    services: ApiServices, until: datetime, wanted: Wanted, prefer: Wanted | None = None
) -> NewestRows:
    """Return the newest flows that ended before `until` and are `wanted`; those that are preferred come first.

    Flows without tickets, and with more than `LARGEST`, are left out; so are those that cannot be read.
    """
    found = await services.ports.statistics.ended(add_time(until, -LOOKBACK), until, FLOWS)
    fitting = [flow for flow in found if 0 < flow.tickets_generated <= LARGEST and flow.ended_at and wanted(flow)]
    if prefer is not None:
        fitting.sort(key=lambda flow: not prefer(flow))
    chosen: list[Flow] = []
    tickets = 0
    for flow in fitting[:FLOWS_READ]:
        tickets += flow.tickets_generated
        if chosen and tickets > TICKETS_READ:
            break
        chosen.append(flow)
    turns = asyncio.Semaphore(AT_ONCE)

    async def read(flow: Flow) -> tuple[FlowRow, Sequence[TicketRow]] | None:
        async with turns:
            try:
                of_flow = await tickets_in_pages(services, flow, LARGEST)
            except Unreadable:
                return None
            row, tickets = await beside(partial(rows_of, flow, of_flow))
            return row, await with_worker_time(services.ports.views, flow.flow_id, tickets)

    rows = [one for one in await asyncio.gather(*map(read, chosen)) if one is not None]
    rows.sort(key=lambda one: (one[0].ended_at, one[0].flow_id), reverse=True)
    return NewestRows(rows, len(chosen) == len(fitting) and len(found) < FLOWS, until)


async def tickets_in_pages(services: ApiServices, flow: Flow, at_most: int) -> Sequence[Ticket]:
    """Return the tickets of a flow, at most so many of them."""
    tickets: list[Ticket] = []
    cursor: str | None = None
    while len(tickets) < at_most:
        page, cursor = await services.ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        tickets += page
        if cursor is None:
            break
    return tickets[:at_most]
