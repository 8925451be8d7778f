"""Tickets, of one flow or of all."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from functions._core.records.models import TaskLog, Ticket
from functions._core.records.record import fields_of
from functions._core.records.values import Priority, TicketStatus
from functions.api.access import check_attempt
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Cursor, Id, Limit, found, sound
from functions.api.services import ApiServices, Services
from functions.api.views import LogView, TicketPage, TicketView, ticket_view

router = APIRouter(prefix="/api/v1/tickets", tags=["tickets"])


@router.get("", responses=problems(400, 422))
async def list_tickets(  # noqa: PLR0913 - each is a filter of the query
    services: Services,
    *,
    flow_id: Id = None,
    plan_id: Id = None,
    intent_id: Id = None,
    status: Annotated[TicketStatus | None, Query(description="In any letter case")] = None,
    priority: Annotated[Priority | None, Query(description="In any letter case")] = None,
    worker_id: Id = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> TicketPage:
    """Return the tickets that all given filters fit, the oldest first."""
    filters = {
        "flow_id": flow_id,
        "plan_id": plan_id,
        "intent_id": intent_id,
        "status": status,
        "priority": priority,
        "worker_id": worker_id,
    }
    given = {name: str(value) for name, value in filters.items() if value is not None}
    tickets, following = await services.ports.views.find_tickets(given, cursor, limit)
    now = services.ports.clock.now()
    return TicketPage(items=tuple(ticket_view(ticket, now) for ticket in tickets), cursor=following)


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


@router.get("/{ticket_id}", responses=problems(404))
async def get_ticket(services: Services, request: Request, ticket_id: str) -> TicketView:
    """Return a ticket."""
    ticket = await ticket_named(services, ticket_id)
    check_attempt(request, ticket)
    return ticket_view(ticket, services.ports.clock.now())


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
