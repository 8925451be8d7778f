"""Tickets, of one flow or of all."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.records.history import HistoryEntry
from functions._core.records.models import TaskLog, Ticket
from functions._core.records.record import fields_of
from functions._core.records.values import Priority, TicketStatus
from functions.api.access import check_attempt
from functions.api.documents import problems
from functions.api.preconditions import IfNoneMatch, etag_of, matches, tagged
from functions.api.questions import DEFAULT_LIMIT, After, Cursor, Id, Labels, Limit, found, sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.views import LogView, TicketHistory, TicketPage, TicketView, ticket_view

MOST_COUNTED = 1_000
"""Tickets that are counted for one answer: a store may have to look at each of them."""

HISTORY_PAGE, HISTORY_PAGES = 500, 10
"""Lines of a flow's history that are read at once, and how often for one request, to find those of one ticket."""

router = Routes(prefix="/api/v1/tickets", tags=["tickets"])


@router.get("", responses=problems(400, 422))
async def list_tickets(  # noqa: PLR0913 - each is a filter of the query
    services: Services,
    *,
    flow_id: Id = None,
    parent: Id = None,
    plan_id: Id = None,
    intent_id: Id = None,
    status: Annotated[TicketStatus | None, Query(description="In any letter case")] = None,
    priority: Annotated[Priority | None, Query(description="In any letter case")] = None,
    worker_id: Id = None,
    label: Labels = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> TicketPage:
    """Return the tickets that all given filters fit, the oldest first; `parent` is the id of the one they are of."""
    if parent is not None and flow_id is None:
        above = (await services.ports.store.tickets([parent])).get(parent)
        flow_id = above.flow_id if above else ""  # a store finds children within a flow, however many flows there are
    filters = {
        "flow_id": flow_id,
        "parent": parent,
        "plan_id": plan_id,
        "intent_id": intent_id,
        "status": status,
        "priority": priority,
        "worker_id": worker_id,
    }
    given = {name: str(value) for name, value in filters.items() if value is not None}
    return await ticket_page(services, given, cursor, limit, label or ())


async def ticket_page(
    services: ApiServices, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Sequence[str] = ()
) -> TicketPage:
    """Return a page of the tickets that all `filters` and `labels` fit, the first one with their number."""
    tickets, following = await services.ports.views.find_tickets(filters, cursor, limit, labels)
    total: int | None = None
    if cursor is None:
        more = following is not None
        total = await services.ports.ticket_counts.fitting(filters, MOST_COUNTED + 1, labels) if more else len(tickets)
        total = total if total <= MOST_COUNTED else None
    now = services.ports.clock.now()
    return TicketPage(items=tuple(ticket_view(ticket, now) for ticket in tickets), cursor=following, total=total)


@router.get("/by-plan/{plan_id:path}", responses=problems(400, 422))
async def list_tickets_of_plan(
    services: Services,
    plan_id: str,
    *,
    status: Annotated[TicketStatus | None, Query(description="In any letter case")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> TicketPage:
    """Return the tickets of a plan, the oldest first; a plan that is not known has none."""
    return await list_tickets(services, plan_id=sound("plan", plan_id), status=status, cursor=cursor, limit=limit)


@router.get(
    "/{ticket_id}",
    response_model=TicketView,
    responses=problems(400, 404, 422) | {304: {"description": "It is as it was: see If-None-Match"}},
)
async def get_ticket(
    services: Services, request: Request, response: Response, ticket_id: str, if_none_match: IfNoneMatch = None
) -> TicketView | Response:
    """Return a ticket, and its version as the ETag."""
    ticket = await ticket_named(services, ticket_id)
    check_attempt(request, ticket)
    if if_none_match is not None and matches(if_none_match, ticket):
        return Response(status_code=304, headers={"etag": etag_of(ticket)})
    tagged(response, ticket)
    return ticket_view(ticket, services.ports.clock.now())


@router.get("/{ticket_id}/history", responses=problems(404, 422))
async def get_ticket_history(
    services: Services, ticket_id: str, since_seq: After = 0, limit: Limit = DEFAULT_LIMIT
) -> TicketHistory:
    """Return the transitions of a ticket, in order; asked again with the `after` of the answer, those that follow.

    An answer may have few or no items although more follow: `complete` tells whether that was all.
    """
    ticket = await ticket_named(services, ticket_id)
    items: list[HistoryEntry] = []
    after, complete = since_seq, False
    for _ in range(HISTORY_PAGES):
        entries = await services.ports.views.history(ticket.flow_id, after, HISTORY_PAGE)
        for entry in entries:
            after = entry.seq
            if entry.ticket_id == ticket_id:
                items.append(entry)
                if len(items) == limit:
                    return TicketHistory(items=tuple(items), after=after, complete=False)
        if len(entries) < HISTORY_PAGE:
            complete = True
            break
    return TicketHistory(items=tuple(items), after=after, complete=complete)


@router.get("/{ticket_id}/logs", responses=problems(404))
async def get_logs(services: Services, request: Request, ticket_id: str) -> LogView:
    """Return the end of what the task of a ticket wrote, from the newest attempt whose worker told it."""
    ticket = await ticket_named(services, ticket_id)
    check_attempt(request, ticket)
    log = ticket.log or TaskLog(attempt=ticket.attempt, text="")
    return LogView(ticket_id=ticket_id, flow_id=ticket.flow_id, task_id=ticket.task_id, **fields_of(log))


async def ticket_named(services: ApiServices, ticket_id: str) -> Ticket:
    """Return a ticket; raise `Rejected`, status 404, when there is none of this id."""

    async def look(one: str) -> Ticket | None:
        return (await services.ports.store.tickets([one])).get(one)

    return await found("ticket", ticket_id, look)
