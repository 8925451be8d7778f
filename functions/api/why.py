"""Why a flow or a ticket is where it is: the explanation of the core with the last lines of the history."""

from collections import deque
from collections.abc import Sequence

from fastapi import APIRouter

from functions._core.errors import Unavailable
from functions._core.explain import NAMED, explain_flow, explain_ticket
from functions._core.models import Flow, HistoryEntry, Ticket
from functions._core.values import TicketStatus, Waiting
from functions._core.vocabulary import UNPRINTABLE
from functions.api.documents import problems
from functions.api.services import ApiServices, Services
from functions.api.tickets import ticket_named
from functions.api.views import WhyView, why_view

router = APIRouter(prefix="/api/v1/why", tags=["why"])

LAST_EVENTS = 10
PAGE = 500


@router.get("/{record_id}", responses=problems(404))
async def why(services: Services, record_id: str) -> WhyView:
    """Return why a flow or a ticket is where it is, since when, and what happens next."""
    flow = None if UNPRINTABLE.search(record_id) else await services.ports.store.flow(record_id)
    if flow is not None:
        return await _why_flow(services, flow)
    return await _why_ticket(services, await ticket_named(services, record_id))


async def _why_flow(services: ApiServices, flow: Flow) -> WhyView:
    ports = services.ports
    if flow.outcome is None:
        tickets = await ports.store.tickets_of(flow.flow_id, live_only=True)
        tally = await ports.tally.by_status(flow.flow_id)
    else:
        failed = {"flow_id": flow.flow_id, "status": TicketStatus.FAILED.value}
        tickets, _ = await ports.views.find_tickets(failed, None, NAMED)
        tally = flow.tally
    now = ports.clock.now()
    explanation = explain_flow(flow, tickets, now, services.rules, tally=tally)
    return why_view(explanation, None, now, await _last_events(services, flow.flow_id, None))


async def _why_ticket(services: ApiServices, ticket: Ticket) -> WhyView:
    ports = services.ports
    flow = await ports.store.flow(ticket.flow_id)
    if flow is None:
        raise Unavailable(f"the flow of ticket {ticket.ticket_id} is not visible")
    waits = ticket.live and ticket.waiting is Waiting.DEPENDENCIES
    upstream = tuple((await ports.store.tickets(ticket.dependencies)).values()) if waits else ()
    worker = await ports.registry.worker(ticket.worker_id) if ticket.worker_id else None
    now = ports.clock.now()
    explanation = explain_ticket(ticket, flow, now, services.rules, upstream=upstream, worker=worker)
    last = await _last_events(services, ticket.flow_id, ticket.ticket_id)
    return why_view(explanation, ticket, now, last)


async def _last_events(services: ApiServices, flow_id: str, ticket_id: str | None) -> Sequence[HistoryEntry]:
    """Return the last lines of a flow's history, or of one of its tickets; histories are read from their start."""
    last: deque[HistoryEntry] = deque(maxlen=LAST_EVENTS)
    after = 0
    while True:
        entries = await services.ports.views.history(flow_id, after, PAGE)
        last.extend(entry for entry in entries if ticket_id in {None, entry.ticket_id})
        if len(entries) < PAGE:
            return tuple(last)
        after = entries[-1].seq
