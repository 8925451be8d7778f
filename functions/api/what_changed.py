"""What changed? Why a flow was slow, or failed, compared with the flows before it."""

from collections.abc import Sequence
from functools import partial

from fastapi import Response

from functions._core.errors import Rejected
from functions._core.guards.gate import Finding
from functions._core.insights.causes import Fleet
from functions._core.insights.usual_times import plan_name
from functions._core.insights.what_changed import PlatformChange, WhatChanged, what_changed
from functions._core.planning.slack import closed_at
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import encode
from functions._core.records.values import TicketStatus
from functions.api.analyst_state import beside
from functions.api.documents import problems
from functions.api.newest_rows import newest_rows, tickets_in_pages
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/flows", tags=["why"])

MOST_TICKETS = 10_000
"""Tickets of a flow that is asked about: of more the answer would take seconds."""

PAGE = 500
HISTORY_READ = 20_000
"""Transitions of the flow that are looked through for what was held back."""

AUDITS_LOOKED_AT = 200
"""Actions of people, the newest, among which changes of the platform are looked for."""

HELD_BACK = "ticket.held_back"
"""The transition of a ticket that a freeze holds back; quarantine is told as a verdict of guards."""

OF_PLATFORM = ("_policy", "_worker", "_plan", "_playbook", "_template")
"""How the names of actions end that change how flows are carried out."""


@router.get("/{flow_id}/what-changed", responses={**problems(404, 422), 200: {"model": WhatChanged}})
async def get_what_changed(services: Services, flow_id: str) -> Response:
    """Return why a flow was slow, or failed, or is slow now: the three likeliest causes with their evidence.

    It is compared with earlier flows of its plan, else with earlier work of the same kinds: 60 flows at most, of the
    newest 200 that ended within 14 days before it.
    """
    flow = await found("flow", flow_id, services.ports.store.flow)
    ports, now = services.ports, services.ports.clock.now()
    tickets = await tickets_in_pages(services, flow, MOST_TICKETS + 1)
    if len(tickets) > MOST_TICKETS:
        text = f"the flow has more than {MOST_TICKETS} tickets, which are more than are compared"
        raise Rejected(text, code="flow_too_large", status=422)
    plan = plan_name(flow.plan_id)
    base = await newest_rows(
        services,
        closed_at(flow) or now,
        lambda one: one.received_at < flow.received_at,
        lambda one: bool(plan) and plan_name(one.plan_id) == plan,
    )
    fleet = Fleet({worker.worker_id: worker.registration for worker in await ports.registry.workers()})
    held, changes = await _held(services, flow, tickets), await _changes(services)
    look = partial(what_changed, flow, tickets, base.flows, now, held=held, fleet=fleet, changes=changes)
    return Response(await beside(lambda: encode(look())), media_type="application/json")


async def _held(services: ApiServices, flow: Flow, tickets: Sequence[Ticket]) -> frozenset[str]:
    """Return the ids of tickets that were held back, as the history tells it."""
    if not any(ticket.ready_at is not None and ticket.status is not TicketStatus.SKIPPED for ticket in tickets):
        return frozenset()
    held: set[str] = set()
    after = read = 0
    while read < HISTORY_READ:
        entries = await services.ports.views.history(flow.flow_id, after, PAGE)
        held |= {entry.ticket_id for entry in entries if entry.ticket_id and _holds_back(entry)}
        read += len(entries)
        if len(entries) < PAGE:
            break
        after = entries[-1].seq
    return frozenset(held)


def _holds_back(entry: HistoryEntry) -> bool:
    return entry.type == HELD_BACK or entry.detail.get("finding") == Finding.QUARANTINE


async def _changes(services: ApiServices) -> Sequence[PlatformChange]:
    """Return what people have changed about the platform lately."""
    audits = await services.ports.views.audits(None, AUDITS_LOOKED_AT, kind=AuditKind.ACTION)
    return [
        PlatformChange(at=one.at, action=one.action, target=one.target, who=one.who)
        for one in audits
        if isinstance(one, ActionRecord) and not one.flow_id and one.action.endswith(OF_PLATFORM)
    ]
