"""What has happened, in all flows: transitions as events, and what validation found and what went wrong."""

from contextlib import suppress
from typing import Annotated

from fastapi import Query

from functions._core.errors import Unavailable, Unreadable
from functions._core.events.envelope import CloudEvent
from functions._core.events.subscribers import transition_event
from functions._core.ports import Ports
from functions._core.records.audits import AuditKind, IncidentRecord
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, After, Id, Limit
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.views import AuditList, EventPage, IncidentList, event_view

router = Routes(prefix="/api/v1", tags=["history"])


@router.get("/events", responses=problems(422))
async def list_events(services: Services, after: After = 0, limit: Limit = DEFAULT_LIMIT) -> EventPage:
    """Return the transitions of all flows as CloudEvents; asked again with `after`, those that came since."""
    entries = await services.ports.views.history(None, after, limit)
    flows: dict[str, Flow | None] = {}
    items = []
    for entry in entries:
        if entry.flow_id not in flows:
            flows[entry.flow_id] = None
            with suppress(Unreadable):
                flows[entry.flow_id] = await services.ports.store.flow(entry.flow_id)
        flow = flows[entry.flow_id]
        event = await _event_of(entry, flow, services.ports) if flow is not None else None
        if event is not None:
            items.append(event_view(event))
    return EventPage(items=tuple(items), after=entries[-1].seq if entries else after)


async def _event_of(entry: HistoryEntry, flow: Flow, ports: Ports) -> CloudEvent | None:
    """Return a transition with all that its type says; None when the ticket it is about is gone or cannot be read."""
    if entry.type == "ticket.assigned" and entry.ticket_id is not None:
        ticket = None
        with suppress(Unreadable):
            ticket = (await ports.store.tickets((entry.ticket_id,), entry.flow_id)).get(entry.ticket_id)
        return transition_event(entry, flow, ticket=ticket) if ticket is not None else None
    decision = None
    if entry.type == "decision.consolidated":
        with suppress(Unavailable, Unreadable):  # then the event says where it is
            decision = await ports.store.decision(entry.flow_id)
    return transition_event(entry, flow, decision=decision)


@router.get("/incidents", responses=problems(422))
async def list_incidents(services: Services, flow_id: Id = None, limit: Limit = DEFAULT_LIMIT) -> IncidentList:
    """Return what went wrong beyond what flows fix by themselves, the newest first."""
    found = await services.ports.views.audits(flow_id, limit, kind=AuditKind.INCIDENT)
    return IncidentList(items=tuple(incident for incident in found if isinstance(incident, IncidentRecord)))


@router.get("/audits", responses=problems(422))
async def list_audits(
    services: Services,
    *,
    flow_id: Id = None,
    kind: Annotated[AuditKind | None, Query(description="In any letter case")] = None,
    valid: Annotated[bool | None, Query(description="Only validations that found nothing wrong, or something")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> AuditList:
    """Return what C1 found in decisions, what people did and what went wrong, the newest first."""
    return AuditList(items=tuple(await services.ports.views.audits(flow_id, limit, kind=kind, valid=valid)))
