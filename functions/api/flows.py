"""Flows: what has been asked for, how far it is, and whether its history says the same."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Response

from functions._core.decision.vocabulary import MAX_ID_LENGTH
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority, Timestamp
from functions.api.documents import problems
from functions.api.flow_search import FlowFilters, flow_page
from functions.api.questions import DEFAULT_LIMIT, After, Cursor, Id, Labels, Limit, found
from functions.api.references import ASKED, FlowReference, flow_meant
from functions.api.replay import ReplayView, replayed
from functions.api.results import ResultView, result_view
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
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


COUNTED = 100
"""Flows whose tickets are counted for one list."""

Statuses = Annotated[
    list[FlowStatus] | None,
    Query(max_length=len(FlowStatus), description="In any letter case; with several those in any of them"),
]
Text = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="Only those with this text in an id, a label or a reason, in any letter case",
    ),
]


@router.get("", responses=problems(400, 422))
async def list_flows(  # noqa: PLR0913 one parameter for each filter
    services: Services,
    *,
    status: Statuses = None,
    label: Labels = None,
    plan: Annotated[Id, Query(description="Id of a plan, or the name of a stored one")] = None,
    intent: Id = None,
    decision: Id = None,
    correlation: Id = None,
    priority: Annotated[Priority | None, Query(description="In any letter case")] = None,
    text: Text = None,
    since: Annotated[Timestamp | None, Query(description="Only those received at this moment or later")] = None,
    until: Annotated[Timestamp | None, Query(description="Only those received before this moment")] = None,
    at_risk: Annotated[
        bool | None, Query(description="Only those without an outcome whose SLA is at risk or missed, or the others")
    ] = None,
    tally: Annotated[
        bool,
        Query(description=f"Count the tickets of flows without an outcome, too; a page has {COUNTED} at most then"),
    ] = False,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> FlowPage:
    """Return flows that all filters fit, the newest first.

    For other filters than `label` and one `status`, 1,000 flows are looked at: a page may hold fewer than `limit`, or
    none; its `cursor` goes on.
    """
    filters = FlowFilters(
        status=frozenset(status or ()),
        labels=label or (),
        plan=plan,
        intent=intent,
        decision=decision,
        correlation=correlation,
        priority=priority,
        text=text,
        since=since,
        until=until,
        at_risk=at_risk,
    )
    flows, following = await flow_page(services, filters, cursor, min(limit, COUNTED) if tally else limit)
    flows = await _counted(services, flows) if tally else flows
    now = services.ports.clock.now()
    return FlowPage(items=tuple(flow_view(flow, now) for flow in flows), cursor=following)


async def _counted(services: ApiServices, flows: Sequence[Flow]) -> Sequence[Flow]:
    """Return flows with their tickets counted now; those with an outcome were counted when it was set."""

    async def counted(flow: Flow) -> Flow:
        if flow.outcome is not None or not flow.tickets_generated:
            return flow
        return flow.but(tally=await services.ports.ticket_counts.by_status(flow.flow_id))

    return await asyncio.gather(*(counted(flow) for flow in flows))


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
