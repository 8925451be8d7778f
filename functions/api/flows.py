"""Flows: what has been asked for, how far it is, and how to stop it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from functions._core.values import FlowStatus
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.forms import Cancellation
from functions.api.questions import DEFAULT_LIMIT, After, Cursor, Limit, found
from functions.api.services import Services
from functions.api.views import (
    FlowDetail,
    FlowPage,
    FlowResult,
    FlowView,
    HistoryPage,
    TicketPage,
    flow_detail,
    flow_result,
    flow_view,
    ticket_view,
)

router = APIRouter(prefix="/api/v1/flows", tags=["flows"])


@router.get("", responses=problems(400, 422))
async def list_flows(
    services: Services,
    status: Annotated[FlowStatus | None, Query(description="In any letter case")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> FlowPage:
    """Return flows, the newest first."""
    flows, following = await services.ports.views.flows(status=status, cursor=cursor, limit=limit)
    now = services.ports.clock.now()
    return FlowPage(items=tuple(flow_view(flow, now) for flow in flows), cursor=following)


@router.get("/{flow_id}", responses=problems(404))
async def get_flow(services: Services, flow_id: str) -> FlowDetail:
    """Return a flow, its tickets counted, and its steps."""
    flow = await found("flow", flow_id, services.ports.store.flow)
    tickets = await services.ports.store.tickets_of(flow_id)
    tally = await services.ports.tally.by_status(flow_id)
    return flow_detail(flow, tickets, tally, services.ports.clock.now())


@router.get("/{flow_id}/tickets", responses=problems(400, 404, 422))
async def list_tickets_of_flow(
    services: Services, flow_id: str, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> TicketPage:
    """Return the tickets of a flow in the order of its plan."""
    await found("flow", flow_id, services.ports.store.flow)
    filters = {"flow_id": flow_id}
    tickets, following = await services.ports.views.find_tickets(filters, cursor, limit)
    now = services.ports.clock.now()
    return TicketPage(items=tuple(ticket_view(ticket, now) for ticket in tickets), cursor=following)


@router.get("/{flow_id}/history", responses=problems(404, 422))
async def get_history(services: Services, flow_id: str, after: After = 0, limit: Limit = DEFAULT_LIMIT) -> HistoryPage:
    """Return the transitions of a flow and its tickets; asked again with `after`, those that came since."""
    await found("flow", flow_id, services.ports.store.flow)
    entries = await services.ports.views.history(flow_id, after, limit)
    return HistoryPage(items=tuple(entries), after=entries[-1].seq if entries else after)


@router.get(
    "/{flow_id}/decision",
    response_class=Response,
    responses=problems(404) | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def get_decision(services: Services, flow_id: str) -> Response:
    """Return the decision as it was taken in."""
    await found("flow", flow_id, services.ports.store.flow)
    return Response(await services.ports.store.decision(flow_id), media_type="application/json")


@router.get("/{flow_id}/result", responses=problems(404))
async def get_result(services: Services, flow_id: str) -> FlowResult:
    """Return the result of a flow; until it has ended, what is known so far."""
    flow = await found("flow", flow_id, services.ports.store.flow)
    tickets = await services.ports.store.tickets_of(flow_id)
    tally = await services.ports.tally.by_status(flow_id)
    return flow_result(flow, tickets, tally, services.ports.clock.now())


@router.post(
    "/{flow_id}/cancel",
    status_code=202,
    responses=problems(400, 404, 413, 415, 422),
    openapi_extra=json_body(Cancellation, required=False),
)
async def cancel_flow(services: Services, request: Request, flow_id: str) -> FlowView:
    """Stop a flow: what is open is cancelled. One that has its outcome already is returned as it is."""
    asked = await read_json(request, Cancellation)
    flow = await found("flow", flow_id, services.ports.store.flow)
    stopped = await services.engine.cancel(flow.flow_id, asked.requested_by, asked.reason)
    return flow_view(stopped, services.ports.clock.now())
