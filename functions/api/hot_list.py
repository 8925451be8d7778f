"""The hot list: what has to begin first, across all flows under way, so that flows are in time."""

from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from functions._core.explain.hot_list import HotTicket, hot_list
from functions._core.records.models import STANDING_FLOWS
from functions._core.records.record import Record, encode
from functions._core.records.values import Timestamp
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Labels, Limit
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.stuck import open_tickets

router = Routes(prefix="/api/v1/hot-list", tags=["why"])

FLOWS = 2_000
"""Flows under way among which the paused ones are looked for."""

LONGEST = 366 * 86_400

Within = Annotated[
    int | None,
    Query(
        ge=0, le=LONGEST, description="Only what has to begin, or to be done, within so many seconds, and what is late"
    ),
]


class HotListView(Record):
    """The hot list at `checked_at`: open tickets by critical start time.

    `tickets` is how many open tickets were looked at; `complete` says whether those are all, and whether all paused
    flows are known.
    """

    items: tuple[HotTicket, ...]
    tickets: int
    complete: bool
    checked_at: Timestamp


@router.get("", response_model=None, responses={**problems(422, 503), 200: {"model": HotListView}})
async def list_hot(
    services: Services, limit: Limit = DEFAULT_LIMIT, within_seconds: Within = None, labels: Labels = None
) -> Response:
    """Return the open tickets of flows under way in the order in which they have to begin, the most urgent first.

    Those that wait for other tickets of their flow are among them. It looks at 2,000 open tickets at most, and says
    whether those are all.
    """
    ports = services.ports
    tickets, complete = await open_tickets(services)
    under_way = await ports.statistics.under_way(FLOWS)
    paused = {flow.flow_id: flow for flow in under_way if flow.status in STANDING_FLOWS}
    now = ports.clock.now()
    within = None if within_seconds is None else timedelta(seconds=within_seconds)
    found = await ports.beside(
        partial(hot_list, tickets, paused, now, limit, within=within, labels=tuple(labels or ()))
    )
    complete = complete and len(under_way) < FLOWS
    view = HotListView(items=tuple(found), tickets=len(tickets), complete=complete, checked_at=now)
    return Response(encode(view), media_type="application/json")
