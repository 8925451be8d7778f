"""Flows: what has been asked for, how far it is, and whether its history says the same."""

from typing import Annotated

from fastapi import Query, Response

from functions._core.decision.vocabulary import MAX_ID_LENGTH
from functions._core.records.values import FlowStatus
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, After, Cursor, Labels, Limit, found
from functions.api.references import ASKED, FlowReference, flow_meant
from functions.api.replay import ReplayView, replayed
from functions.api.results import ResultView, result_view
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.tickets import ticket_page
from functions.api.views import (
    FlowDetail,
    FlowPage,
    HistoryPage,
    TicketPage,
    flow_detail,
    flow_view,
)

router = Routes(prefix="/api/v1/flows", tags=["flows"])


@router.get("", responses=problems(400, 422))
async def list_flows(
    services: Services,
    *,
    status: Annotated[FlowStatus | None, Query(description="In any letter case")] = None,
    label: Labels = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> FlowPage:
    """Return flows, the newest first."""
    views = services.ports.views
    flows, following = await views.flows(status=status, cursor=cursor, limit=limit, labels=label or ())
    now = services.ports.clock.now()
    return FlowPage(items=tuple(flow_view(flow, now) for flow in flows), cursor=following)


@router.get("/resolve", responses=problems(404, 409, 422))
async def resolve_flow(
    services: Services, ref: Annotated[str, Query(min_length=1, max_length=MAX_ID_LENGTH, description=ASKED)]
) -> FlowReference:
    """Return the flow that people mean by an id of it, the beginning of one, its decision's id or its plan's."""
    return await flow_meant(services, ref)


@router.get("/{flow_id}", responses=problems(404))
async def get_flow(services: Services, flow_id: str) -> FlowDetail:
    """Return a flow, its tickets counted, and its steps."""
    flow = await found("flow", flow_id, services.ports.store.flow)
    tickets = await services.ports.store.tickets_of(flow_id)
    tally = await services.ports.ticket_counts.by_status(flow_id)
    return flow_detail(flow, tickets, tally, services.ports.clock.now())


@router.get("/{flow_id}/tickets", responses=problems(400, 404, 422))
async def list_tickets_of_flow(
    services: Services, flow_id: str, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> TicketPage:
    """Return the tickets of a flow in the order of its plan."""
    await found("flow", flow_id, services.ports.store.flow)
    return await ticket_page(services, {"flow_id": flow_id}, cursor, limit)


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


@router.get("/{flow_id}/result", responses=problems(404, 409, 413))
async def get_result(services: Services, flow_id: str) -> ResultView:
    """Return the result of a flow that has ended; 409 `not_ended` before, 413 `result_too_large` for one too large."""
    return await result_view(services, await found("flow", flow_id, services.ports.store.flow))


@router.get("/{flow_id}/replay", responses=problems(404, 503))
async def replay_flow(services: Services, flow_id: str) -> ReplayView:
    """Rebuild the state of a flow and its tickets from the history alone, and compare it with the stored records."""
    return await replayed(services, (await found("flow", flow_id, services.ports.store.flow)).flow_id)
